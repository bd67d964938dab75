//! The ledger: what was carried since the period began, and up to where the kernel's counters are in it.
//!
//! A reading adds what each counter has grown by since the last one, and notes its value in the same step: what
//! is counted and up to where are one file, written at once, so that nothing is counted twice whoever dies when.
//! Counters that are new, by their origin, count from zero. A boot begins with none.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::{fs, io};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::count::{Count, Direction, Reading, billed};
use super::history::{History, Traffic};
use super::period;
use crate::backend::BackendKind;
use crate::config::{Budget, Renews};

/// The version of the file. Another one is not read.
const VERSION: u32 = 1;
/// Sets of counters that are remembered within a boot.
const BASES_MAX: usize = 64;
/// Events that are kept.
const EVENTS_MAX: usize = 200;

/// What was carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    version: u32,
    /// The boot that the bases are of.
    boot: String,
    /// Up to where the kernel's counters are counted here.
    bases: Vec<Base>,
    /// Whose counters count in a network namespace, where several backends have some.
    counting: BTreeMap<u64, BackendKind>,
    /// When counting began, by a clock that was right.
    pub(super) began: Option<Timestamp>,
    /// When this period of the budget began, or counting in it.
    pub(super) since: Option<Timestamp>,
    /// Bytes that the carrier has billed in this period.
    pub(super) spent: u64,
    /// What was carried in this period, by counter.
    pub(super) by_class: BTreeMap<String, Count>,
    pub(super) history: History,
    /// What has happened to it, the latest last.
    events: Vec<Event>,
    pub(super) writes: Writes,
}

/// How often the file was written on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Writes {
    /// Days since 1970, by whatever the clock shows.
    pub(super) day: i64,
    pub(super) count: u32,
}

/// Up to where the counters of one set are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    /// The network namespace, by its inode.
    netns: u64,
    backend: BackendKind,
    origin: Option<u64>,
    counters: BTreeMap<String, Count>,
}

/// Something that has happened to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by whatever the clock showed.
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The budget was renewed.
    Renewed {
        /// Bytes that were spent in the period before.
        spent: u64,
    },
    /// The owner has said what was spent.
    Set {
        /// Bytes before.
        from: u64,
        /// Bytes from then on.
        to: u64,
    },
    /// A counter had a lower value than before: what it had counted since is not known, and not counted.
    RanBackwards {
        /// The backend and the counter.
        counter: String,
    },
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Renewed { spent } => write!(
                f,
                "the budget was renewed; {spent} bytes were spent in the period before"
            ),
            Self::Set { from, to } => write!(f, "the spent bytes were set from {from} to {to}"),
            Self::RanBackwards { counter } => write!(
                f,
                "the counter {counter} was set back by another program: what it has lost is not in the usage"
            ),
        }
    }
}

/// Where and when counters were read, and the terms on which they are billed.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// This boot.
    pub boot: String,
    /// The network namespace that the counters are of, by its inode.
    pub netns: u64,
    /// The time.
    pub clock: Clock,
    /// The SIM's budget, where one is configured.
    pub budget: Option<Budget>,
}

impl Circumstances {
    /// Those of this machine, now.
    ///
    /// # Errors
    /// Where the boot or the network namespace cannot be told: what was counted could not be told from what was
    /// not.
    pub fn here(budget: Option<Budget>) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            boot: boot.trim().to_owned(),
            netns: fs::metadata("/proc/thread-self/ns/net")?.ino(),
            clock: Clock::read(),
            budget,
        })
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            version: VERSION,
            boot: String::new(),
            bases: Vec::new(),
            counting: BTreeMap::new(),
            began: None,
            since: None,
            spent: 0,
            by_class: BTreeMap::new(),
            history: History::default(),
            events: Vec::new(),
            writes: Writes::default(),
        }
    }
}

