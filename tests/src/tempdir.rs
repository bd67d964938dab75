//! A directory that goes when its handle goes.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A fresh directory that only root may enter.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one under the system's directory for temporary files.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "lte-lab-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file of the given mode into it.
    pub fn write(&self, name: &str, mode: u32, content: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
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
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .with_context(|| format!("mode of {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("lab: cannot remove {}: {error}", self.0.display());
        }
    }
}
