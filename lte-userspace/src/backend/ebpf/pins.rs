//! The directory of pins in the BPF file system.
//!
//! It carries the layout's version: opening a pinned map does not compare its layout.

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

/// Names in the directory that begin with a prefix, without it.
pub(super) fn names(prefix: &str) -> Result<Vec<String>, BackendError> {
    let entries = match fs::read_dir(dir()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            return Err(BackendError::failed(format!("read {}", dir().display()), e));
        }
    };
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
        .collect())
}

/// Takes away all pins, of other layouts too; what goes wrong is returned.
pub(super) fn remove() -> Vec<BackendError> {
    fn recurse(dir: &Path, errors: &mut Vec<BackendError>) {
        let fail = |path: &Path, e| BackendError::failed(format!("remove {}", path.display()), e);
        match fs::read_dir(dir) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        recurse(&path, errors);
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
    let mut errors = Vec::new();
    recurse(Path::new(OURS), &mut errors);
    errors
}
