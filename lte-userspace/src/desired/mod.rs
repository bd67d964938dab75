//! The desired state: the objects that follow from config and facts. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::backend::{FamilyAddr, Guard, LinkHeader, Modem, Network, Remote, Uplink};
use crate::config::{Cidr, Config, Endpoint, InterfaceAddr, PublicKey};
use crate::kernel::MAIN_TABLE;

mod master;
mod object;
mod offload;
#[cfg(test)]
pub(crate) mod tests;

pub use master::Master;
pub use object::{
    Address, Backstop, IpFamily, Link, LinkState, NO_PORT, Peer, Queue, Route, Rule, Sysctl,
    SysctlKey, WireguardDevice,
};
pub use offload::{Offload, OffloadKey};

/// How many rules of ours follow one another: the port rule, the mark rule, the source rule.
pub const RULE_COUNT: u32 = 3;

/// What the config alone does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The modem, if it is plugged in.
    pub modem: Option<ModemFacts>,
    /// What has been the modem and is not what the config takes for it now, by interface index.
    pub closed: BTreeMap<u32, ClosedDevice>,
    /// Uplinks, by interface index.
    pub uplinks: BTreeMap<u32, Uplink>,
    /// The priority of the first of our rules: the config's, or one before a third party's.
    pub first_rule: u32,
    /// The tunnel's UDP port: the config's, or the one the kernel chose once.
    pub listen_port: u16,
    /// Addresses of endpoint names.
    pub resolved: BTreeMap<Endpoint, SocketAddr>,
    /// Silent peers in a handshake back-off.
    pub backed_off: BTreeSet<PublicKey>,
}

/// The modem as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModemFacts {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// How its frames start.
    pub header: LinkHeader,
    /// Whether IPv6 can be set on it at all.
    pub ipv6: bool,
    /// The queue of the backstop; `None`: it cannot have one, since the kernel lacks modules, or since a
    /// third party has set its root qdisc.
    pub backstop: Option<Queue>,
    /// What joins packets on it, as far as that can be switched and the guard would count wrong.
    pub joining: BTreeSet<OffloadKey>,
}

/// A closed device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedDevice {
    /// Interface name.
    pub name: String,
    /// How its frames start.
    pub header: LinkHeader,
    /// What can queue in our root qdisc, as [`ModemFacts::backstop`].
    pub backstop: Option<Queue>,
}

/// One thing that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The guard; whole, since a backend puts it in place in one step.
    Guard(Guard),
    /// The backstop.
    Backstop(Backstop),
    /// What an interface is a part of.
    Master(Master),
    /// A sysctl.
    Sysctl(Sysctl),
    /// Whether packets are joined.
    Offload(Offload),
    /// The WireGuard interface.
    Link(Link),
    /// Its settings.
    WireguardDevice(WireguardDevice),
    /// One of its peers.
    Peer(Peer),
    /// An address.
    Address(Address),
    /// An interface's being up or down.
    LinkState(LinkState),
    /// A route.
    Route(Route),
    /// A rule.
    Rule(Rule),
}

impl Object {
    /// The interface that it is, or is on; none of the guard and of rules.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Guard(_) | Self::Rule(_) => None,
            Self::Backstop(object) => Some(&object.interface),
            Self::Master(object) => Some(&object.interface),
            Self::Sysctl(object) => Some(&object.interface),
            Self::Offload(object) => Some(&object.interface),
            Self::Link(object) => Some(&object.name),
            Self::WireguardDevice(object) => Some(&object.interface),
            Self::Peer(object) => Some(&object.interface),
            Self::Address(object) => Some(&object.interface),
            Self::LinkState(object) => Some(&object.interface),
            Self::Route(object) => Some(&object.interface),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard(guard) => write!(f, "{}", GuardDescription(guard)),
            Self::Backstop(object) => object.fmt(f),
            Self::Master(object) => object.fmt(f),
            Self::Sysctl(object) => object.fmt(f),
            Self::Offload(object) => object.fmt(f),
            Self::Link(object) => object.fmt(f),
            Self::WireguardDevice(object) => object.fmt(f),
            Self::Peer(object) => object.fmt(f),
            Self::Address(object) => object.fmt(f),
            Self::LinkState(object) => object.fmt(f),
            Self::Route(object) => object.fmt(f),
            Self::Rule(object) => object.fmt(f),
        }
    }
}

