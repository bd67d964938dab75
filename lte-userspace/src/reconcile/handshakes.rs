//! When each peer was last heard.
//!
//! WireGuard gives the time of a peer's last handshake by the wall clock, which can be set: back, and a live
//! peer's handshake lies in the future; ahead, and it is years old. So the times are not compared with the
//! clock: one that has changed since the last update was made since then. The wall clock is read once, for
//! the age of a handshake from before the agent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::config::PublicKey;
use crate::kernel::wireguard::ObservedDevice;

/// A moment, as the time since boot. Suspended time counts (`CLOCK_BOOTTIME`), as it does for WireGuard: a
/// session is over after it, and so is what was heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootTime(pub(super) Duration);

impl BootTime {
    /// Now.
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
        Self(seconds + Duration::from_nanos(now.tv_nsec.unsigned_abs()))
    }

    /// How long ago another was; nothing, where it is still to come.
    pub(super) fn since(self, other: Self) -> Duration {
        self.0.saturating_sub(other.0)
    }
}

#[derive(Debug, Clone, Copy)]
struct LastHandshake {
    /// By the wall clock of then.
    handshake: SystemTime,
    heard: BootTime,
}

/// The peers' last handshakes.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// `None`: it had none at the last update.
    peers: BTreeMap<PublicKey, Option<LastHandshake>>,
}

impl Handshakes {
    /// Updates from the device's peers; `clock` is the wall clock.
    pub(super) fn update(&mut self, device: &ObservedDevice, now: BootTime, clock: SystemTime) {
        self.peers.retain(|key, _| device.peers.contains_key(key));
        for (key, found) in &device.peers {
            let seen = found.handshake.map(|handshake| LastHandshake {
                handshake,
                heard: match self.peers.get(key) {
                    // From before the agent. If it lies in the future the clock was set back, and its age
                    // is unknown: it is taken for new.
                    None => before(now, clock.duration_since(handshake).unwrap_or_default()),
                    Some(Some(known)) if known.handshake == handshake => known.heard,
                    Some(_) => now,
                },
            });
            self.peers.insert(*key, seen);
        }
    }

    /// When a peer was last heard.
    pub(super) fn last_heard(&self, key: &PublicKey) -> Option<BootTime> {
        Some((*self.peers.get(key)?)?.heard)
    }

    /// Whether a peer was heard less than so long ago.
    pub(super) fn heard_within(&self, key: &PublicKey, age: Duration, now: BootTime) -> bool {
        self.last_heard(key)
            .is_some_and(|last| now.since(last) < age)
    }
}

fn before(now: BootTime, age: Duration) -> BootTime {
    BootTime(now.0.saturating_sub(age))
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;
