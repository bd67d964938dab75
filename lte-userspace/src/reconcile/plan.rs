//! The plan: the steps from the snapshot to the desired state; empty when there is no drift.

use std::fmt;

use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use super::redirects;
use super::snapshot::Snapshot;
use crate::backend::{BackendKind, Difference};
use crate::config::{Cidr, PublicKey};
use crate::desired::{LinkState, Master, Object, Offload, OffloadKey, Sysctl, SysctlKey};
use crate::kernel::qdisc::RootQdisc;
use crate::kernel::{MAIN_TABLE, route, rule};
use crate::state::Baseline;

/// What the backends reported of their guards.
#[derive(Debug, Clone, Default)]
pub(super) struct GuardState {
    /// What differs from the guard that is wanted.
    pub differences: Vec<Difference>,
    /// Backends other than the wanted one that have left something here.
    pub stale_guards: Vec<BackendKind>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Set an object.
    Set(Object),
    /// Set the guard, because of these differences.
    Guard(Box<Object>, Vec<Difference>),
    /// Remove something of ours.
    Remove(Removal),
}

/// Something of ours that is no longer wanted.
#[derive(Debug, Clone)]
pub enum Removal {
    /// The WireGuard interface, with everything on it.
    Link {
        /// Interface index.
        index: u32,
        /// Interface name.
        name: String,
    },
    /// The backstop.
    Backstop {
        /// Interface index.
        index: u32,
        /// Interface name.
        name: String,
    },
    /// A peer.
    Peer {
        /// The WireGuard interface.
        interface: String,
        /// Its public key.
        key: PublicKey,
    },
    /// A rule.
    Rule {
        /// As the kernel reported it.
        message: Box<RuleMessage>,
        /// In words.
        text: String,
    },
    /// A route.
    Route {
        /// As the kernel reported it.
        message: Box<RouteMessage>,
        /// In words.
        text: String,
    },
    /// An address.
    Address {
        /// Interface index.
        index: u32,
        /// Interface name.
        interface: String,
        /// The address.
        cidr: Cidr,
    },
    /// All of a backend's.
    Guard(BackendKind),
}

/// How many differences of a guard are shown in a line.
const SHOWN: usize = 3;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(object) => write!(f, "set {object}"),
            Self::Guard(object, differences) => {
                write!(f, "set {object}")?;
                for (n, difference) in differences.iter().take(SHOWN).enumerate() {
                    let before = if n == 0 { " (" } else { "; " };
                    write!(f, "{before}{difference}")?;
                }
                match differences.len() {
                    0 => Ok(()),
                    n if n > SHOWN => write!(f, "; and {} more)", n - SHOWN),
                    _ => f.write_str(")"),
                }
            }
            Self::Remove(removal) => match removal {
                Removal::Link { name, .. } => write!(f, "remove link {name}"),
                Removal::Backstop { name, .. } => write!(f, "remove qdisc drr 7b: dev {name}"),
                Removal::Peer { interface, key } => {
                    write!(f, "remove wireguard {interface} peer {key}")
                }
                Removal::Rule { text, .. } | Removal::Route { text, .. } => {
                    write!(f, "remove {text}")
                }
                Removal::Address {
                    interface, cidr, ..
                } => write!(f, "remove address {cidr} dev {interface}"),
                Removal::Guard(kind) => write!(f, "remove guard ({kind})"),
            },
        }
    }
}

/// The steps from the snapshot to the desired state.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
    /// What cannot be done, and what to do about it.
    pub blocked: Vec<String>,
}

/// Compares. `want` is in the order of coming up; what is removed goes afterwards, the other way
/// round.
pub(super) fn up(
    want: &[Object],
    have: &Snapshot,
    baseline: &Baseline,
    guard: &GuardState,
) -> Plan {
    let mut plan = Plan::default();
    let tunnel = tunnel(want);
    let name_conflict = tunnel.and_then(|name| have.name_conflict(name, baseline));
    for object in want {
        if name_conflict.is_some() && tunnel.is_some_and(|name| belongs_to(object, name)) {
            continue;
        }
        match object {
            Object::Guard(_) if guard.differences.is_empty() => {}
            Object::Guard(_) => plan.steps.push(Step::Guard(
                Box::new(object.clone()),
                guard.differences.clone(),
            )),
            object if is_satisfied(object, have) => {}
            // A third party has a route to it, which stays: that is a warning.
            Object::Route(want)
                if want.table == MAIN_TABLE && have.routes.conflicting(want).is_some() => {}
            object => plan.steps.push(Step::Set(object.clone())),
        }
    }
    plan.steps.extend(
        removals(want, have, baseline)
            .into_iter()
            .chain(guard.stale_guards.iter().copied().map(Removal::Guard))
            .map(Step::Remove),
    );
    plan.blocked.extend(name_conflict);
    // A third party may set the modem up while the guard is being loaded.
    let closes = |step: &Step| matches!(step, Step::Set(Object::Backstop(want)) if have.closes_first(&want.interface));
    if let Some(at) = plan.steps.iter().position(closes) {
        plan.steps[..=at].rotate_right(1);
    }
    plan
}

