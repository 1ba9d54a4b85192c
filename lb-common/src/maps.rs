//! The BPF maps: names, sizes, keys and values.
//!
//! Every value is `#[repr(C)]` without implicit padding. A field that the program reads together
//! with others is placed so that both come from one cache line, and what must change as one is one
//! 64-bit word, written with a single store.
//!
//! All arrays that user space writes are `BPF_F_MMAPABLE` (page-aligned too, so that a 64-byte
//! value is one cache line): user space maps them and stores whole aligned words, because a
//! `bpf(2)` update of an element is not atomic against a program that reads it.

mod backend;
mod iface;

pub use backend::*;
pub use iface::*;

/// Version of this layout. Pinned maps of another version are not adopted but replaced.
pub const LAYOUT_VERSION: u32 = 6;

/// Names of the maps, of the read-only global and of the programs, as the object file has them.
pub mod name {
    /// Array of [`ServiceSlot`](super::ServiceSlot), mapped.
    pub const SERVICES: &str = "SERVICES";
    /// Array of `u64` by service id: turns taken so far; shared by all CPUs.
    pub const SERVICE_CURSOR: &str = "SERVICE_CURSOR";
    /// Array of `u64`, each four `u16` entries of scheduling tables, mapped.
    pub const SCHED: &str = "SCHED";
    /// Array of [`Backend`](super::Backend), mapped.
    pub const BACKENDS: &str = "BACKENDS";
    /// Per-CPU array of [`Counters`](super::Counters) by backend.
    pub const COUNTERS: &str = "COUNTERS";
    /// Array of [`FlowBucket`](crate::flow::FlowBucket), mapped; its size is set at load.
    pub const FLOWS: &str = "FLOWS";
    /// Array of [`FlowAddrs`](crate::flow::FlowAddrs) beside `FLOWS`, of the same length, mapped: the
    /// clients of flows whose tag does not have them.
    pub const FLOW_ADDRS: &str = "FLOW_ADDRS";
    /// Array of [`Remote`](super::Remote) by backend, mapped.
    pub const REMOTES: &str = "REMOTES";
    /// Array of [`Load`](super::Load) by backend, mapped: how many connections it has.
    pub const LOADS: &str = "LOADS";
    /// Array of [`Timeouts`](super::Timeouts) sets, mapped.
    pub const TIMEOUTS: &str = "TIMEOUTS";
    /// LRU hash: [`FragmentKey`](super::FragmentKey) to [`Template`](super::Template) as `u64`.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Per-CPU array of one [`Flood`](super::Flood).
    pub const FLOOD: &str = "FLOOD";
    /// LRU hash: [`template_key`](super::template_key) to [`Template`](super::Template) as `u64`.
    pub const TEMPLATES: &str = "TEMPLATES";
    /// Array of [`Iface`](super::Iface), mapped.
    pub const IFACES: &str = "IFACES";
    /// Hash: [`peer_key`](super::peer_key) of who has scheduled what it sends here to a `u32` that is
    /// not looked at.
    pub const PEERS: &str = "PEERS";
    /// Hash: [`refused_key`](super::refused_key) of virtual addresses that this host holds but accepts
    /// nothing for, to a `u32` that is not looked at.
    pub const REFUSED: &str = "REFUSED";
    /// Per-CPU array of `u64` by [`Reason`](crate::reason::Reason).
    pub const REASONS: &str = "REASONS";
    /// Per-CPU array of one `u64`: the last tick in which no flow could be moved.
    pub const CROWDED: &str = "CROWDED";
    /// Array of one [`Settings`](super::Settings), mapped.
    pub const SETTINGS: &str = "SETTINGS";
    /// Every map, in the order in which they are pinned.
    pub const ALL: [&str; 19] = [
        SERVICES,
        SERVICE_CURSOR,
        SCHED,
        BACKENDS,
        COUNTERS,
        FLOWS,
        FLOW_ADDRS,
        REMOTES,
        LOADS,
        TIMEOUTS,
        FRAGMENTS,
        FLOOD,
        TEMPLATES,
        IFACES,
        PEERS,
        REFUSED,
        REASONS,
        CROWDED,
        SETTINGS,
    ];
    /// The read-only global of type [`Params`](super::Params).
    pub const PARAMS: &str = "PARAMS";
    /// The XDP program that balances.
    pub const PROGRAM: &str = "balance";
    /// An XDP program for `BPF_PROG_TEST_RUN` alone: writes the kernel's 64-bit jiffies and
    /// `bpf_ktime_get_ns` into the first 16 bytes of the frame, both in host byte order.
    pub const CLOCK: &str = "clock";
}

