//! Every kind of advert, with every pair that has ours in it, through every event once; the whole
//! matrix, with its medians beside keepalived's own pair, is `cargo xtask matrix`.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;
use lb_tests::matrix::{self, Done, Pairing, Step, Table, Walk, Wire, bound};

/// Goes through all kinds of adverts that know fractions of a second, or all that do not.
fn all(fractions: bool, advert: Duration, jobs: usize) -> Result<()> {
    let mut walks = Vec::new();
    for &wire in Wire::value_variants() {
        if wire.fractions() != fractions {
            continue;
        }
        walks.extend(Pairing::OURS.map(|pairing| Walk {
            wire,
            advert_ms: u32::try_from(advert.as_millis()).unwrap_or(u32::MAX),
            pairing,
            run: 0,
            runs: 1,
        }));
    }
    let (table, slow) = (Mutex::new(Table::default()), Mutex::new(Vec::new()));
    matrix::all(&walks, Step::value_variants(), jobs, |done: Done| {
        let how = done.error.as_deref().unwrap_or("as it should be");
        println!("{}: {how} ({:.1} s)", done.walk, done.took);
        for cost in &done.costs {
            let most = bound(&done.walk, cost.row);
            if most.is_some_and(|most| cost.ms > most.as_secs_f64() * 1e3) {
                let line = format!("{}: {}, {:.0} ms", done.walk, cost.row.words(), cost.ms);
                slow.lock().unwrap().push(line);
            }
        }
        table.lock().unwrap().add(&done);
    })?;
    let (table, slow) = (table.into_inner().unwrap(), slow.into_inner().unwrap());
    println!("{}", table.markdown());
    ensure!(
        table.failures().is_empty(),
        "{} walks failed",
        table.failures().len()
    );
    ensure!(
        slow.is_empty(),
        "too long without answers:\n{}",
        slow.join("\n")
    );
    Ok(())
}

/// Most of the time all of them wait.
#[test]
fn every_pair_agrees_whatever_happens_in_version_2() -> Result<()> {
    all(false, Duration::from_secs(1), 12)
}

#[test]
fn every_pair_agrees_whatever_happens_in_version_3() -> Result<()> {
    all(true, Duration::from_millis(50), 2)
}
