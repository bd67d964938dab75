//! The snapshot: everything that the plan compares, read at one time.

use std::collections::{BTreeMap, BTreeSet};

use rtnetlink::packet_route::rule::RuleMessage;

use super::identity::modem;
use super::modem_devices;
use crate::backend::{LinkHeader, Uplink};
use crate::config::Config;
use crate::desired::{ClosedDevice, ModemFacts, OffloadKey, Queue, SysctlKey};
use crate::kernel::qdisc::RootQdisc;
use crate::kernel::{KernelError, KernelOperations, address, link, route, rule, wireguard};
use crate::state::Baseline;

/// The kernel's state, as far as it is relevant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All interfaces.
    pub links: Vec<link::ObservedLink>,
    /// All addresses.
    pub addresses: Vec<address::ObservedAddress>,
    /// Our routes, and who holds a default route.
    pub routes: route::Routes,
    /// Our rules.
    pub rules: Vec<rule::ObservedRule>,
    /// Those of third parties, in the order of their priorities.
    pub other_rules: Vec<RuleMessage>,
    /// The interfaces' root qdiscs, by index.
    pub roots: BTreeMap<u32, RootQdisc>,
    /// Sysctls of the interfaces that were asked for, by interface index.
    pub sysctls: BTreeMap<(u32, SysctlKey), String>,
    /// What joins packets on the interfaces that were asked for, as far as it can be switched.
    pub offloads: BTreeMap<(u32, OffloadKey), u32>,
    /// Whether redirects are sent on all interfaces, which WireGuard changes.
    pub send_redirects: Option<String>,
    /// The least strictness of the reverse-path filter that all interfaces have.
    pub rp_filter_of_all: Option<String>,
    /// Our WireGuard interface's settings.
    pub device: Option<wireguard::ObservedDevice>,
}

impl Snapshot {
    /// Takes one. Sysctls are read of the interfaces that `of_interest` picks, and the WireGuard
    /// settings of the interface of the given name.
    pub async fn take(
        kernel: &impl KernelOperations,
        tunnel: Option<&str>,
        of_interest: impl Fn(&[link::ObservedLink]) -> BTreeSet<u32>,
    ) -> Result<Self, KernelError> {
        let links = kernel.links().await?;
        let names: BTreeMap<u32, String> = links
            .iter()
            .map(|link| (link.index, link.name.clone()))
            .collect();
        let mut sysctls = BTreeMap::new();
        for index in of_interest(&links) {
            for key in SysctlKey::recorded() {
                if let Some(name) = names.get(&index)
                    && let Some(value) = kernel.read_sysctl(name, key)?
                {
                    sysctls.insert((index, key), value);
                }
            }
        }
        let device = match tunnel {
            Some(tunnel) if links.iter().any(|l| l.wireguard && l.name == tunnel) => {
                Some(kernel.wireguard(tunnel).await?)
            }
            _ => None,
        };
        let rules = kernel.rules().await?;
        Ok(Self {
            addresses: kernel.addresses().await?,
            routes: kernel.routes(&names).await?,
            rules: rules.ours,
            other_rules: rules.others,
            roots: kernel.root_qdiscs().await?,
            send_redirects: kernel.read_sysctl("all", SysctlKey::SendRedirects)?,
            rp_filter_of_all: kernel.read_sysctl("all", SysctlKey::RpFilter)?,
            links,
            sysctls,
            offloads: BTreeMap::new(),
            device,
        })
    }

    /// Adds the offloads of interfaces.
    pub async fn read_offloads(
        &mut self,
        kernel: &impl KernelOperations,
        of: impl IntoIterator<Item = u32>,
    ) -> Result<(), KernelError> {
        for index in of {
            let Some(link) = self.link_at(index) else {
                continue;
            };
            let most = link.gso_max_segs;
            let most = most.map(|most| (OffloadKey::GsoMaxSegs, most));
            for (key, value) in kernel.offloads(index).await?.into_iter().chain(most) {
                self.offloads.insert((index, key), value);
            }
        }
        Ok(())
    }

    /// Which offloads of an interface can be switched.
    pub fn joining(&self, index: u32) -> BTreeSet<OffloadKey> {
        let of = |key: &OffloadKey| self.offloads.contains_key(&(index, *key));
        OffloadKey::ALL.into_iter().filter(of).collect()
    }

    /// What joins packets on an interface.
    pub fn offload(&self, interface: &str, key: OffloadKey) -> Option<u32> {
        let link = self.link(interface)?;
        self.offloads.get(&(link.index, key)).copied()
    }

    /// A sysctl of an interface, or of `all`.
    pub fn sysctl(&self, interface: &str, key: SysctlKey) -> Option<&String> {
        match key {
            SysctlKey::SendRedirects => self.send_redirects.as_ref(),
            key => self.sysctls.get(&(self.link(interface)?.index, key)),
        }
    }

