//! What the agent keeps on disk: for this boot in the run directory, for good in the state
//! directory.

use std::io;
use std::path::{Path, PathBuf};

mod baseline;
mod device;
mod disk;
#[cfg(test)]
mod fake_disk;
pub(crate) mod file;
mod legacy_lock;
mod lock;
mod persistent;

pub use baseline::{Baseline, BaselineFile, InterfaceBaseline};
pub use device::{ModemDevice, ModemDevices};
pub use lock::{Holder, Lock, LockError};
pub use persistent::{PersistentState, free_port};

/// The agent's two directories.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Emptied at boot: the lock and what was found before anything was changed.
    pub run: PathBuf,
    /// Kept: the chosen port, the last good addresses of endpoint names.
    pub state: PathBuf,
}

/// A file or directory of ours that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{context} {}: {source}", path.display())]
pub struct StateError {
    /// What was being done.
    pub context: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl StateError {
    pub(crate) fn new(context: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            context,
            path,
            source,
        }
    }
}

impl Dirs {
    /// Makes the directories where they are missing.
    pub fn create(&self) -> Result<(), StateError> {
        for (path, mode) in [(&self.run, 0o755), (&self.state, 0o700)] {
            file::create_directory(path, mode)?;
        }
        Ok(())
    }
}
