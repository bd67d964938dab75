//! One thread of a process that stands still, as if the kernel did not return to it, while the others go on.

use std::fs;
use std::io;

use anyhow::{Context, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::wait::{self, TIMEOUT};

/// Held by the thread that has stopped it, for the kernel takes the later requests from no other.
#[derive(Debug)]
pub struct StoppedThread {
    thread: Pid,
}

impl StoppedThread {
    /// Stops the youngest thread of a name where it waits for events. At any other place it might hold a lock of
    /// its process, such as the allocator's, for which every other thread would wait.
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
        wait::until(TIMEOUT, "a thread to wait for events", || {
            let stopped = Self::stop(thread).with_context(|| format!("stopping thread {name}"))?;
            let call = fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall"))?;
            Ok(waits_for_events(&call).then_some(stopped))
        })
    }

    fn stop(thread: Pid) -> Result<Self> {
        trace(libc::PTRACE_SEIZE, thread)?;
        trace(libc::PTRACE_INTERRUPT, thread)?;
        match waitpid(thread, Some(WaitPidFlag::__WALL))? {
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => Ok(Self { thread }),
            other => bail!("it has not stopped: {other:?}"),
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

/// Whether `/proc/PID/task/TID/syscall` names a call that waits for events.
fn waits_for_events(call: &str) -> bool {
    let number = call.split(' ').next().and_then(|word| word.parse().ok());
    let waits = [
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
    ];
    number.is_some_and(|number: i64| waits.contains(&number))
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
