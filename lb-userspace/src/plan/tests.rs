//! The books against maps in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_common::hash::service_slot;
use lb_common::maps::{BACKEND_DOWN, MAX_SERVICES};
use proptest::prelude::*;

use super::fake::{FakeMaps, HZ};
use super::values::raw_key;
use super::*;
use crate::model::{Persistence, Protocol, Scheduler, ServiceKey};
use crate::time::Time;

fn key(n: u16) -> ServiceKey {
    ServiceKey {
        addr: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: n,
        protocol: Protocol::Tcp,
    }
}

fn backend(n: u8) -> DesiredBackend {
    DesiredBackend {
        addr: Ipv4Addr::new(10, 0, 0, n).into(),
        port: 80,
        weight: 1,
        up: true,
        link: Some(Link {
            dmac: [2, 0, 0, 0, 0, n],
            smac: [2, 1, 0, 0, 0, 0],
            ifindex: 3,
        }),
        local: false,
    }
}

fn service(n: u16, backends: &[u8]) -> DesiredService {
    DesiredService {
        key: key(n),
        scheduler: Scheduler::Rr,
        persistence: None,
        sloppy: false,
        backends: backends.iter().map(|b| backend(*b)).collect(),
    }
}

/// What the program may find for each key while a plan is applied: old or new, never a third.
fn tables_of(maps: &FakeMaps, keys: &[u64]) -> BTreeMap<u64, Option<Vec<u16>>> {
    keys.iter()
        .map(|k| (*k, maps.lookup(*k).map(|(_, s)| maps.table(&s))))
        .collect()
}

/// Applies a plan, checking the maps after every operation.
fn apply(maps: &mut FakeMaps, before: &Tables, plan: &Plan) {
    let keys: Vec<u64> = before
        .services
        .keys()
        .chain(plan.next.services.keys())
        .copied()
        .collect();
    let old = tables_of(maps, &keys);
    let mut done = maps.clone();
    for op in &plan.ops {
        done.apply(op);
    }
    let new = tables_of(&done, &keys);
    for op in &plan.ops {
        maps.apply(op);
        maps.check();
        for (key, found) in tables_of(maps, &keys) {
            assert!(
                found == old[&key] || found == new[&key],
                "{op:?}: {found:?} is neither old nor new"
            );
        }
    }
}

/// The books without what a dump cannot tell: when something was removed, what rests.
fn settled(tables: &Tables) -> Tables {
    let mut tables = tables.clone();
    tables.arena.settle();
    for s in tables.services.values_mut() {
        s.retired = s.retired.map(|_| Time::ZERO);
        if s.retired.is_some() {
            s.value.table = 0;
        }
    }
    for row in tables.backends.values_mut() {
        row.retired = row.retired.map(|_| Time::ZERO);
    }
    tables
}

struct World {
    maps: FakeMaps,
    tables: Tables,
    now: Time,
}

impl World {
    fn new() -> World {
        World {
            maps: FakeMaps::default(),
            tables: Tables::new(HZ),
            now: Time::from_nanos(1),
        }
    }

    fn step(&mut self, desired: &[DesiredService], refs: &Refs) -> Plan {
        let plan = self.tables.plan(desired, refs, self.now);
        apply(&mut self.maps, &self.tables, &plan);
        self.tables = plan.next.clone();
        let adopted = Tables::adopt(&self.maps.dump(), self.now);
        assert_eq!(settled(&adopted), settled(&self.tables));
        plan
    }

    fn to(&mut self, desired: &[DesiredService]) -> Plan {
        self.step(desired, &Refs::default())
    }

    fn nobody_refers(&self) -> Refs {
        Refs {
            taken_at: self.now,
            ..Refs::default()
        }
    }
}

