//! What enters by the modem (spec: `modem-in`, `replies-only`), after connection tracking and before the
//! route is looked up, which is when a strict filter looks at the mark.

use super::{MANGLE, came_by, closed, is_of, is_udp, remote};
use crate::backend::nft::expr::{
    Family, Stmt, accept, address, any_of, ct, ct_original, drop, eq, field, goto, has, known,
    meta, number, text,
};
use crate::backend::nft::permits;
use crate::backend::nft::table::Table;
use crate::backend::nft::terms::{Place, Terms, book, neighbour_discovery, stays_on_link};
use lte_common::headers::icmp_kind;
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// What can become of a packet here, and whether it passes.
const FATES: [(Class, bool); 8] = [
    (Class::Reply, true),
    (Class::IcmpError, true),
    (Class::Admin, true),
    (Class::Neighbour, true),
    (Class::Permit, true),
    (Class::DropStranger, false),
    (Class::DropUnsolicited, false),
    (Class::DropFamily, false),
];

pub(super) fn prerouting(table: &mut Table, terms: Terms<'_>) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Prerouting);
    table.base_chain("prerouting", kind, hook, MANGLE, None);
    closed::into(table, terms, "prerouting");
    let Some(modem) = terms.modem() else {
        return;
    };
    for (class, passes) in FATES {
        fate(table, terms, class, passes);
    }
    for (family, place) in terms.places() {
        modem_in(table, terms, family, place);
    }
    table.chain("modem_in");
    for (family, _) in terms.places() {
        table.rule("modem_in", [is_of(family), goto(chain_of(family))]);
    }
    table.rule("modem_in", [to(Class::DropFamily)]);
    table.rule("prerouting", [came_by(&modem.name), goto("modem_in")]);
}

fn chain_of(family: Family) -> String {
    format!("modem_in{}", family.digit())
}

fn chain_for(class: Class) -> String {
    format!("in_{}", class.name())
}

/// Sends a packet to its fate.
fn to(class: Class) -> Stmt {
    goto(chain_for(class))
}

/// A chain in which a packet meets its fate. One that came in pieces was marked and booked piece
/// by piece, by `ingress`: here it is whole, and is not booked again.
fn fate(table: &mut Table, terms: Terms<'_>, class: Class, passes: bool) {
    let chain = chain_for(class);
    let verdict = || if passes { accept() } else { drop() };
    table.chain(chain.clone());
    let marked = terms.is_marked(meta(MetaKey::Mark));
    table.rule(chain.clone(), [marked, verdict()]);
    let booked = book(Hook::ModemIn, class);
    // Of neighbours no reverse path is looked up.
    let is_marked = passes && class != Class::Neighbour;
    let mark = is_marked.then(|| terms.mark_packet());
    let parts = [booked].into_iter().chain(mark).chain([verdict()]);
    table.rule(chain, parts);
}

fn modem_in(table: &mut Table, terms: Terms<'_>, family: Family, place: Place) {
    let chain = &chain_of(family);
    table.chain(chain.clone());
    let to_modem = || eq(field(family.header(), "daddr"), address(place.address));
    let from_remote = || known(remote(family, "saddr", "sport"), family.remotes());
    let of_our_flow = || terms.is_marked(ct("mark"));
    let is_answer = || eq(ct("direction"), text("reply"));

    let reply = [to_modem(), terms.to_port(), from_remote()];
    table.rule(chain, reply.into_iter().chain([to(Class::Reply)]));
    // To a port that address translation older than the guard has given the tunnel.
    let port = number(terms.guard.listen_port.into());
    let altered = [
        to_modem(),
        is_udp(),
        is_answer(),
        of_our_flow(),
        eq(ct_original("proto-src"), port),
        from_remote(),
    ];
    table.rule(chain, altered.into_iter().chain([to(Class::Reply)]));
    let astray = [terms.to_port(), from_remote(), to(Class::DropUnsolicited)];
    table.rule(chain, astray);
    table.rule(chain, [terms.to_port(), to(Class::DropStranger)]);

    let kinds = match family {
        Family::V4 => any_of(icmp_kind::PATH_ERRORS.map(u32::from)),
        Family::V6 => any_of(icmp_kind::PATH_ERRORS_V6.map(u32::from)),
    };
    // Of an ICMP error conntrack knows the flow of the packet that it quotes.
    let error = [
        to_modem(),
        eq(field(family.icmp(), "type"), kinds),
        has(ct("state"), text("related")),
        of_our_flow(),
        to(Class::IcmpError),
    ];
    table.rule(chain, error);

    if family == Family::V6 {
        for whom in [to_modem(), stays_on_link()] {
            let neighbour = [whom].into_iter().chain(neighbour_discovery());
            table.rule(chain, neighbour.chain([to(Class::Neighbour)]));
        }
    }
    let permitted = permits::answers(family, to_modem()).into_iter();
    for answer in permitted.chain(permits::echo_answers(family, to_modem())) {
        table.rule(chain, answer.into_iter().chain([to(Class::Permit)]));
    }
    for answer in terms.answers(family, place) {
        let established = has(ct("state"), text("established"));
        let asked = [to_modem(), is_answer(), established];
        let all = asked.into_iter().chain(answer);
        table.rule(chain, all.chain([to(Class::Admin)]));
    }
    table.rule(chain, [to(Class::DropUnsolicited)]);
}
