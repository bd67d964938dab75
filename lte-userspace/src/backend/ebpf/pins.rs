//! The directory of pins in the BPF file system.
//!
//! It carries the layout's version: opening a pinned map does not compare its layout.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lte_common::layout;

use crate::backend::BackendError;

/// Where the BPF file system is mounted.
pub(super) const BPF_FS: &str = "/sys/fs/bpf";
const OURS: &str = "/sys/fs/bpf/lte-backup";

/// The directory of this layout's pins.
pub(super) fn dir() -> PathBuf {
    Path::new(OURS).join(format!("v{}", layout::VERSION))
}

/// A pin of this layout.
pub(super) fn path(name: &str) -> PathBuf {
    dir().join(name)
}

pub(super) fn create() -> Result<PathBuf, BackendError> {
    let dir = dir();
    fs::create_dir_all(&dir)
        .map_err(|e| BackendError::failed(format!("create {}", dir.display()), e))?;
    Ok(dir)
}

pub(super) fn exist() -> bool {
    Path::new(OURS).exists()
}

/// The directories of other layouts: another version of the agent has left them.
pub(super) fn others() -> Vec<PathBuf> {
    let own = dir();
    let entries = fs::read_dir(OURS).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| *path != own && path.is_dir())
        .collect()
}

/// Names in the directories of all layouts that begin with a prefix, without it.
pub(super) fn names(prefix: &str) -> Result<Vec<String>, BackendError> {
    let mut names = BTreeSet::new();
    for dir in others().into_iter().chain([dir()]) {
        names.extend(names_in(&dir, prefix)?);
    }
    Ok(names.into_iter().collect())
}

fn names_in(dir: &Path, prefix: &str) -> Result<Vec<String>, BackendError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            return Err(BackendError::failed(format!("read {}", dir.display()), e));
        }
    };
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
        .collect())
}

/// Makes the pins of other layouts whose names begin so pins of this one, where it has none of
/// that name. A pin that is moved never ceases to hold what it holds.
pub(super) fn take_over(prefixes: &[&str]) -> Result<(), BackendError> {
    for other in others() {
        for prefix in prefixes {
            for name in names_in(&other, prefix)? {
                let name = format!("{prefix}{name}");
                let (from, to) = (other.join(&name), path(&name));
                if !to.exists() {
                    fs::rename(&from, &to).map_err(|e| {
                        BackendError::failed(format!("take over {}", from.display()), e)
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// The pins of a name, whichever layout's directory they are in.
pub(super) fn named(name: &str) -> Vec<PathBuf> {
    others()
        .into_iter()
        .chain([dir()])
        .map(|dir| dir.join(name))
        .filter(|path| path.exists())
        .collect()
}

/// Takes a pin away.
pub(super) fn unpin(path: &Path) -> Result<(), BackendError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(BackendError::failed(
            format!("remove {}", path.display()),
            e,
        )),
        _ => Ok(()),
    }
}

/// Takes away what other layouts have left; what goes wrong is returned.
pub(super) fn remove_others() -> Vec<BackendError> {
    let mut errors = Vec::new();
    for dir in others() {
        remove_all(&dir, &mut errors);
    }
    errors
}

/// Takes away all pins, of other layouts too; what goes wrong is returned.
pub(super) fn remove() -> Vec<BackendError> {
    let mut errors = Vec::new();
    remove_all(Path::new(OURS), &mut errors);
    errors
}

fn remove_all(dir: &Path, errors: &mut Vec<BackendError>) {
    let fail = |path: &Path, e| BackendError::failed(format!("remove {}", path.display()), e);
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    remove_all(&path, errors);
                } else if let Err(e) = fs::remove_file(&path) {
                    errors.push(fail(&path, e));
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return,
        Err(e) => errors.push(fail(dir, e)),
    }
    if let Err(e) = fs::remove_dir(dir) {
        errors.push(fail(dir, e));
    }
}
