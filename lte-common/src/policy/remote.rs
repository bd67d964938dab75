//! The remotes of the tunnel: where an outer packet was sent.

use super::State;
use crate::headers::PacketInfo;
use crate::layout::{Addr, RemoteKey};

#[inline(always)]
pub(super) const fn remote_key(address: Addr, port: u16) -> RemoteKey {
    RemoteKey {
        address,
        port,
        pad: 0,
    }
}

/// Whether `then` is not longer ago than `timeout`; a clock read on another CPU may be behind.
#[inline(always)]
pub(super) const fn within_timeout(now: u64, then: u64, timeout: u64) -> bool {
    now.saturating_sub(then) <= timeout
}

/// Whether a masquerade gave the tunnel the packet's source port.
#[inline(always)]
pub(super) fn source_port_is_known<T: State>(info: &PacketInfo, state: &T) -> bool {
    match state.remote(&remote_key(info.destination, info.destination_port)) {
        Some(remote) => remote.is_port(info.source_port),
        None => false,
    }
}
