//! The parser: from the bytes of a frame to [`PacketInfo`], its addresses, ports and shape.
//!
//! [`parse`] reads everything the policy knows of; [`plain_udp`] reads the one kind of packet
//! that matters for speed, with offsets that do not depend on the packet, and agrees with
//! [`parse`] wherever it answers.

mod icmp;
mod info;
mod link;
mod network;
pub mod numbers;
mod plain;
mod quote;
mod reader;
mod segments;
mod transport;
mod wireguard;

pub use info::{Family, Fragment, PacketInfo, ParseError, Payload, Quote};
pub use link::{ETHERNET_LEN, maybe_udp};
pub use network::MAX_EXTENSIONS;
pub use numbers::{ethertype, icmp_kind, protocol};
pub use plain::plain_udp;
pub use reader::{Plain, Reader};
pub use segments::{Joined, Wire, on_the_wire};
pub use wireguard::receiver;

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
