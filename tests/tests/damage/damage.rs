//! What others do to what is the agent's.

use std::time::Duration;

use anyhow::Result;
use lte_tests::sysctl;

use crate::eyes::Aspect;
use crate::house::House;

/// One damage.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// For figures and messages.
    pub(crate) name: &'static str,
    /// How it is done.
    pub(crate) harm: Harm,
    /// Where it shows, and where it is seen that all is back.
    pub(crate) shows: &'static [Aspect],
    /// Which net it cuts.
    pub(crate) cuts: Cuts,
    /// Within which time it is to be back.
    pub(crate) notice: Notice,
}

/// By what means.
#[derive(Debug, Clone)]
pub(crate) enum Harm {
    /// Lines of `ip`.
    Ip(&'static str),
    /// Lines of `tc`.
    Tc(&'static str),
    /// Lines of `nft`.
    Nft(&'static str),
    /// Words of `wg`.
    Wg(Vec<String>),
    /// A file under `/proc/sys/net`.
    Sysctl(&'static str, &'static str),
    /// Several of these, or what takes looking things up.
    Do(fn(&House) -> Result<()>),
}

/// What is not there until it is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cuts {
    /// The way of the tunnel's packets to the modem: the guard alone holds them.
    Way,
    /// The guard: the net below it alone holds what is foreign.
    Guard,
    /// Neither.
    Neither,
}

/// How the agent comes to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The kernel tells.
    Told,
    /// Nobody tells: it has to look.
    Looks,
}

impl Notice {
    /// Generous, for processors that are emulated and shared; the figures say what it takes. What
    /// is found only by the agent's slow timer of a minute is too late for both.
    pub(crate) const fn limit(self) -> Duration {
        match self {
            Self::Told => Duration::from_secs(30),
            Self::Looks => Duration::from_secs(20),
        }
    }
}

impl Damage {
    pub(crate) const fn new(
        name: &'static str,
        cuts: Cuts,
        notice: Notice,
        shows: &'static [Aspect],
        harm: Harm,
    ) -> Self {
        Self {
            name,
            harm,
            shows,
            cuts,
            notice,
        }
    }

    /// Whether it can be repaired only after the last of several steps.
    pub(crate) fn takes_steps(&self) -> bool {
        self.shows.contains(&Aspect::Modem) && matches!(self.harm, Harm::Do(_))
    }

    /// Does it.
    pub(crate) fn strike(&self, house: &House) -> Result<()> {
        let router = &house.scene.lab.router;
        match &self.harm {
            Harm::Ip(lines) => router.ip(lines).map(drop),
            Harm::Tc(lines) => {
                let batch = ["-batch", "-"];
                router.tool_with_input("tc", &batch, lines).map(drop)
            }
            Harm::Nft(lines) => {
                let batch = ["-f", "-"];
                router.tool_with_input("nft", &batch, lines).map(drop)
            }
            Harm::Wg(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                router.tool("wg", &words).map(drop)
            }
            Harm::Sysctl(key, value) => sysctl::set(router, &[(key, value)]),
            Harm::Do(what) => what(house),
        }
    }
}
