//! `lbctl realserver`: prepares this host as a real server and undoes it. Needs no lbd.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::io::realserver::{Host, PIN_DIR, RealServerError, STATE_DIR};
use crate::realserver::{self, GUE_PORT, Observed, Op, Plan, Refusal, State, Tunnel, Vip, Wish};

/// `lbctl realserver`.
#[derive(Clone, Debug, Subcommand)]
pub enum RealServerCommand {
    /// Make this host a real server for these virtual addresses: the addresses on lo, no ARP for
    /// them, and with --tun their packets taken out of the tunnel.
    Up(UpArgs),
    /// Undo what `up` did, and nothing else.
    Down(DownArgs),
    /// Show what is up, what is no longer as it was left, and what the tunnel's program counted.
    Show(ShowArgs),
}

#[derive(Clone, Debug, Args)]
struct PlaceArgs {
    /// Where the state before is kept.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
    /// Where the decapsulation program is pinned.
    #[arg(long, value_name = "DIR", default_value = PIN_DIR)]
    pin: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `lbctl realserver up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// The virtual addresses.
    #[arg(
        long,
        required = true,
        value_name = "ADDR[,ADDR...]",
        value_delimiter = ','
    )]
    vip: Vec<IpAddr>,
    /// The interface that is to have them: lo, or a dummy.
    #[arg(long, value_name = "IF", default_value = "lo")]
    dev: String,
    /// The director sends through a tunnel (`lb_kind TUN`).
    #[arg(long, value_name = "TYPE")]
    tun: Option<TunnelArg>,
    /// GUE's UDP port [default: 6080].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Where packets arrive [default: the only Ethernet interface].
    #[arg(long, value_name = "IF")]
    iface: Option<String>,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// `lbctl realserver down`.
#[derive(Clone, Debug, Args)]
pub struct DownArgs {
    /// Only these [default: all].
    #[arg(long, value_name = "ADDR[,ADDR...]", value_delimiter = ',')]
    vip: Vec<IpAddr>,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// `lbctl realserver show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TunnelArg {
    /// IP in IP.
    Ipip,
    /// UDP with a GUE header.
    Gue,
    /// GRE.
    Gre,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("--port goes with --tun gue")]
    Port,
    #[error(transparent)]
    Host(#[from] RealServerError),
    #[error(
        "cannot {op}: {source}\nWhat was done before is remembered: `lbctl realserver down` undoes it"
    )]
    Halfway { op: String, source: RealServerError },
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs the command. Exit status: 0 done; 1 failed, or (`show`) not as it was left; 2 refused.
#[must_use]
pub fn run(command: &RealServerCommand) -> ExitCode {
    let done = match command {
        RealServerCommand::Up(args) => up(args),
        RealServerCommand::Down(args) => down(args),
        RealServerCommand::Show(args) => show(args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("lbctl: {e}");
            ExitCode::from(match e {
                Failure::Refused(_) | Failure::Port => 2,
                Failure::Host(_)
                | Failure::Halfway { .. }
                | Failure::Output(_)
                | Failure::Json(_) => 1,
            })
        }
    }
}

fn up(args: &UpArgs) -> Result<u8, Failure> {
    let tunnel = match (args.tun, args.port) {
        (Some(TunnelArg::Gue), port) => Some(Tunnel::Gue {
            port: port.unwrap_or(GUE_PORT),
        }),
        (_, Some(_)) => return Err(Failure::Port),
        (Some(TunnelArg::Ipip), None) => Some(Tunnel::Ipip),
        (Some(TunnelArg::Gre), None) => Some(Tunnel::Gre),
        (None, None) => None,
    };
    let wish = Wish {
        vips: args.vip.clone(),
        dev: args.dev.clone(),
        tunnel,
        iface: args.iface.clone(),
    };
    let mut host = Host::open(&args.place.state_dir, &args.place.pin)?;
    let state = host.state()?;
    let observed = observe(&mut host, &state)?;
    let plan = realserver::up(&state, &observed, &wish)?;
    carry_out(&mut host, plan, args.dry_run, args.place.json)
}

fn down(args: &DownArgs) -> Result<u8, Failure> {
    let mut host = Host::open(&args.place.state_dir, &args.place.pin)?;
    let state = host.state()?;
    let observed = observe(&mut host, &state)?;
    let plan = realserver::down(&state, &observed, &args.vip);
    carry_out(&mut host, plan, args.dry_run, args.place.json)
}

