//! What is kept of a packet that passes.

use super::modem_out::{fragment_key, fresh, remote_key, talk_out};
use super::{Action, Hook, Memory, Note, Origin, Policy, REFRESH, Rewrite, Session, Verdict};
use crate::headers::{Facts, icmp_kind, protocol};
use crate::layout::{Addr, FragmentValue, Remote};

/// Writes to memory what the verdict says is to be remembered. To be called with the facts and
/// the mark as they were before anything was rewritten.
#[inline(always)]
pub fn remember<M: Memory, S: Session>(
    hook: Hook,
    facts: &Facts,
    origin: Origin,
    verdict: &Verdict,
    policy: &Policy,
    memory: &M,
    session: &S,
) {
    match verdict.note {
        Note::Nothing => {}
        Note::Remote => remote(hook, facts, origin, verdict, policy, memory, session),
        Note::Asked => {
            let mut talk = talk_out(facts);
            if facts.protocol != protocol::TCP {
                debug_assert!(matches!(
                    facts.icmp_type,
                    icmp_kind::ECHO | icmp_kind::ECHO_V6
                ));
                talk.remote_port = 0;
            }
            memory.put_asked(&talk, memory.now());
        }
    }
    if verdict.fragments_follow {
        memory.put_fragment(
            &fragment_key(hook, facts),
            &FragmentValue {
                seen: memory.now(),
                replace: match verdict.rewrite {
                    Rewrite::None => Addr::NONE,
                    Rewrite::Source | Rewrite::Destination => verdict.address,
                },
                marked: u64::from(matches!(verdict.action, Action::Mark | Action::Steer)),
            },
        );
    }
}

#[inline(always)]
fn remote<M: Memory, S: Session>(
    hook: Hook,
    facts: &Facts,
    origin: Origin,
    verdict: &Verdict,
    policy: &Policy,
    memory: &M,
    session: &S,
) {
    let key = remote_key(facts.destination, facts.destination_port);
    let known = memory.remote(&key);
    // On an uplink nothing has left yet: the modem's hook sees the packet next, marked, and it
    // is there that the time is noted and that the source noted here is kept.
    let steered = matches!(hook, Hook::ModemOut) && policy.is_marked(origin.mark);
    let now = match hook {
        Hook::UplinkOut => known.map_or(0, |r| r.sent),
        Hook::ModemOut | Hook::ModemIn => memory.now(),
    };
    let (source, source_port) = match known {
        Some(known) if steered => (known.source, known.source_port),
        _ => (
            match verdict.rewrite {
                Rewrite::None | Rewrite::Destination => Addr::NONE,
                Rewrite::Source => facts.source,
            },
            if facts.source_port == policy.listen_port {
                0
            } else {
                facts.source_port
            },
        ),
    };
    if let Some(known) = known
        && fresh(now, known.sent, policy.ticks(REFRESH))
        && known.sent != 0
        && known.source.same(&source)
        && known.source_port == source_port
    {
        return;
    }
    // Looked up anew: where nothing was known, the verifier would see registers kept over the call that
    // hold nothing.
    let receiver = match session.receiver(facts) {
        0 => match memory.remote(&key) {
            Some(known) => known.receiver,
            None => 0,
        },
        receiver => receiver,
    };
    memory.put_remote(
        &key,
        &Remote {
            sent: now,
            source,
            source_port,
            pad: 0,
            receiver,
        },
    );
}
