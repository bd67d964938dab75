//! Programs of a few instructions, written out: what a test puts around the program it tests.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::SchedClassifier;

use crate::bpf::{allow_locked_memory, bpf};

/// An instruction: operation, registers (destination in the low half), offset, constant.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction(u8, u8, i16, i32);

const MOVE: u8 = 0xb7;
const LOAD_WORD: u8 = 0x61;
const STORE_WORD: u8 = 0x63;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP_NOT_EQUAL_32: u8 = 0x56;

const MOVE_REGISTER: u8 = 0xbf;
const SHIFT_RIGHT: u8 = 0x77;
const ADD: u8 = 0x07;
const STORE_BYTES: i32 = 9;
const CHANGE_TAIL: i32 = 38;
const REDIRECT: i32 = 23;
/// `BPF_F_INGRESS`.
const INGRESS: i32 = 1;
const JIFFIES: i32 = 118;
const LENGTH: i16 = 0;
const MARK: i16 = 8;
const PRIORITY: i16 = 32;

/// Gives each packet a mark and a priority, and sends it out by an interface.
pub(super) fn redirect(pin: &Path, to: u32, mark: u32, priority: u32) -> Result<SchedClassifier> {
    redirection(pin, to, mark, priority, 0)
}

/// Gives each packet a mark, and lets it enter by an interface.
pub fn enter(pin: &Path, by: u32, mark: u32) -> Result<SchedClassifier> {
    redirection(pin, by, mark, 0, INGRESS)
}

fn redirection(
    pin: &Path,
    to: u32,
    mark: u32,
    priority: u32,
    flags: i32,
) -> Result<SchedClassifier> {
    load(
        pin,
        &[
            Instruction(MOVE, 2, 0, mark.cast_signed()),
            Instruction(STORE_WORD, 0x21, MARK, 0),
            Instruction(MOVE, 2, 0, priority.cast_signed()),
            Instruction(STORE_WORD, 0x21, PRIORITY, 0),
            Instruction(MOVE, 1, 0, to.cast_signed()),
            Instruction(MOVE, 2, 0, flags),
            Instruction(CALL, 0, 0, REDIRECT),
            Instruction(EXIT, 0, 0, 0),
        ],
    )
}

/// Lets pass what has a mark and a priority, and drops the rest.
pub(super) fn require(pin: &Path, mark: u32, priority: u32) -> Result<SchedClassifier> {
    load(
        pin,
        &[
            Instruction(MOVE, 0, 0, 2),
            Instruction(LOAD_WORD, 0x12, MARK, 0),
            Instruction(JUMP_NOT_EQUAL_32, 2, 3, mark.cast_signed()),
            Instruction(LOAD_WORD, 0x12, PRIORITY, 0),
            Instruction(JUMP_NOT_EQUAL_32, 2, 1, priority.cast_signed()),
            Instruction(MOVE, 0, 0, -1),
            Instruction(EXIT, 0, 0, 0),
        ],
    )
}

/// Gives each packet a mark, and lets it pass whatever program comes after.
pub fn pass(pin: &Path, mark: u32) -> Result<SchedClassifier> {
    load(
        pin,
        &[
            Instruction(MOVE, 2, 0, mark.cast_signed()),
            Instruction(STORE_WORD, 0x21, MARK, 0),
            Instruction(MOVE, 0, 0, 0),
            Instruction(EXIT, 0, 0, 0),
        ],
    )
}

/// Leaves the kernel's ticks in the packet: the low half for its mark, the high for its priority.
pub fn ticks(pin: &Path) -> Result<SchedClassifier> {
    load(
        pin,
        &[
            Instruction(MOVE_REGISTER, 0x16, 0, 0),
            Instruction(CALL, 0, 0, JIFFIES),
            Instruction(STORE_WORD, 0x06, MARK, 0),
            Instruction(SHIFT_RIGHT, 0, 0, 32),
            Instruction(STORE_WORD, 0x06, PRIORITY, 0),
            Instruction(MOVE, 0, 0, 0),
            Instruction(EXIT, 0, 0, 0),
        ],
    )
}

/// Appends each packet's mark to it: four bytes in this machine's order.
pub fn stamp(pin: &Path) -> Result<SchedClassifier> {
    load(
        pin,
        &[
            Instruction(MOVE_REGISTER, 0x16, 0, 0),
            Instruction(LOAD_WORD, 0x17, LENGTH, 0),
            Instruction(LOAD_WORD, 0x12, MARK, 0),
            Instruction(STORE_WORD, 0x2a, -4, 0),
            Instruction(MOVE_REGISTER, 0x72, 0, 0),
            Instruction(ADD, 2, 0, 4),
            Instruction(MOVE, 3, 0, 0),
            Instruction(CALL, 0, 0, CHANGE_TAIL),
            Instruction(MOVE_REGISTER, 0x61, 0, 0),
            Instruction(MOVE_REGISTER, 0x72, 0, 0),
            Instruction(MOVE_REGISTER, 0xa3, 0, 0),
            Instruction(ADD, 3, 0, -4),
            Instruction(MOVE, 4, 0, 4),
            Instruction(MOVE, 5, 0, 0),
            Instruction(CALL, 0, 0, STORE_BYTES),
            Instruction(MOVE, 0, 0, -1),
            Instruction(EXIT, 0, 0, 0),
        ],
    )
}

/// `union bpf_attr` for `BPF_PROG_LOAD`, as far as it is needed.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const SCHED_CLS: u32 = 3;

/// Loads a program, and hands it over by a pin that is gone afterwards.
fn load(pin: &Path, instructions: &[Instruction]) -> Result<SchedClassifier> {
    let attr = Load {
        kind: SCHED_CLS,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // Needs `CAP_SYS_RESOURCE`, and is needed before 5.11 alone.
    let raised = allow_locked_memory();
    let fd = bpf(PROG_LOAD, &attr)
        .with_context(|| format!("loading a program (limit of locked memory: {raised:?})"))?;
    // SAFETY: the kernel has just given it, and no other code has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attr = Pin {
        path: path.as_ptr() as u64,
        fd: fd.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(OBJ_PIN, &attr).with_context(|| format!("pinning {}", pin.display()))?;
    let program = SchedClassifier::from_pin(pin);
    std::fs::remove_file(pin)?;
    Ok(program?)
}
