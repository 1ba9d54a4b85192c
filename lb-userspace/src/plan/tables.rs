//! The books of the data plane and the plan that brings it to what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lb_common::maps::{Backend, MAX_BACKENDS, MAX_SERVICES, Remote, ServiceSlot};

use super::arena::Arena;
use super::desired::{Defaults, DesiredService, Link};
use super::ids::Ids;
use super::op::{Change, Op, Refusal};
use super::slots::Slots;
use super::timeouts::Sets;
use super::values::{endpoint, link_of, timeout_set};
use crate::model::{self, ServiceKey};
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
    /// Sets of timeouts, a bit for each.
    pub timeout_sets: u64,
}

/// What [`Tables::plan`] returns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be applied in this order.
    pub ops: Vec<Op>,
    /// The same for people, in the order of the desired services.
    pub changes: Vec<Change>,
    /// Services that could not be brought to what is desired.
    pub refused: Vec<Refusal>,
}

/// What the maps hold, and who owns what in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Jiffies per second: ages in the maps are in ticks, see `lb_common::maps::ticks`.
    pub(super) hz: u32,
    pub(super) flood_rate: u32,
    /// Timeouts of services that set none.
    pub(super) defaults: model::Timeouts,
    pub(super) sets: Sets,
    pub(super) services: BTreeMap<ServiceKey, Service>,
    pub(super) by_id: BTreeMap<u16, ServiceKey>,
    /// Services that were removed.
    pub(super) retired_services: BTreeSet<ServiceKey>,
    pub(super) ids: Ids,
    pub(super) slots: Slots,
    pub(super) arena: Arena,
    pub(super) backends: BTreeMap<u16, Row>,
    /// (service id, address, port) to index.
    pub(super) by_addr: BTreeMap<(u16, IpAddr, u16), u16>,
    /// Backends that were removed.
    pub(super) retired_backends: BTreeSet<u16>,
    pub(super) indices: Ids,
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
    /// What it was brought to last; not known after adoption.
    pub(super) brought: Option<DesiredService>,
    /// When it was removed; its id waits for its flows to end.
    pub(super) retired: Option<Time>,
}

/// A backend index that is taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) value: Backend,
    pub(super) remote: Remote,
    /// When it was removed; the index waits for its flows to end.
    pub(super) retired: Option<Time>,
}

impl Row {
    /// Address and port.
    pub(super) fn endpoint(&self) -> (IpAddr, u16) {
        endpoint(&self.value, &self.remote)
    }
}

/// The operations of a plan by phase.
#[derive(Default)]
pub(super) struct Phases {
    pub(super) timeouts: Vec<Op>,
    /// New and improved real servers.
    pub(super) backends: Vec<Op>,
    pub(super) tables: Vec<Op>,
    pub(super) slots: Vec<Op>,
    pub(super) close: Vec<Op>,
    /// Real servers that get worse or go.
    pub(super) lower: Vec<Op>,
    pub(super) changes: Vec<Change>,
}

impl Phases {
    /// All operations in their order, behind those of `first`.
    fn into_plan(self, first: Vec<Op>, refused: Vec<Refusal>) -> Plan {
        let mut ops = first;
        for phase in [
            self.timeouts,
            self.backends,
            self.tables,
            self.slots,
            self.close,
            self.lower,
        ] {
            ops.extend(phase);
        }
        Plan {
            ops,
            changes: self.changes,
            refused,
        }
    }
}

impl Tables {
    /// The books of empty maps on a kernel with `hz` jiffies per second.
    #[must_use]
    pub fn new(hz: u32) -> Tables {
        Tables {
            hz,
            flood_rate: 0,
            defaults: model::Timeouts::NONE,
            sets: Sets::default(),
            services: BTreeMap::new(),
            by_id: BTreeMap::new(),
            retired_services: BTreeSet::new(),
            ids: Ids::new(MAX_SERVICES),
            slots: Slots::default(),
            arena: Arena::default(),
            backends: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            retired_backends: BTreeSet::new(),
            indices: Ids::new(MAX_BACKENDS),
            repairs: Vec::new(),
        }
    }

