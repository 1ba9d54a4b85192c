use super::*;

fn ping(to: &str) -> Check {
    Check {
        timeout: Duration::from_millis(300),
        ..check(SocketAddr::new(to.parse().unwrap(), 0))
    }
}

/// Raw sockets take a right that not everybody who runs tests has.
fn may() -> bool {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::ICMPV4));
    if raw.is_err() {
        println!("no right to open a raw socket: nothing was tried");
    }
    raw.is_ok()
}

#[test]
fn hosts_of_both_versions_answer() {
    if !may() {
        return;
    }
    let run = |c: Check| {
        one(Check {
            kind: CheckKind::Ping,
            ..c
        })
        .0
    };
    let patient = |c| Check {
        timeout: PATIENCE,
        ..c
    };
    for there in ["127.0.0.1", "127.9.9.9", "::1"] {
        assert_eq!(run(patient(ping(there))), Verdict::Ok, "{there}");
    }
    // A broadcast address is not to be pinged; that says nothing of a server.
    let why = "connect: permission denied".to_owned();
    assert_eq!(
        run(ping("127.255.255.255")),
        Verdict::NotRun(NotRun { why })
    );
    let bound = Check {
        bind_addr: Some([127, 1, 2, 3].into()),
        bind_port: 99,
        bind_if: Some("lo".into()),
        ..patient(ping("127.0.0.1"))
    };
    assert_eq!(run(bound), Verdict::Ok);
    let foreign = Check {
        bind_addr: Some([203, 0, 113, 77].into()),
        ..ping("127.0.0.1")
    };
    assert!(matches!(run(foreign), Verdict::NotRun(_)));
}

#[test]
fn each_of_many_hears_its_own_answer() {
    if !may() {
        return;
    }
    let checks = (0..200).map(|_| Check {
        kind: CheckKind::Ping,
        timeout: PATIENCE,
        ..ping("127.0.0.1")
    });
    assert!(run(checks).iter().all(|f| f.verdict == Verdict::Ok));
}
