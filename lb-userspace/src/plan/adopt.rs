//! The books rebuilt from what the maps hold.

use lb_common::maps::{
    BACKEND_REMOVED, Backend, Remote, SLOT_DELETED, ServiceSlot, TIMEOUT_SETS, Timeouts,
};

use super::op::Op;
use super::slots::{Held, in_reach};
use super::tables::{Row, Service, Tables};
use super::timeouts::Sets;
use super::values::service_of_key;
use crate::time::Time;

/// What the maps hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// Jiffies per second, from the settings.
    pub hz: u32,
    /// The settings' rate of new flows.
    pub flood_rate: u32,
    /// The slots that are not all zero, by number, each with the entries of the table to which it
    /// refers (none when that lies outside the arena).
    pub services: Vec<(u32, ServiceSlot, Vec<u16>)>,
    /// The backends that are not all zero, by index, and what lies beside each.
    pub backends: Vec<(u16, Backend, Remote)>,
    /// The sets of timeouts by number; one that is all zero is free.
    pub timeouts: Vec<Timeouts>,
}

impl Tables {
    /// Rebuilds the books. What a daemon left half done when it was killed is put right by the next
    /// plan: a service that was about to move and lies in two slots, a table that was never referred
    /// to, a real server whose service was never opened.
    #[must_use]
    pub fn adopt(dump: &Dump, now: Time) -> Tables {
        let mut tables = Tables::new(dump.hz);
        tables.flood_rate = dump.flood_rate;
        tables.sets = Sets::adopt(&dump.timeouts, now);
        for (slot, value, entries) in &dump.services {
            if value.key != 0 && value.key != SLOT_DELETED {
                tables.adopt_live(*slot, value, entries);
            }
        }
        for (slot, value, _) in &dump.services {
            if value.key == SLOT_DELETED {
                tables.adopt_removed(*slot, value, now);
            }
        }
        for (index, value, remote) in &dump.backends {
            tables.adopt_backend(*index, value, remote, now);
        }
        tables
    }

    fn adopt_live(&mut self, slot: u32, value: &ServiceSlot, entries: &[u16]) {
        let key = service_of_key(value.key, value.addr)
            .filter(|key| in_reach(*key, slot) && !self.services.contains_key(key));
        // Of two copies either may stay: they are alike but for the place.
        let Some(key) = key.filter(|_| self.ids.claim(value.id)) else {
            self.slots.set(slot, Some(Held::Tombstone));
            self.repairs.push(Op::ClearSlot {
                slot,
                key: SLOT_DELETED,
            });
            return;
        };
        let mut value = *value;
        let (base, len) = ((value.table >> 32) as u32, value.table as u32);
        let mut table = Vec::new();
        if entries.len() == len as usize && self.arena.claim(base, len) {
            table.extend_from_slice(entries);
        } else if value.table != 0 {
            value.table = 0;
            self.repairs.push(Op::SwitchTable { slot, table: 0 });
        }
        if u32::from(value.timeouts) < TIMEOUT_SETS {
            self.sets.join(value.timeouts);
        }
        self.by_id.insert(value.id, key);
        self.slots.set(slot, Some(Held::Live(key)));
        self.services.insert(
            key,
            Service {
                slot,
                value,
                table,
                brought: None,
                retired: None,
            },
        );
    }

    fn adopt_removed(&mut self, slot: u32, value: &ServiceSlot, now: Time) {
        let key = service_of_key(value.removed_key, value.addr)
            .filter(|key| in_reach(*key, slot) && !self.services.contains_key(key));
        let Some(key) = key.filter(|_| self.ids.claim(value.id)) else {
            self.slots.set(slot, Some(Held::Tombstone));
            return;
        };
        let value = ServiceSlot {
            key: value.removed_key,
            removed_key: 0,
            ..*value
        };
        self.by_id.insert(value.id, key);
        self.retired_services.insert(key);
        self.slots.set(slot, Some(Held::Retired(key)));
        self.services.insert(
            key,
            Service {
                slot,
                value,
                table: Vec::new(),
                brought: None,
                retired: Some(now),
            },
        );
    }

    fn adopt_backend(&mut self, index: u16, value: &Backend, remote: &Remote, now: Time) {
        if value.service == 0 || !self.indices.claim(index) {
            return;
        }
        let mut row = Row {
            value: *value,
            remote: *remote,
            retired: None,
        };
        let owned = self
            .by_id
            .get(&value.service)
            .is_some_and(|key| !self.retired_services.contains(key));
        // The id of a service of which only this is left stays taken.
        self.ids.claim(value.service);
        let (addr, port) = row.endpoint();
        let place = (value.service, addr, port);
        let first = !self.by_addr.contains_key(&place);
        if first {
            self.by_addr.insert(place, index);
        }
        if value.flags & BACKEND_REMOVED != 0 || !owned || !first {
            row.retired = Some(now);
            self.retired_backends.insert(index);
        }
        self.backends.insert(index, row);
    }
}
