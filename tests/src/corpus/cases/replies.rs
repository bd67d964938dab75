//! To the tunnel's port, entering by the modem.

use std::net::{IpAddr, Ipv4Addr};

use lte_common::policy::Class::{DropExpired, DropFamily, DropStranger, DropUnsolicited, Reply};

use super::super::case::{Case, modem_in};
use super::super::packet::{Extension, udp};
use super::super::payload::{NAT_KEEPALIVE, cookie, data, initiation, response};
use super::super::site::{LAN_HOST, LISTEN, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, UNKNOWN_SENDER6, WAN, WAN6};
use super::When::{Ago, Never};
use super::{remote, reply, reply6, steered};

const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
const SUBNET_BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 255));
const ALL_HOSTS: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1));
const MASQUERADED: u16 = 61000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = admitted();
    cases.extend(undone());
    cases.extend(refused());
    cases
}

fn admitted() -> Vec<Case> {
    let known = [remote(PEER, Ago(5))];
    let known6 = [remote(PEER6, Ago(5))];
    vec![
        modem_in("initiation of a known remote", reply(initiation())).knowing(&known).marked(Reply),
        modem_in("response of a known remote", reply(response())).knowing(&known).marked(Reply),
        modem_in("cookie reply of a known remote", reply(cookie())).knowing(&known).marked(Reply),
        modem_in("data of a known remote", reply(data(96))).knowing(&known).marked(Reply),
        modem_in("long data of a known remote", reply(data(1456))).knowing(&known).marked(Reply),
        modem_in("data of a known remote, no checksum", reply(data(96)).unsummed()).knowing(&known).marked(Reply),
        modem_in("one byte of a known remote, padded by the link", reply(NAT_KEEPALIVE).padding(&[0; 17])).knowing(&known).marked(Reply),
        modem_in("anything of a known remote: WireGuard will judge it", reply([1, 2, 3])).knowing(&known).marked(Reply),
        modem_in("data of a remote sent to just within the time-out", reply(data(96))).knowing(&[remote(PEER, Ago(15))]).marked(Reply),
        modem_in("data of a known remote, other bits of the mark kept", reply(data(96))).with_mark(0xffff_ff00).knowing(&known).marked(Reply),
        modem_in("data of a known remote, our bits of the mark set", reply(data(96))).with_mark(0xff).knowing(&known).marked(Reply),
        modem_in("data of a known remote behind options", reply(data(96)).options(4)).knowing(&known).marked(Reply),
        modem_in("data of a known remote on a raw-IP modem", reply(data(96))).raw().knowing(&known).marked(Reply),
        modem_in("data of a known remote over IPv6", reply6(data(96))).knowing(&known6).marked(Reply),
        modem_in("data of a known remote over IPv6 behind options", reply6(data(96)).extensions(&[Extension::Destination(1)])).knowing(&known6).marked(Reply),
        modem_in("data of a known remote over IPv6 on a raw-IP modem", reply6(data(96))).raw().knowing(&known6).marked(Reply),
    ]
}

