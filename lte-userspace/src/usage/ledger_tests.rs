//! The ledger: nothing is counted twice, and nothing is lost that was read.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::*;
use crate::backend::NamedCounter;
use crate::random::Rng;

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn at(boot: &str, now: &str) -> Circumstances {
    Circumstances {
        boot: boot.to_owned(),
        netns: 1,
        clock: Clock {
            now: time(now),
            is_right: true,
            zone: TimeZone::UTC,
        },
        budget: None,
    }
}

const NOON: &str = "2026-11-30T12:00:00Z";

fn reading(origin: Option<u64>, counters: &[(&str, u64, u64)]) -> Reading {
    let counter = |(name, packets, bytes): &(&str, u64, u64)| NamedCounter {
        name: (*name).to_owned(),
        packets: *packets,
        bytes: *bytes,
    };
    Reading {
        backend: BackendKind::Nft,
        origin,
        counters: counters.iter().map(counter).collect(),
    }
}

#[test]
fn counts_what_has_grown_and_is_billed() {
    let mut ledger = Ledger::default();
    let here = at("a", NOON);
    let first = [
        ("modem-out/tunnel", 2, 200),
        ("modem-out/drop-local", 1, 50),
    ];
    assert_eq!(ledger.update(&[reading(Some(7), &first)], &here), []);
    assert_eq!(ledger.spent, 200);
    let second = [
        ("modem-out/tunnel", 3, 260),
        ("modem-in/drop-unsolicited", 1, 40),
    ];
    for _ in 0..2 {
        assert_eq!(ledger.update(&[reading(Some(7), &second)], &here), []);
        assert_eq!(ledger.spent, 300, "a second time it adds nothing");
    }
    let expected = [
        (
            "modem-in/drop-unsolicited",
            Count {
                packets: 1,
                bytes: 40,
            },
        ),
        (
            "modem-out/tunnel",
            Count {
                packets: 3,
                bytes: 260,
            },
        ),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(ledger.by_class, BTreeMap::from(expected));
    assert_eq!(ledger.history.last_hour(here.clock.now), 300);
}

#[test]
fn counters_of_another_origin_or_boot_count_from_zero() {
    let mut ledger = Ledger::default();
    let values = [("modem-out/tunnel", 1, 100)];
    ledger.update(&[reading(Some(7), &values)], &at("a", NOON));
    ledger.update(&[reading(Some(8), &values)], &at("a", NOON));
    assert_eq!(ledger.spent, 200);
    // Both are there while one takes over from the other.
    let both = [reading(Some(7), &values), reading(Some(8), &values)];
    ledger.update(&both, &at("a", NOON));
    assert_eq!(ledger.spent, 200);
    ledger.update(&[reading(Some(8), &values)], &at("b", NOON));
    assert_eq!(ledger.spent, 300);
    let elsewhere = Circumstances {
        netns: 2,
        ..at("b", NOON)
    };
    ledger.update(&[reading(Some(8), &values)], &elsewhere);
    assert_eq!(ledger.spent, 400, "another namespace's");
    ledger.update(&[reading(Some(8), &values)], &at("b", NOON));
    assert_eq!(ledger.spent, 400);
}

/// While both are there, each packet is in both.
#[test]
fn of_two_guards_the_older_one_counts_until_it_is_gone() {
    let of = |backend, bytes| Reading {
        backend,
        ..reading(Some(1), &[("modem-out/tunnel", 1, bytes)])
    };
    let (older, newer) = (
        |bytes| of(BackendKind::Nft, bytes),
        |bytes| of(BackendKind::Ebpf, bytes),
    );
    let mut ledger = Ledger::default();
    let here = at("a", NOON);
    ledger.update(&[older(100)], &here);
    ledger.update(&[newer(10), older(110)], &here);
    assert_eq!(ledger.spent, 110);
    ledger.update(&[newer(30), older(130)], &here);
    assert_eq!(ledger.spent, 130);
    ledger.update(&[newer(35)], &here);
    assert_eq!(ledger.spent, 135);
    ledger.update(&[older(140), newer(45)], &here);
    assert_eq!(ledger.spent, 145, "it is the older one now");
}

#[test]
fn counters_without_an_origin_go_on_from_the_last_ones() {
    let mut ledger = Ledger::default();
    ledger.update(
        &[reading(Some(7), &[("modem-out/tunnel", 1, 100)])],
        &at("a", NOON),
    );
    ledger.update(
        &[reading(None, &[("modem-out/tunnel", 2, 150)])],
        &at("a", NOON),
    );
    assert_eq!(ledger.spent, 150);
    ledger.update(
        &[reading(None, &[("modem-out/tunnel", 3, 170)])],
        &at("a", NOON),
    );
    assert_eq!(ledger.spent, 170);
}

#[test]
fn a_counter_that_runs_backwards_is_reported_and_adds_nothing() {
    let mut ledger = Ledger::default();
    let here = at("a", NOON);
    ledger.update(&[reading(Some(7), &[("modem-in/reply", 5, 500)])], &here);
    let set_back = [reading(Some(7), &[("modem-in/reply", 2, 200)])];
    let events = ledger.update(&set_back, &here);
    let counter = "nft modem-in/reply".to_owned();
    assert_eq!(events, [EventKind::RanBackwards { counter }]);
    assert_eq!(ledger.spent, 500);
    ledger.update(&[reading(Some(7), &[("modem-in/reply", 3, 230)])], &here);
    assert_eq!(ledger.spent, 530);
    assert_eq!(ledger.events().len(), 1);
}

#[test]
fn the_carriers_overhead_is_spent() {
    let budget = Budget {
        limit: 1_000,
        renews: Renews::Never,
        overhead_per_packet: 10,
    };
    let here = Circumstances {
        budget: Some(budget),
        ..at("a", NOON)
    };
    let mut ledger = Ledger::default();
    ledger.update(&[reading(Some(7), &[("modem-out/tunnel", 3, 100)])], &here);
    assert_eq!(ledger.spent, 130);
}

#[test]
fn a_period_ends_when_the_time_is_known_to_have_come() {
    let budget = Budget {
        limit: 1_000,
        renews: Renews::MonthlyOn(1),
        overhead_per_packet: 0,
    };
    let with = |mut here: Circumstances, is_right| {
        here.budget = Some(budget);
        here.clock.is_right = is_right;
        here
    };
    let values = |bytes| [reading(Some(7), &[("modem-out/tunnel", 1, bytes)])];
    let mut ledger = Ledger::default();
    // A router that wakes up in 1970.
    ledger.update(&values(10), &with(at("a", "1970-01-01T00:01:00Z"), false));
    assert_eq!((ledger.since, ledger.spent), (None, 10));
    ledger.update(&values(20), &with(at("a", NOON), true));
    assert_eq!((ledger.since, ledger.spent), (Some(time(NOON)), 20));
    // The clock is ahead and does not know it.
    let december = "2026-12-01T00:00:30Z";
    assert_eq!(
        ledger.update(&values(30), &with(at("a", december), false)),
        []
    );
    assert_eq!(ledger.spent, 30);
    let renewed = ledger.update(&values(45), &with(at("a", december), true));
    assert_eq!(renewed, [EventKind::Renewed { spent: 30 }]);
    assert_eq!(ledger.spent, 15);
    assert_eq!(ledger.since, Some(time("2026-12-01T00:00:00Z")));
    // Set back over the renewal: that period is not renewed once more.
    assert_eq!(ledger.update(&values(50), &with(at("a", NOON), true)), []);
    assert_eq!((ledger.since, ledger.spent), (Some(time(NOON)), 20));
    // Several periods while the router was off are one renewal.
    let renewed = ledger.update(&values(60), &with(at("a", "2027-03-05T00:00:00Z"), true));
    assert_eq!(renewed.len(), 1);
    assert_eq!(ledger.since, Some(time("2027-03-01T00:00:00Z")));
}

#[test]
fn what_the_owner_says_is_spent_and_goes_on_from_there() {
    let mut ledger = Ledger::default();
    let here = at("a", NOON);
    let values = |bytes| [reading(Some(7), &[("modem-out/tunnel", 1, bytes)])];
    ledger.update(&values(10), &here);
    ledger.set_spent(512_000_000, here.clock.now);
    ledger.update(&values(15), &here);
    assert_eq!(ledger.spent, 512_000_005);
    let set = EventKind::Set {
        from: 10,
        to: 512_000_000,
    };
    assert_eq!(ledger.events()[0].kind, set);
}

#[test]
fn another_version_is_not_read() {
    let text = serde_json::to_string(&Ledger::default()).expect("it is made of texts and numbers");
    assert_eq!(Ledger::parse(&text), Some(Ledger::default()));
    assert_eq!(
        Ledger::parse(&text.replace("\"version\":1", "\"version\":2")),
        None
    );
    assert_eq!(Ledger::parse(&text[..text.len() / 2]), None);
}

/// A machine: its counters, and what the carrier has billed.
struct Machine {
    boot: u64,
    origins: u64,
    sets: Vec<(BackendKind, u64, u64)>,
    billed: u64,
    now: Timestamp,
}

impl Machine {
    fn here(&self) -> Circumstances {
        Circumstances {
            clock: Clock {
                now: self.now,
                is_right: true,
                zone: TimeZone::UTC,
            },
            ..at(&self.boot.to_string(), NOON)
        }
    }

    fn readings(&self) -> Vec<Reading> {
        let set = |(backend, origin, bytes): &(BackendKind, u64, u64)| Reading {
            backend: *backend,
            ..reading(Some(*origin), &[("modem-out/tunnel", 0, *bytes)])
        };
        self.sets.iter().map(set).collect()
    }

    /// A packet: of each backend the latest set counts it.
    fn pass(&mut self, bytes: u64) {
        for backend in [BackendKind::Ebpf, BackendKind::Nft] {
            let mut sets = self.sets.iter_mut().rev();
            if let Some((_, _, counted)) = sets.find(|(kind, _, _)| *kind == backend) {
                *counted += bytes;
            }
        }
        if !self.sets.is_empty() {
            self.billed += bytes;
        }
    }

    fn new_set(&mut self, backend: BackendKind) {
        self.origins += 1;
        self.sets.push((backend, self.origins, 0));
    }
}

/// The agent dies at any moment, before or after what it writes; guards are removed, taken over and made
/// anew; the machine loses its power. Whatever comes, nothing is counted twice, and nothing is lost but what passed
/// since the last write, and that only where a guard comes or goes.
#[test]
fn whatever_ends_nothing_is_counted_twice() {
    for seed in 1..=300 {
        let mut rng = Rng(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut machine = Machine {
            boot: 0,
            origins: 0,
            sets: Vec::new(),
            billed: 0,
            now: time(NOON),
        };
        // What is on disk.
        let mut file = Ledger::default();
        let (mut lost, mut unwritten) = (0, 0);
        for step in 0..200 {
            let seconds = i64::try_from(rng.below(400)).expect("it is small");
            machine.now += seconds.seconds();
            let billed = machine.billed;
            let mut may_lose = 0;
            match rng.below(11) {
                0..=4 => machine.pass(rng.below(100_000)),
                // The agent writes; a death before or after it changes nothing.
                5 | 6 => {
                    file.update(&machine.readings(), &machine.here());
                    unwritten = 0;
                }
                // It dies, between its reading and the write.
                7 => drop(file.clone().update(&machine.readings(), &machine.here())),
                // A guard beside the one that is there, which goes later.
                8 => {
                    // One of a backend that counted before is taken for that again.
                    may_lose = unwritten;
                    machine.new_set(match rng.below(2) {
                        0 => BackendKind::Ebpf,
                        _ => BackendKind::Nft,
                    });
                }
                // The older guards are removed by the agent, which writes before, or by others.
                9 => {
                    if rng.below(2) == 0 {
                        file.update(&machine.readings(), &machine.here());
                        unwritten = 0;
                    }
                    may_lose = unwritten;
                    let older = machine.sets.len().saturating_sub(1);
                    machine.sets.drain(..older);
                }
                // The power goes.
                _ => {
                    may_lose = unwritten;
                    machine.sets.clear();
                    machine.boot += 1;
                }
            }
            unwritten += machine.billed - billed;
            let mut now = file.clone();
            now.update(&machine.readings(), &machine.here());
            let missing = machine.billed.checked_sub(now.spent);
            let missing = missing.unwrap_or_else(|| panic!("twice: seed {seed}, step {step}"));
            assert!(
                (lost..=lost + may_lose).contains(&missing),
                "seed {seed}, step {step}: {missing} are missing, {lost} were before"
            );
            lost = missing;
        }
        assert!(machine.billed > 0 && lost < machine.billed, "seed {seed}");
    }
}
