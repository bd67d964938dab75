//! The tunnel's packets on an uplink: sent to the modem instead, or dropped.

use lte_common::policy::Class::DropModemGone;
use lte_common::policy::Hook::UplinkOut;

use super::super::case::{Case, uplink_out};
use super::super::packet::{Extension, Packet, udp};
use super::super::payload::{NAT_KEEPALIVE, cookie, data, initiation, response};
use super::super::site::{LISTEN, MARK, MODEM, MODEM6, PEER, PEER6, WAN, WAN6};
use super::When::{Ago, Never, Now};
use super::fragments_out::{first, last, middle, passed, unmarked};
use super::{Known, in_session, remote, steered, tunnel, tunnel6};

/// A port that a masquerade gave the tunnel.
const MASQUERADED: u16 = 61000;
/// VLAN tags: of a customer, and of a provider around it.
const TAG: (u16, u16) = (0x8100, 7);
const SERVICE_TAG: (u16, u16) = (0x88a8, 100);

fn ours(payload: impl Into<Vec<u8>>) -> Packet {
    tunnel(payload).source(WAN)
}

fn ours6(payload: impl Into<Vec<u8>>) -> Packet {
    tunnel6(payload).source(WAN6)
}

fn masqueraded(payload: impl Into<Vec<u8>>) -> Packet {
    udp((WAN, MASQUERADED), PEER, payload)
}

/// Nothing has left yet: the time is noted where it leaves.
fn noted() -> [Known; 1] {
    [steered(PEER, Never, WAN, 0)]
}

fn noted6() -> [Known; 1] {
    [steered(PEER6, Never, WAN6, 0)]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = by_port();
    cases.extend(by_remote());
    cases.extend(links());
    cases.extend(fragments());
    cases.extend(modem_gone());
    cases
}

fn by_port() -> Vec<Case> {
    let headers = [Extension::HopByHop, Extension::Destination(2)];
    vec![
        uplink_out("initiation", ours(initiation())).steered_as(&tunnel(initiation())).remembering(&noted()),
        uplink_out("response", ours(response())).steered_as(&tunnel(response())).remembering(&noted()),
        uplink_out("cookie reply", ours(cookie())).steered_as(&tunnel(cookie())).remembering(&noted()),
        uplink_out("data", ours(data(96))).steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("NAT keepalive, padded by the link", ours(NAT_KEEPALIVE).padding(&[0; 17]))
            .steered_as(&tunnel(NAT_KEEPALIVE).padding(&[0; 17]))
            .remembering(&noted()),
        uplink_out("data without a checksum", ours(data(96)).unsummed()).steered_as(&tunnel(data(96)).unsummed()).remembering(&noted()),
        uplink_out("data behind options", ours(data(96)).options(5)).steered_as(&tunnel(data(96)).options(5)).remembering(&noted()),
        uplink_out("data that has the modem's address already", tunnel(data(96))).steered_as(&tunnel(data(96))).remembering(&[remote(PEER, Never)]),
        uplink_out("not WireGuard, from the tunnel's port: the modem's hook will drop it", ours([1, 2, 3])).steered_as(&tunnel([1, 2, 3])).remembering(&noted()),
        uplink_out("data over IPv6", ours6(data(96))).steered_as(&tunnel6(data(96))).remembering(&noted6()),
        uplink_out("data over IPv6 without a checksum", ours6(data(96)).unsummed()).steered_as(&tunnel6(data(96)).unsummed()).remembering(&noted6()),
        uplink_out("data over IPv6 behind two extension headers", ours6(data(96)).extensions(&headers))
            .steered_as(&tunnel6(data(96)).extensions(&headers))
            .remembering(&noted6()),
        uplink_out("data to a remote sent to before: its time stays", ours(data(96)))
            .knowing(&[remote(PEER, Ago(5))])
            .steered_as(&tunnel(data(96)))
            .remembering(&[steered(PEER, Ago(5), WAN, 0)]),
        uplink_out("data to a remote steered before", ours(data(96)))
            .knowing(&[in_session(steered(PEER, Ago(5), WAN, 0))])
            .steered_as(&tunnel(data(96))),
        uplink_out("data to a remote steered before, in a session that nobody knows", ours(data(96)))
            .knowing(&[steered(PEER, Ago(5), WAN, 0)])
            .steered_as(&tunnel(data(96)))
            .remembering(&[steered(PEER, Ago(5), WAN, 0)]),
        uplink_out("data, the other bits of the mark kept", ours(data(96))).with_mark(0xcafe_0055).steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data with our mark already", ours(data(96))).with_mark(MARK).steered_as(&tunnel(data(96))).remembering(&noted()),
    ]
}

