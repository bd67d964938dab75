//! What leaves by an uplink.

use super::modem_out::{first, later, remote_key, replace_source};
use super::sockets::is_a_programs;
use super::{Action, Class, Hook, Memory, Note, Origin, Policy, Session, Sockets, Verdict};
use crate::headers::{Facts, Fragment, Payload, protocol};

#[inline(always)]
pub(super) fn decide<M: Memory, S: Sockets + Session>(
    facts: &Facts,
    origin: Origin,
    policy: &Policy,
    memory: &M,
    sockets: &S,
) -> Verdict {
    if !origin.local || facts.protocol != protocol::UDP {
        return Verdict::UNTOUCHED;
    }
    let mut verdict = if matches!(facts.fragment, Fragment::Later) {
        later(Hook::UplinkOut, facts, policy, memory)
    } else {
        match whose(facts, policy, memory, sockets) {
            Whose::Others => return Verdict::UNTOUCHED,
            Whose::Unknown => return first(Verdict::drop(Class::DropAmbiguous), facts),
            Whose::Tunnels => {
                let mut verdict = first(Verdict::new(Action::Steer, Class::Steered), facts);
                verdict.note = Note::Remote;
                verdict
            }
        }
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

/// Whose datagram it is.
enum Whose {
    /// WireGuard has sent it by the tunnel.
    Tunnels,
    /// A program has sent it, or another WireGuard interface.
    Others,
    /// The one or the other.
    Unknown,
}

/// By the port; or, where a masquerade or somebody else may have changed that, by the remote, the shape,
/// and the session's index, or that the port is no socket's. What cannot be told is dropped: it costs neither the SIM's bytes nor shows
/// the uplink's address to the peer.
#[inline(always)]
fn whose<M: Memory, S: Sockets + Session>(
    facts: &Facts,
    policy: &Policy,
    memory: &M,
    sockets: &S,
) -> Whose {
    if facts.source_port == policy.listen_port {
        return if is_a_programs(facts, sockets) {
            Whose::Others
        } else {
            Whose::Tunnels
        };
    }
    if !matches!(facts.payload, Payload::WireGuard | Payload::NatKeepalive)
        || is_a_programs(facts, sockets)
    {
        return Whose::Others;
    }
    let Some(remote) = memory.remote(&remote_key(facts.destination, facts.destination_port)) else {
        return Whose::Others;
    };
    // Somebody moves WireGuard to another port: it sends from there, and holds the old one for an RCU
    // grace period (`wg_socket_reinit`). Nobody else knows the session's index.
    if remote.receiver != 0 && sockets.receiver(facts) == remote.receiver {
        return Whose::Tunnels;
    }
    let of_a_socket = sockets.is_bound(facts, facts.source_port);
    // While nobody holds the tunnel's port the socket may be WireGuard's, at a port that somebody has
    // given it. The socket of another port that a packet belongs to may be the program's that has sent
    // it, or that of a flow inside the tunnel.
    if !sockets.is_bound(facts, policy.listen_port) || !of_a_socket && sockets.sender() != 0 {
        return Whose::Unknown;
    }
    if of_a_socket {
        Whose::Others
    } else {
        Whose::Tunnels
    }
}
