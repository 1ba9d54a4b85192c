//! A start that finds no data plane: everything else begins meanwhile.

use super::*;
use crate::vrrp::Forwarding;

#[test]
fn a_data_plane_that_comes_later_is_told_everything_before_anybody_is_master() {
    let mut host = Host::start(model(vec![service(80, &[1])]), Forwarding::Loading);
    let peer = Report::LearnedPeer {
        iface: "eth0".into(),
        mac: [2, 0, 0, 0, 0, 9],
        addr: "192.0.2.8".parse().unwrap(),
    };
    host.engine.handle(Event::Vrrp(peer), host.now);
    host.engine
        .handle(Event::Neighbours(neighbours(&[1])), host.now);
    host.link_up();
    host.now = host.now + Duration::from_secs(10);
    host.turn();
    assert_eq!(host.states, [State::Backup]);
    host.did.clear();

    let fresh = Dump {
        hz: 100,
        ..Dump::default()
    };
    host.engine.handle(Event::Observed(&fresh), host.now);
    host.turn();
    for told in ["open", "peers", "fellows"] {
        assert!(host.did.iter().any(|d| d == told), "{told}: {:?}", host.did);
    }
    assert_eq!(host.states, [State::Backup]);
    let attached = Forwarding::On(["eth0".to_owned()].into());
    host.engine.handle(Event::Attached(attached), host.now);
    host.turn();
    assert_eq!(host.states, [State::Backup, State::Master]);
}

#[test]
fn who_has_nothing_to_forward_waits_as_well_if_the_program_is_wanted() {
    let mut host = Host::start(model(Vec::new()), Forwarding::Loading);
    host.link_up();
    host.now = host.now + Duration::from_secs(10);
    host.turn();
    assert_eq!(host.states, [State::Backup]);
    host.engine.handle(Event::Attached(false.into()), host.now);
    host.turn();
    assert_eq!(host.states, [State::Backup, State::Master]);
}
