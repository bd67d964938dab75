//! UDP (RFC 768), TCP (RFC 9293) and the shapes of WireGuard's messages.

use super::reader::Plain;
use super::{Fragment, PacketInfo, ParseError, Reader, icmp, protocol};

/// What a UDP datagram carries, by its look.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// None of the below.
    Other = 0,
    /// A message of WireGuard: type 1 of 148 bytes, 2 of 92, 3 of 64, 4 of at least 32, with three
    /// zero bytes behind the type.
    WireGuard = 1,
    /// One byte `0xff`, a NAT keepalive (RFC 3948, 2.3).
    NatKeepalive = 2,
}

const UDP_LEN: u16 = 8;
/// The shortest of WireGuard's messages, an empty transport message.
const SHORTEST_MESSAGE: u16 = 32;

/// A UDP header; all in network byte order.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(super) struct Udp {
    source_port: u16,
    destination_port: u16,
    len: u16,
    _checksum: u16,
}

// SAFETY: integers only, packed to two, no padding.
unsafe impl Plain for Udp {}

impl Udp {
    #[inline(always)]
    pub(super) fn source_port(self) -> u16 {
        u16::from_be(self.source_port)
    }
    #[inline(always)]
    pub(super) fn destination_port(self) -> u16 {
        u16::from_be(self.destination_port)
    }
    /// Whether the length is possible in `remaining` bytes of a whole packet.
    #[inline(always)]
    pub(super) fn fits(self, remaining: u16) -> bool {
        let len = u16::from_be(self.len);
        len >= UDP_LEN && len <= remaining
    }
    #[inline(always)]
    pub(super) fn payload_len(self) -> u16 {
        u16::from_be(self.len).wrapping_sub(UDP_LEN)
    }
    #[inline(always)]
    pub(super) fn is_long(self) -> bool {
        self.payload_len() >= SHORTEST_MESSAGE
    }
}

/// The shape of at least [`SHORTEST_MESSAGE`] bytes that begin with `head`.
#[inline(always)]
pub(super) fn shape(len: u16, head: [u8; 4]) -> Payload {
    let right = match u32::from_le_bytes(head) {
        1 => len == 148,
        2 => len == 92,
        3 => len == 64,
        // Padded to a multiple of 16, but not beyond the tunnel's MTU, nor that of a route in it: a
        // full packet has any length (calculate_skb_padding of drivers/net/wireguard/send.c).
        4 => len >= SHORTEST_MESSAGE,
        _ => false,
    };
    if right {
        Payload::WireGuard
    } else {
        Payload::Other
    }
}

/// The shape of fewer bytes than that, which begin at `offset`.
#[inline(always)]
pub(super) fn short_shape<R: Reader>(reader: &R, offset: usize, len: u16) -> Payload {
    if len == 1 && reader.byte_is(offset, 0xff) {
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

/// Adds the fields of the transport header, of which `remaining` bytes are in the packet.
#[inline(always)]
pub(super) fn read<R: Reader>(
    reader: &R,
    info: PacketInfo,
    remaining: u16,
) -> Result<PacketInfo, ParseError> {
    if matches!(info.fragment, Fragment::Later) {
        return Ok(info);
    }
    match info.protocol {
        protocol::UDP => udp(reader, info, remaining),
        protocol::TCP => tcp(reader, info, remaining),
        protocol::ICMP | protocol::ICMPV6 => icmp::read(reader, info, remaining),
        _ => Ok(info),
    }
}

#[inline(always)]
fn udp<R: Reader>(
    reader: &R,
    mut info: PacketInfo,
    remaining: u16,
) -> Result<PacketInfo, ParseError> {
    let at = usize::from(info.transport);
    if remaining < UDP_LEN {
        return Err(ParseError::Malformed);
    }
    let udp = reader.load::<Udp>(at).ok_or(ParseError::Malformed)?;
    // A first fragment says the length of the whole datagram, more than it holds itself.
    let whole = matches!(info.fragment, Fragment::Whole);
    if whole && !udp.fits(remaining) || !whole && u16::from_be(udp.len) < UDP_LEN {
        return Err(ParseError::Malformed);
    }
    info.source_port = udp.source_port();
    info.destination_port = udp.destination_port();
    let at = at + usize::from(UDP_LEN);
    // Of a first fragment the payload may be in the next.
    info.payload = if !udp.is_long() && remaining > UDP_LEN {
        short_shape(reader, at, udp.payload_len())
    } else if udp.is_long() && remaining >= UDP_LEN + 4 {
        match reader.load(at) {
            Some(head) => shape(udp.payload_len(), head),
            None => Payload::Other,
        }
    } else {
        Payload::Other
    };
    Ok(info)
}

#[inline(always)]
fn tcp<R: Reader>(
    reader: &R,
    mut info: PacketInfo,
    remaining: u16,
) -> Result<PacketInfo, ParseError> {
    if remaining < 20 {
        return Err(ParseError::Malformed);
    }
    let [a, b, c, d] = reader
        .load::<[u8; 4]>(usize::from(info.transport))
        .ok_or(ParseError::Malformed)?;
    info.source_port = u16::from_be_bytes([a, b]);
    info.destination_port = u16::from_be_bytes([c, d]);
    Ok(info)
}
