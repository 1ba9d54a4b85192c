//! The monotonic clock, which is the same in every namespace.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime, clock_nanosleep};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Instant(read(ClockId::CLOCK_MONOTONIC))
    }

    /// Time since `earlier`; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `d` more.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Instant(self.0.saturating_add(nanos(d)))
    }

    /// This moment less `d`.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Instant(self.0.saturating_sub(nanos(d)))
    }

    /// Sleeps until this moment; returns at once when it is past.
    pub fn sleep(self) {
        let spec = nix::sys::time::TimeSpec::from(Duration::from_nanos(self.0));
        while let Err(nix::errno::Errno::EINTR) = clock_nanosleep(
            ClockId::CLOCK_MONOTONIC,
            nix::time::ClockNanosleepFlags::TIMER_ABSTIME,
            &spec,
        ) {}
    }
}

/// What has to be added to the wall clock to get the monotonic one, in nanoseconds.
#[must_use]
pub fn monotonic_minus_realtime() -> i128 {
    let before = read(ClockId::CLOCK_MONOTONIC);
    let wall = read(ClockId::CLOCK_REALTIME);
    let after = read(ClockId::CLOCK_MONOTONIC);
    i128::from(u64::midpoint(before, after)) - i128::from(wall)
}

fn read(clock: ClockId) -> u64 {
    // The two clocks exist on every Linux.
    clock_gettime(clock).map_or(0, |t| nanos(Duration::from(t)))
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Calls `done` until it gives something, but not longer than `limit`.
///
/// # Errors
/// When `limit` has passed; `what` is named in the error.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let end = Instant::now().plus(limit);
    let mut pause = Duration::from_millis(1);
    loop {
        crate::scratch::check_cancelled()?;
        if let Some(value) = done() {
            return Ok(value);
        }
        if Instant::now() >= end {
            anyhow::bail!("waited {:.1} s in vain for {what}", limit.as_secs_f64());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Lets time pass, but ends early when the run was cancelled.
///
/// # Errors
/// When it was.
pub fn pause(d: Duration) -> anyhow::Result<()> {
    let end = Instant::now().plus(d);
    while Instant::now() < end {
        crate::scratch::check_cancelled()?;
        Instant::now()
            .plus(Duration::from_millis(20))
            .min(end)
            .sleep();
    }
    Ok(())
}

/// With this variable set, loads take the time that a proof wants instead of the time that a daily
/// run has.
const LONG: &str = "LB_LONG";

/// How long a load is to go on: `long` when the environment asks for it, else `short`.
#[must_use]
pub fn spell(short: Duration, long: Duration) -> Duration {
    if self::long() { long } else { short }
}

/// Whether the environment asks for loads as a proof wants them.
#[must_use]
pub fn long() -> bool {
    std::env::var_os(LONG).is_some()
}

/// Real-time priority for the calling thread where that is allowed: what measures and what answers
/// must not wait for the load or for a compiler next door.
pub fn be_punctual() {
    let param = libc::sched_param { sched_priority: 5 };
    // SAFETY: the parameter outlives the call; without the right nothing changes.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
}
