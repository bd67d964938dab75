//! Packets made field by field, with their checksums: what the cases are written with.
//!
//! It knows nothing of the parser under test. Every field that a case wants wrong can be set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// How frames start on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header.
    Raw,
}

impl Device {
    /// Bytes before the IP header, tags aside.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Ethernet => 14,
            Self::Raw => 0,
        }
    }
}

/// An address and a port, host byte order.
pub type Endpoint = (IpAddr, u16);

/// What is behind the IP header.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Transport {
    Udp {
        ports: (u16, u16),
        payload: Vec<u8>,
        summed: bool,
        length: Option<u16>,
    },
    Tcp {
        ports: (u16, u16),
        flags: u8,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
        body: Vec<u8>,
    },
    Bare {
        protocol: u8,
        body: Vec<u8>,
    },
}

/// An IPv6 extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, padding only.
    HopByHop,
    /// Destination options, padding of so many times eight bytes more.
    Destination(u8),
    /// A routing header with no segments left.
    Routing,
    /// An authentication header (RFC 4302) with an integrity value of 12 bytes.
    Auth,
    /// A fragment header: identification, offset in units of eight bytes, more to come.
    Fragment(u32, u16, bool),
}

/// A fragment of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FragmentRange {
    ident: u32,
    from: usize,
    len: usize,
    more: bool,
}

/// An IP packet under construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    tags: Vec<(u16, u16)>,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    fragment: Option<FragmentRange>,
    transport: Transport,
    ip_length: Option<u16>,
    version: Option<u8>,
    header_words: Option<u8>,
    padding: Vec<u8>,
    cut: Option<usize>,
}

/// A UDP datagram.
pub fn udp(from: Endpoint, to: Endpoint, payload: impl Into<Vec<u8>>) -> Packet {
    Packet::new(
        from.0,
        to.0,
        Transport::Udp {
            ports: (from.1, to.1),
            payload: payload.into(),
            summed: true,
            length: None,
        },
    )
}

/// A TCP segment with the given flags and no data.
pub fn tcp(from: Endpoint, to: Endpoint, flags: u8) -> Packet {
    let ports = (from.1, to.1);
    Packet::new(from.0, to.0, Transport::Tcp { ports, flags })
}

/// ICMP or ICMPv6, by the addresses; `rest` is the second word of its header.
pub fn icmp(
    from: IpAddr,
    to: IpAddr,
    (kind, code): (u8, u8),
    rest: [u8; 4],
    body: impl Into<Vec<u8>>,
) -> Packet {
    let body = body.into();
    let transport = Transport::Icmp {
        kind,
        code,
        rest,
        body,
    };
    Packet::new(from, to, transport)
}

/// Any other protocol.
pub fn bare(from: IpAddr, to: IpAddr, protocol: u8, body: impl Into<Vec<u8>>) -> Packet {
    let body = body.into();
    Packet::new(from, to, Transport::Bare { protocol, body })
}

