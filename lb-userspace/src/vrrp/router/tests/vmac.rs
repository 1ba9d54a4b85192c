//! `use_vmac`.

use super::*;
use crate::model::{Vmac, virtual_mac};

const VMAC: &str = "vrrp.62";

fn with_vmac(xmit_base: bool) -> VrrpInstance {
    let mut config = instance("VI_1", "eth0", 62);
    config.vmac = Some(Vmac {
        name: VMAC.to_owned(),
        xmit_base,
    });
    config
}

/// A router whose macvlan is there.
fn host(config: &VrrpInstance) -> Host {
    let mut host = Host::of(std::slice::from_ref(config), &[]);
    assert_eq!(host.state(), State::Init, "nothing is known of the macvlan");
    host.snapshot(VMAC);
    host.link(VMAC, LinkState::Up);
    host
}

fn master(config: &VrrpInstance) -> Host {
    let mut host = host(config);
    host.run(Duration::from_secs(4));
    assert_eq!(host.state(), State::Master);
    host
}

fn senders(actions: &[Action]) -> BTreeSet<&str> {
    let iface = |a: &Action| match a {
        Action::SendAdvert { iface, .. } => Some(iface.to_string()),
        _ => None,
    };
    let all: BTreeSet<String> = actions.iter().filter_map(iface).collect();
    let known = [VMAC, "eth0"].into_iter();
    known.filter(|name| all.contains(*name)).collect()
}

#[test]
fn addresses_and_gratuitous_arps_are_on_the_macvlan() {
    let mut host = master(&with_vmac(false));
    let added = (VMAC.to_owned(), vip(100).addr, 32);
    assert!(host.present.contains(&added), "{:?}", host.present);
    let actions = host.take();
    let garp = |a: &Action| matches!(a, Action::Announce { iface, .. } if **iface == *VMAC);
    assert!(actions.iter().any(garp));
    assert_eq!(
        Host::garps(&actions),
        actions.iter().filter(|a| garp(a)).count()
    );
}

#[test]
fn adverts_leave_by_the_macvlan_or_by_the_interface() {
    assert_eq!(senders(&master(&with_vmac(false)).take()), [VMAC].into());
    assert_eq!(senders(&master(&with_vmac(true)).take()), ["eth0"].into());
}

#[test]
fn adverts_are_heard_on_the_macvlan_when_their_mac_is_its_own() {
    let config = with_vmac(false);
    let mut host = master(&config);
    let packet = host.advert_of(&config, HIGHER_PEER, 200);
    let advert = |src_mac| Event::Advert {
        iface: VMAC,
        packet: &packet,
        src_mac,
    };
    host.handle(advert([2, 0, 0, 0, 0, 9]));
    assert_eq!(host.state(), State::Master, "that one is heard on eth0 too");
    host.handle(advert(virtual_mac(false, 62)));
    assert_eq!(host.state(), State::Backup);
    let listen = host.router.advert_interfaces();
    assert!(listen[VMAC].is_vmac && !listen["eth0"].is_vmac);
    assert_eq!(listen[VMAC].groups, listen["eth0"].groups);
}

#[test]
fn a_macvlan_that_is_gone_is_a_fault() {
    let mut host = master(&with_vmac(true));
    host.link(VMAC, LinkState::Gone);
    assert_eq!(host.state(), State::Fault);
    host.snapshot(VMAC);
    host.link(VMAC, LinkState::Up);
    assert_eq!(host.state(), State::Backup);
}

#[test]
fn use_vmac_comes_and_goes_with_a_reload() {
    let plain = instance("VI_1", "eth0", 62);
    let mut host = master(&with_vmac(false));
    let model = Model {
        instances: vec![plain],
        ..Model::default()
    };
    host.router.reconfigure(&model, host.now);
    host.work();
    assert!(host.has(100), "on the interface now");
    assert!(!host.present.contains(&(VMAC.to_owned(), vip(100).addr, 32)));
}

#[test]
fn an_address_elsewhere_has_a_macvlan_too() {
    let mut config = with_vmac(false);
    config.excluded = vec![VirtualAddress {
        dev: Some("eth1".to_owned()),
        vmac: Some("vrrp1.62".to_owned()),
        ..vip(101)
    }];
    let mut host = host(&config);
    host.snapshot("vrrp1.62");
    host.link("vrrp1.62", LinkState::Up);
    host.run(Duration::from_secs(4));
    assert!(
        host.present
            .contains(&("vrrp1.62".to_owned(), vip(101).addr, 32))
    );
}
