//! The tunnel's own packets, and what only looks like them, leaving by the modem.

use lte_common::policy::Class::{
    DropForwarded, DropHeaders, DropLocal, DropNotWireguard, NatKeepalive, Tunnel,
};

use super::super::case::{Case, modem_out};
use super::super::packet::{Extension, tcp, udp};
use super::super::payload::{NAT_KEEPALIVE, cookie, data, initiation, response, shaped};
use super::super::site::{LAN_HOST, LAN_HOST6, LISTEN, MARK, MODEM, MODEM6, PEER, PEER6, WAN, WAN6};
use super::{When, remote, steered, tunnel, tunnel6};
use super::{SYN, When::Now};

/// A port that a masquerade gave the tunnel.
const MASQUERADED: u16 = 61000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = shapes();
    cases.extend(wrong_shapes());
    cases.extend(keepalives());
    cases.extend(sources());
    cases.extend(memories());
    cases.extend(headers());
    cases.extend(look_alikes());
    cases
}

fn shapes() -> Vec<Case> {
    let known = [remote(PEER, Now)];
    let known6 = [remote(PEER6, Now)];
    vec![
        modem_out("initiation, 148 bytes", tunnel(initiation())).marked(Tunnel).remembering(&known),
        modem_out("response, 92 bytes", tunnel(response())).marked(Tunnel).remembering(&known),
        modem_out("cookie reply, 64 bytes", tunnel(cookie())).marked(Tunnel).remembering(&known),
        modem_out("WireGuard's keepalive, 32 bytes", tunnel(data(32))).marked(Tunnel).remembering(&known),
        modem_out("data, 48 bytes", tunnel(data(48))).marked(Tunnel).remembering(&known),
        modem_out("data, 1456 bytes", tunnel(data(1456))).marked(Tunnel).remembering(&known),
        modem_out("data cut at the tunnel's MTU of 1380, no multiple of 16", tunnel(data(1412))).marked(Tunnel).remembering(&known),
        modem_out("data of an initiation's length", tunnel(data(148))).marked(Tunnel).remembering(&known),
        modem_out("initiation over IPv6", tunnel6(initiation())).marked(Tunnel).remembering(&known6),
        modem_out("response over IPv6", tunnel6(response())).marked(Tunnel).remembering(&known6),
        modem_out("cookie reply over IPv6", tunnel6(cookie())).marked(Tunnel).remembering(&known6),
        modem_out("data over IPv6, 1424 bytes", tunnel6(data(1424))).marked(Tunnel).remembering(&known6),
        modem_out("initiation on a raw-IP modem", tunnel(initiation())).raw().marked(Tunnel).remembering(&known),
        modem_out("data over IPv6 on a raw-IP modem", tunnel6(data(96))).raw().marked(Tunnel).remembering(&known6),
        modem_out("data over IPv4 with IPv6 off", tunnel(data(96))).ipv6_off().marked(Tunnel).remembering(&known),
        modem_out("data over IPv6 with IPv4 off", tunnel6(data(96))).ipv4_off().marked(Tunnel).remembering(&known6),
    ]
}

fn wrong_shapes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, payload) in [
        ("initiation, a byte short", shaped(1, 147)),
        ("initiation, a byte long", shaped(1, 149)),
        ("initiation of a response's length", shaped(1, 92)),
        ("response, a byte short", shaped(2, 91)),
        ("response, a byte long", shaped(2, 93)),
        ("cookie reply, a byte short", shaped(3, 63)),
        ("cookie reply, a byte long", shaped(3, 65)),
        ("data, 16 bytes", data(16)),
        ("data, 31 bytes", data(31)),
        ("type 0", shaped(0, 148)),
        ("type 5", shaped(5, 64)),
        ("type in the wrong byte order", vec![0, 0, 0, 4].into_iter().chain([0; 28]).collect()),
        ("first reserved byte set", vec![4, 1, 0, 0].into_iter().chain([0; 28]).collect()),
        ("second reserved byte set", vec![4, 0, 1, 0].into_iter().chain([0; 28]).collect()),
        ("third reserved byte set", vec![4, 0, 0, 1].into_iter().chain([0; 28]).collect()),
        ("no payload", vec![]),
        ("one byte, not the keepalive's", vec![0xfe]),
        ("one zero byte", vec![0]),
        ("two bytes of the keepalive's", vec![0xff, 0xff]),
        ("a type and nothing else", vec![4, 0, 0, 0]),
    ] {
        let name = format!("not WireGuard: {what}");
        cases.push(modem_out(&name, tunnel(payload.clone())).dropped(DropNotWireguard));
        if cases.len() % 4 == 0 {
            let name = format!("not WireGuard over IPv6: {what}");
            cases.push(modem_out(&name, tunnel6(payload)).raw().dropped(DropNotWireguard));
        }
    }
    cases
}

