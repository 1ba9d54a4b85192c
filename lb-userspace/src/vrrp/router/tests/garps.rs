//! `garp_lower_prio_repeat` and `garp_lower_prio_delay`, and how many may wait for a pause.

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn config() -> VrrpInstance {
    instance("VI_1", "eth0", 62)
}

/// A master that announces nothing of itself any more.
fn master(config: &VrrpInstance, global: &Global) -> Host {
    let mut host = Host::with_global(std::slice::from_ref(config), global, &BTreeMap::new());
    host.router.policy.refresh = Duration::ZERO;
    host.run(DOWN + 10 * SECOND);
    assert_eq!(host.state(), State::Master);
    host.take();
    host
}

/// The gratuitous ARPs of `time`.
fn sent(host: &mut Host, time: Duration) -> usize {
    host.run(time);
    Host::garps(&host.take())
}

#[test]
fn an_advert_of_lower_priority_is_answered_as_often_as_configured_and_again_after_the_delay() {
    for (repeat, delay) in [(2, 3 * SECOND), (4, SECOND)] {
        let config = VrrpInstance {
            garp_master_delay: Duration::ZERO,
            garp_lower_prio_repeat: repeat,
            garp_lower_prio_delay: delay,
            ..config()
        };
        let repeat = repeat as usize;
        let mut host = master(&config, &Global::default());
        host.hear(&config, LOWER_PEER, 50);
        assert_eq!(sent(&mut host, 50 * MS), repeat);
        // Once more when the other is sure to have let go.
        assert_eq!(sent(&mut host, 100 * MS), 1);
        assert_eq!(sent(&mut host, delay - 200 * MS), 0);
        assert_eq!(sent(&mut host, 100 * MS), repeat);
        assert_eq!(sent(&mut host, 10 * SECOND), 0);
    }
}

#[test]
fn without_a_delay_an_advert_of_lower_priority_is_answered_at_once_alone() {
    let config = VrrpInstance {
        garp_master_delay: Duration::ZERO,
        garp_lower_prio_repeat: 3,
        garp_lower_prio_delay: Duration::ZERO,
        ..config()
    };
    let mut host = master(&config, &Global::default());
    host.hear(&config, LOWER_PEER, 50);
    assert_eq!(sent(&mut host, 10 * SECOND), 3 + 1);
}

#[test]
fn for_a_pause_no_more_wait_than_a_new_master_sends() {
    let config = VrrpInstance {
        garp_master_delay: Duration::ZERO,
        garp_master_repeat: 2,
        garp_lower_prio_delay: Duration::ZERO,
        ..config()
    };
    let global = Global {
        garp_interval: SECOND,
        ..Global::default()
    };
    let mut host = master(&config, &global);
    for _ in 0..10 {
        host.hear(&config, LOWER_PEER, 50);
        host.run(30 * MS);
    }
    assert_eq!(sent(&mut host, 20 * SECOND), 1 + 2);
}
