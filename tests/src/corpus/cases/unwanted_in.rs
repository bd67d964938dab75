//! What the carrier's side sends unsolicited.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lte_common::policy::Class::{DropFamily, DropHeaders, DropNotIp, DropUnsolicited};
use lte_common::policy::Hook::ModemIn;

use super::super::case::{Case, frame, modem_in};
use super::super::packet::{Extension, bare, ethernet, icmp, tcp, udp};
use super::super::site::{GATEWAY, MARK, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, UNKNOWN_SENDER6};
use super::{SYN, SYN_ACK, When, remote, reply6};

const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
const MDNS: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
const ALL_HOSTS: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1));
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

fn other(ether_type: u16) -> Vec<u8> {
    let mut frame = ethernet(&[], ether_type);
    frame.extend([0; 46]);
    frame
}

pub(super) fn cases() -> Vec<Case> {
    let known = [remote(PEER, When::Ago(5))];
    let known6 = [remote(PEER6, When::Ago(5))];
    let many = [Extension::Destination(0); 7];
    vec![
        modem_in("a scan of SSH", tcp((UNKNOWN_SENDER, 50000), (MODEM, 22), SYN)).dropped(DropUnsolicited),
        modem_in("a scan of SSH with our mark", tcp((UNKNOWN_SENDER, 50000), (MODEM, 22), SYN)).with_mark(MARK).dropped(DropUnsolicited),
        modem_in("a scan of SSH over IPv6", tcp((UNKNOWN_SENDER6, 50000), (MODEM6, 22), SYN)).dropped(DropUnsolicited),
        modem_in("a scan of SSH over IPv6 with IPv6 off", tcp((UNKNOWN_SENDER6, 50000), (MODEM6, 22), SYN)).ipv6_off().dropped(DropFamily),
        modem_in("a scan of SSH on a raw-IP modem", tcp((UNKNOWN_SENDER, 50000), (MODEM, 22), SYN)).raw().dropped(DropUnsolicited),
        modem_in("TCP of the peer outside the tunnel", tcp(PEER, (MODEM, 22), SYN)).knowing(&known).dropped(DropUnsolicited),
        modem_in("a connection's answer that nobody asked for", tcp((UNKNOWN_SENDER, 443), (MODEM, 45000), SYN_ACK)).dropped(DropUnsolicited),
        modem_in("DNS's answer", udp((GATEWAY, 53), (MODEM, 45000), [0; 60])).dropped(DropUnsolicited),
        modem_in("a scan of SIP", udp((UNKNOWN_SENDER, 5060), (MODEM, 5060), [b'O'; 300])).dropped(DropUnsolicited),
        modem_in("mDNS", udp((GATEWAY, 5353), (MDNS, 5353), [0; 40])).dropped(DropUnsolicited),
        modem_in("SSDP of the modem", udp((GATEWAY, 1900), (Ipv4Addr::new(239, 255, 255, 250).into(), 1900), [b'N'; 200])).dropped(DropUnsolicited),
        modem_in("a broadcast of the modem", udp((GATEWAY, 137), (BROADCAST, 137), [0; 50])).dropped(DropUnsolicited),
        modem_in("IGMP query", bare(GATEWAY, ALL_HOSTS, 2, [0x11, 100, 0, 0, 0, 0, 0, 0]).options(1)).dropped(DropUnsolicited),
        modem_in("MLD query", icmp(super::super::site::GATEWAY6_LINK, ALL_NODES, (130, 0), [0; 4], [0; 20]).extensions(&[Extension::HopByHop])).dropped(DropUnsolicited),
        modem_in("DHCPv6 advertise", udp((super::super::site::GATEWAY6_LINK, 547), (super::super::site::MODEM6_LINK, 546), [2; 60])).dropped(DropUnsolicited),
        modem_in("echo over IPv6", icmp(UNKNOWN_SENDER6, MODEM6, (128, 0), [0; 4], [0; 8])).dropped(DropUnsolicited),
        modem_in("GRE", bare(UNKNOWN_SENDER, MODEM, 47, [0; 40])).dropped(DropUnsolicited),
        modem_in("SCTP", bare(UNKNOWN_SENDER, MODEM, 132, [0; 32])).dropped(DropUnsolicited),
        modem_in("UDP-Lite of a known remote", bare(PEER.0, MODEM, 136, [0xa1, 0xc6, 0xca, 0x6c, 0, 40, 0, 0])).knowing(&known).dropped(DropUnsolicited),
        modem_in("a known remote's UDP in another IP", bare(PEER.0, MODEM, 4, [0x45; 60])).knowing(&known).dropped(DropUnsolicited),
        modem_in("IPv6 without a next header", bare(PEER6.0, MODEM6, 59, [])).knowing(&known6).dropped(DropUnsolicited),
        modem_in("a reply behind seven extension headers", reply6([0; 32]).extensions(&many)).knowing(&known6).dropped(DropHeaders),
        frame(ModemIn, "LLDP", other(0x88cc)).dropped(DropNotIp),
        frame(ModemIn, "IEEE 802.3 with a length for a type", other(0x0026)).dropped(DropNotIp),
        frame(ModemIn, "neither IPv4 nor IPv6 on a raw-IP modem", vec![0; 40]).raw().dropped(DropNotIp),
    ]
}
