//! The flow table filled to what it promises, and fought for by two CPUs.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use lb_common::flow::shared::SharedFlow;
use lb_common::flow::{FlowValue, PENDING, split_tag};
use lb_common::maps::{
    BACKEND_RESOLVED, Backend, FLOW_BUCKETS, SERVICE_SLOPPY, Sched, ServiceSlot, service_key,
};
use lb_common::reason::Reason;
use lb_common::sched::{SH_SIZE, fill_sh, sh_hash};
use lb_common::tcp::{ACK, SYN, State};
use lb_tests::dataplane::{Action, Director, IFINDEX, test_run_into};

use crate::frame::{Frame, OWN, TCP, VIP};
use crate::world::addr;

const PORT: u16 = 80;
pub(crate) const SERVERS: u16 = 16;

/// A director with [`SERVERS`] servers; `flags` are the service's.
pub(crate) fn director(buckets: u32, sched: Sched, flags: u32) -> Result<Director> {
    let mut director = Director::load(buckets)?;
    director.set_iface(IFINDEX, OWN, &[])?;
    for index in 1..=SERVERS {
        let backend = Backend {
            dmac: [2, 0xaa, 0, 0, 0, index as u8],
            smac: OWN,
            ifindex: IFINDEX,
            flags: BACKEND_RESOLVED,
            service: 1,
            counted: 1,
            ..Backend::default()
        };
        director.set_backend(index, backend);
    }
    let slot = ServiceSlot {
        key: service_key(addr(VIP), PORT.to_be(), TCP),
        id: 1,
        sched: sched as u8,
        flags,
        ..ServiceSlot::default()
    };
    let table: Vec<u16> = if sched == Sched::SourceHash {
        sh_table().to_vec()
    } else {
        (1..=SERVERS).collect()
    };
    director.set_service(slot, &table)?;
    Ok(director)
}

fn sh_table() -> [u16; SH_SIZE] {
    let servers: Vec<(u16, u16)> = (1..=SERVERS).map(|index| (index, 1)).collect();
    let mut table = [0; SH_SIZE];
    fill_sh(&servers, &mut table);
    table
}

fn client(n: u32) -> (Ipv4Addr, u16) {
    (
        Ipv4Addr::from(0x0a00_0000 + (n >> 14)),
        1024 + (n & 0x3fff) as u16,
    )
}

/// A valid frame that is turned into one of any client without being built again.
pub(crate) struct Template(Vec<u8>);

impl Template {
    pub(crate) fn new(flags: u8) -> Self {
        Template(Frame::tcp(client(0), PORT, flags).bytes())
    }

    pub(crate) fn of(&mut self, n: u32) -> &[u8] {
        let (ip, port) = client(n);
        self.0[26..30].copy_from_slice(&ip.octets());
        self.0[34..36].copy_from_slice(&port.to_be_bytes());
        &self.0
    }
}

/// The tag of a client's flow.
pub(crate) fn tag(n: u32) -> u64 {
    let (ip, port) = client(n);
    lb_common::flow::flow_tag(addr(ip), port.to_be(), 1)
}

#[test]
fn a_million_live_connections_all_keep_their_server() -> Result<()> {
    const FLOWS: u32 = 1_000_000;
    let director = director(FLOW_BUCKETS, Sched::Turn, SERVICE_SLOPPY)?;
    let mut frame = Template::new(ACK);
    let mut out = [0; 128];
    let mut servers = Vec::with_capacity(FLOWS as usize);
    for n in 0..FLOWS {
        let (action, _) = test_run_into(director.program(), frame.of(n), &mut out)?;
        assert_eq!(action, 3, "flow {n}");
        servers.push(out[5]);
    }
    let mut lost = 0;
    for n in 0..FLOWS {
        match director.flow(tag(n)) {
            Some(value) => assert_eq!(value.backend(), u16::from(servers[n as usize]), "flow {n}"),
            None => lost += 1,
        }
    }
    let reasons = director.reasons()?;
    println!(
        "{FLOWS} flows: {lost} lost, {} moved to their second place",
        reasons[Reason::FlowMoved as usize]
    );
    assert_eq!(lost, 0);
    assert_eq!(reasons[Reason::EvictedLive as usize], 0);
    assert_eq!(
        director.flows().iter().filter_map(SharedFlow::read).count(),
        FLOWS as usize,
        "one entry each"
    );
    // And the packets that follow go where the first one went.
    for n in (0..FLOWS).step_by(97) {
        test_run_into(director.program(), frame.of(n), &mut out)?;
        assert_eq!(out[5], servers[n as usize], "flow {n}");
    }
    assert_eq!(
        director.cursor(1),
        u64::from(FLOWS),
        "one turn a connection"
    );
    Ok(())
}

