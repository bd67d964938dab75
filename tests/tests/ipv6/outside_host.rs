//! A host on the carrier's link that speaks IPv6.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;
use lte_tests::addresses::{
    ELSEWHERE6, LISTEN_PORT, MODEM_GATEWAY6, MODEM_MAC_BYTES, MODEM6, PEER_PORT, PEER6,
};
use lte_tests::capture::{Direction, Seen};
use lte_tests::corpus::packet::{Packet, icmp, tcp, udp};
use lte_tests::outside_host::send_packet;
use lte_tests::scene::{Scene, is_neighbour_discovery};
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{drops, traffic};

/// The link's own nodes.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Everything an unknown sender on the carrier's link can say in IPv6.
pub(crate) fn unsolicited_packets() -> Vec<Packet> {
    let gateway: IpAddr = MODEM_GATEWAY6.into();
    let (modem, elsewhere): (IpAddr, IpAddr) = (MODEM6.into(), ELSEWHERE6.into());
    // Router for half an hour; a prefix to take an address from (RFC 4861, 4.6.2).
    let mut advertisement = vec![0; 8];
    advertisement.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
    advertisement.extend(Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0).octets());
    let advertisement = icmp(
        gateway,
        ALL_NODES.into(),
        (134, 0),
        [64, 0, 7, 8],
        advertisement,
    )
    .hop_limit(255);
    let mut redirect = MODEM_GATEWAY6.octets().to_vec();
    redirect.extend(PEER6.octets());
    let redirect = icmp(gateway, modem, (137, 0), [0; 4], redirect).hop_limit(255);
    let listeners = icmp(gateway, ALL_NODES.into(), (130, 0), [0; 4], [0; 20]).hop_limit(1);
    vec![
        advertisement,
        redirect,
        listeners,
        icmp(gateway, ALL_NODES.into(), (133, 0), [0; 4], []).hop_limit(255),
        icmp(elsewhere, modem, (128, 0), [0; 4], [0; 8]),
        icmp(gateway, ALL_NODES.into(), (128, 0), [0; 4], [0; 8]),
        udp((elsewhere, 4000), (modem, 8080), b"hello"),
        udp((PEER6.into(), PEER_PORT), (modem, 8080), b"hello"),
        udp(
            (PEER6.into(), PEER_PORT + 1),
            (modem, LISTEN_PORT),
            traffic::shaped_as_data(),
        ),
        udp(
            (elsewhere, PEER_PORT),
            (modem, LISTEN_PORT),
            traffic::shaped_as_initiation(),
        ),
        tcp((elsewhere, 4000), (modem, 8080), 2),
    ]
}

/// What IPv6 of the router has taken in, as far as an unknown sender can add to it.
pub(crate) fn accepted(scene: &Scene) -> Result<[u64; 4]> {
    let router = &scene.lab.router;
    Ok([
        drops::ipv6(router, "Icmp6InRouterAdvertisements")?,
        drops::ipv6(router, "Icmp6InRedirects")?,
        drops::ipv6(router, "Icmp6InEchos")?,
        drops::ipv6(router, "Icmp6InGroupMembQueries")?,
    ])
}

/// Routes but for those to the router's own addresses: its link-local one on the modem takes a
/// second to be sure of itself.
pub(crate) fn routes6(scene: &Scene) -> Result<String> {
    let shown = scene
        .lab
        .router
        .tool("ip", &["-6", "route", "show", "table", "all"])?;
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| !line.contains("table local"))
        .collect();
    Ok(lines.join("\n"))
}

/// Says all of it, and waits until it is on the modem's link.
pub(crate) fn send_all(scene: &Scene, words: &[Packet]) -> Result<()> {
    let carrier = &scene.lab.carrier.netns;
    let said = |seen: &Seen| {
        &*seen.interface == "modem0"
            && seen.direction == Direction::Out
            && matches!(seen.packet.source(), Some(IpAddr::V6(_)))
            && !seen.packet.is_wireguard()
            && !is_neighbour_discovery(seen)
    };
    let before = scene.at_carrier.count(said)?;
    for word in words {
        send_packet(carrier, "modem0", MODEM_MAC_BYTES, word)?;
    }
    // Two are of WireGuard's shape.
    let plain = words.len() - 2;
    wait::until(TIMEOUT, "the unknown sender's packets on the link", || {
        Ok((scene.at_carrier.count(said)? >= before + plain).then_some(()))
    })
}