/// Slots of the service table, a power of two. At most half of them may be filled.
pub const SERVICE_SLOTS: u32 = 32768;
/// How many slots from its hash a service may lie; the program looks no further.
pub const SERVICE_PROBES: u32 = 8;
/// Services that may exist at a time; a service id is `1..MAX_SERVICES`, 0 means none.
pub const MAX_SERVICES: u32 = 16384;
/// Backends (a real server of one service) that may exist at a time; index 0 is never used.
pub const MAX_BACKENDS: u32 = 32768;
/// Words of four entries in the arena of scheduling tables.
pub const SCHED_WORDS: u32 = 1 << 20;
/// Ways of one flow bucket, which is one cache line.
pub const FLOW_WAYS: usize = 4;
/// Default number of flow buckets, a power of two (4 flows each): 1,000,000 flows fill half.
pub const FLOW_BUCKETS: u32 = 1 << 19;
/// Slots of the table of interfaces, a power of two.
pub const IFACE_SLOTS: u32 = 64;
/// How many slots from its place an interface may lie.
pub const IFACE_PROBES: u32 = 4;
/// Entries of the persistence table.
pub const MAX_TEMPLATES: u32 = 1 << 18;
/// Peer directors, and real servers beside this host by service, that may exist at a time.
pub const MAX_PEERS: u32 = 4096;
/// Virtual addresses for which nothing is accepted (`no_accept`) that may exist at a time.
pub const MAX_REFUSED: u32 = 1 << 14;
/// Datagrams whose fragments may be on their way at a time.
pub const MAX_FRAGMENTS: u32 = 1 << 14;
/// Sets of timeouts that may exist at a time; set 0 is the one of all services that have none of
/// their own.
pub const TIMEOUT_SETS: u32 = 64;

/// A service and how it is scheduled: one cache line, read for every packet.
///
/// User space writes a new service with `key` last and removes one by storing [`SLOT_DELETED`]
/// into `key` first (or 0 where the next slot of the probe is empty).
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct ServiceSlot {
    /// [`service_key`] or [`service_key_v6`]; 0 is an empty slot, [`SLOT_DELETED`] one that a probe
    /// walks over.
    pub key: u64,
    /// Where the scheduling table lies: [`table_word`]. One word, so that a table is switched with
    /// one store. Length 0: no real server is available.
    pub table: u64,
    /// The service's id, `1..MAX_SERVICES`: part of every flow's tag and index of its turn.
    pub id: u16,
    /// A [`Sched`] as a number.
    pub sched: u8,
    /// Which set of [`Timeouts`] its flows have, below [`TIMEOUT_SETS`].
    pub timeouts: u8,
    /// [`SERVICE_SLOPPY`] and the other `SERVICE_*` bits.
    pub flags: u32,
    /// Persistence time in ticks (see [`Params::tick_shift`]); 0 is off.
    pub persist_ticks: u32,
    /// Granularity of persistence: which bits of the client's address count, as they lie in memory
    /// (network byte order). IPv6: how many leading bits, 1..=128.
    pub persist_mask: u32,
    /// The whole address of an IPv6 service, as in the packet: its key is a hash of it. IPv4: zero.
    pub addr: [u32; 4],
    /// User space's own: the key that a removed service had, so that one that returns while its
    /// flows live has its id again.
    pub removed_key: u64,
    /// Reserved.
    pub reserved: u64,
}

/// A slot whose service was removed.
pub const SLOT_DELETED: u64 = u64::MAX;
/// TCP in mid-stream without a flow is scheduled (`sloppy`).
pub const SERVICE_SLOPPY: u32 = 1;
/// One of the service's backends is this host.
pub const SERVICE_LOCAL: u32 = 2;
/// `ops`: every UDP packet is scheduled by itself, no flow is kept.
pub const SERVICE_ONE_PACKET: u32 = 4;
/// `expire_nodest_conn`: a connection whose server is down or removed ends at its next packet.
pub const SERVICE_EXPIRE_NODEST: u32 = 8;
/// `expire_quiescent_template`: a client whose server has weight 0 gets another one.
pub const SERVICE_EXPIRE_QUIESCENT: u32 = 16;
/// `sh-port`, `mh-port`: the client's port is hashed too.
pub const SERVICE_HASH_PORT: u32 = 32;
/// `sh-fallback`, `mh-fallback`: when the server that the hash gives cannot take it, another does.
pub const SERVICE_HASH_FALLBACK: u32 = 64;
/// Its flows' tags lack part of the key, which lies in [`FlowAddrs`](crate::flow::FlowAddrs): IPv6
/// services and those for any port.
pub const SERVICE_WIDE: u32 = 128;
/// An IPv6 service.
pub const SERVICE_V6: u32 = 256;
/// A service for any port (its own is 0).
pub const SERVICE_ANY_PORT: u32 = 512;
/// The scheduler looks at connection counts or the servers have thresholds: [`Load`] decides.
pub const SERVICE_COUNTS: u32 = 1024;
/// At least one backend is reached through a tunnel.
pub const SERVICE_TUNNEL: u32 = 2048;