fn keepalives() -> Vec<Case> {
    let known = [remote(PEER, Now)];
    let known6 = [remote(PEER6, Now)];
    let short = || tunnel(NAT_KEEPALIVE);
    vec![
        modem_out("NAT keepalive", short()).marked(NatKeepalive).remembering(&known),
        modem_out("NAT keepalive, padded by the link", short().padding(&[0; 17])).marked(NatKeepalive).remembering(&known),
        modem_out("NAT keepalive without a checksum", short().unsummed()).marked(NatKeepalive).remembering(&known),
        modem_out("NAT keepalive over IPv6", tunnel6(NAT_KEEPALIVE)).marked(NatKeepalive).remembering(&known6),
        modem_out("NAT keepalive on a raw-IP modem", short()).raw().marked(NatKeepalive).remembering(&known),
        modem_out("NAT keepalive over IPv6 on a raw-IP modem", tunnel6(NAT_KEEPALIVE)).raw().marked(NatKeepalive).remembering(&known6),
        modem_out("NAT keepalive from the uplink's address", short().source(WAN))
            .marked_as(NatKeepalive, &short())
            .remembering(&[steered(PEER, Now, WAN, 0)]),
        modem_out("an empty datagram is no keepalive, whatever the padding", tunnel([]).padding(&[0xff; 18])).dropped(DropNotWireguard),
    ]
}

/// WireGuard keeps to the source address it last used; on the modem only the modem's is right.
fn sources() -> Vec<Case> {
    let from_wan = [steered(PEER, Now, WAN, 0)];
    let from_wan6 = [steered(PEER6, Now, WAN6, 0)];
    vec![
        modem_out("data from the uplink's address", tunnel(data(96)).source(WAN))
            .marked_as(Tunnel, &tunnel(data(96)))
            .remembering(&from_wan),
        modem_out("data from the uplink's address, no checksum", tunnel(data(96)).unsummed().source(WAN))
            .marked_as(Tunnel, &tunnel(data(96)).unsummed())
            .remembering(&from_wan),
        modem_out("data from the uplink's address, odd words of options", tunnel(data(96)).options(3).source(WAN))
            .marked_as(Tunnel, &tunnel(data(96)).options(3))
            .remembering(&from_wan),
        modem_out("data from the uplink's address over IPv6", tunnel6(data(96)).source(WAN6))
            .marked_as(Tunnel, &tunnel6(data(96)))
            .remembering(&from_wan6),
        modem_out("data from the uplink's address over IPv6, no checksum", tunnel6(data(96)).unsummed().source(WAN6))
            .marked_as(Tunnel, &tunnel6(data(96)).unsummed())
            .remembering(&from_wan6),
        modem_out("data from the uplink's address on a raw-IP modem", tunnel(data(96)).source(WAN))
            .raw()
            .marked_as(Tunnel, &tunnel(data(96)))
            .remembering(&from_wan),
        modem_out("data from the uplink's address over IPv6 on a raw-IP modem", tunnel6(data(96)).source(WAN6))
            .raw()
            .marked_as(Tunnel, &tunnel6(data(96)))
            .remembering(&from_wan6),
    ]
}

