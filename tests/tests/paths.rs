//! What does not fit into one frame or does not go the straight way: fragments, path MTU discovery,
//! IPv6 and tunnels, end to end.

#[path = "paths/fragments.rs"]
mod fragments;
#[path = "paths/ipv6.rs"]
mod ipv6;
#[path = "paths/pmtu.rs"]
mod pmtu;
#[path = "paths/router.rs"]
mod router;
#[path = "paths/tunnels.rs"]
mod tunnels;

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
/// The MTU of a narrow link.
const NARROW: u32 = 1400;

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