/// The key of an IPv4 service: address and port as they stand in the packet (network byte order in
/// memory), so that the program compares without swapping. Never 0.
#[inline(always)]
#[must_use]
pub const fn service_key(addr_be: u32, port_be: u16, proto: u8) -> u64 {
    (addr_be as u64) << 32 | (port_be as u64) << 16 | proto as u64
}

/// Beside the protocol in the key of an IPv6 service.
pub const SERVICE_KEY_V6: u64 = 0x100;

/// The key of an IPv6 service, as [`service_key`]. Two addresses may have the same: compare
/// [`ServiceSlot::addr`] too.
#[inline(always)]
#[must_use]
pub const fn service_key_v6(addr: [u64; 2], port_be: u16, proto: u8) -> u64 {
    (crate::hash::fold_addr(addr, 0) as u64) << 32
        | (port_be as u64) << 16
        | SERVICE_KEY_V6
        | proto as u64
}

/// [`ServiceSlot::table`]: `len` entries from entry `base` of the arena.
#[inline(always)]
#[must_use]
pub const fn table_word(base: u32, len: u32) -> u64 {
    (base as u64) << 32 | len as u64
}

/// How the program turns a new connection into an index of the service's table.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sched {
    /// `table[turn % len]`: rr over the available servers, wrr over IPVS's interleaved sequence.
    Turn = 1,
    /// `table[sh_hash(client) % len]` as IPVS's sh does.
    SourceHash = 2,
    /// `table[mh_hash(client) % len]` as IPVS's mh does.
    Maglev = 3,
    /// `table[dh_hash(VIP) % len]` as IPVS's dh does.
    DestHash = 4,
    /// Fewest connections. This and all below: the table is the list of the servers that are up, in
    /// IPVS's list order, each once.
    LeastConn = 5,
    /// Fewest connections by weight.
    WeightedLeastConn = 6,
    /// Shortest expected delay.
    ShortestDelay = 7,
    /// A server without active connections at once, else [`Sched::ShortestDelay`].
    NeverQueue = 8,
    /// The highest weight that is not overloaded.
    Failover = 9,
    /// The highest weight whose active connections are not above its weight.
    Overflow = 10,
    /// The less loaded of two drawn by weight.
    PowerOfTwo = 11,
    /// Locality-based least connection.
    Lblc = 12,
    /// The same with replication.
    Lblcr = 13,
}

impl Sched {
    /// Whether the scheduler of this number gives a client to the same server on every director.
    #[inline(always)]
    #[must_use]
    pub const fn is_hash(number: u8) -> bool {
        number >= Sched::SourceHash as u8 && number <= Sched::DestHash as u8
    }
}

/// How many ticks a flow in each [`State`](crate::tcp::State) may be silent.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Timeouts {
    /// By the number of the state.
    pub ticks: [u32; TIMEOUTS],
}

/// The datagram to which a fragment belongs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct FragmentKey {
    /// Source as in the packet; IPv4: in the first word, the others zero.
    pub source: [u32; 4],
    /// Destination, in the same way.
    pub destination: [u32; 4],
    /// Identification as in the packet.
    pub id: u32,
    /// Protocol number; IPv6: 0 (RFC 8200, 4.5 does not count it).
    pub proto: u32,
}

/// How many new flows a CPU has seen, to notice a flood.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Flood {
    /// Which window is counted, in units of the program's choice.
    pub window: u64,
    /// New flows in it.
    pub flows: u64,
    /// Flows in it of which a packet in mid-stream was the first to be seen.
    pub strays: u64,
}

