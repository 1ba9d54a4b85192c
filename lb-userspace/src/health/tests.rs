//! The rules as tables and stories, and beside a transcription of keepalived's code.

mod by_hand;
mod keepalived;
mod left_out;
mod reload;
mod sessions;
mod urls;

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{CheckKind, ForwardMethod, Protocol, RealServer, SorryServer};

const SECOND: Duration = Duration::from_secs(1);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn key() -> ServiceKey {
    ServiceKey {
        addr: "192.0.2.1".parse().unwrap(),
        port: 80,
        protocol: Protocol::Tcp,
    }
}

fn check(last: u8) -> Check {
    Check {
        interval: 10 * SECOND,
        retry: 2,
        retry_delay: 3 * SECOND,
        warmup: Duration::ZERO,
        ..Check::new(CheckKind::Tcp, ip(last), 80)
    }
}

fn server(last: u8, weight: u16, checks: Vec<Check>) -> RealServer {
    RealServer {
        checks,
        ..RealServer::new(ip(last), 80, weight)
    }
}

fn service(real_servers: Vec<RealServer>) -> Service {
    Service {
        real_servers,
        ..Service::new(key())
    }
}

fn at(secs: u64) -> Time {
    Time::ZERO + Duration::from_secs(secs)
}

/// A fresh `Health` of one service, at time 0; warmups are half of what they may be.
fn health(service: &Service) -> Health {
    let mut h = Health::new();
    h.apply(std::slice::from_ref(service), Time::ZERO, &mut || 1 << 63);
    h
}

/// Starts what is due at `now` and answers all of it, per target address.
fn run(h: &mut Health, now: Time, answer: impl Fn(IpAddr) -> Verdict) -> Vec<IpAddr> {
    let mut probes = Vec::new();
    h.start(now, usize::MAX, &mut probes);
    for p in &probes {
        h.verdict(p.id, &answer(p.check.addr), Duration::from_micros(150), now);
    }
    probes.into_iter().map(|p| p.check.addr).collect()
}

fn fails(_: IpAddr) -> Verdict {
    Verdict::Failed(Failure::Refused)
}

fn passes(_: IpAddr) -> Verdict {
    Verdict::Ok
}

/// `last byte of the address : effective weight` of what is in the table.
fn table(h: &Health) -> Vec<(u8, u16)> {
    let last = |a| match a {
        IpAddr::V4(a) => a.octets()[3],
        IpAddr::V6(a) => a.octets()[15],
    };
    let targets = h.targets(&key()).unwrap();
    targets
        .iter()
        .filter(|t| t.listed)
        .map(|t| (last(t.addr), t.effective_weight))
        .collect()
}

