//! The guard: what decides on each packet on the modem and steers outer packets on an uplink.
//!
//! Two backends implement it. The rest of the agent knows this
//! trait and [`Guard`], and nothing of either backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub mod ebpf;
#[cfg(test)]
pub(crate) mod fake;
pub mod nft;
mod permit;
pub mod select;
mod watch;

pub use permit::{Permit, Protocol};
pub use watch::Watch;

/// The kind of a backend.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// TC eBPF programs.
    Ebpf,
    /// An nftables table.
    Nft,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ebpf => "ebpf",
            Self::Nft => "nft",
        })
    }
}

/// How a frame starts on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkHeader {
    /// Fourteen bytes of Ethernet (`ARPHRD_ETHER`).
    Ethernet,
    /// None: the frame starts with the IP header (`ARPHRD_NONE`, `ARPHRD_RAWIP`, `ARPHRD_PPP`).
    None,
}

/// The modem's address in one family, its gateway and its admin page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyAddr<A> {
    /// The modem interface's address.
    pub address: A,
    /// The way out. `None` on a point-to-point modem.
    pub gateway: Option<A>,
    /// Where the modem's own page and echo may be reached; `None`: nowhere.
    pub admin: Option<Network<A>>,
}

/// One address, or all that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network<A> {
    /// An address; of a network, any of its own.
    pub address: A,
    /// How many of its bits count.
    pub prefix_len: u8,
}

impl From<Ipv4Addr> for Network<Ipv4Addr> {
    fn from(address: Ipv4Addr) -> Self {
        let prefix_len = 32;
        Self {
            address,
            prefix_len,
        }
    }
}

impl From<Ipv6Addr> for Network<Ipv6Addr> {
    fn from(address: Ipv6Addr) -> Self {
        let prefix_len = 128;
        Self {
            address,
            prefix_len,
        }
    }
}

/// The modem as the guard sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modem {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// How its frames start.
    pub header: LinkHeader,
    /// IPv4 on it.
    pub v4: Option<FamilyAddr<Ipv4Addr>>,
    /// IPv6 on it; `None`: nothing of IPv6 passes.
    pub v6: Option<FamilyAddr<Ipv6Addr>>,
}

/// An uplink, or a device that is kept closed, as the guard sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Interface name.
    pub name: String,
    /// How its frames start.
    pub header: LinkHeader,
}

/// All that a backend needs to know: the desired guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The modem; `None` while it is unplugged: what an uplink gets of the tunnel is then dropped.
    pub modem: Option<Modem>,
    /// Name of the tunnel's interface: for netfilter, what it sends out has come in by it.
    pub tunnel: String,
    /// Devices that nothing passes, by interface index.
    pub closed: BTreeMap<u32, Uplink>,
    /// Every other way out, by interface index.
    pub uplinks: BTreeMap<u32, Uplink>,
    /// The peers' addresses as far as they are known: what goes there is the tunnel's, whatever
    /// its source port has become. Knowing one lets no reply in before something was sent to it.
    pub peers: BTreeSet<Remote>,
    /// The tunnel's UDP port on this side, host byte order.
    pub listen_port: u16,
    /// The mark's value, host byte order.
    pub mark: u32,
    /// The bits of a packet's mark that are ours.
    pub mask: u32,
    /// TCP ports of the modem's admin page.
    pub admin_ports: Vec<u16>,
    /// How long after the last packet sent to a remote its replies are admitted.
    pub flow_timeout: Duration,
}

impl Guard {
    /// The indexes of all interfaces that it is on.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        let modem = self.modem.iter().map(|modem| modem.index);
        let others = self.closed.keys().chain(self.uplinks.keys()).copied();
        modem.chain(others)
    }
}

/// The values that the config has where it says nothing, without a modem, uplink or peer: nothing of the
/// tunnel passes. The probes and the tests name only what they are about.
impl Default for Guard {
    fn default() -> Self {
        Self {
            modem: None,
            tunnel: "wg-lte".to_owned(),
            closed: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            peers: BTreeSet::new(),
            listen_port: 51820,
            mark: 0x7b,
            mask: 0xff,
            admin_ports: vec![80, 443],
            flow_timeout: Duration::from_mins(3),
        }
    }
}

impl Guard {
    /// For each device that is kept closed the guard of a modem of no family.
    pub(crate) fn closed_devices(&self) -> impl Iterator<Item = (Modem, Self)> {
        self.closed.iter().map(|(index, device)| {
            let modem = Modem {
                index: *index,
                name: device.name.clone(),
                header: device.header,
                v4: None,
                v6: None,
            };
            let guard = Self {
                modem: Some(modem.clone()),
                closed: BTreeMap::new(),
                ..self.clone()
            };
            (modem, guard)
        })
    }
}

