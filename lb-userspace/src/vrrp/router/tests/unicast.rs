//! `unicast_peer` and what belongs to it; multicast groups.

use super::*;
use crate::model::{OldChecksum, Unicast, UnicastPeer};
use crate::vrrp::Listen;
use crate::vrrp::packet::{Coverage, View, destination_of};

const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

fn to(peers: &[IpAddr]) -> Unicast {
    Unicast {
        peers: peers
            .iter()
            .map(|addr| UnicastPeer {
                addr: *addr,
                min_ttl: 0,
                max_ttl: 255,
            })
            .collect(),
        ttl: 200,
        check_source: false,
        old_checksum: OldChecksum::Auto,
    }
}

fn with(unicast: Unicast) -> VrrpInstance {
    VrrpInstance {
        transport: Transport::Unicast(unicast),
        ..v3(1000)
    }
}

/// An advert of `source` to this host.
fn from(
    host: &Host,
    config: &VrrpInstance,
    source: IpAddr,
    ttl: u8,
    coverage: Coverage,
) -> Vec<u8> {
    let packet = host.advert_of(config, source, 200);
    let mut advert = View::parse(&packet).unwrap().to_advert().unwrap();
    advert.envelope = Envelope {
        destination: OWN,
        ttl,
        coverage,
    };
    advert.emit(1)
}

fn adverts(actions: &[Action]) -> Vec<Advert> {
    let packet = |a: &Action| match a {
        Action::SendAdvert { packet, .. } => {
            Some(View::parse(packet).unwrap().to_advert().unwrap())
        }
        _ => None,
    };
    actions.iter().filter_map(packet).collect()
}

fn peers(actions: &[Action]) -> usize {
    let learned = |a: &&Action| matches!(a, Action::Report(Report::LearnedPeer { .. }));
    actions.iter().filter(learned).count()
}

#[test]
fn an_advert_goes_to_each_peer_but_oneself_with_the_ttl_asked_for() {
    let mut host = Host::one(with(to(&[LOWER_PEER, OWN, FAR])));
    host.run(Duration::from_secs(4));
    assert_eq!(host.state(), State::Master);
    let sent = adverts(&host.take());
    let to: Vec<IpAddr> = sent.iter().map(|a| a.envelope.destination).collect();
    assert_eq!(to, [LOWER_PEER, FAR]);
    assert!(
        sent.iter()
            .all(|a| a.envelope.ttl == 200 && a.source == OWN)
    );
    assert_eq!(
        host.status(0).adverts_sent,
        1,
        "one advert, whoever it goes to"
    );
}

#[test]
fn a_master_behind_a_router_is_followed_and_its_router_s_mac_is_no_director_s() {
    let config = with(to(&[FAR]));
    let mut host = Host::one(config.clone());
    let far = from(&host, &config, FAR, 64, Coverage::Destination);
    host.hear_packet("eth0", &far);
    assert_eq!(host.status(0).adverts_received, 1);
    assert_eq!(peers(&host.take()), 0);
    // With an untouched TTL but from another network: a router may have the MAC all the same.
    let far = from(&host, &config, FAR, 255, Coverage::Destination);
    host.hear_packet("eth0", &far);
    assert_eq!(peers(&host.take()), 0);
    let near = from(&host, &config, HIGHER_PEER, 255, Coverage::Destination);
    host.hear_packet("eth0", &near);
    assert_eq!(peers(&host.take()), 1);
    assert_eq!(host.state(), State::Backup);
}

#[test]
fn who_is_no_peer_is_heard_unless_the_source_is_checked() {
    let mut config = with(to(&[LOWER_PEER]));
    for (check, received) in [(false, 1), (true, 0)] {
        if let Transport::Unicast(unicast) = &mut config.transport {
            unicast.check_source = check;
        }
        let mut host = Host::one(config.clone());
        let packet = from(&host, &config, HIGHER_PEER, 255, Coverage::Destination);
        host.hear_packet("eth0", &packet);
        let status = host.status(0);
        assert_eq!(status.adverts_received, received);
        assert_eq!(status.rejected.get(Reject::NotPeer), 1 - received);
    }
}

#[test]
fn without_a_peer_the_instance_is_in_fault_until_a_reload_names_one() {
    let mut host = Host::one(with(to(&[])));
    host.run(Duration::from_secs(10));
    assert_eq!(host.state(), State::Fault);
    assert_eq!(host.status(0).reason, crate::vrrp::Reason::NoPeer);
    assert_eq!(adverts(&host.take()), []);
    let config = with(to(&[LOWER_PEER]));
    host.reconfigure(&[config]);
    host.work();
    assert_eq!(host.state(), State::Backup);
}

#[test]
fn a_peer_with_the_old_checksum_is_answered_with_it() {
    let sent_after = |old_checksum, heard| {
        let config = with(Unicast {
            old_checksum,
            ..to(&[LOWER_PEER])
        });
        let mut host = Host::one(config.clone());
        let packet = from(&host, &config, HIGHER_PEER, 255, heard);
        host.hear_packet("eth0", &packet);
        host.run(Duration::from_secs(5));
        adverts(&host.take())[0].envelope.coverage
    };
    use Coverage::{Destination, Group};
    assert_eq!(sent_after(OldChecksum::Auto, Destination), Destination);
    assert_eq!(sent_after(OldChecksum::Auto, Group), Group);
    assert_eq!(sent_after(OldChecksum::Never, Group), Destination);
    assert_eq!(sent_after(OldChecksum::Always, Destination), Group);
}

