//! What leaves by an uplink.

use super::modem_out::{first, later, remote_key, replace_source};
use super::{Action, Class, Hook, Memory, Note, Origin, Policy, Verdict};
use crate::headers::{Facts, Fragment, Payload, protocol};

#[inline(always)]
pub(super) fn decide<M: Memory>(
    facts: &Facts,
    origin: Origin,
    policy: &Policy,
    memory: &M,
) -> Verdict {
    if !origin.local || facts.protocol != protocol::UDP {
        return Verdict::UNTOUCHED;
    }
    let mut verdict = if matches!(facts.fragment, Fragment::Later) {
        later(Hook::UplinkOut, facts, policy, memory)
    } else if is_tunnel(facts, policy, memory) {
        let mut verdict = first(Verdict::new(Action::Steer, Class::Steered), facts);
        verdict.note = Note::Remote;
        verdict
    } else {
        return Verdict::UNTOUCHED;
    };
    if !matches!(verdict.action, Action::Steer) {
        return verdict;
    }
    if policy.modem_index == 0 || policy.modem(facts.family).is_none() {
        let mut gone = Verdict::drop(Class::DropModemGone);
        // Later pieces have no port by which they could be told.
        gone.fragments_follow = verdict.fragments_follow;
        return gone;
    }
    replace_source(&mut verdict, facts, policy);
    verdict
}

/// By the port; or, where a masquerade may have changed that, by the remote and the shape.
#[inline(always)]
fn is_tunnel<M: Memory>(facts: &Facts, policy: &Policy, memory: &M) -> bool {
    facts.source_port == policy.listen_port
        || matches!(facts.payload, Payload::WireGuard | Payload::NatKeepalive)
            && memory
                .remote(&remote_key(facts.destination, facts.destination_port))
                .is_some()
}
