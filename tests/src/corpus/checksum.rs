//! The internet checksum (RFC 1071), computed over all bytes, and corrected for a change
//! (RFC 1624).

use std::net::IpAddr;

/// The checksum of the parts as one run of bytes; each part but the last has an even length.
pub fn of(parts: &[&[u8]]) -> u16 {
    !parts.iter().fold(0, |sum, part| add(sum, part))
}

fn add(sum: u16, bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// What a checksum becomes when `old` is replaced by `new` somewhere in what it covers
/// (RFC 1624, equation 3).
pub fn corrected(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let inverted: Vec<u8> = old.iter().map(|byte| !byte).collect();
    !add(add(!checksum, &inverted), new)
}

/// The addresses and the protocol of a pseudo-header; the length is a part of its own, since it
/// is the datagram's and not the packet's.
pub(crate) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8) -> Vec<u8> {
    let mut pseudo = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend([0, protocol]);
    pseudo
}

/// The length of a datagram as a pseudo-header has it.
pub(crate) fn length(datagram: &[u8]) -> [u8; 4] {
    (datagram.len() as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, 3.
    #[test]
    fn the_sum_of_the_rfc() {
        assert_eq!(
            !of(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]),
            0xddf2
        );
    }

    #[test]
    fn a_corrected_checksum_is_the_computed_one() {
        let old = [0x45, 0, 0, 0x54, 0, 0, 0x40, 0, 0x40, 0x11, 192, 168, 0, 2];
        let mut new = old;
        new[10..14].copy_from_slice(&[203, 0, 113, 9]);
        assert_eq!(corrected(of(&[&old]), &old[10..], &new[10..]), of(&[&new]));
    }
}
