//! The one place that asks what time it is.

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
        Wall {
            // Only differences of it are used, and only within a moment.
            real: clock_gettime(ClockId::CLOCK_REALTIME).unwrap_or(TimeSpec::new(0, 0)),
            at: now(),
        }
    }

    /// When a packet with this stamp arrived. The kernel stamps by CLOCK_REALTIME, which may be set
    /// meanwhile: never later than now.
    pub(super) fn arrival(&self, stamp: TimeSpec) -> Time {
        let ago = self.real - stamp;
        let nanos = u64::try_from(ago.num_nanoseconds()).unwrap_or(0);
        Time::from_nanos(self.at.as_nanos().saturating_sub(nanos))
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
