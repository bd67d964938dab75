//! What leaves by the modem through the IP stack (spec: `modem-out`).

use super::{
    closed, from_interface, is_family, is_udp, not_from_interface, not_to_interface, remote,
    renamed, to_interface,
};
use crate::backend::Modem;
use crate::backend::nft::expr::{
    RuleFamily, Stmt, accept, ct, drop, goto, meta, ne, number, update_set,
};
use crate::backend::nft::permits;
use crate::backend::nft::rule_context::{RuleContext, count, neighbour_discovery, payload_shapes};
use crate::backend::nft::table::Table;
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// Before address translation (100): the tunnel is recognised by its own port.
const BEFORE_NAT: i32 = 90;

pub(super) fn postrouting(table: &mut Table, context: RuleContext<'_>) {
    let chain = "postrouting";
    let (kind, hook) = (NfChainType::Filter, NfHook::Postrouting);
    table.base_chain(chain, kind, hook, BEFORE_NAT, None);
    closed::drop_out(table, context, chain, Class::DropFamily);
    table.chain("uplink_out");
    if let Some(modem) = context.modem() {
        let local = count(Hook::ModemOut, Class::DropLocal);
        let [by_number, by_no_name] =
            renamed(MetaKey::Oif, modem.index, not_to_interface(&modem.name));
        table.rule(chain, [by_number, by_no_name, local, drop()]);
        modem_out(table, context, modem);
        tunnel_out(table, context);
        table.rule(chain, [to_interface(&modem.name), goto("modem_out")]);
    }
    let elsewhere = [
        not_to_interface("lo"),
        context.source_is_listen_port(),
        goto("uplink_out"),
    ];
    table.rule(chain, elsewhere);
    // Of another port, which others have given the tunnel: `steer` cannot distinguish it from others'.
    let by_tunnel = [
        not_to_interface("lo"),
        from_interface(&context.guard.tunnel),
        is_udp(),
    ];
    table.rule(chain, by_tunnel.into_iter().chain([goto("uplink_out")]));
}

fn modem_out(table: &mut Table, context: RuleContext<'_>, modem: &Modem) {
    let chain = "modem_out";
    table.chain(chain);
    table.chain("tunnel_out");
    // Forwarded packets are dropped in `forward`; here, too, in case that chain has been flushed. A
    // local packet has come in by no interface, but for WireGuard's, which has come in by the tunnel
    // (`ip_output` takes `skb->dev` for that), and neighbour discovery, by the modem itself.
    let forwarded = [
        ne(meta(MetaKey::Iif), number(0)),
        not_from_interface(&context.guard.tunnel),
        not_from_interface(&modem.name),
        count(Hook::ModemOut, Class::DropForwarded),
        drop(),
    ];
    table.rule(chain, forwarded);
    for family in context.closed_families() {
        let closed = count(Hook::ModemOut, Class::DropFamily);
        table.rule(chain, [is_family(family), closed, drop()]);
    }
    // What WireGuard sends has come in by its interface (`wg_socket_send_skb` sets `skb->dev`); what a
    // program sends that holds the port while WireGuard does not, by none.
    let ours = [
        from_interface(&context.guard.tunnel),
        context.source_is_listen_port(),
        goto("tunnel_out"),
    ];
    table.rule(chain, ours);
    for (family, addr) in context.addrs() {
        for permitted in permits::out(family) {
            table.rule(chain, pass(permitted, Class::Permit, context));
        }
        for mut permitted in permits::echo_out(family) {
            if context.features.egress {
                // How it is known there.
                permitted.push(context.mark_packet());
            }
            table.rule(chain, pass(permitted, Class::Permit, context));
        }
        if family == RuleFamily::V6 {
            let neighbour = pass(neighbour_discovery(), Class::Neighbour, context);
            table.rule(chain, neighbour);
        }
        for request in context.admin_requests(family, addr) {
            table.rule(chain, pass(request, Class::Admin, context));
        }
    }
    let local = count(Hook::ModemOut, Class::DropLocal);
    table.rule(chain, [local, drop()]);
}

/// A rule that lets pass. If the kernel has the egress hook, the packet is counted there, where it is seen
/// as it leaves: in fragments, and together with those that bypass the IP stack.
fn pass(
    parts: impl IntoIterator<Item = Stmt>,
    class: Class,
    context: RuleContext<'_>,
) -> Vec<Stmt> {
    let mut parts: Vec<_> = parts.into_iter().collect();
    if !context.features.egress {
        // The backstop lets nothing else pass.
        parts.push(context.mark_packet());
        parts.push(count(Hook::ModemOut, class));
    }
    parts.push(accept());
    parts
}

fn tunnel_out(table: &mut Table, context: RuleContext<'_>) {
    let chain = "tunnel_out";
    // Only `steer` has marked a packet of this port so far.
    let steered = count(Hook::UplinkOut, Class::Steered);
    table.rule(chain, [context.is_marked(meta(MetaKey::Mark)), steered]);
    table.chain("tunnel_passes");
    for (payload_shape, class) in payload_shapes() {
        let mut parts = payload_shape;
        if !context.features.egress {
            parts.push(count(Hook::ModemOut, class));
        }
        parts.push(goto("tunnel_passes"));
        table.rule(chain, parts);
    }
    let other = count(Hook::ModemOut, Class::DropNotWireguard);
    table.rule(chain, [other, drop()]);

    let chain = "tunnel_passes";
    for (family, _) in context.addrs() {
        let far = remote(family, "daddr", "dport");
        table.rule(chain, [update_set(far, family.remotes())]);
    }
    table.rule(chain, [context.mark_packet(), context.mark(ct("mark"))]);
    table.rule(chain, [accept()]);
}
