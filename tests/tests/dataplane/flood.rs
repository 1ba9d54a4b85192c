//! More new connections than `flood_rate`, on two CPUs at once.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use lb_common::flow::FlowValue;
use lb_common::flow::shared::SharedFlow;
use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::tcp::{ACK, SYN, State};
use lb_tests::dataplane::{Action, Director, test_run_into};

use crate::flows::{SERVERS, Template, director, on_two_cpus, tag};

/// Room for four times as many.
const BUCKETS: u32 = 1 << 10;
/// Connections in use when the flood begins.
const HELD: u32 = 1000;
/// Connections of the flood. Their first packets come by both CPUs.
const FLOOD: u32 = 100_000;
/// New connections a second and CPU, which the flood exceeds many times over.
const RATE: u32 = 100;

fn forward(director: &Director, frame: &[u8]) -> Result<u8> {
    let mut out = [0; 128];
    let (action, _) = test_run_into(director.program(), frame, &mut out)?;
    assert_eq!(action, Action::Transmit as u32);
    Ok(out[5])
}

fn count(director: &Director, reason: Reason) -> Result<u64> {
    Ok(director.reasons()?[reason as usize])
}

/// The server of a held connection.
fn server_of(n: u32) -> u16 {
    1 + (n % u32::from(SERVERS)) as u16
}

#[test]
fn a_flood_on_two_cpus_goes_by_one_hash_and_leaves_what_lives_alone() -> Result<()> {
    let director = director(BUCKETS, Sched::Turn, 0)?;
    let now = director.now()?;
    for n in 0..HELD {
        let value = FlowValue::new(server_of(n), State::Established as u8, now);
        director.put_flow(tag(n), value)?;
    }
    director.set_flood_rate(RATE);
    // Both know of a flood before what is compared begins: what opened before it went in turn.
    on_two_cpus(|cpu| {
        let mut syn = Template::new(SYN);
        let mut n = HELD + FLOOD + cpu as u32 * FLOOD;
        let before = count(&director, Reason::FloodHashed)?;
        while count(&director, Reason::FloodHashed)? == before {
            forward(&director, syn.of(n))?;
            n += 1;
        }
        Ok(())
    })?;
    let before = director.reasons()?;
    let at = [const { AtomicU32::new(0) }; 2];
    let servers = on_two_cpus(|cpu| {
        let (mut syn, mut ack) = (Template::new(SYN), Template::new(ACK));
        let mut servers = Vec::new();
        for i in 0..FLOOD {
            at[cpu].store(i, Ordering::Release);
            // One CPU goes ahead a little: the other sees what it has begun.
            while cpu == 1 && at[0].load(Ordering::Acquire) < i {
                std::hint::spin_loop();
            }
            let n = HELD + i;
            let mut out = [0; 128];
            let (action, _) = test_run_into(director.program(), syn.of(n), &mut out)?;
            servers.push((action == Action::Transmit as u32).then_some(out[5]));
            if i % 16 == 0 {
                let held = i / 16 % HELD;
                let there = forward(&director, ack.of(held))?;
                assert_eq!(u16::from(there), server_of(held), "held connection {held}");
            }
        }
        at[cpu].store(u32::MAX, Ordering::Release);
        Ok(servers)
    })?;
    let mut used = [0u32; SERVERS as usize + 1];
    let mut dropped = 0;
    for (n, pair) in servers[0].iter().zip(&servers[1]).enumerate() {
        match pair {
            (Some(one), Some(other)) => {
                assert_eq!(one, other, "connection {n} of the flood");
                used[usize::from(*one)] += 1;
            }
            _ => dropped += 1,
        }
    }
    let since =
        |reason: Reason| -> Result<u64> { Ok(count(&director, reason)? - before[reason as usize]) };
    let hashed = since(Reason::FloodHashed)?;
    let entries = director.flows().iter().filter_map(SharedFlow::read).count();
    println!(
        "{hashed} of {} SYNs by hash, {entries} entries, {dropped} busy",
        2 * FLOOD
    );
    assert!(hashed > u64::from(FLOOD), "{hashed}");
    assert!(since(Reason::FlowBusy)? >= dropped);
    assert!(dropped < u64::from(FLOOD) / 1000, "{dropped}");
    for never in [
        Reason::EvictedLive,
        Reason::EvictedHalfOpen,
        Reason::Internal,
    ] {
        assert_eq!(since(never)?, 0, "{}", never.name());
    }
    assert!(entries < 4 * BUCKETS as usize / 2, "{entries} entries");
    for n in 0..HELD {
        let there = director.flow(tag(n)).map(FlowValue::backend);
        assert_eq!(there, Some(server_of(n)), "held connection {n}");
    }
    // Every server has its part: 6,250 of 100,000.
    for (server, &n) in used.iter().enumerate().skip(1) {
        assert!((5000..7500).contains(&n), "server {server}: {n}");
    }
    // What the first packet had no entry for: its next one, by the other CPU, which opens nothing.
    director.set_flood_rate(1_000_000);
    let before = count(&director, Reason::TcpNoFlow)?;
    on_two_cpus(|cpu| {
        let mut ack = Template::new(ACK);
        for i in (0..1000).filter(|i| i % 2 == cpu) {
            if let Some(server) = servers[1 - cpu][i] {
                let n = HELD + i as u32;
                assert_eq!(forward(&director, ack.of(n))?, server, "connection {i}");
                let there = director.flow(tag(n)).map(FlowValue::backend);
                assert_eq!(there, Some(u16::from(server)), "connection {i}");
            }
        }
        Ok(())
    })?;
    assert_eq!(count(&director, Reason::TcpNoFlow)?, before);
    Ok(())
}
