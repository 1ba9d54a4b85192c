//! ipvsadm's listings, byte for byte where they say the same (`ipvsadm.c`: `print_title`,
//! `print_service_entry`, `print_conn`, `print_largenum`).
//!
//! The first line names lbd's version instead of IPVS's, and its size is the number of flows that
//! the table has room for. With direct routing the replies bypass the director, so what goes out is
//! 0, as it is with IPVS.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::endpoint;
use crate::control::protocol::Connection;
use crate::control::status::{BackendStatus, Counts, Rates, ServiceStatus, Status};
use crate::model::{ForwardMethod, Protocol};

/// `ipvsadm -Ln`.
#[must_use]
pub fn services(status: &Status) -> String {
    let mut out = version_line(status);
    out += "Prot LocalAddress:Port Scheduler Flags\n";
    out += "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n";
    for s in sorted(status) {
        out += &service_line(s);
        for b in listed(s) {
            let _ = writeln!(
                out,
                "  -> {:<28} {:<7} {:<6} {:<10} {:<10}",
                endpoint(b.addr, b.port),
                forward(b),
                b.effective_weight,
                b.active_conns,
                b.inactive_conns
            );
        }
    }
    for s in sorted(status).into_iter().filter(|s| !s.shares_checks) {
        for b in &s.backends {
            if let Some(text) = super::by_hand(b) {
                let at = endpoint(b.addr, b.port);
                let _ = writeln!(out, "{at} of {}: {text}", service_name(s));
            }
        }
    }
    out
}

/// `ipvsadm -Ln --thresholds`.
#[must_use]
pub fn thresholds(status: &Status) -> String {
    let mut out = version_line(status);
    let _ = writeln!(
        out,
        "{:<33} {:<10} {:<10} {:<10} {:<10}",
        "Prot LocalAddress:Port", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
    );
    out += "  -> RemoteAddress:Port\n";
    for s in sorted(status) {
        out += &service_line(s);
        for b in listed(s) {
            let _ = writeln!(
                out,
                "  -> {:<28} {:<10} {:<10} {:<10} {:<10}",
                endpoint(b.addr, b.port),
                b.uthreshold,
                b.lthreshold,
                b.active_conns,
                b.inactive_conns
            );
        }
    }
    out
}

/// `ipvsadm -Ln --stats`.
#[must_use]
pub fn stats(status: &Status) -> String {
    let columns = |c: &Counts| [c.conns, c.packets, 0, c.bytes, 0];
    numbers(
        status,
        ["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"],
        |s| columns(&s.counts),
        |b| columns(&b.counts),
    )
}

/// `ipvsadm -Ln --rate`.
#[must_use]
pub fn rate(status: &Status) -> String {
    let columns = |r: &Rates| [r.cps, r.pps, 0, r.bps, 0];
    numbers(
        status,
        ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"],
        |s| columns(&s.rates),
        |b| columns(&b.rates),
    )
}

/// The title of `ipvsadm -Lnc`.
#[must_use]
pub fn connections_title() -> String {
    let title = format!(
        "pro expire {:<11} {:<18} {:<18} destination\n",
        "state", "source", "virtual"
    );
    format!("IPVS connection entries\n{title}")
}

/// One line of `ipvsadm -Lnc`.
#[must_use]
pub fn connection(c: &Connection) -> String {
    let secs = c.expires_ms / 1000;
    let expire = format!("{:02}:{:02}", secs / 60, secs % 60);
    format!(
        "{:<3} {:<6} {:<11} {:<18} {:<18} {}\n",
        c.protocol.name(),
        expire,
        c.state,
        endpoint(c.client, c.client_port),
        endpoint(c.vip, c.vip_port),
        endpoint(c.server, c.server_port)
    )
}

fn numbers(
    status: &Status,
    names: [&str; 5],
    of_service: impl Fn(&ServiceStatus) -> [u64; 5],
    of_backend: impl Fn(&BackendStatus) -> [u64; 5],
) -> String {
    let mut out = version_line(status);
    let _ = write!(out, "{:<33}", "Prot LocalAddress:Port");
    for name in names {
        let _ = write!(out, " {name:>8}");
    }
    out += "\n  -> RemoteAddress:Port\n";
    for s in sorted(status) {
        let _ = write!(out, "{:<33}", service_name(s));
        of_service(s).iter().for_each(|n| out += &large(*n));
        out.push('\n');
        for b in listed(s) {
            let _ = write!(out, "  -> {:<28}", endpoint(b.addr, b.port));
            of_backend(b).iter().for_each(|n| out += &large(*n));
            out.push('\n');
        }
    }
    out
}

/// A number in nine columns (`print_largenum`).
fn large(n: u64) -> String {
    match n {
        0..100_000_000 => format!("{n:9}"),
        100_000_000..1_000_000_000 => format!("{:8}K", n / 1000),
        1_000_000_000..100_000_000_000 => format!("{:8}M", n / 1_000_000),
        100_000_000_000..100_000_000_000_000 => format!("{:8}G", n / 1_000_000_000),
        100_000_000_000_000.. => format!("{:8}T", n / 1_000_000_000_000),
    }
}

fn version_line(status: &Status) -> String {
    format!(
        "IP Virtual Server version {} (size={})\n",
        status.daemon.version, status.data_plane.flow_slots
    )
}

/// `TCP  192.0.2.1:80`: the protocol in four columns.
fn service_name(s: &ServiceStatus) -> String {
    format!(
        "{:<4} {}",
        s.key.protocol.name(),
        endpoint(s.key.addr, s.key.port)
    )
}

/// `TCP  192.0.2.1:80 mh (mh-port) persistent 300 mask 255.255.255.0`, and `ops` at the end.
fn service_line(s: &ServiceStatus) -> String {
    let mut out = format!("{} {}", service_name(s), s.scheduler.name());
    let flags = s.sched_flags.names(s.scheduler);
    if !flags.is_empty() {
        let _ = write!(out, " ({})", flags.join(","));
    }
    if s.persistence_secs > 0 {
        let _ = write!(out, " persistent {}", s.persistence_secs);
        match s.key.addr {
            IpAddr::V4(_) if s.persistence_prefix < 32 => {
                let mask = Ipv4Addr::from(
                    !(u32::MAX
                        .checked_shr(s.persistence_prefix.into())
                        .unwrap_or(0)),
                );
                let _ = write!(out, " mask {mask}");
            }
            IpAddr::V6(_) if s.persistence_prefix < 128 => {
                let _ = write!(out, " mask {}", s.persistence_prefix);
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    if s.ops {
        out += " ops";
    }
    out.push('\n');
    out
}

fn forward(b: &BackendStatus) -> &'static str {
    match b.method {
        ForwardMethod::Dr | ForwardMethod::Tun(_) if b.local => "Local",
        ForwardMethod::Dr => "Route",
        ForwardMethod::Tun(_) => "Tunnel",
    }
}

/// ipvsadm sorts by protocol, address and port.
fn sorted(status: &Status) -> Vec<&ServiceStatus> {
    let number = |p: Protocol| p.number();
    let mut services: Vec<&ServiceStatus> = status.services.iter().collect();
    services.sort_by_key(|s| {
        (
            s.key.addr.is_ipv6(),
            number(s.key.protocol),
            s.key.addr,
            s.key.port,
        )
    });
    services
}

fn listed(s: &ServiceStatus) -> Vec<&BackendStatus> {
    let mut backends: Vec<&BackendStatus> = s.backends.iter().filter(|b| b.listed).collect();
    backends.sort_by_key(|b| (b.addr, b.port));
    backends
}
