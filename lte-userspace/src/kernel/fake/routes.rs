//! Routes, as the messages by which the running kernel reports them.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::addresses::InterfaceAddress;
use super::{Answer, State};
use crate::config::Cidr;
use crate::desired::{IpFamily, Route};
use crate::kernel::MAIN_TABLE;
use crate::kernel::route::{self, IPV6_METRIC, destination, interfaces, metric, table};

/// The metric of a subnet's route of IPv6 (`IP6_RT_PRIO_ADDRCONF`).
const IPV6_PREFIX_METRIC: u32 = 256;
/// What stands for a table whose number does not fit the header (`RT_TABLE_COMPAT`).
const COMPAT_TABLE: u8 = 252;

pub(super) fn is_ipv4(message: &RouteMessage) -> bool {
    message.header.address_family == AddressFamily::Inet
}

fn family(message: &RouteMessage) -> IpFamily {
    if is_ipv4(message) {
        IpFamily::V4
    } else {
        IpFamily::V6
    }
}

fn to(message: &RouteMessage) -> Cidr {
    destination(message).unwrap_or(family(message).everything())
}

fn gateway(message: &RouteMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Gateway(via) => route::address(via),
        _ => None,
    })
}

fn source(message: &RouteMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|a| match a {
        RouteAttribute::PrefSource(from) => route::address(from),
        _ => None,
    })
}

/// By what the kernel tells routes apart where one is in another's place.
fn key(message: &RouteMessage) -> (IpFamily, u32, Cidr, u8, u32) {
    let tos = message.header.tos;
    let family = family(message);
    (family, table(message), to(message), tos, metric(message))
}

/// The place of an attribute in what the kernel reports.
fn rank(attribute: &RouteAttribute) -> u8 {
    match attribute {
        RouteAttribute::Table(_) => 0,
        RouteAttribute::Destination(_) => 1,
        RouteAttribute::Priority(_) => 2,
        RouteAttribute::PrefSource(_) => 3,
        RouteAttribute::Gateway(_) => 4,
        RouteAttribute::Oif(_) => 5,
        _ => 6,
    }
}

/// As the kernel will report it.
fn normalised(mut message: RouteMessage) -> RouteMessage {
    let table = table(&message);
    message.header.table = u8::try_from(table).unwrap_or(COMPAT_TABLE);
    let attributes = &mut message.attributes;
    if !attributes.contains(&RouteAttribute::Table(table)) {
        attributes.push(RouteAttribute::Table(table));
    }
    if family(&message) == IpFamily::V6 && metric(&message) == 0 {
        let metric = RouteAttribute::Priority(IPV6_METRIC);
        message.attributes.push(metric);
    }
    message.attributes.sort_by_key(rank);
    message
}

impl State {
    /// Adds a route; with `replace` in the place of the one with its key.
    pub(super) fn add_route(&mut self, message: RouteMessage, replace: bool) -> Answer<()> {
        let message = normalised(message);
        if is_ipv4(&message) {
            self.check_ipv4(&message)?;
        } else {
            self.check_ipv6_route(&message)?;
        }
        let key_of_it = key(&message);
        let there = |found: &&mut RouteMessage| key(found) == key_of_it;
        match self.routes.iter_mut().find(there) {
            Some(_) if !replace => return Err(libc::EEXIST),
            Some(found) => *found = message,
            None => self.routes.push(message),
        }
        Ok(())
    }

    /// `fib_create_info`, net/ipv4/fib_semantics.c.
    fn check_ipv4(&self, message: &RouteMessage) -> Answer<()> {
        let to = to(message);
        if to.network() != to {
            return Err(libc::EINVAL);
        }
        for index in interfaces(message) {
            if !self.devices.contains_key(&index) {
                return Err(libc::ENODEV);
            }
            if let Some(gateway) = gateway(message)
                && !self.is_on_link(gateway, index, table(message))
            {
                return Err(libc::ENETUNREACH);
            }
            if !self.is_up(index) {
                return Err(libc::ENETDOWN);
            }
        }
        self.check_source(message)
    }

    /// `ip6_route_info_create`, net/ipv6/route.c.
    fn check_ipv6_route(&self, message: &RouteMessage) -> Answer<()> {
        if !self.ipv6 {
            return Err(libc::EOPNOTSUPP);
        }
        for index in interfaces(message) {
            if !self.has_ipv6(index) {
                return Err(libc::ENODEV);
            }
            if let Some(gateway) = gateway(message)
                && !is_link_local(gateway)
                && !self.is_on_link(gateway, index, table(message))
            {
                return Err(libc::EHOSTUNREACH);
            }
            if self.refuses_ipv6(index) {
                return Err(libc::EACCES);
            }
            if !self.is_up(index) {
                return Err(libc::ENETDOWN);
            }
        }
        self.check_source(message)
    }

