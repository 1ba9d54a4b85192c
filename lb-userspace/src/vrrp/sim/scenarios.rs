//! What must hold, each over many seeds.

use std::time::Duration;

use super::node::{Kind, Node, instance};
use super::world::World;
use crate::model::Family;
use crate::model::VrrpVersion::{self, V2, V3};

pub(super) const SPEEDS: [(VrrpVersion, u64); 3] = [(V2, 1000), (V3, 50), (V3, 10)];
const MS: Duration = Duration::from_millis(1);

/// 3 x interval and the longest skew there is, in the slowest clock.
pub(super) fn down(version: VrrpVersion, millis: u64) -> Duration {
    let interval = Duration::from_millis(millis);
    let skew = match version {
        V2 => Duration::from_secs(1),
        V3 => interval,
    };
    (3 * interval + skew) * 1002 / 1000 + 2 * MS
}

/// Half of the seeds of version 3 are of IPv6.
pub(super) fn family(seed: u64, version: VrrpVersion) -> Family {
    match version {
        V3 if seed / 2 % 2 == 1 => Family::V6,
        V2 | V3 => Family::V4,
    }
}

/// A pair with priorities 100 and 99, both started and settled at a random phase.
pub(super) fn settled(seed: u64, speed: (VrrpVersion, u64), kinds: [Kind; 2]) -> World {
    let (version, millis) = speed;
    let nodes = kinds
        .into_iter()
        .zip([100, 99])
        .map(|(k, p)| (k, instance(family(seed, version), version, millis, p)))
        .collect();
    let mut world = World::new(seed, nodes);
    world.with(0, Node::start);
    world.with(1, Node::start);
    world.run(down(version, millis) + Duration::from_secs(8));
    let phase = world.random.micros(0, millis * 1000);
    world.run(phase);
    world.assert_settled(0, "settled");
    world.measure_anew();
    world
}

pub(super) const OURS: [Kind; 2] = [Kind::Ours, Kind::Ours];
pub(super) const WITH_KEEPALIVED: [[Kind; 2]; 2] = [
    [Kind::Ours, Kind::Keepalived],
    [Kind::Keepalived, Kind::Ours],
];

#[test]
fn a_pair_elects_the_higher_priority_and_stays_calm() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[0], WITH_KEEPALIVED[1]] {
            for seed in 0..10 {
                let mut world = settled(seed, speed, kinds);
                world.run(Duration::from_secs(10));
                world.assert_settled(0, "calm");
                assert_eq!(
                    world.longest_outage,
                    Duration::ZERO,
                    "{speed:?} {kinds:?} {seed}"
                );
                assert_eq!(
                    world.longest_two,
                    Duration::ZERO,
                    "{speed:?} {kinds:?} {seed}"
                );
            }
        }
    }
}

#[test]
fn a_clean_stop_of_ours_leaves_no_gap_whoever_the_peer_is() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[0]] {
            for seed in 0..50 {
                let mut world = settled(seed, speed, kinds);
                world.with(0, Node::stop);
                world.run(down(speed.0, speed.1) + Duration::from_secs(3));
                world.assert_settled(1, "stopped");
                assert!(
                    world.longest_outage <= 2 * MS,
                    "{speed:?} {kinds:?} {seed}: {:?}",
                    world.longest_outage
                );
            }
        }
    }
}

#[test]
fn a_clean_stop_whose_resignation_is_lost_is_repeated() {
    for seed in 0..20 {
        let mut world = settled(seed, (V2, 1000), OURS);
        world.loss = 100;
        world.with(0, Node::stop);
        world.run(10 * MS);
        world.loss = 0;
        world.run(Duration::from_secs(8));
        world.assert_settled(1, "stopped");
        assert!(
            world.longest_outage <= 2 * MS,
            "{seed}: {:?}",
            world.longest_outage
        );
    }
}

