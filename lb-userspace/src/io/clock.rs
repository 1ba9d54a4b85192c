//! The one place that asks what time it is.

use std::time::Duration;

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime};

use crate::time::Time;

/// Now on `CLOCK_MONOTONIC`, which all processes of a boot share, so that a restarted daemon can
/// compare with what its predecessor wrote down.
#[must_use]
pub fn now() -> Time {
    // The clock exists on every kernel that can run the XDP program; were it to fail, standing
    // still is safer than panicking.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Time::ZERO, |t| {
        let secs = u64::try_from(t.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(t.tv_nsec()).unwrap_or(0);
        Time::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
    })
}

/// What CLOCK_REALTIME and CLOCK_MONOTONIC were at one moment.
pub(super) struct Wall {
    real: TimeSpec,
    /// That moment.
    pub(super) at: Time,
}

impl Wall {
    pub(super) fn now() -> Wall {
        let ask = || {
            let at = now();
            // Only differences of it are used, and only within a moment.
            let real = clock_gettime(ClockId::CLOCK_REALTIME).unwrap_or(TimeSpec::new(0, 0));
            (now().since(at), Wall { real, at })
        };
        // Whoever is put aside between the two clocks asks again.
        let mut asked = ask();
        for _ in 0..3 {
            if asked.0 < Duration::from_micros(20) {
                break;
            }
            asked = ask();
        }
        asked.1
    }

    /// When a packet with this stamp arrived, which was after `since`. The kernel stamps by
    /// CLOCK_REALTIME, which may be set meanwhile, by hours: never later than now, nor before `since`.
    pub(super) fn arrival(&self, stamp: TimeSpec, since: Time) -> Time {
        let ago = self.real - stamp;
        let nanos = u64::try_from(ago.num_nanoseconds()).unwrap_or(0);
        Time::from_nanos(self.at.as_nanos().saturating_sub(nanos)).max(since)
    }
}

/// Seconds since 1970; 0 when the clock is before.
#[expect(
    clippy::disallowed_methods,
    reason = "shown to people; nothing is decided by it"
)]
#[must_use]
pub fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_moves_no_arrival_out_of_its_bounds() {
        let wall = Wall {
            real: TimeSpec::new(1_000_000, 0),
            at: Time::from_nanos(50_000_000_000),
        };
        let since = Time::from_nanos(49_000_000_000);
        for (what, stamp, arrived) in [
            (
                "a moment ago",
                TimeSpec::new(999_999, 990_000_000),
                49_990_000_000,
            ),
            (
                "set back by two hours since",
                TimeSpec::new(1_007_200, 0),
                50_000_000_000,
            ),
            (
                "set forward by an hour since",
                TimeSpec::new(996_400, 0),
                49_000_000_000,
            ),
        ] {
            assert_eq!(wall.arrival(stamp, since).as_nanos(), arrived, "{what}");
        }
    }
}
