//! One service brought to what is desired.

use std::collections::HashSet;

use lb_common::maps::{
    Backend, Remote, SERVICE_ANY_PORT, SERVICE_COUNTS, SERVICE_EXPIRE_NODEST,
    SERVICE_EXPIRE_QUIESCENT, SERVICE_HASH_FALLBACK, SERVICE_HASH_PORT, SERVICE_LOCAL,
    SERVICE_ONE_PACKET, SERVICE_SLOPPY, SERVICE_TUNNEL, SERVICE_V6, SERVICE_WIDE, SLOT_DELETED,
    ServiceSlot, table_word, ticks,
};

use super::describe::{describe, describe_backend};
use super::desired::DesiredService;
use super::op::{Change, Op, RefusalReason};
use super::schedule;
use super::slots::Held;
use super::tables::{Phases, Row, Service, Tables};
use super::values::{
    backend_value, endpoint, is_tunnel, params, raw_key, slot_addr, timeout_set, usable,
    usable_link,
};
use crate::model::{Persistence, Protocol};
use crate::time::Time;

/// What was taken for a service and is given back when it is refused.
#[derive(Default)]
struct Taken {
    id: Option<u16>,
    indices: Vec<u16>,
    set: Option<u8>,
    base: Option<u32>,
}

/// One service while it is planned.
struct Target {
    /// In the order of the configuration.
    rows: Vec<(u16, Backend, Remote)>,
    value: ServiceSlot,
    table: Vec<u16>,
    /// The table is the one that it has.
    same_table: bool,
    slot: u32,
}

impl Tables {
    /// Brings one service to what is desired, or leaves it as it is.
    pub(super) fn bring(
        &mut self,
        desired: &DesiredService,
        now: Time,
        phases: &mut Phases,
    ) -> Result<(), RefusalReason> {
        let old = self.services.get(&desired.key);
        if old.is_some_and(|s| s.brought.as_ref() == Some(desired)) {
            return Ok(());
        }
        // Everything that may be refused comes before the first change of what is there.
        let mut taken = Taken::default();
        match self.target(desired, now, &mut taken, phases) {
            Ok(target) => {
                self.settle(desired, target, now, phases);
                Ok(())
            }
            Err(reason) => {
                taken.id.into_iter().for_each(|id| self.ids.free(id));
                taken.indices.iter().for_each(|i| self.indices.free(*i));
                taken
                    .set
                    .into_iter()
                    .for_each(|set| self.sets.leave(set, now));
                taken.base.into_iter().for_each(|b| self.arena.undo(b));
                Err(reason)
            }
        }
    }

    /// What a service is to look like, every real server with its index and the table with its place.
    fn target(
        &mut self,
        desired: &DesiredService,
        now: Time,
        taken: &mut Taken,
        phases: &mut Phases,
    ) -> Result<Target, RefusalReason> {
        let id = match self.services.get(&desired.key) {
            Some(old) => old.value.id,
            None => {
                taken.id = self.ids.take();
                taken.id.ok_or(RefusalReason::NoServiceId)?
            }
        };
        let parameters = self.parameters(desired, id);
        let (rows, table) = self.rows(desired, &parameters, taken)?;
        let own = timeout_set(&desired.timeouts, &self.defaults, self.hz);
        let set = self.sets.enter(own, &mut phases.timeouts);
        let set = set.ok_or(RefusalReason::NoTimeoutSet)?;
        taken.set = Some(set);

        let old = self.services.get(&desired.key);
        let live = old.filter(|s| s.retired.is_none());
        let same_table = live.is_some_and(|s| s.table == table);
        let (live_word, slot) = (live.map(|s| s.value.table), old.map(|s| s.slot));
        let word = match live_word {
            Some(word) if same_table => word,
            Some(_) | None if table.is_empty() => 0,
            Some(_) | None => {
                let len = u32::try_from(table.len()).map_err(|_| RefusalReason::NoArenaRoom)?;
                taken.base = self.arena.alloc(len, now);
                table_word(taken.base.ok_or(RefusalReason::NoArenaRoom)?, len)
            }
        };
        let slot = match slot {
            Some(slot) => slot,
            None => self
                .open_place(desired, phases)
                .ok_or(RefusalReason::NoSlot)?,
        };
        let value = ServiceSlot {
            table: word,
            timeouts: set,
            ..parameters
        };
        Ok(Target {
            rows,
            value,
            table,
            same_table,
            slot,
        })
    }

