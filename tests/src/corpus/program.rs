//! The programs in the kernel as a judge, by `BPF_PROG_TEST_RUN`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::Pod;
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions};
use lte_common::headers::{self, Joined};
use lte_common::layout::{
    Counter, FlowKey, FragmentKey, FragmentValue, Remote, RemoteKey, maps as names,
};
use lte_common::policy::{Class, Hook};
use lte_userspace::backend::ebpf::{LoadedProgram, load_for_test, ticks_per_second};
use nix::time::{ClockId, clock_gettime};

use super::bpffs::Pins;
use super::guard_state::SECOND;
use super::held::Held;
use super::model::Slice;
use super::tap::Taps;
use super::{Clocks, Device, Fate, GuardState, Outcome, Seen, Site, Subject, instructions};

/// Bytes of the kernel's `struct __sk_buff` up to where newer kernels have more.
const CONTEXT_LEN: usize = 192;
const CONTEXT_MARK: usize = 8;
const CONTEXT_PRIORITY: usize = 32;
const CONTEXT_INGRESS_IFINDEX: usize = 36;
const CONTEXT_GSO_SEGS: usize = 164;
const CONTEXT_GSO_SIZE: usize = 176;
/// The shortest frame that every kernel takes: an Ethernet header and one byte.
pub const SHORTEST: usize = 15;
/// The longest that every kernel takes.
pub const LONGEST: usize = 3000;
/// A priority that each packet has, and has to keep.
const PRIORITY: u32 = 0x0001_0007;

const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;

/// What may be read and written as it lies in memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Raw<T>(pub(super) T);

// SAFETY: used with the types of lte_common::layout alone, which are repr(C), integers only,
// without padding (asserted there), and so valid for any bytes.
unsafe impl<T: Copy + 'static> Pod for Raw<T> {}

type Table<K, V> = HashMap<MapData, Raw<K>, Raw<V>>;

/// The maps that all programs of one directory of pins share.
pub(super) struct Maps {
    remotes: Table<RemoteKey, Remote>,
    fragments: Table<FragmentKey, FragmentValue>,
    admin_flows: Table<FlowKey, u64>,
    permits: Table<FlowKey, u64>,
    counters: PerCpuArray<MapData, Raw<Counter>>,
}

/// The programs, loaded as they are asked for.
pub struct Programs {
    // Before the pins: what is dropped first.
    loaded: BTreeMap<Site, LoadedProgram>,
    maps: Maps,
    held: Held,
    counters: CounterMap,
    taps: Option<Taps>,
    ticks: SchedClassifier,
    hz: u64,
    forwarded_in_context: bool,
    sent: u32,
    pins: Pins,
}

/// What the counters were when they were last read: packets, bytes.
type CounterMap = BTreeMap<u32, (u64, u64)>;

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs")
            .field("loaded", &self.loaded.keys())
            .finish_non_exhaustive()
    }
}

impl Programs {
    /// With maps of their own. To be used on the thread that made it, which is taken to a network
    /// namespace of its own.
    pub fn new() -> Result<Self> {
        let pins = Pins::create()?;
        let first = load_for_test(Hook::ModemOut, &Site::ETHERNET.policy(), pins.path())?;
        let maps = Maps::open(pins.path())?;
        let mut programs = Self {
            loaded: [(Site::ETHERNET, first)].into(),
            counters: maps.read_counters()?,
            maps,
            held: Held::in_a_namespace_of_its_own()?,
            taps: None,
            ticks: instructions::ticks(&pins.path().join("ticks"))?,
            hz: u64::from(ticks_per_second()),
            forwarded_in_context: false,
            sent: 0,
            pins,
        };
        programs.forwarded_in_context = programs.takes_ingress_ifindex()?;
        Ok(programs)
    }

