//! The books of the data plane and the plan that brings it to what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_REMOVED, BACKEND_RESOLVED, Backend, MAX_BACKENDS,
    MAX_SERVICES, SERVICE_LOCAL, SERVICE_SLOPPY, SLOT_DELETED, ServiceSlot, service_key,
    table_word, ticks,
};

use super::arena::Arena;
use super::desired::{DesiredBackend, DesiredService};
use super::op::{Change, Op, Refusal, RefusalReason, scheduler_name};
use super::schedule;
use super::slots::{Held, Slots};
use crate::model::{Protocol, ServiceKey};
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
struct Phases {
    /// New and improved real servers.
    backends: Vec<Op>,
    tables: Vec<Op>,
    slots: Vec<Op>,
    close: Vec<Op>,
    /// Real servers that get worse or go.
    lower: Vec<Op>,
    release: Vec<Op>,
}

/// One service while it is planned.
struct Target<'a> {
    desired: &'a DesiredService,
    key: u64,
    id: u16,
    /// In the order of the configuration.
    rows: Vec<(u16, Backend)>,
    /// The whole slot but for its table.
    value: ServiceSlot,
    table: Vec<u16>,
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

    /// Brings one service to what is desired, or leaves it as it is.
    #[allow(clippy::too_many_arguments)] // The allocators borrow the old books, so they stay apart.
    fn bring(
        &mut self,
        desired: &DesiredService,
        key: u64,
        now: Time,
        free_ids: &mut impl Iterator<Item = u16>,
        free_indices: &mut impl Iterator<Item = u16>,
        phases: &mut Phases,
        changes: &mut Vec<Change>,
    ) -> Result<(), RefusalReason> {
        let old = self.services.get(&key).cloned();
        let live = old.as_ref().filter(|s| s.retired.is_none());
        let id = match &old {
            Some(old) => old.value.id,
            None => free_ids.next().ok_or(RefusalReason::NoServiceId)?,
        };
        let target = self.target(desired, key, id, free_indices)?;

        // Everything that may be refused comes before the first change of the books.
        let same_table = live.is_some_and(|s| s.table == target.table);
        let base = if same_table || target.table.is_empty() {
            None
        } else {
            let len = u32::try_from(target.table.len()).map_err(|_| RefusalReason::NoArenaRoom)?;
            Some(
                self.arena
                    .alloc(len, now)
                    .ok_or(RefusalReason::NoArenaRoom)?,
            )
        };
        let word = match (live, same_table, base) {
            (Some(live), true, _) => live.value.table,
            (_, _, Some(base)) => table_word(base, target.table.len() as u32),
            (_, _, None) => 0,
        };
        let value = ServiceSlot {
            table: word,
            ..target.value
        };
        let slot = match &old {
            Some(old) => old.slot,
            None => match self.open_place(key, phases) {
                Some(slot) => slot,
                None => {
                    if let Some(base) = base {
                        self.arena.undo(base);
                    }
                    return Err(RefusalReason::NoSlot);
                }
            },
        };

        match live {
            None => changes.push(Change::ServiceAdded {
                service: desired.key,
                scheduler: desired.scheduler,
            }),
            Some(live) => changes.extend(describe(desired, &live.value, &value)),
        }
        self.bring_backends(&target, now, phases, changes);
        if let Some(base) = base {
            phases.tables.push(Op::Table {
                base,
                entries: target.table.clone(),
            });
        }
        match live {
            None => {
                if old.is_none() {
                    phases.tables.push(Op::ResetCursor { id });
                }
                phases.slots.push(Op::OpenSlot { slot, value });
                self.slots.set(slot, Some(Held::Live(key)));
            }
            Some(live) => {
                if !same_table {
                    phases.slots.push(Op::SwitchTable { slot, table: word });
                    if !live.table.is_empty() {
                        self.arena.free((live.value.table >> 32) as u32, now);
                    }
                }
                if params(&live.value) != params(&value) {
                    phases.slots.push(Op::Params { slot, value });
                }
            }
        }
        self.services.insert(
            key,
            Service {
                slot,
                value,
                table: target.table,
                retired: None,
            },
        );
        Ok(())
    }

    /// What a service is to look like, every real server with its index.
    fn target<'a>(
        &self,
        desired: &'a DesiredService,
        key: u64,
        id: u16,
        free_indices: &mut impl Iterator<Item = u16>,
    ) -> Result<Target<'a>, RefusalReason> {
        let mut rows = Vec::with_capacity(desired.backends.len());
        let mut candidates = Vec::with_capacity(desired.backends.len());
        for backend in &desired.backends {
            let IpAddr::V4(addr) = backend.addr else {
                return Err(RefusalReason::NotIpv4);
            };
            let value = backend_value(backend, addr, id);
            let index = match self.by_addr.get(&(id, value.addr, value.port)) {
                Some(index) => *index,
                None => free_indices.next().ok_or(RefusalReason::NoBackendIndex)?,
            };
            if rows.iter().any(|(i, _)| *i == index) {
                continue;
            }
            rows.push((index, value));
            candidates.push(schedule::Candidate {
                index,
                weight: backend.weight,
                up: backend.up,
                reachable: backend.local || backend.link.is_some(),
            });
        }
        let mut flags = 0;
        if desired.sloppy {
            flags |= SERVICE_SLOPPY;
        }
        if desired.backends.iter().any(|b| b.local) {
            flags |= SERVICE_LOCAL;
        }
        let (persist_ticks, persist_mask) = match desired.persistence {
            Some(p) => {
                let secs = u32::try_from(p.timeout.as_secs())
                    .unwrap_or(u32::MAX)
                    .max(1);
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(p.prefix_len.min(32)))
                    .unwrap_or(0);
                (ticks(secs, self.hz), mask.to_be())
            }
            // The mask stays whole, so that switching persistence on needs no order of stores.
            None => (0, u32::MAX),
        };
        let value = ServiceSlot {
            key,
            id,
            sched: schedule::sched_of(desired.scheduler) as u8,
            flags,
            persist_ticks,
            persist_mask,
            ..ServiceSlot::default()
        };
        let table = schedule::table(desired.scheduler, &candidates);
        Ok(Target {
            desired,
            key,
            id,
            rows,
            value,
            table,
        })
    }

    /// A slot for a new service, others moved out of its way.
    fn open_place(&mut self, key: u64, phases: &mut Phases) -> Option<u32> {
        let (slot, moves) = self.slots.place(key)?;
        for step in moves {
            let Some(service) = self.services.get_mut(&step.key) else {
                continue;
            };
            phases.slots.push(Op::OpenSlot {
                slot: step.to,
                value: service.value,
            });
            phases.slots.push(Op::ClearSlot {
                slot: step.from,
                key: SLOT_DELETED,
            });
            service.slot = step.to;
            self.slots.set(step.to, Some(Held::Live(step.key)));
            self.slots.set(step.from, Some(Held::Tombstone));
        }
        Some(slot)
    }

    /// Writes what differs of a service's real servers and retires those that it has no more.
    fn bring_backends(
        &mut self,
        target: &Target<'_>,
        now: Time,
        phases: &mut Phases,
        changes: &mut Vec<Change>,
    ) {
        let service = target.desired.key;
        for (index, value) in &target.rows {
            let (addr, port) = endpoint(value);
            match self.backends.get(index) {
                None => {
                    phases.backends.push(Op::ResetCounters { index: *index });
                    phases.backends.push(Op::Backend {
                        index: *index,
                        value: *value,
                    });
                    changes.push(Change::BackendAdded {
                        service,
                        addr,
                        port,
                        weight: value.weight,
                    });
                }
                Some(row) => {
                    if row.value != *value {
                        let op = Op::Backend {
                            index: *index,
                            value: *value,
                        };
                        if usable(row.value.flags) & !usable(value.flags) != 0 {
                            phases.lower.push(op);
                        } else {
                            phases.backends.push(op);
                        }
                    }
                    if row.retired.is_some() {
                        changes.push(Change::BackendAdded {
                            service,
                            addr,
                            port,
                            weight: value.weight,
                        });
                    } else if let Some(what) = describe_backend(&row.value, value) {
                        changes.push(Change::BackendChanged {
                            service,
                            addr,
                            port,
                            what,
                        });
                    }
                }
            }
            self.by_addr
                .insert((target.id, value.addr, value.port), *index);
            self.backends.insert(
                *index,
                Row {
                    value: *value,
                    retired: None,
                },
            );
        }
        let gone: Vec<u16> = self
            .indices_of(target.id)
            .filter(|(index, row)| {
                row.retired.is_none() && !target.rows.iter().any(|(i, _)| i == index)
            })
            .map(|(index, _)| index)
            .collect();
        for index in gone {
            self.retire_backend(index, now, phases);
            if let Some(row) = self.backends.get(&index) {
                let (addr, port) = endpoint(&row.value);
                changes.push(Change::BackendRemoved {
                    service,
                    addr,
                    port,
                });
            }
        }
        debug_assert!(
            target
                .table
                .iter()
                .all(|i| *i == 0 || self.backends.contains_key(i)),
            "{:x}",
            target.key
        );
    }

    /// The rows of a service.
    fn indices_of(&self, id: u16) -> impl Iterator<Item = (u16, &Row)> {
        self.by_addr
            .range((id, 0, 0)..=(id, u32::MAX, u16::MAX))
            .filter_map(|(_, i)| Some((*i, self.backends.get(i)?)))
    }

    /// Marks a real server as removed: it keeps its established connections.
    fn retire_backend(&mut self, index: u16, now: Time, phases: &mut Phases) {
        if let Some(row) = self.backends.get_mut(&index) {
            row.retired = Some(now);
            row.value.flags |= BACKEND_DOWN | BACKEND_REMOVED;
            phases.lower.push(Op::Backend {
                index,
                value: row.value,
            });
        }
    }

    /// Removes the services that are not in `kept`.
    fn retire_others(
        &mut self,
        kept: &BTreeSet<u64>,
        now: Time,
        phases: &mut Phases,
        changes: &mut Vec<Change>,
    ) {
        let gone: Vec<u64> = self
            .services
            .iter()
            .filter(|(key, s)| s.retired.is_none() && !kept.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            let Some(service) = self.services.get_mut(&key) else {
                continue;
            };
            let (slot, id) = (service.slot, service.value.id);
            service.retired = Some(now);
            let had_table = !std::mem::take(&mut service.table).is_empty();
            let base = (service.value.table >> 32) as u32;
            if had_table {
                self.arena.free(base, now);
            }
            self.slots.set(slot, Some(Held::Retired(key)));
            phases.close.push(Op::CloseSlot { slot, key });
            let backends: Vec<u16> = self
                .indices_of(id)
                .filter(|(_, r)| r.retired.is_none())
                .map(|(i, _)| i)
                .collect();
            for index in backends {
                self.retire_backend(index, now, phases);
            }
            if let Some(service) = service_of_key(key) {
                changes.push(Change::ServiceRemoved { service });
            }
        }
    }

    /// Gives free what was removed long enough before `refs` was taken and is not in it.
    fn release(&mut self, refs: &Refs, ops: &mut Vec<Op>) {
        let over = |retired: Option<Time>| retired.is_some_and(|at| refs.taken_at >= at + GRACE);
        let free: Vec<u16> = self
            .backends
            .iter()
            .filter(|(index, row)| over(row.retired) && !refs.backends.contains(index))
            .map(|(index, _)| *index)
            .collect();
        for index in free {
            if let Some(row) = self.backends.remove(&index) {
                let key = (row.value.service, row.value.addr, row.value.port);
                if self.by_addr.get(&key) == Some(&index) {
                    self.by_addr.remove(&key);
                }
                ops.push(Op::FreeBackend { index });
            }
        }
        let free: Vec<u64> = self
            .services
            .iter()
            .filter(|(_, s)| over(s.retired) && !refs.services.contains(&s.value.id))
            .filter(|(_, s)| self.indices_of(s.value.id).next().is_none())
            .map(|(key, _)| *key)
            .collect();
        for key in free {
            if let Some(service) = self.services.remove(&key) {
                self.slots.set(service.slot, Some(Held::Tombstone));
                let passed = self.slots.is_passed_over(service.slot);
                ops.push(Op::ClearSlot {
                    slot: service.slot,
                    key: if passed { SLOT_DELETED } else { 0 },
                });
                if !passed {
                    self.slots.set(service.slot, None);
                }
            }
        }
        for slot in self.slots.idle_tombstones() {
            self.slots.set(slot, None);
            ops.push(Op::ClearSlot { slot, key: 0 });
        }
    }
}

