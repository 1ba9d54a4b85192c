//! The loader of the data plane on the real kernel: what is planned is in the maps, what is pinned
//! survives, and one program follows the other without a frame lost.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use lb_common::flow::{FlowValue, PENDING};
use lb_common::maps::{Counters, load_word, name};
use lb_common::reason::Reason;
use lb_common::tcp::State;
use lb_tests::frame::{self, Kind, frame};
use lb_tests::scan;
use lb_tests::scratch::Scratch;
use lb_userspace::io::bpf::{Config, ConnCount, DataPlane, ModeWish, Sweeper, Swept, test_run};
use lb_userspace::io::clock;
use lb_userspace::model::{ForwardMethod, Persistence, Protocol, Scheduler, ServiceKey, Tunnel};
use lb_userspace::plan::{Defaults, DesiredBackend, DesiredService, GRACE, Link, Op, Refs, Tables};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The interface of a test run.
const LO: u32 = 1;

fn key(port: u16, protocol: Protocol) -> ServiceKey {
    ServiceKey {
        addr: VIP.into(),
        port,
        protocol,
    }
}

fn server(n: u8) -> DesiredBackend {
    DesiredBackend {
        link: Some(Link::new([2, 0xaa, 0, 0, 0, n], OWN, LO)),
        ..DesiredBackend::new(Ipv4Addr::new(10, 0, 0, n).into(), 80, 1)
    }
}

fn service(port: u16, servers: &[u8]) -> DesiredService {
    DesiredService {
        backends: servers.iter().map(|n| server(*n)).collect(),
        ..DesiredService::new(key(port, Protocol::Tcp), Scheduler::Rr)
    }
}

fn client(n: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), n)
}

/// A data plane, its books, and the directory that holds its pins.
struct Bench {
    dp: DataPlane,
    tables: Tables,
    config: Config,
    _scratch: Scratch,
}

impl Bench {
    fn new() -> anyhow::Result<Bench> {
        let scratch = Scratch::new()?;
        let config = Config {
            pin: scratch.pins().join("d"),
            flow_buckets: 1 << 12,
            mode: ModeWish::Auto,
        };
        let mut dp = DataPlane::open(&config)?;
        assert!(!dp.adopted());
        dp.set_iface("lo", LO, OWN)?;
        let tables = Tables::new(dp.hz());
        Ok(Bench {
            dp,
            tables,
            config,
            _scratch: scratch,
        })
    }

    fn to(&mut self, desired: &[DesiredService]) -> anyhow::Result<()> {
        self.with_refs(desired, &Refs::default()).map(drop)
    }

    fn with_refs(
        &mut self,
        desired: &[DesiredService],
        refs: &Refs,
    ) -> anyhow::Result<Vec<(u16, u16, Counters)>> {
        let plan = self.tables.plan(desired, refs, clock::now());
        assert_eq!(plan.refused, []);
        let applied = self.dp.apply(&plan.ops)?;
        Ok(applied.freed)
    }

    fn send(&self, from: u16, port: u16, kind: Kind) -> anyhow::Result<(u32, [u8; 6])> {
        let f = frame(
            OWN,
            CLIENT,
            client(from),
            SocketAddrV4::new(VIP, port),
            kind,
        );
        let run = test_run(self.dp.program(), &f, 1)?;
        Ok((run.verdict, run.frame[..6].try_into()?))
    }

    /// As after a `kill -9`: nothing but the pins is left.
    fn restart(self) -> anyhow::Result<Bench> {
        let Bench {
            dp,
            tables,
            config,
            _scratch,
        } = self;
        let peers_before = dp.dump()?;
        drop((dp, tables));
        let mut dp = DataPlane::open(&config)?;
        assert!(dp.adopted());
        assert_eq!(dp.dump()?, peers_before);
        // Not attached, so the restart took it for an interface that is gone.
        dp.set_iface("lo", LO, OWN)?;
        let tables = Tables::adopt(&dp.dump()?, clock::now());
        Ok(Bench {
            dp,
            tables,
            config,
            _scratch,
        })
    }