    /// How many packets were judged by really sending them.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Whether `BPF_PROG_TEST_RUN` takes an `ingress_ifindex` here (from 6.0 on).
    pub fn forwarded_in_context(&self) -> bool {
        self.forwarded_in_context
    }

    /// Loads the program of a hook for a site, unless it is loaded. The programs of a site are
    /// of one object, as they are on a router, and share what a CPU keeps at hand.
    pub fn load(&mut self, hook: Hook, site: Site) -> Result<&mut SchedClassifier> {
        let loaded = match self.loaded.entry(site) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let loaded = load_for_test(hook, &site.policy(), self.pins.path())
                    .with_context(|| format!("loading {} for {site:?}", hook.name()))?;
                entry.insert(loaded)
            }
        };
        program_of(loaded, hook)
    }

    fn takes_ingress_ifindex(&mut self) -> Result<bool> {
        let context = context(0, true, Joined::default());
        // A frame that no counter counts.
        let program = self.load(Hook::UplinkOut, Site::ETHERNET)?;
        let frame = [0; 60];
        let taken = program.test_run(TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        });
        let taken = match taken {
            Ok(_) => true,
            Err(error) if is_invalid(&error) => false,
            Err(error) => return Err(error).context("trying ingress_ifindex"),
        };
        Ok(taken)
    }

    /// Runs the program: what it returned, the packet's mark and bytes afterwards. `None` where
    /// the kernel refuses the frame: from 6.18 on one that ends within its IP header.
    fn test_run(&mut self, seen: &Seen<'_>) -> Result<Option<(u32, u32, Vec<u8>)>> {
        let program = self.load(seen.hook, seen.site)?;
        let mut data = vec![0; seen.frame.len() + 64];
        let context = context(seen.mark, seen.forwarded, seen.joined);
        let mut context_out = [0; CONTEXT_LEN];
        let result = program.test_run(TestRunOptions {
            data_in: Some(seen.frame),
            data_out: Some(&mut data),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        });
        let result = match result {
            Err(error) if is_invalid(&error) => return Ok(None),
            result => result
                .with_context(|| format!("BPF_PROG_TEST_RUN of {} bytes", seen.frame.len()))?,
        };
        data.truncate(result.data_size_out as usize);
        let priority = word(&context_out, CONTEXT_PRIORITY);
        if priority != PRIORITY {
            bail!("the packet's priority has become {priority:#x}");
        }
        Ok(Some((
            result.return_value,
            word(&context_out, CONTEXT_MARK),
            data,
        )))
    }

    /// The counters that have moved since they were last read.
    pub fn moved(&mut self) -> Result<Vec<(Hook, Class, u64, u64)>> {
        let now = self.maps.read_counters()?;
        let mut moved = Vec::new();
        for hook in Hook::ALL {
            for class in Class::ALL {
                let index = class.index(hook);
                let (before, after) = (self.counters[&index], now[&index]);
                if before != after {
                    let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
                    moved.push((hook, *class, packets, bytes));
                }
            }
        }
        self.counters = now;
        Ok(moved)
    }

    /// One counter: packets and bytes since the programs were loaded.
    pub fn counter(&self, hook: Hook, class: Class) -> Result<(u64, u64)> {
        self.maps.read_counter(class.index(hook))
    }

    /// Runs a program by `BPF_PROG_TEST_RUN` alone, without looking at the counters. `None` where
    /// that cannot show it such a packet.
    pub fn test(&mut self, seen: &Seen<'_>) -> Result<Option<Outcome>> {
        if seen.forwarded && !self.forwarded_in_context {
            return Ok(None);
        }
        ensure!(
            seen.sender.socket == 0,
            "no packet here belongs to a socket"
        );
        let link = seen.site.device.header_len() as u16;
        let info = headers::parse(&Slice(seen.frame), link).ok();
        self.held
            .hold(seen.sender, info.map(|info| info.source_port))?;
        let Some((action, mark, data)) = self.test_run(seen)? else {
            return Ok(None);
        };
        let fate = fate(action)?;
        let (mark, bytes) = match fate {
            Fate::Passed => (mark, data),
            Fate::Dropped => (0, Vec::new()),
            Fate::Steered => (mark, behind_link(seen.site, data)?),
        };
        Ok(Some(Outcome {
            fate,
            mark,
            counters: Vec::new(),
            bytes,
        }))
    }

    /// Really sends a packet through the program, as [`Subject::judge`] does where
    /// `BPF_PROG_TEST_RUN` cannot show it.
    pub fn send(&mut self, seen: &Seen<'_>) -> Result<Outcome> {
        self.load(seen.hook, seen.site)?;
        let loaded = self.loaded.get_mut(&seen.site).context("just loaded")?;
        let program = program_of(loaded, seen.hook)?;
        let taps = match &mut self.taps {
            Some(taps) => taps,
            none => none.insert(Taps::new(self.pins.path())?),
        };
        let (maps, before) = (&self.maps, &self.counters);
        let counted = || Ok(maps.read_counters()? != *before);
        let sent = taps.send(seen, program, PRIORITY, counted)?;
        let counters = self.moved()?;
        Ok(Outcome { counters, ..sent })
    }
}

