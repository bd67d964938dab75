//! The table `inet lte_backup`: what goes through the IP stack.
//!
//! | chain | what it does |
//! | --- | --- |
//! | `output`, `output_late` | of the tunnel's packets that the routing sends elsewhere, gives them the modem's source address and the mark, and so a new route |
//! | `postrouting` | on the modem: passes what the table of the design passes, drops the rest; elsewhere: drops the tunnel |
//! | `pin_source` | keeps other tables' address translation off the tunnel |
//! | `forward` | nothing passes through this machine to or from the modem |
//! | `prerouting` | from the modem: marks what is let in, before the reverse-path check; drops the rest |

use super::expr::{
    Expr, Family, Stmt, accept, address, and, any_of, at_least, concat, count, ct, ct_original,
    drop, eq, field, goto, has, known, meta, ne, number, remember, set, set_mark, source_kind,
    source_nat, subnet, text, transport,
};
use super::ruleset::Features;
use super::table::{Table, counter_name};
use crate::backend::{Guard, Inet, Modem};
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::schema::SetType;
use nftables::types::{NfChainType, NfFamily, NfHook};
use std::net::IpAddr;
use std::time::Duration;

/// Before connection tracking (-200): it is to see the source address that leaves.
const BEFORE_CONNTRACK: i32 = -300;
/// After what other tables do to marks in output.
const AFTER_OTHERS: i32 = 200;
/// After connection tracking, before the route of what came in is looked up.
const MANGLE: i32 = -150;
/// Before address translation (100): the tunnel is told by its own port.
const BEFORE_NAT: i32 = 90;
/// Before other tables' chains of address translation: the first that decides is the last.
const BEFORE_OTHERS_NAT: i32 = 95;

/// Remembered remotes: peers, and the addresses they roamed through.
const REMOTES_MAX: u32 = 1024;

/// ICMP errors that say something of a path: unreachable, time exceeded, parameter problem
/// (RFC 792).
const ICMP_ERRORS: [u32; 3] = [3, 11, 12];
/// The same of ICMPv6, and packet too big (RFC 4443).
const ICMPV6_ERRORS: [u32; 4] = [1, 2, 3, 4];
/// Neighbour solicitation and advertisement (RFC 4861).
pub(super) const NEIGHBOUR_DISCOVERY: [u32; 2] = [135, 136];

/// An address and the length of its prefix, family erased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
}

/// Where the modem is, in one family.
pub(super) fn place(modem: &Modem, family: Family) -> Option<Place> {
    fn erase<A: Copy + Into<IpAddr>>(inet: &Inet<A>) -> Place {
        Place {
            address: inet.address.into(),
            prefix_len: inet.prefix_len,
        }
    }
    match family {
        Family::V4 => modem.v4.as_ref().map(erase),
        Family::V6 => modem.v6.as_ref().map(erase),
    }
}

/// Counts a packet of a class on the modem or an uplink.
pub(super) fn book(hook: Hook, class: Class) -> Stmt {
    count(&counter_name(hook, class))
}

/// The table.
pub(super) fn table(guard: &Guard, features: Features) -> Table {
    let mut table = Table::new(NfFamily::INet);
    let timeout = whole_seconds(guard.flow_timeout);
    for (family, kind) in [
        (Family::V4, SetType::Ipv4Addr),
        (Family::V6, SetType::Ipv6Addr),
    ] {
        // nft lets rules add to a set only where, in the same breath, a rule does.
        if guard
            .modem
            .as_ref()
            .is_some_and(|m| place(m, family).is_some())
        {
            let of = vec![kind, SetType::InetService];
            table.expiring_set(family.remotes(), of, timeout, REMOTES_MAX);
        }
    }
    output(&mut table, guard);
    postrouting(&mut table, guard, features);
    forward(&mut table, guard);
    prerouting(&mut table, guard);
    table
}

/// A set's time-out has seconds; rounded up, it is never shorter than was asked for.
fn whole_seconds(time: Duration) -> u32 {
    let up = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(up.max(1)).unwrap_or(u32::MAX)
}

fn mark_is(guard: &Guard, key: Expr) -> Stmt {
    eq(and(key, guard.mask), number(guard.mark))
}

fn set_packet_mark(guard: &Guard) -> Stmt {
    set_mark(meta(MetaKey::Mark), guard.mark, guard.mask)
}

fn is_v(family: Family) -> Stmt {
    eq(meta(MetaKey::Nfproto), text(family.nfproto()))
}

