//! The maps in memory, and what the program would make of them.

use std::collections::BTreeMap;

use lb_common::maps::{
    Backend, Remote, SERVICE_PROBES, SERVICE_SLOTS, SLOT_DELETED, ServiceSlot, TIMEOUT_SETS,
    Timeouts,
};

use super::adopt::Dump;
use super::op::Op;
use super::slots::home;
use super::values::{raw_key, service_of_key, slot_addr};
use crate::model::ServiceKey;

/// Jiffies per second.
pub(super) const HZ: u32 = 250;

/// The maps, sparse.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeMaps {
    pub(super) slots: BTreeMap<u32, ServiceSlot>,
    pub(super) backends: BTreeMap<u16, (Backend, Remote)>,
    pub(super) timeouts: BTreeMap<u8, Timeouts>,
    pub(super) flood_rate: u32,
    pub(super) sched: Vec<u16>,
    /// Backend indices whose counters were zeroed and not yet used.
    pub(super) fresh: Vec<u16>,
}

impl FakeMaps {
    /// Applies one operation; panics when it would disturb a running program.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Timeouts { set, value } => {
                let used = |s: &&ServiceSlot| s.key != 0 && s.timeouts == *set;
                if *set != 0 && *value == Timeouts::default() {
                    assert!(
                        !self
                            .slots
                            .values()
                            .any(|s| used(&s) && s.key != SLOT_DELETED),
                        "a set of a live service is given free"
                    );
                }
                self.timeouts.insert(*set, *value);
            }
            Op::FloodRate(rate) => self.flood_rate = *rate,
            Op::ResetCounters { index } => {
                assert!(
                    !self.backends.contains_key(index),
                    "counters of a used index are zeroed"
                );
                self.fresh.push(*index);
            }
            Op::Backend {
                index,
                value,
                remote,
            } => {
                assert!(*index != 0 && value.service != 0);
                if !self.backends.contains_key(index) {
                    assert!(
                        self.fresh.contains(index),
                        "a new index keeps its old counters"
                    );
                    self.fresh.retain(|i| i != index);
                }
                self.backends.insert(*index, (*value, *remote));
            }
            Op::Table { base, entries } => {
                let (base, len) = (*base as usize, entries.len());
                let end = (base + len).next_multiple_of(4);
                for (slot, value) in &self.slots {
                    if value.key != 0 && value.key != SLOT_DELETED {
                        let (b, l) = ((value.table >> 32) as usize, value.table as u32 as usize);
                        assert!(
                            l == 0 || end <= b || base >= (b + l).next_multiple_of(4),
                            "slot {slot} uses {b}+{l}"
                        );
                    }
                }
                if self.sched.len() < end {
                    self.sched.resize(end, 0);
                }
                self.sched[base..end].fill(0);
                self.sched[base..base + len].copy_from_slice(entries);
            }
            // Turns are not kept here.
            Op::ResetCursor { id: _ } => {}
            Op::OpenSlot { slot, value } => {
                assert!(value.key != 0 && value.key != SLOT_DELETED && value.id != 0);
                let old = self.slots.insert(*slot, *value);
                assert!(
                    old.is_none_or(|o| o.key == SLOT_DELETED || o.key == 0),
                    "a live slot is overwritten"
                );
            }
            Op::SwitchTable { slot, table } => self.live(*slot).table = *table,
            Op::Params { slot, value } => {
                let s = self.live(*slot);
                *s = ServiceSlot {
                    key: s.key,
                    table: s.table,
                    ..*value
                };
            }
            Op::CloseSlot { slot, key } => {
                let s = self.live(*slot);
                assert_eq!(s.key, *key);
                s.removed_key = *key;
                s.key = SLOT_DELETED;
            }
            Op::ClearSlot { slot, key } => {
                self.slots.remove(slot);
                if *key != 0 {
                    self.slots.insert(
                        *slot,
                        ServiceSlot {
                            key: *key,
                            ..ServiceSlot::default()
                        },
                    );
                }
            }
            Op::FreeBackend { index } => {
                assert!(self.backends.remove(index).is_some());
            }
        }
    }

    fn live(&mut self, slot: u32) -> &mut ServiceSlot {
        let s = self.slots.get_mut(&slot).expect("an open slot");
        assert!(
            s.key != 0 && s.key != SLOT_DELETED,
            "slot {slot} is not open"
        );
        s
    }

    /// What the program finds for a key.
    pub(super) fn lookup(&self, key: ServiceKey) -> Option<(u32, ServiceSlot)> {
        let (raw, addr) = (raw_key(key), slot_addr(key.addr));
        for probe in 0..SERVICE_PROBES {
            let slot = (home(key) + probe) & (SERVICE_SLOTS - 1);
            match self.slots.get(&slot) {
                None => return None,
                Some(s) if s.key == raw && s.addr == addr => return Some((slot, *s)),
                Some(s) if s.key == 0 => return None,
                Some(_) => {}
            }
        }
        None
    }

    /// The table that the program uses for a service.
    pub(super) fn table(&self, service: &ServiceSlot) -> Vec<u16> {
        let (base, len) = (
            (service.table >> 32) as usize,
            service.table as u32 as usize,
        );
        if len == 0 {
            Vec::new()
        } else {
            self.sched[base..base + len].to_vec()
        }
    }

    /// Panics when a service that the program finds names a real server that was not written.
    pub(super) fn check(&self) {
        for value in self
            .slots
            .values()
            .filter(|s| s.key != 0 && s.key != SLOT_DELETED)
        {
            let key = service_of_key(value.key, value.addr).expect("a slot's key is one");
            let (_, found) = self.lookup(key).expect("an open service is found");
            assert_eq!(found.id, value.id, "one service, one id");
            for index in self.table(value).into_iter().filter(|i| *i != 0) {
                let (backend, _) = self
                    .backends
                    .get(&index)
                    .expect("a table names a backend that was never written");
                assert_eq!(
                    backend.service, value.id,
                    "a table names a real server of another service"
                );
            }
        }
    }

    pub(super) fn dump(&self) -> Dump {
        Dump {
            hz: HZ,
            flood_rate: self.flood_rate,
            services: self
                .slots
                .iter()
                .map(|(slot, v)| (*slot, *v, self.table(v)))
                .collect(),
            backends: self
                .backends
                .iter()
                .map(|(i, (b, r))| (*i, *b, *r))
                .collect(),
            timeouts: (0..TIMEOUT_SETS as u8)
                .map(|set| self.timeouts.get(&set).copied().unwrap_or_default())
                .collect(),
        }
    }
}
