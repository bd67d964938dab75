//! Other people's routes in our table. By that table the tunnel's packets are routed, and what comes in is
//! checked strictly: a route to the server that leads elsewhere than to the modem has every reply dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteMessage, RouteType};

use super::snapshot::Snapshot;
use crate::config::{Cidr, Config};
use crate::desired::IpFamily;
use crate::kernel::route;

/// Who has to be reached by our table.
#[derive(Debug)]
pub(super) struct Way<'a> {
    /// Our table.
    pub(super) table: u32,
    /// The modem's interface index.
    pub(super) modem: u32,
    /// The peers' addresses; `None`: not all of them are known, and any may be one.
    pub(super) peers: Option<&'a [IpAddr]>,
    /// The modem's gateways.
    pub(super) gateways: &'a [IpAddr],
}

impl Way<'_> {
    /// What the owner has to know, one line each.
    pub(super) fn warnings(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let names: BTreeMap<u32, String> = snapshot
            .links
            .iter()
            .map(|link| (link.index, link.name.clone()))
            .collect();
        let routes = snapshot.routes.in_ours.iter();
        routes
            .filter(|route| self.is_taken_by(route, snapshot))
            .map(|route| {
                format!(
                    "somebody has put the route `{}` into table {}: it leads the tunnel's packets, or the strict check of what comes in, away from the modem, and the tunnel may have no way until it is gone; whoever adds it should use another table (ip route show table {1} shows it)",
                    route::print(route, &names),
                    self.table
                )
            })
            .collect()
    }

    /// Whether a route leads whom we have to reach elsewhere.
    fn is_taken_by(&self, route: &RouteMessage, snapshot: &Snapshot) -> bool {
        let interfaces = route::interfaces(route);
        let by_the_modem = route.header.kind == RouteType::Unicast
            && !interfaces.is_empty()
            && interfaces.iter().all(|index| *index == self.modem);
        let family = match route.header.address_family {
            AddressFamily::Inet => IpFamily::V4,
            AddressFamily::Inet6 => IpFamily::V6,
            _ => return false,
        };
        if route::table(route) != self.table || by_the_modem {
            return false;
        }
        let to = route::destination(route).unwrap_or(family.everything());
        let before_ours = |address: IpAddr| {
            to.contains(address) && wins(route, to, address, snapshot, self.table)
        };
        let peer = match self.peers {
            Some(peers) => peers.iter().any(|peer| before_ours(*peer)),
            None => before_ours(to.address),
        };
        peer || self.gateways.iter().any(|gateway| before_ours(*gateway))
    }
}

/// Whether a route to a network is preferred to ours, for an address in it: it is longer, or as long and
/// of a lower metric.
fn wins(theirs: &RouteMessage, to: Cidr, address: IpAddr, snapshot: &Snapshot, table: u32) -> bool {
    let ours = snapshot.routes.ours.iter().filter_map(|found| {
        let route = found.route.as_ref()?;
        let is_one = route.table == table && route.destination.contains(address);
        is_one.then(|| (route.destination.prefix_len, route::metric(&found.message)))
    });
    ours.max_by_key(|(length, metric)| (*length, std::cmp::Reverse(*metric)))
        .is_none_or(|(length, metric)| {
            to.prefix_len > length || to.prefix_len == length && route::metric(theirs) < metric
        })
}

/// What the owner has to know of a config's way, one line each.
pub(super) fn of_config(
    config: &Config,
    modem: u32,
    peers: Option<&[IpAddr]>,
    snapshot: &Snapshot,
) -> BTreeSet<String> {
    let gateways: Vec<IpAddr> = config
        .modem
        .interface_addrs()
        .filter_map(|place| place.gateway)
        .collect();
    let way = Way {
        table: config.routing.table,
        modem,
        peers,
        gateways: &gateways,
    };
    way.warnings(snapshot)
}

/// Our table, where rules of ours say which it is.
pub fn our_table(snapshot: &Snapshot) -> Option<u32> {
    let mut ours = snapshot
        .rules
        .iter()
        .filter_map(|found| found.rule.as_ref());
    ours.next().map(|rule| rule.table)
}

/// The same without the config, from what is there of ours.
pub fn in_our_table(snapshot: &Snapshot) -> BTreeSet<String> {
    let Some(table) = our_table(snapshot) else {
        return BTreeSet::new();
    };
    let in_table: Vec<_> = snapshot
        .routes
        .ours
        .iter()
        .filter_map(|found| found.route.as_ref())
        .filter(|route| route.table == table)
        .collect();
    let modem = in_table
        .first()
        .and_then(|route| snapshot.link(&route.interface));
    let (Some(modem), Some(device)) = (modem, &snapshot.device) else {
        return BTreeSet::new();
    };
    let peers: Option<Vec<IpAddr>> = device
        .peers
        .values()
        .map(|peer| peer.endpoint.map(|endpoint| endpoint.ip()))
        .collect();
    let gateways: Vec<IpAddr> = in_table.iter().filter_map(|route| route.gateway).collect();
    let way = Way {
        table,
        modem: modem.index,
        peers: peers.as_deref(),
        gateways: &gateways,
    };
    way.warnings(snapshot)
}

#[cfg(test)]
#[path = "foreign_routes_tests.rs"]
mod tests;
