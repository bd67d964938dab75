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

use super::expr::{Expr, RuleFamily, Stmt, concat, drop, eq, field, meta, ne, number, text};
use super::permits;
use super::rule_context::{RuleContext, count};
use super::table::Table;
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
pub(super) fn table(context: RuleContext<'_>) -> Table {
    let mut table = Table::new(NfFamily::INet);
    let timeout = whole_seconds(context.guard.flow_timeout);
    for (family, _) in context.addrs() {
        let of = vec![family.address_type(), SetType::InetService];
        table.expiring_set(family.remotes(), of, timeout, REMOTES_MAX);
    }
    permits::sets(&mut table, context);
    steer::output(&mut table, context);
    modem_out::postrouting(&mut table, context);
    steer::uplink_out(&mut table, context);
    steer::pin_source(&mut table, context);
    forward(&mut table, context);
    arrival::arrival(&mut table, context);
    modem_in::prerouting(&mut table, context);
    table
}

/// A set's time-out has seconds; rounded up, it is never shorter than was asked for.
pub(super) fn whole_seconds(time: Duration) -> u32 {
    let up = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(up.max(1)).unwrap_or(u32::MAX)
}

fn forward(table: &mut Table, context: RuleContext<'_>) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Forward);
    table.base_chain("forward", kind, hook, MANGLE, None);
    closed::drop_out(table, context, "forward", Class::DropForwarded);
    closed::drop_in(table, context, "forward");
    if let Some(modem) = context.modem() {
        let forwarded = count(Hook::ModemOut, Class::DropForwarded);
        let [by_number, by_no_name] =
            renamed(MetaKey::Oif, modem.index, not_to_interface(&modem.name));
        table.rule("forward", [by_number, by_no_name, forwarded, drop()]);
        let forwarded = count(Hook::ModemOut, Class::DropForwarded);
        table.rule("forward", [to_interface(&modem.name), forwarded, drop()]);
        // It is counted already: it came in as a reply that another table sends elsewhere.
        table.rule("forward", [from_interface(&modem.name), drop()]);
    }
}

/// By the modem, and not by its name.
fn renamed(key: MetaKey, index: u32, not_by_name: Stmt) -> [Stmt; 2] {
    [eq(meta(key), number(index)), not_by_name]
}

fn is_family(family: RuleFamily) -> Stmt {
    eq(meta(MetaKey::Nfproto), text(family.nfproto()))
}

fn is_udp() -> Stmt {
    eq(meta(MetaKey::L4proto), text("udp"))
}

fn to_interface(interface: &str) -> Stmt {
    eq(meta(MetaKey::Oifname), text(interface))
}

fn not_to_interface(interface: &str) -> Stmt {
    ne(meta(MetaKey::Oifname), text(interface))
}

fn from_interface(interface: &str) -> Stmt {
    eq(meta(MetaKey::Iifname), text(interface))
}

fn not_from_interface(interface: &str) -> Stmt {
    ne(meta(MetaKey::Iifname), text(interface))
}

/// A remote, as the sets hold it.
fn remote(family: RuleFamily, address: &'static str, port: &'static str) -> Expr {
    concat(vec![field(family.header(), address), field("udp", port)])
}
