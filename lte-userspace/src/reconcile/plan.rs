//! The plan: the steps from the snapshot to the desired state; empty when there is no drift.

use super::removals::removals;
use super::satisfied::is_satisfied;
use super::snapshot::Snapshot;
use super::step::{Removal, Step, in_order};
use crate::backend::{BackendKind, Difference};
use crate::desired::Object;
use crate::kernel::MAIN_TABLE;
use crate::state::Baseline;

/// What the backends reported of their guards.
#[derive(Debug, Clone, Default)]
pub(super) struct GuardState {
    /// What differs from the guard that is wanted.
    pub differences: Vec<Difference>,
    /// Backends other than the wanted one that have left something here; of all of them, if none is wanted.
    pub stale_guards: Vec<BackendKind>,
}

/// What is to be there. To go down nothing is wanted, and all is restored.
#[derive(Debug, Clone, Default)]
pub struct Goal {
    /// What the config asks for.
    pub want: Vec<Object>,
    /// What is to be as it was found.
    pub restored: Vec<Object>,
}

/// The steps from the snapshot to the desired state.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
    /// What cannot be done, and what to do about it.
    pub blocked: Vec<String>,
}

/// Compares.
pub(super) fn plan(goal: &Goal, have: &Snapshot, baseline: &Baseline, guard: &GuardState) -> Plan {
    let tunnel = tunnel(&goal.want);
    let name_conflict = tunnel.and_then(|name| have.name_conflict(name, baseline));
    let in_conflict = |object: &Object| {
        name_conflict.is_some() && object.interface() == tunnel && tunnel.is_some()
    };
    let wanted = goal.want.iter().filter(|object| !in_conflict(object));
    let set = wanted.filter_map(|object| set(object, have, guard, tunnel));
    let restored = goal.restored.iter();
    let restored = restored.filter(|object| !is_satisfied(object, have));
    let removed = removals(&goal.want, have, baseline);
    let stale_guards = guard.stale_guards.iter().copied().map(Removal::Guard);
    let steps = set
        .chain(restored.cloned().map(Step::restore))
        .chain(removed.into_iter().chain(stale_guards).map(Step::remove));
    Plan {
        steps: in_order(steps.collect(), tunnel, have),
        blocked: name_conflict.into_iter().collect(),
    }
}

/// The step that sets an object, if it differs.
fn set(object: &Object, have: &Snapshot, guard: &GuardState, tunnel: Option<&str>) -> Option<Step> {
    match object {
        Object::Guard(want) => (!guard.differences.is_empty())
            .then(|| Step::set_guard(want.clone(), guard.differences.clone())),
        object if is_satisfied(object, have) => None,
        // A third party has a route to it, which stays: that is a warning.
        Object::Route(want)
            if want.table == MAIN_TABLE && have.routes.conflicting(want).is_some() =>
        {
            None
        }
        object => Some(Step::set(object.clone(), tunnel)),
    }
}

/// The wanted WireGuard interface's name.
pub(super) fn tunnel(want: &[Object]) -> Option<&str> {
    want.iter().find_map(|object| match object {
        Object::Link(link) => Some(link.name.as_str()),
        _ => None,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
