//! Where services lie in the open-addressed table.
//!
//! A service lies at most `SERVICE_PROBES - 1` slots behind its home, and between the two no slot
//! is empty, since the program's probe ends there. When the nearest free slot is too far away,
//! others are moved towards it (hopscotch): a copy is opened before the original is removed, so the
//! program finds one of them at any time.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::{SERVICE_PROBES, SERVICE_SLOTS};

use super::values::raw_key;
use crate::model::ServiceKey;

/// What a slot that is not empty holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The service of this key.
    Live(ServiceKey),
    /// A removed service, its id still taken.
    Retired(ServiceKey),
    /// Nothing; a probe walks over it.
    Tombstone,
}

/// The slots that are not empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slots {
    held: BTreeMap<u32, Held>,
    tombstones: BTreeSet<u32>,
}

/// A service that moves to another slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) key: ServiceKey,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// How far `slot` lies behind `from`, around the end of the table.
fn distance(from: u32, slot: u32) -> u32 {
    slot.wrapping_sub(from) & (SERVICE_SLOTS - 1)
}

/// Whether the program finds `key` in `slot`, as far as its home says.
pub(super) fn in_reach(key: ServiceKey, slot: u32) -> bool {
    slot < SERVICE_SLOTS && distance(home(key), slot) < SERVICE_PROBES
}

/// The first slot that the program looks at.
pub(super) fn home(key: ServiceKey) -> u32 {
    lb_common::hash::service_slot(raw_key(key), 0)
}

impl Slots {
    /// What `slot` holds; `None` is empty.
    pub(super) fn get(&self, slot: u32) -> Option<Held> {
        self.held.get(&slot).copied()
    }

    /// Sets what `slot` holds.
    pub(super) fn set(&mut self, slot: u32, held: Option<Held>) {
        if held == Some(Held::Tombstone) {
            self.tombstones.insert(slot);
        } else {
            self.tombstones.remove(&slot);
        }
        match held {
            Some(held) => self.held.insert(slot, held),
            None => self.held.remove(&slot),
        };
    }

    /// Whether a new key may be written there.
    fn is_free(&self, slot: u32) -> bool {
        matches!(self.get(slot), None | Some(Held::Tombstone))
    }

    /// A slot for `key` and the moves that must come first, in order. Nothing is changed.
    pub(super) fn place(&self, key: ServiceKey) -> Option<(u32, Vec<Move>)> {
        let home = home(key);
        let mut free = (0..SERVICE_SLOTS)
            .map(|d| (home + d) & (SERVICE_SLOTS - 1))
            .find(|s| self.is_free(*s))?;
        let mut moves: Vec<Move> = Vec::new();
        while distance(home, free) >= SERVICE_PROBES {
            // The farthest of the slots before the free one whose service may lie in it.
            let step = (1..SERVICE_PROBES).rev().find_map(|back| {
                let from = free.wrapping_sub(back) & (SERVICE_SLOTS - 1);
                match self.get(from) {
                    Some(Held::Live(key)) if in_reach(key, free) => Some(Move {
                        key,
                        from,
                        to: free,
                    }),
                    Some(Held::Live(_) | Held::Retired(_) | Held::Tombstone) | None => None,
                }
            })?;
            free = step.from;
            moves.push(step);
        }
        Some((free, moves))
    }

    /// Whether some service's probe walks over `slot`.
    pub(super) fn is_passed_over(&self, slot: u32) -> bool {
        (1..SERVICE_PROBES).any(
            |ahead| match self.get((slot + ahead) & (SERVICE_SLOTS - 1)) {
                Some(Held::Live(key)) => {
                    distance(home(key), (slot + ahead) & (SERVICE_SLOTS - 1)) >= ahead
                }
                Some(Held::Retired(_) | Held::Tombstone) | None => false,
            },
        )
    }

    /// Tombstones that no probe needs.
    pub(super) fn idle_tombstones(&self) -> Vec<u32> {
        self.tombstones
            .iter()
            .copied()
            .filter(|slot| !self.is_passed_over(*slot))
            .collect()
    }
}
