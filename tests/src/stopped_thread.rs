//! One thread of a process that stands still, as if the kernel did not return to it, while the others go on.

use std::fs;
use std::io;

use anyhow::{Context, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::wait::{self, TIMEOUT};

/// Held by the thread that has stopped it, for the kernel takes the rest from nobody else.
#[derive(Debug)]
pub struct StoppedThread {
    thread: Pid,
}

impl StoppedThread {
    /// Stops the youngest thread of a name.
    pub fn of(process: u32, name: &str) -> Result<Self> {
        let mut threads = Vec::new();
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?;
            let called = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if called.trim_end() == name {
                threads.extend(task.file_name().to_string_lossy().parse::<i32>());
            }
        }
        let thread = threads.into_iter().max();
        let thread = thread.with_context(|| format!("the process has no thread {name}"))?;
        let thread = Pid::from_raw(thread);
        trace(libc::PTRACE_SEIZE, thread).with_context(|| format!("seizing thread {name}"))?;
        let stands = Self { thread };
        trace(libc::PTRACE_INTERRUPT, thread)?;
        match waitpid(thread, Some(WaitPidFlag::__WALL))? {
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => Ok(stands),
            other => bail!("thread {name} does not stand still: {other:?}"),
        }
    }

    /// Waits until it has ended, with its process.
    pub fn wait_end(&self) -> Result<()> {
        wait::until(TIMEOUT, "the end of a thread that stands still", || {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            Ok(match waitpid(self.thread, Some(flags))? {
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => Some(()),
                _ => None,
            })
        })
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        // It may have ended.
        drop(trace(libc::PTRACE_DETACH, self.thread));
    }
}

fn trace(request: libc::c_uint, thread: Pid) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests take no address and no data.
    let result = unsafe { libc::ptrace(request, thread.as_raw(), none, none) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
