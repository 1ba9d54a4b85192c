//! Probes of the path of direct routing: where they go.

use super::*;
use crate::health::{Failure, Way};
use crate::model::{Check, CheckKind};

/// A host with one real server, number 1, whose path is checked.
fn start() -> Host {
    let mut service = service(80, &[1]);
    let check = Check {
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(2),
        ..Check::new(CheckKind::DrPath, server(1).into(), 80)
    };
    service.real_servers[0].checks = vec![check];
    let mut host = Host::start(model(vec![service]), true);
    host.turn();
    host
}

fn link() -> Link {
    Link {
        source: Some([192, 0, 2, 9].into()),
        ..neighbours(&[1])[&server(1).into()]
    }
}

fn told(host: &Host) -> Option<String> {
    let status = host.engine.health.report(host.now);
    status[0].last_result.clone()
}

#[test]
fn a_probe_waits_for_the_servers_mac() {
    let mut host = start();
    assert!(host.probes.is_empty());
    let links = [(server(1).into(), link())].into();
    host.engine.handle(Event::Neighbours(links), host.now);
    host.turn();
    let way = Way {
        ifindex: 7,
        mac: [2, 0, 0, 0, 0, 1],
        source: [192, 0, 2, 9].into(),
        on_link: true,
    };
    assert_eq!(host.probes.len(), 1);
    assert_eq!(host.probes[0].way, Some(way));
    assert_eq!(host.probes[0].services[0].port, 80);
    host.verdicts(&Verdict::Ok);
    assert_eq!(told(&host).as_deref(), Some("ok"));
}

#[test]
fn and_fails_when_none_is_found_in_time() {
    let mut host = start();
    let begun = host.now;
    let next = host.engine.next_deadline().expect("a deadline");
    assert!(next <= begun + Duration::from_secs(2));
    host.now = begun + Duration::from_millis(1999);
    host.turn();
    assert_eq!(told(&host), None);
    host.now = begun + Duration::from_secs(2);
    host.turn();
    assert_eq!(told(&host), Some(Failure::HostUnreachable.to_string()));
}

#[test]
fn a_server_that_is_this_host_must_have_the_address() {
    for (own, want) in [
        (
            vec![server(1).into()],
            "192.0.2.1 is not answered: is it on the server's lo?",
        ),
        (vec![server(1).into(), vip()], "ok"),
    ] {
        let mut host = start();
        let own = own.into_iter().collect();
        host.engine.handle(Event::HostAddresses(own), host.now);
        host.turn();
        assert!(host.probes.is_empty());
        assert_eq!(told(&host).as_deref(), Some(want));
    }
}

#[test]
fn nothing_is_asked_from_the_virtual_address() {
    let mut host = start();
    let link = Link {
        source: Some(vip()),
        ..link()
    };
    host.engine.handle(
        Event::Neighbours([(server(1).into(), link)].into()),
        host.now,
    );
    host.turn();
    assert!(host.probes.is_empty());
    let told = told(&host).expect("a result");
    assert!(told.starts_with("not run: it would ask from"), "{told}");
}
