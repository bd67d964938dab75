//! How things were found, written down before they are changed.

use std::collections::BTreeMap;

use super::plan::{Step, sysctl_name};
use super::redirects;
use super::remembered;
use super::view::View;
use crate::backend::Kind;
use crate::config::Config;
use crate::desired::{Object, SysctlKey};
use crate::kernel::hardware::Hardware;
use crate::state::{InterfaceBefore, Record};

/// Writes down how things were found, before anything of the plan is done, and forgets what has
/// gone.
pub(super) fn write_down(record: &mut Record, config: &Config, view: &View, active: Kind) {
    let modem = view.facts.modem.as_ref();
    remembered::note(
        &mut record.devices,
        &config.modem.identity,
        &view.observed.links,
        modem.and_then(|modem| view.observed.link_at(modem.index)),
        Hardware::of,
    );
    let settled = view.plan.steps.is_empty();
    record.interfaces.retain(|index, _| {
        let restored = settled && modem.is_none_or(|modem| modem.index != *index);
        view.observed.link_at(*index).is_some() && !restored
    });
    if let Some(link) = modem.and_then(|modem| view.observed.link_at(modem.index)) {
        let before = record
            .interfaces
            .entry(link.index)
            .or_insert_with(|| InterfaceBefore {
                name: link.name.clone(),
                up: link.up,
                master: link.master,
                sysctls: BTreeMap::new(),
                addresses: view
                    .observed
                    .addresses
                    .iter()
                    .filter(|found| found.index == link.index)
                    .map(|found| found.cidr.to_string())
                    .collect(),
                added: Vec::new(),
                offloads: BTreeMap::new(),
            });
        note_sysctls(before, link.index, &view.observed.sysctls);
        if active == Kind::Nft {
            for ((index, key), value) in &view.observed.offloads {
                if *index == link.index {
                    let name = key.name().to_owned();
                    before.offloads.entry(name).or_insert(*value);
                }
            }
        } else if settled {
            // Another guard's, and given back.
            before.offloads.clear();
        }
    }
    redirects::note(
        record,
        &config.tunnel.interface,
        &view.plan.steps,
        &view.observed,
    );
    for step in &view.plan.steps {
        match step {
            Step::Guard(..) => {
                record.guards.insert(active);
            }
            Step::Put(Object::Link(link)) => {
                record.tunnel = Some(link.name.clone());
            }
            Step::Put(Object::Address(address)) => {
                let index = view
                    .observed
                    .link(&address.interface)
                    .map(|link| link.index);
                if let Some(before) = index.and_then(|index| record.interfaces.get_mut(&index)) {
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
    before: &mut InterfaceBefore,
    index: u32,
    found: &BTreeMap<(u32, SysctlKey), String>,
) {
    for key in SysctlKey::SEEN {
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
        let mut before = InterfaceBefore {
            sysctls: [noted(SysctlKey::SrcValidMark, "0")].into(),
            ..InterfaceBefore::default()
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
