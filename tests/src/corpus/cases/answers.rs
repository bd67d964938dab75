//! Answers of the modem itself, to what it was asked.

use lte_common::policy::Class::{Admin, DropUnsolicited};

use super::super::case::{Case, modem_in};
use super::super::packet::{icmp, tcp};
use super::super::site::{Admin as At, GATEWAY, GATEWAY6, MARK, MODEM, MODEM6, NEIGHBOUR, PEER, UNKNOWN_SENDER, WAN};
use super::When::Ago;
use super::{ICMP, ICMPV6, Known, RST, SYN, SYN_ACK, TCP, flow};

const ECHO: (u8, u8) = (8, 0);
const ECHO_REPLY: (u8, u8) = (0, 0);
const ECHO_REPLY6: (u8, u8) = (129, 0);
const ID: [u8; 4] = [0x12, 0x34, 0, 1];
const OTHER_ID: [u8; 4] = [0x12, 0x35, 0, 1];

pub(super) fn cases() -> Vec<Case> {
    let asked = |when| [Known::AdminFlow(flow((GATEWAY, 80), 40000, TCP), when)];
    let asked6 = |when| [Known::AdminFlow(flow((GATEWAY6, 80), 40000, TCP), when)];
    let echoed = |when| [Known::AdminFlow(flow((GATEWAY, 0), 0x1234, ICMP), when)];
    let echoed6 = |when| [Known::AdminFlow(flow((GATEWAY6, 0), 0x1234, ICMPV6), when)];
    let page = |flags| tcp((GATEWAY, 80), (MODEM, 40000), flags);
    let page6 = |flags| tcp((GATEWAY6, 80), (MODEM6, 40000), flags);
    let pong = |id| icmp(GATEWAY, MODEM, ECHO_REPLY, id, [0; 56]);
    let pong6 = |id| icmp(GATEWAY6, MODEM6, ECHO_REPLY6, id, [0; 56]);
    vec![
        modem_in("the admin page's answer", page(SYN_ACK)).knowing(&asked(Ago(1))).marked(Admin),
        modem_in("the admin page's answer after a while", page(SYN_ACK)).knowing(&asked(Ago(15))).marked(Admin),
        modem_in("the admin page's reset", page(RST)).knowing(&asked(Ago(1))).marked(Admin),
        modem_in("the admin page's answer over IPv6", page6(SYN_ACK)).knowing(&asked6(Ago(1))).marked(Admin),
        modem_in("the admin page's answer on a raw-IP modem", page(SYN_ACK)).raw().knowing(&asked(Ago(1))).marked(Admin),
        modem_in("the admin page's answer, other bits of the mark kept", page(SYN_ACK)).with_mark(0x4200).knowing(&asked(Ago(1))).marked(Admin),
        modem_in("the admin page's answer, not asked", page(SYN_ACK)).dropped(DropUnsolicited),
        modem_in("the admin page's answer, asked too long ago", page(SYN_ACK)).knowing(&asked(Ago(125))).dropped(DropUnsolicited),
        modem_in("the admin page's answer from another port", tcp((GATEWAY, 8080), (MODEM, 40000), SYN_ACK)).knowing(&asked(Ago(1))).dropped(DropUnsolicited),
        modem_in("the admin page's answer to another port", tcp((GATEWAY, 80), (MODEM, 40001), SYN_ACK)).knowing(&asked(Ago(1))).dropped(DropUnsolicited),
        modem_in("the admin page's answer to another address", page(SYN_ACK).destination(WAN)).knowing(&asked(Ago(1))).dropped(DropUnsolicited),
        modem_in("the admin page's answer from another address", tcp((UNKNOWN_SENDER, 80), (MODEM, 40000), SYN_ACK)).knowing(&asked(Ago(1))).dropped(DropUnsolicited),
        modem_in("an answer that was asked, from outside the subnet", tcp((UNKNOWN_SENDER, 80), (MODEM, 40000), SYN_ACK))
            .knowing(&[Known::AdminFlow(flow((UNKNOWN_SENDER, 80), 40000, TCP), Ago(1))])
            .dropped(DropUnsolicited),
        modem_in("an answer that was asked, of the modem's neighbour", tcp((NEIGHBOUR, 80), (MODEM, 40000), SYN_ACK))
            .knowing(&[Known::AdminFlow(flow((NEIGHBOUR, 80), 40000, TCP), Ago(1))])
            .dropped(DropUnsolicited),
        modem_in("an echo reply that was asked, of the modem's neighbour", icmp(NEIGHBOUR, MODEM, ECHO_REPLY, ID, [0; 56]))
            .knowing(&[Known::AdminFlow(flow((NEIGHBOUR, 0), 0x1234, ICMP), Ago(1))])
            .dropped(DropUnsolicited),
        modem_in("an answer of an admin page anywhere on the subnet", tcp((NEIGHBOUR, 80), (MODEM, 40000), SYN_ACK))
            .admin(At::Subnet)
            .knowing(&[Known::AdminFlow(flow((NEIGHBOUR, 80), 40000, TCP), Ago(1))])
            .marked(Admin),
        modem_in("the gateway's answer, asked while there was an admin page", page(SYN_ACK)).admin(At::Nowhere).knowing(&asked(Ago(1))).dropped(DropUnsolicited),
        modem_in("a new connection from the admin page's port", page(SYN)).dropped(DropUnsolicited),
        modem_in("a new connection from the modem", tcp((GATEWAY, 40000), (MODEM, 22), SYN)).knowing(&asked(Ago(1))).dropped(DropUnsolicited),
        modem_in("echo reply of the modem", pong(ID)).knowing(&echoed(Ago(1))).marked(Admin),
        modem_in("echo reply of the modem over IPv6", pong6(ID)).knowing(&echoed6(Ago(1))).marked(Admin),
        modem_in("echo reply of a raw-IP modem", pong(ID)).raw().with_mark(MARK).knowing(&echoed(Ago(1))).marked(Admin),
        modem_in("echo reply, not asked", pong(ID)).dropped(DropUnsolicited),
        modem_in("echo reply with another identifier", pong(OTHER_ID)).knowing(&echoed(Ago(1))).dropped(DropUnsolicited),
        modem_in("echo reply, asked too long ago", pong(ID)).knowing(&echoed(Ago(125))).dropped(DropUnsolicited),
        modem_in("echo reply over IPv6, not asked", pong6(ID)).knowing(&echoed(Ago(1))).dropped(DropUnsolicited),
        modem_in("echo reply of the peer", icmp(PEER.0, MODEM, ECHO_REPLY, ID, [0; 56])).knowing(&echoed(Ago(1))).dropped(DropUnsolicited),
        modem_in("echo from the modem", icmp(GATEWAY, MODEM, ECHO, ID, [0; 56])).knowing(&echoed(Ago(1))).dropped(DropUnsolicited),
        modem_in("echo from the internet", icmp(UNKNOWN_SENDER, MODEM, ECHO, ID, [0; 56])).dropped(DropUnsolicited),
        modem_in("unreachable about the admin page", icmp(GATEWAY, MODEM, (3, 3), [0; 4], tcp((MODEM, 40000), (GATEWAY, 80), SYN).ip()))
            .knowing(&asked(Ago(1)))
            .dropped(DropUnsolicited),
    ]
}
