//! The shapes of WireGuard's messages.

use super::numbers::wireguard::{COOKIE, DATA, INITIATION, NAT_KEEPALIVE, RESPONSE};
use super::transport::UDP_LEN;
use super::{PacketInfo, Payload, Reader};

/// The shape of a payload of at least the shortest message, that begins with `head`.
#[inline(always)]
pub(super) fn shape(len: u16, head: [u8; 4]) -> Payload {
    let right = match (u32::from_le_bytes(head), len) {
        INITIATION | RESPONSE | COOKIE => true,
        (kind, len) => kind == DATA.0 && len >= DATA.1,
    };
    if right {
        Payload::WireGuard
    } else {
        Payload::Other
    }
}

/// The shape of a shorter payload, which begins at `offset`.
#[inline(always)]
pub(super) fn short_shape<R: Reader>(reader: &R, offset: usize, len: u16) -> Payload {
    if len == 1 && reader.byte_is(offset, NAT_KEEPALIVE) {
        Payload::NatKeepalive
    } else {
        Payload::Other
    }
}

/// The receiver index of a transport data message, which names the session at the peer; 0 where it is none
/// such, or a piece of one that ends before. As it lies in the message (little endian).
#[inline(always)]
pub fn receiver<R: Reader>(reader: &R, info: &PacketInfo) -> u32 {
    if !matches!(info.payload, Payload::WireGuard) {
        return 0;
    }
    let at = usize::from(info.transport) + usize::from(UDP_LEN);
    match reader.load::<[u8; 8]>(at) {
        Some([4, 0, 0, 0, a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}