/// Enters flows of server 1 in these states, so many ticks silent.
fn put_flows(director: &Director, states: &[(State, u32)]) -> Result<()> {
    let now = director.now()?;
    for (n, (state, idle)) in (0..).zip(states) {
        director.put_flow(
            tag(n),
            FlowValue::new(1, *state as u8, now.wrapping_sub(*idle)),
        )?;
    }
    Ok(())
}

#[test]
fn a_full_table_gives_up_the_closing_then_the_half_open_then_the_idle() -> Result<()> {
    // Two buckets: every flow may lie in either, so eight flows fill them.
    let director = director(2, Sched::Turn, SERVICE_SLOPPY)?;
    let states = [
        (State::Established, 5),
        (State::Established, 300),
        (State::SynRecv, 1),
        (State::FinWait, 2),
        (State::SynRecv, 9),
        (State::Established, 400),
        (State::TimeWait, 40),
        (State::Established, 0),
    ];
    put_flows(&director, &states)?;
    let mut frame = Template::new(ACK);
    let mut out = [0; 128];
    // The order in which they go; the new ones are established and the least idle.
    let order = [
        (6, Reason::EvictedClosing),
        (3, Reason::EvictedClosing),
        (4, Reason::EvictedHalfOpen),
        (2, Reason::EvictedHalfOpen),
        (5, Reason::EvictedLive),
        (1, Reason::EvictedLive),
    ];
    for (step, (victim, reason)) in (100..).zip(order) {
        let before = director.reasons()?[reason as usize];
        assert!(director.flow(tag(victim)).is_some());
        assert_eq!(
            test_run_into(director.program(), frame.of(step), &mut out)?.0,
            3
        );
        assert!(
            director.flow(tag(victim)).is_none(),
            "flow {victim} had to go for {step}"
        );
        assert_eq!(
            director.reasons()?[reason as usize],
            before + 1,
            "{reason:?}"
        );
    }
    Ok(())
}

#[test]
fn udp_of_one_packet_gives_way_before_any_idle_connection() -> Result<()> {
    let director = director(2, Sched::Turn, SERVICE_SLOPPY)?;
    let states = [
        (State::Established, 300),
        (State::UdpOnce, 1),
        (State::Udp, 40),
        (State::Established, 200),
        (State::UdpOnce, 2),
        (State::Established, 100),
        (State::SynRecv, 3),
        (State::UdpOnce, 0),
    ];
    put_flows(&director, &states)?;
    let mut frame = Template::new(ACK);
    let mut out = [0; 128];
    for (step, victim) in (100..).zip([6, 4, 1, 7, 0]) {
        test_run_into(director.program(), frame.of(step), &mut out)?;
        let gone: Vec<u32> = (0..8)
            .filter(|n| director.flow(tag(*n)).is_none())
            .collect();
        assert!(gone.contains(&victim), "{victim} for {step}: {gone:?}");
        assert_eq!(gone.len(), step as usize - 99, "{gone:?}");
    }
    let reasons = director.reasons()?;
    assert_eq!(reasons[Reason::EvictedHalfOpen as usize], 4);
    assert_eq!(reasons[Reason::EvictedLive as usize], 1);
    Ok(())
}

#[test]
fn what_other_cpus_are_writing_is_not_taken() -> Result<()> {
    let director = director(2, Sched::Turn, 0)?;
    for (way, n) in director.flows().iter().zip(0..) {
        way.put(tag(n), FlowValue(PENDING));
    }
    let before = director.reasons()?;
    let mut out = [0; 128];
    let frame = Template::new(SYN).of(100).to_vec();
    assert_eq!(
        test_run_into(director.program(), &frame, &mut out)?.0,
        1,
        "dropped"
    );
    let mut wanted = before;
    wanted[Reason::FlowBusy as usize] += 1;
    assert_eq!(director.reasons()?, wanted);
    // Who writes them finds them as they were.
    for (way, n) in director.flows().iter().zip(0..) {
        assert_eq!(way.pending(), Some(tag(n)), "way {n}");
    }
    Ok(())
}

#[test]
fn an_expired_flow_makes_room_without_being_counted() -> Result<()> {
    let director = director(2, Sched::Turn, SERVICE_SLOPPY)?;
    let now = director.now()?;
    for n in 0..8 {
        let idle = if n == 5 { 200 } else { 3 };
        director.put_flow(
            tag(n),
            FlowValue::new(1, State::SynRecv as u8, now.wrapping_sub(idle)),
        )?;
    }
    let before = director.reasons()?;
    let mut out = [0; 128];
    assert_eq!(
        test_run_into(director.program(), Template::new(SYN).of(100), &mut out)?.0,
        3
    );
    assert!(director.flow(tag(5)).is_none() && director.flow(tag(100)).is_some());
    assert_eq!(director.reasons()?, before);
    Ok(())
}