#[test]
fn the_checksum_of_the_message_alone_is_sent_where_that_is_wanted() {
    for transport in [
        Transport::default(),
        Transport::Unicast(Unicast {
            old_checksum: OldChecksum::Always,
            ..to(&[LOWER_PEER])
        }),
    ] {
        let mut host = Host::one(VrrpInstance {
            transport,
            v3_checksum_as_v2: true,
            ..v3(1000)
        });
        host.run(Duration::from_secs(4));
        let sent = adverts(&host.take());
        assert_eq!(sent[0].envelope.coverage, Coverage::Message);
    }
}

#[test]
fn a_reload_moves_an_instance_from_multicast_to_unicast_and_to_another_group() {
    let mut host = Host::one(v3(1000));
    let group = |g: [u8; 4]| VrrpInstance {
        transport: Transport::Multicast(g.into()),
        ..v3(1000)
    };
    host.run(Duration::from_secs(4));
    host.take();
    for (config, destination) in [
        (with(to(&[LOWER_PEER])), LOWER_PEER),
        (group([224, 0, 0, 180]), [224, 0, 0, 180].into()),
    ] {
        let listen = Listen::to(&config.transport, Family::V4);
        host.reconfigure(&[config]);
        host.work();
        assert_eq!(host.state(), State::Master);
        host.run(Duration::from_millis(1100));
        for action in host.take() {
            if let Action::SendAdvert { packet, .. } = action {
                assert_eq!(destination_of(&packet), destination);
            }
        }
        assert_eq!(host.router.advert_interfaces()["eth0"], listen);
    }
}

#[test]
fn of_two_virtual_routers_with_one_number_each_hears_its_own_peers() {
    let named = |name: &str, transport| VrrpInstance {
        name: name.into(),
        transport,
        ..v3(1000)
    };
    let unicast = |peers: &[IpAddr]| Transport::Unicast(to(peers));
    let all = [
        named("near", unicast(&[LOWER_PEER, HIGHER_PEER])),
        named("far", unicast(&[FAR])),
        named("group", Transport::default()),
    ];
    let mut host = Host::of(&all, &[]);
    let far = from(&host, &all[1], FAR, 64, Coverage::Destination);
    host.hear_packet("eth0", &far);
    let near = from(&host, &all[0], HIGHER_PEER, 255, Coverage::Destination);
    host.hear_packet("eth0", &near);
    host.hear_packet("eth0", &near);
    for _ in 0..3 {
        host.hear(&all[2], LOWER_PEER, 200);
    }
    let heard = |host: &Host| -> Vec<u64> {
        let status = host.router.status();
        status.iter().map(|s| s.adverts_received).collect()
    };
    assert_eq!(heard(&host), [2, 1, 3]);
    // One that cannot be read is counted at who would have had it.
    let mut broken = far.clone();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    host.hear_packet("eth0", &broken);
    assert_eq!(host.status(1).rejected.get(Reject::Checksum), 1);
    // A reload in another order, with one renamed and one gone.
    let again = [
        all[1].clone(),
        VrrpInstance {
            name: "other".into(),
            ..all[2].clone()
        },
    ];
    host.reconfigure(&again);
    host.work();
    assert_eq!(heard(&host), [1, 3]);
}

#[test]
fn of_two_that_send_from_different_addresses_each_hears_what_is_sent_to_its_own() {
    let other = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 7));
    let sent_from = |name: &str, own| VrrpInstance {
        name: name.into(),
        mcast_src_ip: Some(own),
        ..with(to(&[HIGHER_PEER]))
    };
    let all = [sent_from("one", other), sent_from("two", OWN)];
    assert!(!all[0].meets(&all[1]));
    let mut host = Host::of(&all, &[]);
    let advert = from(&host, &all[1], HIGHER_PEER, 255, Coverage::Destination);
    host.hear_packet("eth0", &advert);
    let heard = |host: &Host| [0, 1].map(|at| host.status(at).adverts_received);
    assert_eq!(heard(&host), [0, 1]);
    // Renamed and in another order each goes on.
    let renamed = [sent_from("b", OWN), sent_from("a", other)];
    host.reconfigure(&renamed);
    host.work();
    assert_eq!(heard(&host), [1, 0]);
}

#[test]
fn an_instance_with_other_peers_and_another_name_is_elected_anew() {
    let old = with(to(&[LOWER_PEER]));
    for (peers, state) in [
        (&[FAR][..], State::Backup),
        (&[FAR, LOWER_PEER], State::Master),
    ] {
        let mut host = master(&old);
        let new = VrrpInstance {
            name: "VI_2".into(),
            addresses: vec![vip(103)],
            ..with(to(peers))
        };
        host.reconfigure(&[new]);
        host.work();
        let goes_on = state == State::Master;
        assert_eq!((host.state(), host.has(103)), (state, goes_on));
        // The one that is gone has told its peers, and has its address until one of them answers.
        let resigned = Host::priorities(&host.take()).contains(&0);
        assert_eq!((resigned, host.has(100)), (!goes_on, !goes_on));
    }
}
