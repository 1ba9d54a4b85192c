//! Numbers of which each may have one owner.

/// The numbers from 1 to an end, and which of them are taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ids {
    /// A bit for each number, 0 for ever set.
    taken: Vec<u64>,
    end: u32,
}

impl Ids {
    /// `1..end`, none taken.
    pub(super) fn new(end: u32) -> Ids {
        let mut taken = vec![0; end.div_ceil(64) as usize];
        if let Some(first) = taken.first_mut() {
            *first = 1;
        }
        Ids { taken, end }
    }

    /// Takes the lowest that is free.
    pub(super) fn take(&mut self) -> Option<u16> {
        let word = self.taken.iter().position(|w| *w != u64::MAX)?;
        let n = word as u32 * 64 + self.taken[word].trailing_ones();
        if n >= self.end {
            return None;
        }
        self.taken[word] |= 1 << (n % 64);
        u16::try_from(n).ok()
    }

    /// Takes this one; false when it is taken, or none of them.
    pub(super) fn claim(&mut self, n: u16) -> bool {
        if u32::from(n) >= self.end || self.is_taken(n) {
            return false;
        }
        self.taken[usize::from(n) / 64] |= 1 << (n % 64);
        true
    }

    /// Whether it is taken.
    pub(super) fn is_taken(&self, n: u16) -> bool {
        self.taken
            .get(usize::from(n) / 64)
            .is_none_or(|w| w >> (n % 64) & 1 != 0)
    }

    /// Gives it back.
    pub(super) fn free(&mut self, n: u16) {
        if n != 0
            && let Some(word) = self.taken.get_mut(usize::from(n) / 64)
        {
            *word &= !(1 << (n % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_given_once_until_it_comes_back() {
        let mut ids = Ids::new(130);
        assert!(ids.claim(2) && !ids.claim(2) && !ids.claim(0) && !ids.claim(130));
        let all: Vec<u16> = std::iter::from_fn(|| ids.take()).collect();
        let want: Vec<u16> = (1..130).filter(|n| *n != 2).collect();
        assert_eq!(all, want);
        ids.free(0);
        ids.free(77);
        assert_eq!((ids.take(), ids.take()), (Some(77), None));
    }
}