/// How many interfaces are shown in a line.
const UPLINKS_SHOWN: usize = 8;

struct GuardDescription<'a>(&'a Guard);

impl fmt::Display for GuardDescription<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.0;
        match &guard.modem {
            Some(modem) => write!(f, "guard on modem {}", modem.name)?,
            None => f.write_str("guard without a modem")?,
        }
        for closed in guard.closed.values() {
            write!(f, ", {} closed", closed.name)?;
        }
        f.write_str(", other ways out")?;
        for uplink in guard.uplinks.values().take(UPLINKS_SHOWN) {
            write!(f, " {}", uplink.name)?;
        }
        match guard.uplinks.len() {
            0 => f.write_str(" none")?,
            n if n > UPLINKS_SHOWN => write!(f, " and {} more", n - UPLINKS_SHOWN)?,
            _ => {}
        }
        f.write_str(", peers")?;
        for peer in &guard.peers {
            write!(f, " {}", SocketAddr::new(peer.address, peer.port))?;
        }
        if guard.peers.is_empty() {
            f.write_str(" unknown")?;
        }
        write!(
            f,
            ", port {}, mark {:#x}/{:#x}, admin ports {:?}, flow time-out {} s",
            guard.listen_port,
            guard.mark,
            guard.mask,
            guard.admin_ports,
            guard.flow_timeout.as_secs()
        )
    }
}

/// All that is to be there. The plan puts the steps in order.
pub fn desired(config: &Config, facts: &Facts) -> Vec<Object> {
    let mut objects = vec![Object::Guard(guard(config, facts))];
    if let Some(modem) = &facts.modem {
        // As a part of a bridge, a bond or a VRF it hands its packets to another interface, on whose
        // behalf they go and come: the tunnel has no way there.
        objects.push(Object::Master(Master {
            interface: modem.name.clone(),
            master: None,
        }));
        objects.extend(sysctls(config, modem).map(Object::Sysctl));
        objects.extend(keep_packets_apart(modem).map(Object::Offload));
    }
    for device in facts.closed.values() {
        objects.extend(closed(config, device));
    }
    objects.extend(tunnel(config, facts));
    if let Some(modem) = &facts.modem {
        objects.extend(modem_network(config, modem));
    }
    // The rules stay while the modem is away: what they send to the empty table falls through to
    // the guard on the uplinks, and when the modem is back they are there.
    objects.extend(
        config
            .modem
            .interface_addrs()
            .flat_map(|family| rules(config, facts, family.address)),
    );
    objects.extend(tunnel_network(config));
    objects
}

/// What keeps a device closed besides the guard.
fn closed(config: &Config, device: &ClosedDevice) -> impl Iterator<Item = Object> {
    let master = Object::Master(Master {
        interface: device.name.clone(),
        master: None,
    });
    let backstop = device
        .backstop
        .map(|queue| backstop(config, &device.name, queue));
    [master].into_iter().chain(backstop)
}

fn backstop(config: &Config, interface: &str, queue: Queue) -> Object {
    Object::Backstop(Backstop {
        interface: interface.to_owned(),
        mark: config.routing.mark,
        mask: config.routing.mask,
        queue,
    })
}

/// The guard, which is wanted with or without a modem.
pub fn guard(config: &Config, facts: &Facts) -> Guard {
    Guard {
        modem: facts.modem.as_ref().map(|modem| Modem {
            index: modem.index,
            name: modem.name.clone(),
            header: modem.header,
            v4: config
                .modem
                .v4
                .and_then(|family| match family.address.address {
                    IpAddr::V4(address) => Some(inet(address, family, |other| match other {
                        IpAddr::V4(other) => Some(other),
                        IpAddr::V6(_) => None,
                    })),
                    IpAddr::V6(_) => None,
                }),
            v6: config
                .modem
                .v6
                .and_then(|family| match family.address.address {
                    IpAddr::V6(address) => Some(inet(address, family, |other| match other {
                        IpAddr::V6(other) => Some(other),
                        IpAddr::V4(_) => None,
                    })),
                    IpAddr::V4(_) => None,
                }),
        }),
        tunnel: config.tunnel.interface.clone(),
        closed: facts
            .closed
            .iter()
            .map(|(index, device)| {
                let device = Uplink {
                    name: device.name.clone(),
                    header: device.header,
                };
                (*index, device)
            })
            .collect(),
        uplinks: facts.uplinks.clone(),
        peers: config
            .tunnel
            .peers
            .iter()
            .filter_map(|peer| address_of(&peer.endpoint, config, facts))
            .map(|endpoint| Remote {
                address: endpoint.ip(),
                port: endpoint.port(),
            })
            .collect::<BTreeSet<_>>(),
        listen_port: facts.listen_port,
        mark: config.routing.mark,
        mask: config.routing.mask,
        admin_ports: config.modem.admin_ports.clone(),
        flow_timeout: config.flow_timeout(),
    }
}

