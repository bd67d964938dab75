//! The table `netdev lte_backup`: what goes round the IP stack, on the modem itself.
//!
//! `ingress` lets IP and ARP through to where they are judged, and nothing else. `egress` sees
//! each frame as it leaves, also a packet socket's, and after fragmentation; what the table
//! `inet` has let pass is told by its mark.

use super::expr::{
    Family, accept, address, and, any_of, drop, eq, field, goto, ipv6_fragment_offset, meta, ne,
    number, set_mark, text,
};
use super::inet::{NEIGHBOUR_DISCOVERY, book, place, questions, shapes};
use super::ruleset::Features;
use super::table::Table;
use crate::backend::{Guard, LinkHeader, Modem};
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfFamily, NfHook};

/// Priority of both chains: before what other tables do on the device.
const FIRST: i32 = -500;
/// The fragment offset in an IPv4 header's word of flags and offset (RFC 791, 3.1).
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// Name of the egress chain. It tells which link header is in the egress counters' bytes: there
/// the kernel counts the frame, everywhere else from the IP header on.
pub(super) const fn egress_chain(header: LinkHeader) -> &'static str {
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
pub(super) fn table(guard: &Guard, features: Features) -> Table {
    let mut table = Table::new(NfFamily::NetDev);
    if let Some(modem) = &guard.modem {
        ingress(&mut table, modem);
        if features.egress {
            egress(&mut table, guard, modem);
        }
    }
    table
}

const fn ethertype(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn ingress(table: &mut Table, modem: &Modem) {
    let chain = "ingress";
    table.base_chain(
        chain,
        NfChainType::Filter,
        NfHook::Ingress,
        FIRST,
        Some(&modem.name),
    );
    let protocol = |name: &str| eq(meta(MetaKey::Protocol), text(name));
    for family in Family::BOTH {
        let is_family = protocol(ethertype(family));
        if place(modem, family).is_some() {
            table.rule(chain, [is_family, accept()]);
        } else {
            let no_family = book(Hook::ModemIn, Class::DropFamily);
            table.rule(chain, [is_family, no_family, drop()]);
        }
    }
    let neighbour = book(Hook::ModemIn, Class::Neighbour);
    table.rule(chain, [protocol("arp"), neighbour, accept()]);
    let not_ip = book(Hook::ModemIn, Class::DropNotIp);
    table.rule(chain, [not_ip, drop()]);
}

fn egress(table: &mut Table, guard: &Guard, modem: &Modem) {
    let chain = egress_chain(modem.header);
    table.base_chain(
        chain,
        NfChainType::Filter,
        NfHook::Egress,
        FIRST,
        Some(&modem.name),
    );
    table.chain("tunnel_out");
    let protocol = |name: &str| eq(meta(MetaKey::Protocol), text(name));
    for family in Family::BOTH {
        if place(modem, family).is_some() {
            let own = format!("modem_out{}", family.digit());
            table.chain(own.clone());
            table.rule(chain, [protocol(ethertype(family)), goto(own.clone())]);
            modem_out(table, guard, modem, family, &own);
        } else {
            let no_family = book(Hook::ModemOut, Class::DropFamily);
            table.rule(chain, [protocol(ethertype(family)), no_family, drop()]);
        }
    }
    let neighbour = book(Hook::ModemOut, Class::Neighbour);
    table.rule(chain, [protocol("arp"), neighbour, accept()]);
    let not_ip = book(Hook::ModemOut, Class::DropNotIp);
    table.rule(chain, [not_ip, drop()]);

    for (shape, class) in shapes() {
        let mut parts = shape;
        parts.extend([book(Hook::ModemOut, class), accept()]);
        table.rule("tunnel_out", parts);
    }
    let other = book(Hook::ModemOut, Class::DropNotWireguard);
    table.rule("tunnel_out", [other, drop()]);
}

fn modem_out(table: &mut Table, guard: &Guard, modem: &Modem, family: Family, chain: &str) {
    let Some(place) = place(modem, family) else {
        return;
    };
    let marked = || eq(and(meta(MetaKey::Mark), guard.mask), number(guard.mark));
    let later = || match family {
        Family::V4 => ne(and(field("ip", "frag-off"), FRAGMENT_OFFSET), number(0)),
        Family::V6 => ne(ipv6_fragment_offset(), number(0)),
    };
    let fragment = book(Hook::ModemOut, Class::Fragment);
    table.rule(chain, [later(), marked(), fragment, accept()]);
    let stray = book(Hook::ModemOut, Class::DropFragment);
    table.rule(chain, [later(), stray, drop()]);

    let source = eq(field(family.header(), "saddr"), address(place.address));
    let udp = || eq(meta(MetaKey::L4proto), text("udp"));
    let port = eq(field("udp", "sport"), number(guard.listen_port.into()));
    // The tunnel, whatever another table has done to its mark since, or to its port before.
    let mark = set_mark(meta(MetaKey::Mark), guard.mark, guard.mask);
    table.rule(chain, [source, port, mark, goto("tunnel_out")]);
    table.rule(chain, [marked(), udp(), goto("tunnel_out")]);

    if family == Family::V6 {
        let hops = eq(field("ip6", "hoplimit"), number(255));
        let kind = eq(field("icmpv6", "type"), any_of(NEIGHBOUR_DISCOVERY));
        let neighbour = book(Hook::ModemOut, Class::Neighbour);
        table.rule(chain, [hops, kind, neighbour, accept()]);
    }
    for question in questions(family, place, &guard.admin_ports) {
        let mut parts = question;
        parts.extend([book(Hook::ModemOut, Class::Admin), accept()]);
        table.rule(chain, parts);
    }
    let local = book(Hook::ModemOut, Class::DropLocal);
    table.rule(chain, [local, drop()]);
}
