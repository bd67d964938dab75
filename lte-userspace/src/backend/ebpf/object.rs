//! The eBPF object: carried in the agent, loaded with a policy.

use std::fmt;
use std::path::Path;

use aya::programs::SchedClassifier;
use aya::{EbpfLoader, Pod};
use lte_common::layout::{Policy, Recent};
use lte_common::policy::Hook;

use super::maps::{self, Pinned};
use super::packet_log;
use super::program::Program;
use crate::backend::BackendError;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lte-ebpf"));

/// How the programs are loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Whether they log what they drop and steer.
    pub packet_log: PacketLog,
}

/// Whether programs log what they drop and steer, through the kernel's ring buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PacketLog {
    /// They do not: the verifier takes the lines out, and they cost nothing.
    #[default]
    Off,
    /// They do, for this process. Only the process that has loaded them can read what they write.
    Own,
    /// As it is: who only looks at programs that another process keeps minds no log.
    Any,
}

/// What may be written to and read from the kernel as it lies in memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct PodValue<T>(pub(super) T);

// SAFETY: the types of lte_common::layout and Policy are repr(C), integers only, without padding
// (asserted there), and so valid for any bytes.
unsafe impl<T: Copy + 'static> Pod for PodValue<T> {}

/// The bits of a build's identity that say for which process programs log: its number, which is below
/// 2^22 (`PID_MAX_LIMIT`), or 0.
const LOG_PID_MASK: u64 = (1 << 24) - 1;

/// Of the object's bytes, by the build script: an agent that reads all of them has them in its memory.
const OBJECT_ID: u64 = match u64::from_str_radix(env!("LTE_EBPF_ID"), 16) {
    Ok(id) => id & !LOG_PID_MASK,
    Err(_) => panic!("the build script writes a number"),
};

/// Distinguishes this build of the programs from another, and the process they log for.
pub(super) fn build_id(options: LoadOptions) -> u64 {
    let log = match options.packet_log {
        PacketLog::Own => u64::from(std::process::id()),
        PacketLog::Off | PacketLog::Any => 0,
    };
    OBJECT_ID | log & LOG_PID_MASK
}

/// A running build's identity as it is compared with [`build_id`] of the same options.
pub(super) const fn comparable_build(build: u64, options: LoadOptions) -> u64 {
    match options.packet_log {
        PacketLog::Any => build & !LOG_PID_MASK,
        PacketLog::Off | PacketLog::Own => build,
    }
}

/// Whether two are of the same object, whatever they log.
pub(super) const fn is_same_object(one: u64, other: u64) -> bool {
    (one ^ other) & !LOG_PID_MASK == 0
}

/// The program for a hook, by its name in the object.
pub(super) const fn program_name(hook: Hook) -> &'static str {
    match hook {
        Hook::ModemOut => "modem_egress",
        Hook::ModemIn => "modem_ingress",
        Hook::UplinkOut => "uplink_egress",
    }
}

/// Objects in the kernel, one for each policy. They are kept, for a program that is removed by others is
/// put back at once then, without loading and verifying it anew.
pub(super) struct Objects {
    options: LoadOptions,
    loaded: Vec<(Policy, aya::Ebpf)>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("options", &self.options)
            .field("loaded", &self.loaded.len())
            .finish()
    }
}

impl Objects {
    pub(super) const fn new(options: LoadOptions) -> Self {
        Self {
            options,
            loaded: Vec::new(),
        }
    }

    /// How the programs are loaded.
    pub(super) const fn options(&self) -> LoadOptions {
        self.options
    }

    /// Gives up those whose maps are not the pinned ones.
    pub(super) fn keep_with(&mut self, pinned: &Pinned) {
        self.loaded
            .retain(|(_, ebpf)| uses_pinned_maps(ebpf, pinned));
    }

    /// The object for a policy, its program of a hook loaded if it is not yet; its maps are those that
    /// are pinned in the directory, where [`Objects::keep_with`] has been asked before. With `except`, one whose program is not that of this number: a program
    /// is at a hook once, and that one is there.
    pub(super) fn get(
        &mut self,
        policy: &Policy,
        pins: &Path,
        hook: Hook,
        except: Option<u32>,
    ) -> Result<&mut aya::Ebpf, BackendError> {
        let mut found_at = None;
        for (at, (of, ebpf)) in self.loaded.iter_mut().enumerate() {
            if of == policy && Some(program_id(ebpf, hook)?) != except {
                found_at = Some(at);
            }
        }
        let one = if let Some(at) = found_at {
            self.loaded.remove(at)
        } else {
            let mut ebpf = load(policy, self.options, Some(pins))?;
            program(&mut ebpf, hook)?;
            (*policy, ebpf)
        };
        Ok(&mut self.loaded.push_mut(one).1)
    }

