//! The object file in the kernel: its maps, adopted or new, and its programs.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use aya::maps::{HashMap, Map, MapData, MapInfo, MapType, PerCpuArray};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::flow::{FlowAddrs, FlowBucket};
use lb_common::maps::{
    Backend, Counters, Flood, FragmentKey, IFACE_SLOTS, Iface, LAYOUT_VERSION, Load, MAX_BACKENDS,
    MAX_FRAGMENTS, MAX_PEERS, MAX_REFUSED, MAX_SERVICES, MAX_TEMPLATES, Params, RefusedKey, Remote,
    SCHED_WORDS, SERVICE_SLOTS, ServiceSlot, Settings, TIMEOUT_SETS, TemplateKey, Timeouts, name,
    tick_shift,
};
use lb_common::reason::REASON_SLOTS;

use super::error::BpfError;
use super::kept;
use super::mapped::Mapped;
use super::sys;

/// What a pinned map must be to be adopted.
struct Shape {
    name: &'static str,
    kind: MapType,
    key: u32,
    value: usize,
    /// 0: any power of two (the flow table, whose size is chosen at load).
    len: u32,
}

const fn array(name: &'static str, value: usize, len: u32) -> Shape {
    Shape {
        name,
        kind: MapType::Array,
        key: 4,
        value,
        len,
    }
}

const SHAPES: [Shape; name::ALL.len()] = [
    array(name::SERVICES, size_of::<ServiceSlot>(), SERVICE_SLOTS),
    array(name::SERVICE_CURSOR, 8, MAX_SERVICES),
    array(name::SCHED, 8, SCHED_WORDS),
    array(name::BACKENDS, size_of::<Backend>(), MAX_BACKENDS),
    Shape {
        kind: MapType::PerCpuArray,
        ..array(name::COUNTERS, size_of::<Counters>(), MAX_BACKENDS)
    },
    array(name::FLOWS, size_of::<FlowBucket>(), 0),
    array(name::FLOW_ADDRS, size_of::<FlowAddrs>(), 0),
    array(name::REMOTES, size_of::<Remote>(), MAX_BACKENDS),
    array(name::LOADS, size_of::<Load>(), MAX_BACKENDS),
    array(name::TIMEOUTS, size_of::<Timeouts>(), TIMEOUT_SETS),
    Shape {
        name: name::FRAGMENTS,
        kind: MapType::LruHash,
        key: size_of::<FragmentKey>() as u32,
        value: 8,
        len: MAX_FRAGMENTS,
    },
    Shape {
        kind: MapType::PerCpuArray,
        ..array(name::FLOOD, size_of::<Flood>(), 1)
    },
    Shape {
        name: name::TEMPLATES,
        kind: MapType::LruHash,
        key: size_of::<TemplateKey>() as u32,
        value: 8,
        len: MAX_TEMPLATES,
    },
    array(name::IFACES, size_of::<Iface>(), IFACE_SLOTS),
    Shape {
        name: name::PEERS,
        kind: MapType::Hash,
        key: 8,
        value: 4,
        len: MAX_PEERS,
    },
    Shape {
        name: name::REFUSED,
        kind: MapType::Hash,
        key: size_of::<RefusedKey>() as u32,
        value: 4,
        len: MAX_REFUSED,
    },
    Shape {
        kind: MapType::PerCpuArray,
        ..array(name::REASONS, 8, REASON_SLOTS)
    },
    Shape {
        kind: MapType::PerCpuArray,
        ..array(name::CROWDED, 8, 1)
    },
    array(name::SETTINGS, size_of::<Settings>(), 1),
];

/// The maps.
pub(super) struct Maps {
    pub(super) services: Arc<Mapped>,
    pub(super) cursors: Mapped,
    pub(super) sched: Mapped,
    pub(super) backends: Arc<Mapped>,
    pub(super) ifaces: Mapped,
    pub(super) settings: Arc<Mapped>,
    pub(super) flows: Arc<Mapped>,
    pub(super) flow_addrs: Arc<Mapped>,
    pub(super) remotes: Mapped,
    pub(super) loads: Arc<Mapped>,
    pub(super) timeouts: Arc<Mapped>,
    /// [`Counters`] as words.
    pub(super) counters: PerCpuArray<MapData, [u64; 4]>,
    pub(super) reasons: PerCpuArray<MapData, [u64; 1]>,
    pub(super) templates: Arc<HashMap<MapData, TemplateKey, u64>>,
    pub(super) peers: HashMap<MapData, u64, u32>,
    pub(super) refused: HashMap<MapData, RefusedKey, u32>,
}

