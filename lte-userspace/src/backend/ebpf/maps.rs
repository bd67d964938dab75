//! The pinned maps: their shapes, whose they are, and the counters.

use std::io;

use aya::maps::{Map, MapData, MapError, MapInfo, MapType, PerCpuArray};
use lte_common::layout::{
    self, FlowKey, FragmentKey, FragmentValue, Remote, RemoteKey, maps as names,
};
use lte_common::policy::{Class, Hook};

use super::object::PodValue;
use super::program::Program;
use super::{link, pins};
use crate::backend::{BackendError, CounterSet, NamedCounter};

/// A map as this version has it.
#[derive(Debug)]
pub(super) struct MapSpec {
    pub(super) name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
}

const fn spec<K, V>(name: &'static str, kind: MapType, entries: u32) -> MapSpec {
    MapSpec {
        name,
        kind,
        key: size_of::<K>(),
        value: size_of::<V>(),
        entries,
    }
}

pub(super) static REMOTES: MapSpec =
    spec::<RemoteKey, Remote>(names::REMOTES, MapType::LruHash, names::REMOTES_MAX);
static FRAGMENTS: MapSpec =
    spec::<FragmentKey, FragmentValue>(names::FRAGMENTS, MapType::LruHash, names::FRAGMENTS_MAX);
static ADMIN_FLOWS: MapSpec =
    spec::<FlowKey, u64>(names::ADMIN_FLOWS, MapType::LruHash, names::ADMIN_FLOWS_MAX);
pub(super) static PERMITS: MapSpec =
    spec::<FlowKey, u64>(names::PERMITS, MapType::Hash, names::PERMITS_MAX);
static COUNTERS: MapSpec =
    spec::<u32, layout::Counter>(names::COUNTERS, MapType::PerCpuArray, names::COUNTERS_MAX);

/// Those that are pinned.
static ALL: [&MapSpec; 5] = [&REMOTES, &FRAGMENTS, &ADMIN_FLOWS, &PERMITS, &COUNTERS];

impl MapSpec {
    /// What is pinned under its name. Whose the directory is, [`pins::check`] has said.
    pub(super) fn pinned(&self) -> Result<Option<MapInfo>, BackendError> {
        let path = pins::path(self.name)?;
        match MapInfo::from_pin(&path) {
            Ok(info) => Ok(Some(info)),
            Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(e) => Err(BackendError::failed(format!("open {}", path.display()), e)),
        }
    }

    fn matches(&self, info: &MapInfo) -> bool {
        info.map_type().is_ok_and(|kind| kind == self.kind)
            && info.key_size() as usize == self.key
            && info.value_size() as usize == self.value
            && info.max_entries() == self.entries
    }

    /// Opens the pinned map after comparing its shape: opening alone does not.
    pub(super) fn open(&self) -> Result<Option<MapData>, BackendError> {
        pins::check()?;
        let path = pins::path(self.name)?;
        let fail = |e| BackendError::failed(format!("open {}", path.display()), e);
        match self.pinned()? {
            None => Ok(None),
            Some(info) if self.matches(&info) => MapData::from_pin(&path).map(Some).map_err(fail),
            Some(_) => Err(BackendError::failed(
                format!("open {}", path.display()),
                "it is of another version; start the agent, which replaces it, or run `lte-userspace down`",
            )),
        }
    }
}

/// What the programs have beside the pinned maps: their own instructions, constants and log, in an
/// object for each kind of link header, and once more while they are replaced. Bytes.
const PROGRAM_MEMORY: usize = 1 << 20;
static PROGRAMS: MapSpec = MapSpec {
    name: "the programs",
    kind: MapType::Array,
    key: size_of::<u32>(),
    value: PROGRAM_MEMORY,
    entries: 1,
};

