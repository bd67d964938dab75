//! Where the cases take place: addresses, devices, and the guard that goes with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lte_common::layout::Policy;
use lte_common::policy::Hook;
use lte_userspace::backend::ebpf::{LoadOptions, policy_for};
use lte_userspace::backend::{FamilyAddr, Guard, LinkHeader, Modem, Network};

use super::packet::{Device, Endpoint};

const MODEM_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const MODEM_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 2);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 1);

/// The tunnel's port on this side.
pub const LISTEN: u16 = 51820;
/// The mark of what is the tunnel's, and the bits of a packet's mark that are ours.
pub const MARK: u32 = 0x7b;
/// The bits of a packet's mark that are ours.
pub const MASK: u32 = 0xff;
/// How long after the tunnel's last packet to a remote its replies are let in, seconds.
pub const FLOW_TIMEOUT: u64 = 20;
/// Ports of the modem's admin page.
pub const ADMIN_PORTS: [u16; 2] = [80, 443];

/// A neighbour of the modem's that is not the modem.
pub const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 9));
/// The same over IPv6.
pub const NEIGHBOUR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 9));
/// The modem interface's address.
pub const MODEM: IpAddr = IpAddr::V4(MODEM_V4);
/// The modem device itself.
pub const GATEWAY: IpAddr = IpAddr::V4(GATEWAY_V4);
/// The router's address on its uplink.
pub const WAN: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// The tunnel's peer.
pub const PEER: Endpoint = (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 41414);
/// An address of the internet that the tunnel has never sent to.
pub const UNKNOWN_SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66));
/// A host of the LAN.
pub const LAN_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 50));

/// The modem interface's IPv6 address.
pub const MODEM6: IpAddr = IpAddr::V6(MODEM_V6);
/// The modem device itself.
pub const GATEWAY6: IpAddr = IpAddr::V6(GATEWAY_V6);
/// The router's IPv6 address on its uplink.
pub const WAN6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7));
/// The tunnel's peer over IPv6.
pub const PEER6: Endpoint = (
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xbeef, 0, 0, 0, 0, 0x10)),
    41414,
);
/// An IPv6 address of the internet that the tunnel has never sent to.
pub const UNKNOWN_SENDER6: IpAddr =
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0x66));
/// A host of the LAN, over IPv6.
pub const LAN_HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x50));
/// The modem device's link-local address.
pub const GATEWAY6_LINK: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// The modem interface's link-local address.
pub const MODEM6_LINK: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));

/// Where the config says that the modem's own page and echo are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Admin {
    /// At its gateway.
    Gateway,
    /// Anywhere on its subnet.
    Subnet,
    /// Nowhere.
    Nowhere,
}

/// The devices, and which families the config speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The device the packet is seen on.
    pub device: Device,
    /// The modem; `None` while it is unplugged. The same as `device` on the modem's own hooks.
    pub modem: Option<Device>,
    /// The modem has an IPv4 address.
    pub ipv4: bool,
    /// The modem has an IPv6 address.
    pub ipv6: bool,
    /// Where its own page and echo are.
    pub admin: Admin,
}

impl Site {
    /// An Ethernet modem with both families, seen on an Ethernet device.
    pub const ETHERNET: Self = Self {
        device: Device::Ethernet,
        modem: Some(Device::Ethernet),
        ipv4: true,
        ipv6: true,
        admin: Admin::Gateway,
    };

    /// All that a hook can meet with.
    pub fn all(hook: Hook) -> Vec<Self> {
        let mut sites = Vec::new();
        for device in [Device::Ethernet, Device::Raw] {
            let modems = match hook {
                Hook::UplinkOut => vec![Some(Device::Ethernet), Some(Device::Raw), None],
                Hook::ModemOut | Hook::ModemIn => vec![Some(device)],
            };
            for modem in modems {
                for (ipv4, ipv6, admin) in [
                    (true, true, Admin::Gateway),
                    (true, false, Admin::Gateway),
                    (false, true, Admin::Gateway),
                    (true, true, Admin::Subnet),
                    (true, true, Admin::Nowhere),
                ] {
                    // An uplink's hook does not look at it.
                    if hook == Hook::UplinkOut && admin != Admin::Gateway {
                        continue;
                    }
                    let site = Self {
                        device,
                        modem,
                        ipv4,
                        ipv6,
                        admin,
                    };
                    sites.push(site);
                }
            }
        }
        sites
    }

    /// The guard that is wanted here. `index` is the modem's interface index.
    pub fn guard(self, index: u32) -> Guard {
        Guard {
            modem: self.modem.map(|modem| Modem {
                index,
                name: "modem".into(),
                header: header(modem),
                v4: self.ipv4.then_some(FamilyAddr {
                    address: MODEM_V4,
                    gateway: (modem == Device::Ethernet).then_some(GATEWAY_V4),
                    admin: self.admin_at(GATEWAY_V4, 32, 24),
                }),
                v6: self.ipv6.then_some(FamilyAddr {
                    address: MODEM_V6,
                    gateway: (modem == Device::Ethernet).then_some(GATEWAY_V6),
                    admin: self.admin_at(GATEWAY_V6, 128, 64),
                }),
            }),
            listen_port: LISTEN,
            mark: MARK,
            mask: MASK,
            admin_ports: ADMIN_PORTS.to_vec(),
            flow_timeout: Duration::from_secs(FLOW_TIMEOUT),
            ..Guard::default()
        }
    }

    fn admin_at<A>(self, address: A, alone: u8, subnet: u8) -> Option<Network<A>> {
        let prefix_len = match self.admin {
            Admin::Gateway => alone,
            Admin::Subnet => subnet,
            Admin::Nowhere => return None,
        };
        Some(Network {
            address,
            prefix_len,
        })
    }

    /// The policy of the programs on the device. The modem is interface 1: a program under
    /// `BPF_PROG_TEST_RUN` sends nothing.
    pub fn policy(self) -> Policy {
        policy_for(&self.guard(1), header(self.device), LoadOptions::default())
    }
}

const fn header(device: Device) -> LinkHeader {
    match device {
        Device::Ethernet => LinkHeader::Ethernet,
        Device::Raw => LinkHeader::None,
    }
}
