//! An address with the length of its subnet's prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `192.168.0.2/24`: an address, and its subnet's prefix length in bits. Host bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix, at most 32 or 128.
    pub prefix_len: u8,
}

impl Cidr {
    /// An address with its prefix length, which must fit its family.
    pub const fn new(address: IpAddr, prefix_len: u8) -> Self {
        Self {
            address,
            prefix_len,
        }
    }

    /// One address alone.
    pub const fn host(address: IpAddr) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self::new(address, bits)
    }

    /// The length of an address of this family, in bits.
    pub const fn bits(&self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// The subnet: the same prefix with all host bits zero.
    #[must_use]
    pub fn network(&self) -> Self {
        let host_bits = u32::from(self.bits() - self.prefix_len);
        let address = match self.address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(
                a.to_bits() & u32::MAX.unbounded_shl(host_bits),
            )),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(
                a.to_bits() & u128::MAX.unbounded_shl(host_bits),
            )),
        };
        Self::new(address, self.prefix_len)
    }

    /// The subnet's last address; IPv4's broadcast address.
    pub fn last(&self) -> IpAddr {
        let host_bits = u32::from(self.bits() - self.prefix_len);
        match self.network().address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(
                a.to_bits() | !u32::MAX.unbounded_shl(host_bits),
            )),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(
                a.to_bits() | !u128::MAX.unbounded_shl(host_bits),
            )),
        }
    }

    /// Whether the subnet contains an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self::new(address, self.prefix_len).network() == self.network()
    }

    /// Whether the subnet contains another one, or is the same.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix_len <= other.prefix_len && self.contains(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Why a text is no address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// There is no `/`.
    #[error("the prefix length is missing: write it as in 192.168.0.2/24")]
    NoPrefix,
    /// What stands before the `/` is no address.
    #[error("no IP address stands before the `/`: write it as in 192.168.0.2/24")]
    Address,
    /// What stands after the `/` is no prefix length of this family.
    #[error("the prefix length must be a whole number from 0 to {0}")]
    Prefix(u8),
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or(CidrError::NoPrefix)?;
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // u8's own parser takes "+8", which no other tool does.
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(CidrError::Prefix(bits));
        }
        match prefix.parse::<u8>() {
            Ok(prefix_len) if prefix_len <= bits => Ok(Self::new(address, prefix_len)),
            _ => Err(CidrError::Prefix(bits)),
        }
    }
}

/// Whether networks of one family together are a default route in disguise: they cover half of
/// all addresses or more, or all of IPv6's global unicast space.
pub(in crate::config) fn amounts_to_default_route(networks: &[Cidr]) -> bool {
    let global = Cidr::new(IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), 3);
    covered(networks, |net| net.address.is_ipv4()) >= 1 << 127
        || covered(networks, |net| net.address.is_ipv6()) >= 1 << 127
        || networks.iter().any(|net| net.covers(&global))
        || covered(networks, |net| global.covers(net)) >= 1 << 125
}

/// The part of the address space that the chosen networks cover, in units of 2^-128 of it.
fn covered(networks: &[Cidr], choose: impl Fn(&Cidr) -> bool) -> u128 {
    let mut chosen: Vec<Cidr> = networks
        .iter()
        .filter(|net| choose(net))
        .map(Cidr::network)
        .collect();
    chosen.sort_unstable_by_key(|net| (net.prefix_len, net.address));
    chosen.dedup();
    let mut kept: Vec<Cidr> = Vec::new();
    for net in chosen {
        if !kept.iter().any(|wider| wider.covers(&net)) {
            kept.push(net);
        }
    }
    kept.iter()
        .map(|net| match net.prefix_len {
            0 => u128::MAX,
            len => 1 << (128 - u32::from(len)),
        })
        .fold(0, u128::saturating_add)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    reason = "a wrong literal in a test is to fail it"
)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn parses_and_prints() {
        for text in [
            "192.168.0.2/24",
            "0.0.0.0/0",
            "10.0.0.1/32",
            "fd00::1/64",
            "::/0",
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("192.168.0.2".parse::<Cidr>(), Err(CidrError::NoPrefix));
        assert_eq!("192.168.0/24".parse::<Cidr>(), Err(CidrError::Address));
        assert_eq!("192.168.0.2/33".parse::<Cidr>(), Err(CidrError::Prefix(32)));
        assert_eq!("192.168.0.2/+8".parse::<Cidr>(), Err(CidrError::Prefix(32)));
        assert_eq!("192.168.0.2/".parse::<Cidr>(), Err(CidrError::Prefix(32)));
        assert_eq!("fd00::1/129".parse::<Cidr>(), Err(CidrError::Prefix(128)));
    }

    #[test]
    fn knows_its_subnet() {
        let modem: Cidr = "192.168.0.2/24".parse().unwrap();
        assert_eq!(modem.network().to_string(), "192.168.0.0/24");
        assert_eq!(modem.last().to_string(), "192.168.0.255");
        assert!(modem.contains("192.168.0.1".parse().unwrap()));
        assert!(!modem.contains("192.168.1.1".parse().unwrap()));
        assert!(!modem.contains("fd00::1".parse().unwrap()));
        let all: Cidr = "1.2.3.4/0".parse().unwrap();
        assert_eq!(all.network().to_string(), "0.0.0.0/0");
        assert!(all.contains("255.255.255.255".parse().unwrap()));
    }

    #[test]
    fn sees_a_default_route_in_disguise() {
        for disguised in [
            &["0.0.0.0/0"][..],
            &["::/0"],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["128.0.0.0/1"],
            &["0.0.0.0/2", "64.0.0.0/2"],
            &["0.0.0.0/2", "0.0.0.0/3", "64.0.0.0/3", "96.0.0.0/3"],
            &["2000::/3"],
            &["2000::/4", "3000::/4"],
            &["::/1"],
        ] {
            assert!(amounts_to_default_route(&nets(disguised)), "{disguised:?}");
        }
        for honest in [
            &["10.88.88.2/32"][..],
            &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
            &["0.0.0.0/2", "0.0.0.0/2", "0.0.0.0/3"],
            &[],
        ] {
            assert!(!amounts_to_default_route(&nets(honest)), "{honest:?}");
        }
    }
}