/// An IPv4 address as it lies in a packet.
pub(super) fn wire(addr: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(addr.octets())
}

/// The key as the program computes it; `None` when the address is not IPv4.
pub(super) fn raw_key(key: ServiceKey) -> Option<u64> {
    match key.addr {
        IpAddr::V4(addr) => Some(service_key(
            wire(addr),
            key.port.to_be(),
            key.protocol.number(),
        )),
        IpAddr::V6(_) => None,
    }
}

/// The service of a raw key; `None` when its protocol is none that we know.
pub(super) fn service_of_key(key: u64) -> Option<ServiceKey> {
    let protocol = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|p| u64::from(p.number()) == key & 0xff)?;
    let addr = IpAddr::V4(Ipv4Addr::from(((key >> 32) as u32).to_ne_bytes()));
    Some(ServiceKey {
        addr,
        port: u16::from_be((key >> 16) as u16),
        protocol,
    })
}

/// The value of a real server.
fn backend_value(backend: &DesiredBackend, addr: Ipv4Addr, service: u16) -> Backend {
    let mut flags = 0;
    if !backend.up {
        flags |= BACKEND_DOWN;
    }
    if backend.local {
        flags |= BACKEND_LOCAL;
    }
    let mut value = Backend {
        service,
        addr: wire(addr),
        port: backend.port.to_be(),
        weight: backend.weight,
        ..Backend::default()
    };
    if let Some(link) = backend.link {
        flags |= BACKEND_RESOLVED;
        value.dmac = link.dmac;
        value.smac = link.smac;
        value.ifindex = link.ifindex;
    }
    value.flags = flags;
    value
}

