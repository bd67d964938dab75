//! Which test runs on which kernel. Under emulation all of them on all kernels take hours.
//!
//! On each kernel run the programs (verifier, corpus, generated packets) and the scenarios that every
//! promise hangs on: up, uplink lost, cold start, rules flushed, look-alikes, unknown senders, flood, and every
//! damage of the guard alone. Other damages, alone and in pairs, are met by the unit tests on a model of the
//! kernel, which is compared with the oldest and the newest one. The others run on two kernels, one of each way of attaching programs and of each series of
//! nft, or on one where it makes no difference.

use super::length::Length;

/// What runs on the oldest and the newest kernel only.
const ON_THE_ENDS: [&str; 32] = [
    "attacks::",
    "damage::*::each_alone_of_a_modem_that_was_gone",
    "damage::*::each_alone_of_routing",
    "damage::*::each_alone_of_the_modem",
    "damage::*::each_alone_of_wireguard",
    "doctor::",
    "modem_moved::*::below_",
    "modem_moved::*::found_",
    "modem_moved::*::in_a_bond",
    "modem_moved::*::in_a_vrf",
    "modem_moved::*::known_",
    "modem_moved::*::under_another_name",
    "hangs::",
    "ipv6::tunnel::",
    "lifecycle::*::down_",
    "lock::",
    "lte-userspace (lib)::",
    "endpoint_names::*::a_name_",
    "endpoint_names::*::a_tunnel_",
    "endpoint_names::*::the_last_good_address",
    "endpoint_names::*::without_name_servers",
    "nft_ruleset::",
    "packet_log::",
    "pins::",
    "redirects::",
    "backstop::",
    "super_packets::",
    "switch::",
    "unit::",
    "uplink_routes::*::a_",
    "uplink_routes::*::containers",
    "uplink_routes::*::rules_",
];

/// What runs on the oldest kernel only, where programs know least of devices and packets, and have to lock
/// their memory.
const ON_THE_OLDEST: [&str; 2] = ["link_types::*::ebpf::", "locked_memory::"];

/// What runs on the newest kernel only: it is about the agent more than about the kernel, or about
/// the tests themselves.
const ON_THE_NEWEST: [&str; 14] = [
    "idle::",
    "bad_input::",
    "backend_selection::",
    "control::",
    "corpus_policy::",
    "link_types::*::nft::",
    "endpoint_names::*::a_resolver_that_hangs",
    "endpoint_names::*::a_walled_garden",
    "endpoint_names::*::an_address_that_fails",
    "endpoint_names::*::another_address",
    "handshake_backoff::",
    "private_key::",
    "properties::",
    "tests (lib)::",
];

/// What runs on the kernels in between only.
const IN_BETWEEN: [&str; 6] = [
    "damage::*::a_new_modem",
    "damage::*::beside_networkd",
    "damage::*::chaos",
    "damage::contention",
    "crash::ebpf::",
    "upgrade::",
];

/// What runs on the oldest of these only.
const ON_THE_FIRST_BETWEEN: [&str; 2] = ["beside_others::", "conformance::"];

/// What runs on the newest of these only.
const ON_THE_LAST_BETWEEN: [&str; 4] = ["leak::", "ipv6::guard::", "crash::nft::", "reload::"];

/// What runs with `--long` only: minutes of waiting, and what shows after many turns alone.
const LONG: [&str; 3] = [
    "handshake_backoff::nothing_is_sent_during_a_pause",
    "leak::ebpf::many_repairs_cost_nothing",
    "leak::nft::many_repairs_cost_nothing",
];

/// All of what does not run on every kernel.
const PARTS: [&[&str]; 6] = [
    &ON_THE_ENDS,
    &ON_THE_OLDEST,
    &ON_THE_NEWEST,
    &IN_BETWEEN,
    &ON_THE_FIRST_BETWEEN,
    &ON_THE_LAST_BETWEEN,
];

/// How much of it a kernel gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    /// All.
    Whole,
    /// The oldest kernel's.
    Oldest,
    /// The newest kernel's.
    Newest,
    /// That of one in between.
    Between,
    /// That of the newest in between.
    LastBetween,
    /// Only what every kernel gets.
    Common,
}

impl Tier {
    /// In the order in which they are begun: the longest first.
    pub(super) const ALL: [Self; 6] = [
        Self::Whole,
        Self::LastBetween,
        Self::Between,
        Self::Newest,
        Self::Oldest,
        Self::Common,
    ];

    /// That of the kernel at a place among so many, the oldest first.
    pub(super) const fn of(place: usize, kernels: usize) -> Self {
        match place {
            0 => Self::Oldest,
            place if place + 1 == kernels => Self::Newest,
            place if place + 2 == kernels => Self::LastBetween,
            _ => Self::Between,
        }
    }

