mod http;
mod tls;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::health::{Failure, NotRun};
use crate::io::clock::now;
use crate::io::script::Runner;
use crate::model::Check;

mod dns;
mod misc;
mod ping;
mod smtp;
mod udp;

/// Long enough for any machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn check(to: SocketAddr) -> Check {
    Check {
        timeout: PATIENCE,
        retry: 0,
        warmup: Duration::ZERO,
        ..Check::new(CheckKind::Tcp, to.ip(), to.port())
    }
}

/// A listener that takes up to `backlog` connections without anybody accepting them.
fn listener(ip: Ipv4Addr, backlog: i32) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip.into(), 0).into()).unwrap();
    socket.listen(backlog).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

fn run(checks: impl IntoIterator<Item = Check>) -> Vec<Finished> {
    let runner = Runner::spawn().unwrap();
    let (prober, mut results) = Prober::spawn(runner.scripts()).unwrap();
    let mut left = 0;
    for (check, n) in checks.into_iter().zip(0..) {
        while prober.room() == 0 {
            std::thread::yield_now();
        }
        let id = ProbeId(n);
        prober.start(Probe::new(id, check)).unwrap();
        left += 1;
    }
    let mut out: Vec<Finished> = (0..left)
        .map(|_| results.blocking_recv().unwrap())
        .collect();
    out.sort_by_key(|f| f.id);
    out
}

fn one(check: Check) -> (Verdict, Duration) {
    let f = run([check]).remove(0);
    (f.verdict, f.took)
}

#[test]
fn a_listener_passes_and_sees_an_orderly_close() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (verdict, took) = one(check(listener.local_addr().unwrap()));
    assert_eq!(verdict, Verdict::Ok);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut seen = listener.accept().unwrap().0;
    seen.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(seen.read(&mut [0]).unwrap(), 0, "end of file, not a reset");
}

#[test]
fn a_closed_port_is_refused() {
    let addr = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(one(check(addr)).0, Verdict::Failed(Failure::Refused));
}

#[test]
fn silence_times_out_when_it_should() {
    // A listener whose queue is full lets SYNs fall.
    let (_socket, addr) = listener(Ipv4Addr::LOCALHOST, 0);
    let mut full = Vec::new();
    while let Ok(c) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        full.push(c);
    }
    let timeouts = [50u64, 300, 1000].map(Duration::from_millis);
    let begin = now();
    let results = run(timeouts.map(|timeout| Check {
        timeout,
        ..check(addr)
    }));
    for (f, timeout) in results.iter().zip(timeouts) {
        assert_eq!(f.verdict, Verdict::Failed(Failure::TimedOut));
        assert!(f.took >= timeout, "{:?} before {timeout:?}", f.took);
        // A loaded machine may look late, which must not make it longer than the whole test.
        assert!(
            f.took <= now().since(begin) && f.took < timeout + Duration::from_secs(5),
            "{:?}",
            f.took
        );
    }
}

#[test]
fn an_answer_that_was_there_in_time_counts_on_a_stalled_machine() {
    let (_socket, addr) = listener(Ipv4Addr::LOCALHOST, 8);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let verdict = runtime.block_on(async {
        let hasty = Check {
            timeout: Duration::from_millis(20),
            ..check(addr)
        };
        let probe = tokio::spawn(async move { tcp::probe(&hasty).await });
        tokio::task::yield_now().await;
        // The whole thread stands still for longer than the timeout.
        let until = now() + Duration::from_millis(60);
        while now() < until {}
        probe.await.unwrap().0
    });
    assert_eq!(verdict, Verdict::Ok);
}

#[test]
fn bindto_sets_the_source() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = IpAddr::from([127, 1, 2, 3]);
    let from = Check {
        bind_addr: Some(source),
        bind_if: Some("lo".into()),
        ..check(listener.local_addr().unwrap())
    };
    assert_eq!(one(from).0, Verdict::Ok);
    assert_eq!(listener.accept().unwrap().1.ip(), source);
}

#[test]
fn a_fixed_port_can_be_used_again_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    // Below the kernel's own choice of ports, so that no other test takes it meanwhile.
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let from = |bind_port| Check {
        bind_port,
        ..check(to)
    };
    let port = (first..first + 100)
        .find(|port| one(from(*port)).0 == Verdict::Ok)
        .unwrap();
    assert_eq!(listener.accept().unwrap().1.port(), port);
    for _ in 0..3 {
        assert_eq!(one(from(port)).0, Verdict::Ok);
        assert_eq!(listener.accept().unwrap().1.port(), port);
    }
}

#[test]
fn what_this_host_cannot_do_says_nothing_of_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = check(listener.local_addr().unwrap());
    let foreign = Check {
        bind_addr: Some("203.0.113.77".parse().unwrap()),
        ..to.clone()
    };
    let why = "bind to 203.0.113.77:0: cannot assign requested address".to_owned();
    assert_eq!(one(foreign).0, Verdict::NotRun(NotRun { why }));
    let no_such = Check {
        bind_if: Some("no-such-if".into()),
        ..to
    };
    let why = "bind to no-such-if: no such device".to_owned();
    assert_eq!(one(no_such).0, Verdict::NotRun(NotRun { why }));
}

#[test]
fn errors_of_the_network_are_told_apart() {
    let of = |n| socket::verdict_of(&std::io::Error::from_raw_os_error(n));
    assert_eq!(
        of(libc::EHOSTUNREACH),
        Verdict::Failed(Failure::HostUnreachable)
    );
    assert_eq!(
        of(libc::ENETUNREACH),
        Verdict::Failed(Failure::NetworkUnreachable)
    );
    assert_eq!(of(libc::ECONNRESET), Verdict::Failed(Failure::Reset));
    assert_eq!(
        of(libc::ENOPROTOOPT),
        Verdict::Failed(Failure::Other("protocol not available".into()))
    );
    for here in [
        libc::EADDRNOTAVAIL,
        libc::EMFILE,
        libc::ENOBUFS,
        libc::EPERM,
    ] {
        assert!(matches!(of(here), Verdict::NotRun(_)));
    }
}

#[test]
fn five_thousand_at_once() {
    // 20 addresses, so that no queue runs full although nobody accepts.
    let listeners: Vec<_> = (1..=20)
        .map(|n| listener(Ipv4Addr::new(127, 2, 0, n), 512))
        .collect();
    let checks = (0..5000).map(|n| check(listeners[n % listeners.len()].1));
    let results = run(checks);
    assert_eq!(results.len(), 5000);
    for f in results {
        assert_eq!(f.verdict, Verdict::Ok);
    }
}

#[test]
fn a_full_queue_gives_the_probe_back_and_dropping_ends_the_thread() {
    let (_socket, addr) = listener(Ipv4Addr::LOCALHOST, 0);
    let runner = Runner::spawn().unwrap();
    let (prober, results) = Prober::spawn(runner.scripts()).unwrap();
    assert_eq!(prober.room(), QUEUE);
    drop(results);
    for n in 0..10 {
        prober.start(Probe::new(ProbeId(n), check(addr))).unwrap();
    }
    let begin = now();
    drop(prober);
    assert!(now().since(begin) < PATIENCE, "it waited for the probes");
}
