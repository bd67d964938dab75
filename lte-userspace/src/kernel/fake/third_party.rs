//! What other programs, and people, do to the kernel's objects. None of it counts as a request of the agent's.

use std::net::SocketAddr;
use std::time::SystemTime;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteProtocol};
use rtnetlink::packet_route::rule::RuleAttribute;

use super::qdiscs::Root;
use super::{Answer, FakeKernel, State};
use crate::config::{Cidr, PublicKey};
use crate::desired::{Address, IpFamily, OffloadKey, Peer, Route, Rule, SysctlKey};
use crate::kernel::hardware::Hardware;
use crate::kernel::link::ObservedLink;
use crate::kernel::qdisc::QueueState;
use crate::kernel::qdisc::missing_modules::Module;
use crate::kernel::wireguard::ObservedDevice;
use crate::kernel::{route, rule};

/// `RTPROT_STATIC`: of an administrator.
pub(crate) const STATIC: u8 = 4;

/// Interfaces.
impl FakeKernel {
    /// Plugs in an Ethernet device, which is down. Returns its index.
    pub(crate) fn plug_in(&self, name: &str, mac: [u8; 6]) -> u32 {
        let link = ObservedLink {
            mac: Some(mac.into()),
            permanent_mac: Some(mac.into()),
            ..ObservedLink::ethernet(0, name)
        };
        self.lock().add_link(link).expect("its name is free")
    }

    /// Adds a virtual interface of a kind, down, with another below it. Returns its index.
    pub(crate) fn add_virtual(&self, name: &str, kind: &str, lower: Option<&str>) -> u32 {
        let mut state = self.lock();
        let link = ObservedLink {
            kind: Some(kind.to_owned()),
            wireguard: kind == "wireguard",
            lower: lower.and_then(|lower| state.index_of(lower)),
            ..ObservedLink::ethernet(0, name)
        };
        state.add_link(link).expect("its name is free")
    }

    /// Says what an interface is in hardware.
    pub(crate) fn set_hardware(&self, name: &str, hardware: Hardware) -> Answer<()> {
        self.change_device(name, |state, index| {
            state.device(index)?.hardware = hardware;
            Ok(())
        })
    }

    /// Takes a device out.
    pub(crate) fn unplug(&self, name: &str) -> Answer<()> {
        self.change_device(name, State::remove_link)
    }

    /// Takes a device out and plugs it in again: it has its name, and another index. Returns that.
    pub(crate) fn replug(&self, name: &str) -> Answer<u32> {
        let mut state = self.lock();
        let (index, before) = state.device_by_name(name).ok_or(libc::ENODEV)?;
        let before = before.clone();
        state.remove_link(index)?;
        let link = ObservedLink {
            master: None,
            alias: None,
            gso_max_segs: ObservedLink::ethernet(0, name).gso_max_segs,
            ..before.link
        };
        let index = state.add_link(link)?;
        state.device(index)?.hardware = before.hardware;
        Ok(index)
    }

    /// `ip link set NAME name NEW`.
    pub(crate) fn rename(&self, name: &str, new: &str) -> Answer<()> {
        self.change_device(name, |state, index| state.rename(index, new))
    }

    /// `ip link set NAME up`, or `down`.
    pub(crate) fn set_link(&self, name: &str, up: bool) -> Answer<()> {
        self.change_device(name, |state, index| state.set_up(index, up))
    }

    /// `ip link set NAME mtu MTU`.
    pub(crate) fn change_mtu(&self, name: &str, mtu: u32) -> Answer<()> {
        self.change_device(name, |state, index| state.set_mtu(index, mtu))
    }

    /// `ip link set NAME alias ALIAS`.
    pub(crate) fn change_alias(&self, name: &str, alias: Option<&str>) -> Answer<()> {
        self.change_device(name, |state, index| {
            state.device(index)?.link.alias = alias.map(str::to_owned);
            Ok(())
        })
    }