fn leaves_by(interface: &str) -> Stmt {
    eq(meta(MetaKey::Oifname), text(interface))
}

fn leaves_not_by(interface: &str) -> Stmt {
    ne(meta(MetaKey::Oifname), text(interface))
}

/// From the tunnel's port: in the chains that see local packets alone, the tunnel.
fn from_port(guard: &Guard) -> Stmt {
    eq(field("udp", "sport"), number(guard.listen_port.into()))
}

fn output(table: &mut Table, guard: &Guard) {
    for (name, priority) in [("output", BEFORE_CONNTRACK), ("output_late", AFTER_OTHERS)] {
        table.base_chain(name, NfChainType::Route, NfHook::Output, priority, None);
    }
    table.chain("steer");
    let mut first = vec![leaves_not_by("lo")];
    if let Some(modem) = &guard.modem {
        first.push(leaves_not_by(&modem.name));
    }
    for chain in ["output", "output_late"] {
        let mut parts = first.clone();
        parts.extend([from_port(guard), goto("steer")]);
        table.rule(chain, parts);
    }
    for family in Family::BOTH {
        let Some(place) = guard.modem.as_ref().and_then(|m| place(m, family)) else {
            let gone = book(Hook::UplinkOut, Class::DropModemGone);
            table.rule("steer", [is_v(family), gone, drop()]);
            continue;
        };
        let source = || field(family.header(), "saddr");
        let here = || address(place.address);
        table.rule("steer", [ne(source(), here()), set(source(), here())]);
    }
    // A new mark, or a new source, makes the kernel look the route up again.
    table.rule("steer", [set_packet_mark(guard)]);
}

fn postrouting(table: &mut Table, guard: &Guard, features: Features) {
    table.base_chain(
        "postrouting",
        NfChainType::Filter,
        NfHook::Postrouting,
        BEFORE_NAT,
        None,
    );
    table.chain("uplink_out");
    if let Some(modem) = &guard.modem {
        table.chain("modem_out");
        table.chain("tunnel_out");
        let by_modem = [leaves_by(&modem.name), goto("modem_out")];
        table.rule("postrouting", by_modem);
    }
    let elsewhere = [leaves_not_by("lo"), from_port(guard), goto("uplink_out")];
    table.rule("postrouting", elsewhere);
    uplink_out(table, guard);
    if let Some(modem) = &guard.modem {
        modem_out(table, guard, modem, features);
        tunnel_out(table, guard, modem, features);
        pin_source(table, guard, modem);
    }
}

/// What should have been steered and has found no way to the modem. Here local and forwarded
/// packets are together: a local one has a source address of this machine, or has been given the
/// modem's, which need not be there any more.
fn uplink_out(table: &mut Table, guard: &Guard) {
    let gone = || book(Hook::UplinkOut, Class::DropModemGone);
    for family in Family::BOTH {
        if let Some(place) = guard.modem.as_ref().and_then(|m| place(m, family)) {
            let ours = eq(field(family.header(), "saddr"), address(place.address));
            table.rule("uplink_out", [ours, gone(), drop()]);
        }
    }
    let local = eq(source_kind(), text("local"));
    table.rule("uplink_out", [local, gone(), drop()]);
}

/// What leaves by the modem, and is local: forwarded packets are dropped in `forward`.
fn modem_out(table: &mut Table, guard: &Guard, modem: &Modem, features: Features) {
    let chain = "modem_out";
    let no_family = || book(Hook::ModemOut, Class::DropFamily);
    for family in Family::BOTH {
        if place(modem, family).is_none() {
            table.rule(chain, [is_v(family), no_family(), drop()]);
        }
    }
    table.rule(chain, [from_port(guard), goto("tunnel_out")]);
    for family in Family::BOTH {
        let Some(place) = place(modem, family) else {
            continue;
        };
        if family == Family::V6 {
            let hops = eq(field("ip6", "hoplimit"), number(255));
            let kind = eq(field("icmpv6", "type"), any_of(NEIGHBOUR_DISCOVERY));
            table.rule(chain, passes([hops, kind], Class::Neighbour, features));
        }
        for question in questions(family, place, &guard.admin_ports) {
            table.rule(chain, passes(question, Class::Admin, features));
        }
    }
    let local = book(Hook::ModemOut, Class::DropLocal);
    table.rule(chain, [local, drop()]);
}