impl Ledger {
    /// Reads the file's text; `None` if it is of another version or broken.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let ledger: Self = serde_json::from_str(text).ok()?;
        (ledger.version == VERSION).then_some(ledger)
    }

    /// Adds what the counters have grown by since they were read last. Returns what is to be reported.
    pub fn update(&mut self, readings: &[Reading], at: &Circumstances) -> Vec<EventKind> {
        let mut events = Vec::new();
        if self.boot != at.boot {
            self.bases.clear();
            self.counting.clear();
            self.boot.clone_from(&at.boot);
        }
        self.keep_time(at, &mut events);
        let overhead = at.budget.map_or(0, |budget| budget.overhead_per_packet);
        let mut traffic = Traffic::default();
        let counting = self.counting(readings, at.netns);
        for reading in readings {
            let grown = self.grown(reading, at.netns, &mut events);
            // While one guard takes over from another both count each packet: this one's are noted only.
            if Some(reading.backend) != counting {
                continue;
            }
            for (name, direction, grown) in grown {
                traffic.add(direction, grown.bytes);
                *self.by_class.entry(name).or_default() += grown;
                let billed = grown.packets.saturating_mul(overhead.into());
                let billed = billed.saturating_add(grown.bytes);
                self.spent = self.spent.saturating_add(billed);
            }
        }
        self.history.add(traffic, &at.clock);
        for event in &events {
            self.record(at.clock.now, event.clone());
        }
        events
    }

    /// Begins and ends periods, where the time is known.
    fn keep_time(&mut self, at: &Circumstances, events: &mut Vec<EventKind>) {
        let Clock {
            now,
            zone,
            is_right,
        } = &at.clock;
        if !is_right {
            return;
        }
        // What is later was noted while the clock was ahead.
        let not_later = |time: &mut Option<Timestamp>| *time = Some(time.unwrap_or(*now).min(*now));
        not_later(&mut self.began);
        not_later(&mut self.since);
        let renews = at.budget.map_or(Renews::Never, |budget| budget.renews);
        let renewal = period::last_renewal(renews, *now, zone);
        if let Some(renewal) = renewal.filter(|renewal| Some(*renewal) > self.since) {
            events.push(EventKind::Renewed { spent: self.spent });
            self.since = Some(renewal);
            self.spent = 0;
            self.by_class.clear();
        }
    }

    /// Whose counters were taken last in a network namespace. They are to be read before those of others.
    pub fn counted_by(&self, netns: u64) -> Option<BackendKind> {
        self.counting.get(&netns).copied()
    }

    /// Whose counters count: those of the backend that counted before, as long as it has any.
    fn counting(&mut self, readings: &[Reading], netns: u64) -> Option<BackendKind> {
        let has = |kind: &BackendKind| readings.iter().any(|reading| reading.backend == *kind);
        let earlier = self.counting.get(&netns).copied().filter(has);
        let counting = earlier.or_else(|| Some(readings.first()?.backend))?;
        self.counting.insert(netns, counting);
        Some(counting)
    }

    /// By how much each counter that is billed has grown; the values are noted.
    fn grown(
        &mut self,
        reading: &Reading,
        netns: u64,
        events: &mut Vec<EventKind>,
    ) -> Vec<(String, Direction, Count)> {
        let is_of = |base: &&Base| base.netns == netns && base.backend == reading.backend;
        let mut bases = self.bases.iter().filter(is_of);
        let base = match reading.origin {
            Some(_) => bases.find(|base| base.origin == reading.origin),
            // Without an origin they are the last ones, however they have come to be.
            None => bases.next_back(),
        };
        let mut base = base.cloned().unwrap_or(Base {
            netns,
            backend: reading.backend,
            origin: reading.origin,
            counters: BTreeMap::new(),
        });
        let mut all = Vec::new();
        for counter in &reading.counters {
            let Some(direction) = billed(&counter.name) else {
                continue;
            };
            let value = Count {
                packets: counter.packets,
                bytes: counter.bytes,
            };
            let earlier = base.counters.insert(counter.name.clone(), value);
            match value.since(earlier.unwrap_or_default()) {
                Some(grown) if grown == Count::default() => {}
                Some(grown) => all.push((counter.name.clone(), direction, grown)),
                None => events.push(EventKind::RanBackwards {
                    counter: format!("{} {}", reading.backend, counter.name),
                }),
            }
        }
        // The one that was read last is the last: the others go first where there are too many.
        let key = (base.netns, base.backend, base.origin);
        self.bases
            .retain(|other| (other.netns, other.backend, other.origin) != key);
        self.bases.push(base);
        let too_many = self.bases.len().saturating_sub(BASES_MAX);
        self.bases.drain(..too_many);
        all
    }

    /// Takes over what the carrier says was spent.
    pub fn set_spent(&mut self, bytes: u64, now: Timestamp) -> EventKind {
        let from = std::mem::replace(&mut self.spent, bytes);
        let event = EventKind::Set { from, to: bytes };
        self.record(now, event.clone());
        event
    }

    fn record(&mut self, time: Timestamp, kind: EventKind) {
        self.events.push(Event { time, kind });
        let too_many = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..too_many);
    }

    /// What has happened to it, the latest last.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether another ledger differs in more than how often it was written.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let stripped = |ledger: &Self| Self {
            writes: Writes::default(),
            ..ledger.clone()
        };
        stripped(self) != stripped(other)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
