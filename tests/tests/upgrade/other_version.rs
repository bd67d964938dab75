//! The programs as another version of the agent has them: another build with other maps, in the places
//! of the agent's own, pinned and attached as it does it.

use std::fs;
use std::mem::offset_of;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcHandle};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use lte_common::layout::{COUNTER_STRIDE, Counter, Policy, Remote, RemoteKey, maps};
use lte_common::policy::Hook;
use lte_tests::kernel_version;
use lte_tests::netns::Netns;
use lte_userspace::backend::ebpf::object_for_test;

/// `BPF_MAP_TYPE_PERCPU_ARRAY` and `BPF_MAP_TYPE_LRU_HASH` of linux/bpf.h.
const PER_CPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;

const fn program_name(hook: Hook) -> &'static str {
    match hook {
        Hook::ModemOut => "modem_egress",
        Hook::ModemIn => "modem_ingress",
        Hook::UplinkOut => "uplink_egress",
    }
}

/// Replaces the programs that run by those of another version, whose maps are pinned in `pins`, as are
/// the links.
pub(crate) fn take_its_place(router: &Netns, pins: &Path) -> Result<()> {
    let policy = policy_of_another_build()?;
    let object = with_other_maps()?;
    let log_level = 0_u8;
    router.run(|| {
        let mut ebpf = EbpfLoader::new()
            .override_global("POLICY", policy.as_slice(), true)
            .override_global("AYA_LOG_LEVEL", &log_level, true)
            .default_map_pin_directory(pins)
            .load(&object)
            .context("loading the other version")?;
        for hook in Hook::ALL {
            let program = program(&mut ebpf, hook)?;
            program.load()?;
            if kernel_version::running()? < (6, 6) {
                replace_filter(program, hook)?;
            } else {
                replace_in_link(program, hook, pins)?;
            }
        }
        Ok(())
    })
}

fn program(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier> {
    let name = program_name(hook);
    Ok(ebpf.program_mut(name).context(name)?.try_into()?)
}

fn replace_filter(program: &mut SchedClassifier, hook: Hook) -> Result<()> {
    let (device, side) = match hook {
        Hook::ModemOut => ("modem", TcAttachType::Egress),
        Hook::ModemIn => ("modem", TcAttachType::Ingress),
        Hook::UplinkOut => ("wan", TcAttachType::Egress),
    };
    let link = SchedClassifierLink::attached(device, side, 1, TcHandle::new(0, 0x7b), None)?;
    let id = program.attach_to_link(link)?;
    // It is to stay.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn replace_in_link(program: &mut SchedClassifier, hook: Hook, pins: &Path) -> Result<()> {
    let end = format!("-{}", hook.name());
    for entry in fs::read_dir(pins)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("link-") && name.ends_with(&end) {
            let link = FdLink::from(PinnedLink::from_pin(&path)?);
            let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
            // The pin holds it.
            drop(program.take_link(id)?);
        }
    }
    Ok(())
}

/// The policy of the running programs, but for the build.
fn policy_of_another_build() -> Result<Vec<u8>> {
    const SIZE: usize = size_of::<Policy>();
    let program = loaded_programs()
        .flatten()
        .find(|program| program.name_as_str() == Some(program_name(Hook::ModemOut)))
        .context("no program runs")?;
    let map = rodata(&program).context("it was told nothing")?;
    let array: Array<MapData, [u8; SIZE]> = Array::try_from(Map::Array(map))?;
    let mut policy = array.get(&0, 0)?;
    policy[offset_of!(Policy, build)] ^= 1;
    Ok(policy.to_vec())
}

fn rodata(program: &ProgramInfo) -> Option<MapData> {
    program.map_ids().ok()??.into_iter().find_map(|id| {
        let info = MapInfo::from_id(id).ok()?;
        let told = info.name_as_str()?.contains("rodata");
        (told && info.value_size() as usize == size_of::<Policy>())
            .then(|| MapData::from_id(id).ok())?
    })
}

/// The object with fewer remotes, and with larger counters.
fn with_other_maps() -> Result<Vec<u8>> {
    let mut object = object_for_test().to_vec();
    let [key, value] = [size_of::<RemoteKey>(), size_of::<Remote>()].map(|size| size as u32);
    redefine(
        &mut object,
        [LRU_HASH, key, value, maps::REMOTES_MAX],
        [LRU_HASH, key, value, maps::REMOTES_MAX / 2],
    )?;
    let [key, value] = [size_of::<u32>(), size_of::<Counter>()].map(|size| size as u32);
    let entries = 3 * COUNTER_STRIDE;
    redefine(
        &mut object,
        [PER_CPU_ARRAY, key, value, entries],
        [PER_CPU_ARRAY, key, value + 8, entries],
    )?;
    Ok(object)
}

/// Changes a map's type, size of key and of value, and number of entries.
fn redefine(program: &mut [u8], from: [u32; 4], to: [u32; 4]) -> Result<()> {
    let bytes = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
    let (from, to) = (bytes(from), bytes(to));
    let places: Vec<usize> = program
        .windows(from.len())
        .enumerate()
        .filter_map(|(at, window)| (window == from).then_some(at))
        .collect();
    ensure!(
        places.len() == 1,
        "the definition of a map is there {} times",
        places.len()
    );
    program[places[0]..][..to.len()].copy_from_slice(&to);
    Ok(())
}
