//! Processes that lack something of the machine: a system call, a protocol, a file.

use std::ffi::{CStr, CString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

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
    // The first word of `seccomp_data` is the number of the call.
    filtered(
        command,
        [
            step(LOAD_WORD, 0, 0),
            step(JUMP_IF_EQUAL, libc::SYS_bpf as u32, 1),
            step(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        ],
    )
}

/// Has every netfilter socket of the process, once started, and of its children, end with
/// `EPROTONOSUPPORT`, as on a kernel without nfnetlink.
pub fn without_netfilter(command: &mut Command) -> &mut Command {
    const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT as u32;
    // From the third word on `seccomp_data` has the arguments, of two words each.
    filtered(
        command,
        [
            step(LOAD_WORD, 0, 0),
            step(JUMP_IF_EQUAL, libc::SYS_socket as u32, 5),
            step(LOAD_WORD, 16, 0),
            step(JUMP_IF_EQUAL, libc::AF_NETLINK as u32, 3),
            step(LOAD_WORD, 32, 0),
            step(JUMP_IF_EQUAL, libc::NETLINK_NETFILTER as u32, 1),
            step(RETURN, REFUSED, 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        ],
    )
}

/// Has the process, once started, find that nothing can be pinned in the BPF file system.
pub fn without_pins(command: &mut Command) {
    const OBJ_PIN: u32 = 6;
    const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    filtered(
        command,
        [
            step(LOAD_WORD, 0, 0),
            step(JUMP_IF_EQUAL, libc::SYS_bpf as u32, 3),
            step(LOAD_WORD, 16, 0),
            step(JUMP_IF_EQUAL, OBJ_PIN, 1),
            step(RETURN, REFUSED, 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        ],
    );
}

/// Has the process, once started, be allowed to lock 64 KiB of memory, as systemd's units were for long, and
/// not allow itself more.
pub fn little_locked_memory(command: &mut Command) {
    const CAP_SYS_RESOURCE: libc::c_ulong = 24;
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    let restrict = move || {
        // SAFETY: it reads the limit, which lives until it returns.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
        nix::errno::Errno::result(result)?;
        // SAFETY: no memory is involved.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE) };
        nix::errno::Errno::result(result)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing and makes two system calls.
    unsafe {
        command.pre_exec(restrict);
    }
}

fn filtered<const N: usize>(
    command: &mut Command,
    mut steps: [libc::sock_filter; N],
) -> &mut Command {
    let install = move || {
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

/// The process, once started, finds something else mounted over a path: nothing of what was there.
pub fn hidden(command: &mut Command, path: &'static CStr, behind: &'static CStr) {
    let hide = move || {
        own_mounts()?;
        mount(Some(behind), path, NONE, MsFlags::MS_BIND, NONE)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing and makes system calls alone.
    unsafe {
        command.pre_exec(hide);
    }
}

/// The process, once started, finds a file of the test's in the place of another.
pub fn in_place_of(command: &mut Command, path: &'static CStr, file: CString) {
    let put = move || {
        own_mounts()?;
        mount(Some(&*file), path, NONE, MsFlags::MS_BIND, NONE)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing and makes system calls alone.
    unsafe {
        command.pre_exec(put);
    }
}

/// The process, once started, can read a file and not write it.
pub fn read_only(command: &mut Command, path: &'static CStr) {
    let protect = move || {
        own_mounts()?;
        mount(Some(path), path, NONE, MsFlags::MS_BIND, NONE)?;
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(NONE, path, NONE, read_only, NONE)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing and makes system calls alone.
    unsafe {
        command.pre_exec(protect);
    }
}

const NONE: Option<&CStr> = None;

/// What the process mounts from now on, no other process sees.
fn own_mounts() -> std::io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(NONE, c"/", NONE, private, NONE)?)
}
