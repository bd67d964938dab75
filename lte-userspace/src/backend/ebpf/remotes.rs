//! The map of remotes: the configured peers, and what another guard knows.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapType};
use lte_common::layout::{Remote, RemoteKey, maps as names};
use rustix::time::{ClockId, clock_gettime};

use super::object::PodValue;
use super::policy::{remote_key, ticks_per_second};
use super::program::Program;
use super::{maps, pins};
use crate::backend::{self, BackendError, Difference, Guard};

type Remotes = HashMap<MapData, PodValue<RemoteKey>, PodValue<Remote>>;

fn remotes() -> Result<Option<Remotes>, BackendError> {
    let Some(data) = maps::REMOTES.open()? else {
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
        .filter(|peer| remotes.get(&PodValue(remote_key(peer)), 0).is_err())
        .map(|peer| {
            Difference(format!(
                "peer {}:{} is unknown to the guard",
                peer.address, peer.port
            ))
        })
        .collect())
}

/// Adds the peers that the programs do not know.
pub(super) fn add_peers(want: &Guard) -> Result<(), BackendError> {
    // BPF_NOEXIST: what the programs have noted meanwhile is better.
    const NO_EXIST: u64 = 1;
    let Some(mut remotes) = remotes()? else {
        return Ok(());
    };
    for peer in &want.peers {
        let key = PodValue(remote_key(peer));
        if remotes.get(&key, 0).is_err()
            && let Err(e) = remotes.insert(key, PodValue(Remote::default()), NO_EXIST)
            && remotes.get(&key, 0).is_err()
        {
            return Err(BackendError::failed("note a peer for the guard", e));
        }
    }
    Ok(())
}

/// Now in the kernel's ticks, as `bpf_jiffies64` counts them: from five minutes before an overflow
/// of 32 bits on, so that code that does not expect it fails early.
fn ticks() -> u64 {
    let hz = u64::from(ticks_per_second());
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let part = u64::try_from(now.tv_nsec).unwrap_or_default() * hz / 1_000_000_000;
    (1 << 32) - 300 * hz + seconds * hz + part
}

/// The remotes that were sent to, and how long ago. Another version's pins are looked into, too.
pub(super) fn last_sent() -> Result<BTreeMap<backend::Remote, Duration>, BackendError> {
    let mut known = BTreeMap::new();
    for path in pins::named(names::REMOTES)? {
        let data = MapData::from_pin(&path)
            .map_err(|e| BackendError::failed(format!("open {}", path.display()), e))?;
        merge(&mut known, read(data)?);
    }
    Ok(known)
}

/// The same of a running program that has another map of them than the pinned one.
pub(super) fn of_program(
    program: &Program,
) -> Result<BTreeMap<backend::Remote, Duration>, BackendError> {
    let mut all = maps::used_by(program)?.into_iter();
    let Some((_, used)) = all.find(|(name, _)| *name == names::REMOTES) else {
        return Ok(BTreeMap::new());
    };
    let pinned = maps::REMOTES.pinned()?.map(|info| info.id());
    if pinned == Some(used) {
        return Ok(BTreeMap::new());
    }
    let data = MapData::from_id(used)
        .map_err(|e| BackendError::failed("open the remotes of a running program", e))?;
    read(data)
}

/// Adds remotes; of one that both have, the later time counts.
pub(super) fn merge(
    known: &mut BTreeMap<backend::Remote, Duration>,
    more: BTreeMap<backend::Remote, Duration>,
) {
    for (remote, ago) in more {
        let noted = known.entry(remote).or_insert(ago);
        *noted = ago.min(*noted);
    }
}

/// Reads a map of remotes of whatever version: keys are the same in each, and values begin with the
/// time ([`Remote::sent`]). What is of another form is left out.
fn read(data: MapData) -> Result<BTreeMap<backend::Remote, Duration>, BackendError> {
    let info = data
        .info()
        .map_err(|e| BackendError::failed("ask for a map's shape", e))?;
    let known_form = info.map_type().is_ok_and(|kind| kind == MapType::LruHash)
        && info.key_size() as usize == size_of::<RemoteKey>();
    let map = Map::LruHashMap(data);
    match info.value_size() {
        _ if !known_form => Ok(BTreeMap::new()),
        8 => read_values::<1>(map),
        16 => read_values::<2>(map),
        24 => read_values::<3>(map),
        32 => read_values::<4>(map),
        40 => read_values::<5>(map),
        48 => read_values::<6>(map),
        56 => read_values::<7>(map),
        64 => read_values::<8>(map),
        _ => Ok(BTreeMap::new()),
    }
}

fn read_values<const WORDS: usize>(
    map: Map,
) -> Result<BTreeMap<backend::Remote, Duration>, BackendError> {
    let fail = |e| BackendError::failed("read the remotes", e);
    let remotes: HashMap<MapData, PodValue<RemoteKey>, [u64; WORDS]> =
        HashMap::try_from(map).map_err(fail)?;
    let (now, hz) = (ticks(), u64::from(ticks_per_second()));
    let mut found = BTreeMap::new();
    for entry in &remotes {
        let (key, value) = entry.map_err(fail)?;
        let sent = value.first().copied().unwrap_or_default();
        if sent != 0 {
            let ago = now.saturating_sub(sent) * 1000 / hz;
            found.insert(endpoint(&key.0), Duration::from_millis(ago));
        }
    }
    Ok(found)
}

/// Inserts remotes that another backend knows.
pub(super) fn insert(known: &BTreeMap<backend::Remote, Duration>) -> Result<(), BackendError> {
    let Some(mut remotes) = remotes()? else {
        return Ok(());
    };
    let (now, hz) = (ticks(), u64::from(ticks_per_second()));
    for (remote, ago) in known {
        let key = PodValue(remote_key(remote));
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
            .insert(key, PodValue(value), 0)
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