/// Looks at the host; at the sysctls of all interfaces that may matter.
fn observe(host: &mut Host, state: &State) -> Result<Observed, Failure> {
    let links = host.observe(&[])?.links;
    let mut ifaces: Vec<String> = links.into_iter().map(|link| link.name).collect();
    ifaces.extend(state.vips.values().filter_map(|vip| vip.iface.clone()));
    Ok(host.observe(&ifaces)?)
}

#[derive(Serialize)]
struct Report<'a> {
    ops: &'a [Op],
    notes: &'a [String],
    done: bool,
}

fn carry_out(host: &mut Host, mut plan: Plan, dry_run: bool, json: bool) -> Result<u8, Failure> {
    if !dry_run {
        // Before anything is changed: whatever stops us now can be undone.
        let before = host.state()?;
        let mut kept = plan.state.clone();
        for (sysctl, change) in &before.sysctls {
            kept.sysctls.entry(sysctl.clone()).or_insert(*change);
        }
        for (addr, vip) in &before.vips {
            kept.vips.entry(*addr).or_insert_with(|| vip.clone());
        }
        for (iface, index) in &before.attached {
            kept.attached.entry(iface.clone()).or_insert(*index);
        }
        host.keep(&kept)?;
        for op in &plan.ops {
            let said = host.perform(op).map_err(|source| Failure::Halfway {
                op: op.to_string(),
                source,
            })?;
            plan.notes.extend(said);
        }
        host.keep(&plan.state)?;
    }
    let mut out = std::io::stdout().lock();
    if json {
        let report = Report {
            ops: &plan.ops,
            notes: &plan.notes,
            done: !dry_run,
        };
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        for op in &plan.ops {
            writeln!(out, "{op}")?;
        }
        if plan.ops.is_empty() {
            writeln!(out, "nothing to do")?;
        }
        for note in &plan.notes {
            writeln!(out, "note: {note}")?;
        }
    }
    Ok(0)
}

#[derive(Serialize)]
struct Shown<'a> {
    vips: Vec<ShownVip<'a>>,
    drift: &'a [Op],
    counts: Vec<ShownCount>,
}

#[derive(Serialize)]
struct ShownVip<'a> {
    addr: IpAddr,
    #[serde(flatten)]
    vip: &'a Vip,
}

#[derive(Serialize)]
struct ShownCount {
    name: &'static str,
    count: u64,
}

fn show(args: &ShowArgs) -> Result<u8, Failure> {
    let mut host = Host::open(&args.place.state_dir, &args.place.pin)?;
    let state = host.state()?;
    let observed = observe(&mut host, &state)?;
    let drift = realserver::drift(&state, &observed);
    let counts = host.counts()?;
    let mut out = std::io::stdout().lock();
    if args.place.json {
        let shown = Shown {
            vips: state
                .vips
                .iter()
                .map(|(&addr, vip)| ShownVip { addr, vip })
                .collect(),
            drift: &drift,
            counts: counts
                .iter()
                .map(|&(name, count, _)| ShownCount { name, count })
                .collect(),
        };
        serde_json::to_writer_pretty(&mut out, &shown)?;
        writeln!(out)?;
    } else {
        for (addr, vip) in &state.vips {
            let by = match vip.tunnel {
                None => "direct routing".to_owned(),
                Some(Tunnel::Ipip) => "ipip".to_owned(),
                Some(Tunnel::Gue { port }) => format!("gue port {port}"),
                Some(Tunnel::Gre) => "gre".to_owned(),
            };
            let on = vip.iface.as_deref().unwrap_or("any interface");
            writeln!(out, "{addr} on {}, {by}, arriving on {on}", vip.dev)?;
        }
        if state.vips.is_empty() {
            writeln!(out, "no virtual address is up")?;
        }
        for (name, count, help) in counts.iter().filter(|(_, count, _)| *count != 0) {
            writeln!(out, "{name:12} {count:>12}  {help}")?;
        }
        for op in &drift {
            writeln!(out, "not as it was left; `up` again would {op}")?;
        }
    }
    Ok(u8::from(!drift.is_empty()))
}