/// Where an endpoint is, as far as it is known, and if the modem can reach it: an address that was
/// looked up for another config may be of a family that the modem has no more.
fn address_of(endpoint: &Endpoint, config: &Config, facts: &Facts) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Address(address) => Some(*address),
        name @ Endpoint::Name { .. } => facts.resolved.get(name).copied(),
    }
    .filter(|address| config.modem.has_family(address.ip()))
}

fn inet<A>(
    address: A,
    family: InterfaceAddr,
    of_family: impl Fn(IpAddr) -> Option<A>,
) -> FamilyAddr<A> {
    FamilyAddr {
        address,
        gateway: family.gateway.and_then(&of_family),
        admin: family.admin.and_then(|admin| {
            Some(Network {
                address: of_family(admin.address)?,
                prefix_len: admin.prefix_len,
            })
        }),
    }
}

/// Joining is off on the modem if the guard would count several packets as one.
fn keep_packets_apart(modem: &ModemFacts) -> impl Iterator<Item = Offload> {
    modem.joining.iter().map(|key| Offload {
        interface: modem.name.clone(),
        key: *key,
        value: key.value_apart(),
    })
}

/// Router advertisements are refused in any case: the modem's way out stands in the config.
///
/// ARP shows no other address of the router: requests are answered for the modem's alone, also
/// those without a sender's address, which the reverse-path check lets through (RFC 5227), and they are asked
/// with the modem's alone. No policy of IPsec takes the tunnel's packets on their way by the modem.
fn sysctls(config: &Config, modem: &ModemFacts) -> impl Iterator<Item = Sysctl> {
    let v4 = config.modem.v4.is_some();
    let v6 = config.modem.v6.is_some();
    [
        (SysctlKey::SrcValidMark, "1", v4),
        (SysctlKey::ArpIgnore, "1", v4),
        (SysctlKey::ArpAnnounce, "2", v4),
        (SysctlKey::DisableXfrm, "1", v4),
        (SysctlKey::DisablePolicy, "1", v4),
        (SysctlKey::DisableIpv6, "0", v6),
        (SysctlKey::AcceptRa, "0", true),
    ]
    .into_iter()
    .filter(|(key, _, wanted)| *wanted && (modem.ipv6 || key.path().0 != "ipv6"))
    .map(|(key, value, _)| Sysctl {
        interface: modem.name.clone(),
        key,
        value: value.to_owned(),
    })
}

/// The WireGuard interface and its peers, still down.
fn tunnel(config: &Config, facts: &Facts) -> Vec<Object> {
    let tunnel = &config.tunnel;
    let mut objects = vec![
        Object::Link(Link {
            name: tunnel.interface.clone(),
            mtu: tunnel.mtu,
        }),
        Object::WireguardDevice(WireguardDevice {
            interface: tunnel.interface.clone(),
            private_key: tunnel.private_key.clone(),
            listen_port: facts.listen_port,
        }),
    ];
    objects.extend(tunnel.peers.iter().map(|peer| {
        let endpoint = address_of(&peer.endpoint, config, facts);
        let mut allowed_ips = peer.allowed_ips.clone();
        allowed_ips.sort_unstable();
        allowed_ips.dedup();
        Object::Peer(Peer {
            interface: tunnel.interface.clone(),
            public_key: peer.public_key,
            endpoint,
            allowed_ips,
            // WireGuard sends to a peer when its keepalive goes from off to on. So it stays off as
            // long as the peer's address is not known, and the first known address is used at once.
            // That of a peer at rest is off for the same reason.
            keepalive: endpoint
                .filter(|_| !facts.backed_off.contains(&peer.public_key))
                .map_or(Duration::ZERO, |_| peer.persistent_keepalive),
        })
    }));
    objects
}

