//! Packets as a table: description, frame in, state before, verdict, frame out, counters and flows
//! after, run on the loaded program by `BPF_PROG_TEST_RUN`. The frame out is read by etherparse.
//!
//! Needs root and nothing else: the test executable runs by itself on any kernel.

#[path = "packets/any_port.rs"]
mod any_port;
#[path = "packets/before.rs"]
mod before;
#[path = "packets/fields.rs"]
mod fields;
#[path = "packets/flood.rs"]
mod flood;
#[path = "packets/fragments.rs"]
mod fragments;
#[path = "packets/frame.rs"]
mod frame;
#[path = "packets/hostile.rs"]
mod hostile;
#[path = "packets/icmp.rs"]
mod icmp;
#[path = "packets/ipv4.rs"]
mod ipv4;
#[path = "packets/ipv6.rs"]
mod ipv6;
#[path = "packets/loads.rs"]
mod loads;
#[path = "packets/mtu.rs"]
mod mtu;
#[path = "packets/output.rs"]
mod output;
#[path = "packets/peers.rs"]
mod peers;
#[path = "packets/persistence.rs"]
mod persistence;
#[path = "packets/refused.rs"]
mod refused;
#[path = "packets/row.rs"]
mod row;
#[path = "packets/schedulers.rs"]
mod schedulers;
#[path = "packets/sctp.rs"]
mod sctp;
#[path = "packets/tcp_life.rs"]
mod tcp_life;
#[path = "packets/tunnels.rs"]
mod tunnels;
#[path = "packets/udp.rs"]
mod udp;
#[path = "packets/vlan.rs"]
mod vlan;

use anyhow::{Context as _, Result};
use lb_common::maps::{TIMEOUTS, Timeouts, ticks};
use lb_tests::dataplane::Director;

/// The groups of the table.
fn table() -> Vec<(&'static str, Vec<row::Row>)> {
    vec![
        ("ipv4", ipv4::rows()),
        ("ipv6", ipv6::rows()),
        ("vlan", vlan::rows()),
        ("any_port", any_port::rows()),
        ("fragments", fragments::rows()),
        ("icmp", icmp::rows()),
        ("hostile", hostile::rows()),
        ("peers", peers::rows()),
        ("refused", refused::rows()),
        ("tcp_life", tcp_life::rows()),
        ("udp", udp::rows()),
        ("sctp", sctp::rows()),
        ("schedulers", schedulers::rows()),
        ("loads", loads::rows()),
        ("persistence", persistence::rows()),
        ("flood", flood::rows()),
        ("tunnels", tunnels::rows()),
        ("mtu", mtu::rows()),
    ]
}

#[test]
fn every_row_of_the_table() -> Result<()> {
    on_one_cpu()?;
    let mut director = Director::load(64)?;
    let timeouts = Timeouts {
        ticks: [ticks(60, director.settings().hz); TIMEOUTS],
    };
    director.set_timeouts(1, timeouts);
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (group, table) in table() {
        println!("{group}: {} rows", table.len());
        rows += table.len();
        for row in table {
            let lines = row
                .run(&mut director)
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            for line in lines {
                wrong.push(format!("{group}: {}: {line}", row.name));
            }
        }
    }
    println!(
        "{rows} rows; the verifier walked {} instructions",
        director.verified_instructions()?
    );
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// Per-CPU state is that of one CPU.
fn on_one_cpu() -> Result<()> {
    let all = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let cpu = (0..nix::sched::CpuSet::count()).find(|&cpu| all.is_set(cpu).unwrap_or(false));
    let mut one = nix::sched::CpuSet::new();
    one.set(cpu.context("no CPU")?)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one)?;
    Ok(())
}
