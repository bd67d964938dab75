//! ARP (RFC 826) and neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv6Addr};

use lte_common::policy::Class::{
    DropFamily, DropForwarded, DropFragment, DropLocal, DropNotIp, DropUnsolicited, Neighbour,
};
use lte_common::policy::Hook::{ModemIn, ModemOut};

use super::super::case::{Case, frame, modem_in, modem_out};
use super::super::packet::{Extension, Packet, ethernet, icmp};
use super::super::site::{GATEWAY6, GATEWAY6_LINK, LAN_HOST6, MODEM6, MODEM6_LINK, WAN6};

const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const ALL_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
const SOLICITED: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2));

const ALL_ROUTERS_OF_SITE: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2));

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

fn arp(operation: u8, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = ethernet(tags, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend([2, 0, 0, 0, 0, 2, 192, 168, 0, 2, 0, 0, 0, 0, 0, 0, 192, 168, 0, 1]);
    frame
}

fn nd(kind: u8, from: IpAddr, to: IpAddr) -> Packet {
    // The target's address, and its or the sender's link address as an option.
    let mut body = match MODEM6 {
        IpAddr::V6(target) => target.octets().to_vec(),
        IpAddr::V4(_) => Vec::new(),
    };
    body.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    icmp(from, to, (kind, 0), [0; 4], body).hop_limit(255)
}

fn ra() -> Packet {
    icmp(GATEWAY6_LINK, ALL_NODES, (ROUTER_ADVERTISEMENT, 0), [64, 0, 7, 8], [0; 8]).hop_limit(255)
}

pub(super) fn cases() -> Vec<Case> {
    let out = || nd(SOLICITATION, MODEM6, SOLICITED);
    let enters = || nd(ADVERTISEMENT, GATEWAY6, MODEM6);
    vec![
        frame(ModemOut, "ARP request", arp(1, &[])).passes(Neighbour),
        frame(ModemOut, "ARP reply", arp(2, &[])).passes(Neighbour),
        frame(ModemOut, "ARP with a mark", arp(1, &[])).with_mark(0x77).passes(Neighbour),
        frame(ModemIn, "ARP request", arp(1, &[])).passes(Neighbour),
        frame(ModemIn, "ARP reply", arp(2, &[])).passes(Neighbour),
        frame(ModemOut, "ARP of another network, tagged", arp(1, &[(0x8100, 7)])).dropped(DropNotIp),
        frame(ModemIn, "ARP of another network, tagged", arp(2, &[(0x8100, 7)])).dropped(DropNotIp),
        frame(ModemOut, "ARP's bytes on a raw-IP modem", arp(1, &[])[14..].to_vec()).raw().dropped(DropNotIp),
        modem_out("neighbour solicitation", out()).marked(Neighbour),
        modem_out("neighbour solicitation for a link-local address", nd(SOLICITATION, MODEM6_LINK, GATEWAY6_LINK)).marked(Neighbour),
        modem_out("neighbour solicitation, is my address taken?", nd(SOLICITATION, ANY6, SOLICITED)).marked(Neighbour),
        modem_out("neighbour advertisement", nd(ADVERTISEMENT, MODEM6, GATEWAY6)).marked(Neighbour),
        modem_out("neighbour solicitation on a raw-IP modem", out()).raw().marked(Neighbour),
        modem_out("neighbour solicitation through a router", out().hop_limit(254)).dropped(DropLocal),
        modem_out("neighbour solicitation in fragments", nd(SOLICITATION, MODEM6, SOLICITED).fragment(1, 0, 16)).dropped(DropLocal),
        modem_out("neighbour solicitation, forwarded", nd(SOLICITATION, LAN_HOST6, SOLICITED)).forwarded().dropped(DropForwarded),
        modem_out("neighbour solicitation with IPv6 off", out()).ipv6_off().dropped(DropFamily),
        modem_out("router solicitation", nd(ROUTER_SOLICITATION, MODEM6_LINK, ALL_ROUTERS)).dropped(DropLocal),
        modem_out("router advertisement", nd(ROUTER_ADVERTISEMENT, MODEM6_LINK, ALL_NODES)).dropped(DropLocal),
        modem_out("redirect", nd(REDIRECT, MODEM6_LINK, GATEWAY6_LINK)).dropped(DropLocal),
        modem_in("neighbour advertisement", enters()).passes(Neighbour),
        modem_in("neighbour advertisement behind options", enters().extensions(&[Extension::HopByHop])).passes(Neighbour),
        modem_in("neighbour solicitation", nd(SOLICITATION, GATEWAY6_LINK, SOLICITED)).passes(Neighbour),
        modem_in("neighbour solicitation on a raw-IP modem", nd(SOLICITATION, GATEWAY6_LINK, SOLICITED)).raw().passes(Neighbour),
        modem_in("neighbour solicitation to a LAN host", nd(SOLICITATION, GATEWAY6, LAN_HOST6)).dropped(DropUnsolicited),
        modem_in("neighbour advertisement to another address of the router", nd(ADVERTISEMENT, GATEWAY6, WAN6)).dropped(DropUnsolicited),
        modem_in("neighbour advertisement to a group of the site", nd(ADVERTISEMENT, GATEWAY6, ALL_ROUTERS_OF_SITE)).dropped(DropUnsolicited),
        modem_in("neighbour advertisement to all nodes of the link", nd(ADVERTISEMENT, GATEWAY6_LINK, ALL_NODES)).passes(Neighbour),
        modem_in("neighbour advertisement to a link-local address", nd(ADVERTISEMENT, GATEWAY6_LINK, MODEM6_LINK)).passes(Neighbour),
        modem_in("neighbour advertisement through a router", enters().hop_limit(254)).dropped(DropUnsolicited),
        modem_in("neighbour solicitation through a router", nd(SOLICITATION, GATEWAY6, SOLICITED).hop_limit(64)).dropped(DropUnsolicited),
        modem_in("neighbour advertisement in fragments", enters().fragment(1, 0, 16)).dropped(DropUnsolicited),
        modem_in("neighbour advertisement, a later fragment", enters().fragment(1, 16, 32)).dropped(DropFragment),
        modem_in("neighbour advertisement with IPv6 off", enters()).ipv6_off().dropped(DropFamily),
        modem_in("router advertisement", ra()).dropped(DropUnsolicited),
        modem_in("router advertisement with IPv6 off", ra()).ipv6_off().dropped(DropFamily),
        modem_in("router advertisement on a raw-IP modem", ra()).raw().dropped(DropUnsolicited),
        modem_in("router solicitation", nd(ROUTER_SOLICITATION, GATEWAY6_LINK, ALL_ROUTERS)).dropped(DropUnsolicited),
        modem_in("redirect", nd(REDIRECT, GATEWAY6_LINK, MODEM6)).dropped(DropUnsolicited),
    ]
}
