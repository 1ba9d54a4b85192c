//! Which parts of the arena of scheduling tables are taken.

use std::collections::BTreeMap;

use lb_common::maps::SCHED_WORDS;

use super::tables::GRACE;
use crate::time::Time;

/// Entries in one word of the arena.
const LANES: u32 = 4;

/// The arena, in words. A range that was freed rests for [`GRACE`] before it is used again, since a
/// run of the program that began before the switch may still read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Arena {
    /// First word to number of words.
    used: BTreeMap<u32, u32>,
    /// First word to number of words and when it was freed.
    resting: BTreeMap<u32, (u32, Time)>,
}

/// Words that `entries` entries take.
fn words(entries: u32) -> u32 {
    entries.div_ceil(LANES)
}

impl Arena {
    /// Takes the first gap that holds `entries` (> 0) entries; returns its first entry, a multiple
    /// of four.
    pub(super) fn alloc(&mut self, entries: u32, now: Time) -> Option<u32> {
        self.resting
            .retain(|_, (_, freed)| now.since(*freed) < GRACE);
        let need = words(entries);
        let mut start = 0;
        let mut used = self.used.iter().map(|(b, n)| (*b, *n)).peekable();
        let mut resting = self.resting.iter().map(|(b, (n, _))| (*b, *n)).peekable();
        loop {
            let next = match (used.peek(), resting.peek()) {
                (Some(u), Some(r)) if u.0 <= r.0 => used.next(),
                (Some(_), None) => used.next(),
                (_, Some(_)) => resting.next(),
                (None, None) => None,
            };
            let end = next.map_or(SCHED_WORDS, |(base, _)| base);
            if end.checked_sub(start).is_some_and(|gap| gap >= need) {
                self.used.insert(start, need);
                return Some(start * LANES);
            }
            let (base, len) = next?;
            start = base + len;
        }
    }

    /// Takes what a slot of adopted maps refers to. False when it is out of bounds or overlaps.
    pub(super) fn claim(&mut self, first: u32, entries: u32) -> bool {
        let (base, len) = (first / LANES, words(entries));
        let Some(end) = base.checked_add(len) else {
            return false;
        };
        let clear = first.is_multiple_of(LANES)
            && end <= SCHED_WORDS
            && self
                .used
                .range(..end)
                .next_back()
                .is_none_or(|(b, n)| b + n <= base);
        if clear {
            self.used.insert(base, len);
        }
        clear
    }

    /// Gives a range back that was never referred to.
    pub(super) fn undo(&mut self, first: u32) {
        self.used.remove(&(first / LANES));
    }

    /// Frees a range from which a slot was switched away just now.
    pub(super) fn free(&mut self, first: u32, now: Time) {
        if let Some(len) = self.used.remove(&(first / LANES)) {
            self.resting.insert(first / LANES, (len, now));
        }
    }

    /// Forgets what rests: for comparing books.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        self.resting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_range_rests_and_then_is_used_again() {
        let mut arena = Arena::default();
        let now = Time::ZERO;
        assert_eq!(arena.alloc(5, now), Some(0));
        assert_eq!(arena.alloc(1, now), Some(8));
        arena.free(0, now);
        assert_eq!(arena.alloc(5, now), Some(12));
        assert_eq!(arena.alloc(5, now + GRACE), Some(0));
    }

    #[test]
    fn a_full_arena_says_no_and_a_claim_must_not_overlap() {
        let mut arena = Arena::default();
        assert_eq!(arena.alloc(SCHED_WORDS * 4, Time::ZERO), Some(0));
        assert_eq!(arena.alloc(1, Time::ZERO), None);
        let mut arena = Arena::default();
        assert!(arena.claim(8, 8));
        assert!(!arena.claim(12, 1));
        assert!(!arena.claim(4, 5));
        assert!(!arena.claim(2, 1));
        assert!(arena.claim(4, 4));
        assert!(!arena.claim(SCHED_WORDS * 4 - 4, 5));
    }
}