fn by_remote() -> Vec<Case> {
    let noted = |sent| [steered(PEER, sent, WAN, MASQUERADED)];
    let out = |payload: Vec<u8>| udp((MODEM, MASQUERADED), PEER, payload);
    vec![
        uplink_out("data with a masqueraded port, remote known", masqueraded(data(96)))
            .knowing(&[remote(PEER, Ago(5))])
            .steered_as(&out(data(96)))
            .remembering(&noted(Ago(5))),
        uplink_out("data with a masqueraded port, remote from the config", masqueraded(data(96)))
            .knowing(&[remote(PEER, Never)])
            .steered_as(&out(data(96)))
            .remembering(&noted(Never)),
        uplink_out("initiation with a masqueraded port, remote long not sent to", masqueraded(initiation()))
            .knowing(&[remote(PEER, Ago(25))])
            .steered_as(&out(initiation()))
            .remembering(&noted(Ago(25))),
        uplink_out("NAT keepalive with a masqueraded port", masqueraded(NAT_KEEPALIVE))
            .knowing(&[remote(PEER, Ago(5))])
            .steered_as(&out(NAT_KEEPALIVE.to_vec()))
            .remembering(&noted(Ago(5))),
        uplink_out("data with a masqueraded port, again", masqueraded(data(96))).knowing(&noted(Ago(5))).steered_as(&out(data(96))).remembering(&noted(Ago(5))),
        uplink_out("data over IPv6 with a masqueraded port, remote known", udp((WAN6, MASQUERADED), PEER6, data(96)))
            .knowing(&[remote(PEER6, Ago(5))])
            .steered_as(&udp((MODEM6, MASQUERADED), PEER6, data(96)))
            .remembering(&[steered(PEER6, Ago(5), WAN6, MASQUERADED)]),
    ]
}

fn links() -> Vec<Case> {
    let tag = |packet: Packet| packet.tag(TAG.0, TAG.1);
    let service_tag = |packet: Packet| packet.tag(SERVICE_TAG.0, SERVICE_TAG.1);
    vec![
        uplink_out("data behind a VLAN tag", tag(ours(data(96)))).steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data behind a service VLAN tag", service_tag(ours(data(96)))).steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data behind two VLAN tags", tag(service_tag(ours(data(96))))).steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data over IPv6 behind a VLAN tag", tag(ours6(data(96)))).steered_as(&tunnel6(data(96))).remembering(&noted6()),
        uplink_out("data over IPv6 behind two VLAN tags", tag(tag(ours6(data(96))))).steered_as(&tunnel6(data(96))).remembering(&noted6()),
        uplink_out("data without a checksum behind a VLAN tag", tag(ours(data(96)).unsummed())).steered_as(&tunnel(data(96)).unsummed()).remembering(&noted()),
        uplink_out("data to a raw-IP modem", ours(data(96))).raw_modem().steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data behind a VLAN tag to a raw-IP modem", tag(ours(data(96)))).raw_modem().steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data over IPv6 to a raw-IP modem", ours6(data(96))).raw_modem().steered_as(&tunnel6(data(96))).remembering(&noted6()),
        uplink_out("data on a raw-IP uplink", ours(data(96))).raw_uplink().steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data over IPv6 on a raw-IP uplink", ours6(data(96))).raw_uplink().steered_as(&tunnel6(data(96))).remembering(&noted6()),
        uplink_out("data on a raw-IP uplink to a raw-IP modem", ours(data(96))).raw().steered_as(&tunnel(data(96))).remembering(&noted()),
        uplink_out("data over IPv6 on a raw-IP uplink to a raw-IP modem", ours6(data(96))).raw().steered_as(&tunnel6(data(96))).remembering(&noted6()),
    ]
}

