//! Records the baseline before anything is changed.

use std::collections::BTreeMap;

use super::comparison::Comparison;
use super::modem_devices;
use super::redirects;
use super::restore::sysctl_name;
use crate::backend::BackendKind;
use crate::config::Config;
use crate::desired::{Object, SysctlKey};
use crate::kernel::hardware::Hardware;
use crate::kernel::link::ObservedLink;
use crate::state::{Baseline, InterfaceBaseline};

/// Records how interfaces were found before a step of the plan is taken, and drops the records of those
/// that are gone.
pub(super) fn record_baseline(
    baseline: &mut Baseline,
    config: &Config,
    comparison: &Comparison,
    active: BackendKind,
    hardware: impl Fn(&ObservedLink) -> Hardware,
) {
    let modem = comparison.facts.modem.as_ref();
    modem_devices::record(
        &mut baseline.devices,
        &config.modem.identity,
        &comparison.snapshot.links,
        modem.and_then(|modem| comparison.snapshot.link_at(modem.index)),
        hardware,
    );
    let converged = comparison.plan.steps.is_empty();
    baseline.interfaces.retain(|index, _| {
        let restored = converged && modem.is_none_or(|modem| modem.index != *index);
        comparison.snapshot.link_at(*index).is_some() && !restored
    });
    if let Some(link) = modem.and_then(|modem| comparison.snapshot.link_at(modem.index)) {
        let before = baseline
            .interfaces
            .entry(link.index)
            .or_insert_with(|| InterfaceBaseline {
                name: link.name.clone(),
                up: link.up,
                master: link.master,
                sysctls: BTreeMap::new(),
                addresses: comparison
                    .snapshot
                    .addresses
                    .iter()
                    .filter(|found| found.index == link.index)
                    .map(|found| found.cidr.to_string())
                    .collect(),
                added: Vec::new(),
                offloads: BTreeMap::new(),
            });
        note_sysctls(before, link.index, &comparison.snapshot.sysctls);
        if active == BackendKind::Nft {
            for ((index, key), value) in &comparison.snapshot.offloads {
                if *index == link.index {
                    let name = key.name().to_owned();
                    before.offloads.entry(name).or_insert(*value);
                }
            }
        } else if converged {
            // Another guard's, and given back.
            before.offloads.clear();
        }
    }
    redirects::record(
        baseline,
        &config.tunnel.interface,
        &comparison.plan.steps,
        &comparison.snapshot,
    );
    for step in &comparison.plan.steps {
        match step.sets() {
            Some(Object::Guard(_)) => {
                baseline.guards.insert(active);
            }
            Some(Object::Link(link)) => {
                baseline.tunnel = Some(link.name.clone());
            }
            Some(Object::Address(address)) => {
                let index = comparison
                    .snapshot
                    .link(&address.interface)
                    .map(|link| link.index);
                if let Some(before) = index.and_then(|index| baseline.interfaces.get_mut(&index)) {
                    let text = address.cidr.to_string();
                    if !before.added.contains(&text) {
                        before.added.push(text);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Those that are not on record of an interface that is: an earlier version did not set them.
fn note_sysctls(
    before: &mut InterfaceBaseline,
    index: u32,
    found: &BTreeMap<(u32, SysctlKey), String>,
) {
    for key in SysctlKey::recorded() {
        if let Some(value) = found.get(&(index, key)) {
            let noted = before.sysctls.entry(sysctl_name(key));
            noted.or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_did_not_set_is_noted_and_what_is_on_record_stays() {
        let noted = |key, value: &str| (sysctl_name(key), value.to_owned());
        let mut before = InterfaceBaseline {
            sysctls: [noted(SysctlKey::SrcValidMark, "0")].into(),
            ..InterfaceBaseline::default()
        };
        let found = [
            ((3, SysctlKey::SrcValidMark), "1".to_owned()),
            ((3, SysctlKey::ArpIgnore), "2".to_owned()),
            ((4, SysctlKey::ArpAnnounce), "2".to_owned()),
        ];
        note_sysctls(&mut before, 3, &found.into());
        let expected = [
            noted(SysctlKey::ArpIgnore, "2"),
            noted(SysctlKey::SrcValidMark, "0"),
        ];
        assert_eq!(before.sysctls, expected.into());
    }
}
