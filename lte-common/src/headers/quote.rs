//! What an ICMP error quotes.

use super::network::{IPV4_LEN, IPV6_LEN, Ipv4, Ipv6};
use super::numbers::{ipv4_fragment, protocol};
use super::{Family, Quote, Reader};
use crate::layout::Addr;

/// Bytes of a UDP header's ports.
const PORTS_LEN: u16 = 4;

/// What an ICMP error quotes in `remaining` bytes: the head of a packet of ours, perhaps cut off behind
/// its ports.
#[inline(always)]
pub(super) fn quoted<R: Reader>(reader: &R, at: u16, remaining: u16, family: Family) -> Quote {
    match family {
        Family::V4 => {
            let Some(ip) = reader.load::<Ipv4>(usize::from(at)) else {
                return Quote::NONE;
            };
            let header_len = u16::from(ip.version_ihl & 0xf) * 4;
            if ip.version_ihl >> 4 != 4
                || header_len < IPV4_LEN
                || remaining < header_len + PORTS_LEN
                || ip.protocol != protocol::UDP
                || u16::from_be(ip.frag) & ipv4_fragment::OFFSET != 0
            {
                return Quote::NONE;
            }
            ports(
                reader,
                at + header_len,
                Addr::v4(ip.source),
                Addr::v4(ip.destination),
            )
        }
        Family::V6 => {
            let Some(ip) = reader.load::<Ipv6>(usize::from(at)) else {
                return Quote::NONE;
            };
            if remaining < IPV6_LEN + PORTS_LEN || ip.next != protocol::UDP {
                return Quote::NONE;
            }
            ports(reader, at + IPV6_LEN, Addr(ip.source), Addr(ip.destination))
        }
    }
}

#[inline(always)]
fn ports<R: Reader>(reader: &R, at: u16, source: Addr, destination: Addr) -> Quote {
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
