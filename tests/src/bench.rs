//! Nanoseconds per packet by `BPF_PROG_TEST_RUN`: the balancer beside floor programs of its own.
//!
//! The driver program writes a fresh 64-byte frame each time and tail-calls the program under test
//! (see `lb-ebpf/src/bench.rs`). Runs of the programs are interleaved, so that a busy neighbour
//! hits all alike; the median of each counts, less the median of a program that does nothing.

mod cases;
mod report;
mod rig;

pub use cases::{CASES, Case, Flows, MANY, Offer, Order};
pub use report::{HEAD, Report, Row};
pub use rig::{Port, Rig, Target, filled};

use std::path::Path;

use anyhow::Result;
use lb_common::maps::FLOW_BUCKETS;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs of each program in each case; the median counts.
    pub runs: usize,
    /// Packets of a run.
    pub repeat: u32,
}

/// Measures every case whose name has that in it; the pins lie in `dir`, on a bpf filesystem.
///
/// # Errors
/// When the kernel refuses, or a program does not do with the frames what it must.
pub fn measure(
    dir: &Path,
    effort: Effort,
    only: &str,
    mut done: impl FnMut(&Row),
) -> Result<Report> {
    let mut rows = Vec::new();
    let is_wanted = |case: &Case| case.name.contains(only);
    let mut offers: Vec<Offer> = Vec::new();
    for case in &CASES {
        if !offers.contains(&case.offer) {
            offers.push(case.offer);
        }
    }
    let mut rig = Rig::new(dir, &offers, 0, FLOW_BUCKETS)?;
    for case in CASES.iter().filter(|case| is_wanted(case)) {
        rows.push(row(&mut rig, case, effort)?);
        done(&rows[rows.len() - 1]);
    }
    rig.close()?;
    for (others, case) in MANY.iter().filter(|(_, case)| is_wanted(case)) {
        let mut rig = Rig::new(dir, &[case.offer], *others, FLOW_BUCKETS)?;
        rows.push(row(&mut rig, case, effort)?);
        done(&rows[rows.len() - 1]);
        rig.close()?;
    }
    Ok(Report { rows })
}

fn row(rig: &mut Rig, case: &Case, effort: Effort) -> Result<Row> {
    let mut times: [Vec<f64>; Target::ALL.len()] = Default::default();
    rig.prepare(case)?;
    for run in 0..=effort.runs {
        for (target, times) in Target::ALL.into_iter().zip(&mut times) {
            // The first run fills the tables and is not counted.
            let repeat = match case.flows {
                Flows::Of(n) if run == 0 => effort.repeat.max(n as u32),
                Flows::Of(_) | Flows::New => case.enough(effort.repeat),
            };
            if let Some(nanos) = rig.run(case, target, repeat)?
                && run > 0
            {
                times.push(nanos);
            }
        }
    }
    Ok(Row::new(case, times))
}
