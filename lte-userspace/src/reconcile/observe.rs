//! What is there: one look at everything that the plan compares.

use std::collections::{BTreeMap, BTreeSet};

use rtnetlink::packet_route::rule::RuleMessage;

use super::identity::modem;
use super::remembered;
use crate::backend::{LinkHeader, Uplink};
use crate::config::Config;
use crate::desired::{Closed, ModemFacts, OffloadKey, Queue, SysctlKey};
use crate::kernel::hardware::Hardware;
use crate::kernel::qdisc::Root;
use crate::kernel::{Kernel, KernelError, address, link, route, rule, sysctl, wireguard};
use crate::state::Record;

/// The kernel's state, as far as it concerns us.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// All interfaces.
    pub links: Vec<link::Found>,
    /// All addresses.
    pub addresses: Vec<address::Found>,
    /// Our routes, and who holds a default route.
    pub routes: route::Routes,
    /// Our rules.
    pub rules: Vec<rule::Found>,
    /// Everybody else's, in the order in which they are asked.
    pub other_rules: Vec<RuleMessage>,
    /// The interfaces' root qdiscs, by index.
    pub roots: BTreeMap<u32, Root>,
    /// Sysctls of the interfaces that were asked for, by interface index.
    pub sysctls: BTreeMap<(u32, SysctlKey), String>,
    /// What joins packets on the interfaces that were asked for, as far as it can be switched.
    pub offloads: BTreeMap<(u32, OffloadKey), u32>,
    /// Whether redirects are sent on all interfaces, which WireGuard changes.
    pub send_redirects: Option<String>,
    /// The least strictness of the reverse-path filter that all interfaces have.
    pub rp_filter_of_all: Option<String>,
    /// Our WireGuard interface's settings.
    pub device: Option<wireguard::Found>,
}

impl Observed {
    /// Looks. Sysctls are read of the interfaces that `of_interest` picks, and the WireGuard
    /// settings of the interface of the given name.
    pub async fn look(
        kernel: &Kernel,
        tunnel: Option<&str>,
        of_interest: impl Fn(&[link::Found]) -> BTreeSet<u32>,
    ) -> Result<Self, KernelError> {
        let links = kernel.links().await?;
        let names: BTreeMap<u32, String> = links
            .iter()
            .map(|link| (link.index, link.name.clone()))
            .collect();
        let mut sysctls = BTreeMap::new();
        for index in of_interest(&links) {
            for key in SysctlKey::SEEN {
                if let Some(name) = names.get(&index)
                    && let Some(value) = sysctl::read(name, key)?
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
            send_redirects: sysctl::read("all", SysctlKey::SendRedirects)?,
            rp_filter_of_all: sysctl::read("all", SysctlKey::RpFilter)?,
            links,
            sysctls,
            offloads: BTreeMap::new(),
            device,
        })
    }

    /// Looks at what joins packets on interfaces, too.
    pub async fn look_at_offloads(
        &mut self,
        kernel: &Kernel,
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

    /// What of it can be switched on an interface.
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

    /// Whether an interface is a WireGuard interface of ours. Our alias tells; before it has one,
    /// between two requests, the record does.
    pub fn is_our_tunnel(&self, link: &link::Found, record: &Record) -> bool {
        link.is_our_tunnel()
            || (link.wireguard
                && link.alias.is_none()
                && record.tunnel.as_deref() == Some(&link.name))
    }

    /// What stands in the way of a tunnel of this name: an interface that is not ours.
    pub fn in_the_way(&self, name: &str, record: &Record) -> Option<String> {
        let link = self.link(name)?;
        (!self.is_our_tunnel(link, record)).then(|| {
            format!(
                "interface {name} is there and is not this agent's: remove it (ip link del {name}) or choose another tunnel.interface"
            )
        })
    }

    /// The indexes of all interfaces, by name.
    pub fn indexes(&self) -> BTreeMap<String, u32> {
        let index = |link: &link::Found| (link.name.clone(), link.index);
        self.links.iter().map(index).collect()
    }

    /// An interface by its name.
    pub fn link(&self, name: &str) -> Option<&link::Found> {
        self.links.iter().find(|link| link.name == name)
    }

    /// An interface's root qdisc.
    pub fn root(&self, name: &str) -> Option<&Root> {
        self.roots.get(&self.link(name)?.index)
    }

    /// Whether an interface can be closed by its root qdisc before anything else is done: when it is
    /// up, and when it has never been, for then it has none that would have to be given back. One that
    /// was up and is down keeps its own until it is up again.
    pub fn closes_first(&self, name: &str) -> bool {
        self.link(name).is_some_and(|link| link.up) || self.root(name).is_none()
    }

    /// An interface by its index.
    pub fn link_at(&self, index: u32) -> Option<&link::Found> {
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

    /// What can queue in our root qdisc on an interface, unless somebody else has given it one.
    fn backstop(&self, index: u32) -> Option<Queue> {
        match self.roots.get(&index) {
            Some(Root::Theirs(_)) => None,
            _ => Some(Queue::FqCodel),
        }
    }

    /// What has been the modem and is not what the config takes for it now.
    pub fn closed(&self, config: &Config, record: &Record) -> BTreeMap<u32, Closed> {
        let identity = &config.modem.identity;
        let modem = modem(&self.links, identity).map(|modem| modem.index);
        let found = remembered::closed(&self.links, modem, &record.devices, identity, Hardware::of);
        let closed = found.into_iter().map(|link| {
            let device = Closed {
                name: link.name.clone(),
                header: link.header.unwrap_or(LinkHeader::Ethernet),
                backstop: self.backstop(link.index),
            };
            (link.index, device)
        });
        closed.collect()
    }

    /// Every other way out: what is neither the modem nor the tunnel. What the modem stands on is left
    /// out, since what leaves by it has left by the modem.
    pub fn uplinks(
        &self,
        config: &Config,
        closed: &BTreeMap<u32, Closed>,
    ) -> BTreeMap<u32, Uplink> {
        let modem = modem(&self.links, &config.modem.identity);
        let below = modem.map(|modem| self.below(modem)).unwrap_or_default();
        self.links
            .iter()
            .filter(|link| link.way_out && link.name != config.tunnel.interface)
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
    fn below(&self, upper: &link::Found) -> BTreeSet<u32> {
        let mut below = BTreeSet::new();
        let mut uppers = vec![upper];
        while let Some(upper) = uppers.pop() {
            let carries = |link: &&link::Found| {
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