    /// Takes over what holds for all services; the operations to be applied. Services that have
    /// timeouts of their own follow with the next [`plan`](Self::plan).
    #[must_use]
    pub fn configure(&mut self, defaults: &Defaults) -> Vec<Op> {
        let mut ops = Vec::new();
        let value = timeout_set(&model::Timeouts::NONE, &defaults.timeouts, self.hz);
        if self.sets.default != value {
            ops.push(Op::Timeouts { set: 0, value });
            self.sets.default = value;
        }
        if self.defaults != defaults.timeouts {
            self.defaults = defaults.timeouts;
            for service in self.services.values_mut() {
                service.brought = None;
            }
        }
        if self.flood_rate != defaults.flood_rate {
            ops.push(Op::FloodRate(defaults.flood_rate));
            self.flood_rate = defaults.flood_rate;
        }
        ops
    }

    /// What must be done, and in which order, to get from these books to `desired`. What `desired`
    /// does not name is removed. Ids of what was removed earlier are given free when `refs` was
    /// taken long enough after the removal and does not name them.
    ///
    /// The books are afterwards as they stand once all operations were applied. When one fails:
    /// [`Tables::adopt`] a fresh dump.
    #[must_use]
    pub fn plan(&mut self, desired: &[DesiredService], refs: &Refs, now: Time) -> Plan {
        let repairs = std::mem::take(&mut self.repairs);
        let mut phases = Phases::default();
        let (kept, refused) = self.bring_all(desired, now, &mut phases);
        self.retire_others(&kept, now, &mut phases);
        let mut plan = phases.into_plan(repairs, refused);
        plan.ops.extend(self.release(refs));
        plan
    }

    /// As [`plan`](Self::plan), but services that `desired` does not name stay as they are.
    #[must_use]
    pub fn update(&mut self, desired: &[DesiredService], now: Time) -> Plan {
        let repairs = std::mem::take(&mut self.repairs);
        let mut phases = Phases::default();
        let (_, refused) = self.bring_all(desired, now, &mut phases);
        phases.into_plan(repairs, refused)
    }

    fn bring_all(
        &mut self,
        desired: &[DesiredService],
        now: Time,
        phases: &mut Phases,
    ) -> (BTreeSet<ServiceKey>, Vec<Refusal>) {
        let mut kept = BTreeSet::new();
        let mut refused = Vec::new();
        for service in desired {
            if !kept.insert(service.key) {
                continue;
            }
            if let Err(reason) = self.bring(service, now, phases) {
                refused.push(Refusal {
                    service: service.key,
                    reason,
                });
            }
        }
        (kept, refused)
    }

    /// The index of a real server, removed ones with living connections included.
    #[must_use]
    pub fn backend_index(&self, service: ServiceKey, addr: IpAddr, port: u16) -> Option<u16> {
        let id = self.services.get(&service)?.value.id;
        self.by_addr.get(&(id, addr, port)).copied()
    }

    /// The id of a service that is not removed.
    #[must_use]
    pub fn id_of(&self, service: ServiceKey) -> Option<u16> {
        let service = self.services.get(&service)?;
        service.retired.is_none().then_some(service.value.id)
    }

    /// The service of an id, removed ones with living connections included.
    #[must_use]
    pub fn service_of(&self, id: u16) -> Option<ServiceKey> {
        self.by_id.get(&id).copied()
    }

    /// The services that have an id: `(id, key, removed)`.
    pub fn services(&self) -> impl Iterator<Item = (u16, ServiceKey, bool)> + '_ {
        self.services
            .iter()
            .map(|(key, s)| (s.value.id, *key, s.retired.is_some()))
    }

    /// The weight that is in force for a backend index.
    #[must_use]
    pub fn weight(&self, index: u16) -> Option<u16> {
        self.backends.get(&index).map(|row| row.value.weight)
    }

    /// The real servers that have an index: `(index, service id, address, port, removed)`.
    pub fn backends(&self) -> impl Iterator<Item = (u16, u16, IpAddr, u16, bool)> + '_ {
        self.backends.iter().map(|(index, row)| {
            let (addr, port) = row.endpoint();
            (*index, row.value.service, addr, port, row.retired.is_some())
        })
    }

    /// How the real servers that are reached are reached, as far as the maps say.
    pub fn links(&self) -> impl Iterator<Item = (IpAddr, Link)> + '_ {
        self.backends
            .values()
            .filter_map(|row| Some((row.endpoint().0, link_of(&row.value, &row.remote)?)))
    }

    /// Whether something that was removed still waits for its flows to end, so that a scan and
    /// [`release`](Self::release) are worth while.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        !self.retired_services.is_empty()
            || !self.retired_backends.is_empty()
            || self.sets.has_retired()
    }
}