    fn check_source(&self, message: &RouteMessage) -> Answer<()> {
        match source(message) {
            Some(source) if !self.is_local(source) => Err(libc::EINVAL),
            _ => Ok(()),
        }
    }

    /// Whether a route of the table, or of the main one, has an address on the link of an interface.
    fn is_on_link(&self, address: IpAddr, index: u32, of: u32) -> bool {
        self.routes.iter().any(|found| {
            [of, MAIN_TABLE].contains(&table(found))
                && found.header.kind == RouteType::Unicast
                && gateway(found).is_none()
                && interfaces(found) == [index]
                && to(found).contains(address)
        })
    }

    /// Removes the first route that a message names.
    pub(super) fn remove_route(&mut self, named: &RouteMessage) -> Answer<()> {
        let is_it = |found: &RouteMessage| {
            let header = &found.header;
            let wanted = &named.header;
            let same_metric = metric(named) == 0 || metric(found) == metric(named);
            let by_ipv4 = !is_ipv4(named)
                || (header.tos, header.scope, header.kind)
                    == (wanted.tos, wanted.scope, wanted.kind)
                    && source(named).is_none_or(|source| self::source(found) == Some(source));
            header.address_family == wanted.address_family
                && (table(found), to(found)) == (table(named), to(named))
                && header.protocol == wanted.protocol
                && gateway(named).is_none_or(|via| gateway(found) == Some(via))
                && interfaces(found) == interfaces(named)
                && same_metric
                && by_ipv4
        };
        let at = self.routes.iter().position(is_it).ok_or(libc::ESRCH)?;
        self.routes.remove(at);
        Ok(())
    }

    /// The routes by an interface go, of a family or of both.
    pub(super) fn drop_routes_by(&mut self, index: u32, of: Option<IpFamily>) {
        self.routes.retain(|found| {
            let by = interfaces(found);
            let by_it = !by.is_empty() && by.iter().all(|one| *one == index);
            !by_it || of.is_some_and(|of| family(found) != of)
        });
    }

    /// An address has gone: what names it as its source goes or changes. Of IPv4, routes of the main table go,
    /// and those of other tables stay as they are (`fib_sync_down_addr` compares the table); of IPv6, routes stay
    /// without a source.
    pub(super) fn forget_source(&mut self, address: IpAddr) {
        if self.is_local(address) {
            return;
        }
        match address {
            IpAddr::V4(_) => self
                .routes
                .retain(|found| table(found) != MAIN_TABLE || source(found) != Some(address)),
            IpAddr::V6(_) => {
                for found in &mut self.routes {
                    found.attributes.retain(|attribute| {
                        !matches!(attribute, RouteAttribute::PrefSource(from) if route::address(from) == Some(address))
                    });
                }
            }
        }
    }

    /// Adds the route that an address brings.
    pub(super) fn add_prefix_route(&mut self, address: &InterfaceAddress) {
        if address.prefix_route
            && !address.secondary
            && address.cidr.prefix_len < address.cidr.bits()
            && let Some(route) = prefix_route(address)
            && !self.routes.contains(&route)
        {
            self.routes.push(route);
        }
    }

    /// Removes it.
    pub(super) fn drop_prefix_route(&mut self, address: &InterfaceAddress) {
        if let Some(route) = prefix_route(address) {
            self.routes.retain(|found| *found != route);
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The subnet's route in the main table, of the kernel's own making.
fn prefix_route(address: &InterfaceAddress) -> Option<RouteMessage> {
    let cidr = address.cidr;
    let route = Route {
        destination: cidr.network(),
        gateway: None,
        interface: String::new(),
        source: Some(cidr.address).filter(IpAddr::is_ipv4),
        table: MAIN_TABLE,
    };
    let mut message = route::message(&route, address.index);
    message.header.protocol = RouteProtocol::Kernel;
    if cidr.address.is_ipv6() {
        message.header.scope = RouteScope::Universe;
        let metric = RouteAttribute::Priority(IPV6_PREFIX_METRIC);
        message.attributes.push(metric);
    }
    (cidr.prefix_len > 0).then(|| normalised(message))
}