fn memories() -> Vec<Case> {
    let now = [remote(PEER, Now)];
    let steered_here = || modem_out_steered("data, steered here");
    let masqueraded = || udp((MODEM, MASQUERADED), PEER, data(96));
    vec![
        modem_out("data to a remote sent to 5 s ago", tunnel(data(96))).knowing(&[remote(PEER, When::Ago(5))]).marked(Tunnel).remembering(&now),
        modem_out("data to a remote last sent to before the time-out", tunnel(data(96))).knowing(&[remote(PEER, When::Ago(25))]).marked(Tunnel).remembering(&now),
        modem_out("data to a remote from the config", tunnel(data(96))).knowing(&[remote(PEER, When::Never)]).marked(Tunnel).remembering(&now),
        modem_out("data to one remote leaves another's time alone", tunnel(data(96))).knowing(&[remote(PEER6, When::Ago(5))]).marked(Tunnel).remembering(&now),
        modem_out("data to another port of a remote", udp((MODEM, LISTEN), (PEER.0, 7), data(96)))
            .knowing(&[remote(PEER, When::Ago(5))])
            .marked(Tunnel)
            .remembering(&[remote((PEER.0, 7), Now)]),
        modem_out("data by the rule after it was steered: nothing is to be undone", tunnel(data(96)))
            .knowing(&[steered(PEER, When::Ago(5), WAN, 0)])
            .marked(Tunnel)
            .remembering(&now),
        modem_out("data by the rule after a masquerade", tunnel(data(96)))
            .knowing(&[steered(PEER, When::Ago(5), WAN, MASQUERADED)])
            .marked(Tunnel)
            .remembering(&now),
        steered_here()
            .knowing(&[steered(PEER, When::Never, WAN, 0)])
            .marked(Tunnel)
            .remembering(&[steered(PEER, Now, WAN, 0)]),
        modem_out("data, steered here with a masqueraded port", masqueraded())
            .with_mark(MARK)
            .knowing(&[steered(PEER, When::Ago(5), WAN, MASQUERADED)])
            .marked(Tunnel)
            .remembering(&[steered(PEER, Now, WAN, MASQUERADED)]),
        modem_out("data with a masqueraded port, not steered here", masqueraded())
            .knowing(&[steered(PEER, When::Ago(5), WAN, MASQUERADED)])
            .dropped(DropLocal),
        modem_out("data with another port than the masquerade's", udp((MODEM, 61001), PEER, data(96)))
            .with_mark(MARK)
            .knowing(&[steered(PEER, When::Ago(5), WAN, MASQUERADED)])
            .dropped(DropLocal),
        modem_out("marked, from port 0, to a remote without a masquerade", udp((MODEM, 0), PEER, data(96)))
            .with_mark(MARK)
            .knowing(&[remote(PEER, When::Ago(5))])
            .dropped(DropLocal),
        modem_out("marked, with a masqueraded port, to an unknown sender", masqueraded()).with_mark(MARK).dropped(DropLocal),
        modem_out("steered here with a masqueraded port, not WireGuard", udp((MODEM, MASQUERADED), PEER, [1, 2, 3]))
            .with_mark(MARK)
            .knowing(&[steered(PEER, When::Ago(5), WAN, MASQUERADED)])
            .dropped(DropNotWireguard),
        modem_out("the other bits of a mark are kept", tunnel(data(96))).with_mark(0xdead_be00).marked(Tunnel).remembering(&now),
        modem_out("our bits of a mark are ours", tunnel(data(96))).with_mark(0x0001_0184).marked(Tunnel).remembering(&now),
        modem_out("the other bits of a mark are kept over IPv6", tunnel6(data(96)))
            .with_mark(0x8000_0001)
            .marked(Tunnel)
            .remembering(&[remote(PEER6, Now)]),
    ]
}

fn modem_out_steered(name: &str) -> super::super::case::Draft {
    modem_out(name, tunnel(data(96))).with_mark(MARK)
}

