//! What the headers of a packet say.

use super::network;
use crate::layout::Addr;

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
