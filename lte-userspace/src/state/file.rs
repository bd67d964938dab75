//! Files that outlive a power cut.
//!
//! A file is replaced as a whole: written beside, synced, renamed, and its directory synced, so that at any
//! moment there is the old content or the new one. The content before is kept beside, as a second name of the old
//! file: where a file system has lost the newer one after all, or it has been emptied, that is read. A file
//! with invalid content is reported and kept.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::StateError;

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

/// Replaces a file's content.
pub(super) fn replace(path: &Path, content: &str) -> Result<(), StateError> {
    replace_by(path, content, &mut |_| Ok(()))
}

/// The steps of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Created,
    Written,
    Synced,
    Kept,
    Renamed,
}

/// Replaces a file's content; `on_stage` hears of each step that is done, and may have it end there.
fn replace_by(
    path: &Path,
    content: &str,
    on_stage: &mut dyn FnMut(Stage) -> io::Result<()>,
) -> Result<(), StateError> {
    let new = new_path(path);
    // What a power cut has left, or another process has planted.
    remove(&new)?;
    let write = |on_stage: &mut dyn FnMut(Stage) -> io::Result<()>| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&new)?;
        on_stage(Stage::Created)?;
        file.write_all(content.as_bytes())?;
        on_stage(Stage::Written)?;
        file.sync_all()?;
        on_stage(Stage::Synced)
    };
    write(on_stage).map_err(StateError::new("writing", &new))?;
    let old = old_path(path);
    // One that is whole stays, where what would take its place is not.
    if fs::metadata(path).is_ok_and(|found| found.len() > 0) {
        remove(&old)?;
        // Without a second name it is replaced all the same: some file systems have none.
        drop(fs::hard_link(path, &old));
    }
    let rename = |on_stage: &mut dyn FnMut(Stage) -> io::Result<()>| {
        on_stage(Stage::Kept)?;
        fs::rename(&new, path)?;
        on_stage(Stage::Renamed)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    rename(on_stage).map_err(StateError::new("replacing", path))
}

/// A file's content, as `parse` understands it, else the content before it; `None` where there is neither.
/// What cannot be read or understood is said.
pub(super) fn read<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut lost = false;
    for path in [path.to_owned(), old_path(path)] {
        match read_one(&path, &parse) {
            Ok(None) => {}
            Ok(content) => {
                if lost {
                    log::warn!("using {} instead", path.display());
                }
                return content;
            }
            Err(why) => {
                lost = true;
                log::warn!("{}: {why}", path.display());
            }
        }
    }
    None
}

/// Sets a file aside that cannot be read or understood, before it is replaced.
pub(super) fn quarantine<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) {
    let Err(why) = read_one(path, &parse) else {
        return;
    };
    let bad = beside(path, ".bad");
    match fs::rename(path, &bad) {
        Ok(()) => log::warn!("{}: {why}; kept as {}", path.display(), bad.display()),
        Err(error) => log::warn!("{}: {why}; it stays: {error}", path.display()),
    }
}

fn read_one<T>(path: &Path, parse: &impl Fn(&str) -> Option<T>) -> Result<Option<T>, String> {
    let text = match text(path) {
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

/// More than any of these files ever has, bytes.
const MAX_LEN: u64 = 1 << 20;

/// A file's text. What is planted in its place does not hold the agent up: a pipe without a writer, a
/// device without an end, a link.
fn text(path: &Path) -> io::Result<String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if found.len() > MAX_LEN {
        return Err(io::Error::other(format!(
            "it has {} bytes: no file of the agent's has more than {MAX_LEN}",
            found.len()
        )));
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StateError::new("removing", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file with all that is kept beside it.
pub(super) fn remove_all(path: &Path) -> Result<(), StateError> {
    // The older one first, or it would stand for the newer.
    for file in [old_path(path), new_path(path), path.to_owned()] {
        remove(&file)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
