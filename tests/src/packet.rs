//! What a captured frame is, by its bytes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::corpus::checksum::{self, pseudo_header};

/// A WireGuard message, recognised by its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// Handshake initiation, type 1.
    Initiation,
    /// Handshake response, type 2.
    Response,
    /// Cookie reply, type 3.
    Cookie,
    /// Transport data and keepalives, type 4.
    Data,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// UDP with a payload of WireGuard's shape, from and to any port.
    WireGuard(Message),
    /// Any other UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP, with its type.
    Icmp(u8),
    /// ICMPv6, with its type.
    Icmp6(u8),
    /// ARP.
    Arp,
    /// IP, of another protocol or a later fragment.
    OtherIp(u8),
    /// Not IP, with its Ethernet type.
    Other(u16),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WireGuard(Message::Initiation) => f.write_str("WireGuard initiation"),
            Self::WireGuard(Message::Response) => f.write_str("WireGuard response"),
            Self::WireGuard(Message::Cookie) => f.write_str("WireGuard cookie"),
            Self::WireGuard(Message::Data) => f.write_str("WireGuard data"),
            Self::Udp => f.write_str("UDP"),
            Self::Tcp => f.write_str("TCP"),
            Self::Icmp(kind) => write!(f, "ICMP type {kind}"),
            Self::Icmp6(kind) => write!(f, "ICMPv6 type {kind}"),
            Self::Arp => f.write_str("ARP"),
            Self::OtherIp(protocol) => write!(f, "IP protocol {protocol}"),
            Self::Other(ether_type) => write!(f, "Ethernet type {ether_type:#06x}"),
        }
    }
}

/// One packet, as far as the lab looks into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// What it carries.
    pub kind: Kind,
    /// Source and destination, if it is IP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Source and destination port, host byte order, if it is UDP or TCP.
    pub ports: Option<(u16, u16)>,
    /// Bytes from the IP header on.
    pub bytes: usize,
    /// Whether its checksum is right, if it is UDP, has one, and was seen whole. One that the
    /// sender leaves to its device is not right before that device has sent it.
    pub checksum: Option<bool>,
}

impl Packet {
    /// Looks at a frame that starts with an Ethernet header.
    pub fn of_ethernet(frame: &[u8]) -> Self {
        let ether_type = be16(frame, 12).unwrap_or(0);
        let body = frame.get(14..).unwrap_or_default();
        match ether_type {
            0x0800 | 0x86dd => Self::of_ip(body),
            0x0806 => Self::bare(Kind::Arp, body.len()),
            other => Self::bare(Kind::Other(other), body.len()),
        }
    }

    /// Looks at a frame that starts with the IP header.
    pub fn of_ip(body: &[u8]) -> Self {
        let seen = match body.first().map(|first| first >> 4) {
            Some(4) => ipv4(body),
            Some(6) => ipv6(body),
            _ => None,
        };
        seen.unwrap_or_else(|| Self::bare(Kind::Other(0), body.len()))
    }

    fn bare(kind: Kind, bytes: usize) -> Self {
        Self {
            kind,
            addresses: None,
            ports: None,
            bytes,
            checksum: None,
        }
    }

    /// The source address, if it is IP.
    pub fn source(&self) -> Option<IpAddr> {
        self.addresses.map(|(source, _)| source)
    }

    /// The destination address, if it is IP.
    pub fn destination(&self) -> Option<IpAddr> {
        self.addresses.map(|(_, destination)| destination)
    }

    /// Whether it is of WireGuard's shape.
    pub fn is_wireguard(&self) -> bool {
        matches!(self.kind, Kind::WireGuard(_))
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match (self.addresses, self.ports) {
            (Some((from, to)), Some((sport, dport))) => {
                write!(f, " {from}:{sport} > {to}:{dport}")?;
            }
            (Some((from, to)), None) => write!(f, " {from} > {to}")?,
            _ => {}
        }
        write!(f, ", {} bytes", self.bytes)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([word[0], word[1]]))
}

fn ipv4(body: &[u8]) -> Option<Packet> {
    let header = usize::from(body.first()? & 0x0f) * 4;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    let later_fragment = be16(body, 6)? & 0x1fff != 0;
    let protocol = *body.get(9)?;
    let (kind, ports) = if later_fragment {
        (Kind::OtherIp(protocol), None)
    } else {
        transport(protocol, body.get(header..)?)
    };
    let addresses = (address(12)?, address(16)?);
    Some(Packet {
        kind,
        addresses: Some(addresses),
        ports,
        bytes: usize::from(be16(body, 2)?),
        checksum: checksum(addresses, kind, body.get(header..)?),
    })
}

fn ipv6(body: &[u8]) -> Option<Packet> {
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    let mut protocol = *body.get(6)?;
    let mut rest = body.get(40..)?;
    // Hop-by-hop options precede multicast listener reports, which idle interfaces send.
    if protocol == 0 {
        protocol = *rest.first()?;
        let length = 8 + usize::from(*rest.get(1)?) * 8;
        rest = rest.get(length..)?;
    }
    let (kind, ports) = transport(protocol, rest);
    let addresses = (address(8)?, address(24)?);
    Some(Packet {
        kind,
        addresses: Some(addresses),
        ports,
        bytes: 40 + usize::from(be16(body, 4)?),
        checksum: checksum(addresses, kind, rest),
    })
}

