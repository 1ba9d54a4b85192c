//! `lbctl set weight`, `drain`, `enable`, `disable`: what is set by hand for a real server.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::control::cli::CliError;
use crate::control::names;
use crate::control::protocol::{ConnectionFilter, ServerReport};
use crate::control::status::{ServiceStatus, Status};
use crate::health::SetServer;
use crate::io::control::Client;
use crate::model::ServiceKey;

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Which real server.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The service as `lbctl show` names it (192.0.2.1:80, 192.0.2.1:53/udp), its group, or the
    /// beginning of either.
    service: String,
    /// The real server: its address, with or without the port.
    server: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `lbctl set`.
#[derive(Debug, Subcommand)]
pub enum SetCommand {
    /// Give a real server another weight, until `default`, `lbctl enable`, or a reload that changes its
    /// weight.
    Weight {
        /// Of which server.
        #[command(flatten)]
        of: ServerArgs,
        /// 0 to 65535 (0 drains), or `default`: as configured.
        #[arg(value_parser = parse_weight)]
        weight: SetServer,
    },
}

/// `lbctl drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    of: ServerArgs,
    /// Wait until the server has no connection left, and show how many it has.
    #[arg(long)]
    wait: bool,
    /// Wait no longer than so many seconds; exit status 1 when connections are left then.
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = parse_timeout)]
    timeout: Option<Duration>,
}

