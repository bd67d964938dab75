//! A state file on ext4 while the power is cut: at each write that the disk is given, and with writes lost that
//! were not flushed.
//!
//! What a file system may lose of what was not synced, however it orders it, is tried on a model of one:
//! `lte-userspace/src/state/power_cut_tests.rs`. Here it is a real one, and what the agent syncs is really synced.

mod write_log;

use std::collections::BTreeMap;
use std::collections::hash_map::{DefaultHasher, HashMap};
use std::fs::OpenOptions;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lte_tests::figure::figure;
use lte_tests::process;
use lte_tests::tempdir::TempDir;
use lte_userspace::state::{Dirs, PersistentState};
use nix::mount::{MsFlags, mount, umount};

use crate::write_log::{Entry, Write};

// The oldest and the newest ext4 of the matrix.
lte_tests::runs_on!(oldest, newest);

/// How often the file is replaced.
const SAVES: u16 = 4;
/// As small as ext4 becomes with a journal: each try writes it whole.
const LENGTH: usize = 4 << 20;
const FILE_SYSTEM: [&str; 8] = [
    "-q",
    "-F",
    "-b1024",
    "-Jsize=1",
    "-Onone,has_journal,extent,filetype,sparse_super,metadata_csum",
    "-Enodiscard,lazy_itable_init=0,lazy_journal_init=0",
    "-m0",
    "-N64",
];
/// The name of the device whose writes are noted.
const NAME: &str = "lte-power-cut";
/// Disks made of memory: the file system's, that of the log, and that of the tries.
const DISK: &str = "/dev/ram0";
const LOG: &str = "/dev/ram1";
const TRY: &str = "/dev/ram2";

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    process::tool(program, arguments, "").map(drop)
}

/// A device of which each write is noted.
struct Noted {
    device: String,
}

impl Noted {
    fn new() -> Result<Self> {
        let table = format!("0 {} log-writes {DISK} {LOG}", LENGTH / 512);
        run("dmsetup", &["create", NAME, "--table", &table])?;
        // Its link in /dev/mapper is udev's matter.
        let question = ["info", "-c", "--noheadings", "-o", "blkdevname", NAME];
        let name = process::tool("dmsetup", &question, "")?;
        Ok(Self {
            device: format!("/dev/{}", name.trim()),
        })
    }
}

/// Puts a word between the writes.
fn mark(word: &str) -> Result<()> {
    run("dmsetup", &["message", NAME, "0", "mark", word])
}

/// A file system while it is mounted.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(device: &str, at: &'a Path) -> Result<Self> {
        let no_data: Option<&str> = None;
        mount(Some(device), at, Some("ext4"), MsFlags::empty(), no_data)
            .with_context(|| format!("mounting {device}"))?;
        Ok(Self(at))
    }

    fn state(&self) -> PathBuf {
        self.0.join("lib/state")
    }

    fn end(self) -> Result<()> {
        umount(self.0).context("unmounting")
    }
}

/// The addresses that are kept the n-th time.
fn addresses(number: u16) -> BTreeMap<String, SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), number));
    BTreeMap::from([("vpn.example.org:51820".to_owned(), address)])
}

/// Keeps addresses again and again. What the disk was given meanwhile, and a mark after each time.
fn keep(place: &Path) -> Result<Vec<Entry>> {
    let noted = Noted::new()?;
    run("mkfs.ext4", &[&FILE_SYSTEM[..], &[&noted.device]].concat())?;
    let mounted = Mounted::new(&noted.device, place)?;
    let dirs = Dirs {
        run: place.join("run"),
        state: mounted.state(),
    };
    mark("made")?;
    dirs.create()?;
    let persistent = PersistentState::new(&dirs.state);
    for number in 1..=SAVES {
        persistent.save_endpoints(&addresses(number))?;
        mark("kept")?;
    }
    mark("over")?;
    mounted.end()?;
    run("dmsetup", &["remove", NAME])?;
    write_log::read(Path::new(LOG))
}

/// What is read after a cut.
struct Tries<'a> {
    place: &'a Path,
    known: HashMap<u64, u16>,
}

impl Tries<'_> {
    /// The last of those that are known to be kept, or the one that was just being written, has to be there.
    fn on(&mut self, image: &[u8], kept: u16) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        let image_hash = hasher.finish();
        let found = match self.known.get(&image_hash) {
            Some(found) => *found,
            None => self.found(image)?,
        };
        self.known.insert(image_hash, found);
        ensure!(
            (kept..=kept + 1).contains(&found),
            "{kept} were kept, and number {found} is read"
        );
        Ok(())
    }

    /// Which was read; 0 for none.
    fn found(&self, image: &[u8]) -> Result<u16> {
        let mut device = OpenOptions::new().write(true).open(TRY)?;
        device.write_all(image)?;
        device.sync_all()?;
        drop(device);
        let mounted = Mounted::new(TRY, self.place)?;
        let found = PersistentState::new(&mounted.state()).endpoints();
        mounted.end()?;
        Ok(found.values().next().map_or(0, SocketAddr::port))
    }
}

/// What was written since the last flush.
#[derive(Default)]
struct Pending(Vec<Write>);

impl Pending {
    /// An image with those of them that are chosen; what was forced is always there.
    fn on(&self, base: &[u8], chosen: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut image = base.to_vec();
        for (number, write) in self.0.iter().enumerate() {
            if write.forced || chosen(number) {
                write.make(&mut image);
            }
        }
        image
    }

    /// None of them, each alone, all but each.
    fn lost(&self, base: &[u8]) -> Vec<Vec<u8>> {
        let mut images = vec![self.on(base, |_| false)];
        for lost in 0..self.0.len() {
            images.push(self.on(base, |number| number == lost));
            images.push(self.on(base, |number| number != lost));
        }
        images
    }
}

#[test]
fn at_each_write_of_ext4_the_old_addresses_are_there_or_the_new() -> Result<()> {
    run("modprobe", &["brd", "rd_nr=3", "rd_size=32768"])?;
    let place = TempDir::new()?;
    let entries = keep(place.path())?;
    let mut tries = Tries {
        place: place.path(),
        known: HashMap::new(),
    };
    let mut image = vec![0; LENGTH];
    let mut pending = Pending::default();
    // Before the file system is made there is none to be read.
    let mut made = false;
    let (mut writes, mut kept) = (0, 0);
    for entry in entries {
        match entry {
            Entry::Mark(word) if word == "made" => made = true,
            Entry::Mark(word) if word == "kept" => kept += 1,
            Entry::Mark(_) => break,
            Entry::Flush => {
                for lost in pending.lost(&image).iter().filter(|_| made) {
                    tries.on(lost, kept)?;
                }
                image = pending.on(&image, |_| true);
                pending = Pending::default();
            }
            Entry::Write(write) => {
                writes += 1;
                pending.0.push(write);
                if made {
                    tries.on(&pending.on(&image, |_| true), kept)?;
                }
            }
        }
    }
    for lost in pending.lost(&image) {
        tries.on(&lost, kept)?;
    }
    ensure!(kept == SAVES, "the log ends after {kept}");
    figure(
        "a cut on ext4",
        "writes, different disks after a cut",
        format!("{writes}, {}", tries.known.len()),
    );
    Ok(())
}
