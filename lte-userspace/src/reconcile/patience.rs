//! A peer that does not answer is asked ever again, every 5 s, by WireGuard itself: 3 MB a day
//! for nothing. After a while its keepalive is taken away, which ends the asking, and given back
//! now and then, which makes WireGuard greet it at once and try for 90 s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::hearing::{Hearing, Moment};
use crate::config::{PublicKey, Tunnel};

/// A session that is older is over: WireGuard's REJECT_AFTER_TIME.
pub(super) const SESSION: Duration = Duration::from_mins(3);
/// How long WireGuard goes on trying by itself: its REKEY_ATTEMPT_TIME.
const ATTEMPT: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy)]
enum State {
    /// It may be asked at WireGuard's own pace, since then; for all the time there is, or for one
    /// attempt.
    Asked(Instant, Time),
    /// It is left in peace, since then.
    Rests(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Whole,
    OneAttempt,
}

/// Which peers are left in peace.
#[derive(Debug, Default)]
pub(super) struct Patience {
    peers: BTreeMap<PublicKey, State>,
    /// The modem when this was last asked.
    modem: Option<u32>,
}

impl Patience {
    /// Those that are left in peace now.
    pub(super) fn resting(&self) -> BTreeSet<PublicKey> {
        let resting = self.peers.iter();
        resting
            .filter(|(_, state)| matches!(state, State::Rests(_)))
            .map(|(key, _)| *key)
            .collect()
    }

    /// Begins anew: there is hope again.
    pub(super) fn renew(&mut self) {
        self.peers.clear();
    }

    /// Begins anew where the modem is another than it was: `modem` is its index.
    pub(super) fn with_modem(&mut self, modem: Option<u32>) {
        if self.modem != modem {
            self.modem = modem;
            self.renew();
        }
    }

    /// Considers the peers as they are. Returns whether any is to be treated in another way. What counts of
    /// patience and pauses is the time in which something could be asked: without the suspended (`Instant`).
    pub(super) fn consider(
        &mut self,
        tunnel: &Tunnel,
        hearing: &Hearing,
        (now, moment): (Instant, Moment),
    ) -> bool {
        let before = self.resting();
        let pause = tunnel.handshake_pause;
        self.peers
            .retain(|key, _| tunnel.peers.iter().any(|peer| peer.public_key == *key));
        for peer in &tunnel.peers {
            let keepalive = peer.persistent_keepalive;
            // Without a keepalive WireGuard asks only for those who send something.
            if pause.is_zero() || keepalive.is_zero() {
                self.peers.remove(&peer.public_key);
                continue;
            }
            let heard = hearing.within(&peer.public_key, SESSION + keepalive, moment);
            let patience = tunnel.handshake_patience;
            let asked = State::Asked(now, Time::Whole);
            let long = |time| match time {
                Time::Whole => patience,
                Time::OneAttempt => ATTEMPT.min(patience),
            };
            let state = self.peers.entry(peer.public_key).or_insert(asked);
            let key = peer.public_key;
            match *state {
                State::Asked(..) if heard => *state = asked,
                State::Rests(_) if heard => {
                    log::info!("peer {key} answers again");
                    *state = asked;
                }
                State::Asked(since, time) if now.saturating_duration_since(since) >= long(time) => {
                    if time == Time::Whole {
                        log::warn!(
                            "peer {key} does not answer: to spare the SIM it is asked only every {} s from now on (tunnel.handshake_pause)",
                            pause.as_secs()
                        );
                    }
                    *state = State::Rests(now);
                }
                State::Rests(since) if now.saturating_duration_since(since) >= pause => {
                    log::debug!("peer {key} is asked again");
                    *state = State::Asked(now, Time::OneAttempt);
                }
                _ => {}
            }
        }
        self.resting() != before
    }
}

#[cfg(test)]
#[path = "patience_tests.rs"]
mod tests;
