//! The books rebuilt from what the maps hold.

use std::collections::BTreeSet;

use lb_common::maps::{BACKEND_REMOVED, Backend, SLOT_DELETED, ServiceSlot};

use super::op::Op;
use super::slots::{Held, in_reach};
use super::tables::{Row, Service, Tables};
use super::values::service_of_key;
use crate::time::Time;

/// What the maps hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// Jiffies per second, from the settings.
    pub hz: u32,
    /// The slots that are not all zero, by number.
    pub services: Vec<(u32, ServiceSlot)>,
    /// The backends that are not all zero, by index.
    pub backends: Vec<(u16, Backend)>,
    /// The arena of scheduling tables, entry by entry.
    pub sched: Vec<u16>,
}

impl Tables {
    /// Rebuilds the books. What a daemon left half done when it was killed is put right by the next
    /// plan: a service that was about to move and lies in two slots, a table that was never referred
    /// to, a real server whose service was never opened.
    #[must_use]
    pub fn adopt(dump: &Dump, now: Time) -> Tables {
        let mut tables = Tables::new(dump.hz);
        for (slot, value) in &dump.services {
            if value.key != 0 && value.key != SLOT_DELETED {
                tables.adopt_live(*slot, value, &dump.sched);
            }
        }
        for (slot, value) in &dump.services {
            if value.key == SLOT_DELETED {
                tables.adopt_removed(*slot, value, now);
            }
        }
        let live: BTreeSet<u16> = tables
            .services
            .values()
            .filter(|s| s.retired.is_none())
            .map(|s| s.value.id)
            .collect();
        for (index, value) in &dump.backends {
            tables.adopt_backend(*index, value, live.contains(&value.service), now);
        }
        tables
    }

    /// Whether a live or removed service has this id.
    fn id_taken(&self, id: u16) -> bool {
        id == 0 || self.services.values().any(|s| s.value.id == id)
    }

    fn adopt_live(&mut self, slot: u32, value: &ServiceSlot, sched: &[u16]) {
        let key = value.key;
        // Of two copies either may stay: they are alike but for the place.
        if service_of_key(key).is_none() || !in_reach(key, slot) || self.id_taken(value.id) {
            self.slots.set(slot, Some(Held::Tombstone));
            self.repairs.push(Op::ClearSlot {
                slot,
                key: SLOT_DELETED,
            });
            return;
        }
        let mut value = *value;
        let (base, len) = ((value.table >> 32) as u32, value.table as u32);
        let range = base as usize..(base as usize).saturating_add(len as usize);
        let table = match sched.get(range) {
            Some(entries) if len > 0 && self.arena.claim(base, len) => entries.to_vec(),
            Some(_) | None => Vec::new(),
        };
        if table.is_empty() && value.table != 0 {
            value.table = 0;
            self.repairs.push(Op::SwitchTable { slot, table: 0 });
        }
        self.slots.set(slot, Some(Held::Live(key)));
        self.services.insert(
            key,
            Service {
                slot,
                value,
                table,
                retired: None,
            },
        );
    }

    fn adopt_removed(&mut self, slot: u32, value: &ServiceSlot, now: Time) {
        let key = value.removed_key;
        if service_of_key(key).is_none()
            || self.id_taken(value.id)
            || self.services.contains_key(&key)
        {
            self.slots.set(slot, Some(Held::Tombstone));
            return;
        }
        let mut value = ServiceSlot { key, ..*value };
        value.removed_key = 0;
        self.slots.set(slot, Some(Held::Retired(key)));
        self.services.insert(
            key,
            Service {
                slot,
                value,
                table: Vec::new(),
                retired: Some(now),
            },
        );
    }

    fn adopt_backend(&mut self, index: u16, value: &Backend, owned: bool, now: Time) {
        if index == 0 || value.service == 0 {
            return;
        }
        let place = (value.service, value.addr, value.port);
        let first = !self.by_addr.contains_key(&place);
        let removed = value.flags & BACKEND_REMOVED != 0 || !owned || !first;
        if first {
            self.by_addr.insert(place, index);
        }
        self.backends.insert(
            index,
            Row {
                value: *value,
                retired: removed.then_some(now),
            },
        );
    }
}