    fn reasons(&self, reason: Reason) -> u64 {
        self.dp.counters().unwrap().reasons[&reason]
    }
}

#[test]
fn what_is_planned_is_what_the_program_does() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    b.to(&[service(80, &[1, 2, 3])])?;
    let mut hits = [0; 4];
    for n in 0..300 {
        let (verdict, dmac) = b.send(1000 + n, 80, frame::SYN)?;
        assert_eq!(verdict, XDP_TX);
        assert_eq!(dmac[..5], [2, 0xaa, 0, 0, 0]);
        hits[usize::from(dmac[5])] += 1;
    }
    assert_eq!(hits, [0, 100, 100, 100], "rr is exact");
    assert_eq!(b.send(1, 81, frame::SYN)?.0, XDP_PASS);
    assert_eq!(b.reasons(Reason::NoService), 1);
    let counts = b.dp.counters()?;
    assert_eq!(counts.backends.len(), 3);
    for counted in counts.backends.values() {
        assert_eq!(
            (counted.conns, counted.packets, counted.bytes),
            (100, 100, 100 * u64::from(frame::IP_LEN))
        );
    }
    let totals = scan::connections(&b.dp.scanner())?;
    assert!(
        totals.values().all(|t| *t
            == ConnCount {
                active: 100,
                inactive: 0
            }),
        "{totals:?}"
    );
    Ok(())
}

#[test]
fn connections_are_read_as_they_are() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    let mut udp = service(53, &[4]);
    udp.key.protocol = Protocol::Udp;
    b.to(&[service(80, &[1]), udp.clone()])?;
    b.send(1000, 80, frame::SYN)?;
    b.send(1000, 80, frame::ACK)?;
    b.send(1001, 80, frame::SYN)?;
    b.send(1002, 53, Kind::Udp)?;
    let scanner = b.dp.scanner();
    let mut flows: Vec<_> = scanner.flows()?.collect();
    flows.sort_by_key(|f| f.client);
    let web = b
        .tables
        .backend_index(key(80, Protocol::Tcp), server(1).addr, 80)
        .unwrap();
    let dns = b.tables.backend_index(udp.key, server(4).addr, 80).unwrap();
    assert_eq!(
        flows
            .iter()
            .map(|f| (f.client, f.backend, f.state))
            .collect::<Vec<_>>(),
        [
            (client(1000).into(), web, State::Established),
            (client(1001).into(), web, State::SynRecv),
            (client(1002).into(), dns, State::UdpOnce)
        ]
    );
    for flow in &flows {
        let timeout = Duration::from_secs(u64::from(flow.state.default_timeout()));
        assert!(
            flow.left <= timeout + Duration::from_secs(2)
                && flow.left + Duration::from_secs(3) >= timeout,
            "{flow:?}"
        );
    }
    assert_eq!(b.tables.service_of(flows[2].service), Some(udp.key));
    let totals = scan::connections(&scanner)?;
    assert_eq!(
        totals[&web],
        ConnCount {
            active: 2,
            inactive: 0
        }
    );
    assert_eq!(
        totals[&dns],
        ConnCount {
            active: 0,
            inactive: 1
        },
        "IPVS counts UDP as inactive"
    );
    Ok(())
}