/// The modem's address and table.
fn modem_network(config: &Config, modem: &ModemFacts) -> Vec<Object> {
    let table = config.routing.table;
    let mut objects: Vec<Object> = config
        .modem
        .interface_addrs()
        .map(|family| {
            Object::Address(Address {
                interface: modem.name.clone(),
                cidr: without_subnet(family.address),
                // The subnet's route belongs in our table: in the main one it would draw a LAN of
                // the same numbers, which are common, to the modem.
                prefix_route: false,
            })
        })
        .collect();
    // Just before it is up: an interface that is down is given no other in its place, should this one
    // have to go again.
    let queue = modem.backstop;
    objects.extend(queue.map(|queue| backstop(config, &modem.name, queue)));
    objects.push(Object::LinkState(LinkState {
        interface: modem.name.clone(),
        up: true,
    }));
    for family in config.modem.interface_addrs() {
        let route = |destination, gateway| {
            Object::Route(Route {
                destination,
                gateway,
                interface: modem.name.clone(),
                source: Some(family.address.address),
                table,
            })
        };
        // The subnet first: without it the kernel does not believe in the gateway.
        if family.address.prefix_len < family.address.bits() {
            objects.push(route(family.address.network(), None));
        }
        let everything = IpFamily::of(family.address.address).everything();
        objects.push(route(everything, family.gateway));
    }
    objects
}

/// An IPv4 address without its subnet: with one the kernel adds the subnet's broadcast addresses to
/// the local table, whatever the flags, and a LAN of the same numbers loses its own to the modem. IPv6
/// has none, and an address on an interface once, whatever its prefix: it could not be changed in place.
const fn without_subnet(cidr: Cidr) -> Cidr {
    match cidr.address {
        IpAddr::V4(_) => Cidr::new(cidr.address, 32),
        IpAddr::V6(_) => cidr,
    }
}

fn rules(config: &Config, facts: &Facts, modem: Cidr) -> [Object; RULE_COUNT as usize] {
    let family = IpFamily::of(modem.address);
    let rule = |place| Rule {
        family,
        priority: facts.first_rule + place,
        local: true,
        source: None,
        udp_source_port: None,
        mark: None,
        table: config.routing.table,
    };
    [
        Rule {
            udp_source_port: Some(facts.listen_port),
            ..rule(0)
        },
        Rule {
            local: false,
            mark: Some((config.routing.mark, config.routing.mask)),
            ..rule(1)
        },
        // What bears the modem's address goes by the modem. A strict filter needs it for what the
        // modem says without our mark: it asks by ARP who has our address, and is only answered
        // if the way back to it leads over the same interface.
        Rule {
            source: Some(Cidr::new(modem.address, modem.bits())),
            ..rule(2)
        },
    ]
    .map(Object::Rule)
}

/// The tunnel's own network, and its being up: from here on WireGuard speaks.
fn tunnel_network(config: &Config) -> Vec<Object> {
    let tunnel = &config.tunnel;
    let mut objects: Vec<Object> = tunnel
        .addresses
        .iter()
        .map(|cidr| {
            Object::Address(Address {
                interface: tunnel.interface.clone(),
                cidr: *cidr,
                prefix_route: true,
            })
        })
        .collect();
    objects.push(Object::LinkState(LinkState {
        interface: tunnel.interface.clone(),
        up: true,
    }));
    let mut networks: Vec<Cidr> = tunnel
        .peers
        .iter()
        .flat_map(|peer| &peer.allowed_ips)
        .filter(|net| !tunnel.addresses.iter().any(|own| own.covers(net)))
        .copied()
        .collect();
    networks.sort_unstable();
    networks.dedup();
    objects.extend(networks.into_iter().map(|destination| {
        Object::Route(Route {
            destination,
            gateway: None,
            interface: tunnel.interface.clone(),
            source: None,
            table: MAIN_TABLE,
        })
    }));
    objects
}
