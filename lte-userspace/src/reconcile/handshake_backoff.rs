//! WireGuard sends a handshake to a silent peer every 5 s: 3 MB a day. After `handshake_retry_for` its
//! keepalive is removed, which ends that, and every `handshake_retry_interval` it is set again, which makes
//! WireGuard send a handshake at once and try for 90 s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::handshakes::{BootTime, Handshakes};
use crate::config::{PublicKey, Tunnel};

/// A session that is older is over: WireGuard's REJECT_AFTER_TIME.
pub(super) const SESSION: Duration = Duration::from_mins(3);
/// How long WireGuard goes on trying by itself: its REKEY_ATTEMPT_TIME.
const ATTEMPT: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy)]
enum State {
    /// WireGuard sends handshakes since then; for `handshake_retry_for`, or for one attempt.
    Active(Instant, Attempts),
    /// Its keepalive is off since then.
    Paused(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempts {
    Unlimited,
    One,
}

/// Which silent peers are backed off.
#[derive(Debug, Default)]
pub(super) struct HandshakeBackoff {
    peers: BTreeMap<PublicKey, State>,
    /// The modem at the last call.
    modem: Option<u32>,
}

impl HandshakeBackoff {
    /// The peers whose keepalive is off now.
    pub(super) fn backed_off(&self) -> BTreeSet<PublicKey> {
        let backed_off = self.peers.iter();
        backed_off
            .filter(|(_, state)| matches!(state, State::Paused(_)))
            .map(|(key, _)| *key)
            .collect()
    }

    /// Ends all back-offs.
    pub(super) fn reset(&mut self) {
        self.peers.clear();
    }

    /// Ends all back-offs if the modem has changed: `modem` is its index.
    pub(super) fn on_modem(&mut self, modem: Option<u32>) {
        if self.modem != modem {
            self.modem = modem;
            self.reset();
        }
    }

    /// Updates the peers' states. Returns whether any keepalive has to change. Suspended time does not count
    /// (`Instant`): no handshake could be sent in it.
    pub(super) fn update(
        &mut self,
        tunnel: &Tunnel,
        handshakes: &Handshakes,
        (now, moment): (Instant, BootTime),
    ) -> bool {
        let before = self.backed_off();
        let retry_interval = tunnel.handshake_retry_interval;
        self.peers
            .retain(|key, _| tunnel.peers.iter().any(|peer| peer.public_key == *key));
        for peer in &tunnel.peers {
            let keepalive = peer.persistent_keepalive;
            // Without a keepalive WireGuard sends a handshake only for traffic.
            if retry_interval.is_zero() || keepalive.is_zero() {
                self.peers.remove(&peer.public_key);
                continue;
            }
            let heard = handshakes.heard_within(&peer.public_key, SESSION + keepalive, moment);
            let retry_for = tunnel.handshake_retry_for;
            let asked = State::Active(now, Attempts::Unlimited);
            let limit = |time| match time {
                Attempts::Unlimited => retry_for,
                Attempts::One => ATTEMPT.min(retry_for),
            };
            let state = self.peers.entry(peer.public_key).or_insert(asked);
            let key = peer.public_key;
            match *state {
                State::Active(..) if heard => *state = asked,
                State::Paused(_) if heard => {
                    log::info!("peer {key} answers again");
                    *state = asked;
                }
                State::Active(since, time)
                    if now.saturating_duration_since(since) >= limit(time) =>
                {
                    if time == Attempts::Unlimited {
                        log::warn!(
                            "peer {key} does not answer: from now on one attempt every {} s, to save data (tunnel.handshake_retry_interval)",
                            retry_interval.as_secs()
                        );
                    }
                    *state = State::Paused(now);
                }
                State::Paused(since) if now.saturating_duration_since(since) >= retry_interval => {
                    log::debug!("peer {key}: next attempt");
                    *state = State::Active(now, Attempts::One);
                }
                _ => {}
            }
        }
        self.backed_off() != before
    }
}

#[cfg(test)]
#[path = "handshake_backoff_tests.rs"]
mod tests;