    /// `ip link set NAME master MASTER`, or `nomaster`.
    pub(crate) fn enslave(&self, name: &str, master: Option<&str>) -> Answer<()> {
        self.change_device(name, |state, index| {
            let master = match master {
                Some(master) => Some(state.index_of(master).ok_or(libc::ENODEV)?),
                None => None,
            };
            state.set_master(index, master)
        })
    }

    /// `ip link del NAME`.
    pub(crate) fn delete(&self, name: &str) -> Answer<()> {
        self.change_device(name, State::delete_link)
    }

    /// Changes a sysctl of an interface, of `all`, or of `default`.
    pub(crate) fn change_sysctl(&self, interface: &str, key: SysctlKey, value: &str) -> Answer<()> {
        self.lock().set_sysctl(interface, key, value)
    }

    /// Says which features of an interface there are, and whether they are on; all of them can be switched.
    pub(crate) fn set_features(&self, name: &str, features: &[(OffloadKey, u32)]) -> Answer<()> {
        self.change_device(name, |state, index| {
            let device = state.device(index)?;
            device.features = features.iter().copied().collect();
            Ok(())
        })
    }

    /// `ethtool -K NAME FEATURE on`, or `off`.
    pub(crate) fn change_offload(&self, name: &str, key: OffloadKey, value: u32) -> Answer<()> {
        self.change_device(name, |state, index| state.set_offload(index, key, value))
    }

    fn change_device<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut State, u32) -> Answer<T>,
    ) -> Answer<T> {
        let mut state = self.lock();
        let index = state.index_of(name).ok_or(libc::ENODEV)?;
        change(&mut state, index)
    }
}

/// Addresses, routes and rules.
impl FakeKernel {
    /// `ip address add CIDR dev NAME`: its subnet's route comes with it.
    pub(crate) fn give_address(&self, name: &str, cidr: Cidr) -> Answer<()> {
        let address = Address {
            interface: name.to_owned(),
            cidr,
            prefix_route: true,
        };
        self.change_device(name, |state, index| state.add_address(index, &address))
    }

    /// `ip address del CIDR dev NAME`.
    pub(crate) fn take_address(&self, name: &str, cidr: Cidr) -> Answer<()> {
        self.change_device(name, |state, index| state.remove_address(index, cidr))
    }

    /// `ip route add ROUTE proto PROTOCOL metric METRIC`; a metric of 0 is the usual one.
    pub(crate) fn give_route(&self, route: &Route, protocol: u8, metric: u32) -> Answer<()> {
        self.change_device(&route.interface, |state, index| {
            let mut message = route::message(route, index);
            message.header.protocol = RouteProtocol::from(protocol);
            if metric != 0 {
                message.attributes.push(RouteAttribute::Priority(metric));
            }
            state.add_route(message, false)
        })
    }

    /// `ip route del`: the first route to a network in a table goes, whose ever it is.
    pub(crate) fn delete_route(&self, to: Cidr, table: u32) -> Answer<()> {
        let mut state = self.lock();
        let is_it = |found: &rtnetlink::packet_route::route::RouteMessage| {
            let everything = IpFamily::of(to.address).everything();
            route::table(found) == table
                && (found.header.address_family == AddressFamily::Inet) == to.address.is_ipv4()
                && route::destination(found).unwrap_or(everything) == to
        };
        let at = state.routes.iter().position(is_it).ok_or(libc::ESRCH)?;
        state.routes.remove(at);
        Ok(())
    }

    /// `ip route flush table TABLE`.
    pub(crate) fn flush_table(&self, table: u32) {
        let mut state = self.lock();
        state.routes.retain(|found| route::table(found) != table);
    }

    /// `ip rule add RULE protocol PROTOCOL`.
    pub(crate) fn give_rule(&self, rule: &Rule, protocol: u8) -> Answer<()> {
        let mut message = rule::message(rule);
        for attribute in &mut message.attributes {
            if let RuleAttribute::Protocol(of) = attribute {
                *of = RouteProtocol::from(protocol);
            }
        }
        self.lock().add_rule(message)
    }