#[test]
fn a_second_plan_for_the_same_is_empty() {
    let mut world = World::new();
    let desired = [service(80, &[1, 2, 3]), service(443, &[1, 2])];
    assert_eq!(world.to(&desired).changes.len(), 7);
    let again = world.to(&desired);
    assert_eq!((again.ops.len(), again.changes.len()), (0, 0));
    // The same after the daemon was killed.
    world.tables = Tables::adopt(&world.maps.dump(), world.now);
    assert_eq!(world.to(&desired).ops, []);
}

#[test]
fn a_mac_that_changes_is_one_write() {
    let mut world = World::new();
    let mut desired = [service(80, &[1, 2, 3]), service(443, &[1, 2])];
    world.to(&desired);
    desired[0].backends[1].link = Some(Link {
        dmac: [2, 9, 9, 9, 9, 9],
        smac: [2, 1, 0, 0, 0, 0],
        ifindex: 3,
    });
    let plan = world.to(&desired);
    assert!(
        matches!(plan.ops[..], [Op::Backend { .. }]),
        "{:?}",
        plan.ops
    );
    assert_eq!(
        plan.changes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "~ real_server 10.0.0.2:80 of TCP 192.0.2.1:80: MAC 02:00:00:00:00:02 -> 02:09:09:09:09:09"
        ]
    );
}

#[test]
fn a_removed_server_keeps_its_index_until_nobody_refers_to_it() {
    let mut world = World::new();
    world.to(&[service(80, &[1, 2])]);
    let index = world
        .tables
        .backend_index(key(80), Ipv4Addr::new(10, 0, 0, 2).into(), 80)
        .unwrap();
    world.to(&[service(80, &[1])]);
    assert_ne!(world.maps.backends[&index].flags & BACKEND_DOWN, 0);
    assert!(world.tables.has_retired());
    // Too early: a flow may have been made after this scan began.
    let early = Refs {
        taken_at: world.now + Duration::from_millis(1),
        ..Refs::default()
    };
    world.step(&[service(80, &[1])], &early);
    assert!(world.maps.backends.contains_key(&index));
    // It returns meanwhile and has its old index, so that its connections go on.
    world.to(&[service(80, &[1, 2])]);
    assert_eq!(
        world
            .tables
            .backend_index(key(80), Ipv4Addr::new(10, 0, 0, 2).into(), 80),
        Some(index)
    );
    assert_eq!(world.maps.backends[&index].flags & BACKEND_DOWN, 0);
    world.to(&[service(80, &[1])]);
    world.now = world.now + GRACE;
    let held = Refs {
        backends: [index].into(),
        ..world.nobody_refers()
    };
    world.step(&[service(80, &[1])], &held);
    assert!(world.maps.backends.contains_key(&index));
    let refs = world.nobody_refers();
    world.step(&[service(80, &[1])], &refs);
    assert!(!world.maps.backends.contains_key(&index));
    assert!(!world.tables.has_retired());
}

#[test]
fn a_removed_service_that_returns_has_its_id_again() {
    let mut world = World::new();
    world.to(&[service(80, &[1, 2]), service(443, &[1])]);
    let id = world.maps.lookup(raw_key(key(80)).unwrap()).unwrap().1.id;
    let plan = world.to(&[service(443, &[1])]);
    assert_eq!(
        plan.changes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["- virtual_server TCP 192.0.2.1:80"]
    );
    assert_eq!(world.maps.lookup(raw_key(key(80)).unwrap()), None);
    assert_eq!(world.tables.service_of(id), Some(key(80)));
    // Killed and restarted in between, the id is still known.
    world.tables = Tables::adopt(&world.maps.dump(), world.now);
    world.to(&[service(80, &[1, 2]), service(443, &[1])]);
    assert_eq!(
        world.maps.lookup(raw_key(key(80)).unwrap()).unwrap().1.id,
        id
    );
    // Removed for good, its slot is empty in the end.
    world.to(&[]);
    world.now = world.now + GRACE;
    let refs = world.nobody_refers();
    world.step(&[], &refs);
    assert_eq!(
        world.tables,
        Tables {
            arena: world.tables.arena.clone(),
            ..Tables::new(HZ)
        }
    );
    assert!(world.maps.slots.is_empty() && world.maps.backends.is_empty());
}

