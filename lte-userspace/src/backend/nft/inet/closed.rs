//! Devices that are kept closed: what the table `netdev` sees of them it drops, where the kernel has the
//! hook. Here is what goes through the IP stack.

use super::{from_interface, to_interface};
use crate::backend::nft::expr::drop;
use crate::backend::nft::rule_context::{RuleContext, count};
use crate::backend::nft::table::Table;
use lte_common::policy::{Class, Hook};

/// Nothing leaves by them.
pub(super) fn drop_out(table: &mut Table, context: RuleContext<'_>, chain: &str, class: Class) {
    for device in context.guard.closed.values() {
        let counted = count(Hook::ModemOut, class);
        table.rule(chain, [to_interface(&device.name), counted, drop()]);
    }
}

/// Nothing enters by them.
pub(super) fn drop_in(table: &mut Table, context: RuleContext<'_>, chain: &str) {
    for device in context.guard.closed.values() {
        let counted = count(Hook::ModemIn, Class::DropFamily);
        table.rule(chain, [from_interface(&device.name), counted, drop()]);
    }
}
