//! Virtual routers of IPv6.

use std::net::Ipv6Addr;

use super::*;
use crate::model::GarpGroup;
use crate::vrrp::packet::{View, destination_of};

const HERE: IpAddr = link_local(5);
const BELOW: IpAddr = link_local(4);
const ABOVE: IpAddr = link_local(6);
const GLOBAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5));

const fn link_local(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last))
}

fn vip6(text: &str) -> VirtualAddress {
    VirtualAddress {
        addr: text.parse().unwrap(),
        prefix_len: 128,
        ..vip(0)
    }
}

/// Version 3 with an interval of one second; an address of IPv4 moves with it.
fn v6() -> VrrpInstance {
    VrrpInstance {
        addresses: vec![vip6("fe80::100"), vip6("2001:db8::100")],
        excluded: vec![vip(101)],
        transport: Transport::Multicast(Family::V6.group()),
        ..v3(1000)
    }
}

/// A host with both families on its interfaces.
fn host(instances: &[VrrpInstance]) -> Host {
    let mut host = Host::of(instances, &[]);
    told(&mut host, &[(GLOBAL, 64), (HERE, 64)]);
    host.take();
    host
}

fn told(host: &mut Host, own: &[(IpAddr, u8)]) {
    for (addr, prefix_len) in own {
        host.present.insert(("eth0".into(), *addr, *prefix_len));
        host.handle(Event::AddressAdded {
            iface: "eth0",
            addr: *addr,
            prefix_len: *prefix_len,
        });
    }
}

const DOWN_V3: Duration = Duration::from_millis(3000 + 610);

fn announced(actions: &[Action]) -> Vec<IpAddr> {
    let addr = |a: &Action| match a {
        Action::Announce { addr, .. } => Some(*addr),
        _ => None,
    };
    actions.iter().filter_map(addr).collect()
}

#[test]
fn a_master_speaks_from_its_link_local_address_and_announces_every_address() {
    let mut host = host(&[v6()]);
    host.run(DOWN_V3);
    assert_eq!(host.state(), State::Master);
    assert_eq!(host.status(0).source, Some(HERE));
    let actions = host.take();
    let packet = actions.iter().find_map(|a| match a {
        Action::SendAdvert { packet, .. } => Some(packet.clone()),
        _ => None,
    });
    let packet = packet.unwrap();
    assert_eq!(destination_of(&packet), Family::V6.group());
    let advert = View::parse(&packet).unwrap().to_advert().unwrap();
    assert_eq!((advert.source, advert.envelope.ttl), (HERE, 255));
    let own: Vec<IpAddr> = v6().addresses.iter().map(|a| a.addr).collect();
    assert_eq!(advert.addresses, own);
    // Five of each, those of the other family too.
    let all = announced(&actions);
    for addr in own.iter().chain([&vip(101).addr]) {
        assert_eq!(all.iter().filter(|a| *a == addr).count(), 5, "{addr}");
    }
}

#[test]
fn without_a_link_local_address_it_is_in_fault() {
    let mut host = Host::of(&[v6()], &[]);
    let fault = |host: &Host| matches!(host.status(0).reason, Reason::NoLinkLocal { .. });
    assert!(host.state() == State::Fault && fault(&host));
    told(&mut host, &[(GLOBAL, 64)]);
    assert!(host.state() == State::Fault && fault(&host));
    told(&mut host, &[(HERE, 64)]);
    assert_eq!(host.state(), State::Backup);
    host.run(DOWN_V3);
    assert_eq!(host.state(), State::Master);
    host.present.remove(&("eth0".into(), HERE, 64));
    host.handle(Event::AddressRemoved {
        iface: "eth0",
        addr: HERE,
        prefix_len: 64,
    });
    assert_eq!(host.state(), State::Fault);
}

/// Its own virtual address is link-local as well, and must not be what it speaks from.
#[test]
fn a_virtual_address_is_no_source() {
    let mut host = Host::of(&[v6()], &[]);
    told(&mut host, &[(link_local(0x100), 128)]);
    assert_eq!(host.status(0).source, None);
    told(&mut host, &[(HERE, 64)]);
    assert_eq!(host.status(0).source, Some(HERE));
}

#[test]
fn of_equals_the_greater_address_is_master() {
    for (peer, stays) in [(BELOW, true), (ABOVE, false)] {
        let mut host = host(&[v6()]);
        host.run(DOWN_V3);
        host.hear(&v6(), peer, 100);
        assert_eq!(host.state() == State::Master, stays, "{peer}");
    }
}

