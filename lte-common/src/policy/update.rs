//! State updates by a packet that passes.

use super::flow::flow_out;
use super::fragment::fragment_key;
use super::remote::{remote_key, within_timeout};
use super::{
    Action, Hook, Policy, REFRESH, Rewrite, Session, SkbMeta, Sockets, State, StateUpdate, Verdict,
};
use crate::headers::{PacketInfo, icmp_kind, protocol};
use crate::layout::{Addr, FragmentValue, Remote};

/// Writes the state update of a verdict. To be called with the header fields and
/// the mark as they were before anything was rewritten.
#[inline(always)]
pub fn update_state<T: State, S: Sockets + Session>(
    hook: Hook,
    info: &PacketInfo,
    meta: SkbMeta,
    verdict: &Verdict,
    policy: &Policy,
    state: &T,
    sockets: &S,
) {
    match verdict.update {
        StateUpdate::None => {}
        StateUpdate::Remote => {
            // What enters is never the tunnel's own.
            if !matches!(hook, Hook::ModemIn) && remote(hook, info, meta, verdict, policy, state) {
                note_session(info, state, sockets);
            }
        }
        StateUpdate::AdminFlow => {
            let mut flow = flow_out(info);
            if info.protocol != protocol::TCP {
                debug_assert!(matches!(
                    info.icmp_type,
                    icmp_kind::ECHO | icmp_kind::ECHO_V6
                ));
                flow.remote_port = 0;
            }
            state.put_admin_flow(&flow, state.jiffies());
        }
    }
    if verdict.fragments_follow {
        let sender = match hook {
            Hook::ModemOut | Hook::UplinkOut => sockets.sender(),
            Hook::ModemIn => 0,
        };
        state.put_fragment(
            &fragment_key(hook, info, sender),
            &FragmentValue {
                seen: state.jiffies(),
                replace: match verdict.rewrite {
                    Rewrite::None => Addr::NONE,
                    Rewrite::Source | Rewrite::Destination => verdict.address,
                },
                marked: u64::from(matches!(verdict.action, Action::Mark | Action::Steer)),
            },
        );
    }
}

/// Notes where the tunnel sends to. Whether its session is to be noted, too: once in a while, and where none is
/// known.
#[inline(always)]
fn remote<T: State>(
    hook: Hook,
    info: &PacketInfo,
    meta: SkbMeta,
    verdict: &Verdict,
    policy: &Policy,
    state: &T,
) -> bool {
    let key = remote_key(info.destination, info.destination_port);
    let known = state.remote(&key);
    // On an uplink nothing has left yet: the modem's hook sees the packet next, marked, and it
    // is there that the time is noted and that the source noted here is kept.
    let steered = matches!(hook, Hook::ModemOut) && policy.is_marked(meta.mark);
    let now = match hook {
        Hook::UplinkOut => known.map_or(0, |r| r.sent),
        Hook::ModemOut | Hook::ModemIn => state.jiffies(),
    };
    let (source, source_port) = match known {
        Some(known) if steered => (known.source, known.source_port),
        _ => (
            match verdict.rewrite {
                Rewrite::None | Rewrite::Destination => Addr::NONE,
                Rewrite::Source => info.source,
            },
            if info.source_port == policy.listen_port {
                0
            } else {
                info.source_port
            },
        ),
    };
    if let Some(known) = known
        && within_timeout(now, known.sent, policy.ticks(REFRESH))
        && known.sent != 0
        && known.source.eq_words(&source)
        && known.source_port == source_port
    {
        return known.receiver == 0;
    }
    state.put_remote(
        &key,
        &Remote {
            sent: now,
            source,
            source_port,
            pad: 0,
            receiver: match known {
                Some(known) => known.receiver,
                None => 0,
            },
        },
    );
    true
}

/// Notes the session of a data message. A step of its own, with a look-up of its own: where nothing was known
/// of the remote, the verifier would see registers kept over the call that hold nothing.
#[inline(always)]
fn note_session<T: State, S: Session>(info: &PacketInfo, state: &T, session: &S) {
    let receiver = session.receiver(info);
    if receiver == 0 {
        return;
    }
    let key = remote_key(info.destination, info.destination_port);
    if let Some(mut known) = state.remote(&key)
        && known.receiver != receiver
    {
        known.receiver = receiver;
        state.put_remote(&key, &known);
    }
}