#[test]
fn a_restart_adopts_everything_and_a_connection_stays() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    let mut desired = [service(80, &[1, 2, 3]), service(443, &[4, 5])];
    desired[1].scheduler = Scheduler::Sh;
    desired[1].persistence = Some(Persistence {
        timeout: Duration::from_secs(360),
        prefix_len: 24,
    });
    b.to(&desired)?;
    b.dp.set_peers(&[[2, 9, 9, 9, 9, 9]])?;
    let mut before = Vec::new();
    for n in 0..50 {
        before.push(b.send(1000 + n, 80, frame::SYN)?.1);
        b.send(1000 + n, 80, frame::ACK)?;
    }
    b.send(5000, 443, frame::SYN)?;
    let templates = b.dp.scanner().templates()?;
    assert_eq!(templates.len(), 1);
    assert_eq!(templates[0].client, Ipv4Addr::new(198, 51, 100, 0));
    let counted = b.dp.counters()?;

    let mut b = b.restart()?;
    assert_eq!(b.dp.counters()?, counted);
    let again = b.tables.plan(&desired, &Refs::default(), clock::now());
    assert_eq!((again.ops, again.changes), (vec![], vec![]));
    for (n, dmac) in (0..).zip(&before) {
        assert_eq!(b.send(1000 + n, 80, frame::ACK)?, (XDP_TX, *dmac));
    }
    assert_eq!(b.dp.scanner().templates()?.len(), 1);
    // The peer is still known: what it sends is never scheduled again.
    let f = frame(
        OWN,
        [2, 9, 9, 9, 9, 9],
        client(1),
        SocketAddrV4::new(VIP, 80),
        frame::SYN,
    );
    assert_eq!(test_run(b.dp.program(), &f, 1)?.verdict, XDP_DROP);
    // As a real server beside this host it is one of a service alone, and one does not undo the other.
    let id = b.tables.services().find(|(_, key, _)| key.port == 80);
    let (id, ..) = id.context("the service's id")?;
    b.dp.set_fellows(&[([2, 9, 9, 9, 9, 9], id)])?;
    b.dp.set_peers(&[])?;
    assert_eq!(test_run(b.dp.program(), &f, 1)?.verdict, XDP_DROP);
    b.dp.set_fellows(&[([2, 9, 9, 9, 9, 9], id + 1)])?;
    assert_eq!(test_run(b.dp.program(), &f, 1)?.verdict, XDP_TX);
    b.dp.set_peers(&[[2, 9, 9, 9, 9, 9]])?;
    b.dp.set_fellows(&[])?;
    assert_eq!(test_run(b.dp.program(), &f, 1)?.verdict, XDP_DROP);
    b.dp.set_peers(&[])?;
    assert_eq!(test_run(b.dp.program(), &f, 1)?.verdict, XDP_TX);
    Ok(())
}

#[test]
fn a_removed_server_keeps_its_connections_and_its_index_is_free_when_they_end() -> anyhow::Result<()>
{
    let mut b = Bench::new()?;
    b.to(&[service(80, &[1])])?;
    b.send(1000, 80, frame::SYN)?;
    b.send(1000, 80, frame::ACK)?;
    let old = b
        .tables
        .backend_index(key(80, Protocol::Tcp), server(1).addr, 80)
        .unwrap();
    b.to(&[service(80, &[2])])?;
    assert_eq!(
        b.send(1000, 80, frame::ACK)?,
        (XDP_TX, [2, 0xaa, 0, 0, 0, 1]),
        "an established connection stays"
    );
    assert_eq!(
        b.send(1001, 80, frame::SYN)?,
        (XDP_TX, [2, 0xaa, 0, 0, 0, 2])
    );

    let later =
        |b: &Bench| -> anyhow::Result<Refs> { Ok(b.dp.scanner().refs(clock::now() + GRACE)?) };
    let refs = later(&b)?;
    assert!(refs.backends.contains(&old));
    assert_eq!(b.with_refs(&[service(80, &[2])], &refs)?, []);
    // The connection ends: its entry goes elsewhere when the next SYN comes.
    b.send(1000, 80, frame::RST)?;
    b.send(1000, 80, frame::SYN)?;
    let refs = later(&b)?;
    assert!(!refs.backends.contains(&old), "{refs:?}");
    let freed = b.with_refs(&[service(80, &[2])], &refs)?;
    assert_eq!(freed.len(), 1);
    assert_eq!(
        (freed[0].0, freed[0].2.conns, freed[0].2.packets),
        (old, 1, 4)
    );
    assert!(!b.tables.has_retired());
    assert_eq!(b.dp.counters()?.backends.len(), 1);
    // A new owner of the index begins at zero.
    b.to(&[service(80, &[2, 3])])?;
    assert_eq!(
        b.tables
            .backend_index(key(80, Protocol::Tcp), server(3).addr, 80),
        Some(old)
    );
    assert_eq!(b.dp.counters()?.backends[&old], Counters::default());
    Ok(())
}

