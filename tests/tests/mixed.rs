//! One director is ours, the other runs keepalived: a pair while it is migrated.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::measure::Bench;
use lb_tests::random::Random;

const OURS_FIRST: [Kind; 2] = [Kind::Lbd, Kind::Keepalived];
const KEEPALIVED_FIRST: [Kind; 2] = [Kind::Keepalived, Kind::Lbd];
/// Whole seconds are version 2 with PASS.
const V2: Duration = Duration::from_secs(1);
const V3: Duration = Duration::from_millis(50);

/// They agree on the master, the other takes over whatever happens, and the first takes back.
fn agree(kinds: [Kind; 2], advert: Duration) -> Result<()> {
    let seed = Random::any_seed();
    println!("seed {seed}");
    let mut bench = Bench::new(kinds, advert, seed)?;
    // Three intervals and the skew of priority 99, and what a busy machine adds.
    let limit = advert.mul_f64(3.62) + Duration::from_millis(300);
    for event in [Event::PowerLoss, Event::CleanStop] {
        let (lost, back) = bench.event(event).with_context(|| event.words())?;
        println!(
            "{}: {:?}, return {:?}",
            event.words(),
            lost.ping.longest,
            back.ping.longest
        );
        assert!(
            lost.ping.longest <= limit,
            "{}: {lost:?}\n{}",
            event.words(),
            bench.lab.logs()
        );
        assert!(
            back.ping.longest <= Duration::from_millis(200),
            "return after {}: {back:?}",
            event.words()
        );
    }
    bench.finish()
}

#[test]
fn ours_is_master_of_keepalived_in_version_2() -> Result<()> {
    agree(OURS_FIRST, V2)
}

#[test]
fn ours_is_backup_of_keepalived_in_version_2() -> Result<()> {
    agree(KEEPALIVED_FIRST, V2)
}

#[test]
fn ours_is_master_of_keepalived_in_version_3() -> Result<()> {
    agree(OURS_FIRST, V3)
}

#[test]
fn ours_is_backup_of_keepalived_in_version_3() -> Result<()> {
    agree(KEEPALIVED_FIRST, V3)
}