    /// The real servers with their indices, and the scheduling table over them.
    #[expect(
        clippy::type_complexity,
        reason = "two lists, named where they are used"
    )]
    fn rows(
        &mut self,
        desired: &DesiredService,
        service: &ServiceSlot,
        taken: &mut Taken,
    ) -> Result<(Vec<(u16, Backend, Remote)>, Vec<u16>), RefusalReason> {
        let mut rows = Vec::with_capacity(desired.backends.len());
        let mut candidates = Vec::with_capacity(desired.backends.len());
        let mut seen = HashSet::with_capacity(desired.backends.len());
        for backend in &desired.backends {
            if !seen.insert((backend.addr, backend.port)) {
                continue;
            }
            let index = match self.by_addr.get(&(service.id, backend.addr, backend.port)) {
                Some(index) => *index,
                None => {
                    let index = self.indices.take().ok_or(RefusalReason::NoBackendIndex)?;
                    taken.indices.push(index);
                    index
                }
            };
            let before = self.backends.get(&index).map(|r| r.remote.last_weight);
            let last_weight = [backend.weight, backend.full_weight]
                .into_iter()
                .find(|w| *w > 0)
                .or(before)
                .unwrap_or(0);
            let (value, remote) = backend_value(backend, service, last_weight);
            rows.push((index, value, remote));
            candidates.push(schedule::Candidate {
                index,
                addr: backend.addr,
                port: backend.port,
                weight: backend.weight,
                last_weight,
                up: backend.up,
                reachable: backend.local || usable_link(backend).is_some(),
            });
        }
        let table = schedule::table(desired, &candidates);
        Ok((rows, table))
    }

    /// The slot of a service but for its table and its set of timeouts.
    fn parameters(&self, desired: &DesiredService, id: u16) -> ServiceSlot {
        let is_v6 = desired.key.addr.is_ipv6();
        let is_any_port = desired.key.port == 0;
        let backends = &desired.backends;
        let sched = schedule::sched_of(desired.scheduler);
        let mut flags = 0;
        for (set, flag) in [
            (desired.sloppy, SERVICE_SLOPPY),
            (backends.iter().any(|b| b.local), SERVICE_LOCAL),
            (
                desired.ops && desired.key.protocol == Protocol::Udp,
                SERVICE_ONE_PACKET,
            ),
            (desired.expire_nodest_conn, SERVICE_EXPIRE_NODEST),
            (desired.expire_quiescent_template, SERVICE_EXPIRE_QUIESCENT),
            (desired.sched_flags.port, SERVICE_HASH_PORT),
            (desired.sched_flags.fallback, SERVICE_HASH_FALLBACK),
            (is_v6 || is_any_port, SERVICE_WIDE),
            (is_v6, SERVICE_V6),
            (is_any_port, SERVICE_ANY_PORT),
            (
                schedule::reads_counts(desired.scheduler)
                    || backends.iter().any(|b| b.uthreshold > 0),
                SERVICE_COUNTS,
            ),
            (backends.iter().any(is_tunnel), SERVICE_TUNNEL),
        ] {
            if set {
                flags |= flag;
            }
        }
        let (persist_ticks, persist_mask) = self.persistence(desired.persistence, is_v6);
        ServiceSlot {
            key: raw_key(desired.key),
            id,
            sched: sched as u8,
            flags,
            persist_ticks,
            persist_mask,
            addr: slot_addr(desired.key.addr),
            ..ServiceSlot::default()
        }
    }

    /// Time in ticks and mask of persistence. The mask stays whole when it is off, so that switching
    /// it on needs no order of stores.
    fn persistence(&self, persistence: Option<Persistence>, is_v6: bool) -> (u32, u32) {
        let secs = |p: Persistence| u32::try_from(p.timeout.as_secs()).unwrap_or(u32::MAX);
        let time = persistence.map_or(0, |p| ticks(secs(p).max(1), self.hz));
        let mask = if is_v6 {
            persistence.map_or(128, |p| u32::from(p.prefix_len.clamp(1, 128)))
        } else {
            let prefix_len = persistence.map_or(32, |p| u32::from(p.prefix_len.min(32)));
            u32::MAX.checked_shl(32 - prefix_len).unwrap_or(0).to_be()
        };
        (time, mask)
    }

    /// A slot for a new service, others moved out of its way.
    fn open_place(&mut self, desired: &DesiredService, phases: &mut Phases) -> Option<u32> {
        let (slot, moves) = self.slots.place(desired.key)?;
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

    /// Makes a target what is there.
    fn settle(&mut self, desired: &DesiredService, target: Target, now: Time, phases: &mut Phases) {
        let key = desired.key;
        let old = self.services.remove(&key);
        let is_new = old.is_none();
        let live = old.filter(|s| s.retired.is_none());
        match &live {
            None => phases.changes.push(Change::ServiceAdded {
                service: key,
                scheduler: desired.scheduler,
            }),
            Some(live) => phases
                .changes
                .extend(describe(desired, &live.value, &target.value)),
        }
        self.settle_backends(desired, &target, now, phases);
        let (slot, value) = (target.slot, target.value);
        if !target.same_table && !target.table.is_empty() {
            phases.tables.push(Op::Table {
                base: (value.table >> 32) as u32,
                entries: target.table.clone(),
            });
        }
        match live {
            None => {
                if is_new {
                    phases.tables.push(Op::ResetCursor { id: value.id });
                }
                phases.slots.push(Op::OpenSlot { slot, value });
                self.slots.set(slot, Some(Held::Live(key)));
                self.retired_services.remove(&key);
            }
            Some(live) => {
                if !target.same_table {
                    phases.slots.push(Op::SwitchTable {
                        slot,
                        table: value.table,
                    });
                    if !live.table.is_empty() {
                        self.arena.free((live.value.table >> 32) as u32, now);
                    }
                }
                if params(&live.value) != params(&value) {
                    phases.slots.push(Op::Params { slot, value });
                }
                if live.value.sched != value.sched {
                    // What one scheduler remembers there, a turn or a server, is nothing to another.
                    phases.slots.push(Op::ResetCursor { id: value.id });
                }
                self.sets.leave(live.value.timeouts, now);
            }
        }
        self.by_id.insert(value.id, key);
        self.services.insert(
            key,
            Service {
                slot,
                value,
                table: target.table,
                brought: Some(desired.clone()),
                retired: None,
            },
        );
    }

    /// Writes what differs of a service's real servers and retires those that it has no more.
    fn settle_backends(
        &mut self,
        desired: &DesiredService,
        target: &Target,
        now: Time,
        phases: &mut Phases,
    ) {
        let (service, id) = (desired.key, target.value.id);
        for &(index, value, remote) in &target.rows {
            let (addr, port) = endpoint(&value, &remote);
            let op = Op::Backend {
                index,
                value,
                remote,
            };
            let added = Change::BackendAdded {
                service,
                addr,
                port,
                weight: value.weight,
            };
            let new = Row {
                value,
                remote,
                retired: None,
            };
            match self.backends.insert(index, new) {
                None => {
                    phases.backends.push(Op::ResetCounters { index });
                    phases.backends.push(op);
                    phases.changes.push(added);
                    self.by_addr.insert((id, addr, port), index);
                }
                Some(old) => {
                    if (old.value, old.remote) != (value, remote) {
                        if usable(old.value.flags) & !usable(value.flags) != 0 {
                            phases.lower.push(op);
                        } else {
                            phases.backends.push(op);
                        }
                    }
                    if old.retired.is_some() {
                        self.retired_backends.remove(&index);
                        phases.changes.push(added);
                    } else if let Some(what) = describe_backend(&old, &value, &remote) {
                        phases.changes.push(Change::BackendChanged {
                            service,
                            addr,
                            port,
                            what,
                        });
                    }
                }
            }
        }
        let kept: HashSet<u16> = target.rows.iter().map(|(index, ..)| *index).collect();
        let gone: Vec<u16> = self
            .indices_of(id)
            .filter(|(index, row)| row.retired.is_none() && !kept.contains(index))
            .map(|(index, _)| index)
            .collect();
        for index in gone {
            self.retire_backend(index, now, phases);
            if let Some(row) = self.backends.get(&index) {
                let (addr, port) = row.endpoint();
                phases.changes.push(Change::BackendRemoved {
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
            "{service}"
        );
    }
}
