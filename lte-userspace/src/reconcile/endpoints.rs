//! What endpoint names mean: which of their addresses is used, and which is worth keeping.
//!
//! A name server's word is not all: a provider that wants its customer's attention gives every name an
//! address of its own, in the very hour that the tunnel is for. So an address at which the peer is heard is
//! not left for an answer, one that fails makes room for the next, and only what has proved good is kept for
//! a start without name servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::hearing::{Hearing, Moment};
use super::patience::SESSION;
use crate::config::{Endpoint, Peer};

/// The names' addresses.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    current: BTreeMap<Endpoint, SocketAddr>,
    names: BTreeMap<Endpoint, Name>,
    proved: bool,
}

/// For how long an address is tried before it can be left: WireGuard greets a peer every five seconds.
const TRIAL: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct Name {
    /// What was heard later was heard at the current address.
    since: Moment,
    /// When the agent began to use it.
    tried: Moment,
    /// Whether the peer was heard there at the last look.
    heard: bool,
    /// Where it was last heard.
    good: Option<SocketAddr>,
    /// Whether the owner has had the config read again, and the next answer is to be believed.
    believes: bool,
}

impl Endpoints {
    /// Takes an address from an earlier run, where nothing is known yet. The datapath may be up with it.
    pub(super) fn recall(&mut self, endpoint: &Endpoint, address: SocketAddr, now: Moment) {
        if self.current.contains_key(endpoint) {
            return;
        }
        self.current.insert(endpoint.clone(), address);
        let name = Name {
            since: Moment::default(),
            tried: now,
            heard: false,
            good: Some(address),
            believes: false,
        };
        self.names.insert(endpoint.clone(), name);
    }

    /// The addresses in use.
    pub(super) fn current(&self) -> &BTreeMap<Endpoint, SocketAddr> {
        &self.current
    }

    /// Those that have proved good, by the names as the config writes them.
    pub(super) fn good(&self) -> BTreeMap<String, SocketAddr> {
        let names = self.names.iter();
        names
            .filter_map(|(endpoint, name)| Some((endpoint.to_string(), name.good?)))
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

    /// Whether another address would be of use: there is none yet, or it was tried long enough in vain.
    pub(super) fn wants_another(&self, endpoint: &Endpoint, now: Moment) -> bool {
        self.names
            .get(endpoint)
            .is_none_or(|name| !name.heard && name.was_tried(now))
    }

    /// The next answers are what the owner wants.
    pub(super) fn believe(&mut self) {
        for name in self.names.values_mut() {
            name.believes = true;
        }
    }

    /// Whether an address has proved good since this was last asked, that was not known to be.
    pub(super) fn have_proved(&mut self) -> bool {
        std::mem::take(&mut self.proved)
    }

    /// Looks whether the peers are heard at their addresses.
    pub(super) fn look(&mut self, peers: &[Peer], hearing: &Hearing, now: Moment) {
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
            name.heard |= hearing.last(key).is_some_and(|last| last > name.since)
                && hearing.within(key, age, now);
            if name.heard && name.good != Some(*address) {
                name.good = Some(*address);
                self.proved = true;
            }
        }
    }

    /// Takes an answer, of at least one address. Returns the address to be used from now on, where it is
    /// another.
    pub(super) fn hear(
        &mut self,
        endpoint: &Endpoint,
        answers: &[SocketAddr],
        now: Moment,
    ) -> Option<SocketAddr> {
        let first = *answers.first()?;
        let known = self.current.get(endpoint).copied();
        let name = self.names.entry(endpoint.clone()).or_insert(Name {
            since: now,
            tried: now,
            heard: false,
            good: None,
            believes: false,
        });
        let next = match known {
            None => first,
            Some(known) => name.choose(known, answers, first, now),
        };
        name.believes = false;
        if known == Some(next) {
            return None;
        }
        name.since = now;
        name.tried = now;
        name.heard = false;
        self.current.insert(endpoint.clone(), next);
        Some(next)
    }
}

impl Name {
    fn was_tried(&self, now: Moment) -> bool {
        now.since(self.tried) >= TRIAL
    }

    fn choose(
        &self,
        known: SocketAddr,
        answers: &[SocketAddr],
        first: SocketAddr,
        now: Moment,
    ) -> SocketAddr {
        if self.believes {
            // Servers with several addresses are listed in changing order.
            return if answers.contains(&known) {
                known
            } else {
                first
            };
        }
        if self.heard || !self.was_tried(now) {
            return known;
        }
        let mut all = answers.to_vec();
        all.extend(self.good.filter(|good| !answers.contains(good)));
        let at = all.iter().position(|address| *address == known);
        at.map_or(first, |at| all[(at + 1) % all.len()])
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