#[test]
fn a_director_that_is_alone_stops_in_the_time_allowed() {
    let mut world = settled(1, (V2, 1000), OURS);
    world.with(1, Node::stop);
    world.with(0, Node::stop);
    world.run(Duration::from_secs(3));
    assert!(!world.nodes[0].has_vip && !world.nodes[1].has_vip);
    assert!(matches!(world.nodes[0].daemon, super::node::Daemon::Dead));
}

#[test]
fn power_loss_is_noticed_within_the_master_down_interval() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[1]] {
            for seed in 0..20 {
                let mut world = settled(seed, speed, kinds);
                world.nodes[0].off = true;
                world.run(down(speed.0, speed.1) + Duration::from_secs(1));
                world.assert_settled(1, "power loss");
                assert!(
                    world.longest_outage <= down(speed.0, speed.1),
                    "{:?}",
                    world.longest_outage
                );
                assert!(
                    world.longest_none <= down(speed.0, speed.1),
                    "{:?}",
                    world.longest_none
                );
            }
        }
    }
}

#[test]
fn the_return_of_the_master_costs_nothing() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[0], WITH_KEEPALIVED[1]] {
            for seed in 0..20 {
                let mut world = settled(seed, speed, kinds);
                world.with(0, Node::stop);
                world.run(down(speed.0, speed.1) + Duration::from_secs(3));
                world.measure_anew();
                world.with(0, Node::start);
                world.run(down(speed.0, speed.1) + Duration::from_secs(3));
                world.assert_settled(0, "returned");
                assert!(
                    world.longest_outage <= 2 * MS,
                    "{speed:?} {kinds:?} {seed}: {:?}",
                    world.longest_outage
                );
                assert!(world.longest_two <= 3 * MS, "{:?}", world.longest_two);
            }
        }
    }
}

#[test]
fn after_a_partition_heals_the_client_is_served_within_50_ms() {
    for speed in SPEEDS {
        // Keepalived yields without a word: an advert of ours must reach it and our next
        // gratuitous ARP the client.
        let cases = [
            (OURS, 50 * MS),
            (WITH_KEEPALIVED[1], 50 * MS),
            (WITH_KEEPALIVED[0], 1050 * MS),
        ];
        for (kinds, allowed) in cases {
            for seed in 0..100 {
                let mut world = settled(seed, speed, kinds);
                world.cut.insert((0, 1));
                let time = world.random.micros(4_000_000, 12_000_000);
                world.run(time);
                assert_eq!(world.masters(), [0, 1], "{speed:?} {seed}: cut");
                world.measure_anew();
                world.cut.clear();
                world.run(down(speed.0, speed.1) + Duration::from_secs(2));
                world.assert_settled(0, "healed");
                assert!(
                    world.longest_outage <= allowed,
                    "{speed:?} {kinds:?} {seed}: {:?}",
                    world.longest_outage
                );
                let timers = Duration::from_millis(speed.1) * 1002 / 1000 + 3 * MS;
                assert!(
                    world.longest_two <= timers,
                    "{speed:?} {seed}: {:?}",
                    world.longest_two
                );
            }
        }
    }
}

#[test]
fn started_together_the_client_knows_the_right_one() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[0], WITH_KEEPALIVED[1]] {
            for seed in 0..100 {
                let (version, millis) = speed;
                let nodes = kinds
                    .into_iter()
                    .zip([100, 99])
                    .map(|(k, p)| (k, instance(family(seed, version), version, millis, p)))
                    .collect();
                let mut world = World::new(seed, nodes);
                let first = usize::from(seed % 2 == 0);
                world.with(first, Node::start);
                let apart = world.random.micros(0, 20_000);
                world.run(apart);
                world.with(1 - first, Node::start);
                world.run(down(version, millis) + Duration::from_millis(1500));
                world.assert_settled(0, &format!("{speed:?} {kinds:?} {seed}"));
            }
        }
    }
}

