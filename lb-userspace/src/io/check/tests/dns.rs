use super::udp::Server;
use super::*;
use crate::model::{DnsCheck, DnsType};

fn dns(to: SocketAddr) -> Check {
    let name = "www.example.org".to_owned();
    Check {
        kind: CheckKind::Dns(DnsCheck {
            record: DnsType::Txt,
            name,
        }),
        timeout: Duration::from_millis(300),
        ..check(to)
    }
}

/// The question as an answer without records.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2] |= 0x80;
    out
}

fn wrong(why: &str) -> Verdict {
    Verdict::Failed(Failure::Answer(why.to_owned()))
}

#[test]
fn servers_of_all_kinds() {
    for ip in ["127.0.0.1", "::1"] {
        let of = |make: fn(&[u8]) -> Option<Vec<u8>>| {
            let server = Server::new(ip, make);
            one(dns(server.addr)).0
        };
        assert_eq!(of(|q| Some(answer(q))), Verdict::Ok);
        let servfail = |q: &[u8]| {
            let mut a = answer(q);
            a[3] |= 2;
            Some(a)
        };
        assert_eq!(of(servfail), wrong("SERVFAIL"));
        assert_eq!(of(|_| None), Verdict::Failed(Failure::NoAnswer));
        assert_eq!(
            of(|_| Some(vec![])),
            wrong("what came is no answer: it is too short for DNS")
        );
        assert_eq!(
            of(|q| Some(q.to_vec())),
            wrong("what came is no answer: it is a question")
        );
        assert_eq!(
            of(|q| Some(answer(&q[..q.len() - 1]))),
            wrong("the answer is to another question")
        );
        let more = |q: &[u8]| {
            let mut a = answer(q);
            a[7] = 1;
            Some(a)
        };
        assert_eq!(of(more), wrong("the answer ends in the middle"));
        assert_eq!(
            of(|q| Some([&answer(q)[..], &[0; 5000]].concat())),
            wrong("the answer has 5033 octets")
        );
        let late = |q: &[u8]| {
            let mut a = answer(q);
            a[0] ^= 1;
            Some(a)
        };
        assert_eq!(
            of(late),
            wrong("what came is no answer: its id is another one")
        );
        let closed = std::net::UdpSocket::bind((ip, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(one(dns(closed)).0, Verdict::Failed(Failure::Refused));
    }
}

#[test]
fn the_answer_counts_behind_what_is_none() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        let question = &buffer[..length];
        server.send_to(b"junk", from).unwrap();
        server.send_to(question, from).unwrap();
        server.send_to(&answer(question), from).unwrap();
        server
    });
    let check = Check {
        timeout: PATIENCE,
        ..dns(to)
    };
    assert_eq!(one(check).0, Verdict::Ok);
    thread.join().unwrap();
}

#[test]
fn endless_junk_ends_in_time() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let (_, from) = server.recv_from(&mut [0; 512]).unwrap();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // Refused when the probe has ended.
            let _ = server.send_to(b"junk", from);
        }
    });
    let (verdict, took) = one(dns(to));
    stop.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(
        verdict,
        wrong("what came is no answer: it is too short for DNS")
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
}
