//! Who is who in the lab. Public addresses are from the documentation networks.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The LAN host.
pub const LAN_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);
/// The router on the LAN.
pub const ROUTER_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The router's public address on the uplink: if the peer sees it, a packet leaked.
pub const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The uplink's gateway.
pub const UPLINK_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The modem's own address, behind the carrier's NAT.
pub const MODEM: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
/// The modem's gateway: the carrier's side.
pub const MODEM_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// The public address behind which the carrier hides the modem.
pub const CARRIER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// The server's address.
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Another address of the server, that is not the tunnel's peer.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
/// The router inside the tunnel.
pub const TUNNEL_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 88, 88, 1);
/// The server inside the tunnel.
pub const TUNNEL_PEER: Ipv4Addr = Ipv4Addr::new(10, 88, 88, 2);

const fn documentation(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)
}

/// The LAN host, where the lab has IPv6.
pub const LAN_HOST6: Ipv6Addr = documentation(5, 0x10);
/// The router on the LAN.
pub const ROUTER_LAN6: Ipv6Addr = documentation(5, 1);
/// The router's public address on the uplink: if the peer sees it, a packet leaked.
pub const UPLINK6: Ipv6Addr = documentation(1, 2);
/// The uplink's gateway.
pub const UPLINK_GATEWAY6: Ipv6Addr = documentation(1, 1);
/// The modem's own address: carriers do not translate IPv6, so the peer sees it.
pub const MODEM6: Ipv6Addr = documentation(2, 2);
/// The modem's gateway as carriers have it: link-local.
pub const MODEM_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The same gateway's address in the modem's subnet.
pub const MODEM_GATEWAY6_IN_SUBNET: Ipv6Addr = documentation(2, 1);
/// The server's address.
pub const PEER6: Ipv6Addr = documentation(0x99, 0x10);
/// Another address of the server, that is not the tunnel's peer.
pub const ELSEWHERE6: Ipv6Addr = documentation(0x99, 0x20);
/// The router inside the tunnel.
pub const TUNNEL_ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 1);
/// The server inside the tunnel.
pub const TUNNEL_PEER6: Ipv6Addr = Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 2);

/// The tunnel's UDP port on the router. Not the peer's, so that the two cannot be mistaken.
pub const LISTEN_PORT: u16 = 51821;
/// The tunnel's UDP port on the server.
pub const PEER_PORT: u16 = 51820;

/// The modem's hardware address.
pub const MODEM_MAC: &str = "34:4b:50:00:00:01";
/// The same as bytes.
pub const MODEM_MAC_BYTES: [u8; 6] = [0x34, 0x4b, 0x50, 0, 0, 1];
/// The tunnel interface on the router.
pub const TUNNEL: &str = "wg-lte";
