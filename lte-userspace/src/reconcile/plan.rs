//! The difference between what is to be and what is: a list of steps, empty when all is in place.

use std::fmt;

use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use super::observe::Observed;
use super::redirects;
use crate::backend::{Difference, Kind};
use crate::config::{Cidr, PublicKey};
use crate::desired::{Admin, Master, Object, Offload, OffloadKey, Sysctl, SysctlKey};
use crate::kernel::qdisc::Root;
use crate::kernel::{MAIN_TABLE, route, rule};
use crate::state::Record;

/// What a backend said of its guard.
#[derive(Debug, Clone, Default)]
pub(super) struct GuardState {
    /// What differs from the guard that is wanted.
    pub differences: Vec<Difference>,
    /// Backends other than the wanted one that have left something here.
    pub other_guards: Vec<Kind>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Make it so.
    Put(Object),
    /// Bring the guard in line, because of these differences.
    Guard(Box<Object>, Vec<Difference>),
    /// Take it away.
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
    /// the backstop below the guard.
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
        /// As the kernel told it.
        message: Box<RuleMessage>,
        /// In words.
        text: String,
    },
    /// A route.
    Route {
        /// As the kernel told it.
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
    Guard(Kind),
}

/// How many differences of a guard are worth a place in a line.
const SHOWN: usize = 3;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(object) => write!(f, "set {object}"),
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

/// The way from what is to what is to be.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
    /// What cannot be done, and what to do about it.
    pub blocked: Vec<String>,
}

/// Compares. `want` is in the order of coming up; what is removed goes afterwards, the other way
/// round.
pub(super) fn up(want: &[Object], have: &Observed, record: &Record, guard: &GuardState) -> Plan {
    let mut plan = Plan::default();
    let tunnel = tunnel(want);
    let in_the_way = tunnel.and_then(|name| have.in_the_way(name, record));
    for object in want {
        if in_the_way.is_some() && tunnel.is_some_and(|name| concerns(object, name)) {
            continue;
        }
        match object {
            Object::Guard(_) if guard.differences.is_empty() => {}
            Object::Guard(_) => plan.steps.push(Step::Guard(
                Box::new(object.clone()),
                guard.differences.clone(),
            )),
            object if is_there(object, have) => {}
            // Somebody else has it to another place, and keeps it: that is a warning's.
            Object::Route(want)
                if want.table == MAIN_TABLE && have.routes.taken_by(want).is_some() => {}
            object => plan.steps.push(Step::Put(object.clone())),
        }
    }
    plan.steps.extend(
        removals(want, have, record)
            .into_iter()
            .chain(guard.other_guards.iter().copied().map(Removal::Guard))
            .map(Step::Remove),
    );
    plan.blocked.extend(in_the_way);
    // Somebody else may set the modem up while the guard is made ready.
    let closes = |step: &Step| matches!(step, Step::Put(Object::Backstop(want)) if have.closes_first(&want.interface));
    if let Some(at) = plan.steps.iter().position(closes) {
        plan.steps[..=at].rotate_right(1);
    }
    plan
}

/// The way down: everything of ours goes, and what was changed is as it was found. The tunnel goes
/// first and the guard last, so nothing ever passes unguarded.
pub(super) fn down(have: &Observed, record: &Record, guards: &[Kind]) -> Plan {
    let mut restored = restore(have, record, None, &[]);
    restored.extend(redirects::keep(record));
    let (links, others): (Vec<Removal>, Vec<Removal>) = removals(&[], have, record)
        .into_iter()
        .partition(|removal| !matches!(removal, Removal::Address { .. }));
    let (admins, sysctls): (Vec<Object>, Vec<Object>) = restored
        .into_iter()
        .filter(|object| !is_there(object, have))
        .partition(|object| matches!(object, Object::Admin(_)));
    Plan {
        steps: links
            .into_iter()
            .map(Step::Remove)
            .chain(admins.into_iter().map(Step::Put))
            .chain(others.into_iter().map(Step::Remove))
            .chain(sysctls.into_iter().map(Step::Put))
            .chain(guards.iter().copied().map(Removal::Guard).map(Step::Remove))
            .collect(),
        blocked: Vec::new(),
    }
}

