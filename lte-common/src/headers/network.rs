//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use super::numbers::ipv4_fragment;
use super::reader::Plain;
use super::{Family, Fragment, PacketInfo, ParseError, Payload, Quote, Reader};
use crate::layout::Addr;

/// IPv6 extension headers that are walked before a packet is refused.
pub const MAX_EXTENSIONS: usize = 6;

/// Bytes of an IPv4 header without options.
pub(super) const IPV4_LEN: u16 = 20;
/// Bytes of an IPv6 header.
pub(super) const IPV6_LEN: u16 = 40;
const FRAGMENT_LEN: u16 = 8;

/// An IPv4 header without options; all in network byte order.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(super) struct Ipv4 {
    pub(super) version_ihl: u8,
    _tos: u8,
    pub(super) total_len: u16,
    pub(super) ident: u16,
    pub(super) frag: u16,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    _checksum: u16,
    pub(super) source: u32,
    pub(super) destination: u32,
}

// SAFETY: integers only, packed to two, no padding.
unsafe impl Plain for Ipv4 {}

/// An IPv6 header; all in network byte order.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub(super) struct Ipv6 {
    _version: u32,
    pub(super) payload_len: u16,
    pub(super) next: u8,
    pub(super) hop_limit: u8,
    pub(super) source: [u32; 4],
    pub(super) destination: [u32; 4],
}

// SAFETY: integers only, packed to two, no padding.
unsafe impl Plain for Ipv6 {}

const _: () = {
    assert!(size_of::<Ipv4>() == IPV4_LEN as usize);
    assert!(size_of::<Ipv6>() == IPV6_LEN as usize);
};

/// Extension headers of IPv6 that stand before a transport header (RFC 8200, 4; RFC 4302;
/// RFC 6275). ESP and "no next header" end the walk: nothing behind them can be read.
#[inline(always)]
pub(super) const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTH | DESTINATION | MOBILITY
    )
}
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTH: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

/// Parses an IPv4 header. Returns how many bytes of the packet are behind it, too.
#[inline(always)]
pub(super) fn ipv4<R: Reader>(reader: &R, at: u16) -> Result<(PacketInfo, u16), ParseError> {
    let ip = reader
        .load::<Ipv4>(usize::from(at))
        .ok_or(ParseError::Malformed)?;
    let header_len = u16::from(ip.version_ihl & 0xf) * 4;
    let ip_len = u16::from_be(ip.total_len);
    if ip.version_ihl >> 4 != 4
        || header_len < IPV4_LEN
        || ip_len < header_len
        || u32::from(at) + u32::from(ip_len) > reader.frame_len()
    {
        return Err(ParseError::Malformed);
    }
    let frag = u16::from_be(ip.frag);
    let fragment = if frag & ipv4_fragment::OFFSET != 0 {
        Fragment::Later
    } else if frag & ipv4_fragment::MORE != 0 {
        Fragment::First
    } else {
        Fragment::Whole
    };
    let info = PacketInfo {
        source: Addr::v4(ip.source),
        destination: Addr::v4(ip.destination),
        ip_len: u32::from(ip_len),
        ident: match fragment {
            Fragment::Whole => 0,
            _ => u32::from(u16::from_be(ip.ident)),
        },
        network: at,
        transport: at + header_len,
        source_port: 0,
        destination_port: 0,
        family: Family::V4,
        protocol: ip.protocol,
        fragment,
        payload: Payload::Other,
        icmp_type: 0,
        hop_limit: ip.ttl,
        quote: Quote::NONE,
    };
    Ok((info, ip_len - header_len))
}

/// Parses an IPv6 header and its extension headers. Returns how many bytes are behind them, too.
#[inline(always)]
pub(super) fn ipv6<R: Reader>(reader: &R, at: u16) -> Result<(PacketInfo, u16), ParseError> {
    let ip = reader
        .load::<Ipv6>(usize::from(at))
        .ok_or(ParseError::Malformed)?;
    let payload_len = u16::from_be(ip.payload_len);
    let ip_len = u32::from(payload_len) + u32::from(IPV6_LEN);
    if u32::from(at) + ip_len > reader.frame_len() {
        return Err(ParseError::Malformed);
    }
    let mut next = ip.next;
    let mut skipped: u16 = 0;
    let mut fragment = Fragment::Whole;
    let mut ident = 0;
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(next) || matches!(fragment, Fragment::Later) {
            break;
        }
        // No header begins beyond the payload, and so none of these sums overflows.
        if u32::from(skipped) + u32::from(FRAGMENT_LEN) > u32::from(payload_len) {
            return Err(ParseError::Malformed);
        }
        let head: [u8; 8] = reader
            .load(usize::from(at) + usize::from(IPV6_LEN) + usize::from(skipped))
            .ok_or(ParseError::Malformed)?;
        let len = match next {
            FRAGMENT => {
                let frag = u16::from_be_bytes([head[2], head[3]]);
                ident = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                fragment = if frag & !0x7 != 0 {
                    Fragment::Later
                } else if frag & 1 != 0 {
                    Fragment::First
                } else {
                    Fragment::Whole
                };
                FRAGMENT_LEN
            }
            AUTH => (u16::from(head[1]) + 2) * 4,
            _ => (u16::from(head[1]) + 1) * 8,
        };
        next = head[0];
        skipped = skipped.checked_add(len).ok_or(ParseError::Malformed)?;
    }
    if is_extension(next) && !matches!(fragment, Fragment::Later) {
        return Err(ParseError::TooManyHeaders);
    }
    let remaining = payload_len
        .checked_sub(skipped)
        .ok_or(ParseError::Malformed)?;
    let info = PacketInfo {
        source: Addr(ip.source),
        destination: Addr(ip.destination),
        ip_len,
        ident: match fragment {
            Fragment::Whole => 0,
            _ => ident,
        },
        network: at,
        transport: at + IPV6_LEN + skipped,
        source_port: 0,
        destination_port: 0,
        family: Family::V6,
        protocol: next,
        fragment,
        payload: Payload::Other,
        icmp_type: 0,
        hop_limit: ip.hop_limit,
        quote: Quote::NONE,
    };
    Ok((info, remaining))
}