/// Runs `work` on two threads, each bound to a CPU of its own.
pub(crate) fn on_two_cpus<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<[T; 2]> {
    let bound = |cpu: usize| {
        let mut set = nix::sched::CpuSet::new();
        set.set(cpu)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
            .context("this test needs two CPUs")?;
        work(cpu)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| bound(1));
        let own = scope.spawn(|| bound(0));
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<T>>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok([join(own)?, join(other)?])
    })
}

#[test]
fn two_cpus_that_evict_each_other_never_send_a_packet_to_another_flows_server() -> Result<()> {
    // 64 places for 1,000 connections: every other packet evicts one. With a hash the right server
    // of each is known without the table.
    let director = director(16, Sched::SourceHash, SERVICE_SLOPPY)?;
    let table = sh_table();
    let forwarded = on_two_cpus(|cpu| {
        let mut frame = Template::new(ACK);
        let mut out = [0; 128];
        let mut random = 0x9e37_79b9_u32.wrapping_add(cpu as u32);
        let mut forwarded = 0u64;
        for _ in 0..200_000 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let n = random % 1000 * 16384;
            let (action, _) = test_run_into(director.program(), frame.of(n), &mut out)?;
            if action == Action::Transmit as u32 {
                forwarded += 1;
                let right = table[sh_hash(addr(client(n).0)) as usize];
                assert_eq!(u16::from(out[5]), right, "client {}", client(n).0);
            }
        }
        Ok(forwarded)
    })?;
    let busy = director.reasons()?[Reason::FlowBusy as usize];
    println!("forwarded {forwarded:?}, {busy} dropped because another CPU was at the same place");
    assert_eq!(forwarded[0] + forwarded[1] + busy, 400_000);
    assert!(busy < 4_000, "{busy}");
    let mut seen = HashMap::new();
    for (tag, value) in director.flows().iter().filter_map(SharedFlow::read) {
        let right = table[sh_hash(split_tag(tag).0) as usize];
        assert_eq!(value.backend(), right);
        assert!(
            seen.insert(tag, value).is_none(),
            "two entries for one flow"
        );
    }
    Ok(())
}

#[test]
fn two_cpus_that_meet_the_same_new_connections_agree_on_each() -> Result<()> {
    const FLOWS: u32 = 100_000;
    let director = director(1 << 16, Sched::Turn, SERVICE_SLOPPY)?;
    // In step: a CPU begins a flow when the other one has come as far.
    let at = [const { std::sync::atomic::AtomicU32::new(0) }; 2];
    let servers = on_two_cpus(|cpu| {
        let mut frame = Template::new(ACK);
        let mut out = [0; 128];
        let mut servers = Vec::new();
        for n in 0..FLOWS {
            at[cpu].store(n, std::sync::atomic::Ordering::Release);
            for _ in 0..2000 {
                if at[1 - cpu].load(std::sync::atomic::Ordering::Acquire) >= n {
                    break;
                }
                std::hint::spin_loop();
            }
            let (action, _) = test_run_into(director.program(), frame.of(n), &mut out)?;
            servers.push((action == Action::Transmit as u32).then_some(out[5]));
        }
        at[cpu].store(u32::MAX, std::sync::atomic::Ordering::Release);
        Ok(servers)
    })?;
    let mut dropped = 0;
    for n in 0..FLOWS {
        let there = director.flow(tag(n)).map(|value| value.backend() as u8);
        for server in [servers[0][n as usize], servers[1][n as usize]] {
            match server {
                Some(_) => assert_eq!(server, there, "flow {n}"),
                None => dropped += 1,
            }
        }
        assert_eq!(
            director.entries(tag(n)),
            usize::from(there.is_some()),
            "flow {n}"
        );
    }
    let conns: u64 = (1..=SERVERS)
        .map(|index| director.counters(index).map(|c| c.conns))
        .sum::<Result<u64>>()?;
    println!(
        "{FLOWS} flows on two CPUs at once: {conns} scheduled, {dropped} packets dropped as busy"
    );
    assert_eq!(
        director.cursor(1),
        conns,
        "a turn for each connection that was scheduled, and no other"
    );
    assert!(conns <= u64::from(FLOWS) && conns + dropped >= u64::from(FLOWS));
    assert!(dropped < u64::from(FLOWS) / 50, "{dropped}");
    Ok(())
}