/// Whether the kernel makes what the guard needs, all at once and as large as it is.
pub(super) fn probe_memory() -> io::Result<()> {
    let mut held = Vec::new();
    for spec in ALL.into_iter().chain([&PROGRAMS]) {
        let map = link::create_map(spec.kind as u32, spec.key, spec.value, spec.entries);
        held.push(map.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", spec.name)))?);
    }
    Ok(())
}

/// The pinned maps as they were at one look.
#[derive(Debug, Default)]
pub(super) struct Pinned(Vec<(&'static MapSpec, MapInfo)>);

impl Pinned {
    /// Looks.
    pub(super) fn look() -> Result<Self, BackendError> {
        let mut pinned = Vec::new();
        for spec in ALL {
            pinned.extend(spec.pinned()?.map(|info| (spec, info)));
        }
        Ok(Self(pinned))
    }

    /// Names of those that are not as this version has them.
    pub(super) fn mismatched(&self) -> Vec<&'static str> {
        let mismatched = self.0.iter().filter(|(spec, info)| !spec.matches(info));
        mismatched.map(|(spec, _)| spec.name).collect()
    }

    /// Whether the maps that a program uses are the pinned ones, which this agent and its other programs
    /// use.
    pub(super) fn are(&self, used: &[Used]) -> bool {
        used.iter().all(|(spec, id)| {
            let pinned = self.0.iter().find(|(pinned, _)| pinned.name == *spec);
            pinned.is_some_and(|(_, info)| info.id() == *id)
        })
    }
}

/// The name and the number of a map that a program uses and that is to be pinned.
pub(super) type Used = (&'static str, u32);

/// Takes pins that are not as this version has them away, so that loading makes the maps anew. Programs
/// that run keep theirs.
pub(super) fn unpin_mismatched() -> Result<(), BackendError> {
    for name in Pinned::look()?.mismatched() {
        pins::unpin_own(name)?;
    }
    Ok(())
}

/// Those of a program that are to be pinned.
pub(super) fn used_by(program: &Program) -> Result<Vec<Used>, BackendError> {
    let mut used = Vec::new();
    for id in program.map_ids() {
        let info = MapInfo::from_id(*id)
            .map_err(|e| BackendError::failed(format!("ask for map {id} of a program"), e))?;
        let name = info.name_as_str();
        let spec = ALL.into_iter().find(|spec| name == Some(spec.name));
        used.extend(spec.map(|spec| (spec.name, info.id())));
    }
    Ok(used)
}

/// The counters of this layout, and those that another version has pinned and that look the same. A set is
/// known by the number of its map: the kernel gives each one once.
pub(super) fn counter_sets() -> Result<Vec<CounterSet>, BackendError> {
    pins::check()?;
    let mut sets = Vec::new();
    for path in pins::named(COUNTERS.name)? {
        let fail = |e| BackendError::failed(format!("open {}", path.display()), e);
        let info = match MapInfo::from_pin(&path) {
            Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            info => info.map_err(fail)?,
        };
        if COUNTERS.matches(&info) {
            let data = MapData::from_id(info.id()).map_err(fail)?;
            sets.push(CounterSet {
                origin: Some(info.id().into()),
                counters: summed(data)?,
            });
        }
    }
    Ok(sets)
}

/// Counters summed over the CPUs; those at zero are left out.
fn summed(data: MapData) -> Result<Vec<NamedCounter>, BackendError> {
    let fail = |e| BackendError::failed("read the counters", e);
    let array: PerCpuArray<MapData, PodValue<layout::Counter>> =
        PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(fail)?;
    let mut counters = Vec::new();
    for hook in Hook::ALL {
        for class in Class::ALL {
            let cpus = array.get(&class.index(hook), 0).map_err(fail)?;
            let (packets, bytes) = cpus
                .iter()
                .fold((0, 0), |(p, b), cpu| (p + cpu.0.packets, b + cpu.0.bytes));
            if packets != 0 {
                counters.push(NamedCounter {
                    name: format!("{}/{}", hook.name(), class.name()),
                    packets,
                    bytes,
                });
            }
        }
    }
    Ok(counters)
}
