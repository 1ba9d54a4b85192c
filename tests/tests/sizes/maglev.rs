//! One of a hundred real servers leaves a service with `mh`: which connections and which clients have
//! another one then.

use anyhow::{Context as _, Result};
use lb_tests::frame;
use lb_userspace::model::{SchedFlags, Scheduler};
use lb_userspace::plan::DesiredService;

use crate::fixture::{Bench, Client, service, vip};

const SERVERS: u16 = 100;
const FLOWS: u32 = 20_000;
/// New clients that are asked; each comes from an address of its own.
const CLIENTS: u32 = 50_000;
/// Who leaves.
const LEAVER: u16 = 37;

fn hundred(fallback: bool) -> DesiredService {
    let servers: Vec<u16> = (1..=SERVERS).collect();
    DesiredService {
        sched_flags: SchedFlags {
            port: false,
            fallback,
        },
        ..service(0, Scheduler::Mh, &servers)
    }
}

/// Which server gets each of these connections; `None` where its frame is dropped.
fn servers(
    bench: &Bench,
    clients: std::ops::Range<u32>,
    kind: frame::Kind,
) -> Result<Vec<Option<u16>>> {
    clients
        .map(|n| bench.send(Client(n), vip(0), kind))
        .collect()
}

fn moved(before: &[Option<u16>], after: &[Option<u16>]) -> usize {
    before.iter().zip(after).filter(|(b, a)| b != a).count()
}

fn of_leaver(servers: &[Option<u16>]) -> usize {
    servers.iter().filter(|s| **s == Some(LEAVER)).count()
}

/// What one way of leaving moves.
#[derive(Debug)]
struct Moved {
    /// Open connections that go to another server, in fair shares.
    flows: f64,
    /// Open connections of which a frame was dropped.
    lost: usize,
    /// Clients whose new connections go to another server, in fair shares.
    clients: f64,
}

/// Opens connections, lets a server leave, and looks where they and new ones go.
fn leave(before: &DesiredService, after: &DesiredService) -> Result<Moved> {
    let mut bench = Bench::new(500_000)?;
    bench.to(std::slice::from_ref(before))?;
    servers(&bench, 0..FLOWS, frame::SYN)?;
    let open = servers(&bench, 0..FLOWS, frame::ACK)?;
    assert!(open.iter().all(Option::is_some));
    // With ports of their own: the hash is of the address, so they are where their clients belong.
    let from = |round: u32| round << 17..(round << 17) + CLIENTS;
    let homes = servers(&bench, from(1), frame::SYN)?;
    bench.to(std::slice::from_ref(after))?;
    let still = servers(&bench, 0..FLOWS, frame::ACK)?;
    let new = servers(&bench, from(2), frame::SYN)?;
    assert_eq!(of_leaver(&new), 0, "nothing new for who has left");
    assert!(new.iter().all(Option::is_some));
    for (n, (before, after)) in open.iter().zip(&still).enumerate() {
        let before = before.context("a server")?;
        assert!(
            before == LEAVER || *after == Some(before),
            "connection {n} of server {before}, which stays, went to {after:?}"
        );
    }
    let share = |moved: usize, of: u32| moved as f64 / (f64::from(of) / f64::from(SERVERS));
    Ok(Moved {
        flows: share(moved(&open, &still), FLOWS),
        lost: still.iter().filter(|s| s.is_none()).count(),
        clients: share(moved(&homes, &new), CLIENTS),
    })
}

#[test]
fn a_server_that_leaves_moves_no_connection_of_another() -> Result<()> {
    let all = hundred(false);
    let mut removed = all.clone();
    removed
        .backends
        .retain(|b| b.addr != crate::fixture::server(LEAVER).addr);
    let gone = leave(&all, &removed)?;

    let ending = |service: &DesiredService| DesiredService {
        expire_nodest_conn: true,
        sloppy: true,
        ..service.clone()
    };
    let ended = leave(&ending(&all), &ending(&removed))?;

    let all = hundred(true);
    let mut quiesced = all.clone();
    for backend in &mut quiesced.backends {
        if backend.addr == crate::fixture::server(LEAVER).addr {
            backend.weight = 0;
        }
    }
    let inhibited = leave(&all, &quiesced)?;
    println!("removed:                               {gone:.3?}");
    println!("removed, with expire_nodest_conn:      {ended:.3?}");
    println!("weight 0, with mh-fallback:            {inhibited:.3?}");

    assert_eq!((gone.flows, gone.lost), (0.0, 0));
    assert_eq!((inhibited.flows, inhibited.lost), (0.0, 0));
    assert!(ended.flows > 0.0 && ended.flows <= 1.3, "{ended:?}");
    assert_eq!(ended.lost, 0);
    assert!(
        inhibited.clients > 0.0 && inhibited.clients <= 1.3,
        "{inhibited:?}"
    );
    // IPVS's table of 4,093 slots: when the turns of one are gone those of all others come sooner.
    assert!((1.0..8.0).contains(&gone.clients), "{gone:?}");
    Ok(())
}
