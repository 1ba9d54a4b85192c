//! The counters of many real servers.

use std::time::Instant;

use anyhow::Result;
use lb_common::maps::Counters;
use lb_tests::frame;
use lb_userspace::io::bpf::ConnCount;
use lb_userspace::model::Scheduler;

use crate::fixture::{Bench, Client, service, vip};

#[test]
fn what_32_000_real_servers_count_is_read_right_and_at_once() -> Result<()> {
    const SERVICES: u16 = 1000;
    const EACH: u16 = 32;
    let mut bench = Bench::new(100_000)?;
    let services = |count: u16| -> Vec<_> {
        let of = |n: u16| (1..=EACH).map(|s| n * EACH + s).collect::<Vec<u16>>();
        (0..count)
            .map(|n| service(n, Scheduler::Rr, &of(n)))
            .collect()
    };
    bench.to(&services(SERVICES))?;
    // Service n has n % 7 connections, the last ones too.
    let mut expected = std::collections::BTreeMap::new();
    for n in 0..SERVICES {
        for connection in 0..u32::from(n % 7) {
            let client = Client(u32::from(n) << 4 | connection);
            let server = bench.send(client, vip(n), frame::SYN)?;
            *expected.entry(server.expect("a server")).or_insert(0u32) += 1;
        }
    }
    let times = [(); 5].map(|()| {
        let begun = Instant::now();
        let counts = bench.dp.counters();
        (begun.elapsed(), counts)
    });
    let mut took: Vec<_> = times.iter().map(|(took, _)| *took).collect();
    took.sort_unstable();
    println!("counters of 32,000 real servers: {:?}", took[2]);
    bench.dp.sweeper().sweep()?;
    let connections = bench.dp.connections();
    for (_, counts) in times {
        let counts = counts?.backends;
        assert_eq!(counts.len(), usize::from(SERVICES * EACH));
        for (index, _, addr, ..) in bench.tables.backends() {
            let std::net::IpAddr::V4(addr) = addr else {
                anyhow::bail!("{addr}");
            };
            let server = addr.to_bits() as u16;
            let conns = expected.get(&server).copied().unwrap_or(0);
            let here = Counters {
                conns: conns.into(),
                packets: conns.into(),
                bytes: u64::from(conns) * u64::from(frame::IP_LEN),
                reserved: 0,
            };
            assert_eq!(counts[&index], here, "{addr}");
            let active = ConnCount {
                active: conns,
                inactive: 0,
            };
            assert_eq!(connections.get(&index).copied().unwrap_or_default(), active);
        }
    }
    // With gaps: most of them gone, their indices still taken by nobody or by flows.
    bench.to(&services(3))?;
    let counts = bench.dp.counters()?.backends;
    let kept: u64 = counts.values().map(|c| c.conns).sum();
    assert_eq!(kept, expected.values().map(|c| u64::from(*c)).sum::<u64>());
    Ok(())
}
