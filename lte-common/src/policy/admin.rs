//! The modem's own page and its echo.

use super::flow::is_echo_reply;
use super::remote::within_timeout;
use super::{Policy, State};
use crate::headers::{Family, Fragment, PacketInfo, icmp_kind, protocol};
use crate::layout::FlowKey;

/// How long an answer of the modem's own page is awaited, seconds.
const ADMIN_TIMEOUT: u64 = 120;

/// Behind options or extension headers it would be a source route's, whose last hop is not the modem.
#[inline(always)]
pub(super) fn is_admin_request(info: &PacketInfo, policy: &Policy) -> bool {
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

/// Whether it answers a request to the admin page that was sent lately.
#[inline(always)]
pub(super) fn is_admin_answer<T: State>(
    info: &PacketInfo,
    policy: &Policy,
    state: &T,
    flow: &FlowKey,
) -> bool {
    if !policy.is_admin(info.family, &info.source)
        || !info.destination.eq_words(policy.modem(info.family))
        || info.protocol != protocol::TCP && !is_echo_reply(info)
    {
        return false;
    }
    match state.admin_flow(flow) {
        Some(then) => within_timeout(state.jiffies(), then, policy.ticks(ADMIN_TIMEOUT)),
        None => false,
    }
}
