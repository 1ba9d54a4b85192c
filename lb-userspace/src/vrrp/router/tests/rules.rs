//! Rules one by one.

use super::*;
use crate::vrrp::packet::View;

const MS: Duration = Duration::from_millis(1);

fn config() -> VrrpInstance {
    instance("VI_1", "eth0", 62)
}

#[test]
fn the_first_advert_goes_out_before_the_address_and_the_arps_after_it() {
    let mut host = Host::one(config());
    host.take();
    host.run(DOWN);
    let kinds: Vec<&str> = host
        .take()
        .iter()
        .map(|a| match a {
            Action::SendAdvert { .. } => "advert",
            Action::AddAddress { .. } => "add",
            Action::Announce { .. } => "garp",
            Action::Report(Report::Transition(t)) => t.to.name(),
            Action::Report(Report::Holding { .. }) => "holds",
            Action::DelAddress { .. } | Action::AskFor { .. } | Action::Report(_) => "other",
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "advert", "add", "garp", "garp", "garp", "garp", "garp", "holds", "MASTER"
        ]
    );
}

#[test]
fn the_skew_is_not_rounded_to_seconds() {
    let mut host = Host::one(config());
    host.run(DOWN - MS);
    assert_eq!(host.state(), State::Backup);
    host.run(MS);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn one_that_was_master_a_moment_before_has_not_the_last_word() {
    // It announces the addresses after this one does, and is silent once it hears this one's advert.
    for (before, settled) in [(Duration::from_millis(5), 1), (Duration::from_secs(2), 0)] {
        let mut host = Host::one(config());
        host.run(DOWN - before);
        host.hear(&config(), LOWER_PEER, 99);
        host.run(before);
        assert_eq!(host.state(), State::Master);
        host.take();
        host.run(Duration::from_millis(100));
        assert_eq!(Host::garps(&host.take()), settled, "{before:?}");
    }
}

#[test]
fn arps_go_out_at_once_and_again_after_the_delay_as_often_as_configured() {
    let quiet = Policy {
        refresh: Duration::ZERO,
        ..Policy::default()
    };
    let mut host = Host::one(VrrpInstance {
        garp_master_repeat: 3,
        ..config()
    });
    host.router.policy = quiet;
    host.run(DOWN);
    assert_eq!(Host::garps(&host.take()), 3);
    host.run(Duration::from_secs(5) - MS);
    assert_eq!(Host::garps(&host.take()), 0);
    host.run(2 * MS);
    assert_eq!(Host::garps(&host.take()), 3);
    host.run(Duration::from_secs(60));
    assert_eq!(Host::garps(&host.take()), 0);
}

#[test]
fn a_configured_refresh_takes_the_place_of_ours() {
    let refresh = Duration::from_secs(10);
    let mut host = Host::one(VrrpInstance {
        garp_master_refresh: refresh,
        garp_master_refresh_repeat: 2,
        garp_master_delay: Duration::ZERO,
        ..config()
    });
    host.run(DOWN);
    host.take();
    host.run(Duration::from_secs(35));
    assert_eq!(Host::garps(&host.take()), 6);
}

#[test]
fn a_refresh_follows_an_advert_and_covers_a_few_addresses_in_turn() {
    let addresses = (1..=40).map(|n| vip(100 + n)).collect();
    let mut host = Host::one(VrrpInstance {
        addresses,
        garp_master_delay: Duration::ZERO,
        ..config()
    });
    host.run(DOWN);
    host.take();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        host.run(Duration::from_secs(1));
        let actions = host.take();
        assert!(matches!(actions[0], Action::SendAdvert { .. }));
        assert_eq!(Host::garps(&actions), 16);
        seen.extend(actions.iter().filter_map(|a| match a {
            Action::Announce { addr, .. } => Some(*addr),
            _ => None,
        }));
    }
    assert_eq!(seen.len(), 40);
}