/// What brings recorded interfaces back to how they were found, but for what is wanted of them; that
/// one of them, the modem, is up is wanted in any case.
pub(super) fn restore(
    have: &Observed,
    record: &Record,
    modem: Option<u32>,
    want: &[Object],
) -> Vec<Object> {
    let mut objects = Vec::new();
    for (index, before) in &record.interfaces {
        let Some(link) = have.link_at(*index) else {
            continue;
        };
        if !before.up && modem != Some(*index) {
            objects.push(Object::Admin(Admin {
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
        for key in SysctlKey::OF_THE_MODEM {
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
fn concerns(object: &Object, name: &str) -> bool {
    match object {
        Object::Link(object) => object.name == name,
        Object::Device(object) => object.interface == name,
        Object::Peer(object) => object.interface == name,
        Object::Address(object) => object.interface == name,
        Object::Admin(object) => object.interface == name,
        Object::Route(object) => object.interface == name,
        Object::Sysctl(object) => object.interface == name,
        Object::Offload(object) => object.interface == name,
        Object::Backstop(object) => object.interface == name,
        Object::Master(object) => object.interface == name,
        Object::Guard(_) | Object::Rule(_) => false,
    }
}

/// Whether it is as it is to be.
pub(super) fn is_there(object: &Object, have: &Observed) -> bool {
    match object {
        Object::Guard(_) => false,
        Object::Sysctl(want) => have
            .sysctl(&want.interface, want.key)
            .is_some_and(|value| *value == want.value),
        Object::Offload(want) => have.offload(&want.interface, want.key) == Some(want.value),
        Object::Backstop(want) => have
            .root(&want.interface)
            .is_some_and(|root| matches!(root, Root::Backstop(Some(found)) if found.is(want))),
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
        Object::Device(want) => have.device.as_ref().is_some_and(|device| device.is(want)),
        Object::Peer(want) => have.device.as_ref().is_some_and(|device| device.has(want)),
        Object::Address(want) => have.link(&want.interface).is_some_and(|link| {
            have.addresses
                .iter()
                .any(|found| found.index == link.index && found.cidr == want.cidr)
        }),
        Object::Admin(want) => have
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
fn removals(want: &[Object], have: &Observed, record: &Record) -> Vec<Removal> {
    let mut removals = Vec::new();
    let wanted_link = tunnel(want);
    let goes = |name: &str| Some(name) != wanted_link;
    for link in &have.links {
        if goes(&link.name) && have.is_our_tunnel(link, record) {
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
                text: rule::words(found),
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
                text: route::words(found),
            });
        }
    }
    removals.extend(stale_addresses(want, have, record));
    removals
}

/// While the interface is up: then the kernel puts its usual one in its place, which an interface that
/// is down does not get.
fn stale_backstops(want: &[Object], have: &Observed) -> Vec<Removal> {
    let wanted = |name: &str| {
        want.iter()
            .any(|object| matches!(object, Object::Backstop(want) if want.interface == name))
    };
    have.links
        .iter()
        .filter(|link| {
            matches!(have.roots.get(&link.index), Some(Root::Backstop(_))) && !wanted(&link.name)
        })
        .map(|link| Removal::Backstop {
            index: link.index,
            name: link.name.clone(),
        })
        .collect()
}

fn stale_peers(want: &[Object], have: &Observed) -> Vec<Removal> {
    let Some(interface) = want.iter().find_map(|object| match object {
        Object::Device(device) => Some(&device.interface),
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
fn stale_addresses(want: &[Object], have: &Observed, record: &Record) -> Vec<Removal> {
    let mut removals = Vec::new();
    for (index, before) in &record.interfaces {
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
