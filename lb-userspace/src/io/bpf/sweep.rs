//! Flows that ended in silence: only user space sees them, since no packet of theirs comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lb_common::flow::FlowValue;
use lb_common::maps::{Backend, MAX_BACKENDS, load_word};
use lb_common::tcp::State;

use super::apply::LOAD_COUNTS;
use super::drift::Drift;
use super::error::BpfError;
use super::flows::FlowScanner;
use super::mapped::Mapped;

/// Takes expired flows out of the table and off the counts of their backends; may live in another
/// thread than the data plane, and outlive it. There must be only one.
#[derive(Debug)]
pub struct Sweeper {
    pub(super) scanner: FlowScanner,
    pub(super) loads: Arc<Mapped>,
    pub(super) backends: Arc<Mapped>,
    pub(super) drift: Drift,
    /// Whose connections the program counted when the last walk began.
    pub(super) counted: Vec<bool>,
    /// The ways that were being written when they were looked at last, their tags, and in how many walks
    /// in a row. The program writes for microseconds; a daemon that was killed in it, for ever.
    pub(super) pending: HashMap<(usize, u64), u32>,
}

/// In how many walks in a row a way is being written before its writer is dead: eight seconds, with a
/// large table a minute; much longer than a CPU of a virtual machine is kept waiting.
const DEAD: u32 = 8;

/// What one walk through the table found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that were taken out.
    pub expired: u64,
    /// Flows that are there.
    pub living: u64,
    /// Backends whose counts were wrong for good, and are right again.
    pub repaired: u32,
}

/// The word of a backend that says whether the program counts its connections; the other bytes are
/// reserved.
const COUNTED: usize = std::mem::offset_of!(Backend, counted) / 8;
const _: () = assert!(std::mem::offset_of!(Backend, counted) % 8 == 0);

/// What a flow adds to its backend's counts.
fn share(value: FlowValue) -> u64 {
    if value.state().is_some_and(State::is_active) {
        load_word(1, 0)
    } else {
        load_word(0, 1)
    }
}

impl Sweeper {
    /// How long to wait for the next walk, at least so long: until a tick begins. Flows expire then
    /// and at no other time, so with a walk at the beginning of each tick the counts are right in all
    /// of it but the moment that the walk takes.
    ///
    /// # Errors
    /// When the kernel's clock cannot be read.
    pub fn pause(&self, least: Duration) -> Result<Duration, BpfError> {
        self.scanner.first_tick_after(least)
    }

    /// Walks through the whole table once. Wanted in every tick, see [`pause`](Self::pause): a
    /// backend's counts have an expired flow until then, and those that the program does not keep
    /// (`Backend::counted`) are those of the last walk.
    ///
    /// # Errors
    /// When the kernel's clock cannot be read.
    pub fn sweep(&mut self) -> Result<Swept, BpfError> {
        let mut swept = Swept::default();
        let ages = self.scanner.ages()?;
        let mut before = self.counts();
        let was_counted = self.now_counted();
        let mut seen = vec![0u64; before.len()];
        let before_that = std::mem::take(&mut self.pending);
        for (place, way) in self.scanner.flows.flows().iter().enumerate() {
            let Some((tag, value)) = way.read() else {
                if let Some(tag) = way.pending() {
                    let looks = before_that.get(&(place, tag)).map_or(1, |looks| looks + 1);
                    if looks < DEAD {
                        self.pending.insert((place, tag), looks);
                    } else {
                        way.give_up(tag);
                    }
                }
                continue;
            };
            let backend = usize::from(value.backend());
            if ages.left(value).is_some() {
                swept.living += 1;
                if let Some(seen) = seen.get_mut(backend) {
                    *seen = seen.wrapping_add(share(value));
                }
            } else if way.remove(tag, value) {
                // Whoever takes a flow out counts it off; the program may have been faster.
                swept.expired += 1;
                if was_counted.get(backend) == Some(&true) {
                    self.add(backend, share(value).wrapping_neg());
                }
                // Not seen, and right: it must not look as if the load had been too high.
                if let Some(before) = before.get_mut(backend) {
                    *before = before.wrapping_sub(share(value));
                }
            }
        }
        let after = self.counts();
        for (index, seen) in seen.into_iter().enumerate() {
            let number = index as u16;
            if !was_counted[index] && !self.is_counted(index) {
                self.drift.forget(number);
                // Unless the plan has just given it to another real server.
                self.change(index, after[index], seen);
            } else if self.counted.get(index) == Some(&true) {
                let add = self.drift.look(number, before[index], seen, after[index]);
                if let Some(add) = add {
                    self.add(index, add);
                    swept.repaired += 1;
                }
            } else {
                // The program has begun to count with what an earlier walk had found.
                self.drift.forget(number);
                self.add(index, Drift::certain(before[index], seen, after[index]));
            }
        }
        self.counted = was_counted;
        Ok(swept)
    }

    fn counts(&self) -> Vec<u64> {
        (0..self.loads.len().min(MAX_BACKENDS))
            .map(|index| self.loads.load(index, LOAD_COUNTS))
            .collect()
    }

    fn now_counted(&self) -> Vec<bool> {
        let indices = 0..self.loads.len().min(MAX_BACKENDS);
        indices
            .map(|index| self.is_counted(index as usize))
            .collect()
    }

    fn is_counted(&self, backend: usize) -> bool {
        let [counted, ..] = self.backends.load(backend as u32, COUNTED).to_ne_bytes();
        counted != 0
    }

    fn change(&self, backend: usize, from: u64, to: u64) {
        if from != to {
            let word = self.loads.word(backend as u32, LOAD_COUNTS);
            // Changed by somebody else it is looked at in the next walk.
            let _ = word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn add(&self, backend: usize, difference: u64) {
        let index = backend as u32;
        if index < self.loads.len() {
            self.loads
                .word(index, LOAD_COUNTS)
                .fetch_add(difference, Ordering::AcqRel);
        }
    }
}
