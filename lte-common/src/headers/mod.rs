//! The parser: from the bytes of a frame to [`PacketInfo`], its addresses, ports and shape.
//!
//! [`parse`] reads everything the policy knows of; [`plain_udp`] reads the one kind of packet
//! that matters for speed, with offsets that do not depend on the packet, and agrees with
//! [`parse`] wherever it answers.

mod icmp;
mod link;
mod network;
mod reader;
mod segments;
mod transport;

pub use icmp::{Quote, kind as icmp_kind};
pub use link::{ETHERNET_LEN, ethertype, maybe_udp};
pub use network::{MAX_EXTENSIONS, plain_udp};
pub use reader::{Plain, Reader};
pub use segments::{Joined, Wire, on_the_wire};
pub use transport::{Payload, receiver};

use crate::layout::Addr;

/// IP protocol numbers (IANA), as far as they matter here.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// IP version.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// Where in its datagram a packet stands.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is all of it.
    Whole = 0,
    /// It is the first piece, with the transport header.
    First = 1,
    /// It is a later piece, without ports.
    Later = 2,
}

/// The header fields of an IP packet that the policy reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Bytes from the IP header on, by the IP header's own word: padding of the link is not of it.
    pub ip_len: u32,
    /// Identification of the datagram, where it is in pieces; else 0. Host byte order.
    pub ident: u32,
    /// Offset of the IP header in the frame, bytes.
    pub network: u16,
    /// Offset of the transport header in the frame, bytes.
    pub transport: u16,
    /// Source port of UDP and TCP, identifier of an ICMP echo; else 0. Host byte order.
    pub source_port: u16,
    /// Destination port of UDP and TCP; else 0. Host byte order.
    pub destination_port: u16,
    /// IP version.
    pub family: Family,
    /// Protocol number of the transport, behind IPv6's extension headers.
    pub protocol: u8,
    /// Whole or a piece.
    pub fragment: Fragment,
    /// What UDP carries.
    pub payload: Payload,
    /// Type of ICMP and ICMPv6; else 0.
    pub icmp_type: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// What an ICMP error quotes.
    pub quote: Quote,
}

impl PacketInfo {
    /// Whether nothing stands between the IP header and the transport's: no options, no extension headers.
    #[inline(always)]
    pub const fn is_bare(&self) -> bool {
        self.transport - self.network
            == match self.family {
                Family::V4 => network::IPV4_LEN,
                Family::V6 => network::IPV6_LEN,
            }
    }
}

/// Why a frame was not parsed.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// ARP: not IP, and wanted.
    Arp,
    /// Neither IP nor ARP.
    NotIp,
    /// Shorter than its headers say, or headers that contradict themselves.
    Malformed,
    /// More extension headers than are walked.
    TooManyHeaders,
}

/// Reads a frame that begins with a link header of `link_len` bytes ([`ETHERNET_LEN`] or 0).
///
/// Up to two VLAN tags behind an Ethernet header are passed over.
///
/// # Errors
/// [`ParseError`] says why not.
#[inline(always)]
pub fn parse<R: Reader>(reader: &R, link_len: u16) -> Result<PacketInfo, ParseError> {
    let (info, remaining) = match link::network(reader, link_len)? {
        (at, Family::V4) => network::ipv4(reader, at)?,
        (at, Family::V6) => network::ipv6(reader, at)?,
    };
    transport::read(reader, info, remaining)
}
