//! The same LAN with `unicast_peer`: what holds of a pair by multicast holds by unicast.

use std::time::Duration;

use super::node::{Kind, Node, host, instance};
use super::scenarios::family;
use super::world::World;
use crate::model::VrrpVersion::{self, V2, V3};
use crate::model::{Family, OldChecksum, Transport, Unicast, UnicastPeer, VrrpInstance};

fn unicast(family: Family, version: VrrpVersion, millis: u64, priority: u8) -> VrrpInstance {
    // The same list everywhere: each host is its own peer as well, and sends itself nothing.
    let peers = (1..=3)
        .map(|n| UnicastPeer {
            addr: host(family, n),
            min_ttl: 255,
            max_ttl: 255,
        })
        .collect();
    VrrpInstance {
        transport: Transport::Unicast(Unicast {
            peers,
            ttl: 255,
            check_source: true,
            old_checksum: OldChecksum::Auto,
        }),
        ..instance(family, version, millis, priority)
    }
}

fn without_self(mut config: VrrpInstance, number: u8) -> VrrpInstance {
    let own = host(config.family(), number);
    if let Transport::Unicast(unicast) = &mut config.transport {
        unicast.peers.retain(|p| p.addr != own);
    }
    config
}

fn world(seed: u64, version: VrrpVersion, millis: u64, kinds: &[Kind]) -> World {
    let nodes = kinds
        .iter()
        .zip([(1, 101), (2, 100), (3, 99)])
        .map(|(kind, (number, priority))| {
            let config = unicast(family(seed, version), version, millis, priority);
            match kind {
                Kind::Ours => (*kind, config),
                Kind::Keepalived => (*kind, without_self(config, number)),
            }
        })
        .collect();
    World::new(seed, nodes)
}

#[test]
fn directors_elect_take_over_and_take_back_by_unicast() {
    use Kind::{Keepalived, Ours};
    for (version, millis) in [(V2, 1000), (V3, 50), (V3, 10)] {
        let settle = Duration::from_millis(millis) * 4 + Duration::from_secs(8);
        for kinds in [
            [Ours; 3],
            [Ours, Keepalived, Ours],
            [Keepalived, Ours, Keepalived],
        ] {
            for seed in 0..10 {
                let what = format!("{version:?} {millis} {kinds:?} {seed}");
                let mut world = world(seed, version, millis, &kinds);
                for at in 0..3 {
                    world.with(at, Node::start);
                }
                world.run(settle);
                world.assert_settled(0, &what);
                world.measure_anew();
                world.nodes[0].kill();
                world.nodes[0].off = true;
                world.run(settle);
                world.assert_settled(1, &what);
                let limit = Duration::from_millis(millis) * 3
                    + Duration::from_secs(u64::from(version == V2))
                    + Duration::from_millis(millis);
                assert!(
                    world.longest_outage <= limit,
                    "{what}: {:?}",
                    world.longest_outage
                );
                world.nodes[0].off = false;
                world.nodes[0].has_vip = false;
                world.with(0, Node::start);
                world.run(settle);
                world.assert_settled(0, &what);
            }
        }
    }
}

#[test]
fn a_host_by_multicast_and_one_by_unicast_do_not_take_each_other_s_adverts() {
    for multicast in [0, 1] {
        let mut world = world(7, V3, 50, &[Kind::Ours; 2]);
        let config = &mut world.nodes[multicast].config;
        config.transport = Transport::Multicast(config.family().group());
        for at in 0..2 {
            world.with(at, Node::start);
        }
        world.run(Duration::from_secs(5));
        assert_eq!(world.masters(), [0, 1]);
    }
}
