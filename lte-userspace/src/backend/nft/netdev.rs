//! The table `netdev lte_backup`: what goes round the IP stack, on the modem itself.
//!
//! `ingress` lets through to where it is judged what is IP and for the modem's own address, neighbour
//! discovery and ARP, and nothing else: behind it, and before the IP stack, is whatever the modem is a
//! part of (a bridge, a bond) and what is stacked on it (a macvlan, a VLAN). `egress` sees each frame as
//! it leaves, also a packet socket's, and after fragmentation; what the table `inet` has let pass is told
//! by its mark.

use super::expr::{
    Family, Stmt, accept, address, and, drop, eq, exists, field, goto, ipv6_fragment_offset, meta,
    ne, number, text,
};
use super::permits;
use super::table::Table;
use super::terms::{Place, Terms, book, neighbour_discovery, shapes, stays_on_link};
use crate::backend::{LinkHeader, Modem};
use lte_common::headers::numbers::ipv4_fragment;
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfFamily, NfHook};

/// Priority of both chains: before what other tables do on the device.
const FIRST: i32 = -500;
/// The fragment offset in an IPv4 header.
const FRAGMENT_OFFSET: u32 = ipv4_fragment::OFFSET as u32;
/// The same with the flag "more fragments".
const FRAGMENT: u32 = (ipv4_fragment::OFFSET | ipv4_fragment::MORE) as u32;

/// Name of the egress chain. It tells which link header is in the egress counters' bytes: there
/// the kernel counts the frame, everywhere else from the IP header on.
const fn egress_chain(header: LinkHeader) -> &'static str {
    match header {
        LinkHeader::Ethernet => "egress_ethernet",
        LinkHeader::None => "egress_bare",
    }
}

/// Bytes of link header in each packet that an egress chain of this name counts.
pub(super) fn header_len(egress_chain: &str) -> Option<u64> {
    match egress_chain {
        "egress_ethernet" => Some(14),
        "egress_bare" => Some(0),
        _ => None,
    }
}

/// The table.
pub(super) fn table(terms: Terms<'_>) -> Table {
    let mut table = Table::new(NfFamily::NetDev);
    if let Some(modem) = terms.modem() {
        permits::sets(&mut table, terms);
        ingress(&mut table, terms, modem, "ingress");
        if terms.features.egress {
            egress(&mut table, terms, modem, egress_chain(modem.header));
        }
    }
    for (device, guard) in terms.guard.of_closed() {
        let terms = Terms {
            guard: &guard,
            ..terms
        };
        let index = device.index;
        ingress(&mut table, terms, &device, &format!("closed_in_{index}"));
        if terms.features.egress {
            egress(&mut table, terms, &device, &format!("closed_out_{index}"));
        }
    }
    table
}

fn is_protocol(name: &'static str) -> Stmt {
    eq(meta(MetaKey::Protocol), text(name))
}

/// What the link layer says of whom a frame is for.
fn is_for(whom: &'static str) -> Stmt {
    eq(meta(MetaKey::Pkttype), text(whom))
}

/// Any piece of a datagram.
pub(super) fn is_fragment(family: Family) -> Stmt {
    match family {
        Family::V4 => ne(and(field("ip", "frag-off"), FRAGMENT), number(0)),
        Family::V6 => exists("frag"),
    }
}

/// A piece that is not the first.
fn is_later_fragment(family: Family) -> Stmt {
    match family {
        Family::V4 => ne(and(field("ip", "frag-off"), FRAGMENT_OFFSET), number(0)),
        Family::V6 => ne(ipv6_fragment_offset(), number(0)),
    }
}

fn ingress(table: &mut Table, terms: Terms<'_>, modem: &Modem, chain: &str) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Ingress);
    table.base_chain(chain, kind, hook, FIRST, Some(&modem.name));
    for (family, place) in terms.places() {
        let own = ip_in(table, terms, family, place);
        table.rule(chain, [is_protocol(family.header()), goto(own)]);
    }
    for family in terms.closed_families() {
        let closed = book(Hook::ModemIn, Class::DropFamily);
        table.rule(chain, [is_protocol(family.header()), closed, drop()]);
    }
    let others = book(Hook::ModemIn, Class::DropUnsolicited);
    table.rule(chain, [is_protocol("arp"), is_for("other"), others, drop()]);
    let neighbour = book(Hook::ModemIn, Class::Neighbour);
    table.rule(chain, [is_protocol("arp"), neighbour, accept()]);
    let not_ip = book(Hook::ModemIn, Class::DropNotIp);
    table.rule(chain, [not_ip, drop()]);
}

