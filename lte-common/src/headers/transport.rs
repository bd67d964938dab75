//! UDP (RFC 768) and TCP (RFC 9293).

use super::numbers::protocol;
use super::numbers::wireguard::DATA;
use super::reader::Plain;
use super::wireguard::{shape, short_shape};
use super::{Fragment, PacketInfo, ParseError, Payload, Reader, icmp};

/// Bytes of a UDP header.
pub(super) const UDP_LEN: u16 = 8;

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
        self.payload_len() >= DATA.1
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
