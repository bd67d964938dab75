//! One agent at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::StateError;

/// The lock, held as long as this lives; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs.
    #[error("another agent is running{}: stop it first, or use it", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// Its process number, as it wrote it down.
        pid: Option<i32>,
    },
    /// The file could not be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Lock {
    /// Takes the lock and writes this process's number into it.
    pub fn take(run: &Path) -> Result<Self, LockError> {
        let path = file(run);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StateError::new("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    pid: pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StateError::new("locking", &path)(error).into());
            }
        }
        let number = std::process::id();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{number}"))
            .map_err(StateError::new("writing", &path))?;
        Ok(Self { _file: file })
    }

    /// The process number of the agent that runs, if one does.
    pub fn holder(run: &Path) -> Option<Option<i32>> {
        let mut file = OpenOptions::new().read(true).open(file(run)).ok()?;
        // A shared lock is refused exactly while somebody holds the exclusive one.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(pid(&mut file)),
            _ => None,
        }
    }
}

fn file(run: &Path) -> PathBuf {
    run.join("lock")
}

fn pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let run = std::env::temp_dir().join(format!("lte-lock-{}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        assert_eq!(Lock::holder(&run), None);
        let first = Lock::take(&run).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Lock::holder(&run), Some(Some(own)));
        let second = Lock::take(&run).unwrap_err();
        assert!(matches!(second, LockError::Held { pid: Some(pid) } if pid == own));
        drop(first);
        assert_eq!(Lock::holder(&run), None);
        Lock::take(&run).unwrap();
        std::fs::remove_dir_all(&run).unwrap();
    }
}