fn program_of(loaded: &mut LoadedProgram, hook: Hook) -> Result<&mut SchedClassifier> {
    let name = match hook {
        Hook::ModemOut => "modem_egress",
        Hook::ModemIn => "modem_ingress",
        Hook::UplinkOut => "uplink_egress",
    };
    let program = loaded.ebpf.program_mut(name);
    let program: &mut SchedClassifier = program
        .with_context(|| format!("no program {name}"))?
        .try_into()?;
    if program.fd().is_err() {
        program.load().with_context(|| format!("loading {name}"))?;
    }
    Ok(program)
}

impl Subject for Programs {
    fn now(&self) -> Result<Clocks> {
        moment(&self.ticks, self.hz)
    }

    fn set_state(&mut self, state: &GuardState) -> Result<()> {
        for loaded in self.loaded.values_mut() {
            loaded.clear_recent()?;
        }
        self.maps.set(state)
    }

    fn state(&self) -> Result<GuardState> {
        let maps = &self.maps;
        Ok(GuardState {
            remotes: entries(&maps.remotes)?,
            fragments: entries(&maps.fragments)?,
            admin_flows: entries(&maps.admin_flows)?,
            permits: entries(&maps.permits)?,
        })
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<Option<Outcome>> {
        let Some(outcome) = self.test(seen)? else {
            self.sent += 1;
            return self.send(seen).map(Some);
        };
        let counters = self.moved()?;
        Ok(Some(Outcome {
            counters,
            ..outcome
        }))
    }
}

/// Now, by both clocks.
pub(super) fn moment(ticks: &SchedClassifier, hz: u64) -> Result<Clocks> {
    let mut context = [0; CONTEXT_LEN];
    ticks.test_run(TestRunOptions {
        data_in: Some(&[0; 60]),
        ctx_out: Some(&mut context),
        ..TestRunOptions::new()
    })?;
    let (low, high) = (
        word(&context, CONTEXT_MARK),
        word(&context, CONTEXT_PRIORITY),
    );
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(Clocks {
        ticks: u64::from(high) << 32 | u64::from(low),
        hz,
        ns: now.tv_sec().cast_unsigned() * SECOND + now.tv_nsec().cast_unsigned(),
    })
}

fn is_invalid(error: &ProgramError) -> bool {
    match error {
        ProgramError::SyscallError(error) => error.io_error.kind() == ErrorKind::InvalidInput,
        _ => false,
    }
}

fn context(mark: u32, forwarded: bool, joined: Joined) -> [u8; CONTEXT_LEN] {
    let mut context = [0; CONTEXT_LEN];
    let mut put = |at: usize, value: u32| {
        context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    };
    put(CONTEXT_MARK, mark);
    put(CONTEXT_PRIORITY, PRIORITY);
    put(CONTEXT_INGRESS_IFINDEX, u32::from(forwarded));
    put(CONTEXT_GSO_SEGS, joined.segments);
    put(CONTEXT_GSO_SIZE, joined.size);
    context
}

fn word(context: &[u8; CONTEXT_LEN], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&context[at..at + 4]);
    u32::from_ne_bytes(word)
}

