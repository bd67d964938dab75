//! What leaves by the modem.

use super::sockets::is_sent_by_program;
use super::{Action, Class, Hook, Policy, Rewrite, SkbMeta, Sockets, State, StateUpdate, Verdict};
use crate::headers::{Family, Fragment, PacketInfo, Payload, icmp_kind, protocol};
use crate::layout::{Addr, FlowKey, FragmentKey, RemoteKey};

#[inline(always)]
pub(super) fn decide<T: State, S: Sockets>(
    info: &PacketInfo,
    meta: SkbMeta,
    policy: &Policy,
    state: &T,
    sockets: &S,
) -> Verdict {
    if !meta.local {
        return Verdict::drop(Class::DropForwarded);
    }
    if matches!(info.fragment, Fragment::Later) {
        return later_fragment(Hook::ModemOut, info, policy, state, sockets.sender());
    }
    if info.protocol == protocol::UDP {
        let ours = info.source_port == policy.listen_port
            // Steered here with a port that a masquerade on the uplink gave it.
            || policy.is_marked(meta.mark) && source_port_is_known(info, state);
        // Whoever holds the tunnel's port while WireGuard does not is a program like any other.
        if ours && !is_sent_by_program(info, sockets) {
            return tunnel(info, policy);
        }
    }
    if permitted(state, &flow_out(info)) {
        return first_fragment(Verdict::new(Action::Mark, Class::Permit), info);
    }
    if is_neighbour_discovery(info) {
        return Verdict::new(Action::Mark, Class::Neighbour);
    }
    if is_admin_request(info, policy) {
        let mut verdict = Verdict::new(Action::Mark, Class::Admin);
        verdict.update = StateUpdate::AdminFlow;
        return verdict;
    }
    Verdict::drop(Class::DropLocal)
}

#[inline(always)]
fn tunnel(info: &PacketInfo, policy: &Policy) -> Verdict {
    let class = match info.payload {
        Payload::WireGuard => Class::Tunnel,
        Payload::NatKeepalive => Class::NatKeepalive,
        Payload::Other => return Verdict::drop(Class::DropNotWireguard),
    };
    let mut verdict = first_fragment(Verdict::new(Action::Mark, class), info);
    verdict.update = StateUpdate::Remote;
    replace_source(&mut verdict, info, policy);
    verdict
}

/// WireGuard keeps to the source address it last used; on the modem only the modem's is right.
#[inline(always)]
pub(super) fn replace_source(verdict: &mut Verdict, info: &PacketInfo, policy: &Policy) {
    let modem = policy.modem(info.family);
    if !info.source.eq_words(modem) {
        verdict.rewrite = Rewrite::Source;
        verdict.address = *modem;
    }
}

#[inline(always)]
pub(super) fn first_fragment(mut verdict: Verdict, info: &PacketInfo) -> Verdict {
    verdict.fragments_follow = matches!(info.fragment, Fragment::First);
    verdict
}

/// A later fragment is treated as its first was. `sender` is the local port of the UDP socket it belongs to.
#[inline(always)]
pub(super) fn later_fragment<T: State>(
    hook: Hook,
    info: &PacketInfo,
    policy: &Policy,
    state: &T,
    sender: u16,
) -> Verdict {
    let key = fragment_key(hook, info, sender);
    match state.fragment(&key) {
        Some(value)
            if within_timeout(
                state.jiffies(),
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
pub(super) fn fragment_key(hook: Hook, info: &PacketInfo, sender: u16) -> FragmentKey {
    FragmentKey {
        source: info.source,
        destination: info.destination,
        ident: info.ident,
        hook: hook as u8,
        protocol: info.protocol,
        sender,
    }
}

/// Whether `then` is not longer ago than `timeout`; a clock read on another CPU may be behind.
#[inline(always)]
pub(super) const fn within_timeout(now: u64, then: u64, timeout: u64) -> bool {
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
fn source_port_is_known<T: State>(info: &PacketInfo, state: &T) -> bool {
    match state.remote(&remote_key(info.destination, info.destination_port)) {
        Some(remote) => remote.is_port(info.source_port),
        None => false,
    }
}

/// The flow of a packet on its way out.
#[inline(always)]
pub(super) fn flow_out(info: &PacketInfo) -> FlowKey {
    FlowKey {
        remote: info.destination,
        remote_port: info.destination_port,
        local_port: info.source_port,
        protocol: u32::from(info.protocol),
    }
}

/// Whether a permit for this flow, or for it with any remote, is open.
#[inline(always)]
pub(super) fn permitted<T: State>(state: &T, flow: &FlowKey) -> bool {
    is_open(state, flow) || permitted_any(state, flow)
}

/// Whether a permit for this flow with any remote is open.
#[inline(always)]
pub(super) fn permitted_any<T: State>(state: &T, flow: &FlowKey) -> bool {
    let mut flow = *flow;
    flow.remote = Addr::NONE;
    is_open(state, &flow)
}

#[inline(always)]
fn is_open<T: State>(state: &T, flow: &FlowKey) -> bool {
    matches!(state.permit(flow), Some(until) if state.monotonic_ns() < until)
}

/// Solicitations and advertisements of neighbours, which never come through a router (RFC 4861,
/// 7.1). Router solicitations and advertisements are none.
#[inline(always)]
pub(super) const fn is_neighbour_discovery(info: &PacketInfo) -> bool {
    matches!(info.family, Family::V6)
        && info.protocol == protocol::ICMPV6
        && info.hop_limit == 255
        && matches!(
            info.icmp_type,
            icmp_kind::NEIGHBOUR_SOLICITATION | icmp_kind::NEIGHBOUR_ADVERTISEMENT
        )
        && matches!(info.fragment, Fragment::Whole)
}

/// Behind options or extension headers it would be a source route's, whose last hop is not the modem.
#[inline(always)]
fn is_admin_request(info: &PacketInfo, policy: &Policy) -> bool {
    policy.is_admin(info.family, &info.destination)
        && info.is_bare()
        && matches!(info.fragment, Fragment::Whole)
        && match (info.family, info.protocol) {
            (_, protocol::TCP) => policy.is_admin_port(info.destination_port),
            (Family::V4, protocol::ICMP) => info.icmp_type == icmp_kind::ECHO,
            (Family::V6, protocol::ICMPV6) => info.icmp_type == icmp_kind::ECHO_V6,
            _ => false,
        }
}
