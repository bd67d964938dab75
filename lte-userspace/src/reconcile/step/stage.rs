//! The order of the steps, in every plan: up, repair, and down.

use super::super::snapshot::Snapshot;
use super::{Action, Removal, Step};
use crate::desired::Object;
use crate::kernel::MAIN_TABLE;

/// When a step is taken: in the order in which the stages stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// A third party may set the modem up while the guard is being loaded: its root qdisc closes it before.
    CloseFirst,
    /// Nothing is opened before it is in place.
    Guard,
    /// The modem's master, sysctls and offloads.
    ModemSettings,
    /// The WireGuard interface, down.
    TunnelLink,
    /// Its port and key.
    TunnelDevice,
    /// Its peers.
    Peers,
    /// The modem's addresses.
    ModemAddresses,
    /// Just before the modem is up: an interface that is down is given no other in its place, should this
    /// one have to go again.
    Backstop,
    /// The modem is up.
    ModemUp,
    /// Table 123. The kernel takes no route over an interface that is down.
    Table,
    /// The rules stay while the modem is away: what they send to the empty table falls through to the guard
    /// on the uplinks.
    Rules,
    /// The tunnel's addresses.
    TunnelAddresses,
    /// From here on WireGuard sends: after everything that its first packet needs.
    TunnelUp,
    /// The networks behind the tunnel.
    Networks,
    /// The tunnel is removed before anything that keeps others from its way.
    RemoveLink,
    /// While the interface is up: then the kernel puts its usual qdisc in the place.
    RemoveBackstop,
    /// Peers that the config has no more.
    RemovePeers,
    /// After the new rules are set: there is no moment without one.
    RemoveRules,
    /// After the new routes.
    RemoveRoutes,
    /// Interfaces that were found down.
    LinksDown,
    /// After the interface is down: it sends nothing with another address.
    RemoveAddresses,
    /// Settings as they were found.
    Restore,
    /// The last thing that goes.
    RemoveGuard,
}

impl Stage {
    fn of(action: &Action, tunnel: Option<&str>, have: &Snapshot) -> Self {
        match action {
            Action::Set(object) => Self::of_object(object, tunnel, have),
            Action::Restore(Object::LinkState(_)) => Self::LinksDown,
            Action::Restore(_) => Self::Restore,
            Action::Remove(removal) => match removal {
                Removal::Link { .. } => Self::RemoveLink,
                Removal::Backstop { .. } => Self::RemoveBackstop,
                Removal::Peer { .. } => Self::RemovePeers,
                Removal::Rule { .. } => Self::RemoveRules,
                Removal::Route { .. } => Self::RemoveRoutes,
                Removal::Address { .. } => Self::RemoveAddresses,
                Removal::Guard(_) => Self::RemoveGuard,
            },
        }
    }

    fn of_object(object: &Object, tunnel: Option<&str>, have: &Snapshot) -> Self {
        let on_tunnel = object.interface() == tunnel;
        match object {
            Object::Guard(_) => Self::Guard,
            Object::Backstop(object) if have.closes_first(&object.interface) => Self::CloseFirst,
            Object::Backstop(_) => Self::Backstop,
            Object::Master(_) | Object::Sysctl(_) | Object::Offload(_) => Self::ModemSettings,
            Object::Link(_) => Self::TunnelLink,
            Object::WireguardDevice(_) => Self::TunnelDevice,
            Object::Peer(_) => Self::Peers,
            Object::Address(_) if on_tunnel => Self::TunnelAddresses,
            Object::Address(_) => Self::ModemAddresses,
            Object::LinkState(_) if on_tunnel => Self::TunnelUp,
            Object::LinkState(_) => Self::ModemUp,
            Object::Route(route) if route.table == MAIN_TABLE => Self::Networks,
            Object::Route(_) => Self::Table,
            Object::Rule(_) => Self::Rules,
        }
    }
}

/// Puts steps in order; those of one stage stay as they are. `tunnel` is the wanted WireGuard interface.
pub(in super::super) fn in_order(
    mut steps: Vec<Step>,
    tunnel: Option<&str>,
    have: &Snapshot,
) -> Vec<Step> {
    steps.sort_by_key(|step| Stage::of(&step.action, tunnel, have));
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::ObjectId;
    use super::*;
    use crate::backend::BackendKind;
    use crate::desired::desired;
    use crate::desired::tests::{config, facts};

    /// The order and the needs are two tables: neither is right without the other.
    #[test]
    fn what_a_step_needs_comes_before_it() {
        let config = config();
        let tunnel = Some(config.tunnel.interface.as_str());
        let have = Snapshot::default();
        let mut steps: Vec<Step> = desired(&config, &facts())
            .into_iter()
            .map(|object| Step::set(object, tunnel))
            .collect();
        steps.push(Step::remove(Removal::Guard(BackendKind::Nft)));
        // In the wrong order to begin with.
        steps.reverse();
        let steps = in_order(steps, tunnel, &have);
        let place: BTreeMap<ObjectId, usize> = steps
            .iter()
            .enumerate()
            .map(|(place, step)| (step.id().object, place))
            .collect();
        assert_eq!(place.len(), steps.len(), "two steps have one identity");
        let mut needs = 0;
        for (at, step) in steps.iter().enumerate() {
            for need in &step.needs {
                assert!(place[need] < at, "{step} needs {need}");
                needs += 1;
            }
        }
        assert!(needs > steps.len() / 2, "most steps need something");
    }
}
