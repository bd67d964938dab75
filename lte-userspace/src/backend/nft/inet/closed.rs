//! Devices that are kept closed: what the table `netdev` sees of them it drops, where the kernel has the
//! hook. Here is what goes through the IP stack.

use super::{came_by, leaves_by};
use crate::backend::nft::expr::drop;
use crate::backend::nft::table::Table;
use crate::backend::nft::terms::{Terms, book};
use lte_common::policy::{Class, Hook};

/// Nothing leaves by them.
pub(super) fn out(table: &mut Table, terms: Terms<'_>, chain: &str, class: Class) {
    for device in terms.guard.closed.values() {
        let booked = book(Hook::ModemOut, class);
        table.rule(chain, [leaves_by(&device.name), booked, drop()]);
    }
}

/// Nothing enters by them.
pub(super) fn into(table: &mut Table, terms: Terms<'_>, chain: &str) {
    for device in terms.guard.closed.values() {
        let booked = book(Hook::ModemIn, Class::DropFamily);
        table.rule(chain, [came_by(&device.name), booked, drop()]);
    }
}
