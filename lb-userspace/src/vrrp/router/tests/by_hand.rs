//! Orders of an operator: the role is given away and taken.

use super::groups::{INSIDE_PEER, pair};
use super::*;
use crate::vrrp::Command;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn one(priority: u8) -> VrrpInstance {
    VrrpInstance {
        priority,
        ..instance("VI_1", "eth0", 62)
    }
}

impl Host {
    fn order(&mut self, name: &str, order: Command) -> Result<Vec<String>, String> {
        let said = self.router.command(name, order, self.now);
        self.work();
        said
    }

    /// Lets time pass while another master sends.
    fn hear_for(&mut self, config: &VrrpInstance, priority: u8, adverts: u32) {
        for _ in 0..adverts {
            self.hear(config, HIGHER_PEER, priority);
            self.run(config.advert_int);
        }
    }
}

#[test]
fn a_released_master_keeps_its_address_until_the_successor_was_heard() {
    let config = one(150);
    let mut host = master(&config);
    let said = host.order("VI_1", Command::Release).unwrap();
    assert_eq!(said, ["VI_1 hands over"]);
    assert_eq!(Host::priorities(&host.take()), [0]);
    assert_eq!((host.state(), host.hold()), (State::Backup, Hold::Offered));
    assert!(host.has(100));
    host.run(600 * MS);
    assert!(host.has(100), "nobody was heard yet");
    // A successor of lower priority: it keeps the role.
    host.hear_for(&config, 100, 10);
    assert!(!host.has(100));
    assert_eq!(host.state(), State::Backup);
    assert_eq!(Host::priorities(&host.take()), [0u8; 0]);
    assert!(host.status(0).released);
    // Until it dies.
    host.run(4 * SECOND);
    assert_eq!(host.state(), State::Master);
    assert!(host.has(100) && !host.status(0).released);
}

#[test]
fn who_finds_no_successor_is_master_again_and_was_never_without_address() {
    for config in [one(150), v3(50)] {
        let mut host = master(&config);
        host.order("VI_1", Command::Release).unwrap();
        let begun = host.now;
        while host.state() != State::Master {
            host.run(MS);
            assert!(host.has(100), "after {:?}", host.now.since(begun));
            assert!(host.now.since(begun) < 2 * SECOND);
        }
        let last = Host::transitions(&host.take()).pop().unwrap();
        assert_eq!(last.reason, Reason::NoSuccessor);
        assert!(!host.status(0).released);
    }
}

#[test]
fn a_better_successor_is_followed_as_ever() {
    let config = one(100);
    let mut host = master(&config);
    host.order("VI_1", Command::Release).unwrap();
    host.hear_for(&config, 200, 5);
    assert_eq!(host.state(), State::Backup);
    // It resigns too: this host is there for it.
    host.hear(&config, HIGHER_PEER, 0);
    host.run(SECOND);
    assert_eq!(host.state(), State::Master);
}

