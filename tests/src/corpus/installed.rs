//! The memory of programs that are attached, as the agent's backend attaches them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues, loaded_maps};
use aya::programs::SchedClassifier;
use lte_common::layout::{Recent, maps as names};
use lte_userspace::backend::ebpf::ticks_per_second;

use super::bpffs::Pins;
use super::program::{Maps, Raw, moment};
use super::{Clocks, GuardState, instructions};
use crate::bpf;

/// The maps of the attached programs.
pub struct Installed {
    maps: Maps,
    ticks: SchedClassifier,
    hz: u64,
}

impl std::fmt::Debug for Installed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installed").finish_non_exhaustive()
    }
}

impl Installed {
    /// Opens them where the agent pins them. To be used on the thread that made `pins`.
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            maps: Maps::open(&agents_pins()?)?,
            ticks: instructions::ticks(&pins.path().join("ticks"))?,
            hz: u64::from(ticks_per_second()),
        })
    }

    /// Now, by the clocks that the memory is dated by.
    pub fn now(&self) -> Result<Clocks> {
        moment(&self.ticks, self.hz)
    }

    /// Replaces what is remembered, also what the CPUs keep at hand.
    pub fn set_state(&mut self, state: &GuardState) -> Result<()> {
        forget_recent()?;
        self.maps.set(state)
    }
}

/// One agent has pins here.
fn agents_pins() -> Result<PathBuf> {
    let [layout] = &bpf::agents_layouts()?[..] else {
        anyhow::bail!("not one directory of pins");
    };
    Ok(layout.clone())
}

/// The maps of the last remote that a CPU met have no pin: each object has one.
fn forget_recent() -> Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| {
        anyhow::Error::new(error).context(format!("counting the CPUs: {what}"))
    })?;
    for info in loaded_maps() {
        // A map may go between two steps of the walk.
        let Ok(info) = info else { continue };
        if info.name_as_str() != Some(names::RECENT) {
            continue;
        }
        let data = MapData::from_id(info.id()).context("opening the map RECENT")?;
        let mut recent: PerCpuArray<_, Raw<Recent>> = Map::PerCpuArray(data).try_into()?;
        let zeros = PerCpuValues::try_from(vec![Raw(Recent::default()); cpus])?;
        recent.set(0, zeros, 0).context("clearing the map RECENT")?;
    }
    Ok(())
}
