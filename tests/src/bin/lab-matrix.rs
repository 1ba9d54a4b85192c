//! Every kind of advert, every pair, every event, every interval, beside keepalived's own pair.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use lb_tests::director::binary;
use lb_tests::matrix::{self, Done, Pairing, Step, Table, Walk, Wire};

#[derive(Parser)]
#[command(
    about = "Every kind of advert x every pair x every event: who is master, and what it cost a client"
)]
struct Arguments {
    /// Kinds of adverts (default: all).
    #[arg(long = "kind", value_enum, value_delimiter = ',')]
    wires: Vec<Wire>,
    /// Pairs; keepalived-keepalived is what the others are compared with (default: all).
    #[arg(long = "pair", value_enum, value_delimiter = ',')]
    pairings: Vec<Pairing>,
    /// Events (default: all).
    #[arg(long = "event", value_enum, value_delimiter = ',')]
    steps: Vec<Step>,
    /// advert_int in seconds; version 2 takes whole ones alone.
    #[arg(long = "interval", value_delimiter = ',', default_values_t = [1.0, 0.05, 0.01])]
    intervals: Vec<f64>,
    /// Walks of each pair, at as many moments of the interval.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Walks beside each other: at 1 s and more, at shorter intervals, and below 20 ms.
    #[arg(long, value_delimiter = ',', default_values_t = [14, 1, 1])]
    jobs: Vec<usize>,
    /// Directory for what was measured: `walks.jsonl` and `table.md`.
    #[arg(long, default_value = "target/matrix")]
    out: PathBuf,
    /// Go on where an earlier run of the same programs with the same directory ended; what failed is
    /// done again.
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    lb_tests::scratch::defer_signals();
    let args = Arguments::parse();
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let path = args.out.join("walks.jsonl");
    let mut known = Vec::new();
    let (build, build_path) = (build()?, args.out.join("build"));
    let same = fs::read_to_string(&build_path).is_ok_and(|earlier| earlier == build);
    if args.resume && path.exists() && !same {
        eprintln!("{} is of other programs: beginning anew", path.display());
    }
    if args.resume && path.exists() && same {
        for line in fs::read_to_string(&path)?.lines() {
            let done: Done = serde_json::from_str(line).context("walks.jsonl")?;
            known.push(done);
        }
        known.retain(|d| d.error.is_none());
    }
    fs::write(&build_path, &build)?;
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    for done in &known {
        writeln!(file, "{}", serde_json::to_string(done)?)?;
    }
    let steps = or_all(&args.steps);
    let mut groups = groups(&args);
    for (walks, _) in &mut groups {
        walks.retain(|w| !known.iter().any(|d| d.walk == *w));
    }
    let total: usize = groups.iter().map(|(walks, _)| walks.len()).sum();
    let mut left = Duration::ZERO;
    for (walks, jobs) in &groups {
        left += walks.iter().map(|w| share(w, *jobs)).sum::<Duration>();
    }
    eprintln!(
        "{total} walks, about {}; {} known (without --resume all are done)",
        minutes(left),
        known.len()
    );
    let mut table = Table::default();
    known.iter().for_each(|d| table.add(d));
    let state = Mutex::new((table, file, 0, left));
    let each = |done: Done, jobs: usize| {
        let (table, file, n, left) = &mut *state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *n += 1;
        *left = left.saturating_sub(share(&done.walk, jobs));
        let how = done.error.as_deref().unwrap_or("as it should be");
        eprintln!(
            "[{n}/{total}] {}: {how} ({:.0} s); about {} left",
            done.walk,
            done.took,
            minutes(*left)
        );
        table.add(&done);
        if let Ok(line) = serde_json::to_string(&done)
            && let Err(e) = writeln!(file, "{line}")
        {
            eprintln!("{}: {e}", path.display());
        }
    };
    for (walks, jobs) in &groups {
        matrix::all(walks, &steps, *jobs, |done| each(done, *jobs))?;
    }
    let (table, ..) = state
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = table.markdown();
    println!("{text}");
    fs::write(args.out.join("table.md"), &text)?;
    let judged = table.judge();
    for j in &judged {
        println!("{}: {}", j.cell, j.what);
    }
    let failures = table.failures().len();
    ensure!(
        failures == 0 && judged.is_empty(),
        "{failures} walks failed, {} medians are too high",
        judged.len()
    );
    Ok(())
}

/// The programs that are measured and the one that measures: what others measured is not gone on with.
fn build() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for program in [binary("lbd")?, std::env::current_exe()?] {
        fs::read(&program)
            .with_context(|| program.display().to_string())?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// About what a walk adds to the whole, on two cores.
fn share(walk: &Walk, jobs: usize) -> Duration {
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX).max(1);
    (Duration::from_secs(10) + walk.advert() * 95) / jobs
}

fn minutes(time: Duration) -> String {
    format!("{} min", time.as_secs().div_ceil(60))
}

fn or_all<T: ValueEnum + Copy>(asked: &[T]) -> Vec<T> {
    if asked.is_empty() {
        T::value_variants().to_vec()
    } else {
        asked.to_vec()
    }
}

/// The walks that may go beside each other, and how many of them at a time. The pairs take turns, so
/// that all are measured under the same conditions.
fn groups(args: &Arguments) -> Vec<(Vec<Walk>, usize)> {
    let mut groups = Vec::new();
    for &seconds in &args.intervals {
        let advert = Duration::from_secs_f64(seconds);
        let jobs = match advert.as_millis() {
            1000.. => args.jobs.first(),
            20.. => args.jobs.get(1),
            _ => args.jobs.get(2),
        };
        let mut walks = Vec::new();
        for run in 0..args.runs {
            for wire in or_all(&args.wires) {
                if !wire.fractions() && advert.subsec_nanos() != 0 {
                    continue;
                }
                walks.extend(or_all(&args.pairings).into_iter().map(|pairing| Walk {
                    wire,
                    advert_ms: u32::try_from(advert.as_millis()).unwrap_or(u32::MAX),
                    pairing,
                    run,
                    runs: args.runs,
                }));
            }
        }
        groups.push((walks, jobs.copied().unwrap_or(1)));
    }
    groups
}
