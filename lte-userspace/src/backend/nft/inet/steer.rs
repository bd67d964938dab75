//! The tunnel's packets that would go another way (spec: `uplink-out`, `only-the-modem`).

use super::{RAW, is_family, not_to_interface, to_interface};
use crate::backend::nft::expr::{
    RuleFamily, accept, address, drop, eq, field, goto, meta, ne, number, set, source_kind,
    source_nat, text,
};
use crate::backend::nft::rule_context::{RuleContext, count};
use crate::backend::nft::table::Table;
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// After what other tables do to marks in output.
const AFTER_OTHERS: i32 = 200;
/// Before other tables' chains of address translation (100).
const BEFORE_OTHERS_NAT: i32 = 95;

/// Local packets, before and after other tables have had their hands on them.
///
/// The first chain comes before connection tracking, so that this sees the packet as it leaves.
/// Did it see the uplink's address and translate it, the flow would clash with its own older
/// entry, and conntrack would give it another source port.
pub(super) fn output(table: &mut Table, context: RuleContext<'_>) {
    for (name, priority) in [("output", RAW), ("output_late", AFTER_OTHERS)] {
        let (kind, hook) = (NfChainType::Route, NfHook::Output);
        table.base_chain(name, kind, hook, priority, None);
    }
    table.chain("steer");
    for chain in ["output", "output_late"] {
        // By the port alone: it is not translated yet, and the interface that WireGuard's packets have
        // come in by is not compared here. `modem_out` does that.
        let tunnel = [
            not_to_interface("lo"),
            context.source_is_listen_port(),
            goto("steer"),
        ];
        table.rule(chain, tunnel);
    }
    for family in RuleFamily::BOTH {
        let source = || field(family.header(), "saddr");
        match (context.modem(), context.addr(family)) {
            (Some(modem), Some(addr)) => {
                let here = || address(addr.address);
                let by_modem = to_interface(&modem.name);
                // On its way already: a mark would only make the kernel look for it again. Where
                // another table has set one, the kernel may have, and found another.
                let unmarked = eq(meta(MetaKey::Mark), number(0));
                table.rule(
                    "steer",
                    [by_modem, unmarked, eq(source(), here()), accept()],
                );
                table.rule("steer", [ne(source(), here()), set(source(), here())]);
            }
            (modem, _) => {
                let gone = count(Hook::UplinkOut, Class::DropModemGone);
                let mut rule = vec![is_family(family)];
                // On the modem itself it is of a family that is dropped there.
                rule.extend(modem.map(|modem| not_to_interface(&modem.name)));
                rule.extend([gone, drop()]);
                table.rule("steer", rule);
            }
        }
    }
    // A new mark, or a new source, makes the kernel look the route up again.
    table.rule("steer", [context.mark_packet()]);
}

/// What should have been steered and has found no way to the modem.
///
/// In postrouting local and forwarded packets are together. A local one has a source address of
/// this machine, or has been given the modem's, which need not be there any more.
pub(super) fn uplink_out(table: &mut Table, context: RuleContext<'_>) {
    let chain = "uplink_out";
    let gone = || count(Hook::UplinkOut, Class::DropModemGone);
    for (family, addr) in context.addrs() {
        let modem = eq(field(family.header(), "saddr"), address(addr.address));
        table.rule(chain, [modem, gone(), drop()]);
    }
    let local = eq(source_kind(), text("local"));
    table.rule(chain, [local, gone(), drop()]);
}

/// Translates the source of the tunnel's flows to what it is already. Of all chains of address
/// translation the first that decides on a flow is the only one: so another table's masquerade,
/// which could give it a random port, is not asked.
pub(super) fn pin_source(table: &mut Table, context: RuleContext<'_>) {
    let chain = "pin_source";
    let (kind, hook) = (NfChainType::NAT, NfHook::Postrouting);
    table.base_chain(chain, kind, hook, BEFORE_OTHERS_NAT, None);
    let Some(modem) = context.modem() else {
        return;
    };
    for (family, addr) in context.addrs() {
        let by_modem = to_interface(&modem.name);
        let nat = source_nat(family, addr.address);
        table.rule(
            chain,
            [
                is_family(family),
                by_modem,
                context.source_is_listen_port(),
                nat,
            ],
        );
    }
}
