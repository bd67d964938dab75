//! What enters by the modem (spec: `modem-in`, `replies-only`), after connection tracking and before the
//! route is looked up, which is when a strict filter looks at the mark.

use super::{MANGLE, closed, from_interface, is_family, is_udp, remote};
use crate::backend::nft::expr::{
    RuleFamily, Stmt, accept, address, any_of, ct, ct_original, drop, eq, field, goto, has, in_set,
    meta, number, text,
};
use crate::backend::nft::permits;
use crate::backend::nft::rule_context::{
    ErasedAddr, RuleContext, count, neighbour_discovery, stays_on_link,
};
use crate::backend::nft::table::Table;
use lte_common::headers::icmp_kind;
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// The classes of this hook, and whether a packet of each passes.
const OUTCOMES: [(Class, bool); 8] = [
    (Class::Reply, true),
    (Class::IcmpError, true),
    (Class::Admin, true),
    (Class::Neighbour, true),
    (Class::Permit, true),
    (Class::DropStranger, false),
    (Class::DropUnsolicited, false),
    (Class::DropFamily, false),
];

pub(super) fn prerouting(table: &mut Table, context: RuleContext<'_>) {
    let (kind, hook) = (NfChainType::Filter, NfHook::Prerouting);
    table.base_chain("prerouting", kind, hook, MANGLE, None);
    closed::drop_in(table, context, "prerouting");
    let Some(modem) = context.modem() else {
        return;
    };
    for (class, passes) in OUTCOMES {
        outcome(table, context, class, passes);
    }
    for (family, addr) in context.addrs() {
        modem_in(table, context, family, addr);
    }
    table.chain("modem_in");
    for (family, _) in context.addrs() {
        table.rule("modem_in", [is_family(family), goto(chain_of(family))]);
    }
    table.rule("modem_in", [goto_outcome(Class::DropFamily)]);
    table.rule(
        "prerouting",
        [from_interface(&modem.name), goto("modem_in")],
    );
}

fn chain_of(family: RuleFamily) -> String {
    format!("modem_in{}", family.digit())
}

fn chain_for(class: Class) -> String {
    format!("in_{}", class.name())
}

/// Goes to the chain of a class.
fn goto_outcome(class: Class) -> Stmt {
    goto(chain_for(class))
}

/// A chain that counts a packet and gives its verdict. The fragments of one were marked and counted by
/// `ingress`: here it is reassembled, and is not counted again.
fn outcome(table: &mut Table, context: RuleContext<'_>, class: Class, passes: bool) {
    let chain = chain_for(class);
    let verdict = || if passes { accept() } else { drop() };
    table.chain(chain.clone());
    let marked = context.is_marked(meta(MetaKey::Mark));
    table.rule(chain.clone(), [marked, verdict()]);
    let counted = count(Hook::ModemIn, class);
    // Of neighbours no reverse path is looked up.
    let is_marked = passes && class != Class::Neighbour;
    let mark = is_marked.then(|| context.mark_packet());
    let parts = [counted].into_iter().chain(mark).chain([verdict()]);
    table.rule(chain, parts);
}

fn modem_in(table: &mut Table, context: RuleContext<'_>, family: RuleFamily, addr: ErasedAddr) {
    let chain = &chain_of(family);
    table.chain(chain.clone());
    let to_modem = || eq(field(family.header(), "daddr"), address(addr.address));
    let from_remote = || in_set(remote(family, "saddr", "sport"), family.remotes());
    let of_our_flow = || context.is_marked(ct("mark"));
    let is_reply = || eq(ct("direction"), text("reply"));

    let reply = [
        to_modem(),
        context.destination_is_listen_port(),
        from_remote(),
    ];
    table.rule(chain, reply.into_iter().chain([goto_outcome(Class::Reply)]));
    // To a port that address translation older than the guard has given the tunnel.
    let port = number(context.guard.listen_port.into());
    let altered = [
        to_modem(),
        is_udp(),
        is_reply(),
        of_our_flow(),
        eq(ct_original("proto-src"), port),
        from_remote(),
    ];
    table.rule(
        chain,
        altered.into_iter().chain([goto_outcome(Class::Reply)]),
    );
    let astray = [
        context.destination_is_listen_port(),
        from_remote(),
        goto_outcome(Class::DropUnsolicited),
    ];
    table.rule(chain, astray);
    table.rule(
        chain,
        [
            context.destination_is_listen_port(),
            goto_outcome(Class::DropStranger),
        ],
    );

    let kinds = match family {
        RuleFamily::V4 => any_of(icmp_kind::PATH_ERRORS.map(u32::from)),
        RuleFamily::V6 => any_of(icmp_kind::PATH_ERRORS_V6.map(u32::from)),
    };
    // Of an ICMP error conntrack knows the flow of the packet that it quotes.
    let error = [
        to_modem(),
        eq(field(family.icmp(), "type"), kinds),
        has(ct("state"), text("related")),
        of_our_flow(),
        goto_outcome(Class::IcmpError),
    ];
    table.rule(chain, error);

    if family == RuleFamily::V6 {
        for whom in [to_modem(), stays_on_link()] {
            let neighbour = [whom].into_iter().chain(neighbour_discovery());
            table.rule(chain, neighbour.chain([goto_outcome(Class::Neighbour)]));
        }
    }
    let permitted = permits::replies(family, to_modem()).into_iter();
    for answer in permitted.chain(permits::echo_replies(family, to_modem())) {
        table.rule(
            chain,
            answer.into_iter().chain([goto_outcome(Class::Permit)]),
        );
    }
    for answer in context.admin_replies(family, addr) {
        let established = has(ct("state"), text("established"));
        let asked = [to_modem(), is_reply(), established];
        let all = asked.into_iter().chain(answer);
        table.rule(chain, all.chain([goto_outcome(Class::Admin)]));
    }
    table.rule(chain, [goto_outcome(Class::DropUnsolicited)]);
}
