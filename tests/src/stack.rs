//! How much of its stack a loaded program uses, by its instructions. The kernel knows, and prints it
//! only in a verifier's log.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result, ensure};

use crate::bpf::bpf;

const OBJ_GET_INFO_BY_FD: u32 = 15;
/// Longer than any program of ours.
const MOST: usize = 65536;

/// `struct bpf_insn` of `linux/bpf.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high.
    registers: u8,
    offset: i16,
    constant: i32,
}

impl Instruction {
    const fn destination(self) -> usize {
        (self.registers & 0xf) as usize
    }
    const fn source(self) -> usize {
        (self.registers >> 4) as usize
    }
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    translated_len: u32,
    jited: u64,
    translated: u64,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Attr {
    fd: u32,
    len: u32,
    info: u64,
}

/// Bytes of stack that a program's instructions reach, as the kernel runs them: after the verifier
/// has taken out what is never reached. A function's are added to those of its caller.
///
/// # Errors
/// Where the kernel does not show them.
pub fn used(program: BorrowedFd<'_>) -> Result<u32> {
    let code = translated(program)?;
    let mut starts: Vec<usize> = vec![0];
    starts.extend((0..code.len()).filter_map(|at| called(&code, at)));
    starts.sort_unstable();
    starts.dedup();
    deepest_chain(&code, &starts, 0, 0)
}

/// Where the function begins that an instruction calls.
fn called(code: &[Instruction], at: usize) -> Option<usize> {
    const CALL: u8 = 0x85;
    const OF_A_FUNCTION: usize = 1;
    let one = code.get(at)?;
    (one.code == CALL && one.source() == OF_A_FUNCTION)
        // Once it is compiled, the distance stands where the offset does (jit_subprogs of
        // kernel/bpf/verifier.c).
        .then(|| (at + 1).checked_add_signed(isize::from(one.offset)))
        .flatten()
}

fn deepest_chain(code: &[Instruction], starts: &[usize], start: usize, depth: u32) -> Result<u32> {
    // MAX_CALL_FRAMES
    ensure!(depth < 8, "functions call each other in a circle");
    let end = starts.iter().find(|other| **other > start);
    let end = end.copied().unwrap_or(code.len());
    let mut below = 0;
    for at in start..end {
        if let Some(callee) = called(code, at) {
            below = below.max(deepest_chain(code, starts, callee, depth + 1)?);
        }
    }
    Ok(deepest(&code[start..end]) + below)
}

fn translated(program: BorrowedFd<'_>) -> Result<Vec<Instruction>> {
    let mut code = vec![Instruction::default(); MOST];
    let mut info = Info {
        translated_len: (MOST * size_of::<Instruction>()) as u32,
        translated: code.as_mut_ptr() as u64,
        ..Info::default()
    };
    let attr = Attr {
        fd: program.as_fd().as_raw_fd().cast_unsigned(),
        len: size_of::<Info>() as u32,
        info: &raw mut info as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &attr).context("asking for a program's instructions")?;
    let count = info.translated_len as usize / size_of::<Instruction>();
    ensure!(
        (1..=MOST).contains(&count) && code[0] != Instruction::default(),
        "the kernel shows no instructions: net.core.bpf_jit_harden or a missing capability"
    );
    code.truncate(count);
    Ok(code)
}

/// The furthest below the frame pointer (r10), rounded up to eight: what is read or written there,
/// and what pointers are made of it by adding a constant.
fn deepest(code: &[Instruction]) -> u32 {
    const FRAME: usize = 10;
    const LOAD: u8 = 1;
    const STORE: u8 = 2;
    const STORE_REGISTER: u8 = 3;
    const MOVE_64: u8 = 0xbf;
    const ADD_CONSTANT_64: u8 = 0x07;
    // Where a register that was copied from the frame pointer points to.
    let mut derived: [Option<i32>; 11] = [None; 11];
    derived[FRAME] = Some(0);
    let mut lowest = 0;
    for one in code {
        let (destination, source) = (one.destination(), one.source());
        let address = match one.code & 7 {
            LOAD => derived.get(source).copied().flatten(),
            STORE | STORE_REGISTER => derived.get(destination).copied().flatten(),
            _ => None,
        };
        if let Some(base) = address {
            lowest = lowest.min(base + i32::from(one.offset));
        }
        if destination >= FRAME {
            continue;
        }
        match one.code {
            MOVE_64 => derived[destination] = derived.get(source).copied().flatten(),
            ADD_CONSTANT_64 => {
                derived[destination] = derived[destination].map(|base| base + one.constant);
                lowest = lowest.min(derived[destination].unwrap_or(0));
            }
            code if code & 7 == LOAD => derived[destination] = None,
            _ => {}
        }
    }
    lowest.unsigned_abs().next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(code: u8, registers: u8, offset: i16, constant: i32) -> Instruction {
        Instruction {
            code,
            registers,
            offset,
            constant,
        }
    }

    #[test]
    fn stores_and_pointers_below_the_frame_count() {
        // *(u32 *)(r10 - 12) = r1
        assert_eq!(deepest(&[one(0x63, 0x1a, -12, 0)]), 16);
        // r2 = r10; r2 += -40
        assert_eq!(deepest(&[one(0xbf, 0xa2, 0, 0), one(0x07, 2, 0, -40)]), 40);
        // r2 = r10; r2 += -16; *(u64 *)(r2 - 8) = r1
        let through = [
            one(0xbf, 0xa2, 0, 0),
            one(0x07, 2, 0, -16),
            one(0x7b, 0x12, -8, 0),
        ];
        assert_eq!(deepest(&through), 24);
        // r2 = r1; *(u64 *)(r2 - 8) = r1: not the stack's.
        assert_eq!(deepest(&[one(0xbf, 0x12, 0, 0), one(0x7b, 0x12, -8, 0)]), 0);
    }
}
