//! The BPF file system: a directory of pins that goes with its handle, mounted where it is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{FsType, statfs};

use crate::bpf::FILE_SYSTEM;

/// `BPF_FS_MAGIC` of the kernel's `linux/magic.h`.
const MAGIC: FsType = FsType(0xcafe_4a11);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory in the BPF file system.
#[derive(Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// A fresh one. Where the BPF file system is not mounted, the calling thread gets a mount
    /// namespace of its own with it; the pins are then to be used on this thread.
    pub fn create() -> Result<Self> {
        let mounted = statfs(FILE_SYSTEM).is_ok_and(|found| found.filesystem_type() == MAGIC);
        if !mounted {
            private()?;
        }
        let path = PathBuf::from(format!(
            "{FILE_SYSTEM}/lte-tests-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&path)
            .with_context(|| format!("creating {}: are you root?", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Gives the calling thread, and those that it starts, a mount namespace with an empty BPF file
/// system.
///
/// # Errors
/// Without root, or where the kernel has no BPF file system.
pub fn private() -> Result<()> {
    let mount_all = || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("cannot unshare: are you root?")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(
            Some("bpf"),
            FILE_SYSTEM,
            Some("bpf"),
            MsFlags::empty(),
            none,
        )?;
        Ok(())
    };
    mount_all().with_context(|| format!("mounting the BPF file system on {FILE_SYSTEM}"))
}

impl Drop for Pins {
    fn drop(&mut self) {
        let remove = || -> std::io::Result<()> {
            for entry in fs::read_dir(&self.0)? {
                fs::remove_file(entry?.path())?;
            }
            fs::remove_dir(&self.0)
        };
        if let Err(error) = remove() {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