#[test]
fn a_refresh_comes_with_every_tenth_advert_where_adverts_are_frequent() {
    for (millis, refreshes) in [(10, 100), (50, 20), (100, 10), (1000, 10)] {
        let mut host = Host::one(VrrpInstance {
            garp_master_delay: Duration::ZERO,
            ..v3(millis)
        });
        host.run(Duration::from_secs(5));
        host.take();
        host.run(Duration::from_secs(10));
        let garps = Host::garps(&host.take());
        // The first and the last may be inside or outside.
        let most = refreshes * 10 / 9 + 1;
        assert!((refreshes - 1..=most).contains(&garps), "{millis}: {garps}");
    }
}

#[test]
fn master_is_reported_only_when_the_address_is_there() {
    let mut host = Host::one(config());
    host.refuse = true;
    host.run(DOWN + 2500 * MS);
    assert_eq!(host.state(), State::Backup);
    let actions = host.take();
    let refused = Notice::AddressFailed {
        iface: "eth0".into(),
        missing: false,
        addr: vip(100).addr,
    };
    assert_eq!(Host::notices(&actions), [refused], "three times, told once");
    assert!(
        Host::priorities(&actions).len() >= 3,
        "it advertises meanwhile"
    );
    host.refuse = false;
    host.run(Duration::from_secs(1));
    assert_eq!(host.state(), State::Master);
}

#[test]
fn an_address_that_another_program_takes_away_is_put_back() {
    let mut host = master(&config());
    host.present.remove(&("eth0".into(), vip(100).addr, 32));
    let removed = Event::AddressRemoved {
        iface: "eth0",
        addr: vip(100).addr,
        prefix_len: 32,
    };
    host.handle(removed.clone());
    let actions = host.take();
    let notice = Notice::AddressTakenAway {
        iface: "eth0".into(),
        addr: vip(100).addr,
    };
    assert_eq!(Host::notices(&actions), [notice]);
    assert!(host.has(100));
    assert_eq!(Host::garps(&actions), 5);
    assert_eq!(host.state(), State::Master);
    // Told twice, it is put back twice.
    host.handle(removed);
    assert_eq!(Host::notices(&host.take()).len(), 1);
}

#[test]
fn an_address_missing_after_an_overrun_is_put_back() {
    let mut host = master(&config());
    host.present.remove(&("eth0".into(), vip(100).addr, 32));
    host.snapshot("eth0");
    assert!(host.has(100));
    assert_eq!(Host::garps(&host.take()), 5);
}

#[test]
fn a_backup_does_not_touch_an_address_that_somebody_else_set() {
    let mut host = Host::one(config());
    host.hear(&config(), HIGHER_PEER, 150);
    host.handle(Event::AddressAdded {
        iface: "eth0",
        addr: vip(100).addr,
        prefix_len: 32,
    });
    host.present.insert(("eth0".into(), vip(100).addr, 32));
    host.handle(Event::AddressRemoved {
        iface: "eth0",
        addr: vip(100).addr,
        prefix_len: 32,
    });
    let actions = host.take();
    assert!(
        !actions
            .iter()
            .any(|a| matches!(a, Action::AddAddress { .. } | Action::DelAddress { .. }))
    );
}

#[test]
fn a_master_answers_a_lower_advert_at_once_but_not_in_a_storm() {
    let mut host = master(&config());
    host.hear(&config(), HIGHER_PEER, 99);
    let actions = host.take();
    assert_eq!(Host::priorities(&actions), [100]);
    assert_eq!(Host::garps(&actions), 5);
    for _ in 0..1000 {
        host.run(Duration::from_micros(100));
        host.hear(&config(), HIGHER_PEER, 99);
    }
    let actions = host.take();
    // 100 ms: an answer in 5 ms, a block of 5 in 20 ms.
    assert!(
        Host::priorities(&actions).len() <= 41,
        "{}",
        Host::priorities(&actions).len()
    );
    assert!(
        Host::garps(&actions) <= 5 * 6 + 1,
        "{}",
        Host::garps(&actions)
    );
    let lower = Notice::LowerPriority {
        from: HIGHER_PEER,
        priority: 99,
    };
    assert!(
        !Host::notices(&actions).contains(&lower),
        "only the first is told of"
    );
    // The last one is answered in any case.
    host.run(30 * MS);
    assert_eq!(Host::garps(&host.take()), 5);
}

