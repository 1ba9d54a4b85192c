//! What should be.

use std::net::IpAddr;

use crate::model::{ForwardMethod, Persistence, SchedFlags, Scheduler, ServiceKey, Timeouts};

/// New flows a second and CPU above which they are scheduled by hash without an entry, unless
/// `flood_rate` says otherwise. More than any service opens in earnest, and few enough that the
/// half-open ones of a minute, 3,000,000, do not drive established flows out of a large table.
pub const FLOOD_RATE: u32 = 50_000;

/// What holds for all services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Timeouts of the services that say nothing else; what is absent is IPVS's own.
    pub timeouts: Timeouts,
    /// New flows a second and CPU above which they are scheduled by hash without an entry; 0: never.
    pub flood_rate: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            timeouts: Timeouts::NONE,
            flood_rate: FLOOD_RATE,
        }
    }
}

/// A service as it should be in the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredService {
    /// Address, port (0: any), protocol; unique within a plan.
    pub key: ServiceKey,
    /// `lb_algo`.
    pub scheduler: Scheduler,
    /// `sh-port` and the like.
    pub sched_flags: SchedFlags,
    /// Each UDP packet is scheduled by itself.
    pub ops: bool,
    /// `persistence_timeout` and its granularity; `None` is off.
    pub persistence: Option<Persistence>,
    /// TCP in mid-stream without a flow is scheduled.
    pub sloppy: bool,
    /// A connection whose server is down or removed ends.
    pub expire_nodest_conn: bool,
    /// A client whose server has weight 0 gets another one.
    pub expire_quiescent_template: bool,
    /// The service's own timeouts; what is absent is as [`Defaults`] say.
    pub timeouts: Timeouts,
    /// The real servers in the order of the configuration (it counts for hashes); address and port
    /// are unique. One that is left out keeps its established connections.
    pub backends: Vec<DesiredBackend>,
}

impl DesiredService {
    /// A service without real servers and with everything optional off.
    #[must_use]
    pub const fn new(key: ServiceKey, scheduler: Scheduler) -> Self {
        DesiredService {
            key,
            scheduler,
            sched_flags: SchedFlags {
                port: false,
                fallback: false,
            },
            ops: false,
            persistence: None,
            sloppy: false,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            timeouts: Timeouts::NONE,
            backends: Vec::new(),
        }
    }
}

/// A real server of one service as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its address.
    pub addr: IpAddr,
    /// Its port: the service's.
    pub port: u16,
    /// Effective weight; 0 is quiesced: nothing new, its connections stay.
    pub weight: u16,
    /// The weight that it has when it is not quiesced, if that is known, else 0: `mh` keeps its share
    /// of the table by it.
    pub full_weight: u16,
    /// Whether it is alive. A dead one gets nothing new, and clients that come back go elsewhere.
    pub up: bool,
    /// How to reach it; `None` while its MAC is not known.
    pub link: Option<Link>,
    /// It is this host: its frames go up the stack and `link` is not needed.
    pub local: bool,
    /// Direct routing or a tunnel.
    pub method: ForwardMethod,
    /// With so many connections it gets no new ones; 0: no limit.
    pub uthreshold: u32,
    /// Below so many it gets new ones again; 0: below three quarters of `uthreshold`.
    pub lthreshold: u32,
}

impl DesiredBackend {
    /// A real server that is up and reached by direct routing, its MAC not known yet.
    #[must_use]
    pub const fn new(addr: IpAddr, port: u16, weight: u16) -> Self {
        DesiredBackend {
            addr,
            port,
            weight,
            full_weight: weight,
            up: true,
            link: None,
            local: false,
            method: ForwardMethod::Dr,
            uthreshold: 0,
            lthreshold: 0,
        }
    }
}

/// How a frame gets to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The MAC of the real server or of the router before it.
    pub dmac: [u8; 6],
    /// The outgoing interface's MAC.
    pub smac: [u8; 6],
    /// The outgoing interface, not 0.
    pub ifindex: u32,
    /// The longest IP packet that the way takes; 0: not known.
    pub mtu: u16,
    /// This host's address on the way: the outer source of a tunnel.
    pub source: Option<IpAddr>,
    /// The MAC is the real server's own; otherwise a router's, to which direct routing leaves it to find
    /// the server.
    pub on_link: bool,
    /// The longest packet that reaches the program by itself, where several segments may come as one
    /// longer packet (in generic mode: from a virtual neighbour, or by GRO below a bond); 0: each comes
    /// by itself.
    pub joined_above: u16,
}

impl Link {
    /// A neighbour on an interface, of whose MTU nothing is known.
    #[must_use]
    pub const fn new(dmac: [u8; 6], smac: [u8; 6], ifindex: u32) -> Self {
        Link {
            dmac,
            smac,
            ifindex,
            mtu: 0,
            source: None,
            on_link: true,
            joined_above: 0,
        }
    }
}
