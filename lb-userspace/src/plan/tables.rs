//! The books of the data plane and the plan that brings it to what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_common::maps::{Backend, MAX_BACKENDS, MAX_SERVICES, ServiceSlot};

use super::arena::Arena;
use super::desired::DesiredService;
use super::op::{Change, Op, Refusal, RefusalReason};
use super::slots::Slots;
use super::values::{raw_key, service_of_key, wire};
use crate::model::ServiceKey;
use crate::time::Time;

/// How long after an operation a run of the program that began before it may still be under way.
/// A run takes microseconds; this is far beyond what any interruption of one can take.
pub const GRACE: Duration = Duration::from_millis(250);

/// Which ids living flows and persistence templates refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refs {
    /// When the scan of the flow table *began*.
    pub taken_at: Time,
    /// Backend indices.
    pub backends: BTreeSet<u16>,
    /// Service ids.
    pub services: BTreeSet<u16>,
}

/// What [`Tables::plan`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// To be applied in this order.
    pub ops: Vec<Op>,
    /// The same for people, in the order of the desired services.
    pub changes: Vec<Change>,
    /// Services that could not be brought to what is desired.
    pub refused: Vec<Refusal>,
    /// The books once all operations were applied. When one fails: [`Tables::adopt`] a fresh dump.
    pub next: Tables,
}

/// What the maps hold, and who owns what in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Jiffies per second: ages in the maps are in ticks, see `lb_common::maps::ticks`.
    pub(super) hz: u32,
    pub(super) services: BTreeMap<u64, Service>,
    pub(super) slots: Slots,
    pub(super) arena: Arena,
    pub(super) backends: BTreeMap<u16, Row>,
    /// (service id, address, port in network order) to index.
    pub(super) by_addr: BTreeMap<(u16, u32, u16), u16>,
    /// What adoption found broken and the next plan puts right first.
    pub(super) repairs: Vec<Op>,
}

/// A service, live or removed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Service {
    pub(super) slot: u32,
    /// As it stands in the slot, but always with its key.
    pub(super) value: ServiceSlot,
    /// The scheduling table's entries; empty while removed.
    pub(super) table: Vec<u16>,
    /// When it was removed; its id waits for its flows to end.
    pub(super) retired: Option<Time>,
}

/// A backend index that is taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) value: Backend,
    /// When it was removed; the index waits for its flows to end.
    pub(super) retired: Option<Time>,
}

/// The operations of a plan by phase.
#[derive(Default)]
pub(super) struct Phases {
    /// New and improved real servers.
    pub(super) backends: Vec<Op>,
    pub(super) tables: Vec<Op>,
    pub(super) slots: Vec<Op>,
    pub(super) close: Vec<Op>,
    /// Real servers that get worse or go.
    pub(super) lower: Vec<Op>,
    pub(super) release: Vec<Op>,
}

/// One service while it is planned.
pub(super) struct Target<'a> {
    pub(super) desired: &'a DesiredService,
    pub(super) key: u64,
    pub(super) id: u16,
    /// In the order of the configuration.
    pub(super) rows: Vec<(u16, Backend)>,
    /// The whole slot but for its table.
    pub(super) value: ServiceSlot,
    pub(super) table: Vec<u16>,
}

impl Tables {
    /// The books of empty maps on a kernel with `hz` jiffies per second.
    #[must_use]
    pub fn new(hz: u32) -> Tables {
        Tables {
            hz,
            services: BTreeMap::new(),
            slots: Slots::default(),
            arena: Arena::default(),
            backends: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            repairs: Vec::new(),
        }
    }

    /// What must be done, and in which order, to get from these books to `desired`. What `desired`
    /// does not name is removed. Ids of what was removed earlier are given free when `refs` was
    /// taken long enough after the removal and does not name them.
    #[must_use]
    pub fn plan(&self, desired: &[DesiredService], refs: &Refs, now: Time) -> Plan {
        let mut next = self.clone();
        let mut phases = Phases::default();
        let mut changes = Vec::new();
        let mut refused = Vec::new();
        let mut free_ids = {
            let taken: BTreeSet<u16> = self
                .services
                .values()
                .map(|s| s.value.id)
                .chain(self.backends.values().map(|r| r.value.service))
                .collect();
            (1..MAX_SERVICES as u16).filter(move |id| !taken.contains(id))
        };
        let mut free_indices = (1..MAX_BACKENDS as u16).filter(|i| !self.backends.contains_key(i));
        let mut kept = BTreeSet::new();
        let repairs = std::mem::take(&mut next.repairs);

        for service in desired {
            let key = match raw_key(service.key) {
                Some(key) => key,
                None => {
                    refused.push(Refusal {
                        service: service.key,
                        reason: RefusalReason::NotIpv4,
                    });
                    continue;
                }
            };
            if !kept.insert(key) {
                continue;
            }
            if let Err(reason) = next.bring(
                service,
                key,
                now,
                &mut free_ids,
                &mut free_indices,
                &mut phases,
                &mut changes,
            ) {
                refused.push(Refusal {
                    service: service.key,
                    reason,
                });
            }
        }
        next.retire_others(&kept, now, &mut phases, &mut changes);
        next.release(refs, &mut phases.release);

        let mut ops = repairs;
        for phase in [
            phases.backends,
            phases.tables,
            phases.slots,
            phases.close,
            phases.lower,
            phases.release,
        ] {
            ops.extend(phase);
        }
        Plan {
            ops,
            changes,
            refused,
            next,
        }
    }

    /// The index of a real server, removed ones with living connections included.
    #[must_use]
    pub fn backend_index(&self, service: ServiceKey, addr: IpAddr, port: u16) -> Option<u16> {
        let IpAddr::V4(addr) = addr else { return None };
        let id = self.services.get(&raw_key(service)?)?.value.id;
        self.by_addr.get(&(id, wire(addr), port.to_be())).copied()
    }

    /// The service of an id, removed ones with living connections included.
    #[must_use]
    pub fn service_of(&self, id: u16) -> Option<ServiceKey> {
        self.services
            .values()
            .find(|s| s.value.id == id)
            .and_then(|s| service_of_key(s.value.key))
    }

    /// The services that have an id: `(id, key, removed)`.
    pub fn services(&self) -> impl Iterator<Item = (u16, ServiceKey, bool)> + '_ {
        self.services.values().filter_map(|s| {
            let key = service_of_key(s.value.key)?;
            Some((s.value.id, key, s.retired.is_some()))
        })
    }

    /// The weight that is in force for a backend index.
    #[must_use]
    pub fn weight(&self, index: u16) -> Option<u16> {
        self.backends.get(&index).map(|row| row.value.weight)
    }

    /// The real servers that have an index: `(index, service id, address, port, removed)`.
    pub fn backends(&self) -> impl Iterator<Item = (u16, u16, Ipv4Addr, u16, bool)> + '_ {
        self.backends.iter().map(|(index, row)| {
            let v = &row.value;
            (
                *index,
                v.service,
                Ipv4Addr::from(v.addr.to_ne_bytes()),
                u16::from_be(v.port),
                row.retired.is_some(),
            )
        })
    }

    /// Whether something that was removed still waits for its flows to end, so that a scan and
    /// another plan are worth while.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        self.services.values().any(|s| s.retired.is_some())
            || self.backends.values().any(|r| r.retired.is_some())
    }
}