/// What the modem itself may be asked: its page, an echo.
pub(super) fn questions(family: Family, place: Place, admin_ports: &[u16]) -> Vec<Vec<Stmt>> {
    let near = || {
        eq(
            field(family.header(), "daddr"),
            subnet(place.address, place.prefix_len),
        )
    };
    let echo = match family {
        Family::V4 => eq(field("icmp", "type"), text("echo-request")),
        Family::V6 => eq(field("icmpv6", "type"), text("echo-request")),
    };
    let mut questions = vec![vec![near(), echo]];
    if !admin_ports.is_empty() {
        let ports = any_of(admin_ports.iter().map(|p| u32::from(*p)));
        questions.push(vec![near(), eq(field("tcp", "dport"), ports)]);
    }
    questions
}

/// A rule that lets pass on the modem. Where the kernel has the egress hook the packet is booked
/// there, where it is seen as it leaves: in pieces, and with those that go round the IP stack.
fn passes(parts: impl IntoIterator<Item = Stmt>, class: Class, features: Features) -> Vec<Stmt> {
    let mut parts: Vec<_> = parts.into_iter().collect();
    if !features.egress {
        parts.push(book(Hook::ModemOut, class));
    }
    parts.push(accept());
    parts
}

/// The shapes of what the tunnel sends, the commonest first; the UDP length counts its header's
/// eight bytes.
pub(super) fn shapes() -> Vec<(Vec<Stmt>, Class)> {
    let length = || field("udp", "length");
    let head = |kind: u32| eq(transport(64, 32), number(kind << 24));
    let fixed = |kind, payload: u32| vec![eq(length(), number(payload + 8)), head(kind)];
    let data = vec![
        at_least(length(), number(32 + 8)),
        eq(and(length(), 15), number(8)),
        head(4),
    ];
    let keepalive = vec![
        eq(length(), number(1 + 8)),
        eq(transport(64, 8), number(0xff)),
    ];
    vec![
        (data, Class::Tunnel),
        (fixed(1, 148), Class::Tunnel),
        (fixed(2, 92), Class::Tunnel),
        (fixed(3, 64), Class::Tunnel),
        (keepalive, Class::NatKeepalive),
    ]
}

fn tunnel_out(table: &mut Table, guard: &Guard, modem: &Modem, features: Features) {
    let chain = "tunnel_out";
    // Only `steer` has marked a packet so far.
    let steered = book(Hook::UplinkOut, Class::Steered);
    table.rule(chain, [mark_is(guard, meta(MetaKey::Mark)), steered]);
    table.chain("tunnel_known");
    for (shape, class) in shapes() {
        let mut parts = shape;
        if !features.egress {
            parts.push(book(Hook::ModemOut, class));
        }
        parts.push(goto("tunnel_known"));
        table.rule(chain, parts);
    }
    let other = book(Hook::ModemOut, Class::DropNotWireguard);
    table.rule(chain, [other, drop()]);

    for family in Family::BOTH {
        if place(modem, family).is_some() {
            let remote = concat(vec![field(family.header(), "daddr"), field("udp", "dport")]);
            table.rule("tunnel_known", [remember(remote, family.remotes())]);
        }
    }
    let conntrack_mark = set_mark(ct("mark"), guard.mark, guard.mask);
    table.rule("tunnel_known", [set_packet_mark(guard), conntrack_mark]);
    table.rule("tunnel_known", [accept()]);
}

/// Translates the source of the tunnel's flows to what it is already. Of all chains of address
/// translation the first that decides on a flow is the only one: so another table's masquerade,
/// which could give it a random port, is not asked.
fn pin_source(table: &mut Table, guard: &Guard, modem: &Modem) {
    table.base_chain(
        "pin_source",
        NfChainType::NAT,
        NfHook::Postrouting,
        BEFORE_OTHERS_NAT,
        None,
    );
    for family in Family::BOTH {
        if let Some(place) = place(modem, family) {
            let by_modem = leaves_by(&modem.name);
            let nat = source_nat(family, place.address);
            table.rule(
                "pin_source",
                [is_v(family), by_modem, from_port(guard), nat],
            );
        }
    }
}

fn forward(table: &mut Table, guard: &Guard) {
    table.base_chain(
        "forward",
        NfChainType::Filter,
        NfHook::Forward,
        MANGLE,
        None,
    );
    if let Some(modem) = &guard.modem {
        let forwarded = book(Hook::ModemOut, Class::DropForwarded);
        table.rule("forward", [leaves_by(&modem.name), forwarded, drop()]);
        // It is in the books already: it came in as a reply that another table sends elsewhere.
        let from_modem = eq(meta(MetaKey::Iifname), text(modem.name.clone()));
        table.rule("forward", [from_modem, drop()]);
    }
}