fn parse_weight(text: &str) -> Result<SetServer, String> {
    match text {
        "default" => Ok(SetServer::WeightDefault),
        n => n
            .parse()
            .map(SetServer::Weight)
            .map_err(|_| "it is 0 to 65535, or `default`".to_owned()),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let secs: f64 = text
        .parse()
        .map_err(|_| "it is a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(secs).map_err(|_| "it is a number of seconds".to_owned())
}

/// `lbctl set ...`.
///
/// # Errors
/// When the daemon cannot be reached or refuses, or nothing can be written.
pub fn set(daemon: &mut Client, command: &SetCommand) -> Result<u8, CliError> {
    match command {
        SetCommand::Weight { of, weight } => change(daemon, of, *weight),
    }
}

/// `lbctl enable`, `lbctl disable`, and the first half of `lbctl drain`.
///
/// # Errors
/// As [`set`].
pub fn change(daemon: &mut Client, of: &ServerArgs, set: SetServer) -> Result<u8, CliError> {
    apply(daemon, of, set).map(|_| 0)
}

fn apply(daemon: &mut Client, of: &ServerArgs, set: SetServer) -> Result<ServerReport, CliError> {
    let status = daemon.status()?;
    let service = names::service(&status, &of.service).map_err(CliError::Name)?;
    let server = names::server(service, &of.server).map_err(CliError::Name)?;
    let report = daemon.set_server(service.key, server.addr, set)?;
    let mut out = io::stdout().lock();
    if of.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        out.write_all(b"\n")?;
    } else {
        out.write_all(text(&report).as_bytes())?;
    }
    out.flush()?;
    Ok(report)
}

fn text(report: &ServerReport) -> String {
    let mut text = format!(
        "{}  {}  {} (configured weight {})\n",
        report.service,
        SocketAddr::new(report.server, report.service.port),
        report.by_hand,
        report.configured
    );
    for note in &report.notes {
        text += &format!("  {note}\n");
    }
    text
}

/// `lbctl drain`.
///
/// # Errors
/// As [`set`].
pub fn drain(daemon: &mut Client, args: &DrainArgs) -> Result<u8, CliError> {
    let report = apply(daemon, &args.of, SetServer::Weight(0))?;
    if !args.wait {
        return Ok(0);
    }
    let begun = now();
    let screen = io::stdout().is_terminal() && !args.of.json;
    let (mut shown, mut most) = (None, 0);
    let mut out = io::stdout().lock();
    loop {
        let status = daemon.status()?;
        let Some(mut left) = left(&status, &report) else {
            writeln!(out, "the real server is no longer configured")?;
            return Ok(1);
        };
        if left == (0, 0) {
            // The counts may be as old as the last walk through the table.
            left = look(daemon, &status, &report)?;
        }
        let (active, inactive) = left;
        let all = active + inactive;
        most = most.max(all);
        if shown != Some((active, inactive)) {
            shown = Some((active, inactive));
            let after = begun.elapsed().as_secs();
            if args.of.json {
                writeln!(
                    out,
                    "{{\"active_conns\":{active},\"inactive_conns\":{inactive}}}"
                )?;
            } else if screen {
                write!(
                    out,
                    "\r\x1b[K{} {all} of {most} left ({active} active), {after}s",
                    bar(all, most)
                )?;
            } else {
                writeln!(out, "{all} left ({active} active), {after}s")?;
            }
            out.flush()?;
        }
        let done = all == 0;
        if done || args.timeout.is_some_and(|t| begun.elapsed() >= t) {
            if screen {
                writeln!(out)?;
            }
            return Ok(u8::from(!done));
        }
        #[expect(clippy::disallowed_methods, reason = "lbctl has nothing else to do")]
        std::thread::sleep(LOOK);
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an operator has waited")]
fn now() -> Instant {
    Instant::now()
}

/// Active and inactive connections of the server, of all addresses of its group.
fn left(status: &Status, report: &ServerReport) -> Option<(u64, u64)> {
    let backends = same_group(status, report).flat_map(|s| &s.backends);
    let mut sum = None;
    for b in backends.filter(|b| b.addr == report.server) {
        let (active, inactive) = sum.unwrap_or((0, 0));
        sum = Some((active + b.active_conns, inactive + b.inactive_conns));
    }
    sum
}

/// As [`left`], from the connections themselves.
fn look(
    daemon: &mut Client,
    status: &Status,
    report: &ServerReport,
) -> Result<(u64, u64), CliError> {
    let keys: Vec<ServiceKey> = same_group(status, report).map(|s| s.key).collect();
    let filter = ConnectionFilter {
        server: Some(report.server),
        ..ConnectionFilter::default()
    };
    let (mut active, mut inactive) = (0, 0);
    daemon.connections(&filter, u64::MAX, |c| {
        let of = |k: &ServiceKey| (k.addr, k.protocol) == (c.vip, c.protocol);
        match c.state.as_str() {
            // What persistence knows is no connection.
            "TEMPLATE" => {}
            _ if !keys
                .iter()
                .any(|k| of(k) && [0, c.vip_port].contains(&k.port)) => {}
            "ESTABLISHED" => active += 1,
            _ => inactive += 1,
        }
        Ok::<_, CliError>(())
    })?;
    Ok((active, inactive))
}

/// The service of `report`, and all others of its group.
fn same_group<'s>(
    status: &'s Status,
    report: &ServerReport,
) -> impl Iterator<Item = &'s ServiceStatus> {
    let key = report.service;
    let of = status.services.iter().find(move |s| s.key == key);
    let group = of.and_then(|s| s.group.as_ref());
    status.services.iter().filter(move |s| {
        s.key == key
            || group.is_some() && s.group.as_ref() == group && s.key.protocol == key.protocol
    })
}

/// Twenty columns: what is gone of `most`.
fn bar(left: u64, most: u64) -> String {
    let gone = match (most - left.min(most)).saturating_mul(20).checked_div(most) {
        Some(gone) => usize::try_from(gone).unwrap_or(20),
        None => 20,
    };
    format!("[{}{}]", "#".repeat(gone), "-".repeat(20 - gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_bars() {
        assert_eq!(parse_weight("0"), Ok(SetServer::Weight(0)));
        assert_eq!(parse_weight("65535"), Ok(SetServer::Weight(65_535)));
        assert_eq!(parse_weight("default"), Ok(SetServer::WeightDefault));
        for wrong in ["65536", "-1", "", "none"] {
            assert!(parse_weight(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bar(10, 10), format!("[{}]", "-".repeat(20)));
        assert_eq!(
            bar(5, 10),
            format!("[{}{}]", "#".repeat(10), "-".repeat(10))
        );
        assert_eq!(bar(0, 10), format!("[{}]", "#".repeat(20)));
        assert_eq!(bar(0, 0), format!("[{}]", "#".repeat(20)));
    }
}
