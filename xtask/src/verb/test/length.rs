//! Usual or long runs: the tests' settings, and how long they may take.

use std::time::Duration;

/// Variables of this process that the tests in the machines are given too, where they are set: how
/// many random damages, from which seed, and whether the agent's log is shown as it comes.
const HANDED_ON: [&str; 3] = ["LTE_CHAOS", "LTE_SEED", "LTE_LAB_VERBOSE"];

/// How long the tests that can be repeated at will are to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// As long as it takes to see that they can fail.
    Usual,
    /// Long enough for what happens rarely.
    Long,
}

impl Length {
    /// For one test, in seconds. The slowest take a minute or two under emulation.
    pub(super) const fn test_deadline(self) -> u64 {
        match self {
            Self::Usual => 180,
            Self::Long => 3600,
        }
    }

    /// For all tests of a kernel.
    pub(super) const fn kernel_deadline(self) -> Duration {
        match self {
            Self::Usual => Duration::from_mins(35),
            Self::Long => Duration::from_hours(6),
        }
    }

    /// What the tests find in their environment.
    pub(super) fn environment(self) -> Vec<(String, String)> {
        let long = (self == Self::Long).then(|| ("LTE_LONG".to_owned(), "1".to_owned()));
        let handed_on = HANDED_ON
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        long.into_iter().chain(handed_on).collect()
    }
}
