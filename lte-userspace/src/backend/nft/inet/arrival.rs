//! Nothing gets in by what the modem is a part of (a bridge, a bond, a VRF), or by what is stacked on it (a
//! VLAN, a macvlan): there the interface is another one, and `prerouting` does not match it.

use super::{from_interface, is_family, not_from_interface, renamed};
use crate::backend::nft::expr::{accept, drop, meta};
use crate::backend::nft::netdev::is_fragment;
use crate::backend::nft::rule_context::{RuleContext, count};
use crate::backend::nft::table::Table;
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// Before anybody else sees or sets a mark, and before reassembly (-400).
const FIRST: i32 = -500;

/// What `netdev ingress` lets pass bears our mark. Other interfaces bring none into this machine.
pub(super) fn arrival(table: &mut Table, context: RuleContext<'_>) {
    let chain = "arrival";
    let (kind, hook) = (NfChainType::Filter, NfHook::Prerouting);
    table.base_chain(chain, kind, hook, FIRST, None);
    let Some(modem) = context.modem() else {
        return;
    };
    // The modem under another name, of which no rule of ours knows yet.
    let counted = count(Hook::ModemIn, Class::DropUnsolicited);
    let [by_number, by_no_name] =
        renamed(MetaKey::Iif, modem.index, not_from_interface(&modem.name));
    table.rule(chain, [by_number, by_no_name, counted, drop()]);
    let marked = || context.is_marked(meta(MetaKey::Mark));
    let elsewhere = || {
        [
            not_from_interface(&modem.name),
            not_from_interface("lo"),
            marked(),
        ]
    };
    for (family, _) in context.addrs() {
        // Fragments are counted already, which their mark says.
        let fragment = || [is_family(family), is_fragment(family)].into_iter();
        let by_modem = [from_interface(&modem.name)].into_iter().chain(fragment());
        table.rule(chain, by_modem.chain([accept()]));
        table.rule(
            chain,
            elsewhere().into_iter().chain(fragment()).chain([drop()]),
        );
    }
    let counted = count(Hook::ModemIn, Class::DropUnsolicited);
    table.rule(chain, elsewhere().into_iter().chain([counted, drop()]));
    table.rule(
        chain,
        [
            from_interface(&modem.name),
            marked(),
            context.unmark_packet(),
        ],
    );
}
