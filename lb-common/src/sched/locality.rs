//! What `lblc` and `lblcr` remember.
//!
//! IPVS keeps it by destination address (it was made for caches behind a transparent proxy). A
//! service has one address, so here it is one word for each service.

/// IPVS forgets a destination that nobody asked for in this time, and takes the busiest server out
/// of a set of `lblcr` that did not change in this time (`DEFAULT_EXPIRATION`,
/// `lblcr_expiration`): seconds.
pub const EXPIRATION: u32 = 24 * 60 * 60;

/// The set of a `lblcr` service: `number << 56 | last used << 28 | last changed`. Which servers are
/// in it says [`LOAD_IN_SET`](crate::maps::LOAD_IN_SET) of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSet(pub u64);

/// Times are ticks modulo this: some eight years.
const TICKS: u32 = 1 << 28;

/// As [`flow::elapsed`](crate::flow::elapsed), of such times.
#[inline(always)]
const fn elapsed(now: u32, then: u32) -> u32 {
    let ticks = now.wrapping_sub(then) % TICKS;
    if ticks >= TICKS / 2 { 0 } else { ticks }
}

impl ServerSet {
    /// A set used and changed at these ticks, into which `number` servers were taken so far.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u8, used: u32, changed: u32) -> Self {
        ServerSet((number as u64) << 56 | ((used % TICKS) as u64) << 28 | (changed % TICKS) as u64)
    }

    /// How many servers were taken into it, modulo 256.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// When it was changed, for [`ServerSet::new`].
    #[inline(always)]
    #[must_use]
    pub const fn changed(self) -> u32 {
        self.0 as u32 % TICKS
    }

    /// Whether nobody asked for it in `ticks` before `now`: there is no set.
    #[inline(always)]
    #[must_use]
    pub const fn is_forgotten(self, now: u32, ticks: u32) -> bool {
        self.0 == 0 || elapsed(now, (self.0 >> 28) as u32) > ticks
    }

    /// Whether it was not changed in `ticks` before `now`.
    #[inline(always)]
    #[must_use]
    pub const fn is_settled(self, now: u32, ticks: u32) -> bool {
        elapsed(now, self.changed()) > ticks
    }
}

/// Whether the server that was taken into a set as number `a` comes before the one that was `b`:
/// IPVS adds at the head of the set's list.
#[inline(always)]
#[must_use]
pub const fn comes_first(a: u8, b: u8) -> bool {
    a.wrapping_sub(b) as i8 > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_forgotten_and_settles_after_its_time() {
        for now in [1_000_000, TICKS - 50, TICKS + 50, u32::MAX - 10] {
            let set = ServerSet::new(7, now, now.wrapping_sub(500));
            assert_eq!(set.number(), 7);
            assert!(!set.is_forgotten(now.wrapping_add(100), 100));
            assert!(set.is_forgotten(now.wrapping_add(101), 100));
            assert!(!set.is_settled(now, 500) && set.is_settled(now.wrapping_add(1), 500));
            // Another CPU's clock was a tick ahead.
            let early = now.wrapping_sub(1);
            assert!(!ServerSet::new(7, now, now).is_forgotten(early, 100));
            assert!(!ServerSet::new(7, now, now).is_settled(early, 100));
            let again = ServerSet::new(8, now.wrapping_add(3), set.changed());
            assert_eq!(again.changed(), set.changed());
        }
        assert!(ServerSet(0).is_forgotten(5, 100));
    }

    #[test]
    fn the_last_one_in_comes_first() {
        assert!(comes_first(2, 1) && !comes_first(1, 2) && !comes_first(1, 1));
        assert!(comes_first(3, 250), "numbers wrap");
    }
}
