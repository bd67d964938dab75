//! What dm-log-writes notes of a device: each write, in the order in which a flush has made them safe.
//!
//! Of the writes since the last flush a cut may leave any and take any (Linux,
//! Documentation/admin-guide/device-mapper/log-writes.rst).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What its first block begins with.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Length of an entry's head.
const HEAD: usize = 32;

const FLUSH: u64 = 1;
const FORCED: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// What happened to the device.
#[derive(Debug)]
pub(crate) enum Entry {
    /// All before is safe.
    Flush,
    /// A write.
    Write(Write),
    /// A word of ours.
    Mark(String),
}

/// Bytes at a place of the device.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    at: usize,
    bytes: Vec<u8>,
    /// It is safe itself once it is done; those before it are not by that.
    pub(crate) forced: bool,
}

impl Write {
    /// Makes it on an image of the device.
    pub(crate) fn make(&self, image: &mut [u8]) {
        image[self.at..self.at + self.bytes.len()].copy_from_slice(&self.bytes);
    }
}

/// Reads all.
pub(crate) fn read(device: &Path) -> Result<Vec<Entry>> {
    let file = File::open(device).with_context(|| format!("opening {}", device.display()))?;
    let read = |at: u64, length: usize| -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    };
    let head = read(0, HEAD)?;
    ensure!(number(&head, 0) == MAGIC, "no log of writes");
    ensure!(number(&head, 8) == VERSION, "a log of another version");
    let unit = number(&head, 24) & 0xffff_ffff;
    let mut entries = Vec::new();
    let mut at = unit;
    for _ in 0..number(&head, 16) {
        let head = read(at, HEAD)?;
        let (place, count) = (number(&head, 0), number(&head, 8));
        let (flags, length) = (number(&head, 16), usize::try_from(number(&head, 24))?);
        if flags & MARK != 0 {
            let bytes = read(at + HEAD as u64, length)?;
            let text = String::from_utf8(bytes)?;
            entries.push(Entry::Mark(text.trim_end_matches('\0').to_owned()));
        }
        ensure!(flags & DISCARD == 0, "a discard");
        at += unit;
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
        if count > 0 {
            entries.push(Entry::Write(Write {
                at: usize::try_from(place * unit)?,
                bytes: read(at, usize::try_from(count * unit)?)?,
                forced: flags & FORCED != 0,
            }));
            at += count * unit;
        }
    }
    Ok(entries)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
