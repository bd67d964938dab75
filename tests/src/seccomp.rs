//! A process that finds no `bpf` system call, as on a kernel that was built without it.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the kernel's headers call `BPF_LD | BPF_W | BPF_ABS` and so on.
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn step(code: u16, k: u32, if_not: u8) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: if_not,
        k,
    }
}

/// Has every `bpf` call of the process, once started, end with `ENOSYS`.
pub fn without_bpf(command: &mut Command) -> &mut Command {
    let install = || {
        let mut steps = [
            // The first word of `seccomp_data` is the number of the call.
            step(LOAD_WORD, 0, 0),
            step(JUMP_IF_EQUAL, libc::SYS_bpf as u32, 1),
            step(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let program = libc::sock_fprog {
            len: steps.len() as u16,
            filter: steps.as_mut_ptr(),
        };
        // SAFETY: the program and its steps live until the call returns; the kernel copies them.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        nix::errno::Errno::result(result)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing and makes one system call.
    unsafe { command.pre_exec(install) }
}
