//! An operator moves the role to and fro, whoever the peer is.

use std::time::Duration;

use super::node::{Kind, Node};
use super::scenarios::{OURS, SPEEDS, WITH_KEEPALIVED, down, settled};
use crate::vrrp::Command;

const MS: Duration = Duration::from_millis(1);

#[test]
fn released_and_taken_back_without_a_gap_and_never_with_two_masters_for_long() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[0]] {
            for seed in 0..20 {
                let what = format!("{speed:?} {kinds:?} {seed}");
                let mut world = settled(seed, speed, kinds);
                let long = 3 * down(speed.0, speed.1) + Duration::from_secs(3);
                world.with(0, |n, at| n.command(Command::Release, at));
                world.run(long);
                world.assert_settled(1, &format!("released: {what}"));
                world.with(0, |n, at| n.command(Command::Takeover, at));
                world.run(long);
                world.assert_settled(0, &format!("taken over: {what}"));
                assert!(
                    world.longest_outage <= 2 * MS,
                    "{what}: {:?}",
                    world.longest_outage
                );
                assert!(
                    world.longest_two <= 2 * MS,
                    "{what}: {:?}",
                    world.longest_two
                );
            }
        }
    }
}

#[test]
fn the_lower_one_takes_over_and_the_higher_one_takes_it_back_by_order_only() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[1]] {
            for seed in 0..20 {
                let what = format!("{speed:?} {kinds:?} {seed}");
                let mut world = settled(seed, speed, kinds);
                let long = 3 * down(speed.0, speed.1) + Duration::from_secs(3);
                world.with(1, |n, at| n.command(Command::Takeover, at));
                world.run(long);
                world.assert_settled(1, &format!("taken over: {what}"));
                // keepalived adds its gratuitous ARPs when it yields; ours only.
                if kinds == OURS {
                    assert!(
                        world.longest_outage <= 2 * MS,
                        "{what}: {:?}",
                        world.longest_outage
                    );
                }
                assert!(
                    world.longest_two <= 2 * MS,
                    "{what}: {:?}",
                    world.longest_two
                );
                // Back to whom it belongs.
                world.with(1, |n, at| n.command(Command::Release, at));
                world.run(long);
                world.assert_settled(0, &format!("released: {what}"));
                // The peer's end ends everything by hand.
                if kinds[0] == Kind::Ours {
                    world.with(0, Node::stop);
                    world.run(long);
                    world.assert_settled(1, &format!("stopped: {what}"));
                }
            }
        }
    }
}

#[test]
fn who_is_alone_or_not_heard_stays_master() {
    for lost in [false, true] {
        for seed in 0..20 {
            let mut world = settled(seed, SPEEDS[0], OURS);
            if lost {
                // The resignation is lost, and so is what the peer would say.
                world.cut.insert((0, 1));
            } else {
                world.nodes[1].off = true;
            }
            world.with(0, |n, at| n.command(Command::Release, at));
            world.run(Duration::from_secs(8));
            assert!(world.nodes[0].is_master(), "{seed}");
            assert!(
                world.longest_outage <= 2 * MS || lost,
                "{seed}: {:?}",
                world.longest_outage
            );
            world.cut.clear();
            world.nodes[1].off = false;
            world.run(Duration::from_secs(8));
            world.assert_settled(0, "heard again");
        }
    }
}
