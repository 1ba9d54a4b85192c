//! The BPF maps: names, sizes, keys and values.
//!
//! Every value is `#[repr(C)]` without implicit padding. A field that the program reads together
//! with others is placed so that both come from one cache line, and what must change as one is one
//! 64-bit word, written with a single store.

/// Version of this layout. Pinned maps of another version are not adopted but replaced.
pub const LAYOUT_VERSION: u32 = 1;

/// Slots of the IPv4 service table, a power of two. At most half of them may be filled.
pub const SERVICE_SLOTS: u32 = 8192;
/// How many slots from its hash a service may lie; the program looks no further.
pub const SERVICE_PROBES: u32 = 8;
/// Services that may exist at a time; a service id is `1..MAX_SERVICES`, 0 means none.
pub const MAX_SERVICES: u32 = 4096;
/// Backends (a real server of one service) that may exist at a time; index 0 is never used.
pub const MAX_BACKENDS: u32 = 16384;
/// Words of four entries in the arena of scheduling tables.
pub const SCHED_WORDS: u32 = 1 << 18;
/// Ways of one flow bucket, which is one cache line.
pub const FLOW_WAYS: usize = 4;
/// Default number of flow buckets, a power of two (4 flows each).
pub const FLOW_BUCKETS: u32 = 1 << 19;
/// Slots of the table of interfaces, a power of two.
pub const IFACE_SLOTS: u32 = 64;
/// Entries of the persistence table.
pub const MAX_TEMPLATES: u32 = 1 << 18;

/// An IPv4 service and how it is scheduled: one cache line, read for every packet.
///
/// User space writes a new service with `key` last and removes one by zeroing `key` first.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct ServiceSlot {
    /// [`service_key`]; 0 is an empty slot, [`SLOT_DELETED`] one that a probe walks over.
    pub key: u64,
    /// Where the scheduling table lies: `base << 32 | len`, both in entries of the arena. One word,
    /// so that a table is switched with one store. `len` 0: no real server is available.
    pub table: u64,
    /// The service's id, `1..MAX_SERVICES`: part of every flow's tag and index of its counters.
    pub id: u16,
    /// A [`Sched`] as a number.
    pub sched: u8,
    /// [`SERVICE_SLOPPY`] and the other `SERVICE_*` bits.
    pub flags: u8,
    /// Persistence time in seconds; 0 is off.
    pub persist_secs: u32,
    /// Granularity of persistence: which bits of the client's address count, network byte order.
    pub persist_mask: u32,
    /// Timeout of an idle UDP flow, seconds.
    pub udp_secs: u32,
    /// Reserved for what later schedulers and address families need.
    pub reserved: [u64; 4],
}

/// A slot whose service was removed.
pub const SLOT_DELETED: u64 = u64::MAX;
/// TCP in mid-stream without a flow is scheduled (`sloppy`).
pub const SERVICE_SLOPPY: u8 = 1;
/// One of the service's backends is this host.
pub const SERVICE_LOCAL: u8 = 2;

/// The key of an IPv4 service: address and port as they stand in the packet (network byte order in
/// memory), so that the program compares without swapping.
#[inline(always)]
#[must_use]
pub const fn service_key(addr_be: u32, port_be: u16, proto: u8) -> u64 {
    (addr_be as u64) << 32 | (port_be as u64) << 16 | proto as u64
}

/// How the program turns a new connection into an index of the service's table.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sched {
    /// `table[cursor++ % len]`: rr over the available servers, wrr over IPVS's interleaved sequence.
    Turn = 1,
    /// `table[hash(client) % len]` as IPVS's sh does.
    SourceHash = 2,
}

/// A real server of one service: what is needed to send a frame to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct Backend {
    /// Destination MAC. All zero: not resolved yet, see [`BACKEND_RESOLVED`].
    pub dmac: [u8; 6],
    /// Source MAC: that of the outgoing interface.
    pub smac: [u8; 6],
    /// Outgoing interface.
    pub ifindex: u32,
    /// `BACKEND_*` bits.
    pub flags: u16,
    /// The service's id.
    pub service: u16,
    /// Address, network byte order; for people.
    pub addr: u32,
    /// Port, network byte order; for people.
    pub port: u16,
    /// Weight as configured or set; for people.
    pub weight: u16,
    /// Reserved.
    pub reserved: u32,
}

/// The MACs and the interface are known.
pub const BACKEND_RESOLVED: u16 = 1;
/// Dead or removed: new connections, SYNs and UDP go elsewhere; established TCP stays.
pub const BACKEND_DOWN: u16 = 2;
/// This host itself: frames go up the stack.
pub const BACKEND_LOCAL: u16 = 4;

/// Counters of one backend on one CPU. A service's are the sum of its backends' and what the
/// daemon remembers of those removed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct Counters {
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes, counted as IPVS does: the IP packet without its Ethernet header.
    pub bytes: u64,
    /// Connections scheduled.
    pub conns: u64,
}

/// One flow: 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct Flow {
    /// `client address << 32 | client port << 16 | service id`: exact, since the service's id
    /// stands for address, port and protocol of the VIP. 0 is free.
    pub tag: u64,
    /// `backend << 48 | state << 40 | flags << 32 | last seen` (see [`FlowValue`]).
    pub value: u64,
}

/// Flows whose hash is the same: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct FlowBucket {
    /// The flows.
    pub ways: [Flow; FLOW_WAYS],
}

/// An interface on which the program runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(zerocopy::IntoBytes, zerocopy::FromBytes, zerocopy::Immutable, zerocopy::KnownLayout))]
pub struct Iface {
    /// Its index; 0 is an empty slot.
    pub ifindex: u32,
    /// Its MAC: only frames for it are balanced.
    pub mac: [u8; 6],
    /// Reserved.
    pub reserved: [u8; 6],
    /// A bit for each `mac_hash` of a MAC that stands in the table of peer directors, so that only
    /// frames that may come from one pay for looking it up.
    pub peer_bloom: u64,
}
