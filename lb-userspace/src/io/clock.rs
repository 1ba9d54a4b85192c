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

/// How far CLOCK_REALTIME may go astray from CLOCK_MONOTONIC before it counts as set: what asking both
/// takes, and twice what the kernel slews.
const ASTRAY: Duration = Duration::from_millis(1);
const SLEW: u32 = 1000;

/// What CLOCK_REALTIME and CLOCK_MONOTONIC were at one moment.
#[derive(Clone, Copy, Debug)]
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

    /// When a packet with this stamp arrived, which was not there at `before` and is at `latest`; it may be
    /// after this moment, when its reader was put aside since. The kernel stamps by CLOCK_REALTIME: one
    /// that was set meanwhile tells nothing, and the packet has arrived just now.
    pub(super) fn arrival(&self, stamp: TimeSpec, before: &Wall, latest: Time) -> Time {
        let went = self.at.since(before.at);
        let shown = (self.real - before.real).num_nanoseconds();
        let astray = i128::from(shown) - i128::try_from(went.as_nanos()).unwrap_or(i128::MAX);
        if astray.unsigned_abs() > (ASTRAY + went / SLEW).as_nanos() {
            return latest;
        }
        let after = (stamp - self.real).num_nanoseconds();
        let at = self.at.as_nanos().saturating_add_signed(after);
        Time::from_nanos(at).clamp(before.at, latest.max(before.at))
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
    fn a_packet_arrived_after_the_last_look_and_before_it_was_read() {
        let second = |s: f64| Time::from_nanos((s * 1e9) as u64);
        let wall = |real: f64, at: f64| Wall {
            real: TimeSpec::nanoseconds((real * 1e9) as i64),
            at: second(at),
        };
        let before = wall(1000.0, 49.0);
        let latest = 50.5;
        for (what, looked, stamp, arrived) in [
            ("a moment ago", wall(1001.0, 50.0), 1000.99, 49.99),
            ("since the look", wall(1001.0, 50.0), 1001.4, 50.4),
            ("before it was asked", wall(1001.0, 50.0), 999.9, 49.0),
            ("a slow clock", wall(1000.9991, 50.0), 1000.9991, 50.0),
            ("not before it is read", wall(1001.0, 50.0), 1001.6, latest),
            ("set back by two hours", wall(-6199.0, 50.0), 1000.5, latest),
            ("set forward by an hour", wall(4601.0, 50.0), 1000.5, latest),
            ("set back by a little", wall(1000.9, 50.0), 1000.5, latest),
        ] {
            let stamp = TimeSpec::nanoseconds((stamp * 1e9) as i64);
            let at = looked.arrival(stamp, &before, second(latest));
            assert!(
                at.since(second(arrived)).max(second(arrived).since(at)) < Duration::from_micros(1),
                "{what}: {at:?}"
            );
        }
    }
}
