//! One agent at a time.
//!
//! The lock is a record lock (`F_SETLK`) on a file that only its owner can open, and its holder is
//! asked of the kernel (`F_GETLK`): nothing that others could have written or held decides it. A process loses
//! its record locks when it closes *any* descriptor of the file: an agent opens it once.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, geteuid, pidfd_open, pidfd_send_signal,
};

use super::{StateError, legacy_lock};

/// The lock, held as long as this lives; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds the lock, by the kernel's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process number; `None` where this process's namespace has none for it.
    pub pid: Option<Pid>,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs.
    #[error("another agent is running{}: stop it first, or use it", .0.suffix())]
    Held(Holder),
    /// Another user could have put the file there, or may hold it.
    #[error("{0}: {why}: remove it (rm {0}) and try again", .path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file could not be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Lock {
    /// Takes the lock.
    pub fn take(run: &Path) -> Result<Self, LockError> {
        // One that runs is seen before its file is looked at: another namespace's user may own that.
        if let Some(holder) = legacy_lock::holder(run) {
            return Err(LockError::Held(holder));
        }
        let path = file(run);
        let file = open(&path, OFlags::CREATE | OFlags::RDWR)?;
        check_owner(&file, &path)?;
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::AGAIN | Errno::ACCESS) => {}
                Err(error) => return Err(StateError::new("locking", &path)(error.into()).into()),
            }
            // A process that has released it meanwhile is no holder.
            if let Some(holder) = query_holder(&file, &path)? {
                return Err(LockError::Held(holder));
            }
        }
    }

    /// The process that holds the lock. No lock is taken to find it out, so that no process waits for the question.
    /// Not to be called by the holder.
    pub fn holder(run: &Path) -> Result<Option<Holder>, LockError> {
        if let Some(holder) = legacy_lock::holder(run) {
            return Ok(Some(holder));
        }
        let path = file(run);
        match open(&path, OFlags::RDONLY) {
            Ok(file) => Ok(query_holder(&file, &path)?),
            Err(LockError::State(error)) if error.source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Holder {
    /// Sends it SIGINT. Returns whether it was there still.
    ///
    /// The signal goes to the process that holds the lock and to no other: a descriptor of the process is
    /// opened by its number, and only then the kernel is asked once more whether it is that number's.
    pub fn interrupt(self, run: &Path) -> Result<bool, LockError> {
        let failed = |error: Errno| {
            let context = "interrupting the agent that holds";
            LockError::from(StateError::new(context, &file(run))(error.into()))
        };
        let Some(pid) = self.pid else {
            return Err(failed(Errno::SRCH));
        };
        let process: OwnedFd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        if Lock::holder(run)? != Some(self) {
            return Ok(false);
        }
        match pidfd_send_signal(&process, Signal::INT) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Its number as a part of a sentence.
    pub fn suffix(self) -> String {
        match self.pid {
            Some(pid) => format!(" (pid {pid})"),
            None => " (in another pid namespace)".to_owned(),
        }
    }
}

/// The lock's file. Not `lock`: that was for all to read in earlier versions, and a process that has opened it
/// then may lock it at any time.
fn file(run: &Path) -> PathBuf {
    run.join("agent.lock")
}

fn open(path: &Path, flags: OFlags) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(flags.contains(OFlags::RDWR))
        .create(flags.contains(OFlags::CREATE))
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).map_err(|error| {
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            return LockError::NotOurs {
                path: path.to_owned(),
                why: "a symbolic link".to_owned(),
            };
        }
        StateError::new("opening", path)(error).into()
    })
}

/// Makes sure that only the owner can open the file.
fn check_owner(file: &File, path: &Path) -> Result<(), LockError> {
    let metadata = file
        .metadata()
        .map_err(StateError::new("looking at", path))?;
    let not_ours = |why: String| LockError::NotOurs {
        path: path.to_owned(),
        why,
    };
    if !metadata.is_file() {
        return Err(not_ours("not a regular file".to_owned()));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(not_ours(format!("it belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & 0o7777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(StateError::new("setting the mode of", path))?;
    }
    Ok(())
}

/// Who would keep a lock from being taken.
fn query_holder(file: &File, path: &Path) -> Result<Option<Holder>, StateError> {
    let found = fcntl_getlk(file, &Flock::from(FlockType::WriteLock))
        .map_err(|error| StateError::new("asking who holds", path)(error.into()))?;
    Ok(found.map(|found| Holder { pid: found.pid }))
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