/// What was loaded.
pub(super) struct Object {
    pub(super) maps: Maps,
    pub(super) program: ProgramFd,
    pub(super) clock: Arc<OwnedFd>,
    pub(super) adopted: bool,
    pub(super) hz: u32,
}

/// Loads the program with the maps that are pinned in `dir`, or with new ones pinned there.
pub(super) fn load(dir: &Path, flow_buckets: u32, hz: u32) -> Result<Object, BpfError> {
    let (params, adopted) = match adoptable(dir, hz) {
        Ok(params) => (params, true),
        Err(why) => {
            tracing::info!("new maps in {}: {why}", dir.display());
            remove_maps(dir)?;
            (new_params(flow_buckets, hz)?, false)
        }
    };
    let mut ebpf = load_object(dir, &params)?;
    let build = kept::build(&params);
    let program = kept::program(&mut ebpf, dir, name::PROGRAM, build)?;
    let clock = kept::program(&mut ebpf, dir, name::CLOCK, build)?;
    kept::remove(dir, Some(build))?;
    let maps = Maps::take(&mut ebpf, params.flow_mask + 1)?;
    if !adopted {
        maps.write_settings(&params, hz);
    }
    Ok(Object {
        maps,
        program,
        clock: Arc::new(own(&clock, name::CLOCK)?),
        adopted,
        hz,
    })
}

/// The parameters of the pinned maps, or why they cannot be adopted.
pub(super) fn adoptable(dir: &Path, hz: u32) -> Result<Params, String> {
    let mut buckets = 0;
    for shape in &SHAPES {
        let info = MapInfo::from_pin(dir.join(shape.name))
            .map_err(|_| format!("{} is not pinned", shape.name))?;
        let kind = info.map_type().map_err(|e| e.to_string())?;
        let len = info.max_entries();
        let fits = if shape.len == 0 {
            len.is_power_of_two()
        } else {
            len == shape.len
        };
        if kind != shape.kind
            || info.key_size() != shape.key
            || info.value_size() as usize != shape.value
            || !fits
        {
            return Err(format!("the pinned {} is of another layout", shape.name));
        }
        if shape.name == name::FLOWS {
            buckets = len;
        } else if shape.len == 0 && len != buckets {
            return Err(format!("the pinned {} is of another size", shape.name));
        }
    }
    let settings =
        read_settings(dir).map_err(|e| format!("{} cannot be read: {e}", name::SETTINGS))?;
    if settings.layout != LAYOUT_VERSION {
        return Err(format!(
            "the pinned maps are of layout {}, this program has {LAYOUT_VERSION}",
            settings.layout
        ));
    }
    if settings.hz != hz || settings.params.flow_mask != buckets.wrapping_sub(1) {
        return Err("the pinned maps were made for another kernel".to_owned());
    }
    Ok(settings.params)
}

fn read_settings(dir: &Path) -> io::Result<Settings> {
    let pin = super::sys::open_pin(&dir.join(name::SETTINGS))?;
    let mapped = Mapped::new(pin.as_fd(), size_of::<Settings>(), 1)?;
    Ok(zerocopy::transmute!(
        mapped.get::<{ size_of::<Settings>() / 8 }>(0)
    ))
}

/// Removes the pins of maps and of the programs that use them. A program that is attached goes on with its maps until it is replaced.
pub(super) fn remove_maps(dir: &Path) -> Result<(), BpfError> {
    kept::remove(dir, None)?;
    for name in name::ALL {
        remove_pin(&dir.join(name))?;
    }
    Ok(())
}

/// Removes a pin if it is there.
pub(super) fn remove_pin(path: &Path) -> Result<(), BpfError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BpfError::Pin {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes off the program whose link is pinned there, if one is, and removes the pin. It is off on
/// return: without its pin alone it would run a moment longer, for the kernel lets go of the file later.
pub(super) fn take_off(path: &Path) -> Result<(), BpfError> {
    match sys::open_pin(path).and_then(|link| sys::link_detach(link.as_fd())) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BpfError::Pin {
            action: "detach",
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => remove_pin(path),
    }
}

fn new_params(flow_buckets: u32, hz: u32) -> Result<Params, BpfError> {
    let mut seed = [0u8; 8];
    // SAFETY: the buffer and its length.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if got != seed.len() as isize {
        return Err(BpfError::Clock(io::Error::last_os_error()));
    }
    let buckets = flow_buckets.clamp(1 << 10, 1 << 26).next_power_of_two();
    Ok(Params {
        hash_seed: u64::from_ne_bytes(seed),
        flow_mask: buckets - 1,
        tick_shift: tick_shift(hz),
    })
}

