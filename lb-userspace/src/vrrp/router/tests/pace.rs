//! Pauses between gratuitous ARPs.

use super::*;
use crate::model::GarpGroup;

const STEP: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(100);

fn pause() -> Global {
    Global {
        garp_interval: PAUSE,
        ..Global::default()
    }
}

fn config() -> VrrpInstance {
    VrrpInstance {
        addresses: vec![vip(100), vip(101), vip(102)],
        garp_master_repeat: 2,
        ..v3(1000)
    }
}

/// The gratuitous ARPs of `time`: when each was sent, on which interface, for which address.
fn sent(host: &mut Host, time: Duration) -> Vec<(Time, String, IpAddr)> {
    let end = host.now + time;
    let mut all = Vec::new();
    while host.now < end {
        host.run(STEP);
        for action in host.take() {
            if let Action::Announce { iface, addr, .. } = action {
                all.push((host.now, iface.to_string(), addr));
            }
        }
    }
    all
}

fn closest(all: &[(Time, String, IpAddr)]) -> Duration {
    let gaps = all.windows(2).map(|w| w[1].0.since(w[0].0));
    gaps.min().unwrap_or(Duration::MAX)
}

fn master(instances: &[VrrpInstance], global: &Global) -> Host {
    let mut host = Host::with_global(instances, global, &BTreeMap::new());
    host.run(Duration::from_millis(3600));
    assert_eq!(host.state(), State::Backup);
    host.take();
    host
}

#[test]
fn without_a_pause_they_go_at_once() {
    let mut host = master(&[config()], &Global::default());
    let all = sent(&mut host, Duration::from_millis(20));
    assert_eq!(all.len(), 6);
}

#[test]
fn no_two_are_closer_than_the_pause_and_none_is_lost() {
    let mut host = master(&[config()], &pause());
    let all = sent(&mut host, Duration::from_secs(1));
    assert_eq!(host.state(), State::Master);
    assert!(closest(&all) >= PAUSE, "{all:?}");
    for last in [100, 101, 102] {
        let address = Ipv4Addr::new(10, 77, 0, last);
        assert_eq!(all.iter().filter(|(.., a)| *a == address).count(), 2);
    }
    assert_eq!(host.status(0).garps_sent, 6);
    // Again and again: the refresh and the second block, which is more than there is time for.
    let all = sent(&mut host, Duration::from_secs(10));
    assert!(closest(&all) >= PAUSE && all.len() > 20, "{all:?}");
}

#[test]
fn interfaces_pause_each_for_itself_unless_they_are_in_a_group() {
    let elsewhere = |last| VirtualAddress {
        dev: Some("eth1".to_owned()),
        ..vip(last)
    };
    let both = VrrpInstance {
        addresses: vec![vip(100), vip(101), elsewhere(102), elsewhere(103)],
        ..config()
    };
    let mut apart = master(std::slice::from_ref(&both), &pause());
    let all = sent(&mut apart, Duration::from_secs(1));
    for iface in ["eth0", "eth1"] {
        let mut of: Vec<_> = all.clone();
        of.retain(|(_, i, _)| i == iface);
        assert!(of.len() == 4 && closest(&of) >= PAUSE, "{of:?}");
    }
    assert!(closest(&all) < PAUSE);

    let group = Global {
        garp_groups: vec![GarpGroup {
            interfaces: vec!["eth0".into(), "eth1".into()],
            garp_interval: PAUSE,
            gna_interval: Duration::ZERO,
        }],
        ..Global::default()
    };
    let mut together = master(&[both], &group);
    let all = sent(&mut together, Duration::from_secs(1));
    assert!(all.len() == 8 && closest(&all) >= PAUSE, "{all:?}");
}

#[test]
fn what_waits_is_forgotten_by_who_is_no_longer_master() {
    let mut host = master(&[config()], &pause());
    let before = sent(&mut host, Duration::from_millis(150));
    assert!((1..4).contains(&before.len()), "{before:?}");
    host.hear(&config(), HIGHER_PEER, 200);
    host.take();
    let after = sent(&mut host, Duration::from_secs(2));
    assert_eq!(after, []);
}

#[test]
fn a_reload_changes_the_pause_and_loses_nothing() {
    let mut host = master(&[config()], &pause());
    let before = sent(&mut host, Duration::from_millis(150));
    host.reconfigure(&[config()]);
    let after = sent(&mut host, Duration::from_millis(200));
    assert_eq!(before.len() + after.len(), 6, "{before:?} {after:?}");
}