#[test]
fn a_backup_takes_over_with_just_enough_and_keeps_it() {
    for (own, theirs, nopreempt, sent) in [
        (100, 150, false, 151),
        (100, 150, true, 151),
        // nopreempt kept it from the role; its own priority is enough.
        (200, 150, true, 200),
        (150, 150, false, 151),
        (100, 253, false, 254),
    ] {
        let mut config = one(own);
        config.nopreempt = nopreempt;
        let mut host = Host::one(config.clone());
        host.hear_for(&config, theirs, 3);
        assert_eq!(host.state(), State::Backup, "{own} {theirs}");
        host.take();
        let said = host.order("VI_1", Command::Takeover).unwrap();
        assert_eq!(said, [format!("VI_1 takes over with priority {sent}")]);
        assert_eq!(host.state(), State::Master);
        assert_eq!(Host::priorities(&host.take()), [sent]);
        assert_eq!(host.status(0).raised, sent != own);
        // Whom it was taken from is no better now.
        host.hear(&config, HIGHER_PEER, theirs);
        host.run(5 * SECOND);
        assert_eq!(host.state(), State::Master, "{own} {theirs}");
        // A better one is: then everything is as configured.
        host.hear(&config, HIGHER_PEER, 255);
        assert_eq!(host.state(), State::Backup);
        let status = host.status(0);
        assert_eq!((status.priority, status.raised), (own, false));
    }
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_done() {
    let config = one(100);
    for (theirs, source, possible) in [
        (254, HIGHER_PEER, false),
        (254, LOWER_PEER, true),
        (255, LOWER_PEER, false),
    ] {
        let mut host = Host::one(config.clone());
        host.hear(&config, source, theirs);
        host.take();
        let said = host.order("VI_1", Command::Takeover);
        assert_eq!(said.is_ok(), possible, "{theirs} {source} {said:?}");
        assert_eq!(host.take().is_empty(), !possible);
    }
    let mut host = master(&config);
    assert!(host.order("VI_2", Command::Release).is_err());
    let said = host.order("VI_1", Command::Takeover).unwrap();
    assert_eq!(said, ["VI_1 is MASTER already"]);
    host.link("eth0", LinkState::Down);
    let said = host.order("VI_1", Command::Takeover).unwrap_err();
    assert_eq!(said, "VI_1 is FAULT: interface eth0 is down");
    assert_eq!(host.state(), State::Fault);
}

#[test]
fn a_fault_ends_a_raised_priority_but_not_a_release() {
    let config = one(100);
    let mut host = Host::one(config.clone());
    host.hear(&config, HIGHER_PEER, 150);
    host.order("VI_1", Command::Takeover).unwrap();
    host.link("eth0", LinkState::Down);
    let status = host.status(0);
    assert_eq!((status.priority, status.raised), (100, false));
    host.order("VI_1", Command::Release).unwrap();
    host.link("eth0", LinkState::Up);
    host.snapshot("eth0");
    host.hear_for(&config, 50, 10);
    assert_eq!(host.state(), State::Backup, "released");
}

#[test]
fn a_reload_keeps_both_unless_it_gives_more() {
    let config = one(100);
    let reload = |host: &mut Host, config: &VrrpInstance| {
        host.reconfigure(std::slice::from_ref(config));
        host.work();
    };
    let mut host = Host::one(config.clone());
    host.hear(&config, HIGHER_PEER, 150);
    host.order("VI_1", Command::Takeover).unwrap();
    reload(&mut host, &config);
    assert_eq!(host.status(0).priority, 151);
    reload(&mut host, &one(110));
    assert_eq!(host.status(0).priority, 151);
    reload(&mut host, &one(200));
    assert_eq!(host.status(0).priority, 200);
    host.order("VI_1", Command::Release).unwrap();
    reload(&mut host, &one(120));
    assert_eq!(host.status(0).priority, 120);
    assert!(host.status(0).released);
}

#[test]
fn a_sync_group_moves_together() {
    let (outside, inside, group) = pair();
    let all = [outside, inside];
    for name in ["VG", "outside", "inside"] {
        let mut host = Host::of(&all, std::slice::from_ref(&group));
        host.run(5 * SECOND);
        let states = |host: &Host| [host.status(0).state, host.status(1).state];
        assert_eq!(states(&host), [State::Master; 2]);
        assert_eq!(host.order(name, Command::Release).unwrap().len(), 2);
        assert_eq!(states(&host), [State::Backup; 2]);
        for _ in 0..5 {
            host.hear(&all[0], HIGHER_PEER, 50);
            host.hear(&all[1], INSIDE_PEER, 50);
            host.run(SECOND);
        }
        assert_eq!(states(&host), [State::Backup; 2]);
        assert_eq!(host.order(name, Command::Takeover).unwrap().len(), 2);
        assert_eq!(states(&host), [State::Master; 2]);
    }
}
