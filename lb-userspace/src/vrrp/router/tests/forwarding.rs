//! MASTER only where the program runs.

use super::*;
use crate::vrrp::Forwarding;

const DOWN: Duration = Duration::from_secs(10);

fn on(interfaces: &[&str]) -> Forwarding {
    Forwarding::On(interfaces.iter().map(|i| (*i).to_owned()).collect())
}

fn pair() -> Host {
    let mut other = instance("B", "eth1", 2);
    other.version = VrrpVersion::V3;
    Host::of(&[instance("A", "eth0", 1), other], &[])
}

fn states(host: &Host) -> [State; 2] {
    [0, 1].map(|at| host.status(at).state)
}

#[test]
fn an_interface_without_the_program_is_the_fault_of_its_instances_alone() {
    let mut host = pair();
    host.handle(Event::Ready(&on(&["eth0"])));
    host.run(DOWN);
    assert_eq!(states(&host), [State::Master, State::Fault]);
    host.handle(Event::Ready(&on(&["eth0", "eth1"])));
    host.run(DOWN);
    assert_eq!(states(&host), [State::Master; 2]);
    host.handle(Event::Ready(&on(&["eth1"])));
    assert_eq!(states(&host), [State::Fault, State::Master]);
}

#[test]
fn an_address_elsewhere_needs_the_program_there() {
    let mut config = instance("A", "eth0", 1);
    config.excluded = vec![VirtualAddress {
        dev: Some("eth1".to_owned()),
        ..vip(101)
    }];
    let mut host = Host::one(config);
    host.handle(Event::Ready(&on(&["eth0"])));
    host.run(DOWN);
    assert_eq!(host.state(), State::Fault);
    host.handle(Event::Ready(&on(&["eth0", "eth1"])));
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn an_interface_that_is_made_anew_waits_for_the_program() {
    let mut host = pair();
    host.handle(Event::Ready(&on(&["eth0", "eth1"])));
    host.run(DOWN);
    host.link("eth0", LinkState::Gone);
    host.present.retain(|(iface, ..)| iface != "eth0");
    host.link("eth0", LinkState::Up);
    host.present.insert(("eth0".to_owned(), OWN, 24));
    host.snapshot("eth0");
    host.run(DOWN);
    assert_eq!(states(&host), [State::Fault, State::Master]);
    host.handle(Event::Ready(&on(&["eth0", "eth1"])));
    host.run(DOWN);
    assert_eq!(states(&host), [State::Master; 2]);
}
