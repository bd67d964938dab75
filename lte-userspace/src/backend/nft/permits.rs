//! Permits: sets whose elements the kernel lets expire, and the rules that ask them.
//!
//! An element is a remote address, a protocol, and the local and the remote port. An echo has no ports:
//! conntrack's names for its identifier, and for its type and code, stand in their place, because
//! nft has no set for what lies elsewhere in the packet. The `netdev` family has no conntrack; what
//! leaves there as a permitted echo is recognised by the mark.

use super::expr::{
    Expr, RuleFamily, Stmt, any_of, concat, ct_original, eq, field, in_set, meta, text,
};
use super::rule_context::RuleContext;
use super::table::{NAME, Table};
use crate::backend::{Permit, Protocol};
use lte_common::headers::{icmp_kind, protocol};
use nftables::expr::MetaKey;
use nftables::schema::SetType;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// The set of permits for any remote.
const ANY: &str = "permit_any";
/// How many permits there may be in a set.
const MAX: u32 = 64;
/// Protocols with ports.
const WITH_PORTS: [u32; 2] = [protocol::TCP as u32, protocol::UDP as u32];

/// The set of permits for one remote.
const fn set_of(family: RuleFamily) -> &'static str {
    match family {
        RuleFamily::V4 => "permit4",
        RuleFamily::V6 => "permit6",
    }
}

/// Adds the sets to a table.
pub(super) fn sets(table: &mut Table, context: RuleContext<'_>) {
    let flow = [
        SetType::InetProto,
        SetType::InetService,
        SetType::InetService,
    ];
    for (family, _) in context.addrs() {
        let mut of = vec![family.address_type()];
        of.extend(flow);
        table.set_of_timed(set_of(family), of, MAX);
    }
    if context.modem().is_some() {
        table.set_of_timed(ANY, flow.into(), MAX);
    }
}

/// What is permitted on its way out, with ports.
pub(super) fn out(family: RuleFamily) -> [Vec<Stmt>; 2] {
    by_ports(family, "daddr", "sport", "dport")
}

/// The answers to it: to the modem's address, which `here` says; under a permit for any remote to any
/// address, since the modem may have none yet.
pub(super) fn replies(family: RuleFamily, here: Stmt) -> [Vec<Stmt>; 2] {
    let [mut of_one, of_any] = by_ports(family, "saddr", "dport", "sport");
    of_one.push(here);
    [of_one, of_any]
}

/// The answers under a permit for any remote.
pub(super) fn answers_of_any(family: RuleFamily) -> Vec<Stmt> {
    let [_, of_any] = by_ports(family, "saddr", "dport", "sport");
    of_any
}

fn by_ports(
    family: RuleFamily,
    address: &'static str,
    local: &'static str,
    remote: &'static str,
) -> [Vec<Stmt>; 2] {
    let with_ports = || eq(meta(MetaKey::L4proto), any_of(WITH_PORTS));
    let ports = || vec![field("th", local), field("th", remote)];
    lookups(family, address, ports).map(|known| vec![with_ports(), known])
}

/// A permitted echo on its way out, where conntrack knows it.
pub(super) fn echo_out(family: RuleFamily) -> [Vec<Stmt>; 2] {
    echo(family, "daddr", "echo-request")
}

/// The answers to it, to whom [`answers`] are.
pub(super) fn echo_replies(family: RuleFamily, here: Stmt) -> [Vec<Stmt>; 2] {
    let is_reply = || eq(super::expr::ct("direction"), text("reply"));
    let [mut of_one, mut of_any] = echo(family, "saddr", "echo-reply");
    of_one.extend([is_reply(), here]);
    of_any.push(is_reply());
    [of_one, of_any]
}

fn echo(family: RuleFamily, address: &'static str, kind: &'static str) -> [Vec<Stmt>; 2] {
    let is_echo = || is_echo(family, kind);
    let ports = || vec![ct_original("proto-src"), ct_original("proto-dst")];
    lookups(family, address, ports).map(|known| vec![is_echo(), known])
}