#[test]
fn a_killed_daemon_that_comes_back_leaves_no_gap() {
    for speed in SPEEDS {
        for kinds in [OURS, WITH_KEEPALIVED[0]] {
            for seed in 0..60 {
                let mut world = settled(seed, speed, kinds);
                world.with(0, |n, _| n.kill());
                // From at once to long after the peer took over.
                let pause = world.random.micros(1000, 6 * speed.1 * 1000);
                world.run(pause);
                world.with(0, Node::start);
                world.run(2 * down(speed.0, speed.1) + Duration::from_secs(2));
                world.assert_settled(0, "restarted");
                assert!(
                    world.longest_outage <= 2 * MS,
                    "{speed:?} {kinds:?} {seed}: {:?} after a pause of {pause:?}",
                    world.longest_outage
                );
            }
        }
    }
}

#[test]
fn a_quick_restart_is_no_failover() {
    for seed in 0..20 {
        let mut world = settled(seed, (V2, 1000), OURS);
        let before = world.nodes[1].transitions.len();
        world.with(0, |n, _| n.kill());
        world.run(500 * MS);
        world.with(0, Node::start);
        world.run(10 * MS);
        world.assert_settled(0, "resumed");
        world.run(Duration::from_secs(8));
        assert_eq!(
            world.nodes[1].transitions.len(),
            before,
            "{:?}",
            world.nodes[1].transitions
        );
    }
}

#[test]
fn loss_of_every_fifth_advert_ends_with_one_master() {
    for speed in SPEEDS {
        for seed in 0..20 {
            let mut world = settled(seed, speed, OURS);
            world.loss = 20;
            world.run(Duration::from_secs(20));
            world.loss = 0;
            world.run(2 * down(speed.0, speed.1) + Duration::from_secs(2));
            world.assert_settled(0, "after the loss");
        }
    }
}

/// Random troubles, then quiet: one master, known to the client, and no other holder.
#[test]
fn after_any_trouble_there_is_exactly_one_master() {
    for seed in 0..60 {
        let (version, millis) = SPEEDS[seed as usize % SPEEDS.len()];
        let count = 2 + seed as usize % 3;
        let nodes = (0..count)
            .map(|n| {
                let kind = if seed % 4 == 3 && n == 1 {
                    Kind::Keepalived
                } else {
                    Kind::Ours
                };
                // Two of three nodes may have the same priority: the address decides.
                let priority = 100 + (n as u8 / 2) * 50;
                (
                    kind,
                    instance(family(seed, version), version, millis, priority),
                )
            })
            .collect();
        let mut world = World::new(seed, nodes);
        for node in 0..count {
            world.with(node, Node::start);
        }
        for _ in 0..25 {
            let step = world.random.micros(1000, 2_500_000);
            world.run(step);
            let node = world.random.below(count as u64) as usize;
            match world.random.below(9) {
                0 => world.with(node, |n, _| n.kill()),
                1 => world.with(node, Node::stop),
                2 => world.nodes[node].off = true,
                3 | 4 => world.nodes[node].off = false,
                5 => {
                    let other = world.random.below(count as u64) as usize;
                    world.cut.insert((node.min(other), node.max(other)));
                }
                6 => world.cut.clear(),
                7 => world.loss = world.random.below(40),
                _ => {
                    if matches!(world.nodes[node].daemon, super::node::Daemon::Dead) {
                        world.with(node, Node::start);
                    }
                }
            }
        }
        world.cut.clear();
        world.loss = 0;
        for node in 0..count {
            world.nodes[node].off = false;
        }
        // Who is stopping finishes that first.
        world.run(Duration::from_secs(4));
        for node in 0..count {
            if matches!(world.nodes[node].daemon, super::node::Daemon::Dead) {
                world.with(node, Node::start);
            }
        }
        world.run(3 * down(version, millis) + Duration::from_secs(8));
        let best = (0..count)
            .max_by_key(|n| (world.nodes[*n].config.priority, world.nodes[*n].source))
            .unwrap();
        let masters = world.masters();
        assert_eq!(masters.len(), 1, "seed {seed}: {masters:?}");
        // Equal priorities do not preempt each other.
        let winner = masters[0];
        assert_eq!(
            world.nodes[winner].config.priority, world.nodes[best].config.priority,
            "seed {seed}"
        );
        world.assert_settled(winner, &format!("seed {seed}"));
    }
}
