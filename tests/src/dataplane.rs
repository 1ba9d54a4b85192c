//! The XDP program loaded by itself, with its maps filled by hand, for tests that give it frames by
//! `BPF_PROG_TEST_RUN`. Independent of the daemon's own loader.
//!
//! Needs root. Nothing is pinned or attached, so nothing is left behind.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::flow::shared::SharedFlow;
use lb_common::flow::{FlowAddrs, FlowBucket, FlowValue};
use lb_common::hash::{flow_buckets, service_slot};
use lb_common::maps::{
    Backend, Counters, IFACE_PROBES, Iface, LAYOUT_VERSION, Load, Params, Remote, SERVICE_PROBES,
    ServiceSlot, Settings, TIMEOUTS, TemplateKey, Timeouts, iface_slot, mac_bloom, mac_key, name,
    table_word, tick_shift, ticks, virtual_mac_bit,
};
use lb_common::reason::Reason;
use lb_common::tcp::State;

mod state;

/// The interface on which `BPF_PROG_TEST_RUN` lets frames arrive: loopback.
pub const IFINDEX: u32 = 1;

/// The VRIDs whose virtual MACs, of IPv4 and of IPv6, the interface has.
pub const VRIDS: [u8; 2] = [9, 77];

/// The seed of the program's hashes.
pub const HASH_SEED: u64 = 0x5bd1_e995_9d1b_58d3;

/// `XDP_DROP` and the other verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// 0.
    Aborted,
    /// 1.
    Drop,
    /// 2.
    Pass,
    /// 3.
    Transmit,
    /// 4.
    Redirect,
}

/// A mapped array.
struct Mapped<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel anyway; elements are accessed by volatile words or as
// atomics.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapped<T> {}

impl<T> Mapped<T> {
    fn new(map: &MapData) -> Result<Self> {
        let info = map.info()?;
        ensure!(
            info.value_size() as usize == size_of::<T>(),
            "{}: elements of {} bytes",
            info.name_as_str().unwrap_or("?"),
            info.value_size()
        );
        let len = info.max_entries() as usize;
        let bytes = (len * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: a new mapping of the map's own memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mmap of a map");
        }
        Ok(Mapped {
            start: NonNull::new(start.cast()).context("mmap gave null")?,
            len,
        })
    }

    fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len);
        // SAFETY: within the mapping.
        unsafe { self.start.as_ptr().add(index) }
    }

    fn get(&self, index: usize) -> T
    where
        T: Copy,
    {
        // SAFETY: an element; any bit pattern is a value.
        unsafe { self.at(index).read_volatile() }
    }

    fn set(&self, index: usize, value: T) {
        // SAFETY: an element.
        unsafe { self.at(index).write_volatile(value) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        let bytes = (self.len * size_of::<T>()).next_multiple_of(4096);
        // SAFETY: mapped in `new`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct RawCounters(Counters);
// SAFETY: four u64.
unsafe impl Pod for RawCounters {}

/// A loaded program and its maps.
pub struct Director {
    ebpf: Ebpf,
    program: OwnedFd,
    clock: OwnedFd,
    services: Mapped<ServiceSlot>,
    cursors: Mapped<u64>,
    sched: Mapped<u64>,
    backends: Mapped<Backend>,
    flows: Mapped<FlowBucket>,
    flow_addrs: Mapped<FlowAddrs>,
    remotes: Mapped<Remote>,
    loads: Mapped<Load>,
    ifaces: Mapped<Iface>,
    settings: Mapped<Settings>,
    timeouts: Mapped<Timeouts>,
    params: Params,
    sched_used: u32,
}

impl Director {
    /// Loads the program with a flow table of that many buckets (a power of two) and IPVS's
    /// timeouts.
    pub fn load(buckets: u32) -> Result<Director> {
        Self::load_object(lb_userspace::io::program::BYTES, buckets)
    }

    /// As [`Director::load`], another build of the program.
    pub fn load_object(object: &[u8], buckets: u32) -> Result<Director> {
        // SAFETY: no pointers.
        ensure!(unsafe { libc::geteuid() } == 0, "BPF needs root");
        let hz = kernel_hz(object)?;
        let params = Params {
            hash_seed: HASH_SEED,
            flow_mask: buckets - 1,
            tick_shift: tick_shift(hz),
        };
        let bytes = zerocopy::IntoBytes::as_bytes(&params);
        let mut ebpf = EbpfLoader::new()
            .override_global(name::PARAMS, bytes, true)
            .map_max_entries(name::FLOWS, buckets)
            .map_max_entries(name::FLOW_ADDRS, buckets)
            .load(object)?;
        let program = load_program(&mut ebpf, name::PROGRAM)?;
        let clock = load_program(&mut ebpf, name::CLOCK)?;
        let director = Director {
            services: array(&ebpf, name::SERVICES)?,
            cursors: array(&ebpf, name::SERVICE_CURSOR)?,
            sched: array(&ebpf, name::SCHED)?,
            backends: array(&ebpf, name::BACKENDS)?,
            flows: array(&ebpf, name::FLOWS)?,
            flow_addrs: array(&ebpf, name::FLOW_ADDRS)?,
            remotes: array(&ebpf, name::REMOTES)?,
            loads: array(&ebpf, name::LOADS)?,
            ifaces: array(&ebpf, name::IFACES)?,
            settings: array(&ebpf, name::SETTINGS)?,
            timeouts: array(&ebpf, name::TIMEOUTS)?,
            ebpf,
            program,
            clock,
            params,
            sched_used: 0,
        };
        let mut timeouts = Timeouts::default();
        for state in State::ALL {
            timeouts.ticks[state as usize] = ticks(state.default_timeout(), hz);
        }
        director.timeouts.set(0, timeouts);
        let settings = Settings {
            layout: LAYOUT_VERSION,
            hz,
            params,
            ..Settings::default()
        };
        director.settings.set(0, settings);
        Ok(director)
    }

    /// Tells the program of its interface, which has the virtual MACs of [`VRIDS`], and of peer
    /// directors.
    pub fn set_iface(&mut self, ifindex: u32, mac: [u8; 6], peers: &[[u8; 6]]) -> Result<()> {
        let mut iface = Iface {
            ifindex,
            mac,
            ..Iface::default()
        };
        for kind in 1..=2 {
            for vrid in VRIDS {
                let (word, bit) = virtual_mac_bit(kind, vrid);
                iface.virtual_macs[word] |= bit;
            }
        }
        let mut map: HashMap<_, u64, u32> =
            HashMap::try_from(self.ebpf.map_mut(name::PEERS).context("no PEERS")?)?;
        for &peer in peers {
            iface.peer_bloom |= mac_bloom(mac_key(peer));
            map.insert(mac_key(peer), 1, 0)?;
        }
        for probe in 0..IFACE_PROBES {
            let slot = iface_slot(ifindex, probe) as usize;
            let there = self.ifaces.get(slot).ifindex;
            if there == 0 || there == ifindex {
                self.ifaces.set(slot, iface);
                return Ok(());
            }
        }
        bail!("no slot for interface {ifindex}")
    }

    /// Stores a backend.
    pub fn set_backend(&self, index: u16, backend: Backend) {
        self.backends.set(usize::from(index), backend);
    }

    /// Stores what a backend has beside its MACs.
    pub fn set_remote(&self, index: u16, remote: Remote) {
        self.remotes.set(usize::from(index), remote);
    }

    /// Reads a backend.
    pub fn backend(&self, index: u16) -> Backend {
        self.backends.get(usize::from(index))
    }

    /// Stores a service (its key, id and settings) with a new scheduling table.
    pub fn set_service(&mut self, mut service: ServiceSlot, entries: &[u16]) -> Result<()> {
        let base = self.sched_used;
        for (i, &entry) in entries.iter().enumerate() {
            let index = base as usize + i;
            let shift = 16 * (index & 3);
            let word = self.sched.get(index / 4) & !(0xffff << shift) | u64::from(entry) << shift;
            self.sched.set(index / 4, word);
        }
        self.sched_used += entries.len() as u32;
        service.table = table_word(base, entries.len() as u32);
        for probe in 0..SERVICE_PROBES {
            let slot = service_slot(service.key, probe) as usize;
            let there = self.services.get(slot).key;
            if there == 0 || there == service.key {
                self.services.set(slot, service);
                return Ok(());
            }
        }
        bail!("no slot for the service")
    }

    /// The turn of a service.
    pub fn cursor(&self, id: u16) -> u64 {
        self.cursors.get(usize::from(id))
    }

    /// Forgets all connections that backends have.
    pub fn clear_loads(&self) {
        for backend in 0..self.loads.len {
            self.loads.set(backend, Load::default());
        }
    }

    /// Schedules by hash what is more than so many new connections a second and CPU.
    pub fn set_flood_rate(&self, rate: u32) {
        let settings = Settings {
            flood_rate: rate,
            ..self.settings()
        };
        self.settings.set(0, settings);
    }

    /// The last flood was in this tick; 0: there was none.
    pub fn set_flood_tick(&self, tick: u64) {
        let settings = Settings {
            flood_tick: tick,
            ..self.settings()
        };
        self.settings.set(0, settings);
    }

    /// Lets every service begin with its first turn.
    pub fn clear_cursors(&self) {
        for id in 0..self.cursors.len {
            self.cursors.set(id, 0);
        }
    }

    /// Makes the program forget an interface.
    pub fn remove_iface(&self, ifindex: u32) {
        for slot in 0..self.ifaces.len {
            if self.ifaces.get(slot).ifindex == ifindex {
                self.ifaces.set(slot, Iface::default());
            }
        }
    }

    /// All ways of the flow table.
    pub fn flows(&self) -> &[SharedFlow] {
        // SAFETY: SharedFlow is a bucket's way with atomic words.
        unsafe { std::slice::from_raw_parts(self.flows.start.as_ptr().cast(), self.flows.len * 4) }
    }

    /// The two buckets of a flow.
    pub fn buckets(&self, tag: u64) -> (u32, u32) {
        flow_buckets(tag, &self.params)
    }

    /// The ways of the flow's two buckets.
    fn ways(&self, tag: u64) -> impl Iterator<Item = &SharedFlow> {
        let (first, second) = self.buckets(tag);
        let all = self.flows();
        [first, second]
            .into_iter()
            .flat_map(move |bucket| &all[bucket as usize * 4..bucket as usize * 4 + 4])
    }

    /// What the table has of a flow.
    pub fn flow(&self, tag: u64) -> Option<FlowValue> {
        self.ways(tag)
            .filter_map(SharedFlow::read)
            .find_map(|(there, value)| (there == tag).then_some(value))
    }

    /// How many entries a flow has (more than one would be a bug).
    pub fn entries(&self, tag: u64) -> usize {
        self.ways(tag)
            .filter_map(SharedFlow::read)
            .filter(|&(there, _)| there == tag)
            .count()
    }

    /// Enters a flow.
    pub fn put_flow(&self, tag: u64, value: FlowValue) -> Result<()> {
        let way = self
            .ways(tag)
            .find(|way| way.read().is_none_or(|(there, _)| there == tag))
            .context("no free way")?;
        way.put(tag, value);
        Ok(())
    }

    /// Forgets all flows.
    pub fn clear_flows(&self) {
        for bucket in 0..self.flows.len {
            self.flows.set(bucket, FlowBucket::default());
        }
    }

    /// Timeouts and the like.
    pub fn settings(&self) -> Settings {
        self.settings.get(0)
    }

    /// Lets no flow expire, so that what a test sees does not depend on how long it takes.
    pub fn never_expire(&mut self) {
        let ticks = [i32::MAX as u32; TIMEOUTS];
        self.timeouts.set(0, Timeouts { ticks });
    }

    /// The current tick.
    pub fn now(&self) -> Result<u32> {
        let out = test_run(self.clock.as_fd(), &[0; 64])?.1;
        let jiffies = u64::from_ne_bytes(out[..8].try_into()?);
        Ok((jiffies >> self.params.tick_shift) as u32)
    }

    /// Lets a frame (at least 14 bytes) arrive on [`IFINDEX`].
    pub fn run(&self, frame: &[u8]) -> Result<(Action, Vec<u8>)> {
        let (code, out) = test_run(self.program.as_fd(), frame)?;
        let action = match code {
            0 => Action::Aborted,
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect,
            code => bail!("XDP action {code}"),
        };
        Ok((action, out))
    }

    /// The program, for callers with needs of their own.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// Counts by reason, summed over the CPUs.
    pub fn reasons(&self) -> Result<Vec<u64>> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map(name::REASONS).context("no REASONS")?)?;
        (0..Reason::COUNT as u32)
            .map(|i| Ok(map.get(&i, 0)?.iter().sum()))
            .collect()
    }

    /// One count of [`Director::reasons`].
    pub fn reason(&self, reason: Reason) -> Result<u64> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map(name::REASONS).context("no REASONS")?)?;
        Ok(map.get(&(reason as u32), 0)?.iter().sum())
    }

    /// The counters of a backend, summed over the CPUs.
    pub fn counters(&self, backend: u16) -> Result<Counters> {
        let map: PerCpuArray<_, RawCounters> =
            PerCpuArray::try_from(self.ebpf.map(name::COUNTERS).context("no COUNTERS")?)?;
        let mut sum = Counters::default();
        for RawCounters(one) in map.get(&u32::from(backend), 0)?.iter() {
            sum.packets += one.packets;
            sum.bytes += one.bytes;
            sum.conns += one.conns;
        }
        Ok(sum)
    }

    /// Enters a client's template.
    pub fn set_template(&mut self, key: TemplateKey, value: u64) -> Result<()> {
        let mut map: HashMap<_, TemplateKey, u64> =
            HashMap::try_from(self.ebpf.map_mut(name::TEMPLATES).context("no TEMPLATES")?)?;
        Ok(map.insert(key, value, 0)?)
    }

    /// Forgets a client's template.
    pub fn remove_template(&mut self, key: TemplateKey) -> Result<()> {
        let mut map: HashMap<_, TemplateKey, u64> =
            HashMap::try_from(self.ebpf.map_mut(name::TEMPLATES).context("no TEMPLATES")?)?;
        match map.remove(&key) {
            Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
            Err(aya::maps::MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A client's template.
    pub fn template(&self, key: TemplateKey) -> Result<Option<u64>> {
        let map: HashMap<_, TemplateKey, u64> =
            HashMap::try_from(self.ebpf.map(name::TEMPLATES).context("no TEMPLATES")?)?;
        match map.get(&key, 0) {
            Ok(value) => Ok(Some(value)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Instructions that the verifier walked.
    pub fn verified_instructions(&self) -> Result<u32> {
        let program = self.ebpf.program(name::PROGRAM).context("no program")?;
        program
            .info()?
            .verified_instruction_count()
            .context("the kernel does not tell")
    }
}

fn array<T>(ebpf: &Ebpf, map: &str) -> Result<Mapped<T>> {
    match ebpf.map(map) {
        Some(Map::Array(data)) => Mapped::new(data).with_context(|| map.to_owned()),
        _ => bail!("{map} is not an array"),
    }
}

fn load_program(ebpf: &mut Ebpf, program: &str) -> Result<OwnedFd> {
    let program: &mut Xdp = ebpf
        .program_mut(program)
        .with_context(|| format!("no program {program}"))?
        .try_into()?;
    program.load()?;
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}

/// Jiffies per second, measured: two readings of the kernel's jiffies and clock.
fn kernel_hz(object: &[u8]) -> Result<u32> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(name::FLOWS, 1)
        .load(object)?;
    let clock = load_program(&mut ebpf, name::CLOCK)?;
    let read = || -> Result<(u64, u64)> {
        let out = test_run(clock.as_fd(), &[0; 64])?.1;
        Ok((
            u64::from_ne_bytes(out[..8].try_into()?),
            u64::from_ne_bytes(out[8..16].try_into()?),
        ))
    };
    let start = read()?;
    loop {
        let end = read()?;
        if end.1 - start.1 >= 100_000_000 {
            let measured = (end.0 - start.0) as f64 * 1e9 / (end.1 - start.1) as f64;
            return [100u32, 250, 300, 1000]
                .into_iter()
                .min_by(|a, b| {
                    let off = |hz: u32| (f64::from(hz) / measured).ln().abs();
                    off(*a).total_cmp(&off(*b))
                })
                .context("no frequency");
        }
        std::thread::yield_now();
    }
}

/// `BPF_PROG_TEST_RUN`: the program's return value and the frame afterwards.
pub fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
    let mut out = vec![0; frame.len() + 64];
    let (code, len) = test_run_into(program, frame, &mut out)?;
    out.truncate(len);
    Ok((code, out))
}

/// As [`test_run`], into a buffer: the return value and the length of the frame afterwards.
pub fn test_run_into(
    program: BorrowedFd<'_>,
    frame: &[u8],
    out: &mut [u8],
) -> Result<(u32, usize)> {
    /// `struct { ... } test` of `union bpf_attr`.
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        rest: [u64; 5],
    }
    const BPF_PROG_TEST_RUN: i64 = 10;
    let mut attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        ..Attr::default()
    };
    // SAFETY: the attribute's pointers and lengths describe live buffers.
    let code = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attr,
            size_of::<Attr>(),
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("BPF_PROG_TEST_RUN of {} bytes", frame.len()));
    }
    Ok((attr.retval, attr.data_size_out as usize))
}
