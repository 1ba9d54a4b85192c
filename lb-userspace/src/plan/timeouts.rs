//! Which sets of timeouts there are, and who uses them.

use std::collections::BTreeMap;

use lb_common::maps::{TIMEOUT_SETS, Timeouts};

use super::op::Op;
use crate::time::Time;

/// Sets beside set 0, which belongs to all services without timeouts of their own. Services with
/// equal timeouts share a set. One that no service uses any more stays for the flows that have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sets {
    /// Set 0.
    pub(super) default: Timeouts,
    rows: BTreeMap<u8, Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    value: Timeouts,
    /// Services that have it.
    users: u32,
    /// When the last one left.
    retired: Option<Time>,
}

impl Sets {
    /// Takes what the maps hold; sets that nobody is known to use may have flows.
    pub(super) fn adopt(held: &[Timeouts], now: Time) -> Sets {
        let mut sets = Sets {
            default: held.first().copied().unwrap_or_default(),
            rows: BTreeMap::new(),
        };
        let others = (0u8..).zip(held).skip(1);
        for (number, value) in others.filter(|(_, value)| **value != Timeouts::default()) {
            let row = Row {
                value: *value,
                users: 0,
                retired: Some(now),
            };
            sets.rows.insert(number, row);
        }
        sets
    }

    /// The set with these values and one user more; a new one is written by an operation. `None` when
    /// all are taken.
    pub(super) fn enter(&mut self, value: Timeouts, ops: &mut Vec<Op>) -> Option<u8> {
        if value == self.default {
            return Some(0);
        }
        if let Some((number, row)) = self.rows.iter_mut().find(|(_, row)| row.value == value) {
            row.users += 1;
            row.retired = None;
            return Some(*number);
        }
        let set = (1..TIMEOUT_SETS as u8).find(|n| !self.rows.contains_key(n))?;
        let row = Row {
            value,
            users: 1,
            retired: None,
        };
        self.rows.insert(set, row);
        ops.push(Op::Timeouts { set, value });
        Some(set)
    }

    /// A service with this set is known of.
    pub(super) fn join(&mut self, set: u8) {
        if let Some(row) = self.rows.get_mut(&set) {
            row.users += 1;
            row.retired = None;
        }
    }

    /// A service leaves its set.
    pub(super) fn leave(&mut self, set: u8, now: Time) {
        if let Some(row) = self.rows.get_mut(&set) {
            row.users = row.users.saturating_sub(1);
            if row.users == 0 {
                row.retired = Some(now);
            }
        }
    }

    /// Whether a set waits for its flows to end.
    pub(super) fn has_retired(&self) -> bool {
        self.rows.values().any(|row| row.retired.is_some())
    }

    /// Gives free what was left at a time that is `over` and is not among `used` (a bit for each).
    pub(super) fn release(
        &mut self,
        over: impl Fn(Option<Time>) -> bool,
        used: u64,
        ops: &mut Vec<Op>,
    ) {
        self.rows.retain(|set, row| {
            let keep = !over(row.retired) || used >> set & 1 != 0;
            if !keep {
                ops.push(Op::Timeouts {
                    set: *set,
                    value: Timeouts::default(),
                });
            }
            keep
        });
    }

    /// Forgets when things were left: for comparing books.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        for row in self.rows.values_mut() {
            row.retired = row.retired.map(|_| Time::ZERO);
        }
    }
}
