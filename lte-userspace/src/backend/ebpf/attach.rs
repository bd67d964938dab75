//! Which program belongs where, and what is there.

use std::fmt;

use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::ProgramInfo;
use aya::programs::TcAttachType;
use aya::util::KernelVersion;
use lte_common::policy::{Hook, Policy};

use super::object::{self, Raw};
use super::{clsact, tcx};
use crate::backend::{BackendError, Guard, LinkHeader};

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Links, pinned; kernel 6.6.
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

impl Mode {
    pub(super) fn of_this_kernel() -> Result<Self, BackendError> {
        let version = KernelVersion::current()
            .map_err(|e| BackendError::failed("read the kernel's version", e))?;
        Ok(if version >= KernelVersion::new(6, 6, 0) {
            Self::Tcx
        } else {
            Self::Clsact
        })
    }
}

/// A program's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) index: u32,
    /// Interface name; empty where the interface is gone.
    pub(super) name: String,
    pub(super) hook: Hook,
    pub(super) header: LinkHeader,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = object::program_name(self.hook);
        if self.name.is_empty() {
            write!(f, "{program} on interface {}", self.index)
        } else {
            write!(f, "{program} on {}", self.name)
        }
    }
}

pub(super) const fn direction(hook: Hook) -> TcAttachType {
    match hook {
        Hook::ModemIn => TcAttachType::Ingress,
        Hook::ModemOut | Hook::UplinkOut => TcAttachType::Egress,
    }
}

/// The places of a guard, the modem's first.
pub(super) fn wanted(guard: &Guard) -> Vec<Attachment> {
    let modem = guard.modem.iter().flat_map(|modem| {
        [Hook::ModemOut, Hook::ModemIn].map(|hook| Attachment {
            index: modem.index,
            name: modem.name.clone(),
            hook,
            header: modem.header,
        })
    });
    let uplinks = guard.uplinks.iter().map(|(index, uplink)| Attachment {
        index: *index,
        name: uplink.name.clone(),
        hook: Hook::UplinkOut,
        header: uplink.header,
    });
    modem.chain(uplinks).collect()
}

/// What a running program of ours was loaded with; `None`: the program is not ours, or of
/// another layout.
pub(super) fn policy_of(program: &ProgramInfo) -> Option<Policy> {
    for id in program.map_ids().ok()?? {
        let info = MapInfo::from_id(id).ok()?;
        if info.value_size() as usize == size_of::<Policy>()
            && info
                .name_as_str()
                .is_some_and(|name| name.contains("rodata"))
        {
            let map = Map::Array(MapData::from_id(id).ok()?);
            let array: Array<MapData, Raw<Policy>> = Array::try_from(map).ok()?;
            return array.get(&0, 0).ok().map(|raw| raw.0);
        }
    }
    None
}

/// What is wrong at a place; `None`: all is in place.
pub(super) fn difference(
    mode: Mode,
    at: &Attachment,
    policy: &Policy,
) -> Result<Option<String>, BackendError> {
    let running = match mode {
        Mode::Tcx => tcx::running(at)?,
        Mode::Clsact => clsact::running(at)?,
    };
    Ok(match running {
        None => Some(format!("no {at}")),
        Some(program) => match policy_of(&program) {
            Some(running) if running == *policy => None,
            Some(running) if running.build != policy.build => {
                Some(format!("{at} is of another build"))
            }
            _ => Some(format!("{at} runs with another policy")),
        },
    })
}

/// Puts a program in place, at once where one of ours is there.
pub(super) fn put(mode: Mode, at: &Attachment, ebpf: &mut aya::Ebpf) -> Result<(), BackendError> {
    let program = object::program(ebpf, at.hook)?;
    match mode {
        Mode::Tcx => tcx::put(at, program),
        Mode::Clsact => clsact::put(at, program),
    }
}

/// Places where a program of ours is, and none is wanted.
pub(super) fn stale(mode: Mode, wanted: &[Attachment]) -> Result<Vec<Attachment>, BackendError> {
    let all = match mode {
        Mode::Tcx => tcx::all()?,
        Mode::Clsact => clsact::all()?,
    };
    Ok(all
        .into_iter()
        .filter(|at| {
            !wanted
                .iter()
                .any(|w| w.index == at.index && w.hook == at.hook)
        })
        .collect())
}

/// Takes a program away.
pub(super) fn take_away(mode: Mode, at: &Attachment) -> Result<(), BackendError> {
    match mode {
        Mode::Tcx => tcx::take_away(at),
        Mode::Clsact => clsact::take_away(at),
    }
}
