//! keepalived's words for the election: `preempt_delay`, `down_timer_adverts`, `lower_prio_no_advert`,
//! `skip_check_adv_addr`, `vrrp_startup_delay`, `log_unknown_vrids`.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn with(election: Election) -> VrrpInstance {
    VrrpInstance {
        election,
        ..instance("VI_1", "eth0", 62)
    }
}

/// Skew of priority 100 in version 2.
fn skew() -> Duration {
    SECOND * 156 / 256
}

#[test]
fn a_master_is_down_after_as_many_intervals_as_are_wanted() {
    for adverts in [1, 3, 7, 100] {
        let mut host = Host::one(with(Election {
            down_timer_adverts: adverts,
            ..Election::default()
        }));
        let down = adverts * SECOND + skew();
        host.run(down - Duration::from_millis(1));
        assert_eq!(host.state(), State::Backup, "{adverts}");
        host.run(Duration::from_millis(1));
        assert_eq!(host.state(), State::Master, "{adverts}");
        assert_eq!(host.status(0).down_interval, down);
    }
}

#[test]
fn fewer_adverts_are_waited_for_after_a_reload_that_says_so() {
    let slow = Election {
        down_timer_adverts: 100,
        ..Election::default()
    };
    let mut host = Host::one(with(slow));
    host.run(10 * SECOND);
    host.reconfigure(&[with(Election::default())]);
    host.work();
    host.run(3 * SECOND + skew());
    assert_eq!(host.state(), State::Master);
}

/// A lower master says every second that it lives; when this host became master, if it did.
fn taken_over(config: &VrrpInstance, seconds: u32) -> Option<Duration> {
    let mut host = Host::one(config.clone());
    let start = host.now;
    for _ in 0..seconds {
        host.hear(config, HIGHER_PEER, 50);
        host.run(SECOND);
        if host.state() == State::Master {
            return Some(host.status(0).since.since(start));
        }
    }
    None
}

fn delayed(seconds: u64) -> VrrpInstance {
    with(Election {
        preempt_delay: Duration::from_secs(seconds),
        ..Election::default()
    })
}

#[test]
fn a_lower_master_keeps_the_role_for_the_time_of_the_delay() {
    let down = 3 * SECOND + skew();
    assert_eq!(taken_over(&delayed(0), 20), Some(down));
    // From the last advert within the delay the down timer runs on.
    assert_eq!(taken_over(&delayed(10), 20), Some(9 * SECOND + down));
    assert_eq!(taken_over(&delayed(1000), 100), None);
}

#[test]
fn the_delay_is_not_for_a_master_that_is_gone() {
    let config = delayed(100);
    let mut host = Host::one(config.clone());
    host.hear(&config, HIGHER_PEER, 50);
    host.run(3 * SECOND + skew());
    assert_eq!(host.state(), State::Master, "silent");

    let mut host = Host::one(config.clone());
    host.hear(&config, HIGHER_PEER, 50);
    host.hear(&config, HIGHER_PEER, 0);
    host.run(skew());
    assert_eq!(host.state(), State::Master, "resigned");
}

