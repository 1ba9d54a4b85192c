//! One service brought to what is desired.

use std::net::IpAddr;

use lb_common::maps::{
    SERVICE_LOCAL, SERVICE_SLOPPY, SLOT_DELETED, ServiceSlot, table_word, ticks,
};

use super::describe::{describe, describe_backend};
use super::desired::DesiredService;
use super::op::{Change, Op, RefusalReason};
use super::schedule;
use super::slots::Held;
use super::tables::{Phases, Row, Service, Tables, Target};
use super::values::{backend_value, endpoint, params, usable};
use crate::time::Time;

impl Tables {
    /// Brings one service to what is desired, or leaves it as it is.
    #[allow(clippy::too_many_arguments)] // The allocators borrow the old books, so they stay apart.
    pub(super) fn bring(
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
}