fn transport(protocol: u8, segment: &[u8]) -> (Kind, Option<(u16, u16)>) {
    let ports = be16(segment, 0).zip(be16(segment, 2));
    match protocol {
        1 => (Kind::Icmp(segment.first().copied().unwrap_or(255)), None),
        58 => (Kind::Icmp6(segment.first().copied().unwrap_or(255)), None),
        6 => (Kind::Tcp, ports),
        17 => {
            let length = usize::from(be16(segment, 4).unwrap_or(0)).saturating_sub(8);
            let kind = segment
                .get(8..)
                .and_then(|payload| message(payload, length))
                .map_or(Kind::Udp, Kind::WireGuard);
            (kind, ports)
        }
        other => (Kind::OtherIp(other), None),
    }
}

/// Over the pseudo-header and the datagram; a right one comes to nothing.
fn checksum((source, destination): (IpAddr, IpAddr), kind: Kind, udp: &[u8]) -> Option<bool> {
    if !matches!(kind, Kind::Udp | Kind::WireGuard(_)) {
        return None;
    }
    let udp = udp.get(..usize::from(be16(udp, 4)?))?;
    match (be16(udp, 6)?, source) {
        (0, IpAddr::V4(_)) => None,
        // IPv6 knows no datagram without.
        (0, IpAddr::V6(_)) => Some(false),
        _ => {
            let pseudo = pseudo_header(source, destination, 17);
            Some(checksum::of(&[&pseudo, &checksum::length(udp), udp]) == 0)
        }
    }
}

fn message(payload: &[u8], length: usize) -> Option<Message> {
    match (payload.get(..4)?, length) {
        ([1, 0, 0, 0], 148) => Some(Message::Initiation),
        ([2, 0, 0, 0], 92) => Some(Message::Response),
        ([3, 0, 0, 0], 64) => Some(Message::Cookie),
        ([4, 0, 0, 0], 32..) => Some(Message::Data),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let total = (28 + payload.len()) as u16;
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([192, 168, 0, 2, 192, 0, 2, 10]);
        frame.extend(51821_u16.to_be_bytes());
        frame.extend(51820_u16.to_be_bytes());
        frame.extend(((8 + payload.len()) as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    fn shaped(kind: u8, length: usize) -> Vec<u8> {
        let mut payload = vec![0; length];
        payload[0] = kind;
        payload
    }

    #[test]
    fn wireguard_is_told_by_type_and_length() {
        for (kind, length, message) in [
            (1, 148, Message::Initiation),
            (2, 92, Message::Response),
            (3, 64, Message::Cookie),
            (4, 32, Message::Data),
            (4, 128, Message::Data),
            (4, 1412, Message::Data),
        ] {
            let packet = Packet::of_ethernet(&udp(&shaped(kind, length)));
            assert_eq!(packet.kind, Kind::WireGuard(message));
            assert_eq!(packet.ports, Some((51821, 51820)));
            assert_eq!(packet.bytes, 28 + length);
        }
        for (kind, length) in [(1, 147), (2, 93), (3, 63), (4, 16), (4, 31), (5, 32)] {
            let packet = Packet::of_ethernet(&udp(&shaped(kind, length)));
            assert_eq!(packet.kind, Kind::Udp, "type {kind}, {length} bytes");
        }
    }

    #[test]
    fn a_checksum_is_right_or_not_or_none() {
        use crate::corpus::packet::udp;
        let v6 = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
        let v4 = |host: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
        for (from, to) in [(v4(1), v4(2)), (v6(1), v6(2))] {
            let packet = udp((from, 1), (to, 2), shaped(4, 32));
            assert_eq!(Packet::of_ip(&packet.ip()).checksum, Some(true));
            let mut wrong = packet.ip();
            *wrong.last_mut().unwrap() ^= 1;
            assert_eq!(Packet::of_ip(&wrong).checksum, Some(false));
            let none = packet.unsummed().ip();
            let expected = from.is_ipv6().then_some(false);
            assert_eq!(Packet::of_ip(&none).checksum, expected);
            assert_eq!(Packet::of_ip(&none[..none.len() - 1]).checksum, None);
        }
    }

    #[test]
    fn padding_of_short_frames_is_not_payload() {
        let mut frame = udp(&[0xff]);
        frame.resize(60, 0);
        let packet = Packet::of_ethernet(&frame);
        assert_eq!((packet.kind, packet.bytes), (Kind::Udp, 29));
    }

    #[test]
    fn truncated_frames_are_something_else_and_no_panic() {
        let frame = udp(&shaped(1, 148));
        for length in 0..frame.len() {
            Packet::of_ethernet(&frame[..length]);
        }
        assert_eq!(Packet::of_ethernet(&frame[..20]).kind, Kind::Other(0));
    }
}