#[test]
fn a_yielding_master_says_a_last_word_and_keeps_the_address_until_it_is_answered() {
    let mut host = master(&config());
    host.hear(&config(), LOWER_PEER, 150);
    let actions = host.take();
    assert_eq!(
        Host::priorities(&actions),
        [100],
        "its own priority, which loses"
    );
    assert_eq!(Host::transitions(&actions)[0].to, State::Backup);
    assert!(host.has(100));
    // The answer is lost: it says it again.
    host.run(160 * MS);
    assert_eq!(Host::priorities(&host.take()), [100]);
    assert!(host.has(100));
    host.hear(&config(), LOWER_PEER, 150);
    host.run(160 * MS);
    assert!(!host.has(100));
    assert_eq!(host.hold(), Hold::Absent);
    assert!(Host::priorities(&host.take()).is_empty());
}

#[test]
fn without_higher_prio_send_advert_it_says_nothing_and_lets_go() {
    let mut silent = config();
    silent.election.higher_prio_send_advert = false;
    let mut host = master(&silent);
    host.hear(&config(), LOWER_PEER, 150);
    assert_eq!(host.state(), State::Backup);
    assert!(host.has(100), "the winner has just begun");
    host.run(160 * MS);
    assert!(!host.has(100));
    assert_eq!(Host::priorities(&host.take()), [0u8; 0]);
}

#[test]
fn a_winner_that_never_answers_is_not_trusted_with_the_address() {
    let mut host = master(&config());
    host.hear(&config(), LOWER_PEER, 150);
    host.run(Duration::from_secs(2));
    assert_eq!((host.state(), host.hold()), (State::Backup, Hold::Kept));
    host.run(Duration::from_secs(2));
    assert_eq!((host.state(), host.hold()), (State::Master, Hold::Owned));
    assert!(
        !host
            .take()
            .iter()
            .any(|a| matches!(a, Action::DelAddress { .. }))
    );
}

#[test]
fn a_clean_stop_resigns_first_and_lets_go_when_the_successor_was_heard() {
    let mut host = master(&config());
    host.handle(Event::Shutdown);
    let actions = host.take();
    assert_eq!(Host::priorities(&actions), [0]);
    assert!(host.has(100) && !host.router.is_stopped());
    host.run(600 * MS);
    assert!(host.has(100));
    host.hear(&config(), LOWER_PEER, 99);
    assert!(host.has(100));
    host.run(150 * MS);
    assert!(!host.has(100) && host.router.is_stopped());
    assert!(Host::priorities(&host.take()).is_empty());
}

#[test]
fn a_stop_without_a_successor_ends() {
    let mut host = master(&config());
    host.handle(Event::Shutdown);
    host.run(Duration::from_millis(2499));
    assert!(host.has(100));
    host.run(2 * MS);
    assert!(!host.has(100) && host.router.is_stopped());
    assert!(Host::notices(&host.take()).contains(&Notice::NoSuccessor));
}