/// A MAC as a number: the bytes as they lie in memory, then two zero bytes (so on a little-endian
/// host the first byte is the lowest).
#[inline(always)]
#[must_use]
pub const fn mac_key(mac: [u8; 6]) -> u64 {
    u64::from_ne_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
}

/// Key of the table of peers. What this MAC ([`mac_key`]) sends for a service has been scheduled
/// already: for any service (`service` 0) when a director has it, for this one when a real server
/// has it to which directors forward as they do to this host. Such a server has the virtual address
/// itself and sends nothing for it that it was not sent as a director.
#[inline(always)]
#[must_use]
pub const fn peer_key(mac: u64, service: u16) -> u64 {
    let [high, low] = service.to_ne_bytes();
    mac | u64::from_ne_bytes([0, 0, 0, 0, 0, 0, high, low])
}

/// The MAC in a [`peer_key`], as a [`mac_key`].
#[inline(always)]
#[must_use]
pub const fn peer_mac(key: u64) -> u64 {
    key & mac_key([0xff; 6])
}

/// Key of the table of refused addresses: as it stands in the packet, an IPv4 address as the IPv6
/// address that maps it (RFC 4291, 2.5.5.2).
pub type RefusedKey = [u32; 4];

/// The key of an IPv4 address (network byte order in memory).
#[inline(always)]
#[must_use]
pub const fn refused_key(addr_be: u32) -> RefusedKey {
    [0, 0, 0xffff_u32.to_be(), addr_be]
}

