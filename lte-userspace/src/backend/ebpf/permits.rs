//! Permits, in the map that the programs look them up in.

use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use lte_common::layout::{Addr, FlowKey};
use rustix::time::{ClockId, clock_gettime};

use super::maps;
use super::object::PodValue;
use super::policy::addr;
use crate::backend::{BackendError, Permit};

type Permits = HashMap<MapData, PodValue<FlowKey>, u64>;

fn permits() -> Result<Option<Permits>, BackendError> {
    let Some(data) = maps::PERMITS.open()? else {
        return Ok(None);
    };
    Permits::try_from(Map::HashMap(data))
        .map(Some)
        .map_err(|e| BackendError::failed("use the map of permits", e))
}

fn key(permit: &Permit) -> PodValue<FlowKey> {
    PodValue(FlowKey {
        remote: permit.remote.map_or(Addr::NONE, addr),
        remote_port: permit.remote_port,
        local_port: permit.local_port,
        protocol: u32::from(permit.protocol.number()),
    })
}

/// ns of `CLOCK_MONOTONIC`, which is what `bpf_ktime_get_ns` reads.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// Opens a permit, or prolongs it. The programs compare its end with the clock.
pub(super) fn open(permit: &Permit, time: Duration) -> Result<(), BackendError> {
    let context = || format!("permit {permit}");
    let Some(mut permits) = permits()? else {
        return Err(BackendError::failed(
            context(),
            "no guard is in place that could let it pass",
        ));
    };
    let now = monotonic_ns();
    remove_expired(&mut permits, now)?;
    let end = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    permits
        .insert(key(permit), end, 0)
        .map_err(|e| BackendError::failed(context(), e))
}

/// Ends a permit.
pub(super) fn close(permit: &Permit) -> Result<(), BackendError> {
    let Some(mut permits) = permits()? else {
        return Ok(());
    };
    let key = key(permit);
    match permits.remove(&key) {
        Err(_) if permits.get(&key, 0).is_err() => Ok(()),
        result => result.map_err(|e| BackendError::failed(format!("withdraw {permit}"), e)),
    }
}

/// Makes room: permits that have ended open nothing, and stay in the map until they are removed.
fn remove_expired(permits: &mut Permits, now: u64) -> Result<(), BackendError> {
    let ended: Vec<_> = permits
        .iter()
        .filter_map(Result::ok)
        .filter(|(_, end)| *end <= now)
        .map(|(key, _)| key)
        .collect();
    for key in ended {
        permits
            .remove(&key)
            .map_err(|e| BackendError::failed("take away a permit that has ended", e))?;
    }
    Ok(())
}
