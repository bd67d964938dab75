//! Datagrams in fragments, leaving by the modem.

use std::net::IpAddr;

use lte_common::policy::Class::{
    DropForwarded, DropFragment, DropLocal, DropMalformed, DropNotWireguard, Fragment, Permit, Tunnel,
};
use lte_common::policy::Hook::{self, ModemIn, ModemOut, UplinkOut};

use super::super::case::{Case, modem_out};
use super::super::packet::{Packet, bare, tcp, udp};
use super::super::payload::data;
use super::super::site::{GATEWAY, LAN_HOST, LISTEN, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, WAN, WAN6};
use super::When::{Ago, Now};
use super::{Known, SYN, UDP, When, remote, steered, flow, tunnel, tunnel6};

/// The identification of the datagrams in fragments.
pub(super) const IDENT: u32 = 0x4d2;

pub(super) fn first(packet: Packet) -> Packet {
    packet.fragment(IDENT, 0, 640)
}

pub(super) fn middle(packet: Packet) -> Packet {
    packet.fragment(IDENT, 640, 320)
}

pub(super) fn last(packet: Packet) -> Packet {
    packet.fragment(IDENT, 960, 640)
}

pub(super) fn passed(hook: Hook, between: (IpAddr, IpAddr), seen: When, replace: Option<IpAddr>) -> Known {
    Known::Fragment {
        hook,
        between,
        ident: IDENT,
        seen,
        replace,
        marked: true,
        protocol: UDP,
        sender: 0,
    }
}

/// Its first fragment belonged to the UDP socket of a port.
pub(super) fn of_socket(known: Known, port: u16) -> Known {
    match known {
        Known::Fragment { hook, between, ident, seen, replace, marked, protocol, .. } => Known::Fragment {
            hook,
            between,
            ident,
            seen,
            replace,
            marked,
            protocol,
            sender: port,
        },
        other => other,
    }
}

