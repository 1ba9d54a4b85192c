//! The one place that asks what time it is.

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
