//! What is no longer desired: closed, kept for its flows, given free in the end.

use std::collections::BTreeSet;

use lb_common::maps::{BACKEND_DOWN, BACKEND_REMOVED, SLOT_DELETED};

use super::op::{Change, Op};
use super::slots::Held;
use super::tables::{GRACE, Phases, Refs, Row, Tables};
use super::values::service_of_key;
use crate::time::Time;

impl Tables {
    /// The rows of a service.
    pub(super) fn indices_of(&self, id: u16) -> impl Iterator<Item = (u16, &Row)> {
        self.by_addr
            .range((id, 0, 0)..=(id, u32::MAX, u16::MAX))
            .filter_map(|(_, i)| Some((*i, self.backends.get(i)?)))
    }

    /// Marks a real server as removed: it keeps its established connections.
    pub(super) fn retire_backend(&mut self, index: u16, now: Time, phases: &mut Phases) {
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
    pub(super) fn retire_others(
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
    pub(super) fn release(&mut self, refs: &Refs, ops: &mut Vec<Op>) {
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
