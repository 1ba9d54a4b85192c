//! A new configuration while running.

use super::*;
use crate::model::Broadcast;

fn reload(host: &mut Host, instances: &[VrrpInstance]) -> Vec<Action> {
    host.take();
    host.reconfigure(instances);
    host.work();
    host.take()
}

fn config() -> VrrpInstance {
    instance("VI_1", "eth0", 62)
}

#[test]
fn the_same_configuration_does_nothing() {
    let mut host = master(&config());
    let deadline = host.router.next_deadline();
    assert_eq!(reload(&mut host, &[config()]), []);
    assert_eq!(host.router.next_deadline(), deadline);
}

#[test]
fn a_renamed_instance_stays_what_it_is() {
    let mut host = master(&config());
    let actions = reload(
        &mut host,
        &[VrrpInstance {
            name: "other".into(),
            ..config()
        }],
    );
    assert_eq!(Host::transitions(&actions), []);
    assert_eq!(
        (host.status(0).name.as_str(), host.state()),
        ("other", State::Master)
    );
}

#[test]
fn changed_addresses_are_a_difference() {
    let mut host = master(&VrrpInstance {
        addresses: vec![vip(100), vip(101)],
        ..config()
    });
    let actions = reload(
        &mut host,
        &[VrrpInstance {
            addresses: vec![vip(101), vip(102)],
            ..config()
        }],
    );
    assert!(!host.has(100) && host.has(101) && host.has(102));
    let changes: Vec<String> = actions
        .iter()
        .filter_map(|a| match a {
            Action::AddAddress { address, .. } => Some(format!("+{}", address.addr)),
            Action::DelAddress { address, .. } => Some(format!("-{}", address.addr)),
            _ => None,
        })
        .collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(Host::garps(&actions), 5, "only the new one is announced");
    assert_eq!(Host::transitions(&actions), []);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn an_address_that_moves_to_another_instance_stays() {
    let second = VrrpInstance {
        addresses: vec![vip(110)],
        ..instance("VI_2", "eth0", 63)
    };
    let mut host = Host::of(
        &[
            VrrpInstance {
                addresses: vec![vip(100), vip(101)],
                ..config()
            },
            second.clone(),
        ],
        &[],
    );
    host.run(Duration::from_secs(5));
    let first = VrrpInstance {
        addresses: vec![vip(100)],
        ..config()
    };
    let second = VrrpInstance {
        addresses: vec![vip(110), vip(101)],
        ..second
    };
    let actions = reload(&mut host, &[first, second]);
    assert!(
        !actions
            .iter()
            .any(|a| matches!(a, Action::DelAddress { .. })),
        "{actions:?}"
    );
    assert!(host.has(101));
}

#[test]
fn a_removed_instance_hands_over_and_goes() {
    let mut host = master(&config());
    let actions = reload(&mut host, &[]);
    assert_eq!(Host::priorities(&actions), [0]);
    let transitions = Host::transitions(&actions);
    assert_eq!(
        (transitions[0].to, &transitions[0].reason),
        (State::Stopped, &Reason::Removed)
    );
    assert!(host.has(100) && host.router.status().is_empty());
    host.hear(&config(), LOWER_PEER, 90);
    host.run(Duration::from_millis(200));
    assert!(!host.has(100));
    assert!(host.router.instances.is_empty());
    assert_eq!(host.router.next_deadline(), None);
}

#[test]
fn an_instance_that_is_removed_and_comes_back_starts_anew() {
    let mut host = master(&config());
    reload(&mut host, &[]);
    host.states.clear();
    reload(&mut host, &[config()]);
    assert_eq!(host.state(), State::Backup);
    assert!(host.has(100));
    host.run(Duration::from_secs(6));
    assert_eq!(host.state(), State::Master);
    assert!(
        host.has(100),
        "what the removed one let go is held by the new one"
    );
}

#[test]
fn a_new_priority_is_advertised_at_once() {
    let mut host = master(&config());
    let actions = reload(
        &mut host,
        &[VrrpInstance {
            priority: 50,
            ..config()
        }],
    );
    assert_eq!(Host::priorities(&actions), [50]);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_backup_with_a_new_priority_does_not_wait_longer() {
    let mut host = Host::one(VrrpInstance {
        priority: 1,
        ..config()
    });
    host.run(Duration::from_secs(2));
    reload(
        &mut host,
        &[VrrpInstance {
            priority: 254,
            ..config()
        }],
    );
    host.run(Duration::from_secs(2));
    assert_eq!(host.state(), State::Master);
    let mut host = Host::one(config());
    reload(
        &mut host,
        &[VrrpInstance {
            priority: 255,
            ..config()
        }],
    );
    host.run(Duration::ZERO);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_new_instance_joins_a_running_host() {
    let mut host = master(&config());
    let second = VrrpInstance {
        addresses: vec![vip(110)],
        ..instance("VI_2", "eth0", 63)
    };
    reload(&mut host, &[config(), second]);
    assert_eq!(
        host.status(1).state,
        State::Backup,
        "its interface is known already"
    );
    host.run(Duration::from_secs(5));
    assert_eq!(host.status(1).state, State::Master);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_stopping_host_takes_no_new_configuration() {
    let mut host = master(&config());
    host.handle(Event::Shutdown);
    let second = VrrpInstance {
        addresses: vec![vip(110)],
        ..instance("VI_2", "eth0", 63)
    };
    reload(&mut host, &[config(), second]);
    host.run(Duration::from_secs(10));
    assert!(host.router.is_stopped());
}

#[test]
fn an_address_that_is_wanted_in_another_form_is_set_anew() {
    let config = v3(1000);
    let mut host = master(&config);
    let mut other = config.clone();
    other.addresses[0].options.noprefixroute = true;
    other.addresses[0].label = Some("eth0:1".to_owned());
    other.addresses[0].broadcast = Some(Broadcast::HostBitsSet);
    other.addresses[0].scope = 253;
    other.addresses.push(vip(101));
    host.reconfigure(&[other]);
    host.work();
    let changes = host.take();
    let told = |a: &Action| match a {
        Action::AddAddress { address, .. } => Some((true, address.clone())),
        Action::DelAddress { address, .. } => Some((false, address.clone())),
        _ => None,
    };
    let told: Vec<(bool, Address)> = changes.iter().filter_map(told).collect();
    let of = |last| told.iter().filter(move |(_, a)| a.addr == vip(last).addr);
    let form = |(add, a): &(bool, Address)| {
        let of_link = (a.label.is_some(), a.broadcast.is_some(), a.scope);
        (*add, a.options.noprefixroute, of_link)
    };
    assert_eq!(
        of(100).map(form).collect::<Vec<_>>(),
        [
            (false, false, (false, false, 0)),
            (true, true, (true, true, 253))
        ]
    );
    assert_eq!(of(101).map(|(add, _)| *add).collect::<Vec<_>>(), [true]);
    assert!(host.has(100) && host.state() == State::Master);
}