#[test]
fn a_better_master_in_between_starts_the_delay_anew() {
    let config = delayed(10);
    let mut host = Host::one(config.clone());
    for priority in [[50; 9].as_slice(), &[100], &[50; 9]].concat() {
        host.hear(&config, HIGHER_PEER, priority);
        host.run(SECOND);
    }
    assert_eq!(host.state(), State::Backup);
    host.run(4 * SECOND);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_reload_without_the_delay_ends_it() {
    let config = delayed(1000);
    let mut host = Host::one(config.clone());
    for _ in 0..5 {
        host.hear(&config, HIGHER_PEER, 50);
        host.run(SECOND);
    }
    host.reconfigure(&[delayed(0)]);
    for _ in 0..4 {
        host.hear(&config, HIGHER_PEER, 50);
        host.run(SECOND);
    }
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_lower_advert_is_answered_by_arps_alone_where_that_is_wanted() {
    for quiet in [false, true] {
        let config = with(Election {
            lower_prio_no_advert: quiet,
            ..Election::default()
        });
        let mut host = Host::one(config.clone());
        host.run(4 * SECOND);
        host.take();
        host.hear(&config, LOWER_PEER, 50);
        let actions = host.take();
        let adverts: &[u8] = if quiet { &[] } else { &[100] };
        assert_eq!(Host::priorities(&actions), adverts);
        assert_eq!(Host::garps(&actions), 5);
        host.run(SECOND);
        assert!(!Host::priorities(&host.take()).is_empty(), "the timer's");
        // Who resigns is told at once all the same: others may want the role.
        host.hear(&config, LOWER_PEER, 0);
        assert_eq!(Host::priorities(&host.take()), [100]);
    }
}

#[test]
fn the_addresses_of_the_same_master_are_not_compared_again() {
    let config = with(Election {
        skip_check_adv_addr: true,
        ..Election::default()
    });
    let other = VrrpInstance {
        addresses: vec![vip(100), vip(101)],
        ..config.clone()
    };
    let mut host = Host::one(config.clone());
    let received = |host: &Host| host.status(0).adverts_received;
    host.hear(&other, HIGHER_PEER, 200);
    assert_eq!(received(&host), 0, "of a new master");
    host.hear(&config, HIGHER_PEER, 200);
    host.hear(&other, HIGHER_PEER, 200);
    assert_eq!(received(&host), 2, "of the same master");
    host.hear(&other, LOWER_PEER, 200);
    assert_eq!(received(&host), 2, "of another");
    host.run(5 * SECOND);
    assert_eq!(host.state(), State::Master);
    host.hear(&other, HIGHER_PEER, 200);
    assert_eq!(received(&host), 2, "as master");
    assert_eq!(host.status(0).rejected.get(Reject::Count), 3);
}

fn delayed_start(delay: Duration, resume: &BTreeMap<String, Resume>) -> Host {
    let global = Global {
        startup_delay: delay,
        ..Global::default()
    };
    Host::with_global(&[instance("VI_1", "eth0", 62)], &global, resume)
}

#[test]
fn instances_wait_for_the_startup_delay() {
    let mut host = delayed_start(5 * SECOND, &BTreeMap::new());
    host.run(5 * SECOND - Duration::from_millis(1));
    assert_eq!(host.state(), State::Init);
    assert_eq!(host.take(), []);
    // A change of a link in between starts nothing.
    host.link("eth0", LinkState::Up);
    assert_eq!(host.state(), State::Init);
    host.run(Duration::from_millis(1));
    assert_eq!(host.state(), State::Backup);
    host.run(3 * SECOND + skew());
    assert_eq!(host.state(), State::Master);
    // It is for the start of the daemon: not after a fault, not for what a reload brings.
    host.link("eth0", LinkState::Down);
    host.link("eth0", LinkState::Up);
    assert_eq!(host.state(), State::Backup);
}

#[test]
fn a_master_that_was_restarted_does_not_wait_for_the_startup_delay() {
    let now = Time::ZERO + Duration::from_secs(1000);
    let resume = Resume {
        was_master: true,
        last_advert_sent: now,
        sequence: 0,
    };
    let host = delayed_start(5 * SECOND, &BTreeMap::from([("VI_1".to_owned(), resume)]));
    assert_eq!(host.state(), State::Master);
}

#[test]
fn adverts_of_unknown_virtual_routers_are_told_once_a_second_if_asked_for() {
    let own = instance("VI_1", "eth0", 62);
    let other = instance("VI_2", "eth0", 63);
    for wanted in [false, true] {
        let global = Global {
            log_unknown_vrids: wanted,
            ..Global::default()
        };
        let mut host = Host::with_global(std::slice::from_ref(&own), &global, &BTreeMap::new());
        host.take();
        for _ in 0..20 {
            host.hear(&other, HIGHER_PEER, 50);
            host.hear(&own, HIGHER_PEER, 200);
            host.run(SECOND / 10);
        }
        let told: Vec<(u8, IpAddr, u64)> = host
            .take()
            .iter()
            .filter_map(|a| match a {
                Action::Report(Report::UnknownVrid {
                    vrid, from, count, ..
                }) => Some((*vrid, *from, *count)),
                _ => None,
            })
            .collect();
        let expected: &[_] = if wanted {
            &[(63, HIGHER_PEER, 1), (63, HIGHER_PEER, 10)]
        } else {
            &[]
        };
        assert_eq!(told, expected);
        assert_eq!(host.router.unclaimed().get(Reject::UnknownVrid), 20);
    }
}
