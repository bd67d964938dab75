//! Routes: ours, and the default routes of others, by which the uplinks are known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteProtocol,
    RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Kernel, KernelError, MAIN_TABLE, PROTOCOL, is_absent, is_ours};
use crate::config::Cidr;
use crate::desired::{IpFamily, Route};

/// What the routing tables hold, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Those with our protocol number.
    pub ours: Vec<ObservedRoute>,
    /// Everybody else's in the main table, but for the default routes, where they were asked for.
    pub in_main: Vec<RouteMessage>,
    /// Everybody else's in our table, where they were asked for.
    pub in_ours: Vec<RouteMessage>,
    /// Interfaces over which a default route of others leads, by index, alike.
    pub defaults: BTreeSet<u32>,
}

/// A route of ours as observed.
#[derive(Debug, Clone)]
pub struct ObservedRoute {
    /// What it says; `None` where it is of a kind that we never make.
    pub route: Option<Route>,
    /// As the kernel reported it, to be removed exactly.
    pub message: RouteMessage,
}

impl Routes {
    /// Our routes among those that were listed.
    pub(super) fn ours_among(listed: Vec<RouteMessage>, names: &BTreeMap<u32, String>) -> Self {
        let ours = listed
            .into_iter()
            .filter(|message| is_ours(message.header.protocol));
        Self {
            ours: ours
                .map(|message| ObservedRoute {
                    route: parse(&message, names),
                    message,
                })
                .collect(),
            ..Self::default()
        }
    }

    /// Adds the routes of others among those that were listed.
    pub(super) fn add_others(&mut self, listed: Vec<RouteMessage>) {
        for message in listed {
            if is_ours(message.header.protocol) {
                continue;
            }
            if message.header.kind == RouteType::Unicast
                // Half of everything is how a VPN takes the default's place.
                && message.header.destination_prefix_length <= 1
            {
                self.defaults.extend(interfaces(&message));
            } else if table(&message) == MAIN_TABLE {
                self.in_main.push(message);
            }
        }
    }

    /// Whose place a route of ours in the main table would take: the kernel has one to a destination
    /// with the same metric, and answers EEXIST.
    pub fn conflicting(&self, route: &Route) -> Option<&RouteMessage> {
        let metric = match IpFamily::of(route.destination.address) {
            IpFamily::V4 => 0,
            IpFamily::V6 => IPV6_METRIC,
        };
        self.in_main.iter().find(|found| {
            destination(found) == Some(route.destination)
                && found.header.tos == 0
                && self::metric(found) == metric
        })
    }
}

/// `IP6_RT_PRIO_USER`: of a route that was added without a metric.
pub(super) const IPV6_METRIC: u32 = 1024;

impl Kernel {
    /// Reads our routes of both families; names of interfaces by index are given. The kernel leaves all
    /// others out: a router may have as many as there are in the world.
    pub async fn routes(&self, names: &BTreeMap<u32, String>) -> Result<Routes, KernelError> {
        let ours = self.list_routes(Some(RouteProtocol::from(PROTOCOL)), None);
        Ok(Routes::ours_among(ours.await?, names))
    }

    /// Reads everybody else's as well.
    pub async fn routes_of_others(&self, routes: &mut Routes) -> Result<(), KernelError> {
        routes.add_others(self.list_routes(None, None).await?);
        Ok(())
    }

    /// Reads everybody else's in a table.
    pub async fn routes_of_others_in(&self, table: u32) -> Result<Vec<RouteMessage>, KernelError> {
        let all = self.list_routes(None, Some(table)).await?;
        Ok(others_in(all, table))
    }

    /// Those of a protocol, or all, in a table, or in all.
    async fn list_routes(
        &self,
        of: Option<RouteProtocol>,
        table: Option<u32>,
    ) -> Result<Vec<RouteMessage>, KernelError> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.protocol = of.unwrap_or(RouteProtocol::Unspec);
            request.attributes.extend(table.map(RouteAttribute::Table));
            let request = RouteNetlinkMessage::GetRoute(request);
            let listing = self.dump("listing the routes", request, |reply| match reply {
                RouteNetlinkMessage::NewRoute(message) => Some(message),
                _ => None,
            });
            match listing.await {
                Err(error) if is_absent(&error) => {}
                listing => found.extend(listing?),
            }
        }
        Ok(found)
    }

    /// Adds a route by the interface of an index: in our own table in place of one to the same destination, in the main table
    /// beside what is there. Another's route there is an error, EEXIST.
    pub async fn add_route(&self, index: u32, route: &Route) -> Result<(), KernelError> {
        let mut request = self.handle().route().add(message(route, index));
        if route.table != MAIN_TABLE {
            request = request.replace();
        }
        self.with_deadline(request.execute(), format!("adding {route}"))
            .await
    }

    /// Removes a route that was found.
    pub async fn remove_route(&self, found: &RouteMessage, text: &str) -> Result<(), KernelError> {
        self.with_deadline(
            self.handle().route().del(removal(found)).execute(),
            format!("removing {text}"),
        )
        .await
    }
}