    /// Whether an interface is a WireGuard interface of ours. Our alias says so; before it has one,
    /// between two requests, the record does.
    pub fn is_our_tunnel(&self, link: &link::ObservedLink, baseline: &Baseline) -> bool {
        link.is_our_tunnel()
            || (link.wireguard
                && link.alias.is_none()
                && baseline.tunnel.as_deref() == Some(&link.name))
    }

    /// An interface of the tunnel's name that is not ours, as an error.
    pub fn name_conflict(&self, name: &str, baseline: &Baseline) -> Option<String> {
        let link = self.link(name)?;
        (!self.is_our_tunnel(link, baseline)).then(|| {
            format!(
                "interface {name} is there and is not this agent's: remove it (ip link del {name}) or choose another tunnel.interface"
            )
        })
    }

    /// The indexes of all interfaces, by name.
    pub fn indexes(&self) -> BTreeMap<String, u32> {
        let index = |link: &link::ObservedLink| (link.name.clone(), link.index);
        self.links.iter().map(index).collect()
    }

    /// An interface by its name.
    pub fn link(&self, name: &str) -> Option<&link::ObservedLink> {
        self.links.iter().find(|link| link.name == name)
    }

    /// An interface's root qdisc.
    pub fn root(&self, name: &str) -> Option<&RootQdisc> {
        self.roots.get(&self.link(name)?.index)
    }

    /// Whether an interface can be closed by its root qdisc before anything else is done: when it is
    /// up, and when it has never been, for then it has none that would have to be given back. One that
    /// was up and is down keeps its own until it is up again.
    pub fn closes_first(&self, name: &str) -> bool {
        self.link(name).is_some_and(|link| link.up) || self.root(name).is_none()
    }

    /// An interface by its index.
    pub fn link_at(&self, index: u32) -> Option<&link::ObservedLink> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The modem as the config describes it, if it is plugged in.
    pub fn modem(&self, config: &Config) -> Option<ModemFacts> {
        let link = modem(&self.links, &config.modem.identity)?;
        Some(ModemFacts {
            index: link.index,
            name: link.name.clone(),
            header: link.header.unwrap_or(LinkHeader::Ethernet),
            ipv6: self
                .sysctls
                .contains_key(&(link.index, SysctlKey::AcceptRa)),
            joining: BTreeSet::new(),
            backstop: self.backstop(link.index),
        })
    }

    /// The queue of the backstop on an interface, unless a third party has set its root qdisc.
    fn backstop(&self, index: u32) -> Option<Queue> {
        match self.roots.get(&index) {
            Some(RootQdisc::Foreign(_)) => None,
            _ => Some(Queue::FqCodel),
        }
    }

    /// Closed devices: modem devices that are not what the config takes for the modem now.
    pub fn closed(
        &self,
        kernel: &impl KernelOperations,
        config: &Config,
        baseline: &Baseline,
    ) -> BTreeMap<u32, ClosedDevice> {
        let identity = &config.modem.identity;
        let modem = modem(&self.links, identity).map(|modem| modem.index);
        let found =
            modem_devices::closed(&self.links, modem, &baseline.devices, identity, |link| {
                kernel.hardware(link)
            });
        let closed = found.into_iter().map(|link| {
            let device = ClosedDevice {
                name: link.name.clone(),
                header: link.header.unwrap_or(LinkHeader::Ethernet),
                backstop: self.backstop(link.index),
            };
            (link.index, device)
        });
        closed.collect()
    }

    /// Uplinks: every other interface that can send IP. The interface below the modem is left out, since
    /// its packets have left by the modem.
    pub fn uplinks(
        &self,
        config: &Config,
        closed: &BTreeMap<u32, ClosedDevice>,
    ) -> BTreeMap<u32, Uplink> {
        let modem = modem(&self.links, &config.modem.identity);
        let below = modem.map(|modem| self.below(modem)).unwrap_or_default();
        self.links
            .iter()
            .filter(|link| link.can_send_ip && link.name != config.tunnel.interface)
            .filter(|link| modem.is_none_or(|modem| modem.index != link.index))
            .filter(|link| !below.contains(&link.index) && !closed.contains_key(&link.index))
            .map(|link| {
                let uplink = Uplink {
                    name: link.name.clone(),
                    header: link.header.unwrap_or(LinkHeader::Ethernet),
                };
                (link.index, uplink)
            })
            .collect()
    }

    /// What carries an interface's packets on: the device below a VLAN, the ports of a bridge or bond.
    fn below(&self, upper: &link::ObservedLink) -> BTreeSet<u32> {
        let mut below = BTreeSet::new();
        let mut uppers = vec![upper];
        while let Some(upper) = uppers.pop() {
            let carries = |link: &&link::ObservedLink| {
                upper.lower == Some(link.index) || link.master == Some(upper.index)
            };
            for link in self.links.iter().filter(carries) {
                if below.insert(link.index) {
                    uppers.push(link);
                }
            }
        }
        below
    }
}
