//! Four million connections.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use lb_common::maps::name;
use lb_common::reason::Reason;
use lb_tests::bench::{Case, Flows, Offer, Order, Rig, Target};
use lb_tests::frame;
use lb_tests::scratch::Scratch;
use lb_userspace::io::bpf::{DataPlane, buckets_for};
use lb_userspace::model::Scheduler;

/// Connections, half of them IPv6.
const FLOWS: u32 = 4_000_000;

fn case(v6: bool) -> Case {
    Case {
        name: "",
        offer: Offer {
            port: if v6 { 81 } else { 80 },
            scheduler: Scheduler::Rr,
            servers: 64,
            v6,
            tunnel: None,
        },
        kind: frame::ACK,
        // The first so many of them, in turn.
        flows: Flows::Of(u64::from(FLOWS).next_power_of_two()),
        order: Order::Turn,
    }
}

/// Connections that were scheduled so far.
fn scheduled(dp: &DataPlane) -> Result<u64> {
    Ok(dp.counters()?.backends.values().map(|c| c.conns).sum())
}

/// What the kernel says that a map takes, in bytes.
fn memory(dp: &DataPlane, name: &str) -> Result<u64> {
    let map = MapInfo::from_pin(dp.pin_dir().join(name))?.fd()?;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd()))?;
    let line = info.lines().find_map(|l| l.strip_prefix("memlock:"));
    Ok(line.context("no memlock")?.trim().parse()?)
}

#[test]
fn four_million_connections_fit_in_512_mib() -> Result<()> {
    let scratch = Scratch::new()?;
    let cases = [case(false), case(true)];
    let mut rig = Rig::new(
        &scratch.pins().join("d"),
        &cases.map(|case| case.offer),
        0,
        buckets_for(FLOWS),
    )?;
    for case in &cases {
        rig.run(case, Target::Balance, FLOWS / 2)?
            .context("not run")?;
    }
    let opened = scheduled(rig.data_plane())?;
    assert_eq!(opened, u64::from(FLOWS), "one connection a frame");
    let there = rig.data_plane().scanner().flows()?.count();
    // The same frames again: a connection that is not found is scheduled anew.
    for case in &cases {
        rig.run(case, Target::Balance, FLOWS / 2)?;
    }
    let dp = rig.data_plane();
    let lost = scheduled(dp)? - opened;
    let reasons = dp.reasons()?;
    let evicted: u64 = [
        Reason::EvictedClosing,
        Reason::EvictedHalfOpen,
        Reason::EvictedLive,
    ]
    .iter()
    .map(|reason| reasons[reason])
    .sum();
    let bytes = memory(dp, name::FLOWS)? + memory(dp, name::FLOW_ADDRS)?;
    println!(
        "{FLOWS} connections in {} places: {there} there, {lost} not found again, {evicted} \
         evicted, {} moved to their second place; {:.1} MiB",
        dp.flow_slots(),
        reasons[&Reason::FlowMoved],
        bytes as f64 / f64::from(1 << 20)
    );
    assert!(there as u64 * 1000 >= opened * 999, "{there}");
    assert!(lost * 1000 <= opened, "{lost}");
    assert!(evicted * 1000 <= opened, "{evicted}");
    // No less than the entries themselves, or the kernel does not tell.
    assert!(
        bytes >= u64::from(FLOWS) * 32 && bytes <= 512 << 20,
        "{bytes}"
    );
    rig.close()
}
