//! TCX links (kernel 6.6), pinned: they stay when the agent goes.

use std::io;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier};
use lte_common::policy::Hook;

use super::attach::{AttachedProgram, Attachment, describe, direction, is_for_hook};
use super::program::Program;
use super::{link, pins};
use crate::backend::{BackendError, LinkHeader};

pub(super) const PREFIX: &str = "link-";
/// Of the pin of a link that is to take another's place.
const NEXT_PREFIX: &str = "next-";

fn pin_name(index: u32, hook: Hook) -> String {
    format!("{PREFIX}{index}-{}", hook.name())
}

/// The program of ours at a place, of whatever version, if its link is pinned: one that is not goes
/// with its owner.
pub(super) fn find(at: &Attachment) -> Result<Option<AttachedProgram>, BackendError> {
    let pin = pins::path(&pin_name(at.index, at.hook))?;
    let pinned = match link::info(&pin) {
        Ok(info) => info,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(BackendError::failed(format!("open {}", pin.display()), e));
        }
    };
    let fail = |e| BackendError::failed(format!("ask for the programs on {}", at.name), e);
    let programs = link::programs_at(at.index, direction(at.hook)).map_err(fail)?;
    // A program is at a hook once.
    let Some(place) = programs.iter().position(|id| *id == pinned.program) else {
        return Ok(None);
    };
    let program = Program::of(pinned.program).map_err(fail)?;
    let Some(program) = program.filter(|program| is_for_hook(program, at.hook)) else {
        return Ok(None);
    };
    let mut before = Vec::new();
    for id in &programs[..place] {
        before.extend(Program::of(*id).map_err(fail)?.as_ref().map(describe));
    }
    Ok(Some(AttachedProgram {
        program,
        before,
        duplicated: false,
    }))
}

pub(super) fn install(at: &Attachment, program: &mut SchedClassifier) -> Result<(), BackendError> {
    let name = pin_name(at.index, at.hook);
    let path = pins::path(&name)?;
    let fail = |what: &str| format!("{what} {at}");
    match PinnedLink::from_pin(&path) {
        Ok(pinned) => {
            let link = SchedClassifierLink::try_from(FdLink::from(pinned))
                .map_err(|e| BackendError::failed(fail("use the pinned link of"), e))?;
            // A link whose interface was deleted, or that was detached, is severed for good
            // (ENOLINK): only then is it replaced.
            if let Ok(id) = program.attach_to_link(link) {
                // The pin holds the link; dropping our handle does not detach it.
                let link = program
                    .take_link(id)
                    .map_err(|e| BackendError::failed(fail("keep the link of"), e))?;
                drop(link);
                if find(at)?.is_some() {
                    return Ok(());
                }
            }
            pins::unpin_own(&name)?;
        }
        Err(LinkError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(BackendError::failed(fail("open the pinned link of"), e)),
    }
    match attach(at, program)? {
        Some(id) => pin(at, program, id, &name),
        None => Ok(()),
    }
}

/// Puts a program before all others at a place, where another of ours is that is not the first: they
/// change places without a moment in which neither is there. Meanwhile both run, and what passes is
/// counted twice.
///
/// It has to be another program than that which is there.
pub(super) fn install_first(
    at: &Attachment,
    program: &mut SchedClassifier,
) -> Result<(), BackendError> {
    let fail = || format!("put {at} first");
    let (name, next) = (
        pin_name(at.index, at.hook),
        format!("{NEXT_PREFIX}{}", pin_name(at.index, at.hook)),
    );
    // Of an agent that was killed between two of these steps.
    pins::unpin_own(&next)?;
    let behind =
        link::Link::open(&pins::path(&name)?).map_err(|e| BackendError::failed(fail(), e))?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(&at.name, direction(at.hook), order)
        .map_err(|e| BackendError::failed(fail(), e))?;
    pin(at, program, id, &next)?;
    pins::replace(&name, &next)?;
    behind.detach().map_err(|e| BackendError::failed(fail(), e))
}

fn pin(
    at: &Attachment,
    program: &mut SchedClassifier,
    id: SchedClassifierLinkId,
    name: &str,
) -> Result<(), BackendError> {
    let fail = |what: &str| format!("{what} the link of {at}");
    let link: FdLink = program
        .take_link(id)
        .map_err(|e| BackendError::failed(fail("keep"), e))?
        .try_into()
        .map_err(|e: LinkError| BackendError::failed(fail("pin"), e))?;
    link.pin(pins::path(name)?)
        .map(drop)
        .map_err(|e| BackendError::failed(fail("pin"), e))
}

/// A new link; `None`: an old one is there still, and is pinned again.
fn attach(
    at: &Attachment,
    program: &mut SchedClassifier,
) -> Result<Option<SchedClassifierLinkId>, BackendError> {
    let mut again = true;
    loop {
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        match program.attach_with_options(&at.name, direction(at.hook), order) {
            Ok(id) => return Ok(Some(id)),
            // A program is at a hook once (`bpf_mprog_attach`), and this one is.
            Err(ProgramError::SyscallError(e))
                if again && e.io_error.kind() == io::ErrorKind::AlreadyExists =>
            {
                if pin_again(at, program)? {
                    return Ok(None);
                }
                // Freed in between.
                again = false;
            }
            Err(e) => return Err(BackendError::failed(format!("attach {at}"), e)),
        }
    }
}

/// Takes up a link that is no longer pinned and not yet freed. Says whether there was one.
fn pin_again(at: &Attachment, program: &SchedClassifier) -> Result<bool, BackendError> {
    let fail = || format!("pin the link of {at} again");
    let id = program
        .info()
        .map_err(|e| BackendError::failed(fail(), e))?
        .id();
    let path = pins::path(&pin_name(at.index, at.hook))?;
    link::pin_again(id, at.index, direction(at.hook), &path)
        .map_err(|e| BackendError::failed(fail(), e))
}

/// All places with a pinned link. The header is not known, and not needed to take one away.
pub(super) fn all() -> Result<Vec<Attachment>, BackendError> {
    Ok(pins::names(PREFIX)?
        .iter()
        .filter_map(|name| {
            let (index, hook) = name.split_once('-')?;
            Some(Attachment {
                index: index.parse().ok()?,
                name: String::new(),
                hook: *Hook::ALL.iter().find(|h| h.name() == hook)?,
                header: LinkHeader::None,
            })
        })
        .collect())
}

pub(super) fn detach(at: &Attachment) -> Result<(), BackendError> {
    let name = pin_name(at.index, at.hook);
    let next = format!("{NEXT_PREFIX}{name}");
    for name in [&name, &next] {
        for pin in pins::named(name)? {
            link::Link::open(&pin)
                .and_then(|link| link.detach())
                .map_err(|e| BackendError::failed(format!("detach {at}"), e))?;
        }
        pins::unpin(name)?;
    }
    Ok(())
}