#[test]
fn a_service_that_goes_passes_and_returns_with_its_connections() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    b.to(&[service(80, &[1, 2])])?;
    let (_, dmac) = b.send(1000, 80, frame::SYN)?;
    b.send(1000, 80, frame::ACK)?;
    b.to(&[])?;
    assert_eq!(b.send(1000, 80, frame::ACK)?.0, XDP_PASS);
    let mut b = b.restart()?;
    b.to(&[service(80, &[1, 2])])?;
    assert_eq!(b.send(1000, 80, frame::ACK)?, (XDP_TX, dmac));
    Ok(())
}

#[test]
fn maps_of_another_layout_are_replaced() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    b.to(&[service(80, &[1])])?;
    let Bench {
        dp,
        config,
        _scratch,
        ..
    } = b;
    drop(dp);
    std::fs::remove_file(config.pin.join("PEERS"))?;
    let dp = DataPlane::open(&config)?;
    assert!(!dp.adopted());
    assert_eq!(dp.dump()?.services, []);
    dp.unload()?;
    assert!(!config.pin.exists());
    Ok(())
}

/// Waits until the sweeper has taken out so many connections.
fn swept(sweeper: &mut Sweeper, expired: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut gone = 0;
    while gone < expired {
        gone += sweeper.sweep()?.expired;
        anyhow::ensure!(Instant::now() < deadline, "{gone} of {expired} expired");
        std::thread::yield_now();
    }
    assert_eq!(gone, expired);
    Ok(())
}

#[test]
fn expired_connections_leave_the_table_and_the_counts() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    let mut udp = service(53, &[4]);
    udp.key.protocol = Protocol::Udp;
    udp.timeouts.udp = Some(1);
    let mut tcp = service(80, &[1]);
    // Whose counts the program keeps.
    for counted in [&mut tcp, &mut udp] {
        counted.scheduler = Scheduler::Lc;
    }
    b.to(&[tcp, udp.clone()])?;
    for n in 0..20 {
        b.send(1000 + n, 80, frame::SYN)?;
        b.send(1000 + n, 53, Kind::Udp)?;
    }
    b.send(1000, 80, frame::ACK)?;
    b.send(1000, 80, frame::FIN)?;
    let index = |b: &Bench, key, n| b.tables.backend_index(key, server(n).addr, 80).unwrap();
    let web = index(&b, key(80, Protocol::Tcp), 1);
    let dns = index(&b, udp.key, 4);
    let mut sweeper = b.dp.sweeper();
    swept(&mut sweeper, 20)?;
    let left = ConnCount {
        active: 19,
        inactive: 1,
    };
    assert_eq!(scan::connections(&b.dp.scanner())?, [(web, left)].into());
    assert_eq!(b.dp.connections(), [(web, left)].into());

    // A daemon that was killed at a bad moment leaves wrong counts.
    let loads = MapData::from_pin(b.config.pin.join(name::LOADS))?;
    let mut loads: Array<_, [u64; 2]> = Map::Array(loads).try_into()?;
    loads.set(u32::from(web), [load_word(50, 0), 0], 0)?;
    loads.set(u32::from(dns), [load_word(0, 7), 0], 0)?;
    let repaired: Vec<u32> = (0..8)
        .map(|_| Ok(sweeper.sweep()?.repaired))
        .collect::<anyhow::Result<_>>()?;
    assert_eq!(repaired, [0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(b.dp.connections(), [(web, left)].into());
    Ok(())
}

#[test]
fn an_index_is_taken_until_the_sweeper_has_counted_its_flows_off() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    let dns = |servers: &[u8]| {
        let mut dns = service(53, servers);
        dns.key.protocol = Protocol::Udp;
        dns.timeouts.udp = Some(1);
        dns
    };
    b.to(&[dns(&[1])])?;
    b.send(1000, 53, Kind::Udp)?;
    let key = dns(&[]).key;
    let index = |b: &Bench, n| b.tables.backend_index(key, server(n).addr, 80).unwrap();
    let old = index(&b, 1);
    b.to(&[dns(&[2])])?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !scan::connections(&b.dp.scanner())?.is_empty() {
        anyhow::ensure!(Instant::now() < deadline, "it does not expire");
        std::thread::yield_now();
    }
    let later = |b: &Bench| b.dp.scanner().refs(clock::now() + GRACE);
    let refs = later(&b)?;
    assert_eq!(b.with_refs(&[dns(&[2])], &refs)?, [], "{refs:?}");
    swept(&mut b.dp.sweeper(), 1)?;
    let refs = later(&b)?;
    assert_eq!(b.with_refs(&[dns(&[2])], &refs)?.len(), 1, "{refs:?}");
    // A new owner has the connections that it has.
    b.to(&[dns(&[2, 3])])?;
    assert_eq!(index(&b, 3), old);
    assert_eq!(b.dp.connections(), [].into());
    Ok(())
}

