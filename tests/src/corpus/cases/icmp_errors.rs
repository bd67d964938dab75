//! ICMP (RFC 792) and ICMPv6 (RFC 4443) errors, and what they quote.

use std::net::IpAddr;

use lte_common::policy::Class::{DropFamily, DropMalformed, DropUnsolicited, IcmpError};

use super::super::case::{Case, modem_in};
use super::super::packet::{Extension, Packet, icmp, tcp, udp};
use super::super::payload::data;
use super::super::site::{GATEWAY, LISTEN, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, UNKNOWN_SENDER6, WAN, WAN6};
use super::When::{Ago, Never};
use super::{SYN, remote, steered, tunnel, tunnel6};

/// A router on the way.
const HOP: IpAddr = UNKNOWN_SENDER;
const HOP6: IpAddr = UNKNOWN_SENDER6;
const TOO_BIG: (u8, u8) = (3, 4);

/// An error that quotes all of a packet, as far as it is 128 bytes.
fn error(kind: (u8, u8), about: &Packet) -> Packet {
    let quote = about.ip();
    icmp(HOP, MODEM, kind, [0; 4], &quote[..quote.len().min(128)])
}

fn error6(kind: (u8, u8), about: &Packet) -> Packet {
    let quote = about.ip();
    icmp(HOP6, MODEM6, kind, [0; 4], &quote[..quote.len().min(128)])
}

/// An error that quotes so many bytes of a packet.
fn quoting(len: usize, about: &Packet) -> Packet {
    icmp(HOP, MODEM, TOO_BIG, [0, 0, 5, 120], &about.ip()[..len])
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = admitted();
    cases.extend(refused());
    cases.extend(over_ipv6());
    cases
}

fn admitted() -> Vec<Case> {
    let known = [remote(PEER, Ago(5))];
    let ours = tunnel(data(1424));
    vec![
        modem_in("fragmentation needed", error(TOO_BIG, &ours)).knowing(&known).marked(IcmpError),
        modem_in("host unreachable", error((3, 1), &ours)).knowing(&known).marked(IcmpError),
        modem_in("port unreachable, from the peer", error((3, 3), &ours).source(PEER.0)).knowing(&known).marked(IcmpError),
        modem_in("time exceeded", error((11, 0), &ours)).knowing(&known).marked(IcmpError),
        modem_in("parameter problem", error((12, 0), &ours)).knowing(&known).marked(IcmpError),
        modem_in("an error from the modem itself", error(TOO_BIG, &ours).source(GATEWAY)).knowing(&known).marked(IcmpError),
        modem_in("an error with the least a router quotes, 28 bytes", quoting(28, &ours)).knowing(&known).marked(IcmpError),
        modem_in("an error that quotes the ports and no more", quoting(24, &ours)).knowing(&known).marked(IcmpError),
        modem_in("an error about a packet with options", error(TOO_BIG, &tunnel(data(96)).options(3))).knowing(&known).marked(IcmpError),
        modem_in("an error behind options", error(TOO_BIG, &ours).options(3)).knowing(&known).marked(IcmpError),
        modem_in("an error about a first fragment of ours", error((11, 1), &ours.clone().fragment(7, 0, 640))).knowing(&known).marked(IcmpError),
        modem_in("an error about a keepalive", error((3, 1), &tunnel([0xff]))).knowing(&known).marked(IcmpError),
        modem_in("an error, other bits of the mark kept", error(TOO_BIG, &ours)).with_mark(0x3_0000).knowing(&known).marked(IcmpError),
        modem_in("an error on a raw-IP modem", error(TOO_BIG, &ours)).raw().knowing(&known).marked(IcmpError),
        modem_in("an error about what was steered", error(TOO_BIG, &ours)).knowing(&[steered(PEER, Ago(5), WAN, 0)]).marked(IcmpError),
        modem_in("an error about what a masquerade gave another port", error(TOO_BIG, &udp((MODEM, 61000), PEER, data(96))))
            .knowing(&[steered(PEER, Ago(5), WAN, 61000)])
            .marked(IcmpError),
    ]
}