/// What was steered comes back to the address it was sent from.
fn undone() -> Vec<Case> {
    let known = [steered(PEER, Ago(5), WAN, 0)];
    let known6 = [steered(PEER6, Ago(5), WAN6, 0)];
    let masqueraded = [steered(PEER, Ago(5), WAN, MASQUERADED)];
    vec![
        modem_in("reply to what was steered", reply(data(96))).knowing(&known).marked_as(Reply, &reply(data(96)).destination(WAN)),
        modem_in("reply to what was steered, no checksum", reply(data(96)).unsummed())
            .knowing(&known)
            .marked_as(Reply, &reply(data(96)).unsummed().destination(WAN)),
        modem_in("reply to what was steered, behind options", reply(data(96)).options(2))
            .knowing(&known)
            .marked_as(Reply, &reply(data(96)).options(2).destination(WAN)),
        modem_in("reply to what was steered, on a raw-IP modem", reply(data(96))).raw().knowing(&known).marked_as(Reply, &reply(data(96)).destination(WAN)),
        modem_in("reply over IPv6 to what was steered", reply6(data(96))).knowing(&known6).marked_as(Reply, &reply6(data(96)).destination(WAN6)),
        modem_in("reply over IPv6 to what was steered, no checksum", reply6(data(96)).unsummed())
            .knowing(&known6)
            .marked_as(Reply, &reply6(data(96)).unsummed().destination(WAN6)),
        modem_in("reply over IPv6 to what was steered, behind options", reply6(data(96)).extensions(&[Extension::HopByHop, Extension::Routing]))
            .knowing(&known6)
            .marked_as(Reply, &reply6(data(96)).extensions(&[Extension::HopByHop, Extension::Routing]).destination(WAN6)),
        modem_in("reply to the masquerade's port", udp(PEER, (MODEM, MASQUERADED), data(96)))
            .knowing(&masqueraded)
            .marked_as(Reply, &udp(PEER, (WAN, MASQUERADED), data(96))),
        modem_in("reply to the tunnel's port during a masquerade", reply(data(96)))
            .knowing(&masqueraded)
            .marked_as(Reply, &reply(data(96)).destination(WAN)),
        modem_in("reply to another port than the masquerade's", udp(PEER, (MODEM, 61001), data(96))).knowing(&masqueraded).dropped(DropUnsolicited),
        modem_in("reply to the masquerade's port, too late", udp(PEER, (MODEM, MASQUERADED), data(96)))
            .knowing(&[steered(PEER, Ago(25), WAN, MASQUERADED)])
            .dropped(DropExpired),
    ]
}

fn refused() -> Vec<Case> {
    let known = [remote(PEER, Ago(5))];
    let known6 = [remote(PEER6, Ago(5))];
    vec![
        modem_in("data of an unknown sender", udp((UNKNOWN_SENDER, 41414), (MODEM, LISTEN), data(96))).knowing(&known).dropped(DropStranger),
        modem_in("initiation of an unknown sender, nothing known", reply(initiation())).dropped(DropStranger),
        modem_in("data of an unknown sender over IPv6", udp((UNKNOWN_SENDER6, 41414), (MODEM6, LISTEN), data(96))).knowing(&known6).dropped(DropStranger),
        modem_in("data of an unknown sender on a raw-IP modem", udp((UNKNOWN_SENDER, 41414), (MODEM, LISTEN), data(96))).raw().knowing(&known).dropped(DropStranger),
        modem_in("data of the peer's address from another port", udp((PEER.0, 41415), (MODEM, LISTEN), data(96))).knowing(&known).dropped(DropStranger),
        modem_in("data of the peer's address over IPv6 from another port", udp((PEER6.0, 41415), (MODEM6, LISTEN), data(96))).knowing(&known6).dropped(DropStranger),
        modem_in("data of an unknown sender from another port", udp((UNKNOWN_SENDER, 41415), (MODEM, LISTEN), data(96))).knowing(&known).dropped(DropStranger),
        modem_in("data of a remote from the config, never sent to", reply(data(96))).knowing(&[remote(PEER, Never)]).dropped(DropStranger),
        modem_in("data of a remote sent to too long ago", reply(data(96))).knowing(&[remote(PEER, Ago(25))]).dropped(DropExpired),
        modem_in("data over IPv6 of a remote sent to too long ago", reply6(data(96))).knowing(&[remote(PEER6, Ago(25))]).dropped(DropExpired),
        modem_in("data of a known remote to another port", udp(PEER, (MODEM, 22), data(96))).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote to port 0", udp(PEER, (MODEM, 0), data(96))).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote to the broadcast address", reply(data(96)).destination(BROADCAST)).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote to the subnet's broadcast address", reply(data(96)).destination(SUBNET_BROADCAST)).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote to a multicast group", reply(data(96)).destination(ALL_HOSTS)).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote to the uplink's address", reply(data(96)).destination(WAN)).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote to a LAN host", reply(data(96)).destination(LAN_HOST)).knowing(&known).dropped(DropUnsolicited),
        modem_in("data of a known remote with IPv6 off", reply6(data(96))).ipv6_off().knowing(&known6).dropped(DropFamily),
        modem_in("data of a known remote with IPv4 off", reply(data(96))).ipv4_off().knowing(&known).dropped(DropFamily),
    ]
}
