//! Others that answer for a virtual address while this host is master.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn config() -> VrrpInstance {
    instance("VI_1", "eth0", 62)
}

fn master() -> Host {
    let mut host = Host::one(config());
    host.run(DOWN);
    assert_eq!(host.state(), State::Master);
    host.take();
    host
}

fn claim(host: &mut Host, last: u8, mac: [u8; 6]) {
    let (iface, addr) = ("eth0", vip(last).addr);
    host.handle(Event::Claimed { iface, addr, mac });
}

/// For whom was asked, since the last time.
fn asked(host: &mut Host) -> Vec<IpAddr> {
    let asked = |a: &Action| match a {
        Action::AskFor { addr, .. } => Some(*addr),
        _ => None,
    };
    host.take().iter().filter_map(asked).collect()
}

/// Lets so many seconds pass while whoever is asked for an address answers as `mac`.
fn answer(host: &mut Host, seconds: u64, mac: [u8; 6]) -> Vec<Notice> {
    let mut notices = Vec::new();
    for _ in 0..seconds {
        host.run(SECOND);
        let actions = host.take();
        let asked = actions.iter().any(|a| matches!(a, Action::AskFor { .. }));
        notices.extend(Host::notices(&actions));
        if asked {
            claim(host, 100, mac);
        }
    }
    notices.extend(Host::notices(&host.take()));
    notices
}

fn claimed(mac: [u8; 6]) -> Notice {
    Notice::Claimed {
        iface: "eth0".into(),
        addr: vip(100).addr,
        mac,
        server: None,
    }
}

fn gone(mac: [u8; 6]) -> Notice {
    let addr = vip(100).addr;
    Notice::ClaimGone { addr, mac }
}

#[test]
fn a_master_asks_who_has_its_address_and_a_backup_does_not() {
    let mut host = Host::one(config());
    host.run(DOWN - SECOND / 10);
    assert_eq!(host.state(), State::Backup);
    assert!(asked(&mut host).is_empty());
    assert!(host.router.guarded().is_empty());
    host.run(SECOND / 5);
    assert_eq!(host.state(), State::Master);
    let guarded = host.router.guarded();
    assert_eq!(guarded["eth0"], [vip(100).addr].into());
    // The one before has let go by then.
    host.run(2 * SECOND);
    assert!(asked(&mut host).is_empty());
    host.run(2 * SECOND);
    assert_eq!(asked(&mut host), [vip(100).addr]);
    host.run(9 * SECOND);
    assert!(asked(&mut host).is_empty());
    host.run(2 * SECOND);
    assert_eq!(asked(&mut host), [vip(100).addr]);
}

#[test]
fn many_addresses_are_asked_for_in_turn() {
    let addresses = (1..=10).map(|n| vip(100 + n)).collect();
    let mut host = Host::one(VrrpInstance {
        addresses,
        ..config()
    });
    host.run(DOWN + 35 * SECOND);
    let asked = asked(&mut host);
    assert_eq!(asked.len(), 16);
    let all: BTreeSet<IpAddr> = asked.into_iter().collect();
    assert_eq!(all.len(), 10);
}

#[test]
fn who_answers_again_and_again_is_named_once_and_so_is_the_end() {
    let mut host = master();
    assert_eq!(answer(&mut host, 30, OTHER), [claimed(OTHER)]);
    let status = &host.router.status()[0];
    assert_eq!(status.claims, [(vip(100).addr, OTHER)]);
    // It does not answer any more.
    host.run(10 * SECOND);
    assert_eq!(Host::notices(&host.take()), [gone(OTHER)]);
    assert!(host.router.status()[0].claims.is_empty());
    host.run(60 * SECOND);
    assert_eq!(Host::notices(&host.take()), []);
}

#[test]
fn what_a_change_of_hands_leaves_behind_is_no_claim() {
    let mut host = master();
    // Before it asks for the first time, and once after that.
    claim(&mut host, 100, OTHER);
    host.run(4 * SECOND);
    claim(&mut host, 100, OTHER);
    host.run(SECOND);
    claim(&mut host, 100, OTHER);
    host.run(60 * SECOND);
    assert_eq!(Host::notices(&host.take()), []);
}

#[test]
fn a_host_that_yields_forgets_the_claims() {
    let mut host = master();
    assert_eq!(answer(&mut host, 10, OTHER), [claimed(OTHER)]);
    host.hear(&config(), HIGHER_PEER, 200);
    host.run(SECOND);
    assert_eq!(host.state(), State::Backup);
    assert!(Host::notices(&host.take()).contains(&gone(OTHER)));
    assert!(host.router.guarded().is_empty());
    claim(&mut host, 100, OTHER);
    assert!(host.router.status()[0].claims.is_empty());
}

#[test]
fn claimants_are_limited_in_number_and_other_addresses_are_none() {
    let mut host = master();
    let mut notices = Vec::new();
    for _ in 0..10 {
        host.run(SECOND);
        for n in 0..50 {
            claim(&mut host, 100, [2, 0, 0, 0, 1, n]);
            claim(&mut host, 77, [2, 0, 0, 0, 2, n]);
        }
        notices.extend(Host::notices(&host.take()));
    }
    assert_eq!(notices.len(), 8, "{notices:?}");
}

#[test]
fn a_master_whose_adverts_are_refused_is_a_rival_and_named_as_that_only() {
    let mut host = master();
    let other = VrrpInstance {
        advert_int: SECOND * 2,
        ..config()
    };
    let mut notices = Vec::new();
    for _ in 0..20 {
        host.hear(&other, HIGHER_PEER, 200);
        claim(&mut host, 100, OTHER);
        host.run(SECOND);
        notices.extend(Host::notices(&host.take()));
    }
    let rivals = notices.iter().filter(|n| matches!(n, Notice::Rival { .. }));
    assert_eq!(rivals.count(), 1);
    let claims = notices
        .iter()
        .filter(|n| matches!(n, Notice::Claimed { .. }));
    assert_eq!(claims.count(), 0, "{notices:?}");
}

#[test]
fn each_host_is_named_once_and_all_that_it_claims_is_shown() {
    let mut host = Host::one(VrrpInstance {
        addresses: vec![vip(100), vip(101)],
        ..config()
    });
    host.run(DOWN + SECOND);
    host.take();
    let third: [u8; 6] = [2, 0, 0, 0, 0, 10];
    let mut notices = Vec::new();
    let mut story = |host: &mut Host, seconds: u64, claims: &[(u8, [u8; 6])]| {
        for _ in 0..seconds {
            host.run(SECOND);
            for (last, mac) in claims {
                claim(host, *last, *mac);
            }
            notices.extend(Host::notices(&host.take()));
        }
        std::mem::take(&mut notices)
    };
    // Two for one address, one of them for another too.
    let told = story(&mut host, 8, &[(100, OTHER), (100, third), (101, third)]);
    assert_eq!(told, [claimed(OTHER), claimed(third)]);
    let addr = |last| vip(last).addr;
    assert_eq!(
        host.router.status()[0].claims,
        [(addr(100), OTHER), (addr(100), third), (addr(101), third)]
    );
    // It keeps the other one.
    let told = story(&mut host, 15, &[(100, OTHER), (101, third)]);
    assert_eq!(told, []);
    assert_eq!(
        host.router.status()[0].claims,
        [(addr(100), OTHER), (addr(101), third)]
    );
    let told = story(&mut host, 15, &[(100, OTHER)]);
    let (addr, mac) = (addr(101), third);
    assert_eq!(told, [Notice::ClaimGone { addr, mac }]);
}