/// One thing that is not as desired, in words a person can read ("no program on wwan0 ingress").
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference(pub String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One counter of the guard.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NamedCounter {
    /// The hook, then the class: `modem-out/tunnel`, `modem-in/drop-unsolicited`.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Bytes, from the IP header on, as a carrier bills them.
    pub bytes: u64,
}

/// The counters that were made at one time, and count from zero since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterSet {
    /// Which set it is: the same number for the same counters as long as the machine runs, and another for
    /// others. `None` where nothing in the kernel tells.
    pub origin: Option<u64>,
    /// The counters, in no order; those at zero may be left out.
    pub counters: Vec<NamedCounter>,
}

/// An address and port of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remote {
    /// Address.
    pub address: IpAddr,
    /// Port, host byte order.
    pub port: u16,
}

/// Why a backend could not do what it was asked.
///
/// Each message is one line that says what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// This machine cannot run the backend at all (`--backend auto` then tries the next).
    #[error("{0}")]
    Unsupported(String),
    /// A step failed.
    #[error("{context}: {source}")]
    Failed {
        /// What was being done, and on what.
        context: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BackendError {
    /// A failed step with its cause.
    pub fn failed(
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            context: context.into(),
            source: source.into(),
        }
    }
}

/// A backend: it implements the guard.
///
/// Calls block, for milliseconds as a rule, and run in the calling thread's network namespace: the agent makes
/// them apart from its own thread.
pub trait Backend: fmt::Debug + Send {
    /// Which one it is.
    fn kind(&self) -> BackendKind;

    /// Whether a guard can be put in place with it, as far as that shows without doing it. What
    /// anything at all needs was asked when it was opened.
    fn probe(&self) -> Result<(), BackendError>;

    /// Why its guard could not be loaded, although [`Backend::probe`] succeeded.
    fn load_failure(&self) -> Option<String> {
        None
    }

    /// What differs from the desired guard; empty when all is in place. Changes nothing.
    fn observe(&mut self, want: &Guard) -> Result<Vec<Difference>, BackendError>;

    /// Puts the desired guard in place. What is there already is adopted or replaced in one
    /// step: there is no moment in which the modem is open, and counters and remembered remotes
    /// are kept.
    fn apply(&mut self, want: &Guard) -> Result<(), BackendError>;

    /// Whether anything of this backend is on the machine.
    fn present(&mut self) -> Result<bool, BackendError>;

    /// Takes away everything of this backend's, as far as it goes; all failures are returned.
    fn remove(&mut self) -> Result<(), Vec<BackendError>>;

    /// Permits one flow of this machine over the modem until a deadline that the kernel checks: the permit
    /// ends also without the agent. Given again, it is prolonged.
    ///
    /// # Errors
    /// Where no guard is in place, or too many permits are open.
    fn permit(&mut self, permit: &Permit, time: Duration) -> Result<(), BackendError>;

    /// Ends a permit before its time. That there is no such permit is no error.
    fn revoke(&mut self, permit: &Permit) -> Result<(), BackendError>;

    /// What this machine's guard cannot see or hold, one line each.
    fn unguarded(&mut self) -> Result<Vec<String>, BackendError> {
        Ok(Vec::new())
    }

    /// The remotes that the tunnel has sent to, and how long ago, for a backend that takes over.
    fn remotes(&mut self) -> Result<BTreeMap<Remote, Duration>, BackendError>;

    /// Gives the next [`Backend::apply`] the remotes that another backend knows, so that its guard knows
    /// them from its first packet on.
    fn import_remotes(&mut self, remotes: BTreeMap<Remote, Duration>);

    /// A source of events about the guard that rtnetlink does not send, if there is one.
    fn watch(&self) -> Option<Watch> {
        None
    }

    /// The counters that are counted in, and those of an earlier version that it has left. Counters are of
    /// one set as long as they are not made anew without their values.
    fn counter_sets(&mut self) -> Result<Vec<CounterSet>, BackendError>;

    /// The counters: those of a name in all sets together, by name.
    fn counters(&mut self) -> Result<Vec<NamedCounter>, BackendError> {
        let mut sums = BTreeMap::<String, NamedCounter>::new();
        for counter in self
            .counter_sets()?
            .into_iter()
            .flat_map(|set| set.counters)
        {
            match sums.get_mut(&counter.name) {
                Some(sum) => {
                    sum.packets = sum.packets.saturating_add(counter.packets);
                    sum.bytes = sum.bytes.saturating_add(counter.bytes);
                }
                None => {
                    sums.insert(counter.name.clone(), counter);
                }
            }
        }
        Ok(sums.into_values().collect())
    }
}

/// An error with its causes, in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', "; ")
}