impl Packet {
    fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            source,
            destination,
            hop_limit: 64,
            tags: Vec::new(),
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport,
            ip_length: None,
            version: None,
            header_words: None,
            padding: Vec::new(),
            cut: None,
        }
    }

    /// With another source address, and the checksums that go with it.
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = address;
        self
    }

    /// With another destination address, and the checksums that go with it.
    pub fn destination(mut self, address: IpAddr) -> Self {
        self.destination = address;
        self
    }

    /// With a TTL or hop limit other than 64.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// Behind a VLAN tag; called twice, the second is the inner one. 0x8100 or 0x88a8.
    pub fn tag(mut self, ether_type: u16, id: u16) -> Self {
        self.tags.push((ether_type, id));
        self
    }

    /// Without VLAN tags.
    pub fn untagged(mut self) -> Self {
        self.tags.clear();
        self
    }

    /// With so many words of IPv4 options, all "no operation".
    pub fn options(mut self, words: usize) -> Self {
        self.options = vec![1; words * 4];
        self
    }

    /// With an IPv4 source route of one hop behind the destination, loose or strict (RFC 791, 3.1).
    pub fn source_route(mut self, strict: bool, then: Ipv4Addr) -> Self {
        self.options = source_route(strict, then);
        self
    }

    /// With IPv6 extension headers.
    pub fn extensions(mut self, extensions: &[Extension]) -> Self {
        self.extensions.extend_from_slice(extensions);
        self
    }

    /// UDP without a checksum.
    pub fn unsummed(mut self) -> Self {
        if let Transport::Udp { summed, .. } = &mut self.transport {
            *summed = false;
        }
        self
    }

    /// UDP with a length field that says something else.
    pub fn udp_length(mut self, value: u16) -> Self {
        if let Transport::Udp { length, .. } = &mut self.transport {
            *length = Some(value);
        }
        self
    }

    /// IPv4 with this total length, IPv6 with this payload length.
    pub fn ip_length(mut self, value: u16) -> Self {
        self.ip_length = Some(value);
        self
    }

    /// With another version in the IP header.
    pub fn version(mut self, value: u8) -> Self {
        self.version = Some(value);
        self
    }

    /// IPv4 with this header length, in words, in its header.
    pub fn header_words(mut self, value: u8) -> Self {
        self.header_words = Some(value);
        self
    }

    /// The fragment of the datagram from byte `from` on, `len` bytes long at most. The last fragment
    /// is the one that reaches the datagram's end.
    pub fn fragment(mut self, ident: u32, from: usize, len: usize) -> Self {
        let more = from + len < self.transport_bytes().len();
        let fragment = FragmentRange {
            ident,
            from,
            len,
            more,
        };
        self.fragment = Some(fragment);
        self
    }

    /// With bytes behind the IP packet, as a link pads short frames.
    pub fn padding(mut self, bytes: &[u8]) -> Self {
        self.padding = bytes.to_vec();
        self
    }

    /// Ending behind so many bytes of the IP packet, whatever its headers say.
    pub fn cut(mut self, len: usize) -> Self {
        self.cut = Some(len);
        self
    }

    /// Bytes behind the IP header and its extensions, all fragments together.
    pub fn datagram_len(&self) -> usize {
        self.transport_bytes().len()
    }

    /// Source and destination.
    pub fn addresses(&self) -> (IpAddr, IpAddr) {
        (self.source, self.destination)
    }

    /// The receiver index that a data message of WireGuard bears, or its first fragment, as it lies in it;
    /// else 0.
    pub fn receiver(&self) -> u32 {
        let first = |fragment: FragmentRange| fragment.from == 0 && fragment.len >= 16;
        match &self.transport {
            Transport::Udp { payload, .. } if self.fragment.is_none_or(first) => {
                match payload[..] {
                    [4, 0, 0, 0, a, b, c, d, ..] if payload.len() >= 32 => {
                        u32::from_ne_bytes([a, b, c, d])
                    }
                    _ => 0,
                }
            }
            _ => 0,
        }
    }

    /// Bytes from the IP header on by the IP header's own word: what a carrier bills.
    pub fn billed(&self) -> u32 {
        let ip = self.ip();
        let word = |at: usize| u32::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
        match self.source {
            IpAddr::V4(_) => word(2),
            IpAddr::V6(_) => 40 + word(4),
        }
    }

    /// The frame on a device.
    pub fn frame(&self, device: Device) -> Vec<u8> {
        let mut frame = Vec::new();
        if device == Device::Ethernet {
            let ether_type = match self.source {
                IpAddr::V4(_) => 0x0800,
                IpAddr::V6(_) => 0x86dd,
            };
            frame = ethernet(&self.tags, ether_type);
        }
        let ip = self.ip();
        frame.extend_from_slice(&ip[..self.cut.unwrap_or(ip.len()).min(ip.len())]);
        frame.extend_from_slice(&self.padding);
        frame
    }

    /// The IP packet alone.
    ///
    /// # Panics
    /// Where source and destination are of two families: the case is written wrongly.
    pub fn ip(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let (transport, offset, more, ident) = match self.fragment {
            None => (&transport[..], 0, false, 0),
            Some(fragment) => {
                let end = transport.len().min(fragment.from + fragment.len);
                let units = (fragment.from / 8) as u16;
                (
                    &transport[fragment.from..end],
                    units,
                    fragment.more,
                    fragment.ident,
                )
            }
        };
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let fragment = offset | if more { 0x2000 } else { 0 };
                self.ipv4(source, destination, (ident as u16, fragment), transport)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut extensions = self.extensions.clone();
                if self.fragment.is_some() {
                    extensions.push(Extension::Fragment(ident, offset, more));
                }
                self.ipv6(source, destination, &extensions, transport)
            }
            (source, destination) => panic!("{source} and {destination} are of two families"),
        }
    }

    fn ipv4(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        (ident, fragment): (u16, u16),
        body: &[u8],
    ) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total = self.ip_length.unwrap_or((header_len + body.len()) as u16);
        let words = self.header_words.unwrap_or((header_len / 4) as u8);
        let mut ip = vec![self.version.unwrap_or(4) << 4 | words, 0];
        ip.extend(total.to_be_bytes());
        ip.extend(ident.to_be_bytes());
        ip.extend(fragment.to_be_bytes());
        ip.extend([self.hop_limit, self.protocol(), 0, 0]);
        ip.extend(source.octets());
        ip.extend(destination.octets());
        ip.extend_from_slice(&self.options);
        let sum = checksum::of(&[&ip]).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        ip.extend_from_slice(body);
        ip
    }

    fn ipv6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        extensions: &[Extension],
        body: &[u8],
    ) -> Vec<u8> {
        let mut next = self.protocol();
        let mut chain: Vec<u8> = Vec::new();
        for extension in extensions.iter().rev() {
            let (number, bytes) = extension.bytes(next);
            chain.splice(0..0, bytes);
            next = number;
        }
        chain.extend_from_slice(body);
        let mut ip = vec![self.version.unwrap_or(6) << 4, 0, 0, 0];
        ip.extend(self.ip_length.unwrap_or(chain.len() as u16).to_be_bytes());
        ip.extend([next, self.hop_limit]);
        ip.extend(source.octets());
        ip.extend(destination.octets());
        ip.extend(chain);
        ip
    }

    fn protocol(&self) -> u8 {
        match (&self.transport, self.source) {
            (Transport::Udp { .. }, _) => 17,
            (Transport::Tcp { .. }, _) => 6,
            (Transport::Icmp { .. }, IpAddr::V4(_)) => 1,
            (Transport::Icmp { .. }, IpAddr::V6(_)) => 58,
            (Transport::Bare { protocol, .. }, _) => *protocol,
        }
    }

    /// The whole datagram behind the IP header, with its checksum.
    fn transport_bytes(&self) -> Vec<u8> {
        let pseudo = checksum::pseudo_header(self.source, self.destination, self.protocol());
        match &self.transport {
            Transport::Udp {
                ports,
                payload,
                summed,
                length,
            } => {
                let length = length.unwrap_or((8 + payload.len()) as u16);
                let mut udp = Vec::new();
                udp.extend(ports.0.to_be_bytes());
                udp.extend(ports.1.to_be_bytes());
                udp.extend(length.to_be_bytes());
                udp.extend([0, 0]);
                udp.extend_from_slice(payload);
                if *summed {
                    let sum = match checksum::of(&[&pseudo, &checksum::length(&udp), &udp]) {
                        0 => 0xffff,
                        sum => sum,
                    };
                    udp[6..8].copy_from_slice(&sum.to_be_bytes());
                }
                udp
            }
            Transport::Tcp { ports, flags } => {
                let mut tcp = Vec::new();
                tcp.extend(ports.0.to_be_bytes());
                tcp.extend(ports.1.to_be_bytes());
                tcp.extend(1_u32.to_be_bytes());
                tcp.extend(0_u32.to_be_bytes());
                tcp.extend([5 << 4, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                let sum = checksum::of(&[&pseudo, &checksum::length(&tcp), &tcp]);
                tcp[16..18].copy_from_slice(&sum.to_be_bytes());
                tcp
            }
            Transport::Icmp {
                kind,
                code,
                rest,
                body,
            } => {
                let mut icmp = vec![*kind, *code, 0, 0];
                icmp.extend(rest);
                icmp.extend_from_slice(body);
                let sum = match self.source {
                    IpAddr::V4(_) => checksum::of(&[&icmp]),
                    IpAddr::V6(_) => checksum::of(&[&pseudo, &checksum::length(&icmp), &icmp]),
                };
                icmp[2..4].copy_from_slice(&sum.to_be_bytes());
                icmp
            }
            Transport::Bare { body, .. } => body.clone(),
        }
    }
}

impl Extension {
    /// Its number in the header before it, and its bytes.
    fn bytes(self, next: u8) -> (u8, Vec<u8>) {
        // PadN over all that is left (RFC 8200, 4.2).
        let padded = |units: u8| {
            let mut bytes = vec![next, units, 1, 4 + units * 8];
            bytes.resize(8 + usize::from(units) * 8, 0);
            bytes
        };
        match self {
            Self::HopByHop => (0, padded(0)),
            Self::Destination(units) => (60, padded(units)),
            Self::Routing => (43, vec![next, 0, 0, 0, 0, 0, 0, 0]),
            Self::Auth => {
                let mut bytes = vec![next, 4];
                bytes.resize(24, 0);
                (51, bytes)
            }
            Self::Fragment(ident, offset, more) => {
                let mut bytes = vec![next, 0];
                bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
                bytes.extend(ident.to_be_bytes());
                (44, bytes)
            }
        }
    }
}

/// The IPv4 options of a source route with one hop to come.
pub fn source_route(strict: bool, then: Ipv4Addr) -> Vec<u8> {
    let mut options = vec![if strict { 137 } else { 131 }, 7, 4];
    options.extend(then.octets());
    options.push(0);
    options
}

/// An Ethernet header with tags.
pub(super) fn ethernet(tags: &[(u16, u16)], ether_type: u16) -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (kind, id) in tags {
        header.extend(kind.to_be_bytes());
        header.extend(id.to_be_bytes());
    }
    header.extend(ether_type.to_be_bytes());
    header
}