/// What a real server is good for, as bits: taking new connections, being reached.
fn usable(flags: u16) -> u8 {
    u8::from(flags & BACKEND_DOWN == 0)
        | u8::from(flags & (BACKEND_RESOLVED | BACKEND_LOCAL) != 0) << 1
}

/// Address and port of a real server.
fn endpoint(value: &Backend) -> (IpAddr, u16) {
    (
        IpAddr::V4(Ipv4Addr::from(value.addr.to_ne_bytes())),
        u16::from_be(value.port),
    )
}

/// The parameters of a slot: all but key and table.
fn params(slot: &ServiceSlot) -> ServiceSlot {
    ServiceSlot {
        key: 0,
        table: 0,
        ..*slot
    }
}

/// Which parameters of a service change.
fn describe(desired: &DesiredService, old: &ServiceSlot, new: &ServiceSlot) -> Vec<Change> {
    let mut what = Vec::new();
    if old.sched != new.sched {
        what.push(format!(
            "scheduler becomes {}",
            scheduler_name(desired.scheduler)
        ));
    }
    if (old.flags ^ new.flags) & SERVICE_SLOPPY != 0 {
        what.push(format!(
            "sloppy {}",
            if desired.sloppy { "on" } else { "off" }
        ));
    }
    if (old.persist_ticks, old.persist_mask) != (new.persist_ticks, new.persist_mask) {
        what.push(match desired.persistence {
            Some(p) => format!("persistence {} s /{}", p.timeout.as_secs(), p.prefix_len),
            None => "persistence off".to_owned(),
        });
    }
    what.into_iter()
        .map(|what| Change::ServiceChanged {
            service: desired.key,
            what,
        })
        .collect()
}