#[test]
fn half_the_table_can_be_filled_and_emptied() {
    let mut world = World::new();
    let many: Vec<DesiredService> = (1..MAX_SERVICES as u16).map(|n| service(n, &[])).collect();
    let plan = world.tables.plan(&many, &Refs::default(), world.now);
    assert_eq!(plan.refused, []);
    for op in &plan.ops {
        world.maps.apply(op);
    }
    world.maps.check();
    world.tables = plan.next;
    assert_eq!(
        world
            .tables
            .plan(
                &[service(MAX_SERVICES as u16, &[])],
                &Refs::default(),
                world.now
            )
            .refused[0]
            .reason,
        RefusalReason::NoServiceId
    );
    let plan = world.tables.plan(&[], &Refs::default(), world.now);
    for op in &plan.ops {
        world.maps.apply(op);
    }
    world.tables = plan.next;
    world.now = world.now + GRACE;
    let plan = world.tables.plan(&[], &world.nobody_refers(), world.now);
    for op in &plan.ops {
        world.maps.apply(op);
    }
    assert!(
        world.maps.slots.is_empty(),
        "{} slots are left",
        world.maps.slots.len()
    );
}

#[test]
fn services_of_one_home_are_moved_apart() {
    // Ports whose homes crowd one place, so that the last must push one on.
    let home = |n: u16| service_slot(raw_key(key(n)).unwrap(), 0);
    let mut by_place: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    for n in 1..=u16::MAX {
        by_place.entry(home(n)).or_default().push(n);
    }
    let (place, first) = by_place
        .iter()
        .find(|(p, v)| v.len() >= 8 && by_place.contains_key(&(*p + 1)))
        .unwrap();
    let mut desired: Vec<DesiredService> =
        first.iter().take(7).map(|n| service(*n, &[1])).collect();
    let mut world = World::new();
    // One of the next home takes the last slot within reach.
    desired.push(service(by_place[&(place + 1)][0], &[2]));
    world.to(&desired);
    desired.push(service(first[7], &[3]));
    let plan = world.to(&desired);
    assert_eq!(plan.refused, []);
    assert!(
        plan.ops.iter().any(|op| matches!(op, Op::ClearSlot { .. })),
        "somebody had to move: {:?}",
        plan.ops
    );
}

#[test]
fn a_service_that_does_not_fit_stays_as_it_was() {
    let mut world = World::new();
    world.to(&[service(80, &[1, 2])]);
    let mut wide = service(80, &[1]);
    wide.backends[0].addr = "2001:db8::1".parse::<IpAddr>().unwrap();
    let plan = world.to(&[wide]);
    assert_eq!(
        plan.refused,
        [Refusal {
            service: key(80),
            reason: RefusalReason::NotIpv4
        }]
    );
    assert_eq!(plan.ops, []);
}

#[test]
fn a_daemon_killed_at_any_operation_is_followed_by_one_that_gets_there() {
    let now = Time::from_nanos(1);
    let from = [service(80, &[1, 2]), service(81, &[1]), service(82, &[3])];
    let to = [
        service(80, &[2, 3]),
        service(82, &[3]),
        service(83, &[4, 5]),
    ];
    let mut start = FakeMaps::default();
    let first = Tables::new(HZ).plan(&from, &Refs::default(), now);
    apply(&mut start, &Tables::new(HZ), &first);
    let second = first.next.plan(&to, &Refs::default(), now);
    for cut in 0..=second.ops.len() {
        let mut maps = start.clone();
        for op in &second.ops[..cut] {
            maps.apply(op);
        }
        let adopted = Tables::adopt(&maps.dump(), now);
        let rest = adopted.plan(&to, &Refs::default(), now);
        apply(&mut maps, &adopted, &rest);
        let end = Tables::adopt(&maps.dump(), now);
        assert_eq!(settled(&end), settled(&rest.next), "cut at {cut}");
        assert_eq!(end.plan(&to, &Refs::default(), now).ops, [], "cut at {cut}");
    }
}

