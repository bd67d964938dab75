//! The pinned maps: how they are opened, counters, and peers that the config names.

use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapInfo, MapType, PerCpuArray};
use lte_common::layout::{self, Remote, RemoteKey, maps as names};
use lte_common::policy::{Class, Hook};

use super::object::Raw;
use super::pins;
use super::policy::remote_key;
use crate::backend::{BackendError, Counter, Difference, Guard};

/// Opens a pinned map after comparing its shape: opening alone does not.
pub(super) fn open(
    name: &str,
    kind: MapType,
    key_size: usize,
    value_size: usize,
) -> Result<Option<MapData>, BackendError> {
    let path = pins::path(name);
    if !path.exists() {
        return Ok(None);
    }
    let fail = |e| BackendError::failed(format!("open {}", path.display()), e);
    let info = MapInfo::from_pin(&path).map_err(fail)?;
    let right = info.map_type().is_ok_and(|k| k == kind)
        && info.key_size() as usize == key_size
        && info.value_size() as usize == value_size;
    if !right {
        return Err(foreign(&path));
    }
    MapData::from_pin(&path).map(Some).map_err(fail)
}

fn foreign(path: &Path) -> BackendError {
    BackendError::failed(
        format!("open {}", path.display()),
        "it is not a map of this program's; run `lte-userspace down` or remove it",
    )
}

type Remotes = HashMap<MapData, Raw<RemoteKey>, Raw<Remote>>;

fn remotes() -> Result<Option<Remotes>, BackendError> {
    let Some(data) = open(
        names::REMOTES,
        MapType::LruHash,
        size_of::<RemoteKey>(),
        size_of::<Remote>(),
    )?
    else {
        return Ok(None);
    };
    Remotes::try_from(Map::LruHashMap(data))
        .map(Some)
        .map_err(|e| BackendError::failed("use the map of remotes", e))
}

/// Peers that the programs do not know yet.
pub(super) fn missing_peers(want: &Guard) -> Result<Vec<Difference>, BackendError> {
    let Some(remotes) = remotes()? else {
        return Ok(Vec::new());
    };
    Ok(want
        .peers
        .iter()
        .filter(|peer| remotes.get(&Raw(remote_key(peer)), 0).is_err())
        .map(|peer| {
            Difference(format!(
                "peer {}:{} is unknown to the guard",
                peer.address, peer.port
            ))
        })
        .collect())
}

/// Tells the programs the peers they do not know.
pub(super) fn add_peers(want: &Guard) -> Result<(), BackendError> {
    // BPF_NOEXIST: what the programs have noted meanwhile is better.
    const NO_EXIST: u64 = 1;
    let Some(mut remotes) = remotes()? else {
        return Ok(());
    };
    for peer in &want.peers {
        let key = Raw(remote_key(peer));
        if remotes.get(&key, 0).is_err()
            && let Err(e) = remotes.insert(key, Raw(Remote::default()), NO_EXIST)
            && remotes.get(&key, 0).is_err()
        {
            return Err(BackendError::failed("note a peer for the guard", e));
        }
    }
    Ok(())
}

/// The books, summed over the CPUs; counters that never moved are left out.
pub(super) fn counters() -> Result<Vec<Counter>, BackendError> {
    let Some(data) = open(
        names::COUNTERS,
        MapType::PerCpuArray,
        4,
        size_of::<layout::Counter>(),
    )?
    else {
        return Ok(Vec::new());
    };
    let fail = |e| BackendError::failed("read the counters", e);
    let array: PerCpuArray<MapData, Raw<layout::Counter>> =
        PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(fail)?;
    let mut books = Vec::new();
    for hook in Hook::ALL {
        for class in Class::ALL {
            let cpus = array.get(&class.index(hook), 0).map_err(fail)?;
            let (packets, bytes) = cpus
                .iter()
                .fold((0, 0), |(p, b), cpu| (p + cpu.0.packets, b + cpu.0.bytes));
            if packets != 0 {
                books.push(Counter {
                    name: format!("{}/{}", hook.name(), class.name()),
                    packets,
                    bytes,
                });
            }
        }
    }
    Ok(books)
}
