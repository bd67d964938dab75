//! Which test runs on which kernel. Under emulation all of them on all kernels take hours.
//!
//! On each kernel run the programs (verifier, corpus, generated packets) and the scenarios that every
//! promise hangs on: up, uplink lost, cold start, rules flushed, look-alikes, strangers, flood, down,
//! names, a change of backend. The others run on two kernels, on one of each way of attaching
//! programs and of each series of nft.

use super::length::Length;

/// What runs on the oldest and the newest kernel only.
const ON_THE_ENDS: [&str; 12] = [
    "at_rest::",
    "bad_input::",
    "beside_others::",
    "choosing::",
    "conformance::",
    "control::",
    "corpus_policy::",
    "ipv6::",
    "kinds::",
    "nft_ruleset::",
    "patience::",
    "properties::",
];

/// What runs on the kernels in between only.
const IN_BETWEEN: [&str; 5] = ["damage::", "growth::", "killed::", "reload::", "upgrade::"];

/// What runs with `--long` only: minutes of waiting, and chance that wants many turns.
const LONG: [&str; 3] = [
    "patience::nothing_is_sent_while_it_is_left_in_peace",
    "damage::ebpf::chaos",
    "damage::nft::chaos",
];

/// How much of it a kernel gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    /// All.
    Whole,
    /// An end's.
    End,
    /// That of one in between.
    Between,
    /// Only what every kernel gets.
    Common,
}

impl Tier {
    /// Whether a test of this name is among it.
    pub(super) fn has(self, test: &str) -> bool {
        let among = |list: &[&str]| list.iter().any(|name| test.starts_with(name));
        match self {
            Self::Whole => true,
            Self::End => !among(&IN_BETWEEN),
            Self::Between => !among(&ON_THE_ENDS),
            Self::Common => !among(&ON_THE_ENDS) && !among(&IN_BETWEEN),
        }
    }
}

/// Whether a run of this length has a test of this name at all.
pub(super) fn has(length: Length, test: &str) -> bool {
    length == Length::Long || !LONG.contains(&test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_test_runs_nowhere() {
        for test in [
            "bad_input::not_root",
            "killed::nft::at_random_moments",
            "flood::x",
        ] {
            assert!(Tier::End.has(test) || Tier::Between.has(test), "{test}");
            assert!(Tier::Whole.has(test));
        }
        assert!(Tier::Common.has("flood::x"));
        assert!(!Tier::Common.has("killed::x") && !Tier::Common.has("kinds::x"));
    }

    #[test]
    fn long_runs_have_what_usual_ones_have_not() {
        for test in LONG {
            assert!(has(Length::Long, test) && !has(Length::Usual, test));
        }
        assert!(has(Length::Usual, "damage::ebpf::uplinks"));
    }
}
