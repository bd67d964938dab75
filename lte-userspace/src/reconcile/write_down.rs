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
                sysctls: SysctlKey::SEEN
                    .into_iter()
                    .filter_map(|key| {
                        let value = view.observed.sysctls.get(&(link.index, key))?;
                        Some((sysctl_name(key), value.clone()))
                    })
                    .collect(),
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
