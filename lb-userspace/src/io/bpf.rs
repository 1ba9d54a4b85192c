//! The data plane: the XDP program and its maps in the kernel.
//!
//! Everything is pinned below one directory of a bpf filesystem, so that forwarding goes on while
//! the daemon is dead, restarted or upgraded: each map under its own name, each attachment as
//! `link-IFINDEX`, the programs as `program-NAME-BUILD`. A daemon that starts adopts the maps, and the
//! program too if it is of the same build; else it puts its own into the links, and the kernel
//! exchanges them between two packets.
//!
//! Two directors on one host (in two network namespaces) need two pin directories.

mod apply;
mod attach;
mod counters;
mod decap;
mod drift;
mod error;
mod flows;
mod host;
mod iface;
mod kept;
mod mapped;
mod object;
mod refused;
mod sweep;
mod sys;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::ProgramFd;
use lb_common::maps::{FLOW_BUCKETS, FLOW_WAYS};

pub use apply::Applied;
pub use attach::{Attachment, ModeWish};
pub use counters::Counts;
pub use decap::Decap;
pub use error::BpfError;
pub use flows::{ConnCount, FlowEntry, FlowScanner, TemplateEntry};
pub use host::{PinLock, has_pins, mount_bpffs};
pub use iface::XdpMode;
pub use sweep::{Sweeper, Swept};
pub use sys::{TestRun, test_run};

/// Where and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of pins, on a bpf filesystem, for this daemon alone.
    pub pin: PathBuf,
    /// Buckets of the flow table, four connections each; a power of two, see [`buckets_for`]. A flow
    /// table that is adopted keeps its size.
    pub flow_buckets: u32,
    /// How to attach.
    pub mode: ModeWish,
}

/// The buckets in which so many connections have room without driving others out: half of the places
/// stay free, or more.
#[must_use]
pub const fn buckets_for(flows: u32) -> u32 {
    flows.div_ceil(FLOW_WAYS as u32 / 2).next_power_of_two()
}

impl Default for Config {
    fn default() -> Config {
        Config {
            pin: "/sys/fs/bpf/lbd/default".into(),
            flow_buckets: FLOW_BUCKETS,
            mode: ModeWish::Auto,
        }
    }
}

/// The loaded program and its maps. Dropping it changes nothing in the kernel.
pub struct DataPlane {
    dir: PathBuf,
    mode: ModeWish,
    object: object::Object,
    program_id: u32,
    /// By interface index.
    links: BTreeMap<u32, attach::Held>,
    /// MACs of peer directors, as keys.
    peers: Vec<u64>,
    /// Ports of interfaces on which the program runs: (port, interface).
    ports: BTreeMap<u32, u32>,
}

impl DataPlane {
    /// Checks the host, mounts bpffs when it is not, adopts the pinned maps or makes new ones, and
    /// loads this binary's program. Nothing is attached, and programs that are attached stay so:
    /// bring the maps to what they should be with [`apply`](Self::apply), then
    /// [`attach`](Self::attach).
    ///
    /// # Errors
    /// Each says what to do about it.
    pub fn open(config: &Config) -> Result<DataPlane, BpfError> {
        host::check()?;
        host::make_pin_dir(&config.pin)?;
        let object = object::load(&config.pin, config.flow_buckets, host::hz()?)?;
        let program_id =
            sys::program_id(object.program.as_fd()).map_err(|source| BpfError::Pin {
                action: "ask for the program of",
                path: config.pin.clone(),
                source,
            })?;
        let mut dp = DataPlane {
            dir: config.pin.clone(),
            mode: config.mode,
            object,
            program_id,
            links: BTreeMap::new(),
            peers: Vec::new(),
            ports: BTreeMap::new(),
        };
        dp.read_peers()?;
        dp.sweep_ifaces()?;
        Ok(dp)
    }

    /// Whether [`open`](Self::open) would find maps to adopt, and not make new ones.
    #[must_use]
    pub fn can_adopt(config: &Config) -> bool {
        host::hz().is_ok_and(|hz| object::adoptable(&config.pin, hz).is_ok())
    }

    /// Whether the maps of an earlier daemon were adopted.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.object.adopted
    }

    /// Jiffies per second of this kernel, for [`Tables::new`](crate::plan::Tables::new).
    #[must_use]
    pub fn hz(&self) -> u32 {
        self.object.hz
    }

    /// The kernel's number of the XDP program.
    #[must_use]
    pub fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Connections that the flow table has room for.
    #[must_use]
    pub fn flow_slots(&self) -> u64 {
        u64::from(self.object.maps.flows.len()) * FLOW_WAYS as u64
    }

    /// The directory of pins.
    #[must_use]
    pub fn pin_dir(&self) -> &Path {
        &self.dir
    }

    /// The XDP program, for test runs.
    #[must_use]
    pub fn program(&self) -> &ProgramFd {
        &self.object.program
    }

    /// Pins the XDP program under a name of the caller's in the pin directory, in place of what is
    /// there; returns the path. For harnesses and for looking at it with bpftool.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pin_program(&self, name: &str) -> Result<PathBuf, BpfError> {
        let path = self.dir.join(name);
        object::remove_pin(&path)?;
        sys::pin(self.program().as_fd(), &path).map_err(|source| BpfError::Pin {
            action: "pin",
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// What takes expired connections away, for a thread of its own; one is enough.
    #[must_use]
    pub fn sweeper(&self) -> Sweeper {
        Sweeper {
            scanner: self.scanner(),
            loads: self.object.maps.loads.clone(),
            backends: self.object.maps.backends.clone(),
            drift: drift::Drift::default(),
            counted: Vec::new(),
            pending: std::collections::HashMap::new(),
        }
    }

    /// A reader of connections that can be used in another thread.
    #[must_use]
    pub fn scanner(&self) -> FlowScanner {
        let maps = &self.object.maps;
        FlowScanner {
            flows: maps.flows.clone(),
            flow_addrs: maps.flow_addrs.clone(),
            services: maps.services.clone(),
            settings: maps.settings.clone(),
            timeouts: maps.timeouts.clone(),
            templates: maps.templates.clone(),
            clock: self.object.clock.clone(),
        }
    }
}
