//! `BFD_CHECK`.

use super::*;

fn bfd(alpha: bool) -> Check {
    let kind = CheckKind::Bfd("s".to_owned());
    Check {
        alpha,
        ..Check::new(kind, ip(1), 0)
    }
}

fn servers(alpha: bool) -> Service {
    service(vec![
        server(1, 10, vec![bfd(alpha)]),
        server(2, 10, vec![check(2)]),
    ])
}

#[test]
fn a_session_says_whether_a_server_is_up() {
    let mut h = health(&servers(false));
    // It is never run, and the server is up until it is known.
    assert_eq!(run(&mut h, at(100), passes), [ip(2)]);
    assert_eq!(table(&h), [(1, 10), (2, 10)]);
    h.take_changed();
    said(&mut h);
    h.session("other", false, at(110));
    assert!(h.take_changed().is_empty());
    h.session("s", false, at(120));
    assert_eq!(table(&h), [(2, 10)]);
    assert_eq!(h.take_changed(), [key()]);
    let words = said(&mut h);
    assert!(words[0].contains("BFD_CHECK") && words[0].contains("session s is down"));
    // Neither told again nor a reload changes anything; a server that is new knows it at once.
    h.session("s", false, at(130));
    h.apply(&[servers(false)], at(140), &mut || 0);
    assert_eq!(said(&mut h), [] as [&str; 0]);
    let mut more = servers(false);
    more.real_servers.push(server(3, 10, vec![bfd(false)]));
    h.apply(&[more], at(150), &mut || 0);
    assert_eq!(table(&h), [(2, 10)]);
    h.session("s", true, at(160));
    assert_eq!(table(&h), [(1, 10), (2, 10), (3, 10)]);
    assert_eq!(h.report(at(170))[0].next_in_ms, None);
}

#[test]
fn with_alpha_a_server_waits_for_its_session() {
    let mut h = health(&servers(true));
    run(&mut h, at(0), passes);
    assert_eq!(table(&h), [(2, 10)]);
    h.session("s", true, at(1));
    assert_eq!(table(&h), [(1, 10), (2, 10)]);
}
