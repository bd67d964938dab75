//! When each peer was last heard.
//!
//! WireGuard tells the time of a peer's last handshake by the wall clock, and a wall clock is set: back, it makes a
//! live peer's handshake lie in the future; ahead, it makes it ten years old. So the times are not compared with
//! the clock: one that has changed since the last look was made since then. The wall clock is asked once,
//! for the age of a handshake that was there before the agent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::config::PublicKey;
use crate::kernel::wireguard::Found;

/// A moment, as the time since boot. Suspended time counts (`CLOCK_BOOTTIME`), as it does for WireGuard: a
/// session is over after it, and so is what was heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) Duration);

impl Moment {
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
struct Peer {
    /// By the wall clock of then.
    handshake: SystemTime,
    heard: Moment,
}

/// The peers' last handshakes.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// `None`: it was looked at, and had none.
    peers: BTreeMap<PublicKey, Option<Peer>>,
}

impl Hearing {
    /// Looks at the peers; `clock` is the wall clock.
    pub(super) fn look(&mut self, device: &Found, now: Moment, clock: SystemTime) {
        self.peers.retain(|key, _| device.peers.contains_key(key));
        for (key, found) in &device.peers {
            let seen = found.handshake.map(|handshake| Peer {
                handshake,
                heard: match self.peers.get(key) {
                    // One from before the agent. Where it lies in the future the clock was set back, and
                    // there is no knowing its age: silence shows soon enough.
                    None => before(now, clock.duration_since(handshake).unwrap_or_default()),
                    Some(Some(known)) if known.handshake == handshake => known.heard,
                    Some(_) => now,
                },
            });
            self.peers.insert(*key, seen);
        }
    }

    /// When a peer was last heard.
    pub(super) fn last(&self, key: &PublicKey) -> Option<Moment> {
        Some((*self.peers.get(key)?)?.heard)
    }

    /// Whether a peer was heard less than so long ago.
    pub(super) fn within(&self, key: &PublicKey, age: Duration, now: Moment) -> bool {
        self.last(key).is_some_and(|last| now.since(last) < age)
    }
}

fn before(now: Moment, age: Duration) -> Moment {
    Moment(now.0.saturating_sub(age))
}

#[cfg(test)]
#[path = "hearing_tests.rs"]
mod tests;
