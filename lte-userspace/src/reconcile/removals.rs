//! What is there of ours and no longer wanted.

use super::plan::tunnel;
use super::snapshot::Snapshot;
use super::step::Removal;
use crate::desired::Object;
use crate::kernel::qdisc::RootQdisc;
use crate::kernel::{route, rule};
use crate::state::Baseline;

/// What is there of ours and not wanted.
pub(super) fn removals(want: &[Object], have: &Snapshot, baseline: &Baseline) -> Vec<Removal> {
    let mut removals = Vec::new();
    let wanted_link = tunnel(want);
    let goes = |name: &str| Some(name) != wanted_link;
    for link in &have.links {
        if goes(&link.name) && have.is_our_tunnel(link, baseline) {
            removals.push(Removal::Link {
                index: link.index,
                name: link.name.clone(),
            });
        }
    }
    removals.extend(stale_backstops(want, have));
    removals.extend(stale_peers(want, have));
    for found in &have.rules {
        let kept = found.rule.as_ref().is_some_and(|rule| {
            want.iter()
                .any(|object| matches!(object, Object::Rule(want) if want == rule))
        });
        if !kept {
            removals.push(Removal::Rule {
                message: Box::new(found.message.clone()),
                text: rule::describe(found),
            });
        }
    }
    for found in &have.routes.ours {
        let wanted = found.route.as_ref().is_some_and(|route| {
            want.iter()
                .any(|object| matches!(object, Object::Route(want) if want == route))
        });
        // With its interface it goes by itself.
        let on_a_link_that_goes = found.route.as_ref().is_some_and(|route| {
            removals.iter().any(
                |removal| matches!(removal, Removal::Link { name, .. } if *name == route.interface),
            )
        });
        if !wanted && !on_a_link_that_goes {
            removals.push(Removal::Route {
                message: Box::new(found.message.clone()),
                text: route::describe(found),
            });
        }
    }
    removals.extend(stale_addresses(want, have, baseline));
    removals
}

fn stale_backstops(want: &[Object], have: &Snapshot) -> Vec<Removal> {
    let wanted = |name: &str| {
        want.iter()
            .any(|object| matches!(object, Object::Backstop(want) if want.interface == name))
    };
    have.links
        .iter()
        .filter(|link| {
            matches!(have.roots.get(&link.index), Some(RootQdisc::Backstop(_)))
                && !wanted(&link.name)
        })
        .map(|link| Removal::Backstop {
            index: link.index,
            name: link.name.clone(),
        })
        .collect()
}

fn stale_peers(want: &[Object], have: &Snapshot) -> Vec<Removal> {
    let Some(interface) = want.iter().find_map(|object| match object {
        Object::WireguardDevice(device) => Some(&device.interface),
        _ => None,
    }) else {
        return Vec::new();
    };
    have.device
        .iter()
        .flat_map(|device| device.peers.keys())
        .filter(|key| {
            !want
                .iter()
                .any(|object| matches!(object, Object::Peer(peer) if peer.public_key == **key))
        })
        .map(|key| Removal::Peer {
            interface: interface.clone(),
            key: *key,
        })
        .collect()
}

/// Addresses that we have added to interfaces and that are no longer wanted there.
fn stale_addresses(want: &[Object], have: &Snapshot, baseline: &Baseline) -> Vec<Removal> {
    let mut removals = Vec::new();
    for (index, before) in &baseline.interfaces {
        let Some(link) = have.link_at(*index) else {
            continue;
        };
        for found in have.addresses.iter().filter(|found| found.index == *index) {
            let text = found.cidr.to_string();
            let wanted = want.iter().any(|object| {
                matches!(object, Object::Address(want)
                    if want.interface == link.name && want.cidr == found.cidr)
            });
            if before.added.contains(&text) && !before.addresses.contains(&text) && !wanted {
                removals.push(Removal::Address {
                    index: *index,
                    interface: link.name.clone(),
                    cidr: found.cidr,
                });
            }
        }
    }
    removals
}
