//! How many system calls a process makes, counted by the kernel (perf_event_open(2), the tracepoint
//! `raw_syscalls:sys_enter`).

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::FromRawFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

const TRACING: &str = "/sys/kernel/tracing";
/// `PERF_TYPE_TRACEPOINT`.
const TRACEPOINT: u32 = 2;
/// Bit 1 of the flags: threads that are made later count, too.
const INHERIT: u64 = 1 << 1;

/// The beginning of `struct perf_event_attr`: its first version.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample: u64,
    read: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    address: u64,
}

/// A count that goes on: one event for each thread that there was.
#[derive(Debug)]
pub(crate) struct SystemCalls(Vec<fs::File>);

impl SystemCalls {
    /// Counts from now on.
    pub(crate) fn count(pid: u32) -> Result<Self> {
        let id = Path::new(TRACING).join("events/raw_syscalls/sys_enter/id");
        if !id.exists() {
            // That it is mounted already is no failure: what is missing is told by the next line.
            Command::new("mount")
                .args(["-t", "tracefs", "none", TRACING])
                .status()?;
        }
        let id = fs::read_to_string(&id).with_context(|| id.display().to_string())?;
        let id = id.trim().parse()?;
        let mut events = Vec::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.file_name().to_string_lossy().parse()?;
            events.push(event(task, id).context("counting system calls")?);
        }
        Ok(Self(events))
    }

    /// How many there were.
    pub(crate) fn read(mut self) -> Result<u64> {
        let mut sum = 0;
        for event in &mut self.0 {
            let mut count = [0; 8];
            event.read_exact(&mut count)?;
            sum += u64::from_ne_bytes(count);
        }
        Ok(sum)
    }
}

fn event(thread: libc::pid_t, id: u64) -> io::Result<fs::File> {
    let attributes = Attributes {
        kind: TRACEPOINT,
        size: size_of::<Attributes>() as u32,
        config: id,
        period: 0,
        sample: 0,
        read: 0,
        flags: INHERIT,
        wakeup: 0,
        breakpoint: 0,
        address: 0,
    };
    // SAFETY: the kernel reads as many bytes of the attributes as they say that they have.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attributes),
            thread,
            -1,
            -1,
            libc::c_ulong::from(8_u8),
        )
    };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = i32::try_from(event).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { fs::File::from_raw_fd(event) })
}
