//! Which program belongs where, and what is there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::time::Duration;

use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::TcAttachType;
use aya::util::KernelVersion;
use lte_common::layout::Policy;
use lte_common::policy::Hook;

use super::maps::{self, Pinned, Used};
use super::object::{self, LoadOptions, PodValue};
use super::policy::policy_for;
use super::program::Program;
use super::{clsact, remotes, tcx};
use crate::backend::{BackendError, Guard, LinkHeader, Modem, Remote};

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttachMode {
    /// Links, pinned; kernel 6.6.
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

impl AttachMode {
    pub(super) fn for_this_kernel() -> Result<Self, BackendError> {
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

impl Attachment {
    /// Whether it is on an uplink that has gone since it was looked at: containers' come and go all
    /// the time. Without the modem there is no guard.
    pub(super) fn is_gone(&self) -> bool {
        let Ok(name) = CString::new(self.name.as_str()) else {
            return false;
        };
        // SAFETY: the name is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        matches!(self.hook, Hook::UplinkOut) && index != self.index
    }
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
pub(super) fn desired_attachments(guard: &Guard) -> Vec<Attachment> {
    let modem = guard.modem.iter().flat_map(both_directions);
    let closed: Vec<_> = guard
        .closed_devices()
        .flat_map(|(device, _)| both_directions(&device))
        .collect();
    let uplinks = guard.uplinks.iter().map(|(index, uplink)| Attachment {
        index: *index,
        name: uplink.name.clone(),
        hook: Hook::UplinkOut,
        header: uplink.header,
    });
    modem.chain(closed).chain(uplinks).collect()
}

fn both_directions(modem: &Modem) -> [Attachment; 2] {
    [Hook::ModemOut, Hook::ModemIn].map(|hook| Attachment {
        index: modem.index,
        name: modem.name.clone(),
        hook,
        header: modem.header,
    })
}

/// The policy of the program at a place.
pub(super) fn policy(guard: &Guard, at: &Attachment, options: LoadOptions) -> Policy {
    if guard.closed.contains_key(&at.index) {
        // With no modem that has an address nothing passes one.
        let without = Guard {
            modem: None,
            ..guard.clone()
        };
        return policy_for(&without, at.header, options);
    }
    policy_for(guard, at.header, options)
}

/// What a running program of ours was loaded with; `None`: the program is not ours, or of
/// another layout.
pub(super) fn policy_of(program: &Program) -> Option<Policy> {
    for id in program.map_ids() {
        let info = MapInfo::from_id(*id).ok()?;
        if info.value_size() as usize == size_of::<Policy>()
            && info
                .name_as_str()
                .is_some_and(|name| name.contains("rodata"))
        {
            let map = Map::Array(MapData::from_id(*id).ok()?);
            let array: Array<MapData, PodValue<Policy>> = Array::try_from(map).ok()?;
            return array.get(&0, 0).ok().map(|raw| raw.0);
        }
    }
    None
}

/// Whether a program is that of a hook, of whatever version. On a kernel without tracing the loader
/// leaves programs without a name (aya's `is_prog_name_supported` asks with a tracepoint's): the policy they
/// were loaded with decides then.
pub(super) fn is_for_hook(program: &Program, hook: Hook) -> bool {
    match program.name() {
        "" => policy_of(program).is_some(),
        name => name == object::program_name(hook),
    }
}

/// A program of ours in its place.
#[derive(Debug)]
pub(super) struct AttachedProgram {
    pub(super) program: Program,
    /// The programs that run before it at this place, and can keep a packet from it.
    pub(super) before: Vec<String>,
    /// Whether another of ours is behind it: an agent was killed while they changed places.
    pub(super) duplicated: bool,
}

/// Number and name of a program.
pub(super) fn describe(program: &Program) -> String {
    let name = Some(program.name()).filter(|name| !name.is_empty());
    format!("{} {}", program.id(), name.unwrap_or("(no name)"))
}

/// The program of ours at a place, of whatever version.
pub(super) fn find(
    mode: AttachMode,
    at: &Attachment,
) -> Result<Option<AttachedProgram>, BackendError> {
    match mode {
        AttachMode::Tcx => tcx::find(at),
        AttachMode::Clsact => clsact::find(at),
    }
}

/// The remotes that attached programs have in other maps than the pinned one: those of
/// another version of the agent.
pub(super) fn remotes_of_programs(
    mode: AttachMode,
    wanted: &[Attachment],
) -> Result<BTreeMap<Remote, Duration>, BackendError> {
    let mut known = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for at in wanted {
        if let Some(found) = find(mode, at)?
            && asked.insert(found.program.id())
        {
            remotes::merge(&mut known, remotes::of_program(&found.program)?);
        }
    }
    Ok(known)
}

/// What programs of ours were found to be. Many interfaces have the same one, and asking takes dozens of
/// system calls.
#[derive(Debug, Default)]
pub(super) struct ProgramCache {
    /// By number. What a program was loaded with and which maps it uses never changes.
    programs: BTreeMap<u32, Known>,
    /// The pinned maps, as they were at this look.
    pinned: Option<Pinned>,
}

#[derive(Debug)]
struct Known {
    policy: Policy,
    maps: Vec<Used>,
    /// Whether it was met in this look.
    met: bool,
}

impl ProgramCache {
    /// Begins another look. What was not met in the last one is forgotten.
    pub(super) fn begin(&mut self) {
        self.programs
            .retain(|_, known| std::mem::take(&mut known.met));
        self.pinned = None;
    }

    /// Other maps may have been pinned since.
    pub(super) fn look_at_pins_again(&mut self) {
        self.pinned = None;
    }

    /// The pinned maps.
    pub(super) fn pinned(&mut self) -> Result<&Pinned, BackendError> {
        Ok(match self.pinned.take() {
            Some(pinned) => self.pinned.insert(pinned),
            None => self.pinned.insert(Pinned::look()?),
        })
    }

    /// What a program was loaded with, and whether its maps are the pinned ones.
    fn of(&mut self, program: &Program) -> Result<Option<(Policy, bool)>, BackendError> {
        let known = match self.programs.entry(program.id()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match policy_of(program) {
                Some(policy) => unknown.insert(Known {
                    policy,
                    maps: maps::used_by(program)?,
                    met: false,
                }),
                None => return Ok(None),
            },
        };
        known.met = true;
        let (policy, used) = (known.policy, known.maps.clone());
        Ok(Some((policy, self.pinned()?.are(&used))))
    }
}

/// What is wrong at a place; `None`: all is in place.
pub(super) fn difference(
    mode: AttachMode,
    at: &Attachment,
    policy: &Policy,
    options: LoadOptions,
    seen: &mut ProgramCache,
) -> Result<Option<String>, BackendError> {
    let Some(found) = find(mode, at)? else {
        return Ok(Some(format!("no {at}")));
    };
    let Some((mut running, are_pinned)) = seen.of(&found.program)? else {
        return Ok(Some(format!("no {at}")));
    };
    running.build = object::comparable_build(running.build, options);
    Ok(match running {
        running if running == *policy => {
            if !are_pinned {
                Some(format!("{at} has maps of its own"))
            } else if found.is_first() {
                found.duplicated.then(|| format!("{at} is attached twice"))
            } else {
                let before = found.before.join(", ");
                Some(format!("another program runs before {at}: {before}"))
            }
        }
        running if !object::is_same_object(running.build, policy.build) => {
            Some(format!("{at} is of another build"))
        }
        running if running.build != policy.build => {
            Some(format!("{at} logs for another process, or not at all"))
        }
        _ => Some(format!("{at} runs with another policy")),
    })
}

impl AttachedProgram {
    pub(super) const fn is_first(&self) -> bool {
        self.before.is_empty()
    }
}

/// Puts a program in place, at once where one of ours is there.
pub(super) fn install(
    mode: AttachMode,
    at: &Attachment,
    ebpf: &mut aya::Ebpf,
) -> Result<(), BackendError> {
    let program = object::program(ebpf, at.hook)?;
    match mode {
        AttachMode::Tcx => tcx::install(at, program),
        AttachMode::Clsact => clsact::install(at, program),
    }
}

/// Puts a program before those of others, where another one of ours is behind them.
pub(super) fn install_first(
    mode: AttachMode,
    at: &Attachment,
    ebpf: &mut aya::Ebpf,
) -> Result<(), BackendError> {
    let program = object::program(ebpf, at.hook)?;
    match mode {
        AttachMode::Tcx => tcx::install_first(at, program),
        AttachMode::Clsact => clsact::install_first(at, program),
    }
}

/// Places where a program of ours is, and none is wanted.
pub(super) fn stale(
    mode: AttachMode,
    wanted: &[Attachment],
) -> Result<Vec<Attachment>, BackendError> {
    let all = match mode {
        AttachMode::Tcx => tcx::all()?,
        AttachMode::Clsact => clsact::all()?,
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
pub(super) fn detach(mode: AttachMode, at: &Attachment) -> Result<(), BackendError> {
    match mode {
        AttachMode::Tcx => tcx::detach(at),
        AttachMode::Clsact => clsact::detach(at),
    }
}
