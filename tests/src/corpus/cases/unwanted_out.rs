//! What this machine and the LAN would send over the modem, and must not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lte_common::policy::Class::{DropFamily, DropForwarded, DropLocal, DropNotIp};
use lte_common::policy::Hook::ModemOut;

use super::super::case::{Case, frame, modem_out};
use super::super::packet::{Extension, bare, ethernet, icmp, tcp, udp};
use super::super::site::{LAN_HOST, LAN_HOST6, MARK, MODEM, MODEM6, MODEM6_LINK, PEER, UNKNOWN_SENDER, UNKNOWN_SENDER6};
use super::{ICMPV6, SYN};

const MDNS: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
const MDNS6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));
const SSDP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250));
const SUBNET_BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 255));
const IGMP_ROUTERS: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 22));
const MLD_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16));

fn other(ether_type: u16) -> Vec<u8> {
    let mut frame = ethernet(&[], ether_type);
    frame.extend([0; 46]);
    frame
}

pub(super) fn cases() -> Vec<Case> {
    let port = 45000;
    let from = |port| (MODEM, port);
    let from6 = |port| (MODEM6, port);
    vec![
        modem_out("DNS", udp(from(port), (UNKNOWN_SENDER, 53), [0; 30])).dropped(DropLocal),
        modem_out("NTP", udp(from(123), (UNKNOWN_SENDER, 123), [0x23; 48])).dropped(DropLocal),
        modem_out("mDNS", udp(from(5353), (MDNS, 5353), [0; 40])).dropped(DropLocal),
        modem_out("mDNS over IPv6", udp(from6(5353), (MDNS6, 5353), [0; 40])).dropped(DropLocal),
        modem_out("SSDP", udp(from(port), (SSDP, 1900), [b'M'; 100])).dropped(DropLocal),
        modem_out("NetBIOS to the subnet", udp(from(137), (SUBNET_BROADCAST, 137), [0; 50])).dropped(DropLocal),
        modem_out("a local program bound to the modem", tcp(from(port), (UNKNOWN_SENDER, 443), SYN)).dropped(DropLocal),
        modem_out("a local program with our mark", tcp(from(port), (UNKNOWN_SENDER, 443), SYN)).with_mark(MARK).dropped(DropLocal),
        modem_out("a local program over IPv6", tcp(from6(port), (UNKNOWN_SENDER6, 443), SYN)).dropped(DropLocal),
        modem_out("a local program over IPv6 with IPv6 off", tcp(from6(port), (UNKNOWN_SENDER6, 443), SYN)).ipv6_off().dropped(DropFamily),
        modem_out("a local program on a raw-IP modem", tcp(from(port), (UNKNOWN_SENDER, 443), SYN)).raw().dropped(DropLocal),
        modem_out("TCP to the peer", tcp(from(port), PEER, SYN)).dropped(DropLocal),
        modem_out("QUIC", udp(from(port), (UNKNOWN_SENDER, 443), [0xc0; 1200])).dropped(DropLocal),
        modem_out("echo to the internet", icmp(MODEM, UNKNOWN_SENDER, (8, 0), [0; 4], [0; 56])).dropped(DropLocal),
        modem_out("unreachable to the peer", icmp(MODEM, PEER.0, (3, 3), [0; 4], [0; 28])).dropped(DropLocal),
        modem_out("IGMP report", bare(MODEM, IGMP_ROUTERS, 2, [0x22; 16]).options(1).hop_limit(1)).dropped(DropLocal),
        modem_out("MLD report", icmp(MODEM6_LINK, MLD_ROUTERS, (143, 0), [0; 4], [0; 20]).extensions(&[Extension::HopByHop]).hop_limit(1)).dropped(DropLocal),
        modem_out("DHCPv6 solicit", udp((MODEM6_LINK, 546), (MLD_ROUTERS, 547), [1; 60])).dropped(DropLocal),
        modem_out("GRE", bare(MODEM, UNKNOWN_SENDER, 47, [0; 40])).dropped(DropLocal),
        modem_out("ESP", bare(MODEM, UNKNOWN_SENDER, 50, [0; 60])).dropped(DropLocal),
        modem_out("SCTP", bare(MODEM, UNKNOWN_SENDER, 132, [0; 32])).dropped(DropLocal),
        modem_out("UDP-Lite from the tunnel's port", bare(MODEM, PEER.0, 136, [0xca, 0x6c, 0xa1, 0xc6, 0, 40, 0, 0])).dropped(DropLocal),
        modem_out("IPv6 in IPv4", bare(MODEM, UNKNOWN_SENDER, 41, [0x60; 60])).dropped(DropLocal),
        modem_out("IPv6 without a next header", bare(MODEM6, UNKNOWN_SENDER6, 59, [])).dropped(DropLocal),
        modem_out("ICMPv6 cut to nothing behind ESP", bare(MODEM6, UNKNOWN_SENDER6, 50, [ICMPV6; 24])).dropped(DropLocal),
        modem_out("TCP for a LAN host", tcp((LAN_HOST, port), (UNKNOWN_SENDER, 443), SYN)).forwarded().dropped(DropForwarded),
        modem_out("TCP for a LAN host, on a raw-IP modem", tcp((LAN_HOST, port), (UNKNOWN_SENDER, 443), SYN)).raw().forwarded().dropped(DropForwarded),
        modem_out("TCP for a LAN host, masqueraded", tcp(from(port), (UNKNOWN_SENDER, 443), SYN)).forwarded().dropped(DropForwarded),
        modem_out("TCP for a LAN host over IPv6", tcp((LAN_HOST6, port), (UNKNOWN_SENDER6, 443), SYN)).forwarded().dropped(DropForwarded),
        modem_out("TCP for a LAN host over IPv6 with IPv6 off", tcp((LAN_HOST6, port), (UNKNOWN_SENDER6, 443), SYN)).ipv6_off().forwarded().dropped(DropFamily),
        modem_out("DNS for a LAN host", udp((LAN_HOST, port), (UNKNOWN_SENDER, 53), [0; 30])).forwarded().dropped(DropForwarded),
        modem_out("echo for a LAN host", icmp(LAN_HOST, UNKNOWN_SENDER, (8, 0), [0; 4], [0; 56])).forwarded().dropped(DropForwarded),
        frame(ModemOut, "LLDP", other(0x88cc)).dropped(DropNotIp),
        frame(ModemOut, "PPPoE discovery", other(0x8863)).dropped(DropNotIp),
        frame(ModemOut, "IEEE 802.3 with a length for a type", other(0x0026)).dropped(DropNotIp),
        frame(ModemOut, "three VLAN tags", ethernet(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)], 0x0800)).dropped(DropNotIp),
        frame(ModemOut, "neither IPv4 nor IPv6 on a raw-IP modem", vec![0x50; 40]).raw().dropped(DropNotIp),
    ]
}