fn arb_backend() -> impl Strategy<Value = DesiredBackend> {
    (
        1u8..12,
        prop_oneof![Just(0u16), 1u16..5],
        any::<bool>(),
        0u8..4,
        0u8..8,
    )
        .prop_map(|(n, weight, up, link, local)| {
            let mut b = backend(n);
            b.weight = weight;
            b.up = up;
            b.link = (link != 0).then_some(Link {
                dmac: [2, 0, 0, 0, link, n],
                smac: [2, 1, 0, 0, 0, 0],
                ifindex: 3,
            });
            b.local = local == 0;
            b
        })
}

fn arb_service() -> impl Strategy<Value = DesiredService> {
    let scheduler = prop_oneof![
        Just(Scheduler::Rr),
        Just(Scheduler::Wrr),
        Just(Scheduler::Sh)
    ];
    let persistence =
        prop::option::of(
            (1u64..400, 8u8..=32).prop_map(|(secs, prefix_len)| Persistence {
                timeout: Duration::from_secs(secs),
                prefix_len,
            }),
        );
    (
        1u16..9,
        scheduler,
        persistence,
        any::<bool>(),
        prop::collection::vec(arb_backend(), 0..6),
    )
        .prop_map(|(n, scheduler, persistence, sloppy, mut backends)| {
            backends.sort_by_key(|b| b.addr);
            backends.dedup_by_key(|b| b.addr);
            DesiredService {
                key: key(n),
                scheduler,
                persistence,
                sloppy,
                backends,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever is desired in whatever order: every step of the way is consistent, the books can be
    /// rebuilt from the maps, and doing it again is nothing.
    #[test]
    fn books_and_maps_agree(steps in prop::collection::vec((prop::collection::vec(arb_service(), 0..7), 0u64..400, any::<u64>()), 1..10)) {
        let mut world = World::new();
        for (mut desired, pause, mask) in steps {
            desired.sort_by_key(|s| s.key);
            desired.dedup_by_key(|s| s.key);
            world.now = world.now + Duration::from_millis(pause);
            let refs = Refs {
                taken_at: world.now,
                backends: world.tables.backends.keys().copied().filter(|i| mask >> (i % 64) & 1 != 0).collect(),
                services: world.tables.services.values().map(|s| s.value.id).filter(|i| mask >> (i % 61) & 1 != 0).collect(),
            };
            let held: Vec<(u16, u32)> = refs.backends.iter().map(|i| (*i, world.maps.backends[i].addr)).collect();
            let plan = world.step(&desired, &refs);
            prop_assert!(plan.refused.is_empty());
            for (index, addr) in held {
                prop_assert_eq!(world.maps.backends[&index].addr, addr, "an index that flows refer to has a new owner");
            }
            let again = world.tables.plan(&desired, &Refs::default(), world.now);
            prop_assert_eq!((again.ops, again.changes), (vec![], vec![]));
            // Every service schedules over exactly the servers that it should.
            for service in &desired {
                let (_, slot) = world.maps.lookup(raw_key(service.key).unwrap()).unwrap();
                let mut found: Vec<u32> = world.maps.table(&slot).into_iter().filter(|i| *i != 0).map(|i| world.maps.backends[&i].addr).collect();
                found.sort_unstable();
                found.dedup();
                let mut want: Vec<u32> = service.backends.iter()
                    .filter(|b| b.up && b.weight > 0 && (b.local || b.link.is_some() || service.scheduler == Scheduler::Sh))
                    .map(|b| match b.addr { IpAddr::V4(a) => u32::from_ne_bytes(a.octets()), IpAddr::V6(_) => 0 })
                    .collect();
                want.sort_unstable();
                prop_assert_eq!(found, want);
            }
        }
    }
}
