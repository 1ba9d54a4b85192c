//! Operations on the maps, and what they mean for people.

use std::fmt;
use std::net::IpAddr;

use lb_common::maps::{Backend, Remote, ServiceSlot, Timeouts};

use crate::model::{Scheduler, ServiceKey};

/// One operation on the maps. Each may be interrupted by the death of the daemon without harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Write a set of timeouts; a set that is not used any more becomes zero.
    Timeouts {
        /// Its number.
        set: u8,
        /// The whole value.
        value: Timeouts,
    },
    /// Write how many new flows a second and CPU are too many; 0: none are.
    FloodRate(u32),
    /// Zero the counters and connection counts of a backend index: it is about to get a new owner.
    ResetCounters {
        /// The index.
        index: u16,
    },
    /// Write a real server: what lies beside it before its flags.
    Backend {
        /// Its index.
        index: u16,
        /// The whole value.
        value: Backend,
        /// What lies beside it.
        remote: Remote,
    },
    /// Write a scheduling table into a part of the arena that no slot refers to.
    Table {
        /// First entry, a multiple of four.
        base: u32,
        /// The backend indices; the rest of the last word is zero.
        entries: Vec<u16>,
    },
    /// Set a service's turn to its beginning.
    ResetCursor {
        /// The service's id.
        id: u16,
    },
    /// Write a whole slot, its key last.
    OpenSlot {
        /// The slot.
        slot: u32,
        /// The value, with its key.
        value: ServiceSlot,
    },
    /// Switch a service to another scheduling table: one store.
    SwitchTable {
        /// The slot.
        slot: u32,
        /// `base << 32 | len`.
        table: u64,
    },
    /// Write scheduler, flags, persistence and timeouts of an open slot; key and table stay.
    Params {
        /// The slot.
        slot: u32,
        /// The value whose parameters are taken.
        value: ServiceSlot,
    },
    /// Remove a service: remember its key in the slot, then mark it as deleted. Its id stays taken
    /// for as long as flows refer to it.
    CloseSlot {
        /// The slot.
        slot: u32,
        /// The key that is removed.
        key: u64,
    },
    /// Empty a slot, first its key.
    ClearSlot {
        /// The slot.
        slot: u32,
        /// What its key becomes: 0, or `SLOT_DELETED` where a probe must walk over it.
        key: u64,
    },
    /// Give a backend index free: nothing refers to it any more. Its counters are to be added to
    /// what the daemon remembers of the service.
    FreeBackend {
        /// The index.
        index: u16,
    },
}

/// What a plan means for people: one line each.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A service comes.
    ServiceAdded {
        /// The service.
        service: ServiceKey,
        /// Its scheduler.
        scheduler: Scheduler,
    },
    /// A service goes.
    ServiceRemoved {
        /// The service.
        service: ServiceKey,
    },
    /// A parameter of a service changes.
    ServiceChanged {
        /// The service.
        service: ServiceKey,
        /// What, from and to.
        what: String,
    },
    /// A real server comes or returns.
    BackendAdded {
        /// The service.
        service: ServiceKey,
        /// The real server's address.
        addr: IpAddr,
        /// Its port.
        port: u16,
        /// Its weight.
        weight: u16,
    },
    /// A real server goes; its established connections stay.
    BackendRemoved {
        /// The service.
        service: ServiceKey,
        /// The real server's address.
        addr: IpAddr,
        /// Its port.
        port: u16,
    },
    /// A property of a real server changes.
    BackendChanged {
        /// The service.
        service: ServiceKey,
        /// The real server's address.
        addr: IpAddr,
        /// Its port.
        port: u16,
        /// What, from and to.
        what: String,
    },
}

/// A service that could not be brought to what is desired; it stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The service.
    pub service: ServiceKey,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a service was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// All service ids are taken, some perhaps by removed services whose flows still live.
    NoServiceId,
    /// No slot within reach of its hash.
    NoSlot,
    /// All backend indices are taken.
    NoBackendIndex,
    /// The arena has no room beside the old table.
    NoArenaRoom,
    /// All sets of timeouts are taken.
    NoTimeoutSet,
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefusalReason::NoServiceId => {
                "too many services (removed ones with living connections count)"
            }
            RefusalReason::NoSlot => "no free slot within reach of its hash",
            RefusalReason::NoBackendIndex => {
                "too many real servers (removed ones with living connections count)"
            }
            RefusalReason::NoArenaRoom => "no room for its scheduling table",
            RefusalReason::NoTimeoutSet => {
                "too many different timeouts (at most 63 beside the usual ones; those of living \
                 connections count)"
            }
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtual_server {}: {}", self.service, self.reason)
    }
}

/// `address:port`, brackets around IPv6.
struct Endpoint(IpAddr, u16);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::net::SocketAddr::new(self.0, self.1))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::ServiceAdded { service, scheduler } => {
                write!(f, "+ virtual_server {} {}", service, scheduler.name())
            }
            Change::ServiceRemoved { service } => {
                write!(f, "- virtual_server {}", service)
            }
            Change::ServiceChanged { service, what } => {
                write!(f, "~ virtual_server {}: {what}", service)
            }
            Change::BackendAdded {
                service,
                addr,
                port,
                weight,
            } => {
                write!(
                    f,
                    "+ real_server {} of {}, weight {weight}",
                    Endpoint(*addr, *port),
                    service
                )
            }
            Change::BackendRemoved {
                service,
                addr,
                port,
            } => {
                write!(f, "- real_server {} of {}", Endpoint(*addr, *port), service)
            }
            Change::BackendChanged {
                service,
                addr,
                port,
                what,
            } => {
                write!(
                    f,
                    "~ real_server {} of {}: {what}",
                    Endpoint(*addr, *port),
                    service
                )
            }
        }
    }
}
