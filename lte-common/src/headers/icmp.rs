//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echoes, errors and what they quote, neighbour discovery.

use super::{Family, Fragment, PacketInfo, ParseError, Reader, network, protocol};
use crate::layout::Addr;

/// Types, as far as they matter here.
pub mod kind {
    /// Answer to an echo (ICMP).
    pub const ECHO_REPLY: u8 = 0;
    /// Echo (ICMP).
    pub const ECHO: u8 = 8;
    /// Echo (ICMPv6).
    pub const ECHO_V6: u8 = 128;
    /// Answer to an echo (ICMPv6).
    pub const ECHO_REPLY_V6: u8 = 129;
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
}

const HEADER_LEN: u16 = 8;

/// The packet an ICMP error is about, as far as it was UDP: from `source`, which is us, to
/// `destination`. Ports in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Source of the quoted packet.
    pub source: Addr,
    /// Destination of the quoted packet; [`Addr::NONE`] where nothing is quoted.
    pub destination: Addr,
    /// Source port of the quoted packet.
    pub source_port: u16,
    /// Destination port of the quoted packet.
    pub destination_port: u16,
}

impl Quote {
    /// Nothing is quoted, or nothing of UDP.
    pub const NONE: Self = Self {
        source: Addr::NONE,
        destination: Addr::NONE,
        source_port: 0,
        destination_port: 0,
    };
}

/// Errors that say something of a path: unreachable (with "fragmentation needed"), time
/// exceeded, parameter problem; ICMPv6 has "packet too big" as a type of its own. Redirects and
/// source quench are none.
#[inline(always)]
const fn is_error(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, 3 | 11 | 12),
        Family::V6 => matches!(kind, 1..=4),
    }
}

#[inline(always)]
pub(super) fn read<R: Reader>(
    reader: &R,
    mut info: PacketInfo,
    remaining: u16,
) -> Result<PacketInfo, ParseError> {
    let right = match info.family {
        Family::V4 => info.protocol == protocol::ICMP,
        Family::V6 => info.protocol == protocol::ICMPV6,
    };
    if !right {
        return Ok(info);
    }
    if remaining < HEADER_LEN {
        return Err(ParseError::Malformed);
    }
    let head: [u8; 8] = reader
        .load(usize::from(info.transport))
        .ok_or(ParseError::Malformed)?;
    info.icmp_type = head[0];
    if matches!(
        (info.family, head[0]),
        (Family::V4, kind::ECHO | kind::ECHO_REPLY)
            | (Family::V6, kind::ECHO_V6 | kind::ECHO_REPLY_V6)
    ) {
        info.source_port = u16::from_be_bytes([head[4], head[5]]);
    }
    // A quote that is itself in pieces is more than a path has to say.
    if is_error(info.family, head[0]) && matches!(info.fragment, Fragment::Whole) {
        let remaining = remaining - HEADER_LEN;
        info.quote = network::quoted(reader, info.transport + HEADER_LEN, remaining, info.family);
    }
    Ok(info)
}

#[inline(always)]
pub(super) fn ports<R: Reader>(reader: &R, at: u16, source: Addr, destination: Addr) -> Quote {
    match reader.load::<[u8; 4]>(usize::from(at)) {
        Some([a, b, c, d]) => Quote {
            source,
            destination,
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
        },
        None => Quote::NONE,
    }
}