fn headers() -> Vec<Case> {
    use Extension::{Auth, Destination, Fragment, HopByHop, Routing};
    let now = [remote(PEER, Now)];
    let now6 = [remote(PEER6, Now)];
    let six = [HopByHop, Destination(0), Routing, Destination(2), Auth, Destination(1)];
    vec![
        modem_out("data behind a word of IPv4 options", tunnel(data(96)).options(1)).marked(Tunnel).remembering(&now),
        modem_out("data behind ten words of IPv4 options", tunnel(data(96)).options(10)).marked(Tunnel).remembering(&now),
        modem_out("keepalive behind IPv4 options", tunnel(NAT_KEEPALIVE).options(2)).marked(NatKeepalive).remembering(&now),
        modem_out("options do not make WireGuard of anything", tunnel([9; 32]).options(2)).dropped(DropNotWireguard),
        modem_out("data with a TTL of 1", tunnel(data(96)).hop_limit(1)).marked(Tunnel).remembering(&now),
        modem_out("padding of the link is not counted", tunnel(data(32)).padding(&[0; 40])).marked(Tunnel).remembering(&now),
        modem_out("a UDP length below the IP length rules", tunnel(data(64)).udp_length(40)).marked(Tunnel).remembering(&now),
        modem_out("data behind hop-by-hop options", tunnel6(data(96)).extensions(&[HopByHop])).marked(Tunnel).remembering(&now6),
        modem_out("data behind destination options", tunnel6(data(96)).extensions(&[Destination(3)])).marked(Tunnel).remembering(&now6),
        modem_out("data behind a routing header", tunnel6(data(96)).extensions(&[Routing])).marked(Tunnel).remembering(&now6),
        modem_out("data behind an authentication header", tunnel6(data(96)).extensions(&[Auth])).marked(Tunnel).remembering(&now6),
        modem_out("data behind six extension headers", tunnel6(data(96)).extensions(&six)).marked(Tunnel).remembering(&now6),
        modem_out("data behind six extension headers, another source", tunnel6(data(96)).extensions(&six).source(WAN6))
            .raw()
            .marked_as(Tunnel, &tunnel6(data(96)).extensions(&six))
            .remembering(&[steered(PEER6, Now, WAN6, 0)]),
        modem_out("data behind seven extension headers", tunnel6(data(96)).extensions(&six).extensions(&[Destination(0)])).dropped(DropHeaders),
        modem_out("data behind a fragment header of a whole datagram", tunnel6(data(96)).extensions(&[Fragment(5, 0, false)]))
            .marked(Tunnel)
            .remembering(&now6),
        modem_out("extension headers do not make WireGuard of anything", tunnel6([9; 32]).extensions(&six)).dropped(DropNotWireguard),
    ]
}

fn look_alikes() -> Vec<Case> {
    let known = [remote(PEER, When::Ago(5))];
    vec![
        modem_out("forwarded look-alike of an initiation", udp((LAN_HOST, LISTEN), PEER, initiation())).forwarded().dropped(DropForwarded),
        modem_out("forwarded look-alike to a known remote", udp((LAN_HOST, LISTEN), PEER, data(96)))
            .forwarded()
            .knowing(&known)
            .dropped(DropForwarded),
        modem_out("forwarded look-alike with the modem's address", tunnel(data(96))).forwarded().dropped(DropForwarded),
        modem_out("forwarded look-alike with our mark", tunnel(data(96))).forwarded().with_mark(MARK).dropped(DropForwarded),
        modem_out("forwarded look-alike over IPv6", udp((LAN_HOST6, LISTEN), PEER6, data(96))).forwarded().dropped(DropForwarded),
        modem_out("forwarded look-alike on a raw-IP modem", udp((LAN_HOST, LISTEN), PEER, data(96))).raw().forwarded().dropped(DropForwarded),
        modem_out("forwarded NAT keepalive", udp((LAN_HOST, LISTEN), PEER, NAT_KEEPALIVE)).forwarded().dropped(DropForwarded),
        modem_out("local look-alike from another port", udp((MODEM, 51821), PEER, data(96))).knowing(&known).dropped(DropLocal),
        modem_out("local look-alike to the tunnel's port", udp((MODEM, 4000), (PEER.0, LISTEN), data(96))).dropped(DropLocal),
        modem_out("local look-alike over IPv6 from another port", udp((MODEM6, 51821), PEER6, data(96))).dropped(DropLocal),
        modem_out("TCP from the tunnel's port", tcp((MODEM, LISTEN), PEER, SYN)).dropped(DropLocal),
    ]
}
