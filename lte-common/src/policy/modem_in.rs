//! What enters by the modem.

use super::admin::is_admin_answer;
use super::flow::{flow_in, is_echo_reply, is_icmp};
use super::fragment::{first_fragment, later_fragment};
use super::neighbour::is_neighbour_discovery;
use super::permit::{permitted, permitted_any};
use super::remote::{remote_key, within_timeout};
use super::{Action, Class, Hook, Policy, Rewrite, State, Verdict};
use crate::headers::{Fragment, PacketInfo, protocol};
use crate::layout::Remote;

#[inline(always)]
pub(super) fn decide<T: State>(info: &PacketInfo, policy: &Policy, state: &T) -> Verdict {
    if matches!(info.fragment, Fragment::Later) {
        return later_fragment(Hook::ModemIn, info, policy, state, 0);
    }
    if info.protocol == protocol::UDP {
        let to_port = info.destination_port == policy.listen_port;
        match state.remote(&remote_key(info.source, info.source_port)) {
            Some(remote) if to_port || remote.is_port(info.destination_port) => {
                return reply(info, &remote, policy, state);
            }
            _ if to_port => return Verdict::drop(Class::DropStranger),
            _ => {}
        }
    }
    if !info.quote.destination.is_none() {
        return error(info, policy, state);
    }
    let to_modem = info.destination.eq_words(policy.modem(info.family));
    // A hop limit of 255 says that it has passed no router yet, and not that it will pass none.
    if is_neighbour_discovery(info) && (to_modem || info.destination.stays_on_link()) {
        return Verdict::pass(Class::Neighbour);
    }
    // Of ICMP an echo's answer alone can have been asked for.
    if is_icmp(info) && !is_echo_reply(info) {
        return Verdict::drop(Class::DropUnsolicited);
    }
    let flow = flow_in(info);
    // A permit for any remote is for whom the modem has no address yet: its answers may be for everybody.
    if to_modem && permitted(state, &flow) || permitted_any(state, &flow) {
        return first_fragment(Verdict::new(Action::Mark, Class::Permit), info);
    }
    if is_admin_answer(info, policy, state, &flow) {
        return Verdict::new(Action::Mark, Class::Admin);
    }
    Verdict::drop(Class::DropUnsolicited)
}

#[inline(always)]
fn reply<T: State>(info: &PacketInfo, remote: &Remote, policy: &Policy, state: &T) -> Verdict {
    // Anything but the modem's own address would be forwarded, or is a broadcast.
    if !info.destination.eq_words(policy.modem(info.family)) {
        return Verdict::drop(Class::DropUnsolicited);
    }
    if remote.sent == 0 {
        return Verdict::drop(Class::DropStranger);
    }
    if !within_timeout(state.jiffies(), remote.sent, policy.flow_timeout) {
        return Verdict::drop(Class::DropExpired);
    }
    let mut verdict = first_fragment(Verdict::new(Action::Mark, Class::Reply), info);
    if !remote.source.is_none() {
        verdict.rewrite = Rewrite::Destination;
        verdict.address = remote.source;
    }
    verdict
}

/// An error is let in if the packet it quotes is one the tunnel has sent lately.
#[inline(always)]
fn error<T: State>(info: &PacketInfo, policy: &Policy, state: &T) -> Verdict {
    let quote = &info.quote;
    let modem = policy.modem(info.family);
    if quote.source.eq_words(modem)
        && info.destination.eq_words(modem)
        && let Some(remote) = state.remote(&remote_key(quote.destination, quote.destination_port))
        && (quote.source_port == policy.listen_port || remote.is_port(quote.source_port))
        && remote.sent != 0
        && within_timeout(state.jiffies(), remote.sent, policy.flow_timeout)
    {
        return Verdict::new(Action::Mark, Class::IcmpError);
    }
    Verdict::drop(Class::DropUnsolicited)
}
