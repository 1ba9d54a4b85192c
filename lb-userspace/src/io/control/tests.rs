use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::control::protocol::{
    Connection, ConnectionFilter, ConnectionsPage, ErrorKind, ErrorReply, Greeting, Hello,
    MAX_REQUEST, PROTOCOL, ReloadOutcome, ReloadReport, Request, Response, encode,
};
use crate::control::status::Status;
use crate::io::clock::now;
use crate::model::Protocol;

/// No group has this name.
const NO_GROUP: &str = "no such group";

/// A server with an engine that answers, both gone when dropped.
struct Daemon {
    _dir: TempDir,
    path: PathBuf,
    server: Option<Server>,
    engine: Option<std::thread::JoinHandle<u64>>,
}

fn connection(n: u64) -> Connection {
    Connection {
        protocol: Protocol::Tcp,
        expires_ms: n,
        state: "ESTABLISHED".into(),
        client: [10, 9, (n >> 8) as u8, n as u8].into(),
        client_port: 1000,
        vip: [192, 0, 2, 1].into(),
        vip_port: 80,
        server: [10, 0, 0, 1].into(),
        server_port: 80,
    }
}

/// An engine with 10,000 connections; how many requests it answered.
fn engine(mut calls: tokio::sync::mpsc::Receiver<Call>) -> u64 {
    let mut answered = 0;
    while let Some(call) = calls.blocking_recv() {
        answered += 1;
        let response = match call.request {
            Request::Status => {
                let mut status = Status::default();
                status.daemon.pid = call.peer.pid.unsigned_abs();
                Response::Status(Box::new(status))
            }
            Request::Connections(r) => {
                let end = (r.cursor + u64::from(r.limit)).min(10_000);
                let connections = (r.cursor..end)
                    .map(connection)
                    .filter(|c| r.filter.matches(c))
                    .collect();
                Response::Connections(ConnectionsPage {
                    connections,
                    next: (end < 10_000).then_some(end),
                })
            }
            Request::Server { .. } | Request::Vrrp { .. } | Request::Log { .. } => {
                Response::Error(ErrorReply {
                    kind: ErrorKind::Failed,
                    message: "there is no such service".to_owned(),
                })
            }
            Request::Reload { dry_run } => Response::Reload(ReloadReport {
                outcome: if dry_run {
                    ReloadOutcome::WouldApply
                } else {
                    ReloadOutcome::Applied
                },
                path: "x".into(),
                plan: vec![],
                diagnostics: String::new(),
                errors: 0,
                warnings: 0,
            }),
        };
        let _ = call.reply.send(response);
    }
    answered
}

fn daemon(limits: Limits) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbd.sock");
    let (server, calls) = Server::spawn(&path, NO_GROUP, 16, limits).unwrap();
    Daemon {
        _dir: dir,
        path,
        server: Some(server),
        engine: Some(std::thread::spawn(move || engine(calls))),
    }
}

impl Daemon {
    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let s = UnixStream::connect(&self.path).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        s
    }

    /// Stops it; how many requests the engine answered.
    fn stop(mut self) -> u64 {
        self.server = None;
        self.engine.take().unwrap().join().unwrap()
    }
}