    /// `ip rule del priority PRIORITY`: the first of that priority goes.
    pub(crate) fn delete_rule(&self, family: IpFamily, priority: u32) -> Answer<()> {
        let family = match family {
            IpFamily::V4 => AddressFamily::Inet,
            IpFamily::V6 => AddressFamily::Inet6,
        };
        let mut state = self.lock();
        let mut rules = state.rules.iter();
        let at = rules
            .position(|found| found.header.family == family && rule::priority(found) == priority);
        state.rules.remove(at.ok_or(libc::ENOENT)?);
        Ok(())
    }

    /// `ip rule flush`: all go but the one of the local table.
    pub(crate) fn flush_rules(&self) {
        let mut state = self.lock();
        state.rules.retain(|found| rule::priority(found) == 0);
    }
}

/// Root qdiscs.
impl FakeKernel {
    /// `tc qdisc replace dev NAME root KIND`.
    pub(crate) fn replace_root(&self, name: &str, kind: &str) -> Answer<()> {
        self.change_device(name, |state, index| {
            state.device(index)?.root = Some(Root::Foreign(kind.to_owned()));
            Ok(())
        })
    }

    /// `tc qdisc del dev NAME root`.
    pub(crate) fn delete_root(&self, name: &str) -> Answer<()> {
        self.change_device(name, |state, index| {
            let device = state.device(index)?;
            match device.root {
                None | Some(Root::Default) => Err(libc::ENOENT),
                Some(_) => {
                    device.root = device.link.up.then_some(Root::Default);
                    Ok(())
                }
            }
        })
    }

    /// `tc qdisc replace dev NAME parent 7b:1 KIND`: another queue in the backstop.
    pub(crate) fn replace_queue(&self, name: &str) -> Answer<()> {
        self.change_device(name, |state, index| {
            state.parts(index)?.queue = Some(QueueState::Foreign);
            Ok(())
        })
    }

    /// `tc filter del dev NAME parent 7b:`: nothing passes the backstop.
    pub(crate) fn delete_filters(&self, name: &str) -> Answer<()> {
        self.change_device(name, |state, index| {
            let parts = state.parts(index)?;
            (parts.arp, parts.passes) = (false, None);
            Ok(())
        })
    }

    /// The kernel lacks a module from now on.
    pub(crate) fn lack(&self, module: Module) {
        self.lock().lacks.insert(module);
    }

    /// A module is installed.
    pub(crate) fn install(&self, module: Module) {
        self.lock().lacks.remove(&module);
    }
}

/// WireGuard.
impl FakeKernel {
    /// `wg set`: whatever is changed of a device.
    pub(crate) fn change_wireguard(
        &self,
        interface: &str,
        change: impl FnOnce(&mut ObservedDevice),
    ) -> Answer<()> {
        change(self.lock().wireguard(interface)?);
        Ok(())
    }

    /// `wg set INTERFACE peer KEY`.
    pub(crate) fn give_peer(&self, peer: &Peer) -> Answer<()> {
        self.lock().set_peer(peer)
    }

    /// `wg set INTERFACE peer KEY remove`.
    pub(crate) fn take_peer(&self, interface: &str, key: PublicKey) -> Answer<()> {
        self.lock().remove_peer(interface, key)
    }

    /// A peer is heard from an address, and makes a handshake.
    pub(crate) fn hear_peer(
        &self,
        interface: &str,
        key: PublicKey,
        from: SocketAddr,
        at: SystemTime,
    ) -> Answer<()> {
        let mut state = self.lock();
        let peers = &mut state.wireguard(interface)?.peers;
        let peer = peers.get_mut(&key).ok_or(libc::ENOENT)?;
        peer.endpoint = Some(from);
        peer.handshake = Some(at);
        Ok(())
    }

    /// Another program takes a UDP port.
    pub(crate) fn take_port(&self, port: u16) {
        self.lock().taken_ports.insert(port);
    }

    /// It gives the port back.
    pub(crate) fn free_port(&self, port: u16) {
        self.lock().taken_ports.remove(&port);
    }
}