/// An echo or its answer.
pub(super) fn is_echo(family: RuleFamily, kind: &'static str) -> Stmt {
    eq(field(family.icmp(), "type"), text(kind))
}

/// The question to the set of one remote, and to that of any.
fn lookups(family: RuleFamily, address: &'static str, ports: impl Fn() -> Vec<Expr>) -> [Stmt; 2] {
    let flow = || {
        let mut key = vec![meta(MetaKey::L4proto)];
        key.extend(ports());
        key
    };
    let mut with_remote = vec![field(family.header(), address)];
    with_remote.extend(flow());
    // The set for any remote is of both families.
    let any = in_set(concat(flow()), ANY);
    [in_set(concat(with_remote), set_of(family)), any]
}

/// The transaction that opens a permit in the tables of those families, or prolongs it: an element
/// that is there keeps its time when it is added again.
pub(super) fn open(permit: &Permit, time: Duration, families: &[&str]) -> Value {
    let mut timed = element(permit);
    timed = json!({"elem": {"val": timed, "timeout": super::inet::whole_seconds(time)}});
    let mut commands = closing(permit, families);
    for family in families {
        commands.push(json!({"add": {"element": object(family, permit, &timed)}}));
    }
    json!({"nftables": commands})
}

/// The transaction that closes it.
pub(super) fn close(permit: &Permit, families: &[&str]) -> Value {
    json!({"nftables": closing(permit, families)})
}

/// Added first: that it has ended already is no failure.
fn closing(permit: &Permit, families: &[&str]) -> Vec<Value> {
    let mut commands = Vec::new();
    for family in families {
        let element = object(family, permit, &element(permit));
        commands.push(json!({"add": {"element": element}}));
        commands.push(json!({"delete": {"element": element}}));
    }
    commands
}

fn object(family: &str, permit: &Permit, element: &Value) -> Value {
    let set = match permit.remote {
        None => ANY,
        Some(IpAddr::V4(_)) => set_of(RuleFamily::V4),
        Some(IpAddr::V6(_)) => set_of(RuleFamily::V6),
    };
    json!({"family": family, "table": NAME, "name": set, "elem": [element]})
}

fn element(permit: &Permit) -> Value {
    // An echo's type and code, as one number.
    let remote = match permit.protocol {
        Protocol::Icmp => u16::from(icmp_kind::ECHO) << 8,
        Protocol::IcmpV6 => u16::from(icmp_kind::ECHO_V6) << 8,
        Protocol::Tcp | Protocol::Udp => permit.remote_port,
    };
    let mut parts = Vec::new();
    parts.extend(permit.remote.map(|remote| json!(remote.to_string())));
    parts.extend([
        json!(permit.protocol.number()),
        json!(permit.local_port),
        json!(remote),
    ]);
    json!({"concat": parts})
}

/// An echo that the table `inet` has let pass by a permit.
pub(super) fn is_marked_echo(context: RuleContext<'_>, family: RuleFamily) -> Vec<Stmt> {
    vec![
        context.is_marked(meta(MetaKey::Mark)),
        is_echo(family, "echo-request"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn permit(protocol: Protocol, remote: Option<IpAddr>) -> Permit {
        Permit {
            protocol,
            local_port: 6000,
            remote,
            remote_port: if protocol == Protocol::Udp { 3478 } else { 0 },
        }
    }

    #[test]
    fn a_permit_goes_into_the_set_that_is_asked_for_it() {
        let remote = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)));
        let time = Duration::from_millis(1500);
        let words = open(&permit(Protocol::Udp, remote), time, &["inet"]).to_string();
        for part in [
            r#""name":"permit4""#,
            r#"["203.0.113.10",17,6000,3478]"#,
            r#""timeout":2"#,
        ] {
            assert!(words.contains(part), "{part} in {words}");
        }
        let words = close(&permit(Protocol::IcmpV6, None), &["inet", "netdev"]).to_string();
        assert!(words.contains(r#""name":"permit_any""#), "{words}");
        assert_eq!(words.matches("[58,6000,32768]").count(), 4, "{words}");
    }
}
