//! Datagrams in fragments, entering by the modem.

use lte_common::policy::Class::{DropExpired, DropFragment, DropStranger, DropUnsolicited, Fragment, Reply};
use lte_common::policy::Hook::{ModemIn, ModemOut};

use super::super::case::{Case, modem_in};
use super::super::packet::{icmp, udp};
use super::super::payload::data;
use super::super::site::{LISTEN, MODEM, MODEM6, PEER, PEER6, UNKNOWN_SENDER, WAN, WAN6};
use super::When::{Ago, Now};
use super::fragments_out::{IDENT, first, last, middle, passed};
use super::{remote, reply, reply6, steered, tunnel};

pub(super) fn cases() -> Vec<Case> {
    let whole = || reply(data(1312));
    let whole6 = || reply6(data(1312));
    let known = [remote(PEER, Ago(5))];
    let known6 = [remote(PEER6, Ago(5))];
    let seen = |when| passed(ModemIn, (PEER.0, MODEM), when, None);
    let seen6 = |when| passed(ModemIn, (PEER6.0, MODEM6), when, None);
    let undone = |when| passed(ModemIn, (PEER.0, MODEM), when, Some(WAN));
    let undone6 = |when| passed(ModemIn, (PEER6.0, MODEM6), when, Some(WAN6));
    let error = || icmp(UNKNOWN_SENDER, MODEM, (3, 4), [0, 0, 5, 120], tunnel(data(1312)).ip());
    vec![
        modem_in("first fragment of a reply", first(whole())).knowing(&known).marked(Reply).remembering(&[seen(Now)]),
        modem_in("middle fragment of a reply", middle(whole())).knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_in("last fragment of a reply, other bits of the mark kept", last(whole())).with_mark(0xaa00).knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_in("first fragment of a reply on a raw-IP modem", first(whole())).raw().knowing(&known).marked(Reply).remembering(&[seen(Now)]),
        modem_in("last fragment of a reply on a raw-IP modem", last(whole())).raw().knowing(&[seen(Ago(1))]).marked(Fragment),
        modem_in("first fragment of a reply that ends before its payload", whole().fragment(IDENT, 0, 8)).knowing(&known).marked(Reply).remembering(&[seen(Now)]),
        modem_in("later fragment, the first unknown", middle(whole())).knowing(&known).dropped(DropFragment),
        modem_in("later fragment, the first too long ago", middle(whole())).knowing(&[seen(Ago(35))]).dropped(DropFragment),
        modem_in("later fragment of another datagram", whole().fragment(IDENT + 1, 640, 320)).knowing(&[seen(Ago(1))]).dropped(DropFragment),
        modem_in("later fragment from another source", middle(whole().source(UNKNOWN_SENDER))).knowing(&[seen(Ago(1))]).dropped(DropFragment),
        modem_in("later fragment, the first seen leaving", middle(whole())).knowing(&[passed(ModemOut, (PEER.0, MODEM), Ago(1), None)]).dropped(DropFragment),
        modem_in("first fragment of an unknown sender", first(udp((UNKNOWN_SENDER, 41414), (MODEM, LISTEN), data(1312)))).knowing(&known).dropped(DropStranger),
        modem_in("first fragment of an expired remote", first(whole())).knowing(&[remote(PEER, Ago(25))]).dropped(DropExpired),
        modem_in("first fragment of a reply to what was steered", first(whole()))
            .knowing(&[steered(PEER, Ago(5), WAN, 0)])
            .marked_as(Reply, &first(whole()).destination(WAN))
            .remembering(&[undone(Now)]),
        modem_in("later fragment of a reply to what was steered", middle(whole()))
            .knowing(&[undone(Ago(1))])
            .marked_as(Fragment, &middle(whole()).destination(WAN)),
        modem_in("first fragment over IPv6", first(whole6())).knowing(&known6).marked(Reply).remembering(&[seen6(Now)]),
        modem_in("later fragment over IPv6", last(whole6())).knowing(&[seen6(Ago(1))]).marked(Fragment),
        modem_in("later fragment over IPv6, the first unknown", last(whole6())).knowing(&known6).dropped(DropFragment),
        modem_in("first fragment over IPv6 of a reply to what was steered", first(whole6()))
            .knowing(&[steered(PEER6, Ago(5), WAN6, 0)])
            .marked_as(Reply, &first(whole6()).destination(WAN6))
            .remembering(&[undone6(Now)]),
        modem_in("later fragment over IPv6 of a reply to what was steered", last(whole6()))
            .knowing(&[undone6(Ago(1))])
            .marked_as(Fragment, &last(whole6()).destination(WAN6)),
        modem_in("first fragment of an ICMP error about ours", error().fragment(IDENT, 0, 64)).knowing(&known).dropped(DropUnsolicited),
        modem_in("later fragment of an ICMP error", error().fragment(IDENT, 64, 640)).knowing(&known).dropped(DropFragment),
    ]
}
