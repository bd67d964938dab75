//! What is counted: packets and bytes on the modem, as a carrier bills them.

use std::ops::AddAssign;

use lte_common::policy::{Class, Hook};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, BackendKind, CounterSet, NamedCounter};

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, more: Self) {
        self.packets = self.packets.saturating_add(more.packets);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl Count {
    /// What has come since an earlier reading; `None` where a counter has run backwards.
    pub(super) fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            packets: self.packets.checked_sub(earlier.packets)?,
            bytes: self.bytes.checked_sub(earlier.bytes)?,
        })
    }
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Sent,
    Received,
}

/// Which way the packets of a counter went over the modem, if a carrier bills them: all IP that has come in, and
/// of what was to go out that which was not dropped. ARP and neighbour discovery end at the modem. What was
/// counted on an uplink is counted again as it leaves.
pub(super) fn billed(counter: &str) -> Option<Direction> {
    let (hook, class) = counter.split_once('/')?;
    if [Class::Neighbour.name(), Class::DropNotIp.name()].contains(&class) {
        None
    } else if hook == Hook::ModemIn.name() {
        Some(Direction::Received)
    } else if hook == Hook::ModemOut.name() && !class.starts_with("drop-") {
        Some(Direction::Sent)
    } else {
        None
    }
}

/// The counters of one backend at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whose they are.
    pub backend: BackendKind,
    /// Which set of its counters.
    pub origin: Option<u64>,
    /// Their values.
    pub counters: Vec<NamedCounter>,
}

impl Reading {
    fn new(backend: BackendKind, set: CounterSet) -> Self {
        Self {
            backend,
            origin: set.origin,
            counters: set.counters,
        }
    }
}

/// Reads the counters of all backends that have any; what cannot be read is an error beside the rest. Those of
/// `first` come first: what passes before another one's are read is in both, and is not to be counted by both.
pub fn read_counters(
    all: &mut dyn Iterator<Item = &mut Box<dyn Backend>>,
    first: Option<BackendKind>,
) -> (Vec<Reading>, Vec<BackendError>) {
    let (mut readings, mut errors) = (Vec::new(), Vec::new());
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|backend| Some(backend.kind()) != first);
    for backend in all {
        let kind = backend.kind();
        match backend.counter_sets() {
            Ok(sets) => readings.extend(sets.into_iter().map(|set| Reading::new(kind, set))),
            Err(error) => errors.push(error),
        }
    }
    (readings, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_carrier_bills() {
        for (counter, direction) in [
            ("modem-out/tunnel", Some(Direction::Sent)),
            ("modem-out/fragment", Some(Direction::Sent)),
            ("modem-out/drop-local", None),
            ("modem-in/reply", Some(Direction::Received)),
            ("modem-in/drop-unsolicited", Some(Direction::Received)),
            ("modem-in/drop-not-ip", None),
            ("modem-in/neighbour", None),
            ("modem-out/neighbour", None),
            ("uplink-out/steered", None),
            ("uplink-out/drop-modem-gone", None),
            ("nonsense", None),
        ] {
            assert_eq!(billed(counter), direction, "{counter}");
        }
    }
}