    /// Gives all others up; programs that are attached stay.
    pub(super) fn retain(&mut self, policies: &[Policy]) {
        self.loaded.retain(|(of, _)| policies.contains(of));
    }
}

/// Whether an object's maps are those that are pinned now: the pins may have been removed.
fn uses_pinned_maps(ebpf: &aya::Ebpf, pinned: &Pinned) -> bool {
    let mut loaded = 0;
    for info in ebpf
        .programs()
        .filter_map(|(_, program)| program.info().ok())
    {
        loaded += 1;
        let program = Program::of(info.id()).ok().flatten();
        let used = program.and_then(|program| maps::used_by(&program).ok());
        if !used.is_some_and(|used| pinned.are(&used)) {
            return false;
        }
    }
    loaded > 0
}

fn load(
    policy: &Policy,
    options: LoadOptions,
    pins: Option<&Path>,
) -> Result<aya::Ebpf, BackendError> {
    let policy = PodValue(*policy);
    let logs = options.packet_log == PacketLog::Own;
    let log_level = if logs { aya_log::Level::Debug as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader
        .override_global("POLICY", &policy, true)
        .override_global("AYA_LOG_LEVEL", &log_level, true);
    if let Some(dir) = pins {
        loader.default_map_pin_directory(dir);
    }
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|e| BackendError::failed("load the eBPF object", e))?;
    if logs {
        packet_log::read(&mut ebpf)?;
    }
    Ok(ebpf)
}

/// The program of a hook, loaded into the kernel.
pub(super) fn program(
    ebpf: &mut aya::Ebpf,
    hook: Hook,
) -> Result<&mut SchedClassifier, BackendError> {
    let name = program_name(hook);
    let program: &mut SchedClassifier = ebpf
        .program_mut(name)
        .ok_or_else(|| BackendError::failed("find the eBPF program", name.to_owned()))?
        .try_into()
        .map_err(|e| BackendError::failed(format!("use the eBPF program {name}"), e))?;
    if program.fd().is_err() {
        program
            .load()
            .map_err(|e| BackendError::failed(format!("load the eBPF program {name}"), e))?;
    }
    Ok(program)
}

/// The number that the kernel has given the program of a hook.
fn program_id(ebpf: &mut aya::Ebpf, hook: Hook) -> Result<u32, BackendError> {
    let info = program(ebpf, hook)?.info();
    info.map(|info| info.id())
        .map_err(|e| BackendError::failed("ask for a program's number", e))
}

/// A program in the kernel with maps of its own, attached to nothing: for `BPF_PROG_TEST_RUN`.
pub struct LoadedProgram {
    /// The object, with its maps.
    pub ebpf: aya::Ebpf,
    /// The program's name in it.
    pub name: &'static str,
}

impl fmt::Debug for LoadedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedProgram")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl LoadedProgram {
    /// Clears what the CPUs keep at hand: they do not see what a test writes to the maps.
    ///
    /// # Errors
    /// What the kernel says to writing the map.
    pub fn clear_recent(&mut self) -> Result<(), BackendError> {
        let fail = |e: aya::maps::MapError| BackendError::failed("clear the map RECENT", e);
        let Some(map) = self.ebpf.map_mut(lte_common::layout::maps::RECENT) else {
            return Ok(());
        };
        let mut recent: aya::maps::PerCpuArray<_, PodValue<Recent>> =
            aya::maps::PerCpuArray::try_from(map).map_err(fail)?;
        let cpus =
            aya::util::nr_cpus().map_err(|(_, e)| BackendError::failed("count the CPUs", e))?;
        let zero = aya::maps::PerCpuValues::try_from(vec![PodValue(Recent::default()); cpus])
            .map_err(|e| BackendError::failed("clear the map RECENT", e))?;
        recent.set(0, zero, 0).map_err(fail)
    }
}

/// The object itself, for tests that make another version of it.
pub fn object_for_test() -> &'static [u8] {
    OBJECT
}

/// Loads the program of a hook with a policy, its maps pinned in a directory of the caller's.
///
/// # Errors
/// What the kernel's verifier or the loader says.
pub fn load_for_test(
    hook: Hook,
    policy: &Policy,
    pins: &Path,
) -> Result<LoadedProgram, BackendError> {
    load_with_options_for_test(hook, policy, LoadOptions::default(), pins)
}

/// The same with options. Programs that log need a runtime of tokio's.
///
/// # Errors
/// What the kernel's verifier or the loader says.
pub fn load_with_options_for_test(
    hook: Hook,
    policy: &Policy,
    options: LoadOptions,
    pins: &Path,
) -> Result<LoadedProgram, BackendError> {
    let mut ebpf = load(policy, options, Some(pins))?;
    program(&mut ebpf, hook)?;
    Ok(LoadedProgram {
        ebpf,
        name: program_name(hook),
    })
}
