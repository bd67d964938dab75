//! What this machine asks of the modem itself: its admin page, and whether it is there.

use lte_common::policy::Class::{Admin, DropFamily, DropForwarded, DropLocal};

use super::super::case::{Case, modem_out};
use super::super::packet::{Extension, bare, icmp, tcp, udp};
use super::super::site::{Admin as At, GATEWAY, GATEWAY6, LAN_HOST, LISTEN, MARK, MODEM, MODEM6, NEIGHBOUR, NEIGHBOUR6, PEER, UNKNOWN_SENDER, WAN6};
use super::When::{Ago, Now};
use super::{ICMP, ICMPV6, Known, RST, SYN, TCP, flow};

const ECHO: (u8, u8) = (8, 0);
const ECHO_REPLY: (u8, u8) = (0, 0);
const ECHO6: (u8, u8) = (128, 0);
/// Identifier 0x1234, sequence 1.
const ID: [u8; 4] = [0x12, 0x34, 0, 1];

pub(super) fn cases() -> Vec<Case> {
    let to = |port| tcp((MODEM, 40000), (GATEWAY, port), SYN);
    let to6 = |port| tcp((MODEM6, 40000), (GATEWAY6, port), SYN);
    let asked = |port, when| Known::AdminFlow(flow((GATEWAY, port), 40000, TCP), when);
    let asked6 = |port, when| Known::AdminFlow(flow((GATEWAY6, port), 40000, TCP), when);
    let echoed = Known::AdminFlow(flow((GATEWAY, 0), 0x1234, ICMP), Now);
    let echoed6 = Known::AdminFlow(flow((GATEWAY6, 0), 0x1234, ICMPV6), Now);
    let echo = || icmp(MODEM, GATEWAY, ECHO, ID, [0; 56]);
    let echo6 = || icmp(MODEM6, GATEWAY6, ECHO6, ID, [0; 56]);
    vec![
        modem_out("echo to the modem", echo()).marked(Admin).remembering(&[echoed]),
        modem_out("echo to the modem without data", icmp(MODEM, GATEWAY, ECHO, ID, [])).marked(Admin).remembering(&[echoed]),
        modem_out("echo to the modem over IPv6", echo6()).marked(Admin).remembering(&[echoed6]),
        modem_out("echo to a raw-IP modem", echo()).raw().marked(Admin).remembering(&[echoed]),
        modem_out("TCP to the admin page", to(80)).marked(Admin).remembering(&[asked(80, Now)]),
        modem_out("TCP to the admin page's second port", to(443)).marked(Admin).remembering(&[asked(443, Now)]),
        modem_out("TCP to the admin page, asked before", to(80)).knowing(&[asked(80, Ago(60))]).marked(Admin).remembering(&[asked(80, Now)]),
        modem_out("TCP reset to the admin page", tcp((MODEM, 40000), (GATEWAY, 80), RST)).marked(Admin).remembering(&[asked(80, Now)]),
        modem_out("TCP to the admin page over IPv6", to6(443)).marked(Admin).remembering(&[asked6(443, Now)]),
        modem_out("TCP to the admin page behind IPv4 options", to(80).options(1)).dropped(DropLocal),
        modem_out("echo to the modem behind IPv4 options", echo().options(2)).dropped(DropLocal),
        modem_out("echo to the modem behind IPv6 options", echo6().extensions(&[Extension::HopByHop])).dropped(DropLocal),
        modem_out("TCP to the admin page behind IPv6 options", to6(80).extensions(&[Extension::Destination(0)])).dropped(DropLocal),
        modem_out("TCP to the admin page keeps the other bits of its mark", to(80)).with_mark(0x1234).marked(Admin).remembering(&[asked(80, Now)]),
        modem_out("TCP to another port of the modem's", to(8080)).dropped(DropLocal),
        modem_out("TCP to port 0 of the modem's", to(0)).dropped(DropLocal),
        modem_out("TCP to port 80 outside the modem's subnet", tcp((MODEM, 40000), (UNKNOWN_SENDER, 80), SYN)).dropped(DropLocal),
        modem_out("TCP to port 80 of the peer", tcp((MODEM, 40000), (PEER.0, 80), SYN)).dropped(DropLocal),
        modem_out("TCP over IPv6 to port 80 outside the modem's subnet", tcp((MODEM6, 40000), (WAN6, 80), SYN)).dropped(DropLocal),
        modem_out("TCP to port 80 of the modem's neighbour", tcp((MODEM, 40000), (NEIGHBOUR, 80), SYN)).dropped(DropLocal),
        modem_out("TCP over IPv6 to port 80 of the modem's neighbour", tcp((MODEM6, 40000), (NEIGHBOUR6, 80), SYN)).dropped(DropLocal),
        modem_out("echo to the modem's neighbour", icmp(MODEM, NEIGHBOUR, ECHO, ID, [0; 56])).dropped(DropLocal),
        modem_out("echo over IPv6 to the modem's neighbour", icmp(MODEM6, NEIGHBOUR6, ECHO6, ID, [0; 56])).dropped(DropLocal),
        modem_out("TCP to the admin page, anywhere on the subnet", tcp((MODEM, 40000), (NEIGHBOUR, 80), SYN))
            .admin(At::Subnet)
            .marked(Admin)
            .remembering(&[Known::AdminFlow(flow((NEIGHBOUR, 80), 40000, TCP), Now)]),
        modem_out("echo over IPv6, anywhere on the subnet", icmp(MODEM6, NEIGHBOUR6, ECHO6, ID, [0; 56]))
            .admin(At::Subnet)
            .marked(Admin)
            .remembering(&[Known::AdminFlow(flow((NEIGHBOUR6, 0), 0x1234, ICMPV6), Now)]),
        modem_out("TCP to port 80 beyond an admin page's subnet", tcp((MODEM, 40000), (UNKNOWN_SENDER, 80), SYN)).admin(At::Subnet).dropped(DropLocal),
        modem_out("TCP to the gateway of a modem without an admin page", to(80)).admin(At::Nowhere).dropped(DropLocal),
        modem_out("echo to the gateway of a modem without an admin page", echo()).admin(At::Nowhere).dropped(DropLocal),
        modem_out("echo over IPv6 to the gateway of a modem without an admin page", echo6()).admin(At::Nowhere).dropped(DropLocal),
        modem_out("TCP to the admin page for a LAN host", tcp((LAN_HOST, 40000), (GATEWAY, 80), SYN)).forwarded().dropped(DropForwarded),
        modem_out("echo to the modem for a LAN host", icmp(LAN_HOST, GATEWAY, ECHO, ID, [0; 56])).forwarded().dropped(DropForwarded),
        modem_out("UDP to port 80 of the modem's", udp((MODEM, 40000), (GATEWAY, 80), [0; 32])).dropped(DropLocal),
        modem_out("DNS to the modem", udp((MODEM, 40000), (GATEWAY, 53), [0; 32])).dropped(DropLocal),
        modem_out("TCP from the tunnel's port to the admin page", tcp((MODEM, LISTEN), (GATEWAY, 80), SYN))
            .marked(Admin)
            .remembering(&[Known::AdminFlow(flow((GATEWAY, 80), LISTEN, TCP), Now)]),
        modem_out("echo to the peer outside the tunnel", icmp(MODEM, PEER.0, ECHO, ID, [0; 56])).dropped(DropLocal),
        modem_out("echo to the peer with our mark", icmp(MODEM, PEER.0, ECHO, ID, [0; 56])).with_mark(MARK).dropped(DropLocal),
        modem_out("echo reply to the modem", icmp(MODEM, GATEWAY, ECHO_REPLY, ID, [0; 56])).dropped(DropLocal),
        modem_out("timestamp request to the modem", icmp(MODEM, GATEWAY, (13, 0), ID, [0; 12])).dropped(DropLocal),
        modem_out("unreachable to the modem", icmp(MODEM, GATEWAY, (3, 3), [0; 4], [0; 28])).dropped(DropLocal),
        modem_out("ICMPv6's echo type in ICMP", icmp(MODEM, GATEWAY, ECHO6, ID, [0; 8])).dropped(DropLocal),
        modem_out("ICMP's echo type in ICMPv6", icmp(MODEM6, GATEWAY6, ECHO, ID, [0; 8])).dropped(DropLocal),
        modem_out("ICMPv6's protocol number over IPv4", bare(MODEM, GATEWAY, ICMPV6, [128, 0, 0, 0, 0x12, 0x34, 0, 1])).dropped(DropLocal),
        modem_out("echo over IPv6 with IPv6 off", echo6()).ipv6_off().dropped(DropFamily),
        modem_out("TCP to the admin page with IPv4 off", to(80)).ipv4_off().dropped(DropFamily),
    ]
}
