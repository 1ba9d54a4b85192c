//! What a reload keeps.

use super::*;

fn apply(h: &mut Health, services: &[Service], now: Time) {
    h.apply(services, now, &mut || 1 << 63);
}

#[test]
fn the_same_configuration_changes_nothing() {
    let s = service(vec![
        server(1, 1, vec![check(1)]),
        server(2, 1, vec![check(2)]),
    ]);
    let mut h = health(&s);
    run(&mut h, at(0), |a| {
        if a == ip(1) { fails(a) } else { Verdict::Ok }
    });
    said(&mut h);
    let before = (table(&h), h.report(at(3)), h.next_probe());
    apply(&mut h, &[s], at(3));
    assert_eq!((table(&h), h.report(at(3)), h.next_probe()), before);
    assert_eq!(said(&mut h), Vec::<String>::new());
}

#[test]
fn a_probe_under_way_still_counts() {
    let s = service(vec![server(1, 1, vec![check(1)])]);
    let mut h = health(&s);
    let mut probes = Vec::new();
    h.start(at(0), 9, &mut probes);
    apply(&mut h, &[s], at(1));
    assert_eq!(h.next_probe(), None, "not started a second time");
    h.verdict(
        probes[0].id,
        &Verdict::Failed(Failure::TimedOut),
        SECOND,
        at(1),
    );
    assert_eq!(table(&h), []);
}

#[test]
fn a_probe_of_a_check_that_is_gone_does_not() {
    let mut h = health(&service(vec![server(1, 1, vec![check(1)])]));
    let mut probes = Vec::new();
    h.start(at(0), 9, &mut probes);
    apply(
        &mut h,
        &[service(vec![server(
            1,
            1,
            vec![Check {
                port: 8080,
                ..check(1)
            }],
        )])],
        at(1),
    );
    h.verdict(
        probes[0].id,
        &Verdict::Failed(Failure::TimedOut),
        SECOND,
        at(1),
    );
    assert_eq!((table(&h), h.next_probe()), (vec![(1, 1)], Some(at(1))));
}

#[test]
fn a_server_that_was_down_stays_down_and_one_that_served_goes_on() {
    let alpha = |n| Check {
        alpha: true,
        ..check(n)
    };
    let mut h = health(&service(vec![
        server(1, 1, vec![check(1)]),
        server(2, 1, vec![check(2)]),
    ]));
    run(&mut h, at(0), |a| {
        if a == ip(1) { fails(a) } else { Verdict::Ok }
    });
    // Both get an alpha check more, and a third server comes, with alpha too.
    let more = |n| Check {
        port: 8080,
        ..alpha(n)
    };
    let s = service(vec![
        server(1, 1, vec![check(1), more(1)]),
        server(2, 2, vec![check(2), more(2)]),
        server(3, 1, vec![alpha(3)]),
    ]);
    apply(&mut h, &[s], at(1));
    assert_eq!(table(&h), [(2, 2)]);
    run(&mut h, at(1), passes);
    assert_eq!(table(&h), [(2, 2), (3, 1)]);
    run(&mut h, at(10), passes);
    assert_eq!(table(&h), [(1, 1), (2, 2), (3, 1)]);
}

#[test]
fn a_failing_check_that_is_removed_frees_its_server() {
    let mut h = health(&service(vec![server(1, 1, vec![check(1)])]));
    run(&mut h, at(0), fails);
    said(&mut h);
    apply(&mut h, &[service(vec![server(1, 1, vec![])])], at(1));
    assert_eq!(table(&h), [(1, 1)]);
    assert_eq!(
        said(&mut h)[0],
        "adding 10.0.0.1:80 to service TCP 192.0.2.1:80"
    );
}

#[test]
fn other_timings_keep_the_state_and_hold_at_once() {
    let mut h = health(&service(vec![server(1, 1, vec![check(1)])]));
    run(&mut h, at(0), passes);
    run(&mut h, at(10), fails);
    assert_eq!(h.next_probe(), Some(at(13)));
    let hasty = Check {
        interval: SECOND,
        retry: 1,
        ..check(1)
    };
    apply(&mut h, &[service(vec![server(1, 1, vec![hasty])])], at(10));
    assert_eq!((table(&h), h.next_probe()), (vec![(1, 1)], Some(at(11))));
    run(&mut h, at(11), fails);
    assert_eq!(table(&h), [], "one retry was used up before");
    assert_eq!(h.next_probe(), Some(at(12)));
}

#[test]
fn the_quorum_is_weighed_again() {
    let mut s = service(vec![server(1, 1, vec![]), server(2, 1, vec![])]);
    let mut h = health(&s);
    s.quorum = 3;
    s.sorry_server = Some(SorryServer {
        addr: ip(99),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: false,
    });
    apply(&mut h, std::slice::from_ref(&s), at(1));
    assert_eq!(table(&h), [(99, 1)]);
    s.sorry_server = Some(SorryServer {
        addr: ip(98),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: true,
    });
    apply(&mut h, std::slice::from_ref(&s), at(2));
    assert_eq!(table(&h), [(98, 1)]);
    s.sorry_server = None;
    apply(&mut h, std::slice::from_ref(&s), at(3));
    assert_eq!(table(&h), [(1, 1), (2, 1)]);
    (s.quorum, s.sorry_server) = (
        2,
        Some(SorryServer {
            addr: ip(98),
            port: 80,
            method: ForwardMethod::Dr,
            inhibit: true,
        }),
    );
    apply(&mut h, std::slice::from_ref(&s), at(4));
    assert_eq!(table(&h), [(1, 1), (2, 1), (98, 0)]);
}

#[test]
fn services_come_and_go() {
    let a = service(vec![server(1, 1, vec![check(1)])]);
    let b = Service {
        key: ServiceKey { port: 81, ..key() },
        ..a.clone()
    };
    let mut h = health(&a);
    run(&mut h, at(0), fails);
    h.take_changed();
    apply(&mut h, &[b.clone(), a.clone()], at(1));
    assert_eq!(h.take_changed(), [a.key, b.key]);
    assert_eq!(table(&h), []);
    assert!(h.targets(&b.key).unwrap()[0].listed);
    apply(&mut h, &[b], at(2));
    assert_eq!((h.targets(&a.key), h.all_targets().count()), (None, 1));
    apply(&mut h, &[a], at(3));
    assert_eq!(table(&h), [(1, 1)], "a service that was away starts anew");
}
