//! What enters by the modem.

use super::modem_out::{first, fresh, is_neighbour_discovery, later, permitted, remote_key};
use super::{ASKED_TIMEOUT, Action, Class, Hook, Memory, Policy, Rewrite, Verdict};
use crate::headers::{Facts, Family, Fragment, icmp_kind, protocol};
use crate::layout::{Remote, TalkKey};

#[inline(always)]
pub(super) fn decide<M: Memory>(facts: &Facts, policy: &Policy, memory: &M) -> Verdict {
    if matches!(facts.fragment, Fragment::Later) {
        return later(Hook::ModemIn, facts, policy, memory);
    }
    if facts.protocol == protocol::UDP {
        let to_port = facts.destination_port == policy.listen_port;
        match memory.remote(&remote_key(facts.source, facts.source_port)) {
            Some(remote) if to_port || remote.is_port(facts.destination_port) => {
                return reply(facts, &remote, policy, memory);
            }
            _ if to_port => return Verdict::drop(Class::DropStranger),
            _ => {}
        }
    }
    if !facts.quote.destination.is_none() {
        return error(facts, policy, memory);
    }
    if is_neighbour_discovery(facts) {
        return Verdict::pass(Class::Neighbour);
    }
    // Of ICMP an echo's answer alone can have been asked for.
    if is_icmp(facts) && !is_echo_reply(facts) {
        return Verdict::drop(Class::DropUnsolicited);
    }
    let talk = talk_in(facts);
    if permitted(memory, &talk) {
        return first(Verdict::new(Action::Mark, Class::Permit), facts);
    }
    if answers(facts, policy, memory, &talk) {
        return Verdict::new(Action::Mark, Class::Admin);
    }
    Verdict::drop(Class::DropUnsolicited)
}

#[inline(always)]
fn reply<M: Memory>(facts: &Facts, remote: &Remote, policy: &Policy, memory: &M) -> Verdict {
    // Anything but the modem's own address would be forwarded, or is a broadcast.
    if !facts.destination.same(policy.modem(facts.family)) {
        return Verdict::drop(Class::DropUnsolicited);
    }
    if remote.sent == 0 {
        return Verdict::drop(Class::DropStranger);
    }
    if !fresh(memory.now(), remote.sent, policy.flow_timeout) {
        return Verdict::drop(Class::DropExpired);
    }
    let mut verdict = first(Verdict::new(Action::Mark, Class::Reply), facts);
    if !remote.source.is_none() {
        verdict.rewrite = Rewrite::Destination;
        verdict.address = remote.source;
    }
    verdict
}

/// An error is let in if the packet it quotes is one the tunnel has sent lately.
#[inline(always)]
fn error<M: Memory>(facts: &Facts, policy: &Policy, memory: &M) -> Verdict {
    let quote = &facts.quote;
    let modem = policy.modem(facts.family);
    if quote.source.same(modem)
        && facts.destination.same(modem)
        && let Some(remote) = memory.remote(&remote_key(quote.destination, quote.destination_port))
        && (quote.source_port == policy.listen_port || remote.is_port(quote.source_port))
        && remote.sent != 0
        && fresh(memory.now(), remote.sent, policy.flow_timeout)
    {
        return Verdict::new(Action::Mark, Class::IcmpError);
    }
    Verdict::drop(Class::DropUnsolicited)
}

#[inline(always)]
const fn is_icmp(facts: &Facts) -> bool {
    matches!(facts.protocol, protocol::ICMP | protocol::ICMPV6)
}

#[inline(always)]
const fn is_echo_reply(facts: &Facts) -> bool {
    matches!(
        (facts.family, facts.protocol, facts.icmp_type),
        (Family::V4, protocol::ICMP, icmp_kind::ECHO_REPLY)
            | (Family::V6, protocol::ICMPV6, icmp_kind::ECHO_REPLY_V6)
    )
}

/// The conversation of a packet on its way in. An echo's identifier stands where the source port
/// does, in the question and in the answer.
#[inline(always)]
fn talk_in(facts: &Facts) -> TalkKey {
    let (remote_port, local_port) = if is_echo_reply(facts) {
        (0, facts.source_port)
    } else {
        (facts.source_port, facts.destination_port)
    };
    TalkKey {
        remote: facts.source,
        remote_port,
        local_port,
        protocol: u32::from(facts.protocol),
    }
}

/// Whether the modem itself was asked for this, lately.
#[inline(always)]
fn answers<M: Memory>(facts: &Facts, policy: &Policy, memory: &M, talk: &TalkKey) -> bool {
    if !policy.is_admin(facts.family, &facts.source)
        || !facts.destination.same(policy.modem(facts.family))
        || facts.protocol != protocol::TCP && !is_echo_reply(facts)
    {
        return false;
    }
    match memory.asked(talk) {
        Some(then) => fresh(memory.now(), then, policy.ticks(ASKED_TIMEOUT)),
        None => false,
    }
}
