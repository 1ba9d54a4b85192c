//! The maps, under the names and with the layout of `lb_common::maps`.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use lb_common::flow::{FlowAddrs, FlowBucket};
use lb_common::maps::{
    Backend, Counters, FLOW_BUCKETS, Flood, FragmentKey, IFACE_SLOTS, Iface, Load, MAX_BACKENDS,
    MAX_FRAGMENTS, MAX_PEERS, MAX_REFUSED, MAX_SERVICES, MAX_TEMPLATES, Params, RefusedKey, Remote,
    SCHED_WORDS, SERVICE_SLOTS, ServiceSlot, Settings, TIMEOUT_SETS, TemplateKey, Timeouts,
};
use lb_common::reason::{REASON_SLOTS, Reason};

#[map]
pub(crate) static SERVICES: Array<ServiceSlot> =
    Array::with_max_entries(SERVICE_SLOTS, BPF_F_MMAPABLE);
#[map]
pub(crate) static SERVICE_CURSOR: Array<u64> =
    Array::with_max_entries(MAX_SERVICES, BPF_F_MMAPABLE);
#[map]
pub(crate) static SCHED: Array<u64> = Array::with_max_entries(SCHED_WORDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static BACKENDS: Array<Backend> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(MAX_BACKENDS, 0);
#[map]
pub(crate) static FLOWS: Array<FlowBucket> = Array::with_max_entries(FLOW_BUCKETS, BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOW_ADDRS: Array<FlowAddrs> =
    Array::with_max_entries(FLOW_BUCKETS, BPF_F_MMAPABLE);
#[map]
pub(crate) static REMOTES: Array<Remote> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static LOADS: Array<Load> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static TIMEOUTS: Array<Timeouts> = Array::with_max_entries(TIMEOUT_SETS, BPF_F_MMAPABLE);
#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, u64> =
    LruHashMap::with_max_entries(MAX_FRAGMENTS, 0);
#[map]
pub(crate) static FLOOD: PerCpuArray<Flood> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static TEMPLATES: LruHashMap<TemplateKey, u64> =
    LruHashMap::with_max_entries(MAX_TEMPLATES, 0);
#[map]
pub(crate) static IFACES: Array<Iface> = Array::with_max_entries(IFACE_SLOTS, BPF_F_MMAPABLE);
#[map]
pub(crate) static PEERS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_PEERS, 0);
#[map]
pub(crate) static REFUSED: HashMap<RefusedKey, u32> =
    HashMap::with_max_entries(MAX_REFUSED, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_SLOTS, 0);
#[map]
pub(crate) static CROWDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Set by user space before the program is loaded; the verifier then knows the values.
#[unsafe(no_mangle)]
static PARAMS: Params = Params {
    hash_seed: 0,
    flow_mask: FLOW_BUCKETS - 1,
    tick_shift: 8,
};

/// The program's parameters.
#[inline(always)]
pub(crate) fn params() -> Params {
    // SAFETY: a static of this very type; volatile, because the bytes are replaced at load time.
    unsafe {
        Params {
            hash_seed: core::ptr::read_volatile(&raw const PARAMS.hash_seed),
            flow_mask: core::ptr::read_volatile(&raw const PARAMS.flow_mask),
            tick_shift: core::ptr::read_volatile(&raw const PARAMS.tick_shift),
        }
    }
}

/// The current tick.
#[inline(always)]
pub(crate) fn tick() -> u32 {
    // SAFETY: a helper without arguments; the JIT makes it a load.
    (unsafe { bpf_jiffies64() } >> params().tick_shift) as u32
}

/// What may be changed while the program runs.
#[inline(always)]
pub(crate) fn settings() -> Option<*const Settings> {
    SETTINGS.get_ptr(0)
}

/// Counts a reason on this CPU.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(counter) = REASONS.get_ptr_mut(u32::from(reason as u8)) {
        // SAFETY: this CPU's own element.
        unsafe { *counter += 1 };
    }
}
