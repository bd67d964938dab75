//! The ledger's file: written when something has changed, and not too often.

use std::fs;

use jiff::{Timestamp, ToSpan as _};

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lte-usage-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for tests");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn noon() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().expect("a time")
}

fn update(
    store: &Store,
    writer: Writer,
    now: Timestamp,
    change: impl FnOnce(&mut Ledger),
) -> Saved {
    let locked = store.lock().expect("it can be locked");
    locked.update(writer, now, change).expect("it is written").1
}

fn set(store: &Store, writer: Writer, now: Timestamp, bytes: u64) -> Saved {
    let change = |ledger: &mut Ledger| ledger.spent = bytes;
    update(store, writer, now, change)
}

#[test]
fn it_is_written_when_it_has_changed() {
    let directory = Directory::new("changed");
    let store = Store::new(&directory.0);
    assert_eq!(store.load(), Ledger::default());
    assert_eq!(set(&store, Writer::Agent, noon(), 5), Saved::Written);
    assert_eq!(set(&store, Writer::Agent, noon(), 5), Saved::Unchanged);
    assert_eq!(store.load().spent, 5);
    assert_eq!(set(&store, Writer::Agent, noon(), 6), Saved::Written);
    assert_eq!(store.load().spent, 6);
}

#[test]
fn the_agent_writes_300_times_a_day_at_most() {
    let directory = Directory::new("often");
    let store = Store::new(&directory.0);
    let mut written = 0;
    for bytes in 1..=400 {
        written += usize::from(set(&store, Writer::Agent, noon(), bytes) == Saved::Written);
    }
    assert_eq!(written, 300);
    assert_eq!(store.load().spent, 300);
    assert_eq!(set(&store, Writer::Owner, noon(), 500), Saved::Written);
    assert_eq!(set(&store, Writer::Agent, noon(), 600), Saved::Later);
    let tomorrow = noon() + 24.hours();
    assert_eq!(set(&store, Writer::Agent, tomorrow, 700), Saved::Written);
}

#[test]
fn one_that_is_broken_is_kept_aside_and_the_one_before_it_goes_on() {
    let directory = Directory::new("broken");
    let store = Store::new(&directory.0);
    for bytes in [5, 6] {
        set(&store, Writer::Agent, noon(), bytes);
    }
    fs::write(&store.path, "{\"version\":9}").expect("it can be written");
    assert_eq!(store.load().spent, 5);
    let change = |ledger: &mut Ledger| ledger.spent += 2;
    update(&store, Writer::Agent, noon(), change);
    assert_eq!(store.load().spent, 7);
    let aside = directory.0.join("usage.json.bad");
    assert_eq!(
        fs::read_to_string(aside).expect("it is kept"),
        "{\"version\":9}"
    );
}

#[test]
fn two_writers_do_not_lose_each_others_changes() {
    let directory = Directory::new("two");
    let store = Store::new(&directory.0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let change = |ledger: &mut Ledger| ledger.spent += 1;
                    update(&store, Writer::Owner, noon(), change);
                }
            });
        }
    });
    assert_eq!(store.load().spent, 100);
}
