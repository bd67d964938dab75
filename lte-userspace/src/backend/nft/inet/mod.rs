//! The table `inet lte_backup`: what goes through the IP stack.
//!
//! | chain | what it does |
//! | --- | --- |
//! | `output`, `output_late` | gives the tunnel's packets that would go another way, or under another name, the modem's source address and the mark, and so a new route |
//! | `postrouting` | on the modem: spec: `modem-out`; elsewhere: drops the tunnel |
//! | `pin_source` | keeps other tables' address translation off the tunnel |
//! | `forward` | nothing passes through this machine to or from the modem |
//! | `arrival` | drops what has come in by the modem and is handed to the IP stack by another interface |
//! | `prerouting` | from the modem: marks what is let in, before the reverse-path check; drops the rest |

mod arrival;
mod closed;
mod modem_in;
mod modem_out;
mod steer;

use super::expr::{Expr, Family, Stmt, concat, drop, eq, field, meta, ne, number, text};
use super::permits;
use super::table::Table;
use super::terms::{Terms, book};
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::schema::SetType;
use nftables::types::{NfChainType, NfFamily, NfHook};
use std::time::Duration;

/// Before connection tracking (-200).
const RAW: i32 = -300;
/// After connection tracking, before the route of what came in is looked up.
const MANGLE: i32 = -150;

/// Remembered remotes: peers, and the addresses they roamed through.
const REMOTES_MAX: u32 = 1024;

/// The table.
pub(super) fn table(terms: Terms<'_>) -> Table {
    let mut table = Table::new(NfFamily::INet);
    let timeout = whole_seconds(terms.guard.flow_timeout);
    for (family, _) in terms.places() {
        let of = vec![family.address_type(), SetType::InetService];
        table.expiring_set(family.remotes(), of, timeout, REMOTES_MAX);
    }
    permits::sets(&mut table, terms);
    steer::output(&mut table, terms);
    modem_out::postrouting(&mut table, terms);
    steer::uplink_out(&mut table, terms);
    steer::pin_source(&mut table, terms);
    forward(&mut table, terms);
    arrival::arrival(&mut table, terms);
    modem_in::prerouting(&mut table, terms);
    table
}

/// A set's time-out has seconds; rounded up, it is never shorter than was asked for.
pub(super) fn whole_seconds(time: Duration) -> u32 {
    let up = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(up.max(1)).unwrap_or(u32::MAX)
}

fn forward(table: &mut Table, terms: Terms<'_>) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Forward);
    table.base_chain("forward", kind, hook, MANGLE, None);
    closed::out(table, terms, "forward", Class::DropForwarded);
    closed::into(table, terms, "forward");
    if let Some(modem) = terms.modem() {
        let forwarded = book(Hook::ModemOut, Class::DropForwarded);
        let [by_number, by_no_name] =
            renamed(MetaKey::Oif, modem.index, leaves_not_by(&modem.name));
        table.rule("forward", [by_number, by_no_name, forwarded, drop()]);
        let forwarded = book(Hook::ModemOut, Class::DropForwarded);
        table.rule("forward", [leaves_by(&modem.name), forwarded, drop()]);
        // It is in the books already: it came in as a reply that another table sends elsewhere.
        table.rule("forward", [came_by(&modem.name), drop()]);
    }
}

/// By the modem, and not by its name.
fn renamed(key: MetaKey, index: u32, not_by_name: Stmt) -> [Stmt; 2] {
    [eq(meta(key), number(index)), not_by_name]
}

fn is_of(family: Family) -> Stmt {
    eq(meta(MetaKey::Nfproto), text(family.nfproto()))
}

fn is_udp() -> Stmt {
    eq(meta(MetaKey::L4proto), text("udp"))
}

fn leaves_by(interface: &str) -> Stmt {
    eq(meta(MetaKey::Oifname), text(interface))
}

fn leaves_not_by(interface: &str) -> Stmt {
    ne(meta(MetaKey::Oifname), text(interface))
}

fn came_by(interface: &str) -> Stmt {
    eq(meta(MetaKey::Iifname), text(interface))
}

fn came_not_by(interface: &str) -> Stmt {
    ne(meta(MetaKey::Iifname), text(interface))
}

/// A far end of the tunnel, as the sets hold it.
fn remote(family: Family, address: &'static str, port: &'static str) -> Expr {
    concat(vec![field(family.header(), address), field("udp", port)])
}