/// Everything that comes until the end.
fn rest(mut s: &UnixStream) -> String {
    let mut bytes = Vec::new();
    // A reset tells the end as well.
    let _ = s.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn patient() -> Limits {
    Limits::default()
}

#[test]
fn asks_and_answers() {
    let d = daemon(patient());
    let mut c = d.client();
    assert_eq!(c.daemon(), &Hello::ours());
    assert_eq!(c.status().unwrap().daemon.pid, std::process::id());
    assert_eq!(c.reload(true).unwrap().outcome, ReloadOutcome::WouldApply);
    assert_eq!(c.reload(false).unwrap().outcome, ReloadOutcome::Applied);
    assert_eq!(d.stop(), 3);
}

#[test]
fn connections_come_in_pages_up_to_the_limit() {
    let d = daemon(patient());
    let mut c = d.client();
    let mut count = |filter: &ConnectionFilter, limit| {
        let mut got = Vec::new();
        c.connections(filter, limit, |c| {
            got.push(c.expires_ms);
            Ok::<_, ClientError>(())
        })
        .unwrap();
        got
    };
    assert_eq!(
        count(&ConnectionFilter::default(), u64::MAX),
        (0..10_000).collect::<Vec<_>>()
    );
    assert_eq!(count(&ConnectionFilter::default(), 5000).len(), 5000);
    let one = ConnectionFilter {
        client: Some([10, 9, 0x1f, 0].into()),
        ..ConnectionFilter::default()
    };
    assert_eq!(count(&one, 10), [0x1f00]);
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbd.sock");
    let e = Client::connect(&path).unwrap_err();
    assert!(
        e.unreachable() && e.to_string().starts_with("lbd is not running: "),
        "{e}"
    );
    // What a daemon leaves that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let e = Client::connect(&path).unwrap_err();
    assert!(
        e.unreachable() && e.to_string().starts_with("lbd is not running: "),
        "{e}"
    );
    // It does not stop the next one, which cleans up.
    let (server, _calls) = Server::spawn(&path, NO_GROUP, 1, patient()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_second_daemon_is_told_and_harms_nothing() {
    let d = daemon(patient());
    let e = Server::spawn(&d.path, NO_GROUP, 1, patient()).unwrap_err();
    assert!(matches!(e, ServerError::InUse { .. }), "{e}");
    d.client().status().unwrap();
}

#[test]
fn a_socket_that_is_another_daemons_by_now_is_left() {
    let d = daemon(patient());
    std::fs::remove_file(&d.path).unwrap();
    let (_second, _calls) = Server::spawn(&d.path, NO_GROUP, 1, patient()).unwrap();
    let path = d.path.clone();
    let dir = d._dir;
    drop(d.server);
    assert!(path.exists());
    drop(dir);
}

#[test]
fn another_version_is_told_so_on_both_sides() {
    let d = daemon(patient());
    let mut s = d.raw();
    let hello = Hello {
        protocol: PROTOCOL + 1,
        version: "7.0.0".into(),
    };
    s.write_all(&encode(&hello, MAX_REQUEST).unwrap()).unwrap();
    let said = rest(&s);
    assert!(
        said.contains("version") && said.contains("lbctl 7.0.0"),
        "{said}"
    );

    // A daemon of another version, old enough not to check.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let old = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().unwrap();
        let theirs = Greeting::Hello(Hello {
            protocol: PROTOCOL + 1,
            version: "9.9.9".into(),
        });
        s.write_all(&encode(&theirs, MAX_REQUEST).unwrap()).unwrap();
        rest(&s);
    });
    let e = Client::connect(&path).unwrap_err();
    assert!(
        !e.unreachable() && e.to_string().contains("lbd 9.9.9"),
        "{e}"
    );
    old.join().unwrap();
}

#[test]
fn malformed_requests_are_answered_and_the_next_one_served() {
    let d = daemon(patient());
    let mut s = d.raw();
    s.write_all(&encode(&Hello::ours(), MAX_REQUEST).unwrap())
        .unwrap();
    for body in [
        &b"\"shutdown\""[..],
        b"",
        b"{",
        b"\xff\xfe",
        b"[[[[[[[[",
        b"{\"reload\":{}}",
    ] {
        s.write_all(&(body.len() as u32).to_be_bytes()).unwrap();
        s.write_all(body).unwrap();
    }
    s.write_all(&encode(&Request::Status, MAX_REQUEST).unwrap())
        .unwrap();
    s.shutdown(std::net::Shutdown::Write).unwrap();
    let said = rest(&s);
    assert_eq!(
        said.matches("malformed").count(),
        12,
        "kind and message of each: {said}"
    );
    assert_eq!(said.matches("data_plane").count(), 1);
    assert_eq!(d.stop(), 1);
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let d = daemon(patient());
    let mut s = d.raw();
    s.write_all(&encode(&Hello::ours(), MAX_REQUEST).unwrap())
        .unwrap();
    let body = vec![b'['; MAX_REQUEST];
    s.write_all(&(body.len() as u32).to_be_bytes()).unwrap();
    s.write_all(&body).unwrap();
    s.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(rest(&s).contains("malformed"));
}

#[test]
fn oversized_messages_are_refused_before_they_are_read() {
    let d = daemon(patient());
    for after_hello in [false, true] {
        let mut s = d.raw();
        if after_hello {
            s.write_all(&encode(&Hello::ours(), MAX_REQUEST).unwrap())
                .unwrap();
        }
        s.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(rest(&s).contains("too_long"));
    }
    d.client().status().unwrap();
}

#[test]
fn slow_clients_are_dropped_and_stuck_ones_harm_nobody() {
    let short = Duration::from_millis(200);
    let d = daemon(Limits {
        message: short,
        write: short,
        ..patient()
    });
    let begin = now();
    let silent = d.raw();
    let mut half = d.raw();
    half.write_all(&[0, 0]).unwrap();
    // One that asks for much and takes nothing.
    let mut greedy = d.raw();
    greedy
        .write_all(&encode(&Hello::ours(), MAX_REQUEST).unwrap())
        .unwrap();
    let all = Request::Connections(crate::control::protocol::ConnectionsRequest {
        limit: 4096,
        ..Default::default()
    });
    for _ in 0..64 {
        if greedy
            .write_all(&encode(&all, MAX_REQUEST).unwrap())
            .is_err()
        {
            break;
        }
    }
    d.client().status().unwrap();
    assert_eq!(rest(&silent), "");
    assert_eq!(rest(&half), "");
    assert!(now().since(begin) < Duration::from_secs(20));
    d.client().status().unwrap();
}

#[test]
fn too_many_clients_are_told_and_let_in_again() {
    let d = daemon(Limits {
        clients: 2,
        root_clients: 1,
        ..patient()
    });
    // Root has both parts, another user only the first.
    let most = if nix::unistd::Uid::effective().is_root() {
        3
    } else {
        2
    };
    let mut crowd: Vec<Client> = (0..most).map(|_| d.client()).collect();
    match Client::connect(&d.path) {
        Err(ClientError::Refused(e)) => assert_eq!(e.kind, ErrorKind::Busy),
        other => panic!("{other:?}"),
    }
    crowd.pop();
    let begin = now();
    // The server learns of it in its own time.
    while Client::connect(&d.path).is_err() {
        assert!(now().since(begin) < Duration::from_secs(30));
        std::thread::yield_now();
    }
    for c in &mut crowd {
        c.status().unwrap();
    }
}

#[test]
fn an_engine_that_is_busy_or_gone_is_no_riddle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let limits = Limits {
        answer: Duration::from_millis(50),
        ..patient()
    };
    let (_server, mut calls) = Server::spawn(&path, NO_GROUP, 1, limits).unwrap();
    let kind = |c: &mut Client| match c.status() {
        Err(ClientError::Refused(e)) => e.kind,
        other => panic!("{other:?}"),
    };
    let mut c = Client::connect(&path).unwrap();
    assert_eq!(kind(&mut c), ErrorKind::Busy, "no answer in time");
    assert_eq!(
        kind(&mut c),
        ErrorKind::Busy,
        "its call still waits, and no other may"
    );
    let late = calls.blocking_recv().unwrap();
    assert!(late.reply.send(Response::Status(Box::default())).is_err());
    drop(calls);
    assert_eq!(kind(&mut c), ErrorKind::Stopping);
}

