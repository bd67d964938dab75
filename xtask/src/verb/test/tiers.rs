//! Which test runs on which kernel. Under emulation all of them on all kernels take hours.
//!
//! On each kernel run the programs (verifier, corpus, generated packets) and the scenarios that every
//! promise hangs on: up, uplink lost, cold start, rules flushed, look-alikes, strangers, flood, and every
//! damage alone. The others run on two kernels, one of each way of attaching programs and of each series of
//! nft, or on one where it makes no difference.

use super::length::Length;

/// What runs on the oldest and the newest kernel only.
const ON_THE_ENDS: [&str; 27] = [
    "attacks::",
    "doctor::",
    "elsewhere::*::below_",
    "elsewhere::*::found_",
    "elsewhere::*::in_a_bond",
    "elsewhere::*::in_a_vrf",
    "elsewhere::*::known_",
    "elsewhere::*::under_another_name",
    "hangs::",
    "ipv6::tunnel::",
    "lifecycle::*::down_",
    "lock::",
    "names::*::a_name_",
    "names::*::a_tunnel_",
    "names::*::the_last_good_address",
    "names::*::without_name_servers",
    "nft_ruleset::",
    "packet_log::",
    "pins::",
    "redirects::",
    "backstop::",
    "super_packets::",
    "switch::",
    "unit::",
    "ways::*::a_",
    "ways::*::containers",
    "ways::*::rules_",
];

/// What runs on the oldest kernel only, where programs know least of devices and packets, and have to lock
/// their memory.
const ON_THE_OLDEST: [&str; 2] = ["kinds::*::ebpf::", "memory::"];

/// What runs on the newest kernel only: it is about the agent more than about the kernel, or about
/// the tests themselves.
const ON_THE_NEWEST: [&str; 14] = [
    "at_rest::",
    "bad_input::",
    "choosing::",
    "control::",
    "corpus_policy::",
    "kinds::*::nft::",
    "names::*::a_resolver_that_hangs",
    "names::*::a_walled_garden",
    "names::*::an_address_that_fails",
    "names::*::another_address",
    "patience::",
    "private_key::",
    "properties::",
    "tests (lib)::",
];

/// What runs on the kernels in between only.
const IN_BETWEEN: [&str; 6] = [
    "damage::*::a_new_modem",
    "damage::*::beside_networkd",
    "damage::*::chaos",
    "damage::fight",
    "killed::ebpf::",
    "upgrade::",
];

/// What runs on the oldest of these only.
const ON_THE_FIRST_BETWEEN: [&str; 2] = ["beside_others::", "conformance::"];

/// What runs on the newest of these only.
const ON_THE_LAST_BETWEEN: [&str; 4] = ["growth::", "ipv6::guard::", "killed::nft::", "reload::"];

/// What runs with `--long` only: minutes of waiting, and what shows after many turns alone.
const LONG: [&str; 3] = [
    "patience::nothing_is_sent_while_it_is_left_in_peace",
    "growth::ebpf::many_repairs_cost_nothing",
    "growth::nft::many_repairs_cost_nothing",
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
        assert_eq!(kernels("kinds::any::ebpf::x"), [0]);
        assert_eq!(kernels("kinds::any::nft::x"), [3]);
        assert_eq!(kernels("ways::ebpf::split_vpn"), [0, 1, 2, 3]);
        assert_eq!(kernels("ways::nft::rules_of_others"), [0, 3]);
        assert_eq!(kernels("names::ebpf::a_name_x"), [0, 3]);
        assert_eq!(kernels("bad_input::x"), [3]);
        assert_eq!(kernels("damage::ebpf::x"), [0, 1, 2, 3]);
        assert_eq!(kernels("damage::nft::chaos"), [1, 2]);
        assert_eq!(kernels("names::nft::another_address_x"), [3]);
        assert_eq!(kernels("damage::fight::x"), [1, 2]);
        assert_eq!(kernels("conformance::x"), [1]);
        assert_eq!(kernels("killed::nft::x"), [2]);
        assert!(Tier::Common.has("flood::x") && !Tier::Common.has("kinds::y::nft::x"));
        assert!(Tier::Whole.has("killed::nft::x"));
    }

    #[test]
    fn what_names_no_test_is_idle() {
        let all = PARTS.concat().into_iter().chain(LONG);
        let mut tests: Vec<String> = all.map(|name| name.replace('*', "x")).collect();
        assert_eq!(idle(&tests).next(), None);
        tests.retain(|name| !name.starts_with("growth::ebpf") && !name.starts_with("pins"));
        let idle: Vec<_> = idle(&tests).collect();
        assert_eq!(idle, ["pins::", "growth::ebpf::many_repairs_cost_nothing"]);
    }

    #[test]
    fn long_runs_have_what_usual_ones_have_not() {
        for test in LONG {
            assert!(has(Length::Long, test) && !has(Length::Usual, test));
        }
        assert!(has(Length::Usual, "damage::ebpf::uplinks"));
    }
}