#[test]
fn a_server_behind_a_tunnel_that_is_freed_leaves_nothing() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    let mut tunnelled = service(80, &[1]);
    let backend = &mut tunnelled.backends[0];
    backend.method = ForwardMethod::Tun(Tunnel::Ipip);
    backend.link = backend.link.map(|link| Link {
        source: Some([10, 0, 0, 254].into()),
        ..link
    });
    b.to(&[tunnelled])?;
    assert_eq!(b.dp.dump()?.backends.len(), 1);
    b.to(&[])?;
    let refs = b.dp.scanner().refs(clock::now() + GRACE)?;
    assert_eq!(b.with_refs(&[], &refs)?.len(), 1, "{refs:?}");
    assert_eq!(b.dp.dump()?.backends.len(), 0);
    Ok(())
}

#[test]
fn what_a_daemon_that_was_killed_was_writing_is_free_again() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    b.to(&[service(80, &[1])])?;
    b.send(1000, 80, frame::SYN)?;
    let flows = MapData::from_pin(b.config.pin.join(name::FLOWS))?;
    let mut flows: Array<_, [u64; 8]> = Map::Array(flows).try_into()?;
    let (bucket, mut ways) = (0..flows.len())
        .map(|n| Ok((n, flows.get(&n, 0)?)))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .find(|(_, ways)| *ways != [0; 8])
        .context("no flow")?;
    let value = ways.iter().position(|w| *w != 0).context("no way")? | 1;
    ways[value] = PENDING;
    flows.set(bucket, ways, 0)?;
    let mut sweeper = b.dp.sweeper();
    for _ in 1..8 {
        sweeper.sweep()?;
        let now = flows.get(&bucket, 0)?;
        assert_eq!(now, ways, "somebody may be writing it");
    }
    assert_eq!(b.send(1000, 80, frame::SYN)?.0, XDP_DROP);
    sweeper.sweep()?;
    assert_eq!(flows.get(&bucket, 0)?, [0; 8]);
    assert_eq!(b.send(1000, 80, frame::SYN)?.0, XDP_TX);
    Ok(())
}