fn said(h: &mut Health) -> Vec<String> {
    h.take_transitions()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_first_failure_counts_at_once_and_later_ones_are_retried() {
    let mut h = health(&service(vec![
        server(1, 1, vec![check(1)]),
        server(2, 1, vec![]),
    ]));
    assert_eq!(table(&h), [(1, 1), (2, 1)], "up until it has failed");
    assert_eq!(h.next_probe(), Some(at(0)));
    run(&mut h, at(0), fails);
    assert_eq!(table(&h), [(2, 1)], "the first run has no retries");
    // While it is down, a failed run is followed by its retries too.
    for due in [10, 13, 16, 26, 29, 32, 42] {
        assert_eq!(h.next_probe(), Some(at(due)));
        run(&mut h, at(due), fails);
    }
    assert_eq!(h.next_probe(), Some(at(45)));
    run(&mut h, at(45), passes);
    assert_eq!(table(&h), [(1, 1), (2, 1)], "one success is enough");
    for due in [55, 58, 61] {
        assert_eq!(table(&h), [(1, 1), (2, 1)]);
        assert_eq!(h.next_probe(), Some(at(due)));
        run(&mut h, at(due), fails);
    }
    assert_eq!(table(&h), [(2, 1)], "down after two retries");
    assert_eq!(h.next_probe(), Some(at(71)));
}

#[test]
fn a_success_between_failures_begins_the_retries_anew() {
    let mut h = health(&service(vec![server(1, 1, vec![check(1)])]));
    run(&mut h, at(0), passes);
    for (due, ok) in [
        (10, false),
        (13, false),
        (16, true),
        (26, false),
        (29, false),
    ] {
        assert_eq!(h.next_probe(), Some(at(due)));
        run(&mut h, at(due), if ok { passes } else { fails });
    }
    assert_eq!(table(&h), [(1, 1)]);
    run(&mut h, at(32), fails);
    assert_eq!(table(&h), []);
}

#[test]
fn what_is_said() {
    let mut h = health(&service(vec![server(1, 1, vec![check(1)])]));
    let mut lines = said(&mut h);
    for (t, verdict) in [
        (0, Verdict::Ok),
        (
            10,
            Verdict::NotRun(NotRun {
                why: "bind to 10.0.0.9: address not available".into(),
            }),
        ),
        (
            20,
            Verdict::NotRun(NotRun {
                why: "bind to 10.0.0.9: address not available".into(),
            }),
        ),
        (30, Verdict::Failed(Failure::TimedOut)),
        (33, Verdict::Failed(Failure::TimedOut)),
        (36, Verdict::Failed(Failure::HostUnreachable)),
        (46, Verdict::Failed(Failure::Refused)),
        (49, Verdict::Ok),
    ] {
        assert_eq!(h.next_probe(), Some(at(t)));
        run(&mut h, at(t), |_| verdict.clone());
        lines.push(format!("-- {t}"));
        lines.extend(said(&mut h));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_forgiven_failure_is_told_where_that_is_asked_for() {
    for log_all_failures in [false, true] {
        let mut h = health(&service(vec![server(
            1,
            1,
            vec![Check {
                log_all_failures,
                ..check(1)
            }],
        )]));
        run(&mut h, at(0), passes);
        said(&mut h);
        run(&mut h, at(10), fails);
        let told = said(&mut h);
        let line = "TCP_CHECK of 10.0.0.1:80 failed: connection refused, retry 1 follows (service TCP 192.0.2.1:80)";
        assert_eq!(
            told,
            log_all_failures
                .then_some(line)
                .into_iter()
                .collect::<Vec<_>>()
        );
        run(&mut h, at(13), fails);
        run(&mut h, at(16), fails);
        said(&mut h);
        // While it is down its failures are no news.
        run(&mut h, at(26), fails);
        assert_eq!(said(&mut h), Vec::<String>::new());
    }
}

#[test]
fn a_server_is_up_while_all_of_its_checks_are() {
    let other = Check {
        port: 81,
        addr: ip(9),
        ..check(1)
    };
    let mut h = health(&service(vec![server(1, 1, vec![check(1), other])]));
    let half = |a| {
        if a == ip(9) {
            Verdict::Failed(Failure::Refused)
        } else {
            Verdict::Ok
        }
    };
    run(&mut h, at(0), half);
    assert_eq!(table(&h), []);
    assert_eq!(
        h.why_down(&key(), ip(1), 80).as_deref(),
        Some("TCP_CHECK: connection refused")
    );
    run(&mut h, at(10), fails);
    run(&mut h, at(13), half);
    assert_eq!(table(&h), [], "one of them still fails");
    run(&mut h, at(16), passes);
    assert_eq!(table(&h), [(1, 1)]);
    assert_eq!(h.why_down(&key(), ip(1), 80), None);
}

#[test]
fn alpha_starts_down_and_says_so_once() {
    let mut h = health(&service(vec![
        server(
            1,
            1,
            vec![Check {
                alpha: true,
                ..check(1)
            }],
        ),
        server(2, 1, vec![]),
    ]));
    assert_eq!(table(&h), [(2, 1)]);
    said(&mut h);
    run(&mut h, at(0), fails);
    assert_eq!(
        said(&mut h),
        ["TCP_CHECK of 10.0.0.1:80 fails: connection refused (service TCP 192.0.2.1:80)"]
    );
    run(&mut h, at(10), fails);
    assert!(said(&mut h).is_empty());
    run(&mut h, at(13), passes);
    assert_eq!(table(&h), [(1, 1), (2, 1)]);
}

#[test]
fn inhibited_servers_stay_with_weight_0() {
    let inhibited = RealServer {
        inhibit_on_failure: true,
        ..server(1, 7, vec![check(1)])
    };
    let mut h = health(&service(vec![inhibited, server(2, 3, vec![check(2)])]));
    run(&mut h, at(0), fails);
    assert_eq!(table(&h), [(1, 0)]);
    run(&mut h, at(10), passes);
    assert_eq!(table(&h), [(1, 7), (2, 3)]);
}

#[test]
fn a_sorry_server_stands_in_while_the_quorum_is_lost() {
    let servers = (1..=4)
        .map(|n| {
            server(
                n,
                1,
                vec![Check {
                    retry: 0,
                    ..check(n)
                }],
            )
        })
        .collect();
    let mut s = service(servers);
    (s.quorum, s.hysteresis) = (3, 1);
    s.sorry_server = Some(SorryServer {
        addr: ip(99),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: false,
    });
    let mut h = health(&s);
    let upto = |n| {
        move |a| {
            if a <= ip(n) {
                Verdict::Ok
            } else {
                Verdict::Failed(Failure::Refused)
            }
        }
    };
    // living servers -> table: gained at quorum + hysteresis, lost below quorum - hysteresis
    for (i, (living, want)) in [
        (4u8, 4usize),
        (3, 3),
        (2, 2),
        (1, 99),
        (2, 99),
        (3, 99),
        (4, 4),
        (0, 99),
    ]
    .iter()
    .enumerate()
    {
        run(&mut h, at(10 * i as u64), upto(*living));
        let want: Vec<(u8, u16)> = if *want == 99 {
            vec![(99, 1)]
        } else {
            (1..=*living).map(|n| (n, 1)).collect()
        };
        assert_eq!(table(&h), want, "with {living} living servers at step {i}");
    }
    assert_eq!(h.quorum(&key()), Some((false, 0)));
}

#[test]
fn an_inhibited_sorry_server_waits_with_weight_0() {
    let mut s = service(vec![server(1, 5, vec![check(1)])]);
    s.sorry_server = Some(SorryServer {
        addr: ip(99),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: true,
    });
    let mut h = health(&s);
    assert_eq!(table(&h), [(1, 5), (99, 0)]);
    run(&mut h, at(0), fails);
    assert_eq!(table(&h), [(99, 1)]);
}

#[test]
fn a_real_server_may_be_the_sorry_server() {
    let mut s = service(vec![
        server(1, 5, vec![check(1)]),
        server(2, 5, vec![check(2)]),
    ]);
    s.quorum = 10;
    s.sorry_server = Some(SorryServer {
        addr: ip(2),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: false,
    });
    let mut h = health(&s);
    assert_eq!(table(&h), [(1, 5), (2, 5)]);
    run(&mut h, at(0), |a| {
        if a == ip(1) { fails(a) } else { Verdict::Ok }
    });
    assert_eq!(table(&h), [(2, 1)]);
    assert_eq!(h.targets(&key()).unwrap().len(), 2);
}

#[test]
fn without_sorry_server_the_living_serve_without_quorum() {
    let mut s = service(vec![
        server(1, 1, vec![check(1)]),
        server(2, 1, vec![check(2)]),
    ]);
    s.quorum = 2;
    let mut h = health(&s);
    said(&mut h);
    run(&mut h, at(0), |a| {
        if a == ip(1) { fails(a) } else { Verdict::Ok }
    });
    assert_eq!(table(&h), [(2, 1)]);
    assert_eq!(h.quorum(&key()), Some((false, 1)));
}

#[test]
fn weight_0_is_listed_but_does_not_count_for_the_quorum() {
    let mut s = service(vec![server(1, 0, vec![check(1)]), server(2, 0, vec![])]);
    assert_eq!(table(&health(&s)), [(1, 0), (2, 0)]);
    s.sorry_server = Some(SorryServer {
        addr: ip(99),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: false,
    });
    assert_eq!(table(&health(&s)), [(99, 1)]);
}

#[test]
fn warmup_spreads_the_first_runs() {
    let s = service(
        (1..=4)
            .map(|n| {
                server(
                    n,
                    1,
                    vec![Check {
                        warmup: 8 * SECOND,
                        ..check(n)
                    }],
                )
            })
            .collect(),
    );
    let mut h = Health::new();
    let mut numbers = [0u64, u64::MAX, 1 << 62, 3 << 62].into_iter();
    h.apply(&[s], at(100), &mut || numbers.next().unwrap());
    let mut starts = Vec::new();
    while let Some(t) = h.next_probe().filter(|t| *t < at(109)) {
        starts.extend(
            run(&mut h, t, passes)
                .into_iter()
                .map(|a| (a, t.since(at(100)).as_millis())),
        );
    }
    assert_eq!(
        starts,
        [(ip(1), 0), (ip(3), 2000), (ip(4), 6000), (ip(2), 7999)]
    );
    let huge = Check {
        warmup: Duration::MAX,
        interval: Duration::MAX,
        ..check(1)
    };
    let mut h = health(&service(vec![server(1, 1, vec![huge])]));
    let due = h.next_probe().unwrap();
    run(&mut h, due, passes);
    assert!(h.next_probe().is_some());
}

#[test]
fn the_interval_counts_from_the_end_of_a_run() {
    let mut h = health(&service(vec![server(1, 1, vec![check(1)])]));
    let mut probes = Vec::new();
    h.start(at(0), 10, &mut probes);
    assert_eq!(h.next_probe(), None, "one at a time");
    h.verdict(probes[0].id, &Verdict::Ok, 4 * SECOND, at(4));
    assert_eq!(h.next_probe(), Some(at(14)));
    h.verdict(
        probes[0].id,
        &Verdict::Failed(Failure::Refused),
        SECOND,
        at(5),
    );
    assert_eq!(
        (h.next_probe(), table(&h)),
        (Some(at(14)), vec![(1, 1)]),
        "a second verdict is no verdict"
    );
}

#[test]
fn a_limit_spreads_the_work() {
    let mut h = health(&service(
        (1..=100).map(|n| server(n, 1, vec![check(n)])).collect(),
    ));
    let mut probes = Vec::new();
    h.start(at(0), 30, &mut probes);
    assert_eq!((probes.len(), h.next_probe()), (30, Some(at(0))));
    h.start(at(0), 80, &mut probes);
    assert_eq!((probes.len(), h.next_probe()), (100, None));
}

#[test]
fn ha_suspend_rests_while_the_address_is_elsewhere() {
    let mut s = service(vec![server(1, 1, vec![check(1)])]);
    s.ha_suspend = true;
    let mut h = health(&s);
    assert!(run(&mut h, at(0), fails).is_empty());
    assert_eq!(h.next_probe(), Some(at(10)));
    assert_eq!(
        h.report(at(0))[0].state,
        crate::control::status::CheckState::Suspended
    );
    h.address(ip(77), true, at(3));
    assert_eq!(h.next_probe(), Some(at(10)), "another address");
    h.address(key().addr, true, at(4));
    assert_eq!(h.next_probe(), Some(at(4)), "at once, not after delay_loop");
    run(&mut h, at(4), fails);
    assert_eq!(table(&h), []);
    h.address(key().addr, false, at(5));
    for t in [14, 24] {
        assert!(run(&mut h, at(t), passes).is_empty());
    }
    assert_eq!(table(&h), [], "what was known stays");
}

#[test]
fn a_group_rests_until_one_of_its_addresses_is_here() {
    let mut s = service(vec![server(1, 1, vec![check(1)])]);
    s.ha_suspend = true;
    let other = ServiceKey {
        addr: ip(77),
        ..key()
    };
    s.group = Some(crate::model::Group {
        name: "G".to_owned(),
        others: vec![other],
    });
    let mut h = health(&s);
    assert!(run(&mut h, at(0), passes).is_empty());
    h.address(ip(77), true, at(1));
    assert_eq!(run(&mut h, at(1), passes).len(), 1, "one check for both");
    h.address(key().addr, true, at(2));
    h.address(ip(77), false, at(3));
    assert_eq!(run(&mut h, at(11), passes).len(), 1, "the other is here");
    h.address(key().addr, false, at(12));
    assert!(run(&mut h, at(21), passes).is_empty());
}

#[test]
fn a_group_keeps_what_is_known_when_its_addresses_change() {
    let group = |members: &[ServiceKey]| {
        let mut s = service(vec![server(1, 1, vec![check(1)]), server(2, 1, vec![])]);
        s.key = members[0];
        // A real server's port is the service's, which for a group is the first one's.
        for server in &mut s.real_servers {
            server.port = s.key.port;
        }
        s.group = Some(crate::model::Group {
            name: "G".to_owned(),
            others: members[1..].to_vec(),
        });
        s
    };
    let secure = ServiceKey { port: 443, ..key() };
    let mut h = health(&group(&[key(), secure]));
    for t in [0, 10, 20] {
        run(&mut h, at(t), fails);
    }
    let up = |h: &Health, key| -> Vec<_> {
        let targets = h.targets(&key).unwrap_or_default();
        let listed = targets.iter().filter(|t| t.listed);
        listed.map(|t| t.addr).collect()
    };
    assert_eq!(up(&h, key()), [ip(2)]);
    h.apply(&[group(&[secure, key()])], at(21), &mut || 0);
    assert_eq!(up(&h, secure), [ip(2)], "another order");
    h.apply(&[group(&[key()])], at(22), &mut || 0);
    assert_eq!(up(&h, key()), [ip(2)], "one address less");
}

#[test]
fn a_check_without_any_pause_does_not_spin() {
    let hasty = Check {
        interval: Duration::ZERO,
        retry_delay: Duration::ZERO,
        ..check(1)
    };
    let mut s = service(vec![server(1, 1, vec![hasty])]);
    let mut h = health(&s);
    assert_eq!(run(&mut h, at(0), passes).len(), 1);
    assert_eq!(run(&mut h, at(0), passes).len(), 0);
    s.ha_suspend = true;
    let mut h = health(&s);
    assert_eq!(run(&mut h, at(0), passes).len(), 0);
    assert!(h.next_probe() > Some(at(0)));
}

#[test]
fn thousands_of_checks_cost_little() {
    let many: Vec<Service> = (0..1000u16)
        .map(|n| {
            let key = ServiceKey {
                port: 1000 + n,
                ..key()
            };
            Service {
                key,
                ..service((1..=10).map(|k| server(k, 1, vec![check(k)])).collect())
            }
        })
        .collect();
    let mut h = Health::new();
    let mut random = 0u64;
    h.apply(&many, Time::ZERO, &mut || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random
    });
    let mut ran = 0;
    for ms in (0..40_000).step_by(100) {
        ran += run(&mut h, Time::ZERO + Duration::from_millis(ms), passes).len();
    }
    assert_eq!(ran, 40_000, "10,000 checks, 4 runs each");
    assert_eq!(h.report(at(40)).len(), 10_000);
}

#[test]
fn a_check_may_say_what_its_server_weighs() {
    let dynamic = |last| Check {
        interval: SECOND,
        ..check(last)
    };
    let servers = |weight| {
        service(vec![
            server(1, weight, vec![dynamic(1)]),
            server(2, 10, vec![]),
        ])
    };
    let mut h = health(&servers(10));
    said(&mut h);
    run(&mut h, at(100), |_| Verdict::Weighs(Weighs::Exactly(3)));
    assert_eq!(table(&h), [(1, 3), (2, 10)]);
    assert_eq!(h.quorum(&key()), Some((true, 13)));
    let words = said(&mut h);
    assert!(words[0].contains("changes from 10 to 3"), "{words:?}");
    assert_eq!(h.take_changed(), [key()]);
    // Said again, nothing changes; failures that are forgiven leave it.
    run(&mut h, at(200), |_| Verdict::Weighs(Weighs::Exactly(3)));
    assert_eq!((said(&mut h).len(), h.take_changed()), (0, Vec::new()));
    run(&mut h, at(300), fails);
    assert_eq!(table(&h), [(1, 3), (2, 10)]);
    // Another weight of the file does not matter while the check says its own.
    h.apply(&[servers(7)], at(310), &mut || 0);
    assert_eq!(table(&h), [(1, 3), (2, 10)]);
    // Without a word it is that of the file again; also after it was out.
    run(&mut h, at(400), passes);
    assert_eq!(table(&h), [(1, 7), (2, 10)]);
    run(&mut h, at(500), |_| Verdict::Weighs(Weighs::Exactly(0)));
    assert_eq!(table(&h), [(1, 0), (2, 10)]);
    for t in [600, 700, 800] {
        run(&mut h, at(t), fails);
    }
    assert_eq!(table(&h), [(2, 10)]);
    run(&mut h, at(900), |_| Verdict::Weighs(Weighs::Exactly(253)));
    assert_eq!(table(&h), [(1, 253), (2, 10)]);
    assert_eq!(h.quorum(&key()), Some((true, 263)));
}

#[test]
fn a_file_says_whether_a_server_is_good_and_what_it_weighs() {
    let file = |weight| {
        let kind = CheckKind::File(crate::model::FileCheck {
            file: "f".to_owned(),
            weight,
            reverse: false,
        });
        Check::new(kind, ip(1), 0)
    };
    let servers = |weight| {
        service(vec![
            server(1, 10, vec![file(weight)]),
            server(2, 10, vec![check(2)]),
        ])
    };
    let mut h = health(&servers(2));
    // It is never run, and up until it is known.
    assert_eq!(run(&mut h, at(100), passes), [ip(2)]);
    assert_eq!(table(&h), [(1, 10), (2, 10)]);
    h.take_changed();
    for (value, weight) in [
        (5, 20),
        (-3, 4),
        (-5, 0),
        (-9, 0),
        (0, 10),
        (70_000, 65_535),
    ] {
        h.file("f", value, at(200));
        h.file("other", 1, at(200));
        assert_eq!(table(&h), [(1, weight), (2, 10)], "{value}");
    }
    assert_eq!(h.take_changed(), [key()]);
    h.file("f", 3, at(300));
    said(&mut h);
    // A reload knows the value without its being told again.
    h.apply(&[servers(0)], at(310), &mut || 0);
    assert_eq!(table(&h), [(2, 10)]);
    let words = said(&mut h);
    assert!(
        words[0].contains("FILE_CHECK") && words[0].contains("its value is 3"),
        "{words:?}"
    );
    h.file("f", 0, at(320));
    assert_eq!(table(&h), [(1, 10), (2, 10)]);
    assert_eq!(h.report(at(330))[0].next_in_ms, None);
}
