//! What a predecessor had out of use.

use super::*;

#[test]
fn what_a_predecessor_took_out_stays_out_until_checked() {
    let unhurried = Check {
        warmup: 60 * SECOND,
        ..check(1)
    };
    let mut h = Health::new();
    let out = [1, 2, 3].map(|last| (key(), (ip(last), 80)));
    h.leave_out(out);
    let servers = vec![server(1, 1, vec![unhurried]), server(2, 1, vec![])];
    h.apply(&[service(servers)], at(1), &mut || 0);
    assert_eq!(
        table(&h),
        [(2, 1)],
        "one without checks can be told no other way than by its removal"
    );
    assert_eq!(
        (h.take_changed(), h.next_probe()),
        (vec![key()], Some(at(1)))
    );
    run(&mut h, at(1), passes);
    assert_eq!(table(&h), [(1, 1), (2, 1)]);
}

#[test]
fn what_is_as_before_the_start_is_no_change() {
    let started = |out: &[u8], sorry| {
        let mut h = Health::new();
        h.leave_out(out.iter().map(|last| (key(), (ip(*last), 80))));
        let servers = [1, 2].map(|last| server(last, 1, vec![check(last)]));
        let service = Service {
            sorry_server: sorry,
            ..service(servers.to_vec())
        };
        h.apply(&[service], at(1), &mut || 0);
        h
    };
    let sorry = Some(SorryServer {
        addr: ip(9),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: false,
    });
    let out = |last| {
        let vs = "TCP 192.0.2.1:80";
        format!(
            "10.0.0.{last}:80 of service {vs} was out of use before this start, and is until its checks pass"
        )
    };
    let mut h = started(&[1, 2], None);
    assert_eq!(said(&mut h), [out(1), out(2)]);
    run(&mut h, at(1), fails);
    let told = said(&mut h);
    assert!(
        told.iter().all(|line| line.contains("TCP_CHECK")),
        "{told:?}"
    );
    run(&mut h, at(20), passes);
    let told = said(&mut h);
    assert!(
        told.iter().any(|line| line.starts_with("quorum gained")),
        "{told:?}"
    );
    // The sorry server is in the table already.
    let mut h = started(&[1, 2], sorry);
    let told = said(&mut h);
    assert_eq!(told[..2], [out(1), out(2)]);
    assert!(
        told.len() == 3 && told[2].starts_with("sorry server"),
        "{told:?}"
    );
    // Who serves tells so at every start.
    let mut h = started(&[1], None);
    let told = said(&mut h);
    assert!(
        told.len() == 2 && told[1].starts_with("quorum gained"),
        "{told:?}"
    );
}