    /// Whether a test of this name is among it.
    pub(super) fn has(self, test: &str) -> bool {
        let lists: &[&[&str]] = match self {
            Self::Whole => return true,
            Self::Oldest => &[&ON_THE_ENDS, &ON_THE_OLDEST],
            Self::Newest => &[&ON_THE_ENDS, &ON_THE_NEWEST],
            Self::Between => &[&IN_BETWEEN, &ON_THE_FIRST_BETWEEN],
            Self::LastBetween => &[&IN_BETWEEN, &ON_THE_LAST_BETWEEN],
            Self::Common => &[],
        };
        let among = |lists: &[&[&str]]| lists.concat().iter().any(|name| matches(name, test));
        among(lists) || !among(&PARTS)
    }
}

/// Whether a test's name begins so; a star stands for anything.
fn matches(pattern: &str, test: &str) -> bool {
    match pattern.split_once('*') {
        Some((begin, rest)) => test
            .strip_prefix(begin)
            .is_some_and(|more| more.contains(rest)),
        None => test.starts_with(pattern),
    }
}

/// What stands in the lists and is the name of no test of these.
pub(in crate::verb) fn idle(tests: &[String]) -> impl Iterator<Item = &'static str> {
    let is_one = |name: &&str| tests.iter().any(|test| matches(name, test));
    let is_exactly_one = |name: &&str| tests.iter().any(|test| test == name);
    let parts = PARTS.into_iter().flatten().copied();
    parts
        .filter(move |name| !is_one(name))
        .chain(LONG.into_iter().filter(move |name| !is_exactly_one(name)))
}

/// Whether a run of this length has a test of this name at all.
pub(super) fn has(length: Length, test: &str) -> bool {
    length == Length::Long || !LONG.contains(&test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels(test: &str) -> Vec<usize> {
        (0..4)
            .filter(|place| Tier::of(*place, 4).has(test))
            .collect()
    }

    #[test]
    fn each_test_has_its_kernels() {
        assert_eq!(kernels("flood::x"), [0, 1, 2, 3]);
        assert_eq!(kernels("senders::ebpf::x"), [0, 1, 2, 3]);
        assert_eq!(kernels("nft_ruleset::x"), [0, 3]);
        assert_eq!(kernels("attacks::ebpf::x"), [0, 3]);
        assert_eq!(kernels("link_types::any::ebpf::x"), [0]);
        assert_eq!(kernels("link_types::any::nft::x"), [3]);
        assert_eq!(kernels("uplink_routes::ebpf::split_vpn"), [0, 1, 2, 3]);
        assert_eq!(kernels("uplink_routes::nft::rules_of_others"), [0, 3]);
        assert_eq!(kernels("endpoint_names::ebpf::a_name_x"), [0, 3]);
        assert_eq!(kernels("bad_input::x"), [3]);
        assert_eq!(kernels("damage::ebpf::x"), [0, 1, 2, 3]);
        assert_eq!(kernels("damage::nft::chaos"), [1, 2]);
        assert_eq!(kernels("endpoint_names::nft::another_address_x"), [3]);
        assert_eq!(kernels("damage::contention::x"), [1, 2]);
        assert_eq!(kernels("conformance::x"), [1]);
        assert_eq!(kernels("crash::nft::x"), [2]);
        assert!(Tier::Common.has("flood::x") && !Tier::Common.has("link_types::y::nft::x"));
        assert!(Tier::Whole.has("crash::nft::x"));
    }

    #[test]
    fn what_names_no_test_is_idle() {
        let all = PARTS.concat().into_iter().chain(LONG);
        let mut tests: Vec<String> = all.map(|name| name.replace('*', "x")).collect();
        assert_eq!(idle(&tests).next(), None);
        tests.retain(|name| !name.starts_with("leak::ebpf") && !name.starts_with("pins"));
        let idle: Vec<_> = idle(&tests).collect();
        assert_eq!(idle, ["pins::", "leak::ebpf::many_repairs_cost_nothing"]);
    }

    #[test]
    fn long_runs_have_what_usual_ones_have_not() {
        for test in LONG {
            assert!(has(Length::Long, test) && !has(Length::Usual, test));
        }
        assert!(has(Length::Usual, "damage::ebpf::uplinks"));
    }

    /// The lists, as the document has them.
    fn table() -> String {
        let rows: [(&str, &[&str]); 7] = [
            ("the oldest and the newest", &ON_THE_ENDS),
            ("the oldest", &ON_THE_OLDEST),
            ("the newest", &ON_THE_NEWEST),
            ("those in between", &IN_BETWEEN),
            ("the first in between", &ON_THE_FIRST_BETWEEN),
            ("the last in between", &ON_THE_LAST_BETWEEN),
            ("those of the row that has them, with `--long` only", &LONG),
        ];
        let lines = rows.map(|(kernels, patterns)| {
            let patterns: Vec<_> = patterns.iter().map(|name| format!("`{name}`")).collect();
            format!("| {kernels} | {} |\n", patterns.join(", "))
        });
        "| on | tests that begin with |\n| --- | --- |\n".to_owned() + &lines.concat()
    }

    #[test]
    fn the_document_says_what_runs_where() -> anyhow::Result<()> {
        let path = crate::host::workspace::root().join("docs/lab.md");
        let text = std::fs::read_to_string(path)?;
        let table = table();
        anyhow::ensure!(
            text.contains(&table),
            "docs/lab.md is to have this table:\n{table}"
        );
        Ok(())
    }
}
