use std::net::UdpSocket;

use super::*;
use crate::model::{Pattern, UdpCheck};

fn udp(to: SocketAddr, udp: UdpCheck) -> Check {
    Check {
        kind: CheckKind::Udp(udp),
        ..check(to)
    }
}

fn requires(pattern: &str) -> UdpCheck {
    UdpCheck {
        payload: Some(b"ask".to_vec()),
        require_reply: Pattern::parse(pattern),
        ..UdpCheck::default()
    }
}

/// A server that answers each datagram once with what `answer` makes of it, until it is dropped.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn new(
        ip: &str,
        answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Server {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        let addr = socket.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                if from.ip() == addr.ip() && &buffer[..length] == END {
                    return;
                }
                if let Some(answer) = answer(&buffer[..length]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Server {
            addr,
            thread: Some(thread),
        }
    }
}

const END: &[u8] = b"the end of the server";

impl Drop for Server {
    fn drop(&mut self) {
        let socket = UdpSocket::bind((self.addr.ip(), 0)).unwrap();
        socket.send_to(END, self.addr).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_closed_port_is_refused_whatever_is_asked() {
    for ip in ["127.0.0.1", "::1"] {
        let addr = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
        for check in [UdpCheck::default(), requires("")] {
            assert_eq!(one(udp(addr, check)).0, Verdict::Failed(Failure::Refused));
        }
    }
}

#[test]
fn silence_is_good_unless_an_answer_is_required() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap();
    let timeout = Duration::from_millis(50);
    for (check, verdict) in [
        (UdpCheck::default(), Verdict::Ok),
        (requires(""), Verdict::Failed(Failure::NoAnswer)),
    ] {
        let (got, took) = one(Check {
            timeout,
            ..udp(to, check)
        });
        assert_eq!(got, verdict);
        assert!(took >= timeout, "{took:?}");
    }
    let mut buffer = [0; 64];
    let (length, _) = silent.recv_from(&mut buffer).unwrap();
    assert_eq!(length, 32, "what is sent without a payload");
    let (length, _) = silent.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ask");
}

#[test]
fn answers_are_judged() {
    for ip in ["127.0.0.1", "::1"] {
        let server = Server::new(ip, |asked| Some([asked, b"ed"].concat()));
        let to = server.addr;
        assert_eq!(one(udp(to, UdpCheck::default())).0, Verdict::Ok);
        for good in ["", "61736b", "61736b6564", "6xxxxx 65", "61736b6564 00"] {
            assert_eq!(one(udp(to, requires(good))).0, Verdict::Ok, "{good}");
        }
        let wrong = |why: &str| Verdict::Failed(Failure::Answer(why.to_owned()));
        assert_eq!(
            one(udp(to, requires("61746b"))).0,
            wrong("the answer is another one from octet 2 on")
        );
        for (min, max) in [(0, 4), (6, 9)] {
            let check = UdpCheck {
                min_reply_length: min,
                max_reply_length: max,
                ..requires("61736b")
            };
            assert_eq!(
                one(udp(to, check)).0,
                wrong(&format!("the answer's length is 5, not {min} to {max}"))
            );
        }
    }
}

#[test]
fn a_long_answer_is_measured_without_being_kept() {
    let server = Server::new("127.0.0.1", |_| Some(vec![0x55; 40_000]));
    let long = UdpCheck {
        max_reply_length: 40_000,
        ..requires("5555")
    };
    assert_eq!(one(udp(server.addr, long.clone())).0, Verdict::Ok);
    let short = UdpCheck {
        max_reply_length: 39_999,
        ..long
    };
    let why = "the answer's length is 40000, not 0 to 39999".to_owned();
    assert_eq!(
        one(udp(server.addr, short)).0,
        Verdict::Failed(Failure::Answer(why))
    );
}

#[test]
fn only_the_server_is_heard() {
    // The answer comes from another port.
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (_, from) = server.recv_from(&mut [0; 64]).unwrap();
        other.send_to(b"answer", from).unwrap();
        server
    });
    let check = Check {
        timeout: Duration::from_millis(200),
        ..udp(to, requires(""))
    };
    assert_eq!(one(check).0, Verdict::Failed(Failure::NoAnswer));
    thread.join().unwrap();
}

#[test]
fn the_source_is_as_configured() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let source: IpAddr = [127, 1, 2, 3].into();
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let from = |bind_port| Check {
        bind_addr: Some(source),
        bind_port,
        bind_if: Some("lo".into()),
        timeout: Duration::from_millis(1),
        ..udp(to, UdpCheck::default())
    };
    let port = (first..first + 100)
        .find(|port| one(from(*port)).0 == Verdict::Ok)
        .unwrap();
    let (_, seen) = server.recv_from(&mut [0; 64]).unwrap();
    assert_eq!(seen, SocketAddr::new(source, port));
}

#[test]
fn many_at_once() {
    let server = Server::new("127.0.0.1", |asked| Some(asked.to_vec()));
    let checks = (0..3000).map(|_| Check {
        // Its queue is short: some are lost, and are asked again by nobody.
        timeout: Duration::from_secs(2),
        ..udp(server.addr, UdpCheck::default())
    });
    let results = run(checks);
    assert!(results.iter().all(|f| f.verdict == Verdict::Ok));
    assert!(results.iter().any(|f| f.took < Duration::from_secs(1)));
}