#[test]
fn nopreempt_follows_a_lower_master() {
    let own = VrrpInstance {
        nopreempt: true,
        ..config()
    };
    let mut host = Host::one(own.clone());
    for _ in 0..10 {
        host.run(Duration::from_secs(1));
        host.hear(&own, LOWER_PEER, 50);
    }
    assert_eq!(host.state(), State::Backup);
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn without_nopreempt_a_lower_master_is_preempted() {
    let mut host = Host::one(config());
    for _ in 0..3 {
        host.run(Duration::from_secs(1));
        host.hear(&config(), LOWER_PEER, 50);
    }
    host.run(Duration::from_secs(1));
    assert_eq!(host.state(), State::Master);
}

#[test]
fn the_owner_does_not_wait() {
    let host = Host::one(VrrpInstance {
        priority: 255,
        ..config()
    });
    assert_eq!(host.state(), State::Master);
    assert_eq!(host.status(0).reason, Reason::Owner);
}

#[test]
fn after_a_resignation_only_the_skew_is_waited() {
    let mut host = Host::one(config());
    host.hear(&config(), HIGHER_PEER, 150);
    host.hear(&config(), HIGHER_PEER, 0);
    host.run(300 * MS);
    // Said twice, the wait does not start anew.
    host.hear(&config(), HIGHER_PEER, 0);
    host.run(310 * MS);
    assert_eq!(host.state(), State::Master);
    assert_eq!(host.status(0).reason, Reason::MasterResigned);
}

#[test]
fn adverts_that_waited_to_be_read_keep_the_master_alive() {
    let mut host = Host::one(config());
    host.hear(&config(), HIGHER_PEER, 150);
    // The daemon did not get the CPU for ten seconds; its queue is drained before the tick.
    host.now = host.now + Duration::from_secs(10);
    host.hear(&config(), HIGHER_PEER, 150);
    let now = host.now;
    host.router.tick(now);
    host.work();
    assert_eq!(host.state(), State::Backup);
}

#[test]
fn one_packet_does_not_stop_the_election_for_minutes() {
    let own = v3(1000);
    let mut host = Host::one(own.clone());
    host.hear(
        &VrrpInstance {
            advert_int: Duration::from_millis(40950),
            ..own.clone()
        },
        HIGHER_PEER,
        200,
    );
    host.run(Duration::from_secs(12));
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_slow_master_is_followed_when_it_says_so_again() {
    let own = v3(100);
    let slow = VrrpInstance {
        advert_int: Duration::from_secs(5),
        ..own.clone()
    };
    let mut host = Host::one(own);
    for _ in 0..3 {
        host.hear(&slow, HIGHER_PEER, 200);
        host.run(Duration::from_secs(1));
    }
    assert_eq!(host.status(0).advert_interval, Duration::from_secs(5));
    host.run(Duration::from_secs(13));
    assert_eq!(host.state(), State::Backup);
    host.run(Duration::from_secs(6));
    assert_eq!(host.state(), State::Master);
    assert_eq!(host.status(0).advert_interval, Duration::from_millis(100));
}

#[test]
fn packets_that_are_not_for_us_are_counted_by_reason() {
    let own = config();
    let mut host = Host::one(own.clone());
    let other_vrid = VrrpInstance {
        virtual_router_id: 63,
        ..own.clone()
    };
    host.hear(&other_vrid, HIGHER_PEER, 200);
    assert_eq!(host.router.unclaimed().get(Reject::UnknownVrid), 1);
    host.hear(
        &VrrpInstance {
            interface: "eth1".into(),
            ..own.clone()
        },
        HIGHER_PEER,
        200,
    );
    assert_eq!(host.router.unclaimed().get(Reject::UnknownVrid), 2);
    host.hear_packet("eth0", &[0x45; 10]);
    assert_eq!(host.router.unclaimed().get(Reject::IpHeader), 1);

    let reject = |host: &Host, r| host.status(0).rejected.get(r);
    host.hear(&own, OWN, 200);
    assert_eq!(reject(&host, Reject::OwnSource), 1);
    host.hear(&own, Ipv4Addr::new(192, 0, 2, 1), 200);
    assert_eq!(reject(&host, Reject::OffSubnet), 1);
    host.hear(
        &VrrpInstance {
            addresses: vec![vip(101)],
            ..own.clone()
        },
        HIGHER_PEER,
        200,
    );
    assert_eq!(reject(&host, Reject::AddressList), 1);
    host.hear(
        &VrrpInstance {
            auth: Auth::Pass(b"x".to_vec()),
            ..own.clone()
        },
        HIGHER_PEER,
        200,
    );
    assert_eq!(reject(&host, Reject::AuthType), 1);
    let mut far = host.advert_of(&own, HIGHER_PEER, 200);
    far[8] = 64;
    host.hear_packet("eth0", &far);
    assert_eq!(
        reject(&host, Reject::Ttl),
        1,
        "a broken packet is the instance's whose VRID it has"
    );
    assert_eq!(host.status(0).adverts_received, 0);
    host.run(DOWN);
    assert_eq!(host.state(), State::Master, "none of them moved the timer");
}

#[test]
fn a_flood_of_wrong_packets_is_told_of_now_and_then() {
    let own = config();
    let mut host = Host::one(own.clone());
    host.take();
    for _ in 0..5000 {
        host.hear(&own, Ipv4Addr::new(192, 0, 2, 1), 200);
        host.now = host.now + 4 * MS;
    }
    let counts: Vec<u64> = Host::notices(&host.take())
        .iter()
        .map(|n| match n {
            Notice::AdvertRejected {
                reason: Reject::OffSubnet,
                count,
                ..
            } => *count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [1, 2500]);
}

#[test]
fn a_peer_s_mac_is_told_once_and_only_of_accepted_adverts() {
    let own = config();
    let mut host = Host::one(own.clone());
    host.take();
    host.hear(&own, Ipv4Addr::new(192, 0, 2, 1), 200);
    host.hear(&own, HIGHER_PEER, 200);
    host.hear(&own, HIGHER_PEER, 200);
    let peers: Vec<Action> = host
        .take()
        .into_iter()
        .filter(|a| matches!(a, Action::Report(Report::LearnedPeer { .. })))
        .collect();
    let peer = Action::Report(Report::LearnedPeer {
        iface: "eth0".into(),
        mac: [2, 0, 0, 0, 0, 9],
        addr: HIGHER_PEER,
    });
    assert_eq!(peers, [peer]);
}

#[test]
fn adverts_name_the_configured_addresses_in_order_without_the_excluded_ones() {
    let own = VrrpInstance {
        addresses: vec![vip(103), vip(101)],
        excluded: vec![vip(102)],
        ..config()
    };
    let mut host = Host::one(own);
    host.run(DOWN);
    let actions = host.take();
    let packet = actions
        .iter()
        .find_map(|a| match a {
            Action::SendAdvert { packet, .. } => Some(packet.clone()),
            _ => None,
        })
        .unwrap();
    let view = View::parse(&packet).unwrap();
    assert_eq!(view.source(), OWN);
    let sent: Vec<IpAddr> = view.addresses().collect();
    assert_eq!(sent, [vip(103).addr, vip(101).addr]);
    assert!(host.has(101) && host.has(102) && host.has(103));
}

#[test]
fn a_found_address_is_kept_until_another_master_is_heard() {
    let own = config();
    let mut host = Host::resumed(std::slice::from_ref(&own), &[], &BTreeMap::new(), &[100]);
    assert_eq!((host.state(), host.hold()), (State::Backup, Hold::Kept));
    host.run(Duration::from_secs(3));
    assert!(host.has(100));
    host.hear(&own, HIGHER_PEER, 50);
    host.run(200 * MS);
    assert!(!host.has(100), "a lower master is one as well");
}

#[test]
fn a_restarted_master_goes_on_when_nobody_can_have_taken_over() {
    let start = Time::ZERO + Duration::from_secs(1000);
    let resume = |age: Duration, was_master| {
        BTreeMap::from([(
            "VI_1".to_owned(),
            Resume {
                was_master,
                last_advert_sent: start - age,
                sequence: 0,
            },
        )])
    };
    let mut own = config();
    let state = |own: &VrrpInstance, resume| {
        Host::resumed(std::slice::from_ref(own), &[], &resume, &[100]).state()
    };
    assert_eq!(state(&own, resume(2900 * MS, true)), State::Master);
    assert_eq!(state(&own, resume(3100 * MS, true)), State::Backup);
    assert_eq!(state(&own, resume(100 * MS, false)), State::Backup);
    // With peers that wait for fewer adverts it is over sooner.
    own.election.down_timer_adverts = 2;
    assert_eq!(state(&own, resume(1900 * MS, true)), State::Master);
    assert_eq!(state(&own, resume(2100 * MS, true)), State::Backup);
}

#[test]
fn links_of_other_interfaces_count_when_they_are_tracked() {
    let own = VrrpInstance {
        tracks: crate::model::Tracks {
            interfaces: vec![crate::model::Track {
                name: "eth1".into(),
                weight: 0,
                reverse: false,
            }],
            ..Default::default()
        },
        ..config()
    };
    let mut host = master(&own);
    host.link("eth1", LinkState::Down);
    assert_eq!(host.state(), State::Fault);
    assert_eq!(
        host.status(0).reason,
        Reason::LinkDown {
            iface: "eth1".into()
        }
    );
    assert_eq!(Host::priorities(&host.take()), [0]);
    assert_eq!(
        host.hold(),
        Hold::Offered,
        "its own link works: it hands over"
    );
    host.link("eth1", LinkState::Up);
    assert_eq!(host.state(), State::Backup);
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);

    let own = VrrpInstance {
        dont_track_primary: true,
        ..config()
    };
    let mut host = master(&own);
    host.link("eth0", LinkState::Down);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_virtual_address_is_never_the_primary_one() {
    let mut host = Host::unknown(&[config()], &[], &Global::default(), &BTreeMap::new());
    host.link("eth0", LinkState::Up);
    let list = [(vip(100).addr, 32), (OWN, 24)];
    host.handle(Event::AddressSnapshot {
        iface: "eth0",
        addresses: &list,
    });
    assert_eq!(host.status(0).source, Some(OWN));
    host.handle(Event::AddressSnapshot {
        iface: "eth0",
        addresses: &list[..1],
    });
    assert_eq!(host.state(), State::Fault);
}

#[test]
fn not_ready_is_no_master() {
    let mut host = Host::one(config());
    host.handle(Event::Ready(&false.into()));
    host.run(Duration::from_secs(10));
    assert_eq!(host.state(), State::Fault);
    host.handle(Event::Ready(&true.into()));
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn while_adverts_wait_to_be_read_nobody_loses_patience_but_a_master_goes_on() {
    let mut host = Host::one(config());
    let begun = host.now;
    host.router.tick_heard(begun + 2 * DOWN, begun);
    host.work();
    assert_eq!(host.state(), State::Backup);
    // What was read meanwhile starts the timer when it arrived, not when it was read.
    let late = begun + 2 * DOWN;
    host.now = late - DOWN;
    host.hear(&config(), HIGHER_PEER, 200);
    host.router.tick_heard(late, late - DOWN / 2);
    host.work();
    assert_eq!(host.state(), State::Backup);
    host.router.tick_heard(late + DOWN, late + DOWN);
    host.work();
    assert_eq!(host.state(), State::Master);
    host.take();
    let later = late + 2 * DOWN;
    host.router.tick_heard(later, late);
    host.work();
    let sent = |a: &Action| matches!(a, Action::SendAdvert { .. });
    assert!(host.take().iter().any(sent));
}

#[test]
fn who_is_worse_beside_a_living_master_is_not_taken_for_the_master() {
    let mut host = Host::one(config());
    host.hear(&config(), HIGHER_PEER, 200);
    host.take();
    for _ in 0..10 {
        host.hear(&config(), LOWER_PEER, 1);
        host.hear(&config(), HIGHER_PEER, 200);
        host.run(Duration::from_millis(200));
    }
    assert_eq!(Host::notices(&host.take()), []);
    assert_eq!(host.status(0).master, Some((HIGHER_PEER, 200)));
}
