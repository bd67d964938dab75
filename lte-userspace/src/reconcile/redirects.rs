//! The redirects that the kernel's WireGuard takes from everybody ([`SendRedirects`]), where the agent
//! was cut off between setting the interface up and giving them back.
//!
//! [`SendRedirects`]: crate::kernel::sysctl::SendRedirects

use super::observe::Observed;
use super::plan::Step;
use crate::desired::{Admin, Object, Sysctl, SysctlKey};
use crate::state::Record;

/// Before the WireGuard interface is set up: puts on record how the setting is. Once it is seen to be so
/// afterwards, that is forgotten: what others then make of it is their choice.
pub(super) fn note(record: &mut Record, tunnel: &str, steps: &[Step], have: &Observed) {
    let is_set_up = steps.iter().any(|step| {
        matches!(step, Step::Put(Object::Admin(Admin { interface, up: true })) if interface == tunnel)
    });
    let is_put_back = steps
        .iter()
        .any(|step| matches!(step, Step::Put(object) if is_ours(object)));
    if is_set_up {
        // What is on record already is older, and was not put back since.
        if record.send_redirects.is_none() {
            record.send_redirects.clone_from(&have.send_redirects);
        }
    } else if !is_put_back {
        record.send_redirects = None;
    }
}

/// What the setting is to be, where it is not known to have been put back.
pub(super) fn keep(record: &Record) -> Option<Object> {
    record.send_redirects.clone().map(|value| {
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
    use crate::reconcile::plan::{GuardState, up};

    fn seen(send_redirects: &str) -> Observed {
        Observed {
            send_redirects: Some(send_redirects.to_owned()),
            ..Observed::default()
        }
    }

    fn set_up() -> Step {
        Step::Put(Object::Admin(Admin {
            interface: "wg-lte".to_owned(),
            up: true,
        }))
    }

    /// The steps of the next look.
    fn next(record: &mut Record, have: &Observed) -> Vec<String> {
        let want: Vec<Object> = keep(record).into_iter().collect();
        let plan = up(&want, have, record, &GuardState::default());
        note(record, "wg-lte", &plan.steps, have);
        plan.steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_kernel_took_is_put_back_by_the_next_agent() {
        let mut record = Record::default();
        note(&mut record, "wg-lte", &[set_up()], &seen("1"));
        // The interface is up, and nobody has given the redirects back.
        let set = ["set sysctl net.ipv4.conf.all.send_redirects = 1"];
        assert_eq!(next(&mut record, &seen("0")), set);
        assert_eq!(next(&mut record, &seen("0")), set, "it failed");
        // A second agent that was cut off as well does not take the kernel's value for the owner's.
        note(&mut record, "wg-lte", &[set_up()], &seen("0"));
        assert_eq!(next(&mut record, &seen("0")), set);
        assert!(next(&mut record, &seen("1")).is_empty());
    }

    #[test]
    fn what_others_make_of_it_later_stays() {
        let mut record = Record::default();
        note(&mut record, "wg-lte", &[set_up()], &seen("1"));
        assert!(next(&mut record, &seen("1")).is_empty());
        assert!(next(&mut record, &seen("0")).is_empty());
    }

    #[test]
    fn another_interface_takes_nothing() {
        let mut record = Record::default();
        note(&mut record, "wg-home", &[set_up()], &seen("1"));
        assert!(next(&mut record, &seen("0")).is_empty());
    }
}
