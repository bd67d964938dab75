//! The ledger's file: one writer at a time, at most so many writes a day.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::ledger::{Ledger, Writes};
use crate::state::{StateError, file};

/// Writes a day, for the sake of the flash memory: one every five minutes, and some more.
const WRITES_A_DAY: u32 = 300;
/// How long another process may write.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const SECONDS_A_DAY: i64 = 86_400;

/// Why the ledger could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// This boot, or the network namespace, is not known.
    #[error("finding out which boot and network namespace this is: {0}")]
    Here(#[from] std::io::Error),
    /// Another process has had it for too long.
    #[error("{}: another process has had it for {} s", .0.display(), LOCK_TIMEOUT.as_secs())]
    Busy(PathBuf),
}

/// What has become of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It was written.
    Written,
    /// There was nothing to write.
    Unchanged,
    /// It was written too often today: the kernel's counters keep it until later.
    Later,
}

/// Who asks for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The agent, in its own time.
    Agent,
    /// A person, who is not refused.
    Owner,
}

/// The ledger's file.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The one in a state directory.
    pub fn new(state: &Path) -> Self {
        Self {
            path: state.join("usage.json"),
        }
    }

    /// The ledger as it was written last; a new one where there is none.
    pub fn load(&self) -> Ledger {
        file::read(&self.path, Ledger::parse).unwrap_or_default()
    }

    /// Keeps other processes from writing as long as the answer lives. Counters are read after that: what another
    /// process has added was read earlier.
    pub fn lock(&self) -> Result<Locked, StoreError> {
        // A file of its own: the ledger's is another one after each write.
        let path = self.path.with_extension("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(StateError::new("opening", &path))?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Locked {
                        store: self.clone(),
                        _file: file,
                    });
                }
                Err(Errno::AGAIN | Errno::INTR) if begun.elapsed() < LOCK_TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::AGAIN) => return Err(StoreError::Busy(path)),
                Err(error) => return Err(StateError::new("locking", &path)(error.into()).into()),
            }
        }
    }
}

/// The ledger's file, while no other process writes it.
#[derive(Debug)]
pub struct Locked {
    store: Store,
    _file: File,
}

impl Locked {
    /// Reads the ledger, has it changed, and writes it if it was.
    pub fn update<T>(
        &self,
        writer: Writer,
        now: Timestamp,
        change: impl FnOnce(&mut Ledger) -> T,
    ) -> Result<(T, Saved), StoreError> {
        let path = &self.store.path;
        file::quarantine(path, Ledger::parse);
        let before = self.store.load();
        let mut ledger = before.clone();
        let answer = change(&mut ledger);
        if !ledger.differs(&before) {
            return Ok((answer, Saved::Unchanged));
        }
        let day = now.as_second() / SECONDS_A_DAY;
        let earlier = Some(before.writes).filter(|writes| writes.day == day);
        let count = earlier.map_or(0, |writes| writes.count) + 1;
        if count > WRITES_A_DAY && writer == Writer::Agent {
            return Ok((answer, Saved::Later));
        }
        ledger.writes = Writes { day, count };
        let text = serde_json::to_string(&ledger)
            .map_err(|error| StateError::new("writing", path)(std::io::Error::other(error)))?;
        file::replace(path, &text)?;
        Ok((answer, Saved::Written))
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
