//! What leaves by the modem through the IP stack (spec: `modem-out`).

use super::{
    came_by, came_not_by, closed, is_of, is_udp, leaves_by, leaves_not_by, remote, renamed,
};
use crate::backend::Modem;
use crate::backend::nft::expr::{Family, Stmt, accept, ct, drop, goto, meta, ne, number, remember};
use crate::backend::nft::permits;
use crate::backend::nft::table::Table;
use crate::backend::nft::terms::{Terms, book, neighbour_discovery, shapes};
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// Before address translation (100): the tunnel is told by its own port.
const BEFORE_NAT: i32 = 90;

pub(super) fn postrouting(table: &mut Table, terms: Terms<'_>) {
    let chain = "postrouting";
    let (kind, hook) = (NfChainType::Filter, NfHook::Postrouting);
    table.base_chain(chain, kind, hook, BEFORE_NAT, None);
    closed::out(table, terms, chain, Class::DropFamily);
    table.chain("uplink_out");
    if let Some(modem) = terms.modem() {
        let local = book(Hook::ModemOut, Class::DropLocal);
        let [by_number, by_no_name] =
            renamed(MetaKey::Oif, modem.index, leaves_not_by(&modem.name));
        table.rule(chain, [by_number, by_no_name, local, drop()]);
        modem_out(table, terms, modem);
        tunnel_out(table, terms);
        table.rule(chain, [leaves_by(&modem.name), goto("modem_out")]);
    }
    let elsewhere = [leaves_not_by("lo"), terms.of_port(), goto("uplink_out")];
    table.rule(chain, elsewhere);
    // Of another port, which somebody has given the tunnel: `steer` cannot tell it from others'.
    let by_tunnel = [leaves_not_by("lo"), came_by(&terms.guard.tunnel), is_udp()];
    table.rule(chain, by_tunnel.into_iter().chain([goto("uplink_out")]));
}

fn modem_out(table: &mut Table, terms: Terms<'_>, modem: &Modem) {
    let chain = "modem_out";
    table.chain(chain);
    table.chain("tunnel_out");
    // Forwarded packets are dropped in `forward`; here, too, should somebody have emptied that. A
    // local packet has come in by no interface, but for WireGuard's, which has come in by the tunnel
    // (`ip_output` takes `skb->dev` for that), and neighbour discovery, by the modem itself.
    let forwarded = [
        ne(meta(MetaKey::Iif), number(0)),
        came_not_by(&terms.guard.tunnel),
        came_not_by(&modem.name),
        book(Hook::ModemOut, Class::DropForwarded),
        drop(),
    ];
    table.rule(chain, forwarded);
    for family in terms.closed_families() {
        let closed = book(Hook::ModemOut, Class::DropFamily);
        table.rule(chain, [is_of(family), closed, drop()]);
    }
    // What WireGuard sends has come in by its interface (`wg_socket_send_skb` sets `skb->dev`); what a
    // program sends that holds the port while WireGuard does not, by none.
    let ours = [
        came_by(&terms.guard.tunnel),
        terms.of_port(),
        goto("tunnel_out"),
    ];
    table.rule(chain, ours);
    for (family, place) in terms.places() {
        for permitted in permits::out(family) {
            table.rule(chain, pass(permitted, Class::Permit, terms));
        }
        for mut permitted in permits::echo_out(family) {
            if terms.features.egress {
                // How it is known there.
                permitted.push(terms.mark_packet());
            }
            table.rule(chain, pass(permitted, Class::Permit, terms));
        }
        if family == Family::V6 {
            let neighbour = pass(neighbour_discovery(), Class::Neighbour, terms);
            table.rule(chain, neighbour);
        }
        for question in terms.questions(family, place) {
            table.rule(chain, pass(question, Class::Admin, terms));
        }
    }
    let local = book(Hook::ModemOut, Class::DropLocal);
    table.rule(chain, [local, drop()]);
}

/// A rule that lets pass. Where the kernel has the egress hook the packet is booked there, where
/// it is seen as it leaves: in pieces, and together with those that go round the IP stack.
fn pass(parts: impl IntoIterator<Item = Stmt>, class: Class, terms: Terms<'_>) -> Vec<Stmt> {
    let mut parts: Vec<_> = parts.into_iter().collect();
    if !terms.features.egress {
        // What lies below the guard lets nothing else pass.
        parts.push(terms.mark_packet());
        parts.push(book(Hook::ModemOut, class));
    }
    parts.push(accept());
    parts
}

fn tunnel_out(table: &mut Table, terms: Terms<'_>) {
    let chain = "tunnel_out";
    // Nobody but `steer` has marked a packet of this port so far.
    let steered = book(Hook::UplinkOut, Class::Steered);
    table.rule(chain, [terms.is_marked(meta(MetaKey::Mark)), steered]);
    table.chain("tunnel_passes");
    for (shape, class) in shapes() {
        let mut parts = shape;
        if !terms.features.egress {
            parts.push(book(Hook::ModemOut, class));
        }
        parts.push(goto("tunnel_passes"));
        table.rule(chain, parts);
    }
    let other = book(Hook::ModemOut, Class::DropNotWireguard);
    table.rule(chain, [other, drop()]);

    let chain = "tunnel_passes";
    for (family, _) in terms.places() {
        let far = remote(family, "daddr", "dport");
        table.rule(chain, [remember(far, family.remotes())]);
    }
    table.rule(chain, [terms.mark_packet(), terms.mark(ct("mark"))]);
    table.rule(chain, [accept()]);
}
