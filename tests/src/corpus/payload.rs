//! What UDP carries in the cases.

/// A payload of WireGuard's type byte, three zero bytes, and so many bytes in all.
pub fn shaped(kind: u8, len: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..len).map(|at| at as u8 ^ 0x5a).collect();
    for (at, byte) in [kind, 0, 0, 0].into_iter().enumerate().take(len) {
        payload[at] = byte;
    }
    payload
}

/// Handshake initiation.
pub fn initiation() -> Vec<u8> {
    shaped(1, 148)
}

/// Handshake response.
pub fn response() -> Vec<u8> {
    shaped(2, 92)
}

/// Cookie reply.
pub fn cookie() -> Vec<u8> {
    shaped(3, 64)
}

/// Transport data of so many bytes in all: 32 is WireGuard's own keepalive.
pub fn data(len: usize) -> Vec<u8> {
    shaped(4, len)
}

/// The receiver index of [`data`], as it lies in the message.
pub const RECEIVER: u32 = u32::from_ne_bytes([4 ^ 0x5a, 5 ^ 0x5a, 6 ^ 0x5a, 7 ^ 0x5a]);

/// One byte that keeps the carrier's NAT open.
pub const NAT_KEEPALIVE: [u8; 1] = [0xff];
