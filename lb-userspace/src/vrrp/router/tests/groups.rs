//! Sync groups.

use super::*;

pub(super) fn pair() -> (VrrpInstance, VrrpInstance, SyncGroup) {
    let outside = instance("outside", "eth0", 61);
    let inside = VrrpInstance {
        addresses: vec![VirtualAddress {
            addr: IpAddr::V4(Ipv4Addr::new(10, 78, 0, 100)),
            ..vip(1)
        }],
        ..instance("inside", "eth1", 62)
    };
    let group = SyncGroup {
        name: "VG".into(),
        members: vec!["outside".into(), "inside".into()],
        tracks: crate::model::Tracks::default(),
        tracking_weight: false,
        notify: crate::model::VrrpNotify::default(),
    };
    (outside, inside, group)
}

pub(super) const INSIDE_PEER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 9);

fn states(host: &Host) -> [State; 2] {
    [host.status(0).state, host.status(1).state]
}

fn group_master() -> (Host, VrrpInstance, VrrpInstance) {
    let (outside, inside, group) = pair();
    let mut host = Host::of(&[outside.clone(), inside.clone()], &[group]);
    host.run(Duration::from_secs(5));
    assert_eq!(states(&host), [State::Master; 2]);
    host.take();
    (host, outside, inside)
}

#[test]
fn no_member_becomes_master_while_another_hears_one() {
    let (outside, inside, group) = pair();
    let mut host = Host::of(&[outside, inside.clone()], &[group]);
    for _ in 0..10 {
        host.run(Duration::from_secs(1));
        host.hear(&inside, INSIDE_PEER, 150);
    }
    assert_eq!(states(&host), [State::Backup; 2]);
    host.run(Duration::from_secs(8));
    assert_eq!(states(&host), [State::Master; 2]);
}

#[test]
fn all_yield_with_one_and_say_their_last_word() {
    let (mut host, outside, _) = group_master();
    host.hear(&outside, HIGHER_PEER, 150);
    assert_eq!(states(&host), [State::Backup; 2]);
    let actions = host.take();
    assert_eq!(Host::priorities(&actions), [100, 100]);
    let reasons: Vec<Reason> = Host::transitions(&actions)
        .into_iter()
        .map(|t| t.reason)
        .collect();
    let better = Reason::HigherPriority {
        from: HIGHER_PEER,
        priority: 150,
    };
    assert_eq!(reasons, [better, Reason::Group { name: "VG".into() }]);
}

#[test]
fn all_fail_with_one_and_the_others_hand_over() {
    let (mut host, _, inside) = group_master();
    host.link("eth0", LinkState::Down);
    assert_eq!(states(&host), [State::Fault; 2]);
    assert_eq!(host.status(0).hold, Hold::Absent, "its link is down");
    assert_eq!(host.status(1).hold, Hold::Offered);
    assert_eq!(Host::priorities(&host.take()), [0]);
    host.hear(&inside, INSIDE_PEER, 90);
    assert_eq!(host.status(1).hold, Hold::Lingering);
    host.run(Duration::from_millis(200));
    assert_eq!(host.status(1).hold, Hold::Absent);
    assert_eq!(host.present.len(), 2, "{:?}", host.present);
    host.link("eth0", LinkState::Up);
    assert_eq!(states(&host), [State::Backup; 2]);
    host.run(Duration::from_secs(8));
    assert_eq!(states(&host), [State::Master; 2]);
}

#[test]
fn a_group_starts_when_all_members_can() {
    let (outside, inside, group) = pair();
    let mut host = Host::unknown(
        &[outside, inside],
        &[group],
        &Global::default(),
        &BTreeMap::new(),
    );
    host.present.insert(("eth0".into(), OWN, 24));
    host.present
        .insert(("eth1".into(), Ipv4Addr::new(10, 78, 0, 5).into(), 24));
    host.link("eth0", LinkState::Up);
    host.snapshot("eth0");
    assert_eq!(states(&host), [State::Init; 2]);
    host.link("eth1", LinkState::Down);
    host.snapshot("eth1");
    assert_eq!(states(&host), [State::Fault; 2]);
    host.link("eth1", LinkState::Up);
    assert_eq!(states(&host), [State::Backup; 2]);
}

#[test]
fn a_group_resumes_only_as_a_whole() {
    let (outside, inside, group) = pair();
    let last_advert_sent = Time::ZERO + Duration::from_secs(999);
    let was = Resume {
        was_master: true,
        last_advert_sent,
        sequence: 0,
    };
    let both = BTreeMap::from([("outside".to_owned(), was), ("inside".to_owned(), was)]);
    let host = Host::resumed(
        &[outside.clone(), inside.clone()],
        std::slice::from_ref(&group),
        &both,
        &[100],
    );
    assert_eq!(states(&host), [State::Master; 2]);
    let one = BTreeMap::from([("outside".to_owned(), was)]);
    let host = Host::resumed(&[outside, inside], &[group], &one, &[100]);
    assert_eq!(states(&host), [State::Backup; 2]);
}
