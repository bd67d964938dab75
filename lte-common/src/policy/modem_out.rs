//! What leaves by the modem.

use super::sockets::is_a_programs;
use super::{Action, Class, Hook, Memory, Note, Origin, Policy, Rewrite, Sockets, Verdict};
use crate::headers::{Facts, Family, Fragment, Payload, icmp_kind, protocol};
use crate::layout::{Addr, FragmentKey, RemoteKey, TalkKey};

#[inline(always)]
pub(super) fn decide<M: Memory, S: Sockets>(
    facts: &Facts,
    origin: Origin,
    policy: &Policy,
    memory: &M,
    sockets: &S,
) -> Verdict {
    if !origin.local {
        return Verdict::drop(Class::DropForwarded);
    }
    if matches!(facts.fragment, Fragment::Later) {
        return later(Hook::ModemOut, facts, policy, memory);
    }
    if facts.protocol == protocol::UDP {
        let ours = facts.source_port == policy.listen_port
            // Steered here with a port that a masquerade on the uplink gave it.
            || policy.is_marked(origin.mark) && source_port_is_known(facts, memory);
        // Whoever holds the tunnel's port while WireGuard does not is a program like any other.
        if ours && !is_a_programs(facts, sockets) {
            return tunnel(facts, policy);
        }
    }
    if permitted(memory, &talk_out(facts)) {
        return first(Verdict::new(Action::Mark, Class::Permit), facts);
    }
    if is_neighbour_discovery(facts) {
        return Verdict::new(Action::Mark, Class::Neighbour);
    }
    if asks_the_modem(facts, policy) {
        let mut verdict = Verdict::new(Action::Mark, Class::Admin);
        verdict.note = Note::Asked;
        return verdict;
    }
    Verdict::drop(Class::DropLocal)
}

#[inline(always)]
fn tunnel(facts: &Facts, policy: &Policy) -> Verdict {
    let class = match facts.payload {
        Payload::WireGuard => Class::Tunnel,
        Payload::NatKeepalive => Class::NatKeepalive,
        Payload::Other => return Verdict::drop(Class::DropNotWireguard),
    };
    let mut verdict = first(Verdict::new(Action::Mark, class), facts);
    verdict.note = Note::Remote;
    replace_source(&mut verdict, facts, policy);
    verdict
}

/// WireGuard keeps to the source address it last used; on the modem only the modem's is right.
#[inline(always)]
pub(super) fn replace_source(verdict: &mut Verdict, facts: &Facts, policy: &Policy) {
    let modem = policy.modem(facts.family);
    if !facts.source.same(modem) {
        verdict.rewrite = Rewrite::Source;
        verdict.address = *modem;
    }
}

#[inline(always)]
pub(super) fn first(mut verdict: Verdict, facts: &Facts) -> Verdict {
    verdict.fragments_follow = matches!(facts.fragment, Fragment::First);
    verdict
}

/// A later fragment is treated as its first was.
#[inline(always)]
pub(super) fn later<M: Memory>(hook: Hook, facts: &Facts, policy: &Policy, memory: &M) -> Verdict {
    let key = fragment_key(hook, facts);
    match memory.fragment(&key) {
        Some(value)
            if fresh(
                memory.now(),
                value.seen,
                policy.ticks(super::FRAGMENT_TIMEOUT),
            ) =>
        {
            let marked = value.marked != 0;
            let mut verdict = match (hook, marked) {
                (Hook::UplinkOut, _) => Verdict::new(Action::Steer, Class::Steered),
                (_, true) => Verdict::new(Action::Mark, Class::Fragment),
                (_, false) => Verdict::pass(Class::Fragment),
            };
            if !value.replace.is_none() {
                verdict.rewrite = match hook {
                    Hook::ModemIn => Rewrite::Destination,
                    Hook::ModemOut | Hook::UplinkOut => Rewrite::Source,
                };
                verdict.address = value.replace;
            }
            verdict
        }
        _ if matches!(hook, Hook::UplinkOut) => Verdict::UNTOUCHED,
        _ => Verdict::drop(Class::DropFragment),
    }
}

#[inline(always)]
pub(super) fn fragment_key(hook: Hook, facts: &Facts) -> FragmentKey {
    FragmentKey {
        source: facts.source,
        destination: facts.destination,
        ident: facts.ident,
        hook: hook as u32,
    }
}

/// Whether `then` is not longer ago than `timeout`; a clock read on another CPU may be behind.
#[inline(always)]
pub(super) const fn fresh(now: u64, then: u64, timeout: u64) -> bool {
    now.saturating_sub(then) <= timeout
}

#[inline(always)]
pub(super) const fn remote_key(address: Addr, port: u16) -> RemoteKey {
    RemoteKey {
        address,
        port,
        pad: 0,
    }
}

#[inline(always)]
fn source_port_is_known<M: Memory>(facts: &Facts, memory: &M) -> bool {
    match memory.remote(&remote_key(facts.destination, facts.destination_port)) {
        Some(remote) => remote.is_port(facts.source_port),
        None => false,
    }
}

/// The conversation of a packet on its way out.
#[inline(always)]
pub(super) fn talk_out(facts: &Facts) -> TalkKey {
    TalkKey {
        remote: facts.destination,
        remote_port: facts.destination_port,
        local_port: facts.source_port,
        protocol: u32::from(facts.protocol),
    }
}

/// Whether a permit for this conversation, or for it with any remote, is open.
#[inline(always)]
pub(super) fn permitted<M: Memory>(memory: &M, talk: &TalkKey) -> bool {
    let mut talk = *talk;
    let open =
        |talk: &TalkKey| matches!(memory.permit(talk), Some(until) if memory.clock() < until);
    if open(&talk) {
        return true;
    }
    talk.remote = Addr::NONE;
    open(&talk)
}

/// Solicitations and advertisements of neighbours, which never come through a router (RFC 4861,
/// 7.1). Router solicitations and advertisements are none.
#[inline(always)]
pub(super) const fn is_neighbour_discovery(facts: &Facts) -> bool {
    matches!(facts.family, Family::V6)
        && facts.protocol == protocol::ICMPV6
        && facts.hop_limit == 255
        && matches!(
            facts.icmp_type,
            icmp_kind::NEIGHBOUR_SOLICITATION | icmp_kind::NEIGHBOUR_ADVERTISEMENT
        )
        && matches!(facts.fragment, Fragment::Whole)
}

#[inline(always)]
fn asks_the_modem(facts: &Facts, policy: &Policy) -> bool {
    policy.is_admin(facts.family, &facts.destination)
        && matches!(facts.fragment, Fragment::Whole)
        && match (facts.family, facts.protocol) {
            (_, protocol::TCP) => policy.is_admin_port(facts.destination_port),
            (Family::V4, protocol::ICMP) => facts.icmp_type == icmp_kind::ECHO,
            (Family::V6, protocol::ICMPV6) => facts.icmp_type == icmp_kind::ECHO_V6,
            _ => false,
        }
}
