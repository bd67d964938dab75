//! The flow of a packet, as this side sees it.

use crate::headers::{Family, PacketInfo, icmp_kind, protocol};
use crate::layout::FlowKey;

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

/// The flow of a packet on its way in. An echo's identifier stands where the source port
/// does, in the question and in the answer.
#[inline(always)]
pub(super) fn flow_in(info: &PacketInfo) -> FlowKey {
    let (remote_port, local_port) = if is_echo_reply(info) {
        (0, info.source_port)
    } else {
        (info.source_port, info.destination_port)
    };
    FlowKey {
        remote: info.source,
        remote_port,
        local_port,
        protocol: u32::from(info.protocol),
    }
}

#[inline(always)]
pub(super) const fn is_icmp(info: &PacketInfo) -> bool {
    matches!(info.protocol, protocol::ICMP | protocol::ICMPV6)
}

#[inline(always)]
pub(super) const fn is_echo_reply(info: &PacketInfo) -> bool {
    matches!(
        (info.family, info.protocol, info.icmp_type),
        (Family::V4, protocol::ICMP, icmp_kind::ECHO_REPLY)
            | (Family::V6, protocol::ICMPV6, icmp_kind::ECHO_REPLY_V6)
    )
}