/// The chain of one family; its name. All that passes is marked: `arrival` takes the mark off what the
/// modem hands to the IP stack, and drops what comes there by another interface with it.
fn ip_in(table: &mut Table, terms: Terms<'_>, family: Family, place: Place) -> String {
    let chain = &format!("ip_in{}", family.digit());
    table.chain(chain.clone());
    let unsolicited = || book(Hook::ModemIn, Class::DropUnsolicited);
    // Another machine's: the IP stack takes none, a bridge would.
    table.rule(chain, [is_for("other"), unsolicited(), drop()]);
    let here = || eq(field(family.header(), "daddr"), address(place.address));
    // Pieces are booked here, where each is seen; judged they are as a whole, after the stack has put
    // them together, which the mark outlasts.
    let piece = || book(Hook::ModemIn, Class::Fragment);
    let ours = [is_fragment(family), here(), terms.mark_packet(), piece()];
    table.rule(chain, ours.into_iter().chain([accept()]));
    table.rule(chain, [is_fragment(family), piece(), drop()]);
    table.rule(chain, [here(), terms.mark_packet(), accept()]);
    let mut others = vec![permits::answers_of_any(family)];
    if family == Family::V6 {
        let neighbour = [stays_on_link()].into_iter().chain(neighbour_discovery());
        others.push(neighbour.collect());
    }
    for other in others {
        let passes = [terms.mark_packet(), accept()];
        table.rule(chain, other.into_iter().chain(passes));
    }
    let stranger = book(Hook::ModemIn, Class::DropStranger);
    table.rule(chain, [terms.to_port(), stranger, drop()]);
    table.rule(chain, [unsolicited(), drop()]);
    chain.clone()
}

fn egress(table: &mut Table, terms: Terms<'_>, modem: &Modem, chain: &str) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Egress);
    table.base_chain(chain, kind, hook, FIRST, Some(&modem.name));
    // What this machine itself sends is for nobody else in the link layer's eyes. What a bridge hands on
    // still is for whom it came in.
    let bridged = book(Hook::ModemOut, Class::DropForwarded);
    for whom in ["other", "broadcast", "multicast"] {
        table.rule(chain, [is_for(whom), bridged.clone(), drop()]);
    }
    if terms.places().next().is_some() {
        table.chain("tunnel_out");
    }
    for (family, place) in terms.places() {
        let own = modem_out(table, terms, family, place);
        table.rule(chain, [is_protocol(family.header()), goto(own)]);
    }
    for family in terms.closed_families() {
        let closed = book(Hook::ModemOut, Class::DropFamily);
        table.rule(chain, [is_protocol(family.header()), closed, drop()]);
    }
    if modem.header == LinkHeader::Ethernet {
        // By the frame's own word: from some kernel on `meta protocol` looks behind a VLAN tag.
        let arp = eq(field("ether", "type"), text("arp"));
        let neighbour = book(Hook::ModemOut, Class::Neighbour);
        table.rule(chain, [arp, neighbour, accept()]);
    }
    let not_ip = book(Hook::ModemOut, Class::DropNotIp);
    table.rule(chain, [not_ip, drop()]);
    if terms.places().next().is_some() {
        tunnel_out(table, terms);
    }
}

fn tunnel_out(table: &mut Table, terms: Terms<'_>) {
    for (shape, class) in shapes() {
        let verdict = [terms.mark_packet(), book(Hook::ModemOut, class), accept()];
        table.rule("tunnel_out", shape.into_iter().chain(verdict));
    }
    let other = book(Hook::ModemOut, Class::DropNotWireguard);
    table.rule("tunnel_out", [other, drop()]);
}

/// The chain of one family; its name.
fn modem_out(table: &mut Table, terms: Terms<'_>, family: Family, place: Place) -> String {
    let chain = &format!("modem_out{}", family.digit());
    table.chain(chain.clone());
    let marked = || terms.is_marked(meta(MetaKey::Mark));
    let later = || is_later_fragment(family);
    let fragment = book(Hook::ModemOut, Class::Fragment);
    table.rule(chain, [later(), marked(), fragment, accept()]);
    let stray = book(Hook::ModemOut, Class::DropFragment);
    table.rule(chain, [later(), stray, drop()]);

    // The tunnel, also where another table has changed its mark since,
    let source = eq(field(family.header(), "saddr"), address(place.address));
    table.rule(chain, [source, terms.of_port(), goto("tunnel_out")]);
    // or, longer ago than the guard is there, its port.
    let udp = eq(meta(MetaKey::L4proto), text("udp"));
    table.rule(chain, [marked(), udp, goto("tunnel_out")]);

    let permitted = permits::out(family).into_iter();
    for permitted in permitted.chain([permits::is_marked_echo(terms, family)]) {
        let permit = [
            terms.mark_packet(),
            book(Hook::ModemOut, Class::Permit),
            accept(),
        ];
        table.rule(chain, permitted.into_iter().chain(permit));
    }
    if family == Family::V6 {
        let neighbour = [
            terms.mark_packet(),
            book(Hook::ModemOut, Class::Neighbour),
            accept(),
        ];
        let parts = neighbour_discovery().into_iter().chain(neighbour);
        table.rule(chain, parts);
    }
    for question in terms.questions(family, place) {
        let admin = [
            terms.mark_packet(),
            book(Hook::ModemOut, Class::Admin),
            accept(),
        ];
        table.rule(chain, question.into_iter().chain(admin));
    }
    let local = book(Hook::ModemOut, Class::DropLocal);
    table.rule(chain, [local, drop()]);
    chain.clone()
}
