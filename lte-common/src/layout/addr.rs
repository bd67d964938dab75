//! IP addresses of both families in one type.

/// An IP address in network byte order; IPv4 as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr(pub [u32; 4]);

impl Addr {
    /// No address.
    pub const NONE: Self = Self([0; 4]);

    const MAPPED: u32 = 0x0000_ffff_u32.to_be();

    /// An IPv4 address from its word in network byte order.
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self([0, 0, Self::MAPPED, word])
    }

    /// An IPv4 address from its bytes.
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::v4(u32::from_ne_bytes(octets))
    }

    /// An IPv6 address from its bytes.
    pub const fn from_v6(o: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// The word of an IPv4 address, network byte order.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }

    /// The sixteen bytes, IPv4 mapped.
    pub const fn octets(&self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        let (a, b, c, d) = (
            a.to_ne_bytes(),
            b.to_ne_bytes(),
            c.to_ne_bytes(),
            d.to_ne_bytes(),
        );
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ]
    }

    /// Whether no address is set.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.0[0] | self.0[1] | self.0[2] | self.0[3] == 0
    }

    /// Word by word: a comparison of arrays would become a call to `memcmp`.
    #[inline(always)]
    pub const fn eq_words(&self, other: &Self) -> bool {
        (self.0[0] ^ other.0[0])
            | (self.0[1] ^ other.0[1])
            | (self.0[2] ^ other.0[2])
            | (self.0[3] ^ other.0[3])
            == 0
    }

    /// Whether no router forwards to it: an IPv6 address or group of the link's scope (`fe80::/10`,
    /// `ff02::/16`; RFC 4291, 2.5.6 and 2.7).
    #[inline(always)]
    pub const fn stays_on_link(&self) -> bool {
        let begin = u32::from_be(self.0[0]) >> 16;
        begin & 0xffc0 == 0xfe80 || begin == 0xff02
    }

    /// Whether both lie in one subnet of the given mask (network byte order).
    #[inline(always)]
    pub const fn same_subnet(&self, other: &Self, mask: &Self) -> bool {
        ((self.0[0] ^ other.0[0]) & mask.0[0])
            | ((self.0[1] ^ other.0[1]) & mask.0[1])
            | ((self.0[2] ^ other.0[2]) & mask.0[2])
            | ((self.0[3] ^ other.0[3]) & mask.0[3])
            == 0
    }
}

const _: () = assert!(size_of::<Addr>() == 16);