/// What changes of a real server, for people.
fn describe_backend(old: &Backend, new: &Backend) -> Option<String> {
    let mut what = Vec::new();
    if old.weight != new.weight {
        what.push(format!("weight {} -> {}", old.weight, new.weight));
    }
    if (old.flags ^ new.flags) & BACKEND_DOWN != 0 {
        what.push(
            if new.flags & BACKEND_DOWN == 0 {
                "up"
            } else {
                "down"
            }
            .to_owned(),
        );
    }
    let mac = |b: &Backend| b.dmac.map(|byte| format!("{byte:02x}")).join(":");
    match (
        old.flags & BACKEND_RESOLVED != 0,
        new.flags & BACKEND_RESOLVED != 0,
    ) {
        (false, true) => what.push(format!("MAC {}", mac(new))),
        (true, false) => what.push("MAC lost".to_owned()),
        (true, true) if old.dmac != new.dmac => {
            what.push(format!("MAC {} -> {}", mac(old), mac(new)))
        }
        (true, true) if (old.smac, old.ifindex) != (new.smac, new.ifindex) => {
            what.push(format!(
                "outgoing interface index {} -> {}",
                old.ifindex, new.ifindex
            ));
        }
        (true, true) | (false, false) => {}
    }
    if (old.flags ^ new.flags) & BACKEND_LOCAL != 0 {
        what.push(
            if new.flags & BACKEND_LOCAL == 0 {
                "no longer this host"
            } else {
                "is this host"
            }
            .to_owned(),
        );
    }
    (!what.is_empty()).then(|| what.join(", "))
}