fn fate(action: u32) -> Result<Fate> {
    match action {
        TC_ACT_UNSPEC => Ok(Fate::Passed),
        TC_ACT_SHOT => Ok(Fate::Dropped),
        TC_ACT_REDIRECT => Ok(Fate::Steered),
        other => Err(anyhow!("the program returned {}", other.cast_signed())),
    }
}

/// A steered frame from the IP header on. What is in front of it when the program ends is what
/// the redirection takes away or fills in: an Ethernet header, unless neither device has one.
fn behind_link(site: Site, mut data: Vec<u8>) -> Result<Vec<u8>> {
    let len = match (site.device, site.modem) {
        (Device::Raw, Some(Device::Raw)) => 0,
        (_, Some(_)) => Device::Ethernet.header_len(),
        (_, None) => bail!("steered although the modem is gone"),
    };
    Ok(data.split_off(len))
}

impl Maps {
    pub(super) fn open(pins: &Path) -> Result<Self> {
        let open = |name: &str| {
            MapData::from_pin(pins.join(name)).with_context(|| format!("opening {name}"))
        };
        Ok(Self {
            remotes: Table::try_from(Map::LruHashMap(open(names::REMOTES)?))?,
            fragments: Table::try_from(Map::LruHashMap(open(names::FRAGMENTS)?))?,
            admin_flows: Table::try_from(Map::LruHashMap(open(names::ADMIN_FLOWS)?))?,
            permits: Table::try_from(Map::HashMap(open(names::PERMITS)?))?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(open(names::COUNTERS)?))?,
        })
    }

    /// Replaces what is remembered.
    pub(super) fn set(&mut self, state: &GuardState) -> Result<()> {
        replace(&mut self.remotes, &state.remotes)?;
        replace(&mut self.fragments, &state.fragments)?;
        replace(&mut self.admin_flows, &state.admin_flows)?;
        replace(&mut self.permits, &state.permits)
    }

    fn read_counter(&self, index: u32) -> Result<(u64, u64)> {
        let cpus = self.counters.get(&index, 0)?;
        let sum = |of: fn(&Counter) -> u64| cpus.iter().map(|cpu| of(&cpu.0)).sum();
        Ok((sum(|c| c.packets), sum(|c| c.bytes)))
    }

    fn read_counters(&self) -> Result<CounterMap> {
        let mut counters = CounterMap::new();
        for hook in Hook::ALL {
            for class in Class::ALL {
                let index = class.index(hook);
                counters.insert(index, self.read_counter(index)?);
            }
        }
        Ok(counters)
    }
}

fn entries<K: Copy + Ord + 'static, V: Copy + 'static>(
    table: &Table<K, V>,
) -> Result<BTreeMap<K, V>> {
    let mut entries = BTreeMap::new();
    for entry in table {
        let (key, value) = entry?;
        entries.insert(key.0, value.0);
    }
    Ok(entries)
}

fn replace<K: Copy + Ord + 'static, V: Copy + 'static>(
    table: &mut Table<K, V>,
    wanted: &BTreeMap<K, V>,
) -> Result<()> {
    let mut stale = BTreeSet::new();
    for key in table.keys() {
        stale.insert(key?.0);
    }
    for key in stale.iter().filter(|key| !wanted.contains_key(key)) {
        table.remove(&Raw(*key))?;
    }
    for (key, value) in wanted {
        table.insert(Raw(*key), Raw(*value), 0)?;
    }
    Ok(())
}
