//! What of eBPF is loaded on this machine, asked of the kernel itself.
//!
//! Programs, maps and links have no namespace: on a machine where something else loads traffic
//! control programs at the same time, this list moves.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::programs::{ProgramType, loaded_links, loaded_programs};
use lte_common::layout;

use crate::netns::Netns;

/// Where the BPF file system is mounted.
pub const FILE_SYSTEM: &str = "/sys/fs/bpf";

/// Where agents pin what is to outlive them. There is one such place for the whole machine.
pub const AGENTS_PINS: &str = "/sys/fs/bpf/lte-backup";

/// The directories of all agents' pins: each network namespace has one, and in it one for each layout.
pub fn agents_layouts() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for namespace in fs::read_dir(AGENTS_PINS).context(AGENTS_PINS)? {
        for layout in fs::read_dir(namespace?.path())? {
            found.push(layout?.path());
        }
    }
    Ok(found)
}

/// The directory of the pins of a network namespace's agent.
pub fn agents_pins(netns: &Netns) -> Result<PathBuf> {
    let namespace = format!("net-{}", netns.number()?);
    Ok(Path::new(AGENTS_PINS).join(namespace))
}

/// That of its pins of this version's layout.
pub fn agents_layout(netns: &Netns) -> Result<PathBuf> {
    Ok(agents_pins(netns)?.join(format!("v{}", layout::VERSION)))
}

/// Takes away the agent's pins, and with the last reference what they held.
pub fn remove_agents_pins() -> Result<()> {
    match fs::remove_dir_all(AGENTS_PINS) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(AGENTS_PINS),
        _ => Ok(()),
    }
}

/// One line for each traffic control program, each link and each pin.
pub fn objects() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for program in loaded_programs() {
        // A program may go between two steps of the walk.
        let Ok(program) = program else { continue };
        if program.program_type() == ProgramType::SchedClassifier.into() {
            let name = program.name_as_str().unwrap_or("?").to_owned();
            found.push(format!("program {name} tag {:016x}", program.tag()));
        }
    }
    for link in loaded_links() {
        let Ok(link) = link else { continue };
        let kind = link
            .link_type()
            .map_or("unknown".to_owned(), |kind| format!("{kind:?}"));
        found.push(format!("bpf link of type {kind}"));
    }
    pins(Path::new(FILE_SYSTEM), &mut found)?;
    Ok(found)
}

fn pins(directory: &Path, found: &mut Vec<String>) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        found.push(format!("pin {}", entry.path().display()));
        if entry.file_type()?.is_dir() {
            pins(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// Takes hold of what is pinned: it lives as long as the descriptor, though the pin goes.
pub fn hold(pin: &Path) -> Result<OwnedFd> {
    /// `union bpf_attr` for `BPF_OBJ_GET`.
    #[repr(C)]
    struct Get {
        path: u64,
        fd: u32,
        flags: u32,
    }
    const OBJ_GET: u32 = 7;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = Get {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    let fd = bpf(OBJ_GET, &get).with_context(|| pin.display().to_string())?;
    // SAFETY: the kernel has just given it, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a pinned link's program off its interface; the pin stays, with nothing behind it.
pub fn sever(pin: &Path) -> Result<()> {
    /// `union bpf_attr` for `BPF_LINK_DETACH`.
    #[repr(C)]
    struct Detach {
        fd: u32,
    }
    const LINK_DETACH: u32 = 34;
    let link = hold(pin)?;
    let detach = Detach {
        fd: link.as_raw_fd().cast_unsigned(),
    };
    bpf(LINK_DETACH, &detach)
        .with_context(|| format!("severing {}", pin.display()))
        .map(drop)
}

/// Lets this process have programs and maps at all, on kernels that count them as locked memory (before
/// 5.11), the agent's with them.
pub(crate) fn allow_locked_memory() -> io::Result<()> {
    let all = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: it reads the limit, which lives until it returns.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const all) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The system call, with a command's part of `union bpf_attr`.
pub(crate) fn bpf<T>(command: u32, attr: &T) -> io::Result<i32> {
    // SAFETY: `attr` is what the command reads, of the size that is given, and what it points to
    // outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}
