//! `interface_up_down_delays` and `garp_extra_if`.

use super::*;
use crate::model::{ExtraGarp, LinkDelay, Vmac};

const SECOND: Duration = Duration::from_secs(1);

fn delayed(config: VrrpInstance, down: u64, up: u64) -> Host {
    let delay = LinkDelay {
        interface: "eth0".to_owned(),
        down: Duration::from_millis(down),
        up: Duration::from_millis(up),
    };
    let global = Global {
        link_delays: vec![delay],
        ..Global::default()
    };
    let mut host = Host::with_global(&[config], &global, &BTreeMap::new());
    host.run(10 * SECOND);
    assert_eq!(host.state(), State::Master);
    host.take();
    host
}

#[test]
fn a_link_counts_when_it_has_stayed_so() {
    let mut host = delayed(v3(1000), 1000, 500);
    // Down and up again.
    host.link("eth0", LinkState::Down);
    host.run(SECOND / 2);
    host.link("eth0", LinkState::Up);
    host.run(3 * SECOND);
    assert_eq!(host.state(), State::Master);
    // Told twice it is not later.
    host.link("eth0", LinkState::Down);
    host.run(SECOND * 9 / 10);
    host.link("eth0", LinkState::Down);
    assert_eq!(host.state(), State::Master);
    host.run(SECOND / 10);
    assert_eq!(host.state(), State::Fault);
    host.link("eth0", LinkState::Up);
    host.run(SECOND * 4 / 10);
    assert_eq!(host.state(), State::Fault);
    host.run(SECOND / 10);
    assert_eq!(host.state(), State::Backup);
    // What is gone is gone.
    host.link("eth0", LinkState::Gone);
    assert_eq!(host.state(), State::Fault);
}

#[test]
fn a_delay_is_never_longer_than_a_backup_waits_for_its_master() {
    let mut host = delayed(v3(100), 10_000, 0);
    host.link("eth0", LinkState::Down);
    host.run(Duration::from_millis(199));
    assert_eq!(host.state(), State::Master);
    host.run(Duration::from_millis(1));
    assert_eq!(host.state(), State::Fault);
    host.link("eth0", LinkState::Up);
    assert_eq!(host.state(), State::Backup);
}

fn announced(host: &mut Host, time: Duration) -> Vec<String> {
    host.run(time);
    let ifaces = host.take().into_iter().filter_map(|action| match action {
        Action::Announce { iface, .. } => Some(iface.to_string()),
        _ => None,
    });
    ifaces.collect()
}

#[test]
fn the_other_interfaces_are_heard_from_time_to_time() {
    let elsewhere = |last: u8, vmac: Option<&str>| VirtualAddress {
        dev: Some("eth1".to_owned()),
        vmac: vmac.map(str::to_owned),
        ..vip(last)
    };
    let extra = |all: bool| {
        Some(ExtraGarp {
            every: 30 * SECOND,
            all,
        })
    };
    for (extra, vmac, addresses, want) in [
        (None, None, vec![vip(100), elsewhere(101, None)], vec![]),
        (
            extra(false),
            None,
            vec![vip(100), elsewhere(101, None)],
            vec![],
        ),
        (
            extra(true),
            None,
            vec![vip(100), elsewhere(101, None), elsewhere(102, None)],
            vec!["eth1"],
        ),
        (extra(true), Some(false), vec![vip(100)], vec![]),
        (extra(false), Some(true), vec![vip(100)], vec!["vrrp.1"]),
        (
            extra(false),
            None,
            vec![vip(100), elsewhere(101, Some("vrrp.1"))],
            vec!["vrrp.1"],
        ),
    ] {
        let config = VrrpInstance {
            addresses,
            garp_extra_if: extra,
            garp_master_delay: Duration::ZERO,
            // Not with the adverts.
            garp_master_refresh: 100_000 * SECOND,
            vmac: vmac.map(|xmit_base| Vmac {
                name: "vrrp.1".to_owned(),
                xmit_base,
            }),
            ..v3(1000)
        };
        let mut host = Host::one(config.clone());
        host.link("vrrp.1", LinkState::Up);
        host.snapshot("vrrp.1");
        host.run(10 * SECOND);
        assert_eq!(host.state(), State::Master);
        host.take();
        assert_eq!(announced(&mut host, 30 * SECOND), want, "{config:?}");
        assert_eq!(announced(&mut host, 30 * SECOND), want);
        // A reload turns it off.
        let off = VrrpInstance {
            garp_extra_if: None,
            ..config
        };
        host.router
            .reconfigure(&model(&[off], &[], &Global::default()), host.now);
        host.work();
        host.take();
        assert_eq!(announced(&mut host, 30 * SECOND), Vec::<String>::new());
    }
}

#[test]
fn without_an_address_that_is_not_tracked_an_instance_is_master() {
    let mut config = v3(1000);
    config.excluded = vec![VirtualAddress {
        dev: Some("eth1".into()),
        no_track: true,
        ..vip(101)
    }];
    let mut host = Host::one(config.clone());
    host.link("eth1", LinkState::Down);
    host.refuse = false;
    host.run(Duration::from_secs(4));
    assert_eq!(host.state(), State::Master);
    assert!(host.has(101));
    // Nobody puts it back.
    host.take();
    for last in [101, 100] {
        let addr = vip(last).addr;
        let iface = if last == 101 { "eth1" } else { "eth0" };
        host.present.remove(&(iface.to_owned(), addr, 32));
        host.handle(Event::AddressRemoved {
            iface,
            addr,
            prefix_len: 32,
        });
    }
    assert!(!host.has(101) && host.has(100));
    host.snapshot("eth1");
    assert!(!host.has(101));
    // With the word gone it is tracked as any other.
    config.excluded[0].no_track = false;
    host.reconfigure(&[config]);
    assert_eq!(host.state(), State::Fault);
}

#[test]
fn who_cannot_set_an_address_that_is_not_tracked_is_master_all_the_same() {
    let mut config = v3(1000);
    config.addresses = vec![VirtualAddress {
        no_track: true,
        ..vip(100)
    }];
    let mut host = Host::one(config);
    host.refuse = true;
    host.run(Duration::from_secs(4));
    assert_eq!(host.state(), State::Master);
}
