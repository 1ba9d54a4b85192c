//! Measures what failures of a director cost a client, for pairs of `lbd`, of keepalived and mixed
//! ones, in the same run and by the same means.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::measure::Bench;
use lb_tests::outage::{Outage, Spread, spread};
use lb_tests::random::Random;
use serde::Serialize;

#[derive(Parser)]
#[command(about = "Failover seen by a client: lbd and keepalived, measured by the same harness")]
struct Arguments {
    /// Runs of each event at each interval.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Partitions healed at each interval.
    #[arg(long, default_value_t = 50)]
    heal_runs: usize,
    /// Simultaneous starts at each interval.
    #[arg(long, default_value_t = 100)]
    cold_runs: usize,
    /// What happens (default: everything).
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<What>,
    /// advert_int in seconds; whole ones are VRRP version 2, others version 3.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 0.05, 0.01])]
    advert: Vec<f64>,
    /// Pairs to measure.
    #[arg(long = "impl", value_enum, value_delimiter = ',', default_values_t = [Pair::Lbd, Pair::Keepalived])]
    pairs: Vec<Pair>,
    /// Labs at the same time.
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Runs in one lab before a fresh one is built.
    #[arg(long, default_value_t = 5)]
    per_lab: usize,
    /// Seed of the moments at which events happen (default: any; it is printed).
    #[arg(long)]
    seed: Option<u64>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    PowerLoss,
    LinkDownLocal,
    LinkDownSwitch,
    CleanStop,
    KillRestart,
    Heal,
    ColdStart,
}

impl What {
    fn event(self) -> Option<Event> {
        match self {
            What::PowerLoss => Some(Event::PowerLoss),
            What::LinkDownLocal => Some(Event::LinkDownLocal),
            What::LinkDownSwitch => Some(Event::LinkDownSwitch),
            What::CleanStop => Some(Event::CleanStop),
            What::KillRestart => Some(Event::KillRestart),
            What::Heal | What::ColdStart => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Pair {
    /// lbd on both.
    Lbd,
    /// keepalived on both.
    Keepalived,
    /// lbd master, keepalived backup.
    Mixed,
    /// keepalived master, lbd backup.
    MixedReverse,
}

impl Pair {
    fn kinds(self) -> [Kind; 2] {
        match self {
            Pair::Lbd => [Kind::Lbd; 2],
            Pair::Keepalived => [Kind::Keepalived; 2],
            Pair::Mixed => [Kind::Lbd, Kind::Keepalived],
            Pair::MixedReverse => [Kind::Keepalived, Kind::Lbd],
        }
    }
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    advert_ms: u64,
    what: What,
    /// The return of the master, not its loss.
    back: bool,
}

impl Row {
    fn words(&self) -> String {
        match (self.what.event(), self.what) {
            (Some(event), _) if self.back => format!("  return after it ({})", event.words()),
            (Some(event), _) => event.words().to_owned(),
            (None, What::Heal) => "partition heals".to_owned(),
            (None, _) => "both started at once".to_owned(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    Ping,
    Udp,
}

#[derive(Default)]
struct Results {
    outages: BTreeMap<(Row, Pair, Question), Vec<f64>>,
    /// Cold starts: those with the right ARP entry, all.
    cold: BTreeMap<(u64, Pair), (usize, usize)>,
    errors: Vec<String>,
}

/// Some runs in one lab.
#[derive(Clone, Copy)]
struct Job {
    pair: Pair,
    advert: Duration,
    what: What,
    runs: usize,
    seed: u64,
}

fn main() -> Result<()> {
    lb_tests::scratch::defer_signals();
    let mut args = Arguments::parse();
    if args.kinds.is_empty() {
        args.kinds = What::value_variants().to_vec();
    }
    let seed = args.seed.unwrap_or_else(Random::any_seed);
    eprintln!("seed {seed}");
    let jobs = jobs(&args, &mut Random::new(seed));
    let results = Mutex::new(Results::default());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if lb_tests::scratch::check_cancelled().is_err() {
                        return;
                    }
                    if let Err(e) = run(job, &results) {
                        eprintln!("{:?} at {:?}, {:?}: {e:#}", job.pair, job.advert, job.what);
                        lock(&results).errors.push(format!(
                            "{:?} {:?} {:?}: {e:#}",
                            job.pair, job.advert, job.what
                        ));
                    }
                    eprint!(
                        "\r{} of {} labs begun ",
                        next.load(Ordering::Relaxed).min(jobs.len()),
                        jobs.len()
                    );
                }
            });
        }
    });
    eprintln!();
    let results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if args.json {
        println!("{}", json(&results, seed)?);
    } else {
        print_table(&args, &results);
    }
    lb_tests::scratch::check_cancelled()?;
    anyhow::ensure!(
        results.errors.is_empty(),
        "{} labs failed",
        results.errors.len()
    );
    Ok(())
}

