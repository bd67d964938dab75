//! Look-alikes of this machine's own, distinguished from the tunnel by their sender.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lte_common::policy::Class::{DropAmbiguous, DropLocal, Tunnel};

use super::super::case::{Case, modem_out, uplink_out};
use super::super::packet::{Packet, udp};
use super::super::payload::{NAT_KEEPALIVE, data, initiation};
use super::super::site::{LISTEN, MARK, MODEM, PEER, PEER6, WAN, WAN6};
use super::When::{Ago, Now};
use super::{Known, in_session, remote, steered, tunnel, tunnel6};

/// A port of another WireGuard interface, or of a program.
const OTHER: u16 = 51999;
/// A port that a masquerade gave another program.
const MASQUERADED: u16 = 61000;
/// A program's, whose flow goes through the tunnel, or is masqueraded.
const PROGRAM: u16 = 4000;

/// Of a container on a macvlan of the uplink.
const CONTAINER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 90));
const CONTAINER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x90));

fn in_another_session(known: Known) -> Known {
    match in_session(known) {
        Known::Remote { at, sent, source, source_port, receiver } => Known::Remote {
            at,
            sent,
            source,
            source_port,
            receiver: !receiver,
        },
        other => other,
    }
}

fn other(payload: impl Into<Vec<u8>>) -> Packet {
    udp((WAN, OTHER), PEER, payload)
}

fn masqueraded(payload: impl Into<Vec<u8>>) -> Packet {
    udp((WAN, MASQUERADED), PEER, payload)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = by_the_modem();
    cases.extend(by_an_uplink());
    cases
}

fn by_the_modem() -> Vec<Case> {
    let now = [remote(PEER, Now)];
    vec![
        modem_out("data of a program that holds the tunnel's port", tunnel(data(96))).of_socket(LISTEN).wireguard_gone().dropped(DropLocal),
        modem_out("initiation of a program that holds the tunnel's port", tunnel(initiation())).of_socket(LISTEN).wireguard_gone().dropped(DropLocal),
        modem_out("keepalive of a program that holds the tunnel's port", tunnel(NAT_KEEPALIVE)).of_socket(LISTEN).wireguard_gone().dropped(DropLocal),
        modem_out("data over IPv6 of a program that holds the tunnel's port", tunnel6(data(96))).of_socket(LISTEN).wireguard_gone().dropped(DropLocal),
        modem_out("the tunnel, carrying a program's datagram", tunnel(data(96))).of_socket(PROGRAM).marked(Tunnel).remembering(&now),
        modem_out("data of a program that holds a masquerade's port, marked", udp((MODEM, MASQUERADED), PEER, data(96)))
            .of_socket(MASQUERADED)
            .from_a_held_port()
            .with_mark(MARK)
            .knowing(&[steered(PEER, Ago(5), WAN, MASQUERADED)])
            .dropped(DropLocal),
    ]
}

fn by_an_uplink() -> Vec<Case> {
    let known = [remote(PEER, Ago(5))];
    let known6 = [remote(PEER6, Ago(5))];
    let session = [in_session(remote(PEER, Ago(5)))];
    let session_of_another = [in_another_session(remote(PEER, Ago(5)))];
    let ours_of = |source| udp((source, LISTEN), PEER, data(96));
    vec![
        uplink_out("data of another WireGuard interface to the same peer", other(data(96))).from_a_held_port().knowing(&known).untouched(),
        uplink_out("initiation of another WireGuard interface to the same peer", other(initiation())).from_a_held_port().knowing(&known).untouched(),
        uplink_out("data over IPv6 of another WireGuard interface to the same peer", udp((WAN6, OTHER), PEER6, data(96)))
            .from_a_held_port()
            .knowing(&known6)
            .untouched(),
        uplink_out("data of another host's WireGuard from the tunnel's port number", ours_of(CONTAINER)).of_another_host().knowing(&session_of_another).untouched(),
        uplink_out("data of another host's WireGuard from the tunnel's port number, no session known", ours_of(CONTAINER)).of_another_host().knowing(&known).untouched(),
        uplink_out("data of another host's WireGuard from the tunnel's port number, remote unknown", ours_of(CONTAINER)).of_another_host().untouched(),
        uplink_out("data of another host's WireGuard", udp((CONTAINER, OTHER), PEER, data(96))).of_another_host().knowing(&known).untouched(),
        uplink_out("data over IPv6 of another host's WireGuard", udp((CONTAINER6, OTHER), PEER6, data(96))).of_another_host().knowing(&known6).untouched(),
        uplink_out("initiation of another host's WireGuard while nobody holds the tunnel's port", udp((CONTAINER, OTHER), PEER, initiation()))
            .of_another_host()
            .wireguard_gone()
            .knowing(&known)
            .untouched(),
        uplink_out("data of the tunnel's session, its source translated to another host's", ours_of(CONTAINER))
            .of_another_host()
            .knowing(&session)
            .steered_as(&tunnel(data(96)))
            .remembering(&[steered(PEER, Ago(5), CONTAINER, 0)]),
        uplink_out("data of a program to the peer", other(data(96))).of_socket(OTHER).from_a_held_port().knowing(&known).untouched(),
        uplink_out("data of a program that holds the tunnel's port", tunnel(data(96)).source(WAN))
            .of_socket(LISTEN)
            .wireguard_gone()
            .knowing(&known)
            .untouched(),
        uplink_out("the tunnel, carrying a program's datagram", tunnel(data(96)).source(WAN))
            .of_socket(PROGRAM)
            .knowing(&known)
            .steered_as(&tunnel(data(96)))
            .remembering(&[steered(PEER, Ago(5), WAN, 0)]),
        uplink_out("data of the tunnel's session from another port that it holds", other(data(96)))
            .from_a_held_port()
            .knowing(&session)
            .steered_as(&udp((MODEM, OTHER), PEER, data(96)))
            .remembering(&[steered(PEER, Ago(5), WAN, OTHER)]),
        uplink_out("data of the tunnel's session, carrying a program's datagram, masqueraded", masqueraded(data(96)))
            .of_socket(PROGRAM)
            .knowing(&session)
            .steered_as(&udp((MODEM, MASQUERADED), PEER, data(96)))
            .remembering(&[steered(PEER, Ago(5), WAN, MASQUERADED)]),
        uplink_out("initiation from another port, the tunnel's session known", other(initiation())).from_a_held_port().knowing(&session).untouched(),
        uplink_out("data of a program to the peer that has the session's index", other(data(96)))
            .of_socket(OTHER)
            .from_a_held_port()
            .knowing(&session)
            .untouched(),
        uplink_out("a program's, masqueraded, or the tunnel's, carrying one, masqueraded", masqueraded(data(96)))
            .of_socket(PROGRAM)
            .knowing(&known)
            .dropped(DropAmbiguous),
        uplink_out("data of a masqueraded port while nobody holds the tunnel's", masqueraded(data(96)))
            .wireguard_gone()
            .knowing(&known)
            .dropped(DropAmbiguous),
        uplink_out("data of WireGuard while nobody holds the tunnel's port", other(data(96)))
            .from_a_held_port()
            .wireguard_gone()
            .knowing(&known)
            .dropped(DropAmbiguous),
        uplink_out("data of WireGuard to an unknown sender while nobody holds the tunnel's port", other(data(96)))
            .from_a_held_port()
            .wireguard_gone()
            .untouched(),
    ]
}