/// The bit of a MAC ([`mac_key`]) in [`Iface::peer_bloom`].
#[inline(always)]
#[must_use]
pub const fn mac_bloom(key: u64) -> u64 {
    1 << (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// Key of the persistence table: the client's address as [`mask_client`] gives it, the service's id.
pub type TemplateKey = [u32; 5];

/// The key of a masked client of a service.
#[inline(always)]
#[must_use]
pub const fn template_key(service: u16, masked_client: [u32; 4]) -> TemplateKey {
    let [a, b, c, d] = masked_client;
    [a, b, c, d, service as u32]
}

/// What counts of a client's address (as it lies in a packet; IPv4: in the first word, the others
/// zero) by [`ServiceSlot::persist_mask`].
#[inline(always)]
#[must_use]
pub const fn mask_client(client: [u32; 4], mask: u32, is_v6: bool) -> [u32; 4] {
    if !is_v6 {
        return [client[0] & mask, 0, 0, 0];
    }
    /// The mask of word `n` of an address of which `bits` leading bits count.
    const fn word(bits: u32, n: u32) -> u32 {
        let rest = bits.saturating_sub(32 * n);
        if rest >= 32 {
            u32::MAX
        } else {
            !(u32::MAX >> rest).to_be()
        }
    }
    [
        client[0] & word(mask, 0),
        client[1] & word(mask, 1),
        client[2] & word(mask, 2),
        client[3] & word(mask, 3),
    ]
}

/// Value of the persistence table: `backend << 32 | last used`, in ticks. It holds for
/// [`ServiceSlot::persist_ticks`] after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template(pub u64);

impl Template {
    /// A client that was sent to `backend` at `tick`.
    #[inline(always)]
    #[must_use]
    pub const fn new(backend: u16, tick: u32) -> Self {
        Template((backend as u64) << 32 | tick as u64)
    }

    /// Index of the backend.
    #[inline(always)]
    #[must_use]
    pub const fn backend(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// When it was used last.
    #[inline(always)]
    #[must_use]
    pub const fn used(self) -> u32 {
        self.0 as u32
    }

    /// How many ticks before `now` that was.
    #[inline(always)]
    #[must_use]
    pub const fn idle(self, now: u32) -> u32 {
        crate::flow::elapsed(now, self.used())
    }
}

/// What is fixed for the life of a loaded program: its read-only global.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Params {
    /// Secret of the flow hash, random; a program that takes over a pinned flow table must be
    /// given the old one's ([`Settings::params`]).
    pub hash_seed: u64,
    /// Number of flow buckets minus one.
    pub flow_mask: u32,
    /// A tick, the unit of every age in the maps, is `2^tick_shift` jiffies; chosen by
    /// [`tick_shift`] so that it is about a second.
    pub tick_shift: u32,
}

/// Words of [`Timeouts`]: states that may exist.
pub const TIMEOUTS: usize = 32;

/// What may be changed while the program runs; also what a new daemon must know of the old one.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Settings {
    /// [`LAYOUT_VERSION`] of the maps.
    pub layout: u32,
    /// Jiffies per second of this kernel.
    pub hz: u32,
    /// The parameters of the program that fills the flow table.
    pub params: Params,
    /// Always 0. (The program reads it where the verifier must not know a value.)
    pub zero: u64,
    /// New flows a second and CPU above which they are scheduled by hash without an entry; 0: never.
    pub flood_rate: u32,
    /// Reserved.
    pub reserved: u32,
    /// The program's own: the tick in which a flow was last scheduled without an entry; 0: never.
    pub flood_tick: u64,
    /// How many virtual addresses are refused, so that only hosts that have one pay for looking it up.
    pub refused: u64,
    /// Reserved.
    pub reserved2: u64,
}

/// The tick for a kernel with `hz` jiffies per second: the power of two nearest to a second, from
/// 0.71 s to 1.41 s.
#[must_use]
pub const fn tick_shift(hz: u32) -> u32 {
    // Doubling is worth it while 2^(shift + 0.5) <= hz, that is 2 * 4^shift <= hz^2.
    let square = hz as u64 * hz as u64;
    let mut shift = 0;
    while shift < 20 && 2 << (2 * shift) <= square {
        shift += 1;
    }
    shift
}

/// `seconds` in ticks, rounded up; something that is not 0 stays so.
#[must_use]
pub const fn ticks(seconds: u32, hz: u32) -> u32 {
    let shift = tick_shift(hz);
    ((seconds as u64 * hz as u64 + (1 << shift) - 1) >> shift) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    #[test]
    fn values_have_the_sizes_that_the_program_relies_on() {
        assert_eq!(size_of::<ServiceSlot>(), 64);
        assert_eq!(size_of::<Backend>(), 64);
        assert_eq!(size_of::<Iface>(), 96);
        assert_eq!(size_of::<Counters>(), 32);
        assert_eq!(size_of::<Settings>(), 64);
        assert_eq!(size_of::<Remote>(), 64);
        assert_eq!(size_of::<Load>(), 16);
        assert_eq!(size_of::<Timeouts>(), 128);
        assert_eq!(size_of::<FragmentKey>(), 40);
        assert_eq!(size_of::<crate::flow::FlowAddrs>(), 64);
        assert_eq!(size_of::<crate::flow::FlowBucket>(), 64);
    }

    #[test]
    fn a_tick_is_about_a_second() {
        for hz in [
            24, 48, 64, 100, 128, 200, 250, 256, 300, 500, 512, 1000, 1024, 1200,
        ] {
            let tick = f64::from(1 << tick_shift(hz)) / f64::from(hz);
            assert!((0.70..1.42).contains(&tick), "{hz}: {tick}");
            assert!(f64::from(ticks(900, hz)) * tick >= 900.0);
            assert!(f64::from(ticks(900, hz)) * tick < 902.0);
        }
        assert_eq!(ticks(0, 250), 0);
        assert_eq!(ticks(1, 250), 1);
    }

    #[test]
    fn a_client_is_masked_by_leading_bits() {
        let client = [0x2001_0db8u32, 0x1234_5678, 0x9abc_def0, 0xffff_ffff].map(u32::to_be);
        let masked = |bits| mask_client(client, bits, true).map(u32::from_be);
        assert_eq!(masked(128), client.map(u32::from_be));
        assert_eq!(masked(64), [0x2001_0db8, 0x1234_5678, 0, 0]);
        assert_eq!(masked(60), [0x2001_0db8, 0x1234_5670, 0, 0]);
        assert_eq!(masked(33), [0x2001_0db8, 0, 0, 0]);
        assert_eq!(masked(1), [0, 0, 0, 0]);
        assert_eq!(masked(3), [0x2000_0000, 0, 0, 0]);
        let mask = u32::from_ne_bytes([255, 255, 0, 0]);
        let four = [u32::from_ne_bytes([10, 1, 2, 3]), 0, 0, 0];
        assert_eq!(
            mask_client(four, mask, false),
            [u32::from_ne_bytes([10, 1, 0, 0]), 0, 0, 0]
        );
    }

    #[test]
    fn a_mac_has_one_bit_in_the_bloom_word() {
        assert_eq!(mac_bloom(mac_key([2, 0, 0, 0, 0, 1])).count_ones(), 1);
        assert_ne!(mac_key([2, 0, 0, 0, 0, 1]), mac_key([2, 0, 0, 0, 1, 0]));
    }
}
