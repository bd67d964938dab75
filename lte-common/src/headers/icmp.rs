//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use super::numbers::icmp_kind::{self as kind, PATH_ERRORS, PATH_ERRORS_V6};
use super::numbers::protocol;
use super::{Family, Fragment, PacketInfo, ParseError, Reader, quote};

const HEADER_LEN: u16 = 8;

/// Whether it says something of a path.
#[inline(always)]
const fn is_error(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => {
            let [a, b, c] = PATH_ERRORS;
            kind == a || kind == b || kind == c
        }
        Family::V6 => {
            let [first, .., last] = PATH_ERRORS_V6;
            first <= kind && kind <= last
        }
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
        info.quote = quote::quoted(reader, info.transport + HEADER_LEN, remaining, info.family);
    }
    Ok(info)
}
