//! The guard and the addresses that all is measured with.

use std::net::Ipv4Addr;

use lte_userspace::backend::{FamilyAddr, Guard, LinkHeader, Modem, Remote, Uplink};

/// The modem interface's address.
pub(crate) const MODEM: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
/// The modem's own.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// The router's address on its uplink.
pub(crate) const WAN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The tunnel's peer.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The tunnel's port, on both sides.
pub(crate) const PORT: u16 = 51820;
/// The mark, and the bits of a packet's mark that are ours.
pub(crate) const MARK: (u32, u32) = (0x7b, 0xff);

/// A guard as the example config asks for it, with the modem at an index and perhaps an uplink.
pub(crate) fn guard(modem: u32, uplink: Option<u32>) -> Guard {
    Guard {
        modem: Some(Modem {
            index: modem,
            name: "modem".into(),
            header: LinkHeader::Ethernet,
            v4: Some(FamilyAddr {
                address: MODEM,
                gateway: Some(GATEWAY),
                admin: Some(GATEWAY.into()),
            }),
            v6: None,
        }),
        uplinks: uplink
            .map(|index| {
                let uplink = Uplink {
                    name: "wan".into(),
                    header: LinkHeader::Ethernet,
                };
                (index, uplink)
            })
            .into_iter()
            .collect(),
        peers: [Remote {
            address: PEER.into(),
            port: PORT,
        }]
        .into(),
        listen_port: PORT,
        mark: MARK.0,
        mask: MARK.1,
        ..Guard::default()
    }
}

/// What WireGuard sends as data: type 4, then whatever.
pub(crate) fn wireguard(len: usize) -> Vec<u8> {
    let mut payload = vec![0; len];
    payload[0] = 4;
    // The receiver index, which a session has; and no index is 0.
    payload[4..8].copy_from_slice(&[1, 2, 3, 4]);
    payload
}
