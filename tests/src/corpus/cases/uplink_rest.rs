//! What leaves by an uplink and is none of ours.

use lte_common::policy::Hook::UplinkOut;

use super::super::case::{Case, frame, uplink_out};
use super::super::packet::{Extension, bare, ethernet, icmp, tcp, udp};
use super::super::payload::{NAT_KEEPALIVE, data};
use super::super::site::{LAN_HOST, LAN_HOST6, LISTEN, MARK, PEER, PEER6, UNKNOWN_SENDER, UNKNOWN_SENDER6, WAN, WAN6};
use super::When::Ago;
use super::fragments_out::{IDENT, middle, passed};
use super::{SYN, remote};

fn arp(tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = ethernet(tags, 0x0806);
    frame.extend([0; 28]);
    frame
}

pub(super) fn cases() -> Vec<Case> {
    let known = [remote(PEER, Ago(5)), remote(PEER6, Ago(5))];
    let many = [Extension::Destination(0); 7];
    let seen = passed(UplinkOut, (WAN, PEER.0), Ago(1), None);
    vec![
        uplink_out("TCP", tcp((WAN, 40000), (UNKNOWN_SENDER, 443), SYN)).untouched(),
        uplink_out("TCP with the tunnel's port", tcp((WAN, LISTEN), PEER, SYN)).knowing(&known).untouched(),
        uplink_out("TCP over IPv6", tcp((WAN6, 40000), (UNKNOWN_SENDER6, 443), SYN)).untouched(),
        uplink_out("TCP, forwarded, with our mark", tcp((WAN, 40000), (UNKNOWN_SENDER, 443), SYN)).forwarded().with_mark(MARK).untouched(),
        uplink_out("DNS", udp((WAN, 40000), (UNKNOWN_SENDER, 53), [0; 30])).knowing(&known).untouched(),
        uplink_out("DNS over IPv6", udp((WAN6, 40000), (UNKNOWN_SENDER6, 53), [0; 30])).knowing(&known).untouched(),
        uplink_out("another WireGuard's data", udp((WAN, 51821), (UNKNOWN_SENDER, 51820), data(96))).knowing(&known).untouched(),
        uplink_out("another WireGuard's data to the tunnel's port", udp((WAN, 51821), (UNKNOWN_SENDER, LISTEN), data(96))).untouched(),
        uplink_out("WireGuard's data to another port of a known remote", udp((WAN, 51821), (PEER.0, 51820), data(96))).knowing(&known).untouched(),
        uplink_out("to a known remote, not WireGuard", udp((WAN, 40000), PEER, [0; 40])).knowing(&known).untouched(),
        uplink_out("to a known remote over IPv6, not WireGuard", udp((WAN6, 40000), PEER6, [0; 40])).knowing(&known).untouched(),
        uplink_out("to a known remote, one byte that is not the keepalive's", udp((WAN, 40000), PEER, [0xfe])).knowing(&known).untouched(),
        uplink_out("from another port to a remote that nobody knows", udp((WAN, 40000), PEER, data(96))).untouched(),
        uplink_out("forwarded look-alike", udp((LAN_HOST, LISTEN), PEER, data(96))).forwarded().knowing(&known).untouched(),
        uplink_out("forwarded look-alike, masqueraded", udp((WAN, LISTEN), PEER, data(96))).forwarded().knowing(&known).untouched(),
        uplink_out("forwarded look-alike to elsewhere", udp((LAN_HOST, LISTEN), (UNKNOWN_SENDER, 1), data(96))).forwarded().untouched(),
        uplink_out("forwarded look-alike over IPv6", udp((LAN_HOST6, LISTEN), PEER6, data(96))).forwarded().knowing(&known).untouched(),
        uplink_out("forwarded look-alike on a raw-IP uplink", udp((LAN_HOST, LISTEN), PEER, data(96))).raw_uplink().forwarded().knowing(&known).untouched(),
        uplink_out("forwarded NAT keepalive", udp((LAN_HOST, LISTEN), PEER, NAT_KEEPALIVE)).forwarded().knowing(&known).untouched(),
        uplink_out("forwarded look-alike, modem gone", udp((LAN_HOST, LISTEN), PEER, data(96))).forwarded().modem_gone().knowing(&known).untouched(),
        uplink_out("DNS, modem gone", udp((WAN, 40000), (UNKNOWN_SENDER, 53), [0; 30])).modem_gone().untouched(),
        uplink_out("TCP, modem gone", tcp((WAN, 40000), (UNKNOWN_SENDER, 443), SYN)).modem_gone().untouched(),
        uplink_out("TCP behind a VLAN tag", tcp((WAN, 40000), (UNKNOWN_SENDER, 443), SYN).tag(0x8100, 7)).untouched(),
        uplink_out("DNS behind a VLAN tag", udp((WAN, 40000), (UNKNOWN_SENDER, 53), [0; 30]).tag(0x8100, 7)).untouched(),
        uplink_out("TCP on a raw-IP uplink", tcp((WAN, 40000), (UNKNOWN_SENDER, 443), SYN)).raw_uplink().untouched(),
        uplink_out("DNS on a raw-IP uplink", udp((WAN, 40000), (UNKNOWN_SENDER, 53), [0; 30])).raw_uplink().untouched(),
        uplink_out("echo to the peer", icmp(WAN, PEER.0, (8, 0), [0; 4], [0; 56])).knowing(&known).untouched(),
        uplink_out("neighbour solicitation", icmp(WAN6, UNKNOWN_SENDER6, (135, 0), [0; 4], [0; 24]).hop_limit(255)).untouched(),
        uplink_out("MLD report", icmp(WAN6, UNKNOWN_SENDER6, (143, 0), [0; 4], [0; 20]).extensions(&[Extension::HopByHop])).untouched(),
        uplink_out("GRE", bare(WAN, PEER.0, 47, [0; 40])).knowing(&known).untouched(),
        uplink_out("ESP in UDP's port", bare(WAN, PEER.0, 50, [0xca, 0x6c, 0, 0, 0, 40, 0, 0])).knowing(&known).untouched(),
        uplink_out("later fragment, the first unknown", middle(udp((WAN, LISTEN), PEER, data(1312)))).knowing(&known).untouched(),
        uplink_out("later fragment, the first too long ago", middle(udp((WAN, LISTEN), PEER, data(1312))))
            .knowing(&[passed(UplinkOut, (WAN, PEER.0), Ago(35), None)])
            .untouched(),
        uplink_out("later fragment, forwarded", middle(udp((WAN, LISTEN), PEER, data(1312)))).forwarded().knowing(&[seen]).untouched(),
        uplink_out("later fragment of another datagram", udp((WAN, LISTEN), PEER, data(1312)).fragment(IDENT + 1, 640, 320)).knowing(&[seen]).untouched(),
        uplink_out("behind seven extension headers", udp((WAN6, LISTEN), PEER6, data(96)).extensions(&many)).untouched(),
        uplink_out("shorter than its headers say", udp((WAN, LISTEN), PEER, data(96)).cut(60)).untouched(),
        frame(UplinkOut, "ARP", arp(&[])).untouched(),
        frame(UplinkOut, "ARP behind a VLAN tag", arp(&[(0x8100, 7)])).untouched(),
        frame(UplinkOut, "LLDP", ethernet(&[], 0x88cc).into_iter().chain([0; 46]).collect()).untouched(),
        frame(UplinkOut, "an Ethernet header and a byte", ethernet(&[], 0x0800).into_iter().chain([0x45]).collect()).untouched(),
        frame(UplinkOut, "neither IPv4 nor IPv6 on a raw-IP uplink", vec![0; 40]).raw_uplink().untouched(),
    ]
}
