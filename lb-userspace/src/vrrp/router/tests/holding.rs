//! What belongs to the addresses of an instance (its routes and rules) is told to come and go with them.

use super::*;

/// What became of addresses and states, in order.
fn story(host: &mut Host) -> Vec<String> {
    let words = |action| match action {
        Action::AddAddress { address, .. } => Some(format!("+{}", address.addr)),
        Action::DelAddress { address, .. } => Some(format!("-{}", address.addr)),
        Action::Report(Report::Transition(t)) => Some(t.to.to_string()),
        Action::Report(Report::Holding { name, holds, .. }) => Some(format!(
            "{name} {}",
            if holds { "holds" } else { "lets go" }
        )),
        _ => None,
    };
    host.take().into_iter().filter_map(words).collect()
}

fn config() -> VrrpInstance {
    VrrpInstance {
        addresses: vec![vip(100), vip(101)],
        ..v3(1000)
    }
}

fn master() -> Host {
    let mut host = Host::one(config());
    host.run(Duration::from_secs(10));
    host
}

const COMES: [&str; 4] = ["+10.77.0.100", "+10.77.0.101", "VI_1 holds", "MASTER"];
const GOES: [&str; 3] = ["VI_1 lets go", "-10.77.0.100", "-10.77.0.101"];

#[test]
fn who_yields_has_its_addresses_until_the_successor_is_heard() {
    let mut host = master();
    assert_eq!(story(&mut host)[1..], COMES);
    host.hear(&config(), HIGHER_PEER, 200);
    assert_eq!(
        (story(&mut host), host.hold()),
        (vec!["BACKUP".to_owned()], Hold::Lingering)
    );
    host.hear(&config(), HIGHER_PEER, 200);
    host.run(Duration::from_millis(900));
    assert_eq!(
        (story(&mut host), host.hold()),
        (GOES.map(str::to_owned).to_vec(), Hold::Absent)
    );
}

#[test]
fn who_stops_has_them_until_the_successor_is_heard() {
    let mut host = master();
    host.take();
    host.handle(Event::Shutdown);
    assert_eq!(story(&mut host), ["STOPPED"]);
    host.hear(&config(), LOWER_PEER, 50);
    host.run(Duration::from_millis(900));
    assert_eq!(story(&mut host), GOES);
}

#[test]
fn without_its_link_it_lets_them_go_first() {
    let mut host = master();
    host.take();
    host.link("eth0", LinkState::Down);
    assert_eq!(
        story(&mut host)[..3],
        ["VI_1 lets go", "FAULT", "-10.77.0.100"]
    );
}

#[test]
fn all_of_them_must_have_come() {
    let mut host = Host::one(config());
    host.take();
    host.refuse = true;
    host.run(Duration::from_secs(10));
    let told = story(&mut host);
    assert!(told.iter().all(|line| line.starts_with('+')), "{told:?}");
    host.refuse = false;
    host.run(Duration::from_secs(10));
    let told = story(&mut host);
    assert_eq!(told[told.len() - 2..], ["VI_1 holds", "MASTER"], "{told:?}");
    // One that somebody takes away is put back.
    host.present.retain(|(_, addr, _)| *addr != vip(100).addr);
    host.handle(Event::AddressRemoved {
        iface: "eth0",
        addr: vip(100).addr,
        prefix_len: 32,
    });
    assert_eq!(story(&mut host), ["+10.77.0.100"]);
}

#[test]
fn those_that_a_predecessor_left_are_held_until_another_master_is_heard() {
    let mut host = Host::resumed(&[config()], &[], &BTreeMap::new(), &[100, 101]);
    assert_eq!(story(&mut host), ["BACKUP", "VI_1 holds"]);
    host.hear(&config(), HIGHER_PEER, 200);
    assert_eq!(story(&mut host), [""; 0]);
    host.run(Duration::from_millis(900));
    assert_eq!(story(&mut host), GOES);
}

#[test]
fn a_renamed_instance_holds_them_under_its_new_name() {
    let mut host = master();
    host.take();
    let renamed = VrrpInstance {
        name: "other".to_owned(),
        ..config()
    };
    host.reconfigure(&[renamed]);
    host.work();
    assert_eq!(story(&mut host), ["other holds"]);
}

#[test]
fn one_that_is_no_longer_configured_has_them_until_the_successor_is_heard() {
    let mut host = master();
    host.take();
    host.reconfigure(&[]);
    host.work();
    assert_eq!(story(&mut host), ["STOPPED"]);
    host.hear(&config(), LOWER_PEER, 50);
    host.run(Duration::from_millis(900));
    assert_eq!(story(&mut host), GOES);
}

#[test]
fn a_namesake_that_is_no_longer_configured_lets_go_of_its_own_only() {
    let mut host = master();
    host.reconfigure(&[]);
    host.work();
    host.states.clear();
    host.reconfigure(&[VrrpInstance {
        virtual_router_id: 63,
        priority: 255,
        ..config()
    }]);
    host.work();
    assert_eq!(host.state(), State::Master);
    host.run(Duration::from_secs(10));
    let told = host.take().into_iter().filter_map(|action| match action {
        Action::Report(Report::Holding {
            instance,
            name,
            holds,
        }) => Some((instance.0, name.to_string(), holds)),
        _ => None,
    });
    let name = || "VI_1".to_owned();
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(1, name(), true), (2, name(), true), (1, name(), false)]
    );
}

/// One whose second address is on an interface that is missing.
fn without_an_interface() -> Host {
    let mut host = Host::unknown(
        &[VrrpInstance {
            excluded: vec![VirtualAddress {
                dev: Some("nope0".to_owned()),
                no_track: true,
                ..vip(102)
            }],
            ..config()
        }],
        &[],
        &Global::default(),
        &BTreeMap::new(),
    );
    host.link("nope0", LinkState::Gone);
    host.told(&[])
}

#[test]
fn a_missing_interface_is_told_once() {
    let mut host = without_an_interface();
    host.run(Duration::from_secs(10));
    let missing = Notice::AddressFailed {
        iface: "nope0".into(),
        missing: true,
        addr: vip(102).addr,
    };
    assert_eq!(Host::notices(&host.take()), [missing]);
}

#[test]
fn those_of_no_track_are_not_waited_for() {
    let mut host = without_an_interface();
    host.run(Duration::from_secs(10));
    let told = story(&mut host);
    assert!(
        told.windows(2).any(|w| w == ["VI_1 holds", "MASTER"]),
        "{told:?}"
    );
}