/// The pairs take turns, so that both are measured under the same conditions.
fn jobs(args: &Arguments, random: &mut Random) -> Vec<Job> {
    let mut jobs = Vec::new();
    for &what in &args.kinds {
        let runs = match what {
            What::Heal => args.heal_runs,
            What::ColdStart => args.cold_runs,
            _ => args.runs,
        };
        let per_lab = if what == What::ColdStart {
            args.per_lab * 5
        } else {
            args.per_lab
        }
        .max(1);
        for &advert in &args.advert {
            for begun in (0..runs).step_by(per_lab) {
                for &pair in &args.pairs {
                    let advert = Duration::from_secs_f64(advert);
                    jobs.push(Job {
                        pair,
                        advert,
                        what,
                        runs: per_lab.min(runs - begun),
                        seed: random.figure(),
                    });
                }
            }
        }
    }
    jobs
}

fn lock(results: &Mutex<Results>) -> std::sync::MutexGuard<'_, Results> {
    results
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn run(job: &Job, results: &Mutex<Results>) -> Result<()> {
    let mut bench = Bench::new(job.pair.kinds(), job.advert, job.seed)?;
    let advert_ms = u64::try_from(job.advert.as_millis())?;
    for _ in 0..job.runs {
        let mut costs = Vec::new();
        match (job.what.event(), job.what) {
            (Some(event), _) => {
                let (lost, back) = bench.event(event).context(event.words())?;
                costs.push((false, lost));
                if event != Event::KillRestart {
                    costs.push((true, back));
                }
            }
            (None, What::Heal) => costs.push((false, bench.heal()?)),
            (None, _) => {
                let right = bench.cold_start()?;
                let mut results = lock(results);
                let count = results.cold.entry((advert_ms, job.pair)).or_default();
                *count = (count.0 + usize::from(right), count.1 + 1);
            }
        }
        let mut results = lock(results);
        for (back, cost) in costs {
            let row = Row {
                advert_ms,
                what: job.what,
                back,
            };
            let mut add = |question, o: &Outage| {
                let ms = o.longest.as_secs_f64() * 1e3;
                results
                    .outages
                    .entry((row.clone(), job.pair, question))
                    .or_default()
                    .push(ms);
            };
            add(Question::Ping, &cost.ping);
            if let Some(udp) = &cost.udp {
                add(Question::Udp, udp);
            }
        }
    }
    bench.finish()
}

fn print_table(args: &Arguments, results: &Results) {
    let columns: Vec<(Pair, Question)> = args
        .pairs
        .iter()
        .flat_map(|&p| [(p, Question::Ping), (p, Question::Udp)])
        .filter(|&(p, q)| results.outages.keys().any(|k| (k.1, k.2) == (p, q)))
        .collect();
    let title = |(pair, question): (Pair, Question)| {
        let asked = if question == Question::Ping {
            "VIP"
        } else {
            "service"
        };
        let pair = pair
            .to_possible_value()
            .map(|v| v.get_name().to_owned())
            .unwrap_or_default();
        format!("{pair}, {asked}")
    };
    println!(
        "Outage seen by a client that asks every {} ms: min / median / max in ms (runs)",
        lb_tests::measure::PROBE_INTERVAL.as_millis()
    );
    print!("{:<8} {:<42}", "advert", "event on the master");
    for &c in &columns {
        print!(" {:>28}", title(c));
    }
    println!();
    let mut rows: Vec<&Row> = results.outages.keys().map(|k| &k.0).collect();
    rows.dedup();
    for row in rows {
        print!(
            "{:<8} {:<42}",
            format!("{} s", row.advert_ms as f64 / 1e3),
            row.words()
        );
        for &(pair, question) in &columns {
            let values = results.outages.get(&(row.clone(), pair, question));
            let text = values
                .and_then(|v| Some((spread(v)?, v.len())))
                .map_or_else(
                    || "-".into(),
                    |(Spread { min, median, max }, n)| {
                        format!("{min:.0} / {median:.0} / {max:.0} ({n})")
                    },
                );
            print!(" {text:>28}");
        }
        println!();
    }
    for ((advert_ms, pair), (right, all)) in &results.cold {
        let pair = pair
            .to_possible_value()
            .map(|v| v.get_name().to_owned())
            .unwrap_or_default();
        println!(
            "{:<8} both started at once, {pair}: the client's ARP entry is the master's in {right} of {all}",
            format!("{} s", *advert_ms as f64 / 1e3)
        );
    }
}

fn json(results: &Results, seed: u64) -> Result<String> {
    let outages: Vec<_> = results
        .outages
        .iter()
        .map(|((row, pair, question), values)| {
            serde_json::json!({
                "advert_ms": row.advert_ms, "event": row.what, "return": row.back, "pair": pair,
                "question": question, "spread_ms": spread(values), "values_ms": values,
            })
        })
        .collect();
    let cold: Vec<_> = results
        .cold
        .iter()
        .map(|((advert_ms, pair), (right, all))| {
            serde_json::json!({ "advert_ms": advert_ms, "pair": pair, "arp_right": right, "runs": all })
        })
        .collect();
    let all = serde_json::json!({ "seed": seed, "outages": outages, "cold_starts": cold, "errors": results.errors });
    Ok(serde_json::to_string_pretty(&all)?)
}
