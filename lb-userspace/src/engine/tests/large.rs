//! What one verdict costs where there is much.

use super::*;

/// Services 1.. with these numbers of servers each.
fn large(scheduler: Scheduler, services: u16, servers: u16) -> Arc<Model> {
    let address = |n: u16| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + u32::from(n)));
    let services = (1..=services).map(|port| Service {
        scheduler,
        real_servers: (1..=servers)
            .map(|n| RealServer {
                checks: vec![Check {
                    addr: address(n),
                    port,
                    ..check(1)
                }],
                ..RealServer::new(address(n), port, 1)
            })
            .collect(),
        ..Service::new(ServiceKey {
            addr: vip(),
            port,
            protocol: Protocol::Tcp,
        })
    });
    model(services.collect())
}

/// One server fails, in the middle; how many operations that made and how long they took to find.
fn one_failure(model: Arc<Model>) -> (usize, Duration) {
    let links: BTreeMap<IpAddr, Link> = model.services[0]
        .real_servers
        .iter()
        .map(|r| (r.addr, Link::new([2; 6], [4; 6], 7)))
        .collect();
    let mut host = Host::start(model, true);
    host.engine.handle(Event::Neighbours(links), host.now);
    host.turn();
    while host.next_deadline() == Some(host.now) {
        host.turn();
    }
    let half = host.probes.len() / 2;
    let failing = host.probes.swap_remove(half);
    host.verdicts(&Verdict::Ok);
    let begun = std::time::Instant::now();
    let verdict = Verdict::Failed(Failure::Refused);
    let (id, took) = (failing.id, Duration::ZERO);
    host.engine
        .handle(Event::Verdict { id, verdict, took }, host.now);
    host.engine.tick(host.now, 0);
    let elapsed = begun.elapsed();
    let mut written = 0;
    while let Some(action) = host.engine.poll_action() {
        if let Action::Write(ops) = action {
            written += ops.len();
        }
    }
    (written, elapsed)
}

#[test]
fn one_failure_among_many_services_writes_what_it_concerns() {
    // The server, its service's table, the switch to it.
    assert_eq!(one_failure(large(Scheduler::Rr, 300, 3)).0, 3);
    assert_eq!(one_failure(large(Scheduler::Mh, 3, 100)).0, 3);
}

/// `cargo test --release -p lb-userspace --lib large -- --ignored --nocapture`
#[test]
#[ignore = "measures; the figures are in docs/performance.md"]
fn how_long_one_failure_takes() {
    for (scheduler, services, servers) in [
        (Scheduler::Rr, 10_000, 3),
        (Scheduler::Rr, 1, 4_096),
        (Scheduler::Wrr, 1, 4_096),
        (Scheduler::Mh, 1, 4_096),
        (Scheduler::Mh, 1_000, 10),
    ] {
        let mut times: Vec<Duration> = (0..5)
            .map(|_| one_failure(large(scheduler, services, servers)).1)
            .collect();
        times.sort_unstable();
        println!(
            "{} {services} x {servers}: {:?}",
            scheduler.name(),
            times[2]
        );
    }
}
