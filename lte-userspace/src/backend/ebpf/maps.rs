//! The pinned maps: how they are opened, counters, and peers that the config names.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapInfo, MapType, PerCpuArray};
use lte_common::layout::{self, Remote, RemoteKey, maps as names};
use lte_common::policy::{Class, Hook};

use super::object::Raw;
use super::pins;
use super::policy::{remote_key, ticks_per_second};
use crate::backend::{self, BackendError, Counter, Difference, Guard};
use rustix::time::{ClockId, clock_gettime};

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

/// Now in the kernel's ticks, as `bpf_jiffies64` counts them: from five minutes before an overflow
/// of 32 bits on, so that whoever minds it is found out.
fn ticks() -> u64 {
    let hz = u64::from(ticks_per_second());
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let part = u64::try_from(now.tv_nsec).unwrap_or_default() * hz / 1_000_000_000;
    (1 << 32) - 300 * hz + seconds * hz + part
}

/// The far ends that were sent to, and how long ago.
pub(super) fn sent_to() -> Result<BTreeMap<backend::Remote, Duration>, BackendError> {
    let Some(remotes) = remotes()? else {
        return Ok(BTreeMap::new());
    };
    let (now, hz) = (ticks(), u64::from(ticks_per_second()));
    let mut found = BTreeMap::new();
    for entry in &remotes {
        let (key, value) = entry.map_err(|e| BackendError::failed("read the remotes", e))?;
        if value.0.sent != 0 {
            let ago = now.saturating_sub(value.0.sent) * 1000 / hz;
            found.insert(endpoint(&key.0), Duration::from_millis(ago));
        }
    }
    Ok(found)
}

/// Notes far ends that another backend has seen the tunnel send to.
pub(super) fn remember(known: &BTreeMap<backend::Remote, Duration>) -> Result<(), BackendError> {
    let Some(mut remotes) = remotes()? else {
        return Ok(());
    };
    let (now, hz) = (ticks(), u64::from(ticks_per_second()));
    for (remote, ago) in known {
        let key = Raw(remote_key(remote));
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let sent = now.saturating_sub(ago.saturating_mul(hz) / 1000).max(1);
        // What the programs have noted themselves is newer.
        if remotes.get(&key, 0).is_ok_and(|noted| noted.0.sent >= sent) {
            continue;
        }
        let value = Remote {
            sent,
            ..Remote::default()
        };
        remotes
            .insert(key, Raw(value), 0)
            .map_err(|e| BackendError::failed("note a remote of the tunnel", e))?;
    }
    Ok(())
}

fn endpoint(key: &RemoteKey) -> backend::Remote {
    let octets = key.address.octets();
    let address = Ipv6Addr::from(octets);
    backend::Remote {
        address: match address.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => address.into(),
        },
        port: key.port,
    }
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
