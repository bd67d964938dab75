//! What other programs do to the agent's objects.

use std::time::Duration;

use super::router::{MODEM, Router, TUNNEL};
use crate::desired::{IpFamily, OffloadKey, Route, Rule, SysctlKey};
use crate::kernel::PROTOCOL;
use crate::kernel::wireguard::ObservedDevice;

/// One damage. What cannot be done, since another has taken its object away, is left out.
pub(super) struct Damage {
    pub(super) name: &'static str,
    /// The error number is that of a damage that cannot be done.
    pub(super) strike: fn(&Router) -> Result<(), i32>,
}

impl Damage {
    /// Whether the modem is another device to the agent afterwards: what is changed of that before the agent
    /// has met it is how it was found.
    pub(super) fn brings_another_device(&self) -> bool {
        self.name == REPLUG
    }
}

const REPLUG: &str = "the modem is plugged in again";

macro_rules! damages {
    ($($name:expr => $strike:expr,)*) => {
        [$(Damage { name: $name, strike: $strike }),*]
    };
}

/// All of them. Each is repaired in whole.
pub(super) fn all() -> impl Iterator<Item = Damage> {
    rules_and_routes()
        .into_iter()
        .chain(links())
        .chain(settings())
        .chain(wireguard())
}

fn rules_and_routes() -> [Damage; 11] {
    damages! {
        "the port rule is deleted" => |router| router.kernel.delete_rule(IpFamily::V4, 10),
        "the mark rule is deleted" => |router| router.kernel.delete_rule(IpFamily::V4, 11),
        "the source rule is deleted" => |router| router.kernel.delete_rule(IpFamily::V4, 12),
        "all rules are flushed, and those of the kernel set again" => |router| {
            let delete = |priority| router.kernel.delete_rule(IpFamily::V4, priority);
            [10, 11, 12].into_iter().try_for_each(delete)
        },
        "a rule of an earlier agent is there" => |router| router.kernel.give_rule(&old_rule(), PROTOCOL),
        "table 123 is flushed" => |router| {
            router.kernel.flush_table(123);
            Ok(())
        },
        "the default route of table 123 is deleted" => |router| {
            router.kernel.delete_route(IpFamily::V4.everything(), 123)
        },
        "the subnet's route of table 123 is deleted" => |router| {
            router.kernel.delete_route("192.168.0.0/24".parse().unwrap(), 123)
        },
        "a route of an earlier agent is there" => |router| {
            router.kernel.give_route(&old_route(), PROTOCOL, 0)
        },
        "the modem's address is removed" => |router| {
            router.kernel.take_address(MODEM, "192.168.0.2/32".parse().unwrap())
        },
        "the tunnel's address is removed" => |router| {
            router.kernel.take_address(TUNNEL, "10.88.88.1/24".parse().unwrap())
        },
    }
}

fn old_rule() -> Rule {
    Rule {
        family: IpFamily::V4,
        priority: 1230,
        local: true,
        source: None,
        udp_source_port: Some(4711),
        mark: None,
        table: 123,
    }
}

fn old_route() -> Route {
    Route {
        destination: "10.1.0.0/16".parse().unwrap(),
        gateway: None,
        interface: MODEM.to_owned(),
        source: None,
        table: 123,
    }
}

fn links() -> [Damage; 9] {
    damages! {
        "the modem is set down" => |router| router.kernel.set_link(MODEM, false),
        "the modem is set down and up" => |router| {
            router.kernel.set_link(MODEM, false)?;
            router.kernel.set_link(MODEM, true)
        },
        "the modem is made a part of a bridge" => |router| router.kernel.enslave(MODEM, Some("br0")),
        REPLUG => |router| router.kernel.replug(MODEM).map(|_| ()),
        "the tunnel is set down" => |router| router.kernel.set_link(TUNNEL, false),
        "the tunnel is deleted" => |router| router.kernel.delete(TUNNEL),
        "the tunnel has another MTU" => |router| router.kernel.change_mtu(TUNNEL, 1420),
        "the backstop is removed" => |router| router.kernel.delete_root(MODEM),
        "the backstop has no filters" => |router| router.kernel.delete_filters(MODEM),
    }
}

fn settings() -> [Damage; 8] {
    damages! {
        "src_valid_mark is off" => |router| sysctl(router, SysctlKey::SrcValidMark, "0"),
        "arp_ignore is off" => |router| sysctl(router, SysctlKey::ArpIgnore, "0"),
        "arp_announce is off" => |router| sysctl(router, SysctlKey::ArpAnnounce, "0"),
        "disable_xfrm is off" => |router| sysctl(router, SysctlKey::DisableXfrm, "0"),
        "disable_policy is off" => |router| sysctl(router, SysctlKey::DisablePolicy, "0"),
        "accept_ra is on" => |router| sysctl(router, SysctlKey::AcceptRa, "1"),
        "rp_filter is loose" => |router| sysctl(router, SysctlKey::RpFilter, "2"),
        "the guards are removed" => |router| {
            router.guards.lose(router.kind);
            Ok(())
        },
    }
}

fn sysctl(router: &Router, key: SysctlKey, value: &str) -> Result<(), i32> {
    router.kernel.change_sysctl(MODEM, key, value)
}

fn wireguard() -> [Damage; 7] {
    damages! {
        "WireGuard has another port" => |router| wg(router, |device| device.listen_port = 4711),
        "WireGuard has a FwMark" => |router| wg(router, |device| device.fwmark = 0x7b),
        "WireGuard has no key" => |router| wg(router, |device| device.public_key = None),
        "a peer is removed" => |router| wg(router, |device| device.peers.clear()),
        "a peer has another network" => |router| wg(router, |device| {
            for peer in device.peers.values_mut() {
                peer.allowed_ips = vec!["10.99.0.0/16".parse().unwrap()];
            }
        }),
        "a peer has no keepalive" => |router| wg(router, |device| {
            for peer in device.peers.values_mut() {
                peer.keepalive = Duration::ZERO;
            }
        }),
        "packets are joined on the modem" => |router| {
            router.kernel.change_offload(MODEM, OffloadKey::Gro, 1)
        },
    }
}

fn wg(router: &Router, change: fn(&mut ObservedDevice)) -> Result<(), i32> {
    router.kernel.change_wireguard(TUNNEL, change)
}
