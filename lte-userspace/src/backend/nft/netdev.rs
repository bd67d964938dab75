//! The table `netdev lte_backup`: what goes round the IP stack, on the modem itself.
//!
//! `ingress` lets through to where it is judged what is IP and for the modem's own address, neighbour
//! discovery and ARP, and nothing else: behind it, and before the IP stack, is whatever the modem is a
//! part of (a bridge, a bond) and what is stacked on it (a macvlan, a VLAN). `egress` sees each frame as
//! it leaves, also a packet socket's, and after fragmentation; what the table `inet` has let pass is recognised
//! by its mark.

use super::expr::{
    RuleFamily, Stmt, accept, address, and, drop, eq, exists, field, goto, ipv6_fragment_offset,
    meta, ne, number, text,
};
use super::permits;
use super::rule_context::{
    ErasedAddr, RuleContext, count, neighbour_discovery, payload_shapes, stays_on_link,
};
use super::table::Table;
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

/// Name of the egress chain. It says which link header is in the egress counters' bytes: there
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
pub(super) fn table(context: RuleContext<'_>) -> Table {
    let mut table = Table::new(NfFamily::NetDev);
    if let Some(modem) = context.modem() {
        permits::sets(&mut table, context);
        ingress(&mut table, context, modem, "ingress");
        if context.features.egress {
            egress(&mut table, context, modem, egress_chain(modem.header));
        }
    }
    for (device, guard) in context.guard.closed_devices() {
        let context = RuleContext {
            guard: &guard,
            ..context
        };
        let index = device.index;
        ingress(&mut table, context, &device, &format!("closed_in_{index}"));
        if context.features.egress {
            egress(&mut table, context, &device, &format!("closed_out_{index}"));
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

/// Any fragment of a datagram.
pub(super) fn is_fragment(family: RuleFamily) -> Stmt {
    match family {
        RuleFamily::V4 => ne(and(field("ip", "frag-off"), FRAGMENT), number(0)),
        RuleFamily::V6 => exists("frag"),
    }
}

/// A later fragment.
fn is_later_fragment(family: RuleFamily) -> Stmt {
    match family {
        RuleFamily::V4 => ne(and(field("ip", "frag-off"), FRAGMENT_OFFSET), number(0)),
        RuleFamily::V6 => ne(ipv6_fragment_offset(), number(0)),
    }
}

fn ingress(table: &mut Table, context: RuleContext<'_>, modem: &Modem, chain: &str) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Ingress);
    table.base_chain(chain, kind, hook, FIRST, Some(&modem.name));
    for (family, addr) in context.addrs() {
        let own = ip_in(table, context, family, addr);
        table.rule(chain, [is_protocol(family.header()), goto(own)]);
    }
    for family in context.closed_families() {
        let closed = count(Hook::ModemIn, Class::DropFamily);
        table.rule(chain, [is_protocol(family.header()), closed, drop()]);
    }
    let others = count(Hook::ModemIn, Class::DropUnsolicited);
    table.rule(chain, [is_protocol("arp"), is_for("other"), others, drop()]);
    let neighbour = count(Hook::ModemIn, Class::Neighbour);
    table.rule(chain, [is_protocol("arp"), neighbour, accept()]);
    let not_ip = count(Hook::ModemIn, Class::DropNotIp);
    table.rule(chain, [not_ip, drop()]);
}

/// The chain of one family; its name. All that passes is marked: `arrival` takes the mark off what the
/// modem hands to the IP stack, and drops what comes there by another interface with it.
fn ip_in(
    table: &mut Table,
    context: RuleContext<'_>,
    family: RuleFamily,
    addr: ErasedAddr,
) -> String {
    let chain = &format!("ip_in{}", family.digit());
    table.chain(chain.clone());
    let unsolicited = || count(Hook::ModemIn, Class::DropUnsolicited);
    // Another machine's: the IP stack takes none, a bridge would.
    table.rule(chain, [is_for("other"), unsolicited(), drop()]);
    let here = || eq(field(family.header(), "daddr"), address(addr.address));
    // Fragments are counted here, where each is seen; their datagram is judged after reassembly, which
    // keeps the mark.
    let fragment = || count(Hook::ModemIn, Class::Fragment);
    let ours = [
        is_fragment(family),
        here(),
        context.mark_packet(),
        fragment(),
    ];
    table.rule(chain, ours.into_iter().chain([accept()]));
    table.rule(chain, [is_fragment(family), fragment(), drop()]);
    table.rule(chain, [here(), context.mark_packet(), accept()]);
    let mut others = vec![permits::answers_of_any(family)];
    if family == RuleFamily::V6 {
        let neighbour = [stays_on_link()].into_iter().chain(neighbour_discovery());
        others.push(neighbour.collect());
    }
    for other in others {
        let passes = [context.mark_packet(), accept()];
        table.rule(chain, other.into_iter().chain(passes));
    }
    let stranger = count(Hook::ModemIn, Class::DropStranger);
    table.rule(
        chain,
        [context.destination_is_listen_port(), stranger, drop()],
    );
    table.rule(chain, [unsolicited(), drop()]);
    chain.clone()
}

fn egress(table: &mut Table, context: RuleContext<'_>, modem: &Modem, chain: &str) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Egress);
    table.base_chain(chain, kind, hook, FIRST, Some(&modem.name));
    // What this machine itself sends has the packet type `host`. What a bridge hands on
    // still is for whom it came in.
    let bridged = count(Hook::ModemOut, Class::DropForwarded);
    for whom in ["other", "broadcast", "multicast"] {
        table.rule(chain, [is_for(whom), bridged.clone(), drop()]);
    }
    if context.addrs().next().is_some() {
        table.chain("tunnel_out");
    }
    for (family, addr) in context.addrs() {
        let own = modem_out(table, context, family, addr);
        table.rule(chain, [is_protocol(family.header()), goto(own)]);
    }
    for family in context.closed_families() {
        let closed = count(Hook::ModemOut, Class::DropFamily);
        table.rule(chain, [is_protocol(family.header()), closed, drop()]);
    }
    if modem.header == LinkHeader::Ethernet {
        // By the frame's own word: from some kernel on `meta protocol` looks behind a VLAN tag.
        let arp = eq(field("ether", "type"), text("arp"));
        let neighbour = count(Hook::ModemOut, Class::Neighbour);
        table.rule(chain, [arp, neighbour, accept()]);
    }
    let not_ip = count(Hook::ModemOut, Class::DropNotIp);
    table.rule(chain, [not_ip, drop()]);
    if context.addrs().next().is_some() {
        tunnel_out(table, context);
    }
}

fn tunnel_out(table: &mut Table, context: RuleContext<'_>) {
    for (payload_shape, class) in payload_shapes() {
        let verdict = [
            context.mark_packet(),
            count(Hook::ModemOut, class),
            accept(),
        ];
        table.rule("tunnel_out", payload_shape.into_iter().chain(verdict));
    }
    let other = count(Hook::ModemOut, Class::DropNotWireguard);
    table.rule("tunnel_out", [other, drop()]);
}

/// The chain of one family; its name.
fn modem_out(
    table: &mut Table,
    context: RuleContext<'_>,
    family: RuleFamily,
    addr: ErasedAddr,
) -> String {
    let chain = &format!("modem_out{}", family.digit());
    table.chain(chain.clone());
    let marked = || context.is_marked(meta(MetaKey::Mark));
    let later = || is_later_fragment(family);
    let fragment = count(Hook::ModemOut, Class::Fragment);
    table.rule(chain, [later(), marked(), fragment, accept()]);
    let stray = count(Hook::ModemOut, Class::DropFragment);
    table.rule(chain, [later(), stray, drop()]);

    // The tunnel, also where another table has changed its mark since,
    let source = eq(field(family.header(), "saddr"), address(addr.address));
    table.rule(
        chain,
        [source, context.source_is_listen_port(), goto("tunnel_out")],
    );
    // or, longer ago than the guard is there, its port.
    let udp = eq(meta(MetaKey::L4proto), text("udp"));
    table.rule(chain, [marked(), udp, goto("tunnel_out")]);

    let permitted = permits::out(family).into_iter();
    for permitted in permitted.chain([permits::is_marked_echo(context, family)]) {
        let permit = [
            context.mark_packet(),
            count(Hook::ModemOut, Class::Permit),
            accept(),
        ];
        table.rule(chain, permitted.into_iter().chain(permit));
    }
    if family == RuleFamily::V6 {
        let neighbour = [
            context.mark_packet(),
            count(Hook::ModemOut, Class::Neighbour),
            accept(),
        ];
        let parts = neighbour_discovery().into_iter().chain(neighbour);
        table.rule(chain, parts);
    }
    for request in context.admin_requests(family, addr) {
        let admin = [
            context.mark_packet(),
            count(Hook::ModemOut, Class::Admin),
            accept(),
        ];
        table.rule(chain, request.into_iter().chain(admin));
    }
    let local = count(Hook::ModemOut, Class::DropLocal);
    table.rule(chain, [local, drop()]);
    chain.clone()
}