fn fragments() -> Vec<Case> {
    let seen = |when| passed(UplinkOut, (WAN, PEER.0), when, Some(MODEM));
    let seen6 = |when| passed(UplinkOut, (WAN6, PEER6.0), when, Some(MODEM6));
    vec![
        uplink_out("first fragment", first(ours(data(1312))))
            .steered_as(&first(tunnel(data(1312))))
            .remembering(&noted())
            .remembering(&[seen(Now)]),
        uplink_out("middle fragment", middle(ours(data(1312)))).knowing(&[seen(Ago(1))]).steered_as(&middle(tunnel(data(1312)))),
        uplink_out("last fragment behind a VLAN tag", last(ours(data(1312))).tag(TAG.0, TAG.1)).knowing(&[seen(Ago(1))]).steered_as(&last(tunnel(data(1312)))),
        uplink_out("first fragment over IPv6", first(ours6(data(1312))))
            .steered_as(&first(tunnel6(data(1312))))
            .remembering(&noted6())
            .remembering(&[seen6(Now)]),
        uplink_out("last fragment over IPv6", last(ours6(data(1312)))).knowing(&[seen6(Ago(1))]).steered_as(&last(tunnel6(data(1312)))),
        uplink_out("first fragment with a masqueraded port", first(masqueraded(data(1312))))
            .knowing(&[remote(PEER, Never)])
            .steered_as(&first(udp((MODEM, MASQUERADED), PEER, data(1312))))
            .remembering(&[steered(PEER, Never, WAN, MASQUERADED), seen(Now)]),
    ]
}

fn modem_gone() -> Vec<Case> {
    let between = (WAN, PEER.0);
    let refused = |when| unmarked(passed(UplinkOut, between, when, None));
    vec![
        uplink_out("data, modem gone", ours(data(96))).modem_gone().dropped(DropModemGone),
        uplink_out("initiation, modem gone", ours(initiation())).modem_gone().dropped(DropModemGone),
        uplink_out("data over IPv6, modem gone", ours6(data(96))).modem_gone().dropped(DropModemGone),
        uplink_out("data behind a VLAN tag, modem gone", ours(data(96)).tag(TAG.0, TAG.1)).modem_gone().dropped(DropModemGone),
        uplink_out("data on a raw-IP uplink, modem gone", ours(data(96))).raw_uplink().modem_gone().dropped(DropModemGone),
        uplink_out("data with a masqueraded port, modem gone", masqueraded(data(96))).modem_gone().knowing(&[remote(PEER, Never)]).dropped(DropModemGone),
        uplink_out("NAT keepalive, modem gone", ours(NAT_KEEPALIVE)).modem_gone().dropped(DropModemGone),
        uplink_out("first fragment, modem gone", first(ours(data(1312)))).modem_gone().dropped(DropModemGone).remembering(&[refused(Now)]),
        uplink_out("later fragment, modem gone", middle(ours(data(1312)))).modem_gone().knowing(&[refused(Ago(1))]).dropped(DropModemGone),
        uplink_out("later fragment, modem gone since the first", middle(ours(data(1312))))
            .modem_gone()
            .knowing(&[passed(UplinkOut, between, Ago(1), Some(MODEM))])
            .dropped(DropModemGone),
        uplink_out("later fragment, modem back since the first", middle(ours(data(1312)))).knowing(&[refused(Ago(1))]).steered_as(&middle(tunnel(data(1312)))),
        uplink_out("data over IPv6, the modem has IPv4 alone", ours6(data(96))).ipv6_off().dropped(DropModemGone),
        uplink_out("data over IPv4, the modem has IPv6 alone", udp((WAN, LISTEN), PEER, data(96))).ipv4_off().dropped(DropModemGone),
    ]
}