fn prerouting(table: &mut Table, guard: &Guard) {
    table.base_chain(
        "prerouting",
        NfChainType::Filter,
        NfHook::Prerouting,
        MANGLE,
        None,
    );
    let Some(modem) = &guard.modem else {
        return;
    };
    table.chain("modem_in");
    let from_modem = eq(meta(MetaKey::Iifname), text(modem.name.clone()));
    table.rule("prerouting", [from_modem, goto("modem_in")]);
    for family in Family::BOTH {
        match place(modem, family) {
            None => {
                let no_family = book(Hook::ModemIn, Class::DropFamily);
                table.rule("modem_in", [is_v(family), no_family, drop()]);
            }
            Some(place) => {
                let own = format!("modem_in{}", family.digit());
                table.chain(own.clone());
                table.rule("modem_in", [is_v(family), goto(own.clone())]);
                modem_in(table, guard, family, place, &own);
            }
        }
    }
}

fn modem_in(table: &mut Table, guard: &Guard, family: Family, place: Place, chain: &str) {
    let to_modem = || eq(field(family.header(), "daddr"), address(place.address));
    let to_port = || eq(field("udp", "dport"), number(guard.listen_port.into()));
    let from_remote = || {
        let remote = concat(vec![field(family.header(), "saddr"), field("udp", "sport")]);
        known(remote, family.remotes())
    };
    let conntrack_mark = || mark_is(guard, ct("mark"));
    let is_answer = || eq(ct("direction"), text("reply"));
    let marked = |parts: Vec<Stmt>, class| {
        let mut parts = parts;
        parts.extend([set_packet_mark(guard), book(Hook::ModemIn, class), accept()]);
        parts
    };
    let unsolicited = || book(Hook::ModemIn, Class::DropUnsolicited);

    let reply = vec![to_modem(), to_port(), from_remote()];
    table.rule(chain, marked(reply, Class::Reply));
    // The port was changed by address translation older than the guard.
    let own_port = eq(ct_original("proto-src"), number(guard.listen_port.into()));
    let altered = vec![
        to_modem(),
        eq(meta(MetaKey::L4proto), text("udp")),
        is_answer(),
        conntrack_mark(),
        own_port,
        from_remote(),
    ];
    table.rule(chain, marked(altered, Class::Reply));
    table.rule(chain, [to_port(), from_remote(), unsolicited(), drop()]);
    let stranger = book(Hook::ModemIn, Class::DropStranger);
    table.rule(chain, [to_port(), stranger, drop()]);

    let errors = match family {
        Family::V4 => eq(field("icmp", "type"), any_of(ICMP_ERRORS)),
        Family::V6 => eq(field("icmpv6", "type"), any_of(ICMPV6_ERRORS)),
    };
    // Of an ICMP error conntrack gives the flow of the packet that it quotes.
    let related = has(ct("state"), text("related"));
    let error = vec![to_modem(), errors, related, conntrack_mark()];
    table.rule(chain, marked(error, Class::IcmpError));

    if family == Family::V6 {
        let hops = eq(field("ip6", "hoplimit"), number(255));
        let kind = eq(field("icmpv6", "type"), any_of(NEIGHBOUR_DISCOVERY));
        let neighbour = book(Hook::ModemIn, Class::Neighbour);
        table.rule(chain, [hops, kind, neighbour, accept()]);
    }
    for answer in answers(family, place, &guard.admin_ports) {
        let mut parts = vec![to_modem(), is_answer()];
        parts.extend(answer);
        table.rule(chain, marked(parts, Class::Admin));
    }
    table.rule(chain, [unsolicited(), drop()]);
}

/// The answers to [`questions`].
fn answers(family: Family, place: Place, admin_ports: &[u16]) -> Vec<Vec<Stmt>> {
    let near = || {
        eq(
            field(family.header(), "saddr"),
            subnet(place.address, place.prefix_len),
        )
    };
    let established = || has(ct("state"), text("established"));
    let echo = match family {
        Family::V4 => eq(field("icmp", "type"), text("echo-reply")),
        Family::V6 => eq(field("icmpv6", "type"), text("echo-reply")),
    };
    let mut answers = vec![vec![established(), near(), echo]];
    if !admin_ports.is_empty() {
        let ports = any_of(admin_ports.iter().map(|p| u32::from(*p)));
        let page = eq(field("tcp", "sport"), ports);
        answers.push(vec![established(), near(), page]);
    }
    answers
}
