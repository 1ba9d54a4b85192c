//! Two masters that do not accept each other.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> VrrpInstance {
    VrrpInstance {
        auth: Auth::Pass(b"1111".to_vec()),
        ..instance("VI_1", "eth0", 62)
    }
}

fn master() -> Host {
    let mut host = Host::one(config());
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);
    host.take();
    host
}

/// What was said while `other` advertised `times` times, a second apart.
fn hear(host: &mut Host, other: &VrrpInstance, times: usize) -> Vec<Notice> {
    host.take();
    for _ in 0..times {
        host.hear(other, HIGHER_PEER, 200);
        host.run(SECOND);
    }
    Host::notices(&host.take())
}

#[test]
fn what_keeps_two_masters_apart_is_named_once() {
    let other_version = VrrpInstance {
        version: VrrpVersion::V3,
        auth: Auth::None,
        ..config()
    };
    let cases = [
        (
            Reject::AuthData,
            VrrpInstance {
                auth: Auth::Pass(b"2222".to_vec()),
                ..config()
            },
        ),
        (
            Reject::AuthType,
            VrrpInstance {
                auth: Auth::None,
                ..config()
            },
        ),
        (Reject::Version, other_version),
        (
            Reject::Interval,
            VrrpInstance {
                advert_int: SECOND * 2,
                ..config()
            },
        ),
        (
            Reject::Count,
            VrrpInstance {
                addresses: vec![vip(100), vip(101)],
                ..config()
            },
        ),
        (
            Reject::AddressList,
            VrrpInstance {
                addresses: vec![vip(101)],
                ..config()
            },
        ),
    ];
    for (reason, other) in cases {
        let mut host = master();
        let said = hear(&mut host, &other, 60);
        let rival = Notice::Rival {
            from: HIGHER_PEER,
            reason,
        };
        let alarms = said.iter().filter(|n| **n == rival).count();
        assert_eq!(alarms, 1, "{said:?}");
        // One for the first packets, which may have been anybody's.
        assert_eq!(said.len(), 2, "{said:?}");
        let status = host.status(0);
        assert_eq!(
            (status.state, status.rival),
            (State::Master, Some((HIGHER_PEER, reason)))
        );
        assert!(reason.disagreement().is_some());
        host.run(DOWN * 2);
        let gone = Notice::RivalGone { from: HIGHER_PEER };
        assert_eq!(Host::notices(&host.take()), [gone]);
        assert_eq!(host.status(0).rival, None);
    }
}

#[test]
fn a_packet_or_two_are_no_rival_and_neither_is_who_wins() {
    let wrong = VrrpInstance {
        auth: Auth::Pass(b"2222".to_vec()),
        ..config()
    };
    let mut host = master();
    let said = hear(&mut host, &wrong, 2);
    assert!(
        !said.iter().any(|n| matches!(n, Notice::Rival { .. })),
        "{said:?}"
    );
    host.run(DOWN * 2);
    assert_eq!(Host::notices(&host.take()), []);

    // The file was mended over there: this host yields, and the alarm ends.
    hear(&mut host, &wrong, 5);
    let said = hear(&mut host, &config(), 3);
    assert_eq!(host.state(), State::Backup);
    let gone = Notice::RivalGone { from: HIGHER_PEER };
    assert!(said.contains(&gone), "{said:?}");
}

#[test]
fn nonsense_of_all_kinds_is_one_line_a_second_at_most() {
    let mut host = master();
    let mut said = 0;
    for round in 0..1000u32 {
        let other = match round % 4 {
            0 => VrrpInstance {
                auth: Auth::None,
                ..config()
            },
            1 => VrrpInstance {
                advert_int: SECOND * 2,
                ..config()
            },
            2 => VrrpInstance {
                addresses: vec![vip(101)],
                ..config()
            },
            _ => VrrpInstance {
                auth: Auth::Pass(b"2222".to_vec()),
                ..config()
            },
        };
        host.hear(&other, Ipv4Addr::from(0x0a4d_0000 + 3 + round % 200), 200);
        host.run(SECOND / 100);
        said += Host::notices(&host.take()).len();
    }
    assert!(said <= 11, "{said} lines in ten seconds");
}
