//! Rates as IPVS estimates them (`ip_vs_est.c`): every [`PERIOD`] the rate since the last time is
//! blended into the average with weight 1/4. Fixed point, so that the figures equal ipvsadm's:
//! connections and packets in 1/1024, bytes in 1/32.

use std::time::Duration;

use crate::control::status::{Counts, Rates};

/// How often [`Estimator::tick`] is to be called.
pub const PERIOD: Duration = Duration::from_secs(2);

const FINE: u32 = 10;
const COARSE: u32 = 5;

/// The rates of one set of counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimator {
    last: Counts,
    cps: i64,
    pps: i64,
    bps: i64,
}

impl Estimator {
    /// One that starts from `counts` at rate 0: what was counted before it does not matter.
    #[must_use]
    pub fn new(counts: Counts) -> Self {
        Estimator {
            last: counts,
            ..Estimator::default()
        }
    }

    /// Takes in the counts as they are `elapsed` after the last call. Counts that went back (the
    /// entry was made anew) give no negative rate.
    pub fn tick(&mut self, counts: Counts, elapsed: Duration) {
        let blend = |average: &mut i64, now: u64, before: u64, shift: u32| {
            let nanos = elapsed.as_nanos().max(1);
            let rate = (u128::from(now.saturating_sub(before)) << shift) * 1_000_000_000 / nanos;
            // IPVS shifts a signed difference, so the average rounds down.
            *average += (i64::try_from(rate).unwrap_or(i64::MAX / 2) - *average) >> 2;
        };
        blend(&mut self.cps, counts.conns, self.last.conns, FINE);
        blend(&mut self.pps, counts.packets, self.last.packets, FINE);
        blend(&mut self.bps, counts.bytes, self.last.bytes, COARSE);
        self.last = counts;
    }

    /// The rates now.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let out = |average: i64, shift: u32| {
            u64::try_from((average + (1 << (shift - 1)) - 1) >> shift).unwrap_or(0)
        };
        Rates {
            cps: out(self.cps, FINE),
            pps: out(self.pps, FINE),
            bps: out(self.bps, COARSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(n: u64) -> Counts {
        Counts {
            conns: n,
            packets: 10 * n,
            bytes: 1000 * n,
        }
    }

    #[test]
    fn follows_ip_vs_est_step_by_step() {
        // 100 connections a second from rest: 25, 43.75, 57.8, 68.4 ... as the kernel's code gives.
        let mut e = Estimator::new(counts(5000));
        let mut seen = Vec::new();
        for i in 1..=6 {
            e.tick(counts(5000 + 200 * i), PERIOD);
            seen.push(e.rates().cps);
        }
        assert_eq!(seen, [25, 44, 58, 68, 76, 82]);
    }

    #[test]
    fn settles_on_the_true_rate_and_falls_to_zero() {
        let mut e = Estimator::default();
        for i in 1..=60 {
            e.tick(counts(2000 * i), PERIOD);
        }
        assert_eq!(
            e.rates(),
            Rates {
                cps: 1000,
                pps: 10_000,
                bps: 1_000_000
            }
        );
        for _ in 0..80 {
            e.tick(counts(120_000), PERIOD);
        }
        assert_eq!(e.rates(), Rates::default());
    }

    #[test]
    fn a_late_tick_does_not_look_like_a_burst() {
        let mut e = Estimator::default();
        for i in 1..=60 {
            e.tick(counts(2000 * i), PERIOD);
        }
        e.tick(counts(120_000 + 6000), 3 * PERIOD);
        assert_eq!(e.rates().cps, 1000);
    }

    #[test]
    fn counts_that_went_back_and_huge_ones_do_no_harm() {
        let mut e = Estimator::new(counts(u64::MAX / 1000));
        e.tick(counts(0), PERIOD);
        assert_eq!(e.rates(), Rates::default());
        e.tick(
            Counts {
                conns: u64::MAX,
                packets: u64::MAX,
                bytes: u64::MAX,
            },
            Duration::ZERO,
        );
        e.tick(
            Counts {
                conns: u64::MAX,
                packets: u64::MAX,
                bytes: u64::MAX,
            },
            Duration::ZERO,
        );
    }
}