#[test]
fn clients_that_leave_at_any_point() {
    let d = daemon(patient());
    let mut whole = encode(&Hello::ours(), MAX_REQUEST).unwrap();
    whole.extend(encode(&Request::Status, MAX_REQUEST).unwrap());
    for n in 0..=whole.len() {
        d.raw().write_all(&whole[..n]).unwrap();
    }
    d.client().status().unwrap();
}

#[test]
fn random_bytes_never_stop_it() {
    let d = daemon(patient());
    let mut seed = 0x1234_5678_9abc_def0u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let hello = encode(&Hello::ours(), MAX_REQUEST).unwrap();
    let request = encode(&Request::Connections(Default::default()), MAX_REQUEST).unwrap();
    for _ in 0..500 {
        let mut s = d.raw();
        if random() & 1 == 0 {
            let _ = s.write_all(&hello);
        }
        // A valid request with some bytes changed, and sometimes a length that is not its own.
        let mut bytes = request.clone();
        for _ in 0..random() % 8 {
            let at = (random() % bytes.len() as u64) as usize;
            bytes[at] = random() as u8;
        }
        bytes[0] = 0;
        bytes[1] = 0;
        let _ = s.write_all(&bytes);
        let _ = s.shutdown(std::net::Shutdown::Write);
        if random() & 3 == 0 {
            rest(&s);
        }
    }
    d.client().status().unwrap();
}
