//! A directory that goes when its handle goes, and files of exact modes in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A fresh directory that only root may enter.
#[derive(Debug)]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// Makes one under the system's directory for temporary files.
    pub fn new() -> Result<Self> {
        tempfile::Builder::new()
            .prefix("lte-lab-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map(Self)
            .context("creating a temporary directory")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of the given mode into it.
    pub fn write(&self, name: &str, mode: u32, content: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        let write = || -> std::io::Result<()> {
            if path.exists() {
                fs::remove_file(&path)?;
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            std::io::Write::write_all(&mut file, content.as_bytes())
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        // The umask may have taken bits that the test is about.
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .with_context(|| format!("mode of {}", path.display()))?;
        Ok(path)
    }
}