/// Everybody else's in a table among those that were listed.
pub(super) fn others_in(listed: Vec<RouteMessage>, table: u32) -> Vec<RouteMessage> {
    let others = listed
        .into_iter()
        .filter(|message| !is_ours(message.header.protocol) && self::table(message) == table);
    others.collect()
}

/// The message that removes a route that was found: only what names a route. The kernel compares nothing else,
/// and refuses some of it.
pub(super) fn removal(found: &RouteMessage) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = found.header.clone();
    message.header.flags = RouteFlags::empty();
    message.attributes = found
        .attributes
        .iter()
        .filter(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Destination(_)
                    | RouteAttribute::Gateway(_)
                    | RouteAttribute::Oif(_)
                    | RouteAttribute::Table(_)
                    | RouteAttribute::Priority(_)
                    | RouteAttribute::PrefSource(_)
            )
        })
        .cloned()
        .collect();
    message
}

/// The message that adds a route by the interface of an index.
pub(super) fn message(route: &Route, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = match IpFamily::of(route.destination.address) {
        IpFamily::V4 => AddressFamily::Inet,
        IpFamily::V6 => AddressFamily::Inet6,
    };
    header.destination_prefix_length = route.destination.prefix_len;
    header.protocol = RouteProtocol::from(PROTOCOL);
    header.kind = RouteType::Unicast;
    header.scope = match route.gateway {
        None if route.destination.address.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let attributes = &mut message.attributes;
    if route.destination.prefix_len > 0 {
        attributes.push(RouteAttribute::Destination(
            route.destination.address.into(),
        ));
    }
    attributes.push(RouteAttribute::Oif(index));
    attributes.push(RouteAttribute::Table(route.table));
    attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    message
}

/// Reads a route of the kind that we make.
fn parse(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Route> {
    let family = match message.header.address_family {
        AddressFamily::Inet => IpFamily::V4,
        AddressFamily::Inet6 => IpFamily::V6,
        _ => return None,
    };
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination = family.everything();
    destination.prefix_len = message.header.destination_prefix_length;
    let mut route = Route {
        destination,
        gateway: None,
        interface: String::new(),
        source: None,
        table: u32::from(message.header.table),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => route.destination.address = address(to)?,
            RouteAttribute::Gateway(via) => route.gateway = Some(address(via)?),
            RouteAttribute::PrefSource(from) => route.source = Some(address(from)?),
            RouteAttribute::Oif(index) => route.interface.clone_from(names.get(index)?),
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::MultiPath(_) | RouteAttribute::Encap(_) | RouteAttribute::Via(_) => {
                return None;
            }
            _ => {}
        }
    }
    Some(route)
}

pub(super) fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// The interfaces over which a route leads.
pub fn interfaces(message: &RouteMessage) -> Vec<u32> {
    let mut found = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.push(*index),
            RouteAttribute::MultiPath(hops) => {
                found.extend(hops.iter().map(|hop: &RouteNextHop| hop.interface_index));
            }
            _ => {}
        }
    }
    found
}

/// The table in which a route is.
pub fn table(message: &RouteMessage) -> u32 {
    let table = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or_else(|| u32::from(message.header.table))
}

/// A route's metric; lower is preferred.
pub fn metric(message: &RouteMessage) -> u32 {
    let metric = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or(0)
}

/// Where a route leads to.
pub fn destination(message: &RouteMessage) -> Option<Cidr> {
    let to = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(to) => address(to),
        _ => None,
    })?;
    Some(Cidr::new(to, message.header.destination_prefix_length))
}

/// Anybody's route in the words of `ip route`, without its table.
pub fn print(message: &RouteMessage, names: &BTreeMap<u32, String>) -> String {
    let mut text = match message.header.kind {
        RouteType::Unicast => String::new(),
        kind => format!("{} ", format!("{kind:?}").to_lowercase()),
    };
    match destination(message) {
        Some(to) => text.push_str(&to.to_string()),
        None => text.push_str("default"),
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Gateway(via) => {
                if let Some(via) = address(via) {
                    text.push_str(" via ");
                    text.push_str(&via.to_string());
                }
            }
            RouteAttribute::Oif(index) => {
                let name = names.get(index).map_or("?", String::as_str);
                text.push_str(" dev ");
                text.push_str(name);
            }
            RouteAttribute::MultiPath(_) => text.push_str(" over several ways"),
            _ => {}
        }
    }
    match metric(message) {
        0 => text,
        metric => format!("{text} metric {metric}"),
    }
}

/// Words for a route of our protocol number that is of no kind we make.
pub fn describe(found: &ObservedRoute) -> String {
    if let Some(route) = &found.route {
        return route.to_string();
    }
    let length = found.message.header.destination_prefix_length;
    let to = found.message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(to) => address(to),
        _ => None,
    });
    match to {
        Some(to) => format!("route {} of protocol {PROTOCOL}", Cidr::new(to, length)),
        None => format!("route default of protocol {PROTOCOL}"),
    }
}
