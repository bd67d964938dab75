//! Addresses of endpoint names: which one is used, and which one is saved.
//!
//! An answer of a name server can be wrong: a captive portal gives every name its own address. So an address
//! at which the peer was heard is not given up for an answer, one that fails is replaced by the next, and
//! only verified addresses are saved for a start without name servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::handshake_backoff::SESSION;
use super::handshakes::{BootTime, Handshakes};
use crate::config::{Endpoint, Peer};

/// The names' addresses.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    current: BTreeMap<Endpoint, SocketAddr>,
    names: BTreeMap<Endpoint, NameState>,
    newly_verified: bool,
}

/// How long an address is tried before it can be replaced: WireGuard sends a handshake every five seconds.
const TRIAL: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct NameState {
    /// What was heard later was heard at the current address.
    since: BootTime,
    /// When the agent began to use it.
    trial_began: BootTime,
    /// Whether the peer was heard there at the last update.
    heard: bool,
    /// Where it was last heard.
    verified: Option<SocketAddr>,
    /// Whether the config was reloaded, and the next answer is taken without a trial.
    trusts_next_answer: bool,
}

impl Endpoints {
    /// Takes an address from an earlier run, where nothing is known yet. The datapath may be up with it.
    pub(super) fn restore(&mut self, endpoint: &Endpoint, address: SocketAddr, now: BootTime) {
        if self.current.contains_key(endpoint) {
            return;
        }
        self.current.insert(endpoint.clone(), address);
        let name = NameState {
            since: BootTime::default(),
            trial_began: now,
            heard: false,
            verified: Some(address),
            trusts_next_answer: false,
        };
        self.names.insert(endpoint.clone(), name);
    }

    /// The addresses in use.
    pub(super) fn current(&self) -> &BTreeMap<Endpoint, SocketAddr> {
        &self.current
    }

    /// Verified addresses, by the names as the config writes them.
    pub(super) fn verified(&self) -> BTreeMap<String, SocketAddr> {
        let names = self.names.iter();
        names
            .filter_map(|(endpoint, name)| Some((endpoint.to_string(), name.verified?)))
            .collect()
    }

    /// The names whose peers are not heard.
    pub(super) fn silent(&self) -> BTreeSet<Endpoint> {
        let names = self.names.iter();
        names
            .filter(|(_, name)| !name.heard)
            .map(|(endpoint, _)| endpoint.clone())
            .collect()
    }

    /// Whether another address is needed: there is none yet, or its trial has failed.
    pub(super) fn wants_another(&self, endpoint: &Endpoint, now: BootTime) -> bool {
        self.names
            .get(endpoint)
            .is_none_or(|name| !name.heard && name.trial_is_over(now))
    }

    /// Takes the next answers without a trial.
    pub(super) fn trust_next_answer(&mut self) {
        for name in self.names.values_mut() {
            name.trusts_next_answer = true;
        }
    }

    /// Whether an address was verified since the last call that was not before.
    pub(super) fn take_newly_verified(&mut self) -> bool {
        std::mem::take(&mut self.newly_verified)
    }

    /// Updates whether the peers are heard at their addresses.
    pub(super) fn update(&mut self, peers: &[Peer], handshakes: &Handshakes, now: BootTime) {
        for name in self.names.values_mut() {
            name.heard = false;
        }
        for peer in peers {
            let (Some(name), Some(address)) = (
                self.names.get_mut(&peer.endpoint),
                self.current.get(&peer.endpoint),
            ) else {
                continue;
            };
            let key = &peer.public_key;
            let age = SESSION + peer.persistent_keepalive;
            name.heard |= handshakes
                .last_heard(key)
                .is_some_and(|last| last > name.since)
                && handshakes.heard_within(key, age, now);
            if name.heard && name.verified != Some(*address) {
                name.verified = Some(*address);
                self.newly_verified = true;
            }
        }
    }

    /// Takes an answer, of at least one address. Returns the address to be used from now on, where it is
    /// another.
    pub(super) fn on_answer(
        &mut self,
        endpoint: &Endpoint,
        answers: &[SocketAddr],
        now: BootTime,
    ) -> Option<SocketAddr> {
        let first = *answers.first()?;
        let known = self.current.get(endpoint).copied();
        let name = self.names.entry(endpoint.clone()).or_insert(NameState {
            since: now,
            trial_began: now,
            heard: false,
            verified: None,
            trusts_next_answer: false,
        });
        let next = match known {
            None => first,
            Some(known) => name.choose(known, answers, first, now),
        };
        name.trusts_next_answer = false;
        if known == Some(next) {
            return None;
        }
        name.since = now;
        name.trial_began = now;
        name.heard = false;
        self.current.insert(endpoint.clone(), next);
        Some(next)
    }
}

impl NameState {
    fn trial_is_over(&self, now: BootTime) -> bool {
        now.since(self.trial_began) >= TRIAL
    }

    fn choose(
        &self,
        known: SocketAddr,
        answers: &[SocketAddr],
        first: SocketAddr,
        now: BootTime,
    ) -> SocketAddr {
        if self.trusts_next_answer {
            // Servers with several addresses are listed in changing order.
            return if answers.contains(&known) {
                known
            } else {
                first
            };
        }
        if self.heard || !self.trial_is_over(now) {
            return known;
        }
        let mut all = answers.to_vec();
        all.extend(self.verified.filter(|verified| !answers.contains(verified)));
        let at = all.iter().position(|address| *address == known);
        at.map_or(first, |at| all[(at + 1) % all.len()])
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