fn load_object(dir: &Path, params: &Params) -> Result<Ebpf, BpfError> {
    let words: [u64; 2] = zerocopy::transmute!(*params);
    let mut loader = EbpfLoader::new();
    loader
        .override_global(name::PARAMS, &words, true)
        .map_max_entries(name::FLOWS, params.flow_mask + 1)
        .map_max_entries(name::FLOW_ADDRS, params.flow_mask + 1);
    for name in name::ALL {
        loader.map_pin_path(name, dir.join(name));
    }
    loader
        .load(crate::io::program::BYTES)
        .map_err(|e| BpfError::Load(Box::new(e)))
}

/// Loads a program: the kernel verifies it.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, BpfError> {
    let refused = |source| BpfError::Program {
        name,
        source: Box::new(source),
    };
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .ok_or(BpfError::Missing { name })?
        .try_into()
        .map_err(refused)?;
    program.load().map_err(refused)?;
    let fd = program.fd().map_err(refused)?;
    fd.try_clone()
        .map_err(|source| BpfError::Mmap { name, source })
}

fn own(fd: &ProgramFd, name: &'static str) -> Result<OwnedFd, BpfError> {
    fd.as_fd()
        .try_clone_to_owned()
        .map_err(|source| BpfError::Mmap { name, source })
}

impl Maps {
    fn take(ebpf: &mut Ebpf, flow_buckets: u32) -> Result<Maps, BpfError> {
        Ok(Maps {
            services: Arc::new(mapped(
                ebpf,
                name::SERVICES,
                size_of::<ServiceSlot>(),
                SERVICE_SLOTS,
            )?),
            cursors: mapped(ebpf, name::SERVICE_CURSOR, 8, MAX_SERVICES)?,
            sched: mapped(ebpf, name::SCHED, 8, SCHED_WORDS)?,
            backends: Arc::new(mapped(
                ebpf,
                name::BACKENDS,
                size_of::<Backend>(),
                MAX_BACKENDS,
            )?),
            ifaces: mapped(ebpf, name::IFACES, size_of::<Iface>(), IFACE_SLOTS)?,
            settings: Arc::new(mapped(ebpf, name::SETTINGS, size_of::<Settings>(), 1)?),
            flows: Arc::new(mapped(
                ebpf,
                name::FLOWS,
                size_of::<FlowBucket>(),
                flow_buckets,
            )?),
            flow_addrs: Arc::new(mapped(
                ebpf,
                name::FLOW_ADDRS,
                size_of::<FlowAddrs>(),
                flow_buckets,
            )?),
            remotes: mapped(ebpf, name::REMOTES, size_of::<Remote>(), MAX_BACKENDS)?,
            loads: Arc::new(mapped(ebpf, name::LOADS, size_of::<Load>(), MAX_BACKENDS)?),
            timeouts: Arc::new(mapped(
                ebpf,
                name::TIMEOUTS,
                size_of::<Timeouts>(),
                TIMEOUT_SETS,
            )?),
            counters: take(ebpf, name::COUNTERS)?,
            reasons: take(ebpf, name::REASONS)?,
            templates: Arc::new(take(ebpf, name::TEMPLATES)?),
            peers: take(ebpf, name::PEERS)?,
            refused: take(ebpf, name::REFUSED)?,
        })
    }

    /// Writes what the program and a later daemon must know into new maps; the layout last, since it
    /// says that the rest is there.
    fn write_settings(&self, params: &Params, hz: u32) {
        let settings = Settings {
            layout: LAYOUT_VERSION,
            hz,
            params: *params,
            ..Settings::default()
        };
        let words: [u64; size_of::<Settings>() / 8] = zerocopy::transmute!(settings);
        let layout = std::mem::offset_of!(Settings, layout) / 8;
        for (at, word) in words.iter().enumerate() {
            if at != layout {
                self.settings.store(0, at, *word);
            }
        }
        self.settings.store(0, layout, words[layout]);
    }
}

fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, BpfError> {
    ebpf.take_map(name).ok_or(BpfError::Missing { name })
}

fn take<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, BpfError> {
    T::try_from(take_map(ebpf, name)?).map_err(|source| BpfError::Map { name, source })
}

fn mapped(ebpf: &mut Ebpf, name: &'static str, size: usize, len: u32) -> Result<Mapped, BpfError> {
    // Only the memory is used, which keeps the map alive.
    let Map::Array(data) = take_map(ebpf, name)? else {
        return Err(BpfError::Missing { name });
    };
    Mapped::new(data.fd().as_fd(), size, len).map_err(|source| BpfError::Mmap { name, source })
}
