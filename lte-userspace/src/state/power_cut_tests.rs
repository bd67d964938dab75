//! The power is cut at each moment of what is done with a file, and again at each moment of what is done with what
//! that has left: on each such disk there is the old content or the new one, whole, and what is lost is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use super::*;
use crate::state::fake_disk::FakeDisk;

/// Content is a number with a mark at its end, so that a part of it is none.
fn parse(text: &str) -> Option<u32> {
    text.strip_suffix('.')?.parse().ok()
}

/// What is written one after another, with a cut each time; of different lengths.
const CONTENTS: [&str; 4] = ["1.", "22.", "333.", "4444."];

fn directory() -> PathBuf {
    PathBuf::from("/var/state")
}

fn kept() -> PathBuf {
    directory().join("kept")
}

/// A disk with the directory and without a file.
fn empty() -> FakeDisk {
    let disk = FakeDisk::new();
    create_directory_on(&disk, &directory(), 0o700).unwrap();
    disk.after_a_cut().pop().unwrap()
}

/// What is read; a panic where something is there and nothing is said of it.
fn found(disk: &FakeDisk) -> Option<u32> {
    let (content, said) = read_on(disk, &kept(), parse);
    let is_there = |path: &Path| disk.text(path).is_ok();
    let is_plain = match content {
        Some(_) => disk.text(&kept()).ok().as_deref().and_then(parse) == content,
        None => !is_there(&kept()) && !is_there(&old_path(&kept())),
    };
    let files = disk.listing();
    let is_said = said
        .first()
        .is_some_and(|line| line.starts_with("/var/state/kept"));
    assert_eq!(is_plain, !is_said, "{content:?} of {files:?}: {said:?}");
    content
}

/// What a cut at any moment of a work may leave, other than `before` and `after`, and other than `after` at its
/// end; and all disks that were looked at.
fn wrong(disk: &FakeDisk, before: Option<u32>, after: Option<u32>) -> (Vec<String>, Vec<FakeDisk>) {
    let mut wrong = Vec::new();
    let earlier = disk.after_earlier_cuts();
    let at_the_end = disk.after_a_cut();
    for left in &earlier {
        let found = found(left);
        if found != before && found != after {
            wrong.push(format!("meanwhile {found:?}: {:?}", left.listing()));
        }
    }
    for left in &at_the_end {
        let found = found(left);
        if found != after {
            wrong.push(format!("at the end {found:?}: {:?}", left.listing()));
        }
    }
    (wrong, [earlier, at_the_end].concat())
}

/// A start on a disk, as the agent makes it, and one more content.
fn start_and_replace(disk: &FakeDisk, content: &str) {
    quarantine_on(disk, &kept(), parse);
    replace_on(disk, &kept(), content).unwrap();
}

#[test]
fn whatever_is_lost_at_whatever_moment_the_old_content_is_there_or_the_new() {
    let mut seen = BTreeSet::new();
    let mut disks = vec![empty()];
    for content in CONTENTS {
        let mut next = Vec::new();
        for disk in disks {
            let before = found(&disk);
            let work = disk.clone();
            start_and_replace(&work, content);
            let (wrong, left) = wrong(&work, before, parse(content));
            assert_eq!(wrong, Vec::<String>::new(), "{:?}", disk.listing());
            next.extend(left.into_iter().filter(|disk| seen.insert(disk.listing())));
        }
        disks = next;
    }
    assert!(seen.len() > 50, "only {} disks were tried", seen.len());
}

#[test]
fn what_is_forgotten_is_gone_or_is_there_and_is_no_older_one() {
    let disk = two_contents();
    let before = found(&disk);
    remove_all_on(&disk, &kept()).unwrap();
    let (wrong, _) = wrong(&disk, before, None);
    assert_eq!(wrong, Vec::<String>::new());
}

/// What was damaged by whatever is said, and does not become less by the next start.
#[test]
fn a_damaged_file_is_said_and_the_one_before_it_is_kept() {
    for damaged in ["", "22", "\0\0\0"] {
        for before in [None, Some("1."), Some("")] {
            let disk = empty();
            disk.put(&kept(), damaged.as_bytes());
            if let Some(before) = before {
                disk.put(&old_path(&kept()), before.as_bytes());
            }
            let is_read = found(&disk);
            assert_eq!(is_read, before.and_then(parse));
            if damaged.is_empty() {
                // Emptied while the agent runs.
                let disk = disk.clone();
                replace_on(&disk, &kept(), "333.").unwrap();
                let (wrong, _) = wrong(&disk, is_read, Some(333));
                assert_eq!(wrong, Vec::<String>::new(), "{before:?}");
            }
            start_and_replace(&disk, "333.");
            let (wrong, _) = wrong(&disk, is_read, Some(333));
            assert_eq!(wrong, Vec::<String>::new(), "{damaged:?}, {before:?}");
        }
    }
}

/// A disk on which a content and the one before it are.
fn two_contents() -> FakeDisk {
    let disk = empty();
    replace_on(&disk, &kept(), "1.").unwrap();
    replace_on(&disk, &kept(), "22.").unwrap();
    disk.after_a_cut().pop().unwrap()
}

/// The first content, with the directories that it needs.
fn start_anew(disk: &FakeDisk) {
    create_directory_on(disk, &directory(), 0o700).unwrap();
    replace_on(disk, &kept(), "333.").unwrap();
}

/// Whether a work on a disk is seen to lose something for each sync that is left out.
fn each_sync_is_needed(disk: &FakeDisk, after: Option<u32>, work: impl Fn(&FakeDisk)) {
    let before = found(disk);
    let all = disk.clone();
    work(&all);
    assert_eq!(wrong(&all, before, after).0, Vec::<String>::new());
    assert!(all.syncs() > 0);
    for number in 0..all.syncs() {
        let without = disk.without_sync(number);
        work(&without);
        let (wrong, _) = wrong(&without, before, after);
        assert!(!wrong.is_empty(), "sync {number} makes no difference");
    }
}

#[test]
fn each_sync_is_needed_and_so_is_the_rename() {
    each_sync_is_needed(&FakeDisk::new(), Some(333), start_anew);
    each_sync_is_needed(&two_contents(), Some(333), |disk| {
        replace_on(disk, &kept(), "333.").unwrap();
    });
    each_sync_is_needed(&two_contents(), None, |disk| {
        remove_all_on(disk, &kept()).unwrap();
    });

    let in_place = two_contents();
    remove(&in_place, &old_path(&kept())).unwrap();
    remove(&in_place, &kept()).unwrap();
    write(&in_place, &kept(), "333.").unwrap();
    sync_names(&in_place, &kept()).unwrap();
    let (wrong, _) = wrong(&in_place, Some(22), Some(333));
    assert!(!wrong.is_empty(), "a write in place loses nothing");
}
