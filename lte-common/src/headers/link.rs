//! The link's header: Ethernet with VLAN tags, or none.

use super::numbers::{ethertype, protocol};
use super::{Family, ParseError, Reader};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_LEN: u16 = 14;

const VLAN_TAG_LEN: u16 = 4;

#[inline(always)]
fn type_at<R: Reader + ?Sized>(reader: &R, offset: u16) -> Result<u16, ParseError> {
    reader
        .load::<u16>(usize::from(offset))
        .map(u16::from_be)
        .ok_or(ParseError::Malformed)
}

#[inline(always)]
const fn is_vlan(kind: u16) -> bool {
    matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN)
}

/// Where the IP header is, and of which family.
#[inline(always)]
pub(super) fn network<R: Reader + ?Sized>(
    reader: &R,
    link_len: u16,
) -> Result<(u16, Family), ParseError> {
    if link_len == 0 {
        return match reader.load::<u8>(0) {
            Some(b) if b >> 4 == 4 => Ok((0, Family::V4)),
            Some(b) if b >> 4 == 6 => Ok((0, Family::V6)),
            Some(_) => Err(ParseError::NotIp),
            None => Err(ParseError::Malformed),
        };
    }
    let mut at = link_len;
    let mut kind = type_at(reader, link_len - 2)?;
    if is_vlan(kind) {
        at += VLAN_TAG_LEN;
        kind = type_at(reader, at - 2)?;
        if is_vlan(kind) {
            at += VLAN_TAG_LEN;
            kind = type_at(reader, at - 2)?;
        }
    }
    match kind {
        ethertype::IPV4 => Ok((at, Family::V4)),
        ethertype::IPV6 => Ok((at, Family::V6)),
        // A tagged ARP is of another network than the modem's.
        ethertype::ARP if at == link_len => Err(ParseError::Arp),
        _ => Err(ParseError::NotIp),
    }
}

/// Whether a frame could carry UDP; `false` is certain. Reads at fixed offsets only, so that
/// traffic which is none of ours costs next to nothing.
#[inline(always)]
pub fn maybe_udp<R: Reader + ?Sized>(reader: &R, link_len: u16) -> bool {
    let family = if link_len == 0 {
        // Two bytes: at offset 0 the verifier learns nothing from a check for one.
        match reader.load::<u16>(0).map(|word| u16::from_be(word) >> 12) {
            Some(4) => ethertype::IPV4,
            Some(6) => ethertype::IPV6,
            _ => return false,
        }
    } else {
        match type_at(reader, link_len - 2) {
            Ok(kind) => kind,
            Err(_) => return false,
        }
    };
    match family {
        ethertype::IPV4 => reader.load::<u8>(usize::from(link_len) + 9) == Some(protocol::UDP),
        ethertype::IPV6 => match reader.load::<u8>(usize::from(link_len) + 6) {
            Some(next) => next == protocol::UDP || super::network::is_extension(next),
            None => false,
        },
        kind => is_vlan(kind),
    }
}