fn refused() -> Vec<Case> {
    let known = [remote(PEER, Ago(5))];
    let ours = tunnel(data(1424));
    let cut = quoting(28, &ours);
    vec![
        modem_in("an error about an unknown sender's packet", error(TOO_BIG, &udp((MODEM, LISTEN), (UNKNOWN_SENDER, 41414), data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about the peer's other port", error(TOO_BIG, &udp((MODEM, LISTEN), (PEER.0, 41415), data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about another port of ours", error(TOO_BIG, &udp((MODEM, 51821), PEER, data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about port 0 of ours", error(TOO_BIG, &udp((MODEM, 0), PEER, data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about a packet from another source", error(TOO_BIG, &ours.clone().source(WAN))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about a reply", error(TOO_BIG, &udp(PEER, (MODEM, LISTEN), data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about TCP", error(TOO_BIG, &tcp((MODEM, LISTEN), PEER, SYN))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about a later fragment of ours", error((11, 1), &ours.clone().fragment(7, 640, 320))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about a remote sent to too long ago", error(TOO_BIG, &ours)).knowing(&[remote(PEER, Ago(25))]).dropped(DropUnsolicited),
        modem_in("an error about a remote never sent to", error(TOO_BIG, &ours)).knowing(&[remote(PEER, Never)]).dropped(DropUnsolicited),
        modem_in("an error about a remote that nobody knows", error(TOO_BIG, &ours)).dropped(DropUnsolicited),
        modem_in("an error to another address", error(TOO_BIG, &ours).destination(WAN)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error that quotes nothing", quoting(0, &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error that quotes half an IP header", quoting(10, &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error that quotes an IP header", quoting(20, &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error that quotes an IP header and a port", quoting(22, &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error that quotes an IP header, the ports in the link's padding", quoting(20, &ours).padding(&ours.ip()[20..40])).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error whose quote is the link's padding", cut.clone().ip_length(28)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error without its own header", cut.ip_length(24)).knowing(&known).dropped(DropMalformed),
        modem_in("an error about IPv6 in a quote of IPv4", error(TOO_BIG, &ours.clone().version(6))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error about a header too short to be one", error(TOO_BIG, &ours.clone().header_words(4))).knowing(&known).dropped(DropUnsolicited),
        modem_in("source quench", error((4, 0), &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("ICMP redirect", error((5, 1), &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an echo with a quote in it", error((8, 0), &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("a timestamp with a quote in it", error((13, 0), &ours)).knowing(&known).dropped(DropUnsolicited),
    ]
}

fn over_ipv6() -> Vec<Case> {
    let known = [remote(PEER6, Ago(5))];
    let ours = tunnel6(data(1424));
    let quoting = |len: usize| icmp(HOP6, MODEM6, (2, 0), [0, 0, 5, 0], &ours.ip()[..len]);
    vec![
        modem_in("packet too big over IPv6", error6((2, 0), &ours)).knowing(&known).marked(IcmpError),
        modem_in("unreachable over IPv6", error6((1, 4), &ours)).knowing(&known).marked(IcmpError),
        modem_in("time exceeded over IPv6", error6((3, 0), &ours)).knowing(&known).marked(IcmpError),
        modem_in("parameter problem over IPv6", error6((4, 1), &ours)).knowing(&known).marked(IcmpError),
        modem_in("packet too big over IPv6 behind options", error6((2, 0), &ours).extensions(&[Extension::Destination(0)])).knowing(&known).marked(IcmpError),
        modem_in("packet too big over IPv6 on a raw-IP modem", error6((2, 0), &ours)).raw().knowing(&known).marked(IcmpError),
        modem_in("packet too big over IPv6 about what was steered", error6((2, 0), &ours)).knowing(&[steered(PEER6, Ago(5), WAN6, 0)]).marked(IcmpError),
        modem_in("an error over IPv6 that quotes the ports and no more", quoting(44)).knowing(&known).marked(IcmpError),
        modem_in("an error over IPv6 that quotes an IP header", quoting(40)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6 that quotes half an IP header", quoting(20)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6, the quoted ports in the link's padding", quoting(40).padding(&ours.ip()[40..60])).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6 about an unknown sender's packet", error6((2, 0), &udp((MODEM6, LISTEN), (UNKNOWN_SENDER6, 41414), data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6 about another port of ours", error6((2, 0), &udp((MODEM6, 51821), PEER6, data(96)))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6 about a packet from another source", error6((2, 0), &ours.clone().source(WAN6))).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6 about a remote sent to too long ago", error6((2, 0), &ours)).knowing(&[remote(PEER6, Ago(25))]).dropped(DropUnsolicited),
        modem_in("an unknown error over IPv6", error6((5, 0), &ours)).knowing(&known).dropped(DropUnsolicited),
        modem_in("an error over IPv6 with IPv6 off", error6((2, 0), &ours)).ipv6_off().knowing(&known).dropped(DropFamily),
    ]
}
