//! What `usage` prints.

use jiff::ToSpan as _;

use super::*;
use crate::backend::{BackendKind, NamedCounter};
use crate::config::Renews;
use crate::golden;
use crate::usage::{Circumstances, Reading};

/// A month of a tunnel that is mostly idle.
fn month(budget: Option<Budget>, is_right: bool) -> Report {
    let zone = TimeZone::get("Europe/Berlin").expect("the zone is installed");
    let mut ledger = Ledger::default();
    let now = "2026-11-30T11:00:00Z".parse().expect("a time");
    let mut at = Circumstances {
        boot: "a".to_owned(),
        netns: 1,
        clock: Clock {
            now,
            is_right,
            zone,
        },
        budget,
    };
    let (mut packets, mut bytes) = (0, 0);
    for hour in (0..24 * 40).rev() {
        packets += 45;
        bytes += if hour == 100 { 12_345_678 } else { 2_700 };
        at.clock.now = now - hour.hours();
        let counter = |name: &str, packets, bytes| NamedCounter {
            name: name.to_owned(),
            packets,
            bytes,
        };
        let reading = Reading {
            backend: BackendKind::Ebpf,
            origin: Some(1),
            counters: vec![
                counter("modem-out/tunnel", packets, bytes),
                counter("modem-in/reply", packets / 40, packets / 40 * 120),
                counter("modem-in/drop-unsolicited", 3, 180),
            ],
        };
        ledger.update(&[reading], &at);
    }
    Report::new(&ledger, at.budget.as_ref(), &at.clock)
}

#[test]
fn what_is_printed() {
    let budget = Budget {
        limit: 2_000_000_000,
        renews: Renews::MonthlyOn(15),
        overhead_per_packet: 0,
    };
    for (name, report) in [
        ("usage", month(Some(budget), true)),
        ("usage-no-budget", month(None, true)),
        ("usage-no-clock", month(Some(budget), false)),
    ] {
        golden::assert(&format!("src/cli/golden/{name}.txt"), &report.to_string());
        let json = serde_json::to_string_pretty(&report).expect("it is made of texts and numbers");
        golden::assert(&format!("src/cli/golden/{name}.json"), &(json + "\n"));
    }
}

#[test]
fn sizes_are_cut() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (1_999_999, "1.99 MB"),
        (2_000_000_000, "2.00 GB"),
        (u64::MAX, "18446744.07 TB"),
    ] {
        assert_eq!(Size(bytes).to_string(), text);
    }
}

#[test]
fn when_it_will_be_empty() {
    let now: Timestamp = "2026-11-30T12:00:00Z".parse().expect("a time");
    let day = Some(now + 24.hours());
    assert_eq!(empty_at(now, 100, 100, SECONDS_A_DAY), day);
    assert_eq!(empty_at(now, 0, 100, SECONDS_A_DAY), Some(now));
    assert_eq!(empty_at(now, 100, 0, SECONDS_A_DAY), None);
    assert_eq!(empty_at(now, u64::MAX, 1, SECONDS_A_DAY), None);
}
