//! What is to be as it was found.

use super::snapshot::Snapshot;
use super::{redirects, reverse_path};
use crate::desired::{LinkState, Master, Object, Offload, OffloadKey, Sysctl, SysctlKey};
use crate::state::Baseline;

/// All that is to be as it was found, but for what is wanted otherwise. `modem` is the modem's interface.
pub(super) fn restored(
    have: &Snapshot,
    baseline: &Baseline,
    modem: Option<u32>,
    want: &[Object],
) -> Vec<Object> {
    let mut objects = interfaces(have, baseline, modem, want);
    objects.extend(redirects::restore(baseline));
    objects.extend(modem.and_then(|modem| reverse_path::restore(have, baseline, modem)));
    objects
}

/// What brings recorded interfaces back to how they were found, but for what is wanted of them; that
/// one of them, the modem, is up is wanted in any case.
fn interfaces(
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
