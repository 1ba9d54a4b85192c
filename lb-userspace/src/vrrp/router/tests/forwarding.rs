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

/// A host on which the program is still being loaded.
fn loading(
    instances: &[VrrpInstance],
    groups: &[SyncGroup],
    resume: &BTreeMap<String, Resume>,
    left: &[u8],
) -> Host {
    let mut host = Host::unknown(instances, groups, &Global::default(), resume);
    host.handle(Event::Ready(&Forwarding::Loading));
    host.told(left)
}

#[test]
fn while_the_program_is_loaded_a_backup_listens_and_its_timer_runs() {
    const DOWN: Duration = super::DOWN;
    let config = instance("A", "eth0", 1);
    let one = || loading(std::slice::from_ref(&config), &[], &BTreeMap::new(), &[]);
    // Nobody is heard: MASTER in the moment in which it is there, and not before.
    let mut host = one();
    host.run(DOWN * 3);
    assert_eq!(host.state(), State::Backup);
    assert_eq!(Host::priorities(&host.take()), [0u8; 0]);
    assert!(!host.has(100));
    host.handle(Event::Ready(&on(&["eth0"])));
    assert_eq!(host.state(), State::Master);
    assert_eq!(
        Host::transitions(&host.take())[0].reason,
        Reason::MasterDown
    );
    // It is there sooner than the timer is over.
    let mut host = one();
    host.run(DOWN / 2);
    host.handle(Event::Ready(&on(&["eth0"])));
    assert_eq!(host.state(), State::Backup);
    host.run(DOWN / 2);
    assert_eq!(host.state(), State::Master);
    // A better master is heard after the timer: it has to fall silent first.
    let mut host = one();
    host.run(DOWN * 3);
    host.hear(&config, HIGHER_PEER, 150);
    host.handle(Event::Ready(&on(&["eth0"])));
    assert_eq!(host.state(), State::Backup);
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);
    // A worse one is not waited for.
    let mut host = one();
    host.run(DOWN * 3);
    host.hear(&config, LOWER_PEER, 50);
    host.handle(Event::Ready(&on(&["eth0"])));
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_program_that_is_not_where_it_must_be_is_a_fault_once_it_is_loaded() {
    let mut host = loading(&[instance("A", "eth0", 1)], &[], &BTreeMap::new(), &[]);
    host.run(DOWN * 3);
    host.handle(Event::Ready(&on(&["eth1"])));
    assert_eq!(host.state(), State::Fault);
    host.handle(Event::Ready(&on(&["eth0"])));
    assert_eq!(host.state(), State::Backup);
}

#[test]
fn who_need_not_listen_is_master_once_the_program_is_loaded() {
    let own = VrrpInstance {
        priority: 255,
        ..instance("A", "eth0", 1)
    };
    let mut host = loading(&[own], &[], &BTreeMap::new(), &[]);
    assert_eq!(host.state(), State::Backup);
    host.handle(Event::Ready(&on(&["eth0"])));
    assert_eq!(host.state(), State::Master);
    assert_eq!(Host::transitions(&host.take())[1].reason, Reason::Owner);

    let (outside, inside, group) = super::groups::pair();
    let resume = Resume {
        was_master: true,
        last_advert_sent: Time::ZERO + Duration::from_secs(1000),
        sequence: 0,
    };
    let both = ["outside", "inside"].map(|name| (name.to_owned(), resume));
    let resume = BTreeMap::from(both);
    let mut host = loading(&[outside, inside], &[group], &resume, &[100]);
    host.run(Duration::from_millis(100));
    assert_eq!(states(&host), [State::Backup; 2]);
    // Who was master keeps its address meanwhile.
    assert_eq!((host.hold(), host.has(100)), (Hold::Kept, true));
    host.handle(Event::Ready(&true.into()));
    assert_eq!(states(&host), [State::Master; 2]);
    let actions = host.take();
    assert_eq!(Host::transitions(&actions)[2].reason, Reason::Resumed);
}

#[test]
fn a_group_waits_for_the_program_as_one() {
    let (outside, inside, group) = super::groups::pair();
    let mut host = loading(&[outside, inside.clone()], &[group], &BTreeMap::new(), &[]);
    host.run(DOWN * 3);
    host.hear(&inside, super::groups::INSIDE_PEER, 150);
    host.handle(Event::Ready(&true.into()));
    assert_eq!(states(&host), [State::Backup; 2]);
    host.run(DOWN * 3);
    assert_eq!(states(&host), [State::Master; 2]);
}

#[test]
fn nobody_takes_over_by_hand_before_the_program_is_loaded() {
    let mut host = loading(&[instance("A", "eth0", 1)], &[], &BTreeMap::new(), &[]);
    let order = crate::vrrp::Command::Takeover;
    let said = host.router.command("A", order, host.now);
    assert_eq!(said, Err("the program is still being loaded".to_owned()));
    host.handle(Event::Ready(&on(&["eth0"])));
    assert!(host.router.command("A", order, host.now).is_ok());
    host.work();
    assert_eq!(host.state(), State::Master);
}
