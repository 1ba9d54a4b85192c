//! What does not fit into one frame or does not go the straight way: fragments, path MTU discovery,
//! joined segments, IPv6, tunnels and routers, end to end.

#[path = "paths/fragments.rs"]
mod fragments;
#[path = "paths/ipv6.rs"]
mod ipv6;
#[path = "paths/joined.rs"]
mod joined;
#[path = "paths/narrow.rs"]
mod narrow;
#[path = "paths/prepared.rs"]
mod prepared;
#[path = "paths/routed.rs"]
mod routed;
#[path = "paths/tunnels.rs"]
mod tunnels;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Spec};
use lb_tests::prober::Prober;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
/// What is transferred.
const BYTES: usize = 600_000;

/// A network for two directors of ours, with one more host.
fn lab(conf: &PairConf) -> Result<Lab> {
    let mut spec = Spec::pair(conf, [Kind::Lbd; 2]);
    spec.spare = true;
    Lab::new(&spec)
}

/// Starts the directors and waits until the first one serves.
fn start(lab: &mut Lab) -> Result<Prober> {
    let ping = lab.ping(lab.vip(), Duration::from_millis(20))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    Ok(ping)
}

/// How often a director has counted a frame under a name.
fn counted(director: &Director, reason: &str) -> Result<u64> {
    let status = director.status()?;
    let found = status.reasons.iter().find(|r| r.name == reason);
    found
        .map(|r| r.count)
        .with_context(|| format!("no counter {reason}"))
}

/// What `lb_kind` says for direct routing (`DR`) or the type of a tunnel.
fn lb_kind(kind: &str) -> String {
    match kind {
        "DR" => kind.to_owned(),
        // The port is the one that `lbctl realserver` takes by itself.
        "gue" => "TUN type gue port 6080".to_owned(),
        _ => format!("TUN type {kind}"),
    }
}

/// A `virtual_server` of either version.
fn virtual_server(vip: IpAddr, port: u16, protocol: &str, kind: &str, reals: &[IpAddr]) -> String {
    let kind = lb_kind(kind);
    let mut text = format!(
        "\nvirtual_server {vip} {port} {{\n  delay_loop 1\n  lb_algo rr\n  lb_kind {kind}\n  protocol {protocol}\n"
    );
    for real in reals {
        let _ = write!(
            text,
            "  real_server {real} {port} {{\n    weight 1\n    TCP_CHECK {{\n      connect_timeout 1\n      \
             retry 0\n      warmup 0\n    }}\n  }}\n"
        );
    }
    text.push_str("}\n");
    text
}
