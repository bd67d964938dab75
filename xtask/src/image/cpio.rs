//! The kernel's initramfs format: cpio, `newc` (Documentation/driver-api/early-userspace/buffer-format).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const TYPE_DIR: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
const TYPE_CHAR: u32 = 0o020_000;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A directory and its permissions.
    Dir(u32),
    /// A symbolic link and where it points.
    Link(String),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A file with these bytes and permissions.
    Bytes(Vec<u8>, u32),
    /// A file of the host and its permissions in the archive.
    Host(PathBuf, u32),
}

/// A tree of files to be. Paths are absolute, as the guest sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// Puts an entry at a path, with the directories above it. The last one at a path counts.
    pub(crate) fn put(&mut self, path: impl AsRef<Path>, entry: Entry) {
        let path = path.as_ref();
        for dir in path.ancestors().skip(1) {
            if dir.parent().is_some() && !self.entries.contains_key(dir) {
                self.entries.insert(dir.to_owned(), Entry::Dir(0o755));
            }
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Whether something stands there.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
    }

    /// Puts a directory of the host with all in it.
    pub(crate) fn put_dir(&mut self, host: &Path, at: &Path) -> Result<()> {
        let list = std::fs::read_dir(host)
            .with_context(|| format!("cannot read directory {}", host.display()))?;
        for entry in list {
            let entry = entry?;
            let (from, to) = (entry.path(), at.join(entry.file_name()));
            // Follows links: what they point to may not be in the guest.
            let meta = from
                .metadata()
                .with_context(|| format!("cannot read {}", from.display()))?;
            if meta.is_dir() {
                self.put_dir(&from, &to)?;
            } else if meta.is_file() {
                self.put(to, Entry::Host(from, 0o644));
            }
        }
        Ok(())
    }

    /// Writes the archive, its end marker included. Archives may follow one another in one file.
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            let name = path
                .to_str()
                .with_context(|| format!("{} is not UTF-8", path.display()))?
                .trim_start_matches('/');
            write_entry(out, number as u32 + 1, name, entry)
                .with_context(|| format!("cannot put {} into the image", path.display()))?;
        }
        Header::default().write(out, "TRAILER!!!")?;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Header {
    inode: u32,
    mode: u32,
    size: u32,
    device: (u32, u32),
}

impl Header {
    fn write(&self, out: &mut impl Write, name: &str) -> io::Result<()> {
        let fields = [
            self.inode,
            self.mode,
            0, // owner
            0, // group
            1, // links
            0, // time of change
            self.size,
            0, // device it lies on: major, minor
            0,
            self.device.0,
            self.device.1,
            name.len() as u32 + 1,
            0, // checksum, unused in newc
        ];
        let mut head = String::from("070701");
        for field in fields {
            // Writing to a string does not fail.
            write!(head, "{field:08x}").ok();
        }
        out.write_all(head.as_bytes())?;
        out.write_all(name.as_bytes())?;
        out.write_all(&[0])?;
        pad(out, head.len() + name.len() + 1)
    }
}

/// Fills up to a multiple of four.
fn pad(out: &mut impl Write, len: usize) -> io::Result<()> {
    out.write_all(&[0; 3][..len.wrapping_neg() % 4])
}

fn write_entry(out: &mut impl Write, inode: u32, name: &str, entry: &Entry) -> Result<()> {
    let header = |mode, size: usize, device| -> Result<Header> {
        Ok(Header {
            inode,
            mode,
            size: u32::try_from(size).context("larger than 4 GiB")?,
            device,
        })
    };
    let mut data = |mode, bytes: &[u8]| -> Result<()> {
        header(mode, bytes.len(), (0, 0))?.write(out, name)?;
        out.write_all(bytes)?;
        pad(out, bytes.len())?;
        Ok(())
    };
    match entry {
        Entry::Dir(mode) => header(TYPE_DIR | mode, 0, (0, 0))?.write(out, name)?,
        Entry::Char(major, minor) => {
            header(TYPE_CHAR | 0o600, 0, (*major, *minor))?.write(out, name)?;
        }
        Entry::Link(target) => data(TYPE_LINK | 0o777, target.as_bytes())?,
        Entry::Bytes(bytes, mode) => data(TYPE_FILE | mode, bytes)?,
        Entry::Host(path, mode) => {
            let mut file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let size = file.metadata()?.len() as usize;
            header(TYPE_FILE | mode, size, (0, 0))?.write(out, name)?;
            let copied = io::copy(&mut (&mut file).take(size as u64), out)?;
            if copied != size as u64 {
                bail!("{} changed while it was read", path.display());
            }
            pad(out, size)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back: name, mode, data.
    fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let up = |len: usize| len.next_multiple_of(4);
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |number: usize| {
                let text = std::str::from_utf8(&archive[6 + 8 * number..14 + 8 * number]);
                usize::from_str_radix(text.expect("hex is ASCII"), 16).expect("hex")
            };
            let (mode, size, name_len) = (field(1), field(6), field(11));
            let name = &archive[110..110 + name_len - 1];
            assert_eq!(archive[110 + name_len - 1], 0);
            let data_at = up(110 + name_len);
            let data = archive[data_at..data_at + size].to_vec();
            archive = &archive[data_at + up(size)..];
            let name = String::from_utf8(name.to_vec()).expect("UTF-8");
            if name == "TRAILER!!!" {
                assert!(archive.is_empty());
                return found;
            }
            found.push((name, mode as u32, data));
        }
    }

    #[test]
    fn an_archive_reads_back() {
        let mut tree = Tree::default();
        tree.put("/usr/bin/a", Entry::Bytes(b"12345".to_vec(), 0o755));
        tree.put("/bin", Entry::Link("usr/bin".to_owned()));
        tree.put("/dev/console", Entry::Char(5, 1));
        let mut archive = Vec::new();
        tree.write(&mut archive).expect("memory takes all");
        assert_eq!(archive.len() % 4, 0);
        let found = read(&archive);
        let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            ["bin", "dev", "dev/console", "usr", "usr/bin", "usr/bin/a"]
        );
        assert_eq!(found[0].1, 0o120_777);
        assert_eq!(found[0].2, b"usr/bin");
        assert_eq!(found[2].1, 0o020_600);
        assert_eq!(found[4].1, 0o040_755);
        assert_eq!(
            (found[5].1, found[5].2.as_slice()),
            (0o100_755, &b"12345"[..])
        );
    }

    #[test]
    fn a_file_of_the_host_is_taken_as_it_is() {
        let mut tree = Tree::default();
        let own = std::env::current_exe().expect("a test has a file");
        tree.put("/self", Entry::Host(own.clone(), 0o700));
        let mut archive = Vec::new();
        tree.write(&mut archive).expect("memory takes all");
        let expected = std::fs::read(own).expect("readable");
        assert!(read(&archive)[0].2 == expected);
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut tree = Tree::default();
        tree.put("/x", Entry::Host(PathBuf::from("/no/such/file"), 0o700));
        let error = tree.write(&mut Vec::new()).expect_err("it is missing");
        assert!(format!("{error:#}").contains("/no/such/file"));
    }
}
