//! The maps, and the policy's state in them.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray};
use lte_common::headers::{PacketInfo, Wire};
use lte_common::layout::{
    Counter, FlowKey, FragmentKey, FragmentValue, Policy, Recent, Remote, RemoteKey, maps as sizes,
};
use lte_common::policy::{Class, Hook, REFRESH, State, Verdict};

#[map]
static REMOTES: LruHashMap<RemoteKey, Remote> = LruHashMap::pinned(sizes::REMOTES_MAX, 0);
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue> =
    LruHashMap::pinned(sizes::FRAGMENTS_MAX, 0);
#[map(name = "ASKED")]
static ADMIN_FLOWS: LruHashMap<FlowKey, u64> = LruHashMap::pinned(sizes::ADMIN_FLOWS_MAX, 0);
#[map]
static PERMITS: HashMap<FlowKey, u64> = HashMap::pinned(sizes::PERMITS_MAX, 0);
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::pinned(sizes::COUNTERS_MAX, 0);

/// Where the header fields and the verdict of an odd packet are spilled.
#[map]
static SPILL: PerCpuArray<(PacketInfo, Verdict)> = PerCpuArray::with_max_entries(1, 0);

/// Spills the header fields to a map, where the verifier forgets on which path they were computed: it
/// then follows the policy once, and not once for each way through the headers.
#[inline(always)]
pub(crate) fn spill_info(info: &PacketInfo) -> Option<&'static PacketInfo> {
    let at = SPILL.get_ptr_mut(0)?;
    // SAFETY: the value is of this CPU, and programs on one hook do not interrupt each other.
    unsafe {
        (*at).0 = *info;
        Some(&(*black_box(at)).0)
    }
}

/// The same for the verdict, of which there are as many as there are ways through the policy.
#[inline(always)]
pub(crate) fn spill_verdict(verdict: &Verdict) -> Option<&'static Verdict> {
    let at = SPILL.get_ptr_mut(0)?;
    // SAFETY: as above.
    unsafe {
        (*at).1 = *verdict;
        Some(&(*black_box(at)).1)
    }
}

/// The same pointer, of which the compiler no longer knows what was written through it.
#[inline(always)]
fn black_box<T>(at: *const T) -> *const T {
    // SAFETY: a local variable is read.
    unsafe { core::ptr::read_volatile(&raw const at) }
}

/// A look into the hash of remotes costs more than all the rest of a packet: a CPU keeps the
/// last one at hand. What it keeps is trusted for a second, the time in which it would not be
/// written anew either; another CPU's newer word is at most that late.
#[map]
static RECENT: PerCpuArray<Recent> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn recent() -> Option<&'static mut Recent> {
    // SAFETY: the value is of this CPU, and programs on one hook do not interrupt each other.
    RECENT.get_ptr_mut(0).map(|at| unsafe { &mut *at })
}

/// Overwritten by the agent before the programs are loaded; in a section of its own, so that a
/// running program can be asked for it by the map alone.
#[unsafe(no_mangle)]
#[cfg_attr(target_arch = "bpf", unsafe(link_section = ".rodata.policy"))]
static POLICY: Policy = Policy {
    build: 0,
    flow_timeout: 0,
    modem_v4: lte_common::layout::Addr::NONE,
    admin_v4: lte_common::layout::Addr::NONE,
    admin_mask_v4: lte_common::layout::Addr::NONE,
    gateway_v4: lte_common::layout::Addr::NONE,
    modem_v6: lte_common::layout::Addr::NONE,
    admin_v6: lte_common::layout::Addr::NONE,
    admin_mask_v6: lte_common::layout::Addr::NONE,
    gateway_v6: lte_common::layout::Addr::NONE,
    modem_index: 0,
    mark: 0,
    mask: 0,
    listen_port: 0,
    link_len: 0,
    modem_link_len: 0,
    admin_ports: [0; 8],
    pad: 0,
    hz: 0,
};

/// The settings that the agent has given.
#[inline(always)]
pub(crate) fn policy() -> &'static Policy {
    let at: *const Policy = &raw const POLICY;
    // The compiler must not take the zeros above for the values. The verifier can follow the
    // pointer, and takes what the agent wrote for constants.
    // SAFETY: the pointer is that of a static.
    unsafe { &*black_box(at) }
}

/// Adds what a packet is on the wire to a counter.
#[inline(always)]
pub(crate) fn count(hook: Hook, class: Class, wire: Wire) {
    if let Some(counter) = COUNTERS.get_ptr_mut(class.index(hook)) {
        // SAFETY: the value is of this CPU, and a program is not interrupted by itself.
        let counter = unsafe { &mut *counter };
        counter.packets += u64::from(wire.packets);
        counter.bytes += u64::from(wire.bytes);
    }
}

/// The policy's state.
pub(crate) struct Maps;

impl State for Maps {
    #[inline(always)]
    fn jiffies(&self) -> u64 {
        // SAFETY: the helper takes nothing and cannot fail; the verifier makes one read of it.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn monotonic_ns(&self) -> u64 {
        // SAFETY: as above.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn remote(&self, key: &RemoteKey) -> Option<Remote> {
        let recent = recent();
        if let Some(recent) = &recent
            && recent.key.eq_words(key)
            && self.jiffies().wrapping_sub(recent.remote.sent) <= policy().ticks(REFRESH)
        {
            return Some(recent.remote);
        }
        // Zeros where there is none: what `None` holds is undefined to the compiler, which then
        // copies registers that the verifier knows to be empty.
        let mut remote = Remote::default();
        let mut known = false;
        if let Some(at) = REMOTES.get_ptr(key) {
            // SAFETY: a value may be written by another CPU at the same time; each of its words
            // is whole, and a torn value is at worst one packet's remote with another's source.
            remote = unsafe { *at };
            known = true;
            if let Some(recent) = recent {
                recent.key = *key;
                recent.remote = remote;
            }
        }
        if known { Some(remote) } else { None }
    }

    #[inline(always)]
    fn put_remote(&self, key: &RemoteKey, value: &Remote) {
        // A full LRU makes room; what cannot be kept is learned again from the next packet.
        REMOTES.insert(key, value, 0).ok();
        if let Some(recent) = recent() {
            recent.key = *key;
            recent.remote = *value;
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue> {
        // SAFETY: as for remotes.
        FRAGMENTS.get_ptr(key).map(|at| unsafe { *at })
    }

    #[inline(always)]
    fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue) {
        FRAGMENTS.insert(key, value, 0).ok();
    }

    #[inline(always)]
    fn admin_flow(&self, key: &FlowKey) -> Option<u64> {
        // SAFETY: one aligned word.
        ADMIN_FLOWS.get_ptr(key).map(|at| unsafe { *at })
    }

    #[inline(always)]
    fn put_admin_flow(&self, key: &FlowKey, now: u64) {
        ADMIN_FLOWS.insert(key, now, 0).ok();
    }

    #[inline(always)]
    fn permit(&self, key: &FlowKey) -> Option<u64> {
        // SAFETY: one aligned word.
        PERMITS.get_ptr(key).map(|at| unsafe { *at })
    }
}
