//! Which parts of the arena of scheduling tables are taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lb_common::maps::SCHED_WORDS;

use super::tables::GRACE;
use crate::time::Time;

/// Entries in one word of the arena.
const LANES: u32 = 4;

/// The arena, in words. A range that was freed rests for [`GRACE`] before it is used again, since a
/// run of the program that began before the switch may still read it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arena {
    /// First word to number of words.
    used: BTreeMap<u32, u32>,
    /// Gaps: first word to number of words. No two touch.
    gaps: BTreeMap<u32, u32>,
    /// The same as (number of words, first word).
    by_size: BTreeSet<(u32, u32)>,
    /// When it was freed, first word, number of words; the oldest first.
    resting: VecDeque<(Time, u32, u32)>,
}

impl Default for Arena {
    fn default() -> Self {
        let mut arena = Arena {
            used: BTreeMap::new(),
            gaps: BTreeMap::new(),
            by_size: BTreeSet::new(),
            resting: VecDeque::new(),
        };
        arena.add_gap(0, SCHED_WORDS);
        arena
    }
}

/// Words that `entries` entries take.
fn words(entries: u32) -> u32 {
    entries.div_ceil(LANES)
}

impl Arena {
    /// Takes the smallest gap that holds `entries` (> 0) entries; returns its first entry, a multiple
    /// of four.
    pub(super) fn alloc(&mut self, entries: u32, now: Time) -> Option<u32> {
        while let Some(&(freed, base, len)) = self.resting.front() {
            if now.since(freed) < GRACE {
                break;
            }
            self.resting.pop_front();
            self.add_gap(base, len);
        }
        let need = words(entries);
        let &(len, base) = self.by_size.range((need, 0)..).next()?;
        self.remove_gap(base, len);
        if len > need {
            self.add_gap(base + need, len - need);
        }
        self.used.insert(base, need);
        Some(base * LANES)
    }

    /// Takes what a slot of adopted maps refers to. False when it is out of bounds or overlaps.
    pub(super) fn claim(&mut self, first: u32, entries: u32) -> bool {
        let (base, len) = (first / LANES, words(entries));
        let Some(end) = base.checked_add(len).filter(|_| len > 0) else {
            return false;
        };
        if !first.is_multiple_of(LANES) {
            return false;
        }
        let gap = self.gaps.range(..=base).next_back().map(|(b, n)| (*b, *n));
        let Some((gap, room)) = gap.filter(|(b, n)| b + n >= end) else {
            return false;
        };
        self.remove_gap(gap, room);
        if base > gap {
            self.add_gap(gap, base - gap);
        }
        if gap + room > end {
            self.add_gap(end, gap + room - end);
        }
        self.used.insert(base, len);
        true
    }

    /// Gives a range back that was never referred to.
    pub(super) fn undo(&mut self, first: u32) {
        if let Some(len) = self.used.remove(&(first / LANES)) {
            self.add_gap(first / LANES, len);
        }
    }

    /// Frees a range from which a slot was switched away just now.
    pub(super) fn free(&mut self, first: u32, now: Time) {
        if let Some(len) = self.used.remove(&(first / LANES)) {
            self.resting.push_back((now, first / LANES, len));
        }
    }

    /// Adds a gap, joined with those that it touches.
    fn add_gap(&mut self, mut base: u32, mut len: u32) {
        if let Some((&before, &room)) = self.gaps.range(..base).next_back()
            && before + room == base
        {
            self.remove_gap(before, room);
            (base, len) = (before, len + room);
        }
        if let Some(&room) = self.gaps.get(&(base + len)) {
            self.remove_gap(base + len, room);
            len += room;
        }
        self.gaps.insert(base, len);
        self.by_size.insert((len, base));
    }

    fn remove_gap(&mut self, base: u32, len: u32) {
        self.gaps.remove(&base);
        self.by_size.remove(&(len, base));
    }

    /// Ends all rests: for comparing books.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        while let Some((_, base, len)) = self.resting.pop_front() {
            self.add_gap(base, len);
        }
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
    fn what_comes_back_is_whole_again() {
        let mut arena = Arena::default();
        let bases: Vec<u32> = (1..100)
            .map(|n| arena.alloc(n, Time::ZERO).unwrap())
            .collect();
        for base in bases
            .iter()
            .step_by(2)
            .chain(bases.iter().skip(1).step_by(2))
        {
            arena.undo(*base);
        }
        assert_eq!(arena, Arena::default());
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
