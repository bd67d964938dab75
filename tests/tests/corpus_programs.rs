//! The corpus against the programs in the running kernel, by `BPF_PROG_TEST_RUN`. Needs root.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::fmt::Write;

use lte_common::headers::Joined;
use lte_tests::corpus::check::{Ending, check};
use lte_tests::corpus::program::Programs;
use lte_tests::corpus::{GuardState, Seen, Subject, cases, joined};

#[test]
fn every_case_ends_as_the_table_says() {
    let mut programs = Programs::new().unwrap();
    // No packet of `BPF_PROG_TEST_RUN` belongs to a UDP socket: `conformance` shows those to the programs.
    let (cases, of_sockets): (Vec<_>, Vec<_>) = cases::all()
        .into_iter()
        .partition(|case| case.sender.socket == 0);
    let mut failures = String::new();
    for case in &cases {
        match check(case, &mut programs).unwrap() {
            Ending::AsExpected => {}
            Ending::NotShown => {
                write!(failures, "{case}\n  the kernel takes no such frame\n").unwrap();
            }
            Ending::Differs(text) => write!(failures, "{case}\n{text}").unwrap(),
        }
    }
    println!(
        "{} cases, {} of them really sent, since test_run does not take them here; {} of sockets are left \
         to conformance",
        cases.len(),
        programs.sent(),
        of_sockets.len()
    );
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn joined_packets_count_as_on_the_wire() {
    let wrong = joined::check_all(&mut Programs::new().unwrap()).unwrap();
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Where `BPF_PROG_TEST_RUN` can say that a packet was forwarded, it is to say the same as a
/// packet that really was.
#[test]
fn a_forwarded_packet_is_judged_alike_when_it_is_really_sent() {
    let mut programs = Programs::new().unwrap();
    let mut sent = 0;
    let forwarded = cases::all().into_iter().filter(|case| case.forwarded);
    for case in forwarded {
        let state = GuardState::of(&case.known, programs.now().unwrap());
        programs.set_state(&state).unwrap();
        let seen = Seen {
            hook: case.hook,
            site: case.site,
            forwarded: true,
            sender: case.sender,
            mark: case.mark,
            frame: &case.frame,
            joined: Joined::default(),
        };
        let outcome = programs.send(&seen).unwrap();
        let counters: Vec<_> = outcome.counters.iter().map(|c| (c.1, c.2, c.3)).collect();
        let wanted: Vec<_> = case
            .want
            .counter
            .iter()
            .map(|(class, bytes)| (*class, 1, u64::from(*bytes)))
            .collect();
        assert_eq!(outcome.fate, case.want.fate, "{case}");
        assert_eq!(outcome.mark, case.want.mark, "{case}");
        assert_eq!(outcome.bytes, case.want.bytes, "{case}");
        assert_eq!(counters, wanted, "{case}");
        sent += 1;
    }
    assert!(sent >= 10, "{sent} cases of forwarded packets");
}