#[test]
fn a_udp_flow_stays_while_the_way_to_its_server_is_written() -> anyhow::Result<()> {
    let mut b = Bench::new()?;
    let mut udp = service(53, &[1, 2]);
    udp.key.protocol = Protocol::Udp;
    b.to(std::slice::from_ref(&udp))?;
    let first = b.send(1000, 53, Kind::Udp)?.1[5];
    let at = usize::from(first - 1);
    let program = b.dp.program().as_fd().try_clone_to_owned()?;
    let f = frame(
        OWN,
        CLIENT,
        client(1000),
        SocketAddrV4::new(VIP, 53),
        Kind::Udp,
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> anyhow::Result<u64> {
            let mut sent = 0;
            while !done.load(Ordering::Acquire) {
                test_run(&program, &f, 1)?;
                sent += 1;
            }
            Ok(sent)
        });
        // Both MACs and the interface change each time.
        let ways = [2u8, 3].map(|n| {
            let mut desired = udp.clone();
            let link = Link::new([2, 0xaa, n, 0, 0, first], [2, 0, 0, n, 0, 1], n.into());
            desired.backends[at].link = Some(link);
            desired
        });
        let ops = ways.map(|way| {
            let plan = b.tables.plan(&[way], &Refs::default(), clock::now());
            plan.ops
        });
        // Until enough packets have met a backend that was half written.
        let deadline = Instant::now() + Duration::from_secs(30);
        let outcome = loop {
            let change = |ops: &Vec<Op>| b.dp.apply(ops).map(drop);
            if let Err(error) = ops.iter().cycle().take(1000).try_for_each(change) {
                break Err(error.into());
            }
            let [met, moved] =
                [Reason::BackendUnresolved, Reason::Rescheduled].map(|reason| b.reasons(reason));
            let is_late = Instant::now() > deadline;
            if met >= 20 || moved > 0 || is_late && met > 0 {
                break Ok(());
            }
            if is_late {
                break Err(anyhow::anyhow!("no packet met a change"));
            }
        };
        done.store(true, Ordering::Release);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender"))??;
        outcome?;
        println!("{sent} packets");
        anyhow::Ok(())
    })?;
    assert_eq!(b.reasons(Reason::Rescheduled), 0);
    Ok(())
}

/// `cargo test --release -p lb-tests --test loader -- --ignored --nocapture`
#[test]
#[ignore = "measures; the figures are in docs/performance.md"]
fn how_long_a_walk_through_the_table_takes() -> anyhow::Result<()> {
    for buckets in [1u32 << 19, 1 << 20, 1 << 21] {
        let scratch = Scratch::new()?;
        let config = Config {
            pin: scratch.pins().join("d"),
            flow_buckets: buckets,
            mode: ModeWish::Auto,
        };
        let mut dp = DataPlane::open(&config)?;
        let _ = dp.apply(&Tables::new(dp.hz()).configure(&Defaults::default()))?;
        let mut sweeper = dp.sweeper();
        let mut walk = || -> anyhow::Result<(u64, u64, Duration)> {
            let mut times = Vec::new();
            let mut swept = Swept::default();
            for _ in 0..5 {
                let begun = Instant::now();
                swept = sweeper.sweep()?;
                times.push(begun.elapsed());
            }
            times.sort_unstable();
            Ok((swept.living, swept.expired, times[2]))
        };
        println!("{} places, empty: {:?}", dp.flow_slots(), walk()?);
        // Half of the places have a flow, of many backends.
        let now = dp.scanner().tick()?;
        let flows = MapData::from_pin(config.pin.join(name::FLOWS))?;
        let mut flows: Array<_, [u64; 8]> = Map::Array(flows).try_into()?;
        for n in 0..buckets {
            let tag = u64::from(n) << 16 | 1;
            let value = |i: u32| FlowValue::new((n * 2 + i) as u16 % 4096 + 1, 1, now).0;
            flows.set(n, [tag, value(0), 0, 0, tag | 1 << 60, value(1), 0, 0], 0)?;
        }
        println!("{} places, half full: {:?}", dp.flow_slots(), walk()?);
        dp.unload()?;
    }
    Ok(())
}
