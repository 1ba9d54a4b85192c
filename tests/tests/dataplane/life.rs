//! Connections on two CPUs at once, and services of which no server takes any more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_common::flow::FlowValue;
use lb_common::maps::{
    BACKEND_RESOLVED, Backend, LOAD_OVERLOADED, Load, Remote, SERVICE_COUNTS, Sched, ServiceSlot,
    load_word, service_key, split_load,
};
use lb_common::tcp::{ACK, FIN, RST, SYN, State};
use lb_tests::dataplane::{Director, IFINDEX, test_run_into};

use crate::flows::{Template, director, on_two_cpus, tag};
use crate::frame::{OWN, TCP, VIP};
use crate::world::addr;

#[test]
fn a_fin_and_an_rst_on_two_cpus_at_once_are_both_seen() -> Result<()> {
    const FLOWS: u32 = 100_000;
    let director = director(1 << 18, Sched::Turn, 0)?;
    let now = director.now()?;
    for n in 0..FLOWS {
        director.put_flow(tag(n), FlowValue::new(1, State::Established as u8, now))?;
    }
    let counts = load_word(FLOWS as i32, 0);
    director.set_load(1, Load { counts, marks: 0 });
    // In step: a CPU goes on to a flow when the other one has come as far.
    let at = [const { AtomicU32::new(0) }; 2];
    on_two_cpus(|cpu| {
        let mut frame = Template::new([FIN | ACK, RST][cpu]);
        let mut out = [0; 128];
        for n in 0..FLOWS {
            at[cpu].store(n, Ordering::Release);
            for _ in 0..2000 {
                if at[1 - cpu].load(Ordering::Acquire) >= n {
                    break;
                }
                std::hint::spin_loop();
            }
            test_run_into(director.program(), frame.of(n), &mut out)?;
        }
        at[cpu].store(u32::MAX, Ordering::Release);
        Ok(())
    })?;
    // Whichever came first: after an RST a FIN changes nothing, and the other way round.
    let lost: Vec<_> = (0..FLOWS)
        .map(|n| director.flow(tag(n)).and_then(FlowValue::state))
        .filter(|state| *state != Some(State::Close))
        .collect();
    assert!(
        lost.is_empty(),
        "{} flows, the first in {:?}",
        lost.len(),
        lost[0]
    );
    assert_eq!(split_load(director.load_of(1).counts), (0, FLOWS));
    Ok(())
}

/// Servers of the service that is full.
const CROWD: u16 = 4096;

/// A service of so many servers, each with all the connections that it takes.
fn full() -> Result<Director> {
    let mut director = Director::load(1 << 10)?;
    director.set_iface(IFINDEX, OWN, &[])?;
    for index in 1..=CROWD {
        let backend = Backend {
            dmac: [2, 0xaa, 0, 0, (index >> 8) as u8, index as u8],
            smac: OWN,
            ifindex: IFINDEX,
            flags: BACKEND_RESOLVED,
            service: 1,
            weight: 1,
            counted: 1,
            ..Backend::default()
        };
        director.set_backend(index, backend);
        let upper = 2;
        director.set_remote(
            index,
            Remote {
                upper,
                ..Remote::default()
            },
        );
        let load = Load {
            counts: load_word(2, 0),
            marks: LOAD_OVERLOADED,
        };
        director.set_load(index, load);
    }
    let slot = ServiceSlot {
        key: service_key(addr(VIP), 80u16.to_be(), TCP),
        id: 1,
        sched: Sched::Turn as u8,
        flags: SERVICE_COUNTS,
        ..ServiceSlot::default()
    };
    let table: Vec<u16> = (1..=CROWD).collect();
    director.set_service(slot, &table)?;
    Ok(director)
}

#[test]
fn a_service_whose_servers_are_all_full_is_not_walked_through_for_each_packet() -> Result<()> {
    const SYNS: u32 = 5_000;
    let director = full()?;
    let mut frame = Template::new(SYN);
    let mut out = [0; 128];
    let begin = Instant::now();
    for n in 0..SYNS {
        let (action, _) = test_run_into(director.program(), frame.of(n), &mut out)?;
        assert_eq!(action, 1, "no server");
    }
    let took = begin.elapsed();
    let turns = director.cursor(1);
    // Once in so many jiffies, of which no kernel has more than 1,200 a second, on each CPU.
    let walks = (took.as_millis() as u64 * 1200 / 1000 / 8 + 2) * 2;
    println!("{SYNS} SYNs: {turns} turns in {took:?}");
    assert!(
        turns <= u64::from(SYNS) * 32 + walks * u64::from(CROWD),
        "{turns} turns"
    );

    // One that takes connections again is found wherever its turn would be.
    let free = (director.cursor(1) % u64::from(CROWD)) as u16;
    let free = (free + CROWD / 2) % CROWD + 1;
    let load = Load {
        counts: load_word(1, 0),
        marks: LOAD_OVERLOADED,
    };
    director.set_load(free, load);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (action, _) = test_run_into(director.program(), frame.of(SYNS), &mut out)?;
        if action == 3 {
            break;
        }
        assert!(Instant::now() < deadline, "server {free} was never found");
    }
    assert_eq!(u16::from_be_bytes([out[4], out[5]]), free);
    Ok(())
}
