//! The corpus against the pure policy, on the host: no root, no kernel.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write;

use lte_common::headers::Family;
use lte_common::layout::Addr;
use lte_common::policy::{Class, Hook};
use lte_tests::corpus::check::{Ending, check};
use lte_tests::corpus::guard_state::SECOND;
use lte_tests::corpus::model::Model;
use lte_tests::corpus::site::Admin;
use lte_tests::corpus::{Case, Clocks, Fate, Site, cases, joined};
use lte_userspace::backend::ebpf::ticks_per_second;

// No kernel takes part.
lte_tests::runs_on!(newest);

#[test]
fn every_case_ends_as_the_table_says() {
    let hz = u64::from(ticks_per_second());
    let mut model = Model::at(Clocks {
        ticks: 1_000_000 * hz,
        hz,
        ns: 1_000_000 * SECOND,
    });
    let mut failures = String::new();
    let mut row = "";
    for case in cases::all() {
        if case.row != row {
            row = case.row;
            println!("\n{row}");
        }
        println!("  {case}");
        match check(&case, &mut model).unwrap() {
            Ending::AsExpected => {}
            Ending::NotShown => panic!("the pure policy takes any frame"),
            Ending::Differs(text) => write!(failures, "{case}\n{text}").unwrap(),
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn joined_packets_count_as_on_the_wire() {
    let hz = u64::from(ticks_per_second());
    let mut model = Model::at(Clocks {
        ticks: 1_000_000 * hz,
        hz,
        ns: 1_000_000 * SECOND,
    });
    let wrong = joined::check_all(&mut model).unwrap();
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The unspecified address is how the policy says that there is none, and a packet may bear it.
#[test]
fn without_an_admin_address_there_is_no_admin_page() {
    let admin = Admin::Nowhere;
    let site = Site {
        admin,
        ..Site::ETHERNET
    };
    for family in [Family::V4, Family::V6] {
        assert!(!site.policy().is_admin(family, &Addr::NONE));
    }
}

/// The rules of `docs/spec.md` that are of a hook's packets, by name: `modem-out/tunnel`.
fn rules() -> BTreeSet<&'static str> {
    include_str!("../../docs/spec.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| {
            name.split_once('/')
                .is_some_and(|(hook, _)| Hook::ALL.iter().any(|one| one.name() == hook))
        })
        .collect()
}

/// The rule that decides on a case's packet.
fn rule(case: &Case) -> String {
    let class = case
        .want
        .counter
        .map_or("untouched", |(class, _)| class.name());
    format!("{}/{class}", case.hook.name())
}

#[test]
fn each_counter_is_a_rule_of_the_specification() {
    let rules = rules();
    let mut decided = BTreeSet::new();
    for case in &cases::all() {
        let rule = rule(case);
        assert!(
            rules.contains(&*rule),
            "the specification has no {rule}: {case}"
        );
        decided.insert(rule);
    }
    let undecided: Vec<_> = rules
        .iter()
        .filter(|rule| !decided.contains(**rule))
        .collect();
    assert!(undecided.is_empty(), "no case is decided by {undecided:?}");
}

#[test]
fn the_corpus_is_what_it_says_it_is() {
    let cases = cases::all();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut names = BTreeSet::new();
    let mut packets = BTreeSet::new();
    for case in &cases {
        assert!(
            names.insert((case.hook as u32, &case.name)),
            "two cases are named so: {case}"
        );
        let seen = format!(
            "{:?}",
            (
                case.hook,
                case.site,
                &case.known,
                case.forwarded,
                case.sender,
                case.mark,
                &case.frame
            )
        );
        assert!(packets.insert(seen), "another case shows the same: {case}");
    }
    // Every counter is moved by some case of every hook that has it.
    let mut moved = BTreeSet::new();
    for case in &cases {
        if let Some((class, _)) = case.want.counter {
            moved.insert(class);
        }
    }
    let unmoved: Vec<_> = Class::ALL
        .iter()
        .filter(|class| !moved.contains(class))
        .collect();
    assert!(unmoved.is_empty(), "no case moves {unmoved:?}");
    for hook in Hook::ALL {
        for fate in [Fate::Passed, Fate::Dropped] {
            assert!(
                cases.iter().any(|c| c.hook == hook && c.want.fate == fate),
                "no packet is {fate} on {}",
                hook.name()
            );
        }
    }
}
