//! Files that outlive a power cut.
//!
//! A file is replaced as a whole: written beside, synced, renamed, and its directory synced, so that at any
//! moment there is the old content or the new one. The content before is kept beside, as a second name of the old
//! file, and that name is synced before the file is renamed over: where a file system has lost the newer one after
//! all, or it has been emptied, that is read. A file with invalid content is reported and kept.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::StateError;
use super::disk::{Disk, RealDisk};

/// A file with more in its name.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(more);
    name.into()
}

fn new_path(path: &Path) -> PathBuf {
    beside(path, ".new")
}

fn old_path(path: &Path) -> PathBuf {
    beside(path, ".old")
}

/// Replaces a file's content. It is on disk at the return.
pub(crate) fn replace(path: &Path, content: &str) -> Result<(), StateError> {
    replace_on(&RealDisk, path, content)
}

fn replace_on(disk: &impl Disk, path: &Path, content: &str) -> Result<(), StateError> {
    let new = new_path(path);
    // What a power cut has left, or another process has planted.
    remove(disk, &new)?;
    write(disk, &new, content).map_err(StateError::new("writing", &new))?;
    keep_old(disk, path)?;
    disk.rename(&new, path)
        .and_then(|()| sync_names(disk, path))
        .map_err(StateError::new("replacing", path))
}

fn write(disk: &impl Disk, new: &Path, content: &str) -> io::Result<()> {
    let mut file = disk.create_new(new)?;
    disk.write(&mut file, content.as_bytes())?;
    disk.sync(&file)
}

/// Keeps the content that is to be replaced.
fn keep_old(disk: &impl Disk, path: &Path) -> Result<(), StateError> {
    // What is kept already stays, where what would take its place is not whole.
    if !disk.length(path).is_ok_and(|length| length > 0) {
        return Ok(());
    }
    let old = old_path(path);
    remove(disk, &old)?;
    // Without a second name it is replaced all the same: some file systems have none.
    if disk.link(path, &old).is_ok() {
        // Or one cut could take both names.
        sync_names(disk, path).map_err(StateError::new("keeping", &old))?;
    }
    Ok(())
}

/// Syncs the directory that a file is in.
fn sync_names(disk: &impl Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => disk.sync_directory(Path::new(".")),
        Some(directory) => disk.sync_directory(directory),
        None => Ok(()),
    }
}

/// Makes a directory where it is missing, with those that it is in. It is on disk at the return, also where
/// another process has just made it.
pub(super) fn create_directory(path: &Path, mode: u32) -> Result<(), StateError> {
    create_directory_on(&RealDisk, path, mode)
}

fn create_directory_on(disk: &impl Disk, path: &Path, mode: u32) -> Result<(), StateError> {
    let failed = || StateError::new("creating directory", path);
    let is_missing = |directory: &&Path| !disk.is_directory(directory);
    let above = path.ancestors().skip(1);
    let above = above.filter(|directory| !directory.as_os_str().is_empty());
    let mut missing: Vec<&Path> = above.take_while(is_missing).collect();
    missing.reverse();
    for directory in missing.into_iter().chain([path]) {
        match disk.create_directory(directory, mode) {
            Err(error)
                if error.kind() != io::ErrorKind::AlreadyExists || is_missing(&directory) =>
            {
                return Err(failed()(error));
            }
            _ => {}
        }
        // Who may not read what it is in can still keep files in it.
        if let Err(error) = sync_names(disk, directory) {
            log::warn!(
                "syncing {} to disk: {error}: a power cut may take it",
                directory.display()
            );
        }
    }
    Ok(())
}

/// A file's content, as `parse` understands it, else the content before it; `None` where there is neither.
/// What cannot be read or understood is said.
pub(crate) fn read<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let (content, said) = read_on(&RealDisk, path, parse);
    for line in said {
        log::warn!("{line}");
    }
    content
}

/// The content, and what is to be said of it.
fn read_on<T>(
    disk: &impl Disk,
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> (Option<T>, Vec<String>) {
    let mut said = Vec::new();
    let old = old_path(path);
    match read_one(disk, path, &parse) {
        Ok(Some(content)) => return (Some(content), said),
        Ok(None) => {}
        Err(why) => said.push(format!("{}: {why}", path.display())),
    }
    match read_one(disk, &old, &parse) {
        Ok(Some(content)) => {
            if said.is_empty() {
                said.push(format!("{}: the file is missing", path.display()));
            }
            said.push(format!("using {} instead", old.display()));
            (Some(content), said)
        }
        Ok(None) => (None, said),
        Err(why) => {
            said.push(format!("{}: {why}", old.display()));
            (None, said)
        }
    }
}

/// Sets a file aside that cannot be read or understood, before it is replaced.
pub(crate) fn quarantine<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) {
    if let Some(said) = quarantine_on(&RealDisk, path, parse) {
        log::warn!("{said}");
    }
}

/// What is to be said of it.
fn quarantine_on<T>(
    disk: &impl Disk,
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<String> {
    let why = read_one(disk, path, &parse).err()?;
    let bad = beside(path, ".bad");
    Some(match disk.rename(path, &bad) {
        Ok(()) => format!("{}: {why}; kept as {}", path.display(), bad.display()),
        Err(error) => format!("{}: {why}; it stays: {error}", path.display()),
    })
}

fn read_one<T>(
    disk: &impl Disk,
    path: &Path,
    parse: &impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let text = match disk.text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if text.is_empty() {
        return Err("the file is empty".to_owned());
    }
    parse(&text)
        .map(Some)
        .ok_or_else(|| "invalid content".to_owned())
}

/// Removes a file that may be gone already.
fn remove(disk: &impl Disk, path: &Path) -> Result<(), StateError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StateError::new("removing", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file with all that is kept beside it. It is gone from the disk at the return.
pub(super) fn remove_all(path: &Path) -> Result<(), StateError> {
    remove_all_on(&RealDisk, path)
}

fn remove_all_on(disk: &impl Disk, path: &Path) -> Result<(), StateError> {
    let sync = || match sync_names(disk, path) {
        // What is not there holds no file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(StateError::new("removing", path)),
    };
    // The older one first, or it would stand for the newer.
    for file in [old_path(path), new_path(path)] {
        remove(disk, &file)?;
    }
    sync()?;
    remove(disk, path)?;
    sync()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "power_cut_tests.rs"]
mod power_cut_tests;
