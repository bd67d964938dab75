//! What others do to what is the agent's.

use std::time::Duration;

use anyhow::Result;
use lte_tests::sysctl;

use crate::fixture::Fixture;
use crate::probe::Aspect;

/// One damage.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// For figures and messages.
    pub(crate) name: &'static str,
    /// The fault that is injected.
    pub(crate) fault: Fault,
    /// Where it shows, and where it is seen that all is back.
    pub(crate) shows: &'static [Aspect],
    /// Which protection it defeats.
    pub(crate) defeats: Defeats,
    /// Within which time it is to be back.
    pub(crate) detection: Detection,
}

/// A fault to inject.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
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
    Do(fn(&Fixture) -> Result<()>),
}

/// The protection that is missing until the repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defeats {
    /// The routing of outer packets to the modem: the guard alone steers them.
    Routing,
    /// The guard: the backstop alone drops other packets.
    Guard,
    /// Neither.
    Neither,
}

/// How the agent detects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detection {
    /// By an event of the kernel.
    Event,
    /// By the poll: the kernel sends no event.
    Poll,
}

impl Detection {
    /// Generous, for processors that are emulated and shared; the figures say what it takes. What
    /// is found only by the agent's slow timer of a minute is too late for both.
    pub(crate) const fn limit(self) -> Duration {
        match self {
            Self::Event => Duration::from_secs(30),
            Self::Poll => Duration::from_secs(20),
        }
    }
}

impl Damage {
    pub(crate) const fn new(
        name: &'static str,
        defeats: Defeats,
        detection: Detection,
        shows: &'static [Aspect],
        fault: Fault,
    ) -> Self {
        Self {
            name,
            fault,
            shows,
            defeats,
            detection,
        }
    }

    /// Whether it can be repaired only after the last of several steps.
    pub(crate) fn takes_steps(&self) -> bool {
        self.shows.contains(&Aspect::Modem) && matches!(self.fault, Fault::Do(_))
    }

    /// Does it.
    pub(crate) fn inject(&self, fixture: &Fixture) -> Result<()> {
        let router = &fixture.scene.lab.router;
        match &self.fault {
            Fault::Ip(lines) => router.ip(lines).map(drop),
            Fault::Tc(lines) => {
                let batch = ["-batch", "-"];
                router.tool_with_input("tc", &batch, lines).map(drop)
            }
            Fault::Nft(lines) => {
                let batch = ["-f", "-"];
                router.tool_with_input("nft", &batch, lines).map(drop)
            }
            Fault::Wg(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                router.tool("wg", &words).map(drop)
            }
            Fault::Sysctl(key, value) => sysctl::set(router, &[(key, value)]),
            Fault::Do(what) => what(fixture),
        }
    }
}