/// The steps of going down: remove everything of ours, and restore the baseline. The tunnel is removed
/// first and the guard last, so that nothing passes unguarded.
pub(super) fn down(have: &Snapshot, baseline: &Baseline, guards: &[BackendKind]) -> Plan {
    let mut restored = restore(have, baseline, None, &[]);
    restored.extend(redirects::restore(baseline));
    let (links, others): (Vec<Removal>, Vec<Removal>) = removals(&[], have, baseline)
        .into_iter()
        .partition(|removal| !matches!(removal, Removal::Address { .. }));
    let (link_states, sysctls): (Vec<Object>, Vec<Object>) = restored
        .into_iter()
        .filter(|object| !is_satisfied(object, have))
        .partition(|object| matches!(object, Object::LinkState(_)));
    Plan {
        steps: links
            .into_iter()
            .map(Step::Remove)
            .chain(link_states.into_iter().map(Step::Set))
            .chain(others.into_iter().map(Step::Remove))
            .chain(sysctls.into_iter().map(Step::Set))
            .chain(guards.iter().copied().map(Removal::Guard).map(Step::Remove))
            .collect(),
        blocked: Vec::new(),
    }
}

/// What brings recorded interfaces back to how they were found, but for what is wanted of them; that
/// one of them, the modem, is up is wanted in any case.
pub(super) fn restore(
    have: &Snapshot,
    baseline: &Baseline,
    modem: Option<u32>,
    want: &[Object],
) -> Vec<Object> {
    let mut objects = Vec::new();
    for (index, before) in &baseline.interfaces {
        let Some(link) = have.link_at(*index) else {
            continue;
        };
        if !before.up && modem != Some(*index) {
            objects.push(Object::LinkState(LinkState {
                interface: link.name.clone(),
                up: false,
            }));
        }
        if let Some(master) = before.master.and_then(|index| have.link_at(index))
            && modem != Some(*index)
        {
            objects.push(Object::Master(Master {
                interface: link.name.clone(),
                master: Some(master.name.clone()),
            }));
        }
        for key in SysctlKey::MODEM {
            let wanted = want.iter().any(|object| {
                matches!(object, Object::Sysctl(sysctl) if sysctl.interface == link.name && sysctl.key == key)
            });
            if let Some(value) = before.sysctls.get(&sysctl_name(key))
                && !wanted
            {
                objects.push(Object::Sysctl(Sysctl {
                    interface: link.name.clone(),
                    key,
                    value: value.clone(),
                }));
            }
        }
        for key in OffloadKey::ALL {
            let wanted = want.iter().any(|object| {
                matches!(object, Object::Offload(offload) if offload.interface == link.name && offload.key == key)
            });
            if let Some(value) = before.offloads.get(key.name())
                && !wanted
            {
                objects.push(Object::Offload(Offload {
                    interface: link.name.clone(),
                    key,
                    value: *value,
                }));
            }
        }
    }
    objects
}

/// A sysctl's name in the record.
pub(super) fn sysctl_name(key: SysctlKey) -> String {
    let (family, name) = key.path();
    format!("{family}/{name}")
}

/// The wanted WireGuard interface's name.
fn tunnel(want: &[Object]) -> Option<&str> {
    want.iter().find_map(|object| match object {
        Object::Link(link) => Some(link.name.as_str()),
        _ => None,
    })
}

/// Whether an object is the WireGuard interface or on it.
fn belongs_to(object: &Object, name: &str) -> bool {
    match object {
        Object::Link(object) => object.name == name,
        Object::WireguardDevice(object) => object.interface == name,
        Object::Peer(object) => object.interface == name,
        Object::Address(object) => object.interface == name,
        Object::LinkState(object) => object.interface == name,
        Object::Route(object) => object.interface == name,
        Object::Sysctl(object) => object.interface == name,
        Object::Offload(object) => object.interface == name,
        Object::Backstop(object) => object.interface == name,
        Object::Master(object) => object.interface == name,
        Object::Guard(_) | Object::Rule(_) => false,
    }
}

/// Whether it is as it is to be.
pub(super) fn is_satisfied(object: &Object, have: &Snapshot) -> bool {
    match object {
        Object::Guard(_) => false,
        Object::Sysctl(want) => have
            .sysctl(&want.interface, want.key)
            .is_some_and(|value| *value == want.value),
        Object::Offload(want) => have.offload(&want.interface, want.key) == Some(want.value),
        Object::Backstop(want) => have.root(&want.interface).is_some_and(
            |root| matches!(root, RootQdisc::Backstop(Some(found)) if found.matches(want)),
        ),
        Object::Master(want) => have.link(&want.interface).is_some_and(|link| {
            link.master
                == want
                    .master
                    .as_deref()
                    .and_then(|name| Some(have.link(name)?.index))
        }),
        Object::Link(want) => have
            .link(&want.name)
            .is_some_and(|link| link.is_our_tunnel() && link.mtu == want.mtu),
        Object::WireguardDevice(want) => have
            .device
            .as_ref()
            .is_some_and(|device| device.matches(want)),
        Object::Peer(want) => have
            .device
            .as_ref()
            .is_some_and(|device| device.peer_matches(want)),
        Object::Address(want) => have.link(&want.interface).is_some_and(|link| {
            have.addresses
                .iter()
                .any(|found| found.index == link.index && found.cidr == want.cidr)
        }),
        Object::LinkState(want) => have
            .link(&want.interface)
            .is_some_and(|link| link.up == want.up),
        Object::Route(want) => have
            .routes
            .ours
            .iter()
            .any(|found| found.route.as_ref() == Some(want)),
        Object::Rule(want) => have
            .rules
            .iter()
            .any(|found| found.rule.as_ref() == Some(want)),
    }
}

/// What is there of ours and not wanted, in the order of going.
fn removals(want: &[Object], have: &Snapshot, baseline: &Baseline) -> Vec<Removal> {
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

/// While the interface is up: then the kernel puts its usual one in its place, which an interface that
/// is down does not get.
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
