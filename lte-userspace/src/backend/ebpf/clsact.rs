//! Filters of the clsact qdisc, at a priority and handles of our own.
//!
//! The kernel asks the filters of one priority in the order in which it lists them, and puts a new
//! one before the others (`cls_bpf_change`). All of one priority are of one kind, and no priority
//! comes before 1: so another program runs before ours only where it is a filter of priority 1, too.

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{SchedClassifier, TcAttachType};
use lte_common::policy::Hook;

use super::attach::{AttachedProgram, Attachment, describe, direction, is_for_hook};
use super::program::Program;
use super::tc::Filter;
use super::{pins, tc};
use crate::backend::{BackendError, LinkHeader};

/// Before filters that others put at the usual priorities.
const PRIORITY: u16 = 1;
/// The second is for a filter that takes the place of one with the first, and the other way round.
const HANDLES: [TcHandle; 2] = [TcHandle::new(0, 0x7b), TcHandle::new(0, 0x7c)];
/// Of a directory that says: this interface's clsact qdisc is ours. The BPF file system forgets
/// it when the kernel forgets the qdisc.
pub(super) const QDISC: &str = "qdisc-";

fn info(id: u32) -> Option<Program> {
    Program::of(id).ok().flatten()
}

fn has_our_handle(filter: &Filter) -> bool {
    HANDLES.iter().any(|own| u32::from(*own) == filter.handle)
}

/// Filters of our priority at a place, in the order in which they are asked.
fn filters(at: &Attachment) -> Result<Vec<Filter>, BackendError> {
    let mut filters = tc::filters(at.index, direction(at.hook))?;
    filters.retain(|filter| filter.priority == PRIORITY);
    Ok(filters)
}

/// Our filter's program at a place, of whatever version.
pub(super) fn find(at: &Attachment) -> Result<Option<AttachedProgram>, BackendError> {
    let filters = filters(at)?;
    let Some(place) = filters.iter().position(has_our_handle) else {
        return Ok(None);
    };
    let (before, rest) = filters.split_at(place);
    let program = rest[0]
        .program
        .and_then(info)
        .filter(|program| is_for_hook(program, at.hook));
    Ok(program.map(|program| AttachedProgram {
        program,
        before: before.iter().map(name).collect(),
        duplicated: rest[1..].iter().any(has_our_handle),
    }))
}

fn name(filter: &Filter) -> String {
    let program = filter.program.and_then(info);
    program.map_or_else(
        || format!("filter {:#x}", filter.handle),
        |program| describe(&program),
    )
}

/// Our filters at a place, by their handles, the first first.
fn handles(at: &Attachment) -> Result<Vec<TcHandle>, BackendError> {
    Ok(filters(at)?
        .into_iter()
        .filter(has_our_handle)
        .map(|filter| TcHandle::from(filter.handle))
        .collect())
}

fn delete(at: &Attachment, handle: TcHandle) -> Result<(), BackendError> {
    tc::delete_filter(at.index, direction(at.hook), PRIORITY, u32::from(handle))
        .map_err(|e| BackendError::failed(format!("remove {at}"), e))
}

pub(super) fn install(at: &Attachment, program: &mut SchedClassifier) -> Result<(), BackendError> {
    ensure_qdisc(at)?;
    let fail = |what: &str| format!("{what} {at}");
    let here = handles(at)?;
    let Some((first, more)) = here.split_first() else {
        return add(at, program, HANDLES[0]);
    };
    let link = SchedClassifierLink::attached(&at.name, direction(at.hook), PRIORITY, *first, None)
        .map_err(|e| BackendError::failed(fail("adopt"), e))?;
    let id = program
        .attach_to_link(link)
        .map_err(|e| BackendError::failed(fail("attach"), e))?;
    let link = program
        .take_link(id)
        .map_err(|e| BackendError::failed(fail("keep"), e))?;
    // Dropping it would detach the filter, which is to outlive the agent.
    std::mem::forget(link);
    more.iter().try_for_each(|handle| delete(at, *handle))
}

/// Puts a filter before all others at a place, where one of ours is that is not the first: they change
/// places without a moment in which neither is there. Meanwhile both run, and what passes is counted
/// twice.
pub(super) fn install_first(
    at: &Attachment,
    program: &mut SchedClassifier,
) -> Result<(), BackendError> {
    let here = handles(at)?;
    let Some((behind, more)) = here.split_first() else {
        return install(at, program);
    };
    // Of an agent that was killed between these steps.
    more.iter().try_for_each(|handle| delete(at, *handle))?;
    let other = HANDLES.into_iter().find(|own| own != behind);
    add(at, program, other.unwrap_or(HANDLES[0]))?;
    delete(at, *behind)
}

/// A new filter.
fn add(
    at: &Attachment,
    program: &mut SchedClassifier,
    handle: TcHandle,
) -> Result<(), BackendError> {
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle,
        classid: None,
    });
    let id = program
        .attach_with_options(&at.name, direction(at.hook), options)
        .map_err(|e| BackendError::failed(format!("attach {at}"), e))?;
    let link = program
        .take_link(id)
        .map_err(|e| BackendError::failed(format!("keep {at}"), e))?;
    // As above.
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
    // The marker first: an agent that is killed in between leaves no qdisc without an owner.
    pins::create_marker(&format!("{QDISC}{}", at.index))?;
    tc::add_clsact(at.index)
        .map_err(|e| BackendError::failed(format!("add a clsact qdisc to {}", at.name), e))
}

/// All places with a filter of ours.
pub(super) fn all() -> Result<Vec<Attachment>, BackendError> {
    let mut found = Vec::new();
    for index in tc::with_clsact()? {
        for attach_type in [TcAttachType::Egress, TcAttachType::Ingress] {
            for filter in tc::filters(index, attach_type)? {
                if filter.priority != PRIORITY || !has_our_handle(&filter) {
                    continue;
                }
                let Some(program) = filter.program.and_then(info) else {
                    continue;
                };
                let hook = Hook::ALL
                    .into_iter()
                    .find(|hook| direction(*hook) == attach_type && is_for_hook(&program, *hook));
                if let Some(hook) = hook {
                    let at = Attachment {
                        index,
                        name: String::new(),
                        hook,
                        header: LinkHeader::None,
                    };
                    if !found.contains(&at) {
                        found.push(at);
                    }
                }
            }
        }
    }
    Ok(found)
}

pub(super) fn detach(at: &Attachment) -> Result<(), BackendError> {
    handles(at)?
        .into_iter()
        .try_for_each(|handle| delete(at, handle))
}

/// Takes away the markers of interfaces that have gone, with their qdiscs.
pub(super) fn forget_gone() {
    for name in pins::names(QDISC).unwrap_or_default() {
        let gone = name.parse().is_ok_and(|index: u32| !tc::exists(index));
        if gone {
            // One that stays says nothing of any interface.
            drop(pins::remove_marker(&format!("{QDISC}{name}")));
        }
    }
}

/// Removes the qdiscs that are ours and have no filter of others on them.
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
