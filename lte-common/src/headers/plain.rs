//! The one kind of packet that matters for speed, at offsets that do not depend on the packet.

use super::network::{IPV4_LEN, Ipv4};
use super::numbers::{ethertype, ipv4_fragment, protocol};
use super::transport::Udp;
use super::{Family, Fragment, PacketInfo, Quote, Reader, wireguard};
use crate::layout::Addr;

/// The quick way: IPv4 without options or UDP over IPv6 without extensions, whole, untagged.
///
/// `None` says nothing about the packet: [`parse`](super::parse) does.
#[inline(always)]
pub fn plain_udp<R: Reader>(reader: &R, link_len: u16) -> Option<PacketInfo> {
    let at = usize::from(link_len);
    if link_len != 0 {
        let kind = reader.load::<u16>(at - 2).map(u16::from_be)?;
        if kind != ethertype::IPV4 {
            return None;
        }
    }
    let ip = reader.load::<Ipv4>(at)?;
    if ip.version_ihl != 0x45
        || ip.protocol != protocol::UDP
        || u16::from_be(ip.frag) & (ipv4_fragment::MORE | ipv4_fragment::OFFSET) != 0
    {
        return None;
    }
    let ip_len = u16::from_be(ip.total_len);
    if u32::from(ip_len) + u32::from(link_len) > reader.frame_len() {
        return None;
    }
    let udp = reader.load::<Udp>(at + usize::from(IPV4_LEN))?;
    let remaining = ip_len.checked_sub(IPV4_LEN)?;
    if !udp.fits(remaining) {
        return None;
    }
    let payload = if udp.is_long() {
        wireguard::shape(udp.payload_len(), reader.load(at + 28)?)
    } else {
        wireguard::short_shape(reader, at + 28, udp.payload_len())
    };
    Some(PacketInfo {
        source: Addr::v4(ip.source),
        destination: Addr::v4(ip.destination),
        ip_len: u32::from(ip_len),
        ident: 0,
        network: link_len,
        transport: link_len + IPV4_LEN,
        source_port: udp.source_port(),
        destination_port: udp.destination_port(),
        family: Family::V4,
        protocol: protocol::UDP,
        fragment: Fragment::Whole,
        payload,
        icmp_type: 0,
        hop_limit: ip.ttl,
        quote: Quote::NONE,
    })
}
