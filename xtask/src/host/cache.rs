//! What was fetched, kept outside the build directory so that `cargo clean` does not lose it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{command, say};

/// The cache directory.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Held while something is fetched, so that two calls do not fetch into the same place.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: File,
}

impl Cache {
    /// `LTE_CACHE`, else `lte-backup` in the user's cache directory. Made if need be.
    pub(crate) fn open() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = if let Some(own) = variable("LTE_CACHE") {
            std::path::absolute(PathBuf::from(own))?
        } else if let Some(xdg) = variable("XDG_CACHE_HOME") {
            PathBuf::from(xdg).join("lte-backup")
        } else if let Some(home) = variable("HOME") {
            PathBuf::from(home).join(".cache/lte-backup")
        } else {
            bail!("no place to keep downloads: set LTE_CACHE to a directory");
        };
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the cache {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path in the cache.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A directory in the cache, made if need be.
    pub(crate) fn dir(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let dir = self.path(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// Waits until no other call fetches.
    pub(crate) fn lock(&self) -> Result<Locked> {
        let path = self.path("lock");
        let file = File::create(&path)
            .with_context(|| format!("cannot write the lock {}", path.display()))?;
        if file.try_lock().is_err() {
            say::step("waiting for another `cargo xtask` that is fetching");
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Locked { _file: file })
    }
}

/// A directory that is there and empty.
pub(crate) fn fresh_dir(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir.to_owned())
}

/// The SHA-256 of a file, in hex.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    // coreutils' is everywhere and fast; ours, built without optimisation, would not be.
    let text = command::output(Command::new("sha256sum").arg("--").arg(file))?;
    let sum = text
        .trim_start_matches('\\')
        .split_whitespace()
        .next()
        .unwrap_or_default();
    if sum.len() != 64 {
        bail!("sha256sum gave no sum for {}", file.display());
    }
    Ok(sum.to_owned())
}

/// Refuses a file that is not the one whose sum was noted.
pub(crate) fn check_sha256(file: &Path, expected: &str) -> Result<()> {
    let found = sha256(file)?;
    if found != expected {
        bail!(
            "{} is damaged: its SHA-256 is {found}, not {expected}; delete it and run again",
            file.display()
        );
    }
    Ok(())
}
