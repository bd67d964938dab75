//! Numbers of the protocols, for the parser and for nftables' rules.

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

/// EtherTypes (IEEE 802 Numbers), host byte order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag (802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// A service VLAN tag (802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// Types of ICMP and ICMPv6 (IANA), as far as they matter here.
pub mod icmp_kind {
    /// Answer to an echo (ICMP).
    pub const ECHO_REPLY: u8 = 0;
    /// Echo (ICMP).
    pub const ECHO: u8 = 8;
    /// Echo (ICMPv6).
    pub const ECHO_V6: u8 = 128;
    /// Answer to an echo (ICMPv6).
    pub const ECHO_REPLY_V6: u8 = 129;
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Errors that say something of a path (ICMP): unreachable, with "fragmentation needed"; time
    /// exceeded; parameter problem. Redirects and source quench are none.
    pub const PATH_ERRORS: [u8; 3] = [3, 11, 12];
    /// The same of ICMPv6, where "packet too big" is a type of its own.
    pub const PATH_ERRORS_V6: [u8; 4] = [1, 2, 3, 4];
}

/// Bits of the word of flags and fragment offset in an IPv4 header (RFC 791, 3.1), host byte order.
pub mod ipv4_fragment {
    /// More fragments follow.
    pub const MORE: u16 = 0x2000;
    /// The offset, in units of eight bytes.
    pub const OFFSET: u16 = 0x1fff;
}

/// WireGuard's messages: of each the type, which is the first four bytes in little endian, and its bytes
/// (`drivers/net/wireguard/messages.h`).
pub mod wireguard {
    /// Handshake initiation.
    pub const INITIATION: (u32, u16) = (1, 148);
    /// Handshake response.
    pub const RESPONSE: (u32, u16) = (2, 92);
    /// Cookie reply.
    pub const COOKIE: (u32, u16) = (3, 64);
    /// Transport data, and the least that it has: an empty one is a keepalive. It is padded to a multiple
    /// of 16, but not beyond the tunnel's MTU, nor that of a route in it: a full packet has any length
    /// (`calculate_skb_padding` of `drivers/net/wireguard/send.c`).
    pub const DATA: (u32, u16) = (4, 32);
    /// The one byte of a NAT keepalive (RFC 3948, 2.3).
    pub const NAT_KEEPALIVE: u8 = 0xff;
}
