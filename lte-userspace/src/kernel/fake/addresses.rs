//! Addresses, and the routes that come and go with them.

use std::net::{IpAddr, Ipv6Addr};

use super::{Answer, State};
use crate::config::Cidr;
use crate::desired::{Address, IpFamily};

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    pub(super) index: u32,
    pub(super) cidr: Cidr,
    /// Whether it brings its subnet's route.
    pub(super) prefix_route: bool,
    /// IPv4: whether another one of its subnet was there before it. It goes with that one.
    pub(super) secondary: bool,
}

impl State {
    pub(super) fn add_address(&mut self, index: u32, want: &Address) -> Answer<()> {
        let cidr = want.cidr;
        self.device(index)?;
        if cidr.address.is_ipv6() {
            self.check_ipv6(index)?;
        }
        let there = |found: &InterfaceAddress| {
            found.index == index
                && found.cidr.address == cidr.address
                && (cidr.address.is_ipv6() || found.cidr == cidr)
        };
        if self.addresses.iter().any(there) {
            return Err(libc::EEXIST);
        }
        let address = InterfaceAddress {
            index,
            cidr,
            prefix_route: want.prefix_route,
            secondary: cidr.address.is_ipv4() && self.has_primary(index, cidr),
        };
        self.addresses.push(address);
        if self.is_up(index) {
            self.add_prefix_route(&address);
        }
        Ok(())
    }

    fn check_ipv6(&self, index: u32) -> Answer<()> {
        if !self.ipv6 {
            Err(libc::EOPNOTSUPP)
        } else if !self.has_ipv6(index) {
            Err(libc::EINVAL)
        } else if self.refuses_ipv6(index) {
            Err(libc::EACCES)
        } else {
            Ok(())
        }
    }

    fn has_primary(&self, index: u32, cidr: Cidr) -> bool {
        self.addresses.iter().any(|found| {
            found.index == index && !found.secondary && found.cidr.network() == cidr.network()
        })
    }

    pub(super) fn remove_address(&mut self, index: u32, cidr: Cidr) -> Answer<()> {
        self.device(index)?;
        if cidr.address.is_ipv6() && !self.has_ipv6(index) {
            return Err(if self.ipv6 {
                libc::ENXIO
            } else {
                libc::EOPNOTSUPP
            });
        }
        let is_it = |found: &InterfaceAddress| found.index == index && found.cidr == cidr;
        let at = self.addresses.iter().position(is_it);
        let gone = self.addresses.remove(at.ok_or(libc::EADDRNOTAVAIL)?);
        let mut all_gone = vec![gone];
        if gone.cidr.address.is_ipv4() && !gone.secondary {
            let goes_along = |found: &mut InterfaceAddress| {
                found.index == index
                    && found.secondary
                    && found.cidr.network() == gone.cidr.network()
            };
            all_gone.extend(self.addresses.extract_if(.., goes_along));
        }
        if gone.prefix_route && !self.has_prefix(&gone) {
            self.drop_prefix_route(&gone);
        }
        for gone in all_gone {
            self.forget_source(gone.cidr.address);
        }
        let family = IpFamily::of(cidr.address);
        let is_last = !self
            .addresses
            .iter()
            .any(|found| found.index == index && IpFamily::of(found.cidr.address) == family);
        // Without an address an interface has no IPv4.
        if is_last && family == IpFamily::V4 {
            self.drop_routes_by(index, Some(IpFamily::V4));
        }
        Ok(())
    }

    /// Whether another address brings the same subnet's route.
    fn has_prefix(&self, gone: &InterfaceAddress) -> bool {
        self.addresses.iter().any(|found| {
            found.index == gone.index
                && found.prefix_route
                && found.cidr.network() == gone.cidr.network()
        })
    }

    /// Whether an address is this machine's.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|found| found.cidr.address == address)
    }

    /// Adds the address that IPv6 makes of an interface's hardware address.
    pub(super) fn add_link_local(&mut self, index: u32) {
        let Some(device) = self.devices.get(&index) else {
            return;
        };
        let mac = device.link.mac.as_deref();
        let mac: Option<[u8; 6]> = mac.and_then(|mac| mac.try_into().ok());
        let (Some(mac), false) = (mac, device.wireguard.is_some()) else {
            return;
        };
        if !self.has_ipv6(index) || self.refuses_ipv6(index) {
            return;
        }
        let mut address = [0; 16];
        address[..2].copy_from_slice(&[0xfe, 0x80]);
        address[8..11].copy_from_slice(&mac[..3]);
        address[8] ^= 2;
        address[11..13].copy_from_slice(&[0xff, 0xfe]);
        address[13..].copy_from_slice(&mac[3..]);
        let address = Ipv6Addr::from(address);
        let address = InterfaceAddress {
            index,
            cidr: Cidr::new(IpAddr::V6(address), 64),
            prefix_route: true,
            secondary: false,
        };
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }
}
