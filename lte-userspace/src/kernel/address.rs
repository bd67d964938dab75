//! Addresses on interfaces.

use std::net::IpAddr;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

use super::{Kernel, KernelError};
use crate::config::Cidr;
use crate::desired::Address;

/// An address as observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedAddress {
    /// The interface's index.
    pub index: u32,
    /// The address.
    pub cidr: Cidr,
}

impl ObservedAddress {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut address = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        // On a point-to-point link `Address` is the other end's.
        let own: IpAddr = local.or(address)?;
        Some(Self {
            index: message.header.index,
            cidr: Cidr::new(own, message.header.prefix_len),
        })
    }
}

impl Kernel {
    /// All addresses of all interfaces.
    pub async fn addresses(&self) -> Result<Vec<ObservedAddress>, KernelError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump("listing the addresses", request, |reply| match reply {
            RouteNetlinkMessage::NewAddress(message) => ObservedAddress::from_message(&message),
            _ => None,
        })
        .await
    }

    /// Adds an address to the interface of an index.
    pub async fn add_address(&self, index: u32, address: &Address) -> Result<(), KernelError> {
        let Cidr {
            address: ip,
            prefix_len,
        } = address.cidr;
        let mut request = self.handle().address().add(index, ip, prefix_len);
        let flags = flags(address);
        if !flags.is_empty() {
            request
                .message_mut()
                .attributes
                .push(AddressAttribute::Flags(flags));
        }
        self.with_deadline(request.execute(), format!("adding {address}"))
            .await
    }

    /// Removes an address.
    pub async fn remove_address(&self, index: u32, cidr: Cidr) -> Result<(), KernelError> {
        // The request type builds the very message that deleting needs.
        let mut add = self
            .handle()
            .address()
            .add(index, cidr.address, cidr.prefix_len);
        let message = std::mem::take(add.message_mut());
        self.with_deadline(
            self.handle().address().del(message).execute(),
            format!("removing address {cidr}"),
        )
        .await
    }
}

/// Duplicates are not looked for: an IPv6 address could not be a route's source until that is
/// done, a second or two after the link is up, and no other host chooses the config's addresses.
fn flags(address: &Address) -> AddressFlags {
    let mut flags = AddressFlags::empty();
    flags.set(AddressFlags::Noprefixroute, !address.prefix_route);
    flags.set(AddressFlags::Nodad, address.cidr.address.is_ipv6());
    flags
}
