//! `send_redirects`, which kernel WireGuard turns off for the whole namespace ([`SendRedirects`]), if the agent
//! was killed between setting the interface up and restoring it.
//!
//! [`SendRedirects`]: crate::kernel::sysctl::SendRedirects

use super::snapshot::Snapshot;
use super::step::Step;
use crate::desired::{LinkState, Object, Sysctl, SysctlKey};
use crate::state::Baseline;

/// Records the setting before the WireGuard interface is set up. Once it is restored, the record is
/// removed: later changes of third parties are theirs.
pub(super) fn record(baseline: &mut Baseline, tunnel: &str, steps: &[Step], have: &Snapshot) {
    let is_set_up = steps.iter().any(|step| {
        matches!(step.sets(), Some(Object::LinkState(LinkState { interface, up: true })) if interface == tunnel)
    });
    let is_put_back = steps.iter().any(|step| step.writes().is_some_and(is_ours));
    if is_set_up {
        // What is on record already is older, and was not put back since.
        if baseline.send_redirects.is_none() {
            baseline.send_redirects.clone_from(&have.send_redirects);
        }
    } else if !is_put_back {
        baseline.send_redirects = None;
    }
}

/// The sysctl to restore, if it is on record.
pub(super) fn restore(baseline: &Baseline) -> Option<Object> {
    baseline.send_redirects.clone().map(|value| {
        Object::Sysctl(Sysctl {
            interface: "all".to_owned(),
            key: SysctlKey::SendRedirects,
            value,
        })
    })
}

fn is_ours(object: &Object) -> bool {
    matches!(object, Object::Sysctl(sysctl) if sysctl.key == SysctlKey::SendRedirects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::plan::{Goal, GuardState, plan};

    fn seen(send_redirects: &str) -> Snapshot {
        Snapshot {
            send_redirects: Some(send_redirects.to_owned()),
            ..Snapshot::default()
        }
    }

    fn set_up() -> Step {
        let up = Object::LinkState(LinkState {
            interface: "wg-lte".to_owned(),
            up: true,
        });
        Step::set(up, Some("wg-lte"))
    }

    /// The steps of the next round.
    fn next(baseline: &mut Baseline, have: &Snapshot) -> Vec<String> {
        let goal = Goal {
            restored: restore(baseline).into_iter().collect(),
            ..Goal::default()
        };
        let plan = plan(&goal, have, baseline, &GuardState::default());
        record(baseline, "wg-lte", &plan.steps, have);
        plan.steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_kernel_took_is_put_back_by_the_next_agent() {
        let mut baseline = Baseline::default();
        record(&mut baseline, "wg-lte", &[set_up()], &seen("1"));
        // The interface is up, and the redirects have not been given back.
        let set = ["set sysctl net.ipv4.conf.all.send_redirects = 1"];
        assert_eq!(next(&mut baseline, &seen("0")), set);
        assert_eq!(next(&mut baseline, &seen("0")), set, "it failed");
        // A second agent that was cut off as well does not take the kernel's value for the owner's.
        record(&mut baseline, "wg-lte", &[set_up()], &seen("0"));
        assert_eq!(next(&mut baseline, &seen("0")), set);
        assert!(next(&mut baseline, &seen("1")).is_empty());
    }

    #[test]
    fn what_others_make_of_it_later_stays() {
        let mut baseline = Baseline::default();
        record(&mut baseline, "wg-lte", &[set_up()], &seen("1"));
        assert!(next(&mut baseline, &seen("1")).is_empty());
        assert!(next(&mut baseline, &seen("0")).is_empty());
    }

    #[test]
    fn another_interface_takes_nothing() {
        let mut baseline = Baseline::default();
        record(&mut baseline, "wg-home", &[set_up()], &seen("1"));
        assert!(next(&mut baseline, &seen("0")).is_empty());
    }
}
