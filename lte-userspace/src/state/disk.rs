//! What the agent's files ask of a file system: of the machine's ([`RealDisk`]), and in tests of one made of memory,
//! of which the power can be cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// More than any of these files ever has, bytes.
const MAX_LEN: u64 = 1 << 20;

/// A file system. Nothing that is done outlives a power cut before it is synced: a file's content by
/// [`sync`](Disk::sync), the names in a directory by [`sync_directory`](Disk::sync_directory).
pub(super) trait Disk {
    /// An open file.
    type File;

    /// Makes a file that is not there yet, for its owner alone.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;

    /// Appends to it.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Waits until its content is on disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Waits until the names in a directory are on disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    fn link(&self, path: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name, in the place of what has it.
    fn rename(&self, path: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory.
    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Whether there is a directory.
    fn is_directory(&self, path: &Path) -> bool;

    /// A file's length.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// A file's text.
    fn text(&self, path: &Path) -> io::Result<String>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create_new(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn link(&self, path: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(path, to)
    }

    fn rename(&self, path: &Path, to: &Path) -> io::Result<()> {
        fs::rename(path, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    /// What is planted in a file's place does not hold the agent up: a pipe without a writer, a device without an
    /// end, a link.
    fn text(&self, path: &Path) -> io::Result<String> {
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
}
