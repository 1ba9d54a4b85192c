//! Connection counts that are wrong for good, told from those that change while one looks.

use std::collections::HashMap;

use lb_common::maps::load_word;

/// How many counts in a row must be wrong in the same direction. With connections coming and going
/// each count is off by a little, up or down, by chance: three in a row are not rare.
const LOOKS: usize = 8;

/// Compares what is counted in the flow table with what the loads say. The program counts a flow a
/// moment after it is in the table, so only a difference that stays is an error: what a daemon that
/// was killed between removing a flow and counting it off leaves.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// What every load was short of, look by look, of those where it was anything.
    wrong: HashMap<u16, Vec<[i32; 2]>>,
}

/// Active and inactive as a load has them, negative ones too.
const fn parts(word: u64) -> [i32; 2] {
    let inactive = word as i32;
    let active = (word.wrapping_sub(inactive as i64 as u64) as i64 >> 32) as i32;
    [active, inactive]
}

/// What a load is short of at least, that was `before` and then `after` while `seen` was counted.
fn off_by(before: u64, seen: u64, after: u64) -> [i32; 2] {
    let [before, seen, after] = [before, seen, after].map(parts);
    [0, 1].map(|i| smallest([before, after].map(|load| seen[i].wrapping_sub(load[i]))))
}

/// The one nearest to 0, or 0 when they differ in sign.
fn smallest(values: impl IntoIterator<Item = i32> + Clone) -> i32 {
    let all = |test: fn(&i32) -> bool| values.clone().into_iter().all(|v| test(&v));
    if all(|v| *v > 0) {
        values.into_iter().min().unwrap_or(0)
    } else if all(|v| *v < 0) {
        values.into_iter().max().unwrap_or(0)
    } else {
        0
    }
}

impl Drift {
    /// What is to be added to a load at once: by how much it is certainly wrong.
    pub(super) fn certain(before: u64, seen: u64, after: u64) -> u64 {
        let [active, inactive] = off_by(before, seen, after);
        load_word(active, inactive)
    }

    /// What was seen of a backend until now says nothing any more.
    pub(super) fn forget(&mut self, index: u16) {
        self.wrong.remove(&index);
    }

    /// A look at one backend: its load before and after the table was counted, and what was counted.
    /// What is to be added to the load, if it has been wrong for long enough.
    pub(super) fn look(&mut self, index: u16, before: u64, seen: u64, after: u64) -> Option<u64> {
        if before == seen || after == seen {
            self.wrong.remove(&index);
            return None;
        }
        let now = off_by(before, seen, after);
        if now == [0, 0] {
            self.wrong.remove(&index);
            return None;
        }
        let looks = self.wrong.entry(index).or_default();
        looks.push(now);
        if looks.len() < LOOKS {
            return None;
        }
        let [active, inactive] = [0, 1].map(|i| smallest(looks.iter().map(move |look| look[i])));
        self.wrong.remove(&index);
        let word = load_word(active, inactive);
        (word != 0).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_wrong_is_put_right_at_the_last_look() {
        let mut drift = Drift::default();
        let (is, should) = (load_word(7, 2), load_word(5, 3));
        for _ in 1..LOOKS {
            assert_eq!(drift.look(1, is, should, is), None);
        }
        let add = drift.look(1, is, should, is).unwrap();
        assert_eq!(is.wrapping_add(add), should);
        assert_eq!(drift.look(1, should, should, should), None);
        assert!(drift.wrong.is_empty());
    }

    #[test]
    fn what_changes_while_it_is_counted_is_let_be() {
        let mut drift = Drift::default();
        for n in 0..100 {
            // Connections come: what is seen lies between.
            let at = |n| load_word(n, 0);
            assert_eq!(drift.look(1, at(n), at(n + 3), at(n + 9)), None);
            // One look at an odd moment.
            let seen = load_word(if n % 3 == 2 { 100 } else { 99 }, 0);
            assert_eq!(
                drift.look(2, load_word(99, 0), seen, load_word(99, 0)),
                None
            );
        }
    }

    #[test]
    fn a_busy_load_is_put_right_by_what_is_certain() {
        let mut drift = Drift::default();
        // Too many by 50 to 60, however often one looks; inactive ones are right now and then.
        let mut added = None;
        let looks = [(150, 100, 160, 4), (155, 99, 153, 5), (160, 110, 170, 4)];
        for (before, seen, after, inactive) in looks.into_iter().cycle().take(LOOKS) {
            let load = |n| load_word(n, 5);
            added = drift.look(3, load(before), load_word(seen, inactive), load(after));
        }
        assert_eq!(added, Some(load_word(-50, 0)));
    }
}
