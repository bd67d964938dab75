//! Filters of the clsact qdisc, at a priority and handle of our own.

use std::fs;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType, loaded_programs};
use lte_common::policy::Hook;

use super::attach::{Attachment, direction, is_of};
use super::{pins, tc};
use crate::backend::{BackendError, LinkHeader};

/// Before filters that others put at the usual priorities.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0x7b);
/// Of a directory that says: this interface's clsact qdisc is ours. The BPF file system forgets
/// it when the kernel forgets the qdisc.
pub(super) const QDISC: &str = "qdisc-";

fn info(id: u32) -> Option<ProgramInfo> {
    loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
}

/// Our filter's program at a place, of whatever version.
pub(super) fn found(at: &Attachment) -> Result<Option<ProgramInfo>, BackendError> {
    Ok(tc::filters(at.index, direction(at.hook))?
        .into_iter()
        .find(|filter| filter.priority == PRIORITY && filter.handle == u32::from(HANDLE))
        .and_then(|filter| info(filter.program))
        .filter(|program| is_of(program, at.hook)))
}

pub(super) fn put(at: &Attachment, program: &mut SchedClassifier) -> Result<(), BackendError> {
    ensure_qdisc(at)?;
    let fail = |what: &str| format!("{what} {at}");
    let here = tc::filters(at.index, direction(at.hook))?
        .into_iter()
        .any(|filter| filter.priority == PRIORITY && filter.handle == u32::from(HANDLE));
    let id = if here {
        let link =
            SchedClassifierLink::attached(&at.name, direction(at.hook), PRIORITY, HANDLE, None)
                .map_err(|e| BackendError::failed(fail("adopt"), e))?;
        program.attach_to_link(link)
    } else {
        program.attach_with_options(
            &at.name,
            direction(at.hook),
            TcAttachOptions::Netlink(NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                classid: None,
            }),
        )
    }
    .map_err(|e| BackendError::failed(fail("attach"), e))?;
    let link = program
        .take_link(id)
        .map_err(|e| BackendError::failed(fail("keep"), e))?;
    // Dropping it would detach the filter, which is to outlive the agent.
    std::mem::forget(link);
    Ok(())
}

fn ensure_qdisc(at: &Attachment) -> Result<(), BackendError> {
    let kinds = tc::qdiscs(at.index)?;
    if kinds.iter().any(|kind| kind == "clsact") {
        return Ok(());
    }
    // An `ingress` qdisc takes the place of clsact and has no egress: a filter for egress would
    // land in its ingress block.
    if kinds.iter().any(|kind| kind == "ingress") {
        return Err(BackendError::failed(
            format!("attach {at}"),
            format!(
                "{0} has an ingress qdisc, which leaves no room for clsact; remove it (tc qdisc del dev {0} ingress), or use --backend nft",
                at.name
            ),
        ));
    }
    // The marker first: an agent that is killed in between leaves no qdisc that nobody owns.
    let marker = pins::path(&format!("{QDISC}{}", at.index));
    fs::create_dir_all(&marker)
        .map_err(|e| BackendError::failed(format!("create {}", marker.display()), e))?;
    tc::add_clsact(at.index)
        .map_err(|e| BackendError::failed(format!("add a clsact qdisc to {}", at.name), e))
}

/// All places with our filter.
pub(super) fn all() -> Result<Vec<Attachment>, BackendError> {
    let mut found = Vec::new();
    for index in tc::with_clsact()? {
        for attach_type in [TcAttachType::Egress, TcAttachType::Ingress] {
            for filter in tc::filters(index, attach_type)? {
                if filter.priority != PRIORITY || filter.handle != u32::from(HANDLE) {
                    continue;
                }
                let Some(program) = info(filter.program) else {
                    continue;
                };
                let hook = Hook::ALL
                    .into_iter()
                    .find(|hook| direction(*hook) == attach_type && is_of(&program, *hook));
                if let Some(hook) = hook {
                    found.push(Attachment {
                        index,
                        name: String::new(),
                        hook,
                        header: LinkHeader::None,
                    });
                }
            }
        }
    }
    Ok(found)
}

pub(super) fn take_away(at: &Attachment) -> Result<(), BackendError> {
    tc::delete_filter(at.index, direction(at.hook), PRIORITY, u32::from(HANDLE))
        .map_err(|e| BackendError::failed(format!("remove {at}"), e))
}

/// Takes away the markers of interfaces that have gone, with their qdiscs.
pub(super) fn forget_gone() {
    for name in pins::names(QDISC).unwrap_or_default() {
        let gone = name.parse().is_ok_and(|index: u32| !tc::exists(index));
        if gone {
            // One that stays says nothing of any interface.
            drop(fs::remove_dir(pins::path(&format!("{QDISC}{name}"))));
        }
    }
}

/// Takes away the qdiscs that are ours, where nobody else's filter is on them by now.
pub(super) fn remove_qdiscs() -> Vec<BackendError> {
    let mut errors = Vec::new();
    let names = match pins::names(QDISC) {
        Ok(names) => names,
        Err(e) => return vec![e],
    };
    for index in names.iter().filter_map(|name| name.parse().ok()) {
        if let Err(e) = remove_qdisc(index) {
            errors.push(e);
        }
    }
    errors
}

fn remove_qdisc(index: u32) -> Result<(), BackendError> {
    if !tc::with_clsact()?.contains(&index) {
        return Ok(());
    }
    let others = tc::filters(index, TcAttachType::Egress)?.len()
        + tc::filters(index, TcAttachType::Ingress)?.len();
    if others == 0 {
        tc::delete_clsact(index).map_err(|e| {
            BackendError::failed(format!("remove the clsact qdisc of interface {index}"), e)
        })?;
    }
    Ok(())
}
