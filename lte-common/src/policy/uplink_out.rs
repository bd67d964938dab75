//! What leaves by an uplink.

use super::fragment::{first_fragment, later_fragment};
use super::remote::remote_key;
use super::sockets::is_sent_by_program;
use super::{Action, Class, Hook, Policy, Session, SkbMeta, Sockets, State, StateUpdate, Verdict};
use crate::headers::{Fragment, PacketInfo, Payload, protocol};

#[inline(always)]
pub(super) fn decide<T: State, S: Sockets + Session>(
    info: &PacketInfo,
    meta: SkbMeta,
    policy: &Policy,
    state: &T,
    sockets: &S,
) -> Verdict {
    if !meta.local || info.protocol != protocol::UDP {
        return Verdict::UNTOUCHED;
    }
    let mut verdict = if matches!(info.fragment, Fragment::Later) {
        later_fragment(Hook::UplinkOut, info, policy, state, sockets.sender())
    } else {
        match owner(info, policy, state, sockets) {
            Owner::Other => return Verdict::UNTOUCHED,
            Owner::Unknown => return first_fragment(Verdict::drop(Class::DropAmbiguous), info),
            Owner::Tunnel => {
                let mut verdict = first_fragment(Verdict::new(Action::Steer, Class::Steered), info);
                verdict.update = StateUpdate::Remote;
                verdict
            }
        }
    };
    if !matches!(verdict.action, Action::Steer) {
        return verdict;
    }
    if policy.modem_index == 0 || policy.modem(info.family).is_none() {
        let mut gone = Verdict::drop(Class::DropModemGone);
        // Later fragments have no port to be recognised by.
        gone.fragments_follow = verdict.fragments_follow;
        return gone;
    }
    verdict.replace_source(info, policy);
    verdict
}

/// Whose datagram it is.
enum Owner {
    /// WireGuard has sent it by the tunnel.
    Tunnel,
    /// A program has sent it, or another WireGuard interface.
    Other,
    /// The one or the other.
    Unknown,
}

/// By the port; or, where a masquerade or another program may have changed that, by the remote, the shape,
/// and the session's index, or that the port is no socket's. Of a machine whose packets no hook of the IP
/// stack here has seen, as of a container on a macvlan, by the source: it is no address of this machine.
/// What may be either is dropped: it costs no bytes of the SIM and does not show the uplink's address to the
/// peer.
#[inline(always)]
fn owner<T: State, S: Sockets + Session>(
    info: &PacketInfo,
    policy: &Policy,
    state: &T,
    sockets: &S,
) -> Owner {
    if info.source_port == policy.listen_port {
        return if is_sent_by_program(info, sockets)
            || sockets.is_foreign(info) && !is_of_session(info, state, sockets)
        {
            Owner::Other
        } else {
            Owner::Tunnel
        };
    }
    if !matches!(info.payload, Payload::WireGuard | Payload::NatKeepalive)
        || is_sent_by_program(info, sockets)
    {
        return Owner::Other;
    }
    let Some(remote) = state.remote(&remote_key(info.destination, info.destination_port)) else {
        return Owner::Other;
    };
    // WireGuard is moved to another port: it sends from there, and holds the old one for an RCU
    // grace period (`wg_socket_reinit`). No other program knows the session's index.
    if remote.receiver != 0 && sockets.receiver(info) == remote.receiver {
        return Owner::Tunnel;
    }
    if sockets.is_foreign(info) {
        return Owner::Other;
    }
    let of_a_socket = sockets.is_bound(info, info.source_port);
    // While no socket holds the tunnel's port the socket may be WireGuard's, at a port that it has been
    // given. The socket of another port that a packet belongs to may be the program's that has sent
    // it, or that of a flow inside the tunnel.
    if !sockets.is_bound(info, policy.listen_port) || !of_a_socket && sockets.sender() != 0 {
        return Owner::Unknown;
    }
    if of_a_socket {
        Owner::Other
    } else {
        Owner::Tunnel
    }
}

/// Whether it is a data message of the tunnel's session with this remote.
#[inline(always)]
fn is_of_session<T: State>(info: &PacketInfo, state: &T, session: &impl Session) -> bool {
    match state.remote(&remote_key(info.destination, info.destination_port)) {
        Some(remote) => remote.receiver != 0 && session.receiver(info) == remote.receiver,
        None => false,
    }
}