/// What is dropped is not marked.
pub(super) fn unmarked(known: Known) -> Known {
    match known {
        Known::Fragment { hook, between, ident, seen, replace, protocol, sender, .. } => Known::Fragment {
            hook,
            between,
            ident,
            seen,
            replace,
            marked: false,
            protocol,
            sender,
        },
        other => other,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let ours = (MODEM, PEER.0);
    let ours6 = (MODEM6, PEER6.0);
    let whole = || tunnel(data(1312));
    let whole6 = || tunnel6(data(1312));
    let seen = |when| passed(ModemOut, ours, when, None);
    let seen6 = |when| passed(ModemOut, ours6, when, None);
    let permitted = flow((UNKNOWN_SENDER, 5000), 6000, UDP);
    let probe = || udp((MODEM, 6000), (UNKNOWN_SENDER, 5000), [7; 1300]);
    let probed = |when| passed(ModemOut, (MODEM, UNKNOWN_SENDER), when, None);
    vec![
        modem_out("first fragment of data", first(whole())).marked(Tunnel).remembering(&[remote(PEER, Now), seen(Now)]),
        modem_out("middle fragment", middle(whole())).knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_out("last fragment", last(whole())).knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_out("last fragment, other bits of the mark kept", last(whole())).with_mark(0x5500).knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_out("later fragment, the first unknown", middle(whole())).dropped(DropFragment),
        modem_out("later fragment, the first too long ago", middle(whole())).knowing(&[seen(Ago(35))]).dropped(DropFragment),
        modem_out("later fragment of another datagram", whole().fragment(IDENT + 1, 640, 320)).knowing(&[seen(Ago(1))]).dropped(DropFragment),
        modem_out("later fragment to another destination", middle(whole().destination(UNKNOWN_SENDER))).knowing(&[seen(Ago(1))]).dropped(DropFragment),
        modem_out("later fragment of TCP with the identification of the tunnel's", middle(bare(MODEM, PEER.0, 6, [0; 1320]))).knowing(&[seen(Ago(1))]).dropped(DropFragment),
        modem_out("later fragment of a program's datagram with the identification of the tunnel's", middle(whole()))
            .of_socket(40000)
            .from_a_held_port()
            .knowing(&[seen(Ago(1))])
            .dropped(DropFragment),
        modem_out("first fragment of data that carries a program's datagram", first(whole()))
            .of_socket(40000)
            .marked(Tunnel)
            .remembering(&[remote(PEER, Now), of_socket(seen(Now), 40000)]),
        modem_out("later fragment of data that carries a program's datagram", middle(whole()))
            .of_socket(40000)
            .knowing(&[of_socket(seen(Ago(1)), 40000)])
            .marked(Fragment),
        modem_out("later fragment, the first seen entering", middle(whole())).knowing(&[passed(ModemIn, ours, Ago(1), None)]).dropped(DropFragment),
        modem_out("later fragment, the first seen on an uplink", middle(whole())).knowing(&[passed(UplinkOut, ours, Ago(1), None)]).dropped(DropFragment),
        modem_out("first fragment from the uplink's address", first(whole().source(WAN)))
            .marked_as(Tunnel, &first(whole()))
            .remembering(&[steered(PEER, Now, WAN, 0), passed(ModemOut, (WAN, PEER.0), Now, Some(MODEM))]),
        modem_out("later fragment from the uplink's address", middle(whole().source(WAN)))
            .knowing(&[passed(ModemOut, (WAN, PEER.0), Ago(1), Some(MODEM))])
            .marked_as(Fragment, &middle(whole())),
        modem_out("first fragment that ends before the message's type", whole().fragment(IDENT, 0, 8)).dropped(DropNotWireguard),
        modem_out("first fragment that is not WireGuard", first(tunnel([9; 1312]))).dropped(DropNotWireguard),
        modem_out("first fragment of one byte's keepalive, the byte in the padding", tunnel([0xff]).fragment(IDENT, 0, 8).padding(&[0xff; 18]))
            .dropped(DropNotWireguard),
        modem_out("first fragment, forwarded", first(udp((LAN_HOST, LISTEN), PEER, data(1312)))).forwarded().dropped(DropForwarded),
        modem_out("later fragment, forwarded", middle(whole())).forwarded().knowing(&[seen(Ago(1))]).dropped(DropForwarded),
        modem_out("first fragment on a raw-IP modem", first(whole())).raw().marked(Tunnel).remembering(&[remote(PEER, Now), seen(Now)]),
        modem_out("later fragment on a raw-IP modem", last(whole())).raw().knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_out("first fragment over IPv6", first(whole6())).marked(Tunnel).remembering(&[remote(PEER6, Now), seen6(Now)]),
        modem_out("later fragment over IPv6", middle(whole6())).knowing(&[seen6(Ago(1))]).marked(Fragment),
        modem_out("later fragment over IPv6, the first unknown", last(whole6())).dropped(DropFragment),
        modem_out("later fragment over IPv6, the first too long ago", last(whole6())).knowing(&[seen6(Ago(35))]).dropped(DropFragment),
        modem_out("first fragment over IPv6 from the uplink's address", first(whole6().source(WAN6)))
            .marked_as(Tunnel, &first(whole6()))
            .remembering(&[steered(PEER6, Now, WAN6, 0), passed(ModemOut, (WAN6, PEER6.0), Now, Some(MODEM6))]),
        modem_out("later fragment over IPv6 from the uplink's address", middle(whole6().source(WAN6)))
            .knowing(&[passed(ModemOut, (WAN6, PEER6.0), Ago(1), Some(MODEM6))])
            .marked_as(Fragment, &middle(whole6())),
        modem_out("first fragment of what is permitted", first(probe()))
            .knowing(&[Known::Permit(permitted, Ok(60))])
            .marked(Permit)
            .remembering(&[probed(Now)]),
        modem_out("later fragment of what was permitted", middle(probe())).knowing(&[probed(Ago(1))]).marked(Fragment),
        modem_out("first fragment of what is not permitted", first(probe())).dropped(DropLocal),
        modem_out("first fragment of TCP that ends within its header", tcp((MODEM, 40000), (GATEWAY, 80), SYN).fragment(IDENT, 0, 16)).dropped(DropMalformed),
    ]
}
