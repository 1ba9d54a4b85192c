//! Whatever is desired, in whatever order.

use lb_common::maps::REMOTE_V6;
use proptest::prelude::*;

use super::*;
use crate::model::{SchedFlags, Timeouts};

fn arb_backend() -> impl Strategy<Value = DesiredBackend> {
    let method = prop_oneof![
        3 => Just(ForwardMethod::Dr),
        1 => Just(ForwardMethod::Tun(Tunnel::Ipip)),
        1 => any::<bool>().prop_map(|csum| ForwardMethod::Tun(Tunnel::Gue { port: 6080, csum })),
        1 => any::<bool>().prop_map(|csum| ForwardMethod::Tun(Tunnel::Gre { csum })),
    ];
    (
        (1u8..12, any::<bool>()),
        (prop_oneof![Just(0u16), 1u16..5], 0u16..5, 0u32..3),
        any::<bool>(),
        (0u8..4, any::<bool>(), any::<bool>()),
        0u8..8,
        method,
    )
        .prop_map(
            |((n, is_v6), (weight, full, limit), up, way, local, method)| {
                let mut b = backend(n);
                let mut source: IpAddr = [10, 0, 0, 254].into();
                if is_v6 {
                    b.addr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into();
                    source = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 254].into();
                }
                let (link, has_source, on_link) = way;
                b.weight = weight;
                b.full_weight = full;
                b.uthreshold = limit;
                b.up = up;
                b.link = (link != 0).then_some(Link {
                    mtu: 1500,
                    source: has_source.then_some(source),
                    on_link,
                    ..Link::new([2, 0, 0, 0, link, n], [2, 1, 0, 0, 0, 0], 3)
                });
                b.local = local == 0;
                b.method = method;
                b
            },
        )
}

fn arb_service() -> impl Strategy<Value = DesiredService> {
    let persistence =
        prop::option::of(
            (1u64..400, 8u8..=32).prop_map(|(secs, prefix_len)| Persistence {
                timeout: Duration::from_secs(secs),
                prefix_len,
            }),
        );
    (
        (0u16..9, any::<bool>()),
        prop::sample::select(&Scheduler::ALL[..]),
        persistence,
        (any::<bool>(), any::<bool>(), any::<bool>()),
        prop::option::of(1u32..5),
        prop::collection::vec(arb_backend(), 0..6),
    )
        .prop_map(
            |((n, is_v6), scheduler, persistence, flags, udp, mut backends)| {
                backends.sort_by_key(|b| b.addr);
                backends.dedup_by_key(|b| b.addr);
                let mut key = key(n);
                if is_v6 {
                    key.addr = "2001:db8::1".parse().unwrap();
                }
                let (sloppy, port, fallback) = flags;
                DesiredService {
                    persistence,
                    sloppy,
                    sched_flags: SchedFlags { port, fallback },
                    timeouts: Timeouts {
                        udp,
                        ..Timeouts::NONE
                    },
                    backends,
                    ..DesiredService::new(key, scheduler)
                }
            },
        )
}

/// Whether a server must stand in its service's table.
fn is_scheduled(service: &DesiredService, b: &DesiredBackend) -> bool {
    let reachable = b.local
        || b.link.is_some_and(|l| match b.method {
            ForwardMethod::Dr => true,
            ForwardMethod::Tun(_) => l.source.is_some(),
        });
    let is_hash = [Scheduler::Sh, Scheduler::Mh, Scheduler::Dh].contains(&service.scheduler);
    b.up && (reachable || is_hash)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every step of the way is consistent, the books can be rebuilt from the maps, and doing it again
    /// is nothing.
    #[test]
    fn books_and_maps_agree(steps in prop::collection::vec((prop::collection::vec(arb_service(), 0..7), 0u64..400, any::<u64>()), 1..10)) {
        let mut world = World::new();
        let place = |world: &World, index: &u16| {
            let (value, remote) = world.maps.backends[index];
            (value.service, endpoint(&value, &remote))
        };
        for (mut desired, pause, mask) in steps {
            desired.sort_by_key(|s| s.key);
            desired.dedup_by_key(|s| s.key);
            world.now = world.now + Duration::from_millis(pause);
            let refs = Refs {
                taken_at: world.now,
                backends: world.tables.backends.keys().copied().filter(|i| mask >> (i % 64) & 1 != 0).collect(),
                services: world.tables.services.values().map(|s| s.value.id).filter(|i| mask >> (i % 61) & 1 != 0).collect(),
                timeout_sets: mask.rotate_left(7),
            };
            let held: Vec<_> = refs.backends.iter().map(|i| (*i, place(&world, i))).collect();
            let plan = world.step(&desired, &refs);
            prop_assert!(plan.refused.is_empty());
            for (index, owner) in held {
                prop_assert_eq!(place(&world, &index), owner, "an index that flows refer to has a new owner");
            }
            let again = world.tables.plan(&desired, &Refs::default(), world.now);
            prop_assert_eq!((again.ops, again.changes), (vec![], vec![]));
            let mut adopted = Tables::adopt(&world.maps.dump(), world.now);
            let again = adopted.plan(&desired, &Refs::default(), world.now);
            prop_assert_eq!((again.ops, again.changes), (vec![], vec![]));
            // Every service schedules over exactly the servers that it should.
            for service in &desired {
                let (_, slot) = world.maps.lookup(service.key).unwrap();
                let mut found: Vec<IpAddr> = world.maps.table(&slot).into_iter().filter(|i| *i != 0).map(|i| place(&world, &i).1.0).collect();
                found.sort_unstable();
                found.dedup();
                let want: Vec<&DesiredBackend> = service.backends.iter().filter(|b| is_scheduled(service, b)).collect();
                if service.scheduler == Scheduler::Dh {
                    prop_assert!(found.iter().all(|addr| want.iter().any(|b| b.addr == *addr)));
                } else {
                    let mut want: Vec<IpAddr> = want.iter().filter(|b| b.weight > 0).map(|b| b.addr).collect();
                    want.sort_unstable();
                    prop_assert_eq!(found, want);
                }
                for (value, remote) in world.maps.backends.values() {
                    prop_assert_eq!(remote.flags & REMOTE_V6 != 0, value.addr == 0);
                }
            }
        }
    }
}
