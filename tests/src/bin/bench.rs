//! `cargo xtask bench`: what a packet costs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lb_common::maps::FLOW_BUCKETS;
use lb_tests::bench::{Effort, HEAD, Offer, Port, filled, measure};
use lb_tests::scratch::Scratch;
use lb_userspace::io::bpf::{Config, DataPlane};
use lb_userspace::model::{Scheduler, Tunnel};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Net nanoseconds a packet by BPF_PROG_TEST_RUN, beside floor programs of the same run.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Args {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Interleaved runs of each program; the median counts.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Packets of a run.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    repeat: u32,
    /// Measure only the cases whose name has this in it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// The CPU to measure on; by default the last.
    #[arg(long)]
    cpu: Option<usize>,
    /// Measure nothing: fill the maps for VIP 192.0.2.1:80 (TCP and UDP, sloppy) and pin the program
    /// as DIR/prog for another harness. DIR lies on a bpf filesystem.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "unpin"])]
    pin: Option<PathBuf>,
    /// For `--pin`: the interface on which frames arrive and leave; test runs have loopback's.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pin")]
    ifindex: u32,
    /// For `--pin`: its MAC, to which frames come.
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01", requires = "pin", value_parser = mac)]
    mac: [u8; 6],
    /// For `--pin`: the scheduler.
    #[arg(long, value_name = "LB_ALGO", default_value = "rr", requires = "pin", value_parser = scheduler)]
    scheduler: Scheduler,
    /// For `--pin`: how many real servers.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "pin", value_parser = clap::value_parser!(u16).range(1..=4096))]
    servers: u16,
    /// For `--pin`: reach the real servers through a tunnel of this type.
    #[arg(long, value_name = "TYPE", requires = "pin", value_parser = tunnel)]
    tunnel: Option<Tunnel>,
    /// For `--pin`: how many services, of which frames are for the first two (TCP and UDP).
    #[arg(long, value_name = "N", default_value_t = 2, requires = "pin", value_parser = clap::value_parser!(u32).range(2..=10_001))]
    services: u32,
    /// Remove what `--pin DIR` left.
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    unpin: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !nix::unistd::geteuid().is_root() {
        bail!("bench loads BPF programs and needs root: sudo -E cargo xtask bench");
    }
    if let Some(dir) = &args.pin {
        let offer = Offer {
            port: 80,
            scheduler: args.scheduler,
            servers: args.servers,
            v6: false,
            tunnel: args.tunnel,
        };
        let port = Port {
            ifindex: args.ifindex,
            mac: args.mac,
        };
        let (_, path) = filled(dir, port, &[offer], args.services - 2, FLOW_BUCKETS)?;
        println!("{}", path.display());
        return Ok(());
    }
    if let Some(dir) = &args.unpin {
        return unpin(dir);
    }
    let cpu = args
        .cpu
        .unwrap_or(std::thread::available_parallelism().map_or(1, usize::from) - 1);
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("run on CPU {cpu}"))?;

    let scratch = Scratch::new()?;
    let effort = Effort {
        runs: usize::from(args.runs),
        repeat: args.repeat,
    };
    if !args.json {
        println!(
            "CPU {cpu}, median of {} runs of {} packets, 64-byte frames",
            args.runs, args.repeat
        );
        println!("{HEAD}");
    }
    let report = measure(&scratch.pins().join("bench"), effort, &args.only, |row| {
        if !args.json {
            println!("{row}");
        }
    })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "six bytes as 02:00:00:00:00:01".to_owned())
}

fn tunnel(word: &str) -> Result<Tunnel, String> {
    match word {
        "ipip" => Ok(Tunnel::Ipip),
        "gue" => Ok(Tunnel::Gue {
            port: 6080,
            csum: false,
        }),
        "gre" => Ok(Tunnel::Gre { csum: false }),
        _ => Err("ipip, gue or gre".to_owned()),
    }
}

fn scheduler(word: &str) -> Result<Scheduler, String> {
    let names = || Scheduler::ALL.map(Scheduler::name).join(", ");
    Scheduler::ALL
        .into_iter()
        .find(|s| s.name() == word)
        .ok_or_else(|| format!("one of {}", names()))
}

fn unpin(dir: &Path) -> Result<()> {
    if !dir.join("prog").exists() {
        bail!("{} holds nothing of `bench --pin`", dir.display());
    }
    Ok(DataPlane::open(&Config {
        pin: dir.to_owned(),
        ..Config::default()
    })?
    .unload()?)
}