#[test]
fn the_configured_source_need_not_be_link_local() {
    let config = VrrpInstance {
        mcast_src_ip: Some(GLOBAL),
        ..v6()
    };
    let host = host(&[config]);
    assert_eq!(host.status(0).source, Some(GLOBAL));
}

/// One of each family with the same VRID on one interface, as is usual.
#[test]
fn the_same_vrid_is_another_router_in_the_other_family() {
    let four = VrrpInstance {
        name: "VI_4".into(),
        ..v3(1000)
    };
    let mut host = host(&[four.clone(), v6()]);
    let second = Duration::from_secs(1);
    host.run(second);
    host.hear(&four, HIGHER_PEER, 200);
    assert_eq!(host.status(0).adverts_received, 1);
    assert_eq!(host.status(1).adverts_received, 0);
    host.run(DOWN_V3 - second);
    let states = [host.status(0).state, host.status(1).state];
    assert_eq!(states, [State::Backup, State::Master]);
    host.hear(&v6(), ABOVE, 200);
    assert_eq!(host.status(1).state, State::Backup);
    assert_eq!(host.status(1).adverts_received, 1);
    // A reload keeps each what it is.
    let other = VrrpInstance {
        priority: 101,
        ..v6()
    };
    host.reconfigure(&[other, four]);
    let seen = host.router.status();
    let numbers = |at: usize| (seen[at].adverts_received, seen[at].became_master);
    assert_eq!([numbers(0), numbers(1)], [(1, 1), (1, 0)]);
}

#[test]
fn an_advert_from_no_network_of_the_interface_is_refused() {
    let mut host = host(&[v6()]);
    let far = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1));
    let near = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
    host.hear(&v6(), far, 200);
    host.hear(&v6(), HERE, 200);
    let rejected = host.status(0).rejected;
    assert_eq!(rejected.get(Reject::OffSubnet), 1);
    assert_eq!(rejected.get(Reject::OwnSource), 1);
    host.hear(&v6(), near, 200);
    host.hear(&v6(), ABOVE, 200);
    assert_eq!(host.status(0).adverts_received, 2);
}

/// A sync group of both families: who is beaten in one yields in the other without a wrong claim.
#[test]
fn a_sync_group_of_both_families_yields_together() {
    let four = VrrpInstance {
        name: "VI_4".into(),
        ..v3(1000)
    };
    let group = SyncGroup {
        name: "VG".into(),
        members: vec!["VI_4".into(), "VI_1".into()],
        tracks: crate::model::Tracks::default(),
        tracking_weight: false,
        notify: crate::model::VrrpNotify::default(),
    };
    let mut host = Host::of(&[four.clone(), v6()], &[group]);
    told(&mut host, &[(HERE, 64)]);
    host.run(DOWN_V3);
    assert_eq!(host.status(1).state, State::Master);
    host.take();
    // As good as this host's, from an address that is greater only by its family.
    host.hear(&v6(), ABOVE, 100);
    assert_eq!(host.status(0).state, State::Backup);
    assert_eq!(host.status(1).state, State::Backup);
    let last: Vec<(bool, u8)> = host
        .take()
        .iter()
        .filter_map(|a| match a {
            Action::SendAdvert {
                packet, priority, ..
            } => Some((destination_of(packet).is_ipv6(), *priority)),
            _ => None,
        })
        .collect();
    assert_eq!(last, [(true, 100), (false, 0)]);
}

#[test]
fn advertisements_have_a_pause_of_their_own() {
    let pause = Duration::from_millis(100);
    let of_all = Global {
        gna_interval: pause,
        ..Global::default()
    };
    let of_some = Global {
        garp_groups: vec![GarpGroup {
            interfaces: vec!["eth0".to_owned()],
            garp_interval: Duration::ZERO,
            gna_interval: pause,
        }],
        ..Global::default()
    };
    for global in [of_all, of_some] {
        let mut host = Host::with_global(&[v6()], &global, &BTreeMap::new());
        told(&mut host, &[(HERE, 64)]);
        host.run(DOWN_V3);
        // Those of IPv4 do not wait.
        let at_once = announced(&host.take());
        assert_eq!(at_once.iter().filter(|a| a.is_ipv4()).count(), 5);
        assert_eq!(at_once.iter().filter(|a| a.is_ipv6()).count(), 1);
        let start = host.now;
        for n in 1..=9 {
            host.run((start + pause * n).since(host.now));
            let six = announced(&host.take());
            assert_eq!(six.iter().filter(|a| a.is_ipv6()).count(), 1, "{n}");
        }
    }
}
