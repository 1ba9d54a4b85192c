//! A seeded source of random figures, so that a run can be repeated.

use std::time::Duration;

/// splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same figures.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A seed nobody chose.
    #[must_use]
    pub fn any_seed() -> u64 {
        crate::clock::Instant::now().0 ^ u64::from(std::process::id()) << 40
    }

    /// The next figure.
    pub fn figure(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time below `limit`.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.figure() % nanos)
    }
}
