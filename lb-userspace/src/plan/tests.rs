//! The books against maps in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_common::hash::service_slot;
use lb_common::maps::{
    BACKEND_DOWN, Forward, MAX_SERVICES, REMOTE_CHECKSUM, REMOTE_ROUTED, SERVICE_ANY_PORT,
    SERVICE_COUNTS, SERVICE_TUNNEL, SERVICE_V6, SERVICE_WIDE,
};

use super::fake::{FakeMaps, HZ};
use super::values::{endpoint, raw_key};
use super::*;
use crate::model::{ForwardMethod, Persistence, Protocol, Scheduler, ServiceKey, Tunnel};
use crate::time::Time;

mod random;
mod words;

fn key(n: u16) -> ServiceKey {
    ServiceKey {
        addr: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: n,
        protocol: Protocol::Tcp,
    }
}

fn backend(n: u8) -> DesiredBackend {
    DesiredBackend {
        link: Some(Link::new([2, 0, 0, 0, 0, n], [2, 1, 0, 0, 0, 0], 3)),
        ..DesiredBackend::new(Ipv4Addr::new(10, 0, 0, n).into(), 80, 1)
    }
}

fn service(n: u16, backends: &[u8]) -> DesiredService {
    DesiredService {
        backends: backends.iter().map(|b| backend(*b)).collect(),
        ..DesiredService::new(key(n), Scheduler::Rr)
    }
}

/// What the program may find for each key while a plan is applied: old or new, never a third.
fn tables_of(maps: &FakeMaps, keys: &[ServiceKey]) -> BTreeMap<ServiceKey, Option<Vec<u16>>> {
    keys.iter()
        .map(|k| (*k, maps.lookup(*k).map(|(_, s)| maps.table(&s))))
        .collect()
}

/// Applies a plan, checking the maps after every operation.
fn apply(maps: &mut FakeMaps, before: &Tables, after: &Tables, plan: &Plan) {
    let keys: Vec<ServiceKey> = before
        .services
        .keys()
        .chain(after.services.keys())
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
    tables.sets.settle();
    tables.defaults = crate::model::Timeouts::NONE;
    for s in tables.services.values_mut() {
        s.brought = None;
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
        let before = self.tables.clone();
        let plan = self.tables.plan(desired, refs, self.now);
        apply(&mut self.maps, &before, &self.tables, &plan);
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
    desired[0].backends[1].link = Some(Link::new([2, 9, 9, 9, 9, 9], [2, 1, 0, 0, 0, 0], 3));
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
    assert_ne!(world.maps.backends[&index].0.flags & BACKEND_DOWN, 0);
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
    assert_eq!(world.maps.backends[&index].0.flags & BACKEND_DOWN, 0);
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
    let id = world.maps.lookup(key(80)).unwrap().1.id;
    let plan = world.to(&[service(443, &[1])]);
    assert_eq!(
        plan.changes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["- virtual_server TCP 192.0.2.1:80"]
    );
    assert_eq!(world.maps.lookup(key(80)), None);
    assert_eq!(world.tables.service_of(id), Some(key(80)));
    // Killed and restarted in between, the id is still known.
    world.tables = Tables::adopt(&world.maps.dump(), world.now);
    world.to(&[service(80, &[1, 2]), service(443, &[1])]);
    assert_eq!(world.maps.lookup(key(80)).unwrap().1.id, id);
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
    world.now = world.now + GRACE;
    let refs = world.nobody_refers();
    let plan = world.tables.plan(&[], &refs, world.now);
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
    let home = |n: u16| service_slot(raw_key(key(n)), 0);
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
fn a_service_that_does_not_fit_stays_as_it_was_and_gives_back_what_it_took() {
    let mut world = World::new();
    let many: Vec<DesiredService> = (1..64u16)
        .map(|n| with_timeout(service(n, &[1]), 10 * u32::from(n)))
        .collect();
    world.to(&many);
    let before = world.tables.clone();
    let mut last = with_timeout(service(64, &[1, 2]), 640);
    let plan = world.tables.update(std::slice::from_ref(&last), world.now);
    assert_eq!(
        plan.refused,
        [Refusal {
            service: key(64),
            reason: RefusalReason::NoTimeoutSet
        }]
    );
    assert_eq!(plan.ops, []);
    assert_eq!(world.tables, before);
    // With the timeouts of another one it has a place.
    last.timeouts.udp = Some(630);
    assert_eq!(world.tables.update(&[last], world.now).refused, []);
}

fn with_timeout(mut service: DesiredService, secs: u32) -> DesiredService {
    service.timeouts.udp = Some(secs);
    service
}

#[test]
fn services_with_equal_timeouts_share_a_set_that_outlives_them_for_their_flows() {
    let mut world = World::new();
    let defaults = Defaults::default();
    for op in world.tables.configure(&defaults) {
        world.maps.apply(&op);
    }
    assert_eq!(world.maps.flood_rate, FLOOD_RATE);
    let set_of = |world: &World, n| world.maps.lookup(key(n)).unwrap().1.timeouts;
    let udp = |world: &World, n| {
        world.maps.timeouts[&set_of(world, n)].ticks[lb_common::tcp::State::Udp as usize]
    };
    let desired = [
        service(1, &[1]),
        with_timeout(service(2, &[1]), 30),
        with_timeout(service(3, &[1]), 30),
        with_timeout(service(4, &[1]), 300),
    ];
    world.to(&desired);
    assert_eq!(set_of(&world, 2), set_of(&world, 3));
    assert_ne!(set_of(&world, 2), 0);
    assert_eq!(
        [set_of(&world, 1), set_of(&world, 4)],
        [0, 0],
        "300 s is IPVS's"
    );
    assert_eq!(udp(&world, 2), lb_common::maps::ticks(30, HZ));
    // What holds for all changes: who said the same keeps what it said.
    let mut other = defaults;
    other.timeouts.udp = Some(60);
    for op in world.tables.configure(&other) {
        world.maps.apply(&op);
    }
    world.to(&desired);
    assert_eq!(set_of(&world, 1), 0);
    assert_eq!(udp(&world, 1), lb_common::maps::ticks(60, HZ));
    assert_eq!(udp(&world, 4), lb_common::maps::ticks(300, HZ));
    // Nobody has the 30 s any more, but a flow does.
    let set = set_of(&world, 2);
    let desired = [service(1, &[1]), service(2, &[1])];
    world.to(&desired);
    world.now = world.now + GRACE;
    let mut refs = world.nobody_refers();
    refs.timeout_sets = 1 << set;
    refs.services.extend([3, 4]);
    world.step(&desired, &refs);
    assert_ne!(world.maps.timeouts[&set], Default::default());
    assert!(world.tables.has_retired());
    let refs = world.nobody_refers();
    world.step(&desired, &refs);
    assert_eq!(world.maps.timeouts[&set], Default::default());
    assert!(!world.tables.has_retired());
}

#[test]
fn ipv6_and_any_port_are_told_apart_and_found_again() {
    let mut world = World::new();
    let v6 = |n: u16, port| ServiceKey {
        addr: IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n)),
        port,
        protocol: Protocol::Udp,
    };
    let desired: Vec<DesiredService> = [v6(1, 53), v6(2, 53), v6(1, 0), key(0)]
        .into_iter()
        .map(|key| DesiredService {
            backends: vec![DesiredBackend {
                addr: "2001:db8::100:1".parse().unwrap(),
                port: key.port,
                ..backend(1)
            }],
            persistence: Some(Persistence {
                timeout: Duration::from_secs(60),
                prefix_len: if key.addr.is_ipv6() { 64 } else { 24 },
            }),
            ..DesiredService::new(key, Scheduler::Wlc)
        })
        .collect();
    world.to(&desired);
    let flags = |key| world.maps.lookup(key).unwrap().1.flags;
    let wide = SERVICE_WIDE | SERVICE_COUNTS;
    assert_eq!(flags(v6(1, 53)), SERVICE_V6 | wide);
    assert_eq!(flags(v6(1, 0)), SERVICE_V6 | SERVICE_ANY_PORT | wide);
    assert_eq!(flags(key(0)), SERVICE_ANY_PORT | wide);
    let (_, slot) = world.maps.lookup(v6(2, 53)).unwrap();
    assert_eq!(slot.persist_mask, 64);
    let (value, remote) = world.maps.backends[&world.maps.table(&slot)[0]];
    assert_eq!(endpoint(&value, &remote), (desired[1].backends[0].addr, 53));
    // Removed and adopted, they return with their ids.
    let ids = |world: &World| -> Vec<u16> {
        desired
            .iter()
            .map(|d| world.maps.lookup(d.key).unwrap().1.id)
            .collect()
    };
    let before = ids(&world);
    world.to(&[]);
    world.tables = Tables::adopt(&world.maps.dump(), world.now);
    world.to(&desired);
    assert_eq!(ids(&world), before);
}

#[test]
fn connections_are_counted_where_somebody_looks() {
    let mut world = World::new();
    let mut desired = service(80, &[1, 2]);
    let mut counted = |desired: &DesiredService| -> Vec<u8> {
        world.to(std::slice::from_ref(desired));
        let rows = world.maps.backends.values();
        rows.map(|(value, _)| value.counted).collect()
    };
    for (scheduler, limit, expected) in [
        (Scheduler::Rr, 0, 0),
        (Scheduler::Lc, 0, 1),
        (Scheduler::Mh, 0, 0),
        // For all of its servers: the schedulers of a service with limits read all loads.
        (Scheduler::Mh, 7, 1),
        (Scheduler::Wrr, 0, 0),
    ] {
        desired.scheduler = scheduler;
        desired.backends[0].uthreshold = limit;
        assert_eq!(counted(&desired), [expected; 2], "{scheduler:?} {limit}");
    }
}

#[test]
fn two_ipv6_services_of_one_key_both_have_a_place() {
    // The key of an IPv6 service is a hash of 32 bits: two addresses of a birthday's search.
    let at = |n: u64| {
        // Mixed: of addresses that follow each other none have the same.
        let mixed = (n ^ n << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let host = mixed ^ mixed >> 29;
        ServiceKey {
            addr: IpAddr::V6((0x2001_0db8u128 << 96 | u128::from(host)).into()),
            port: 80,
            protocol: Protocol::Tcp,
        }
    };
    let mut seen = std::collections::HashMap::new();
    let (one, other) = (0..)
        .find_map(|n| Some((seen.insert(raw_key(at(n)), n)?, n)))
        .unwrap();
    let mut world = World::new();
    let desired = [one, other].map(|n| DesiredService {
        backends: vec![backend((n % 200) as u8 + 1)],
        ..DesiredService::new(at(n), Scheduler::Rr)
    });
    world.to(&desired);
    let id = |n| world.maps.lookup(at(n)).unwrap().1.id;
    assert_ne!(id(one), id(other));
    world.to(&desired[1..]);
    assert!(world.maps.lookup(at(one)).is_none());
}

#[test]
fn a_tunnel_needs_its_source_and_direct_routing_takes_a_router() {
    let mut world = World::new();
    let mut desired = service(80, &[1, 2, 3]);
    let way = |source: Option<&str>, on_link| Link {
        mtu: 1400,
        source: source.map(|s| s.parse().unwrap()),
        on_link,
        ..Link::new([2, 0, 0, 0, 0, 9], [2, 1, 0, 0, 0, 0], 3)
    };
    desired.backends[0].link = Some(way(Some("10.0.0.254"), false));
    desired.backends[1].link = Some(way(Some("10.0.0.254"), false));
    desired.backends[1].method = ForwardMethod::Tun(Tunnel::Gue {
        port: 5555,
        csum: true,
    });
    desired.backends[2].link = Some(way(None, true));
    desired.backends[2].method = ForwardMethod::Tun(Tunnel::Ipip);
    desired.backends[1].uthreshold = 9;
    world.to(std::slice::from_ref(&desired));
    let (_, slot) = world.maps.lookup(key(80)).unwrap();
    assert_eq!(slot.flags, SERVICE_TUNNEL | SERVICE_COUNTS);
    let table = world.maps.table(&slot);
    let [direct, index] = table[..] else {
        panic!("two can be reached: {table:?}")
    };
    let (value, remote) = world.maps.backends[&direct];
    assert_eq!((value.dmac[5], value.mtu, value.counted), (9, 1400, 1));
    assert_eq!(remote.flags, REMOTE_ROUTED);
    let (value, remote) = world.maps.backends[&index];
    assert_eq!((value.forward, value.mtu), (Forward::Gue as u8, 1400));
    assert_eq!(remote.tunnel_port, 5555u16.to_be());
    assert_eq!(remote.flags, REMOTE_CHECKSUM | REMOTE_ROUTED);
    assert_eq!(remote.source[0], u32::from_ne_bytes([10, 0, 0, 254]));
    assert_eq!((remote.upper, remote.lower), (9, 0));
    let links: BTreeMap<IpAddr, Link> = world.tables.links().collect();
    assert_eq!(
        links,
        [
            (desired.backends[0].addr, way(None, false)),
            (desired.backends[1].addr, way(Some("10.0.0.254"), false))
        ]
        .into()
    );
}

#[test]
fn joined_segments_are_too_long_for_a_tunnel_and_for_a_narrower_way_only() {
    let tunnel = ForwardMethod::Tun(Tunnel::Ipip);
    let judged_by = |mtu, joined_above, method| {
        let mut world = World::new();
        let mut desired = service(80, &[1]);
        desired.backends[0].method = method;
        desired.backends[0].link = Some(Link {
            mtu,
            joined_above,
            source: Some([10, 0, 0, 254].into()),
            ..Link::new([2, 0, 0, 0, 0, 9], [2, 1, 0, 0, 0, 0], 3)
        });
        world.to(std::slice::from_ref(&desired));
        let (_, slot) = world.maps.lookup(key(80)).unwrap();
        let (value, _) = world.maps.backends[&world.maps.table(&slot)[0]];
        value.mtu
    };
    assert_eq!(judged_by(1500, 0, ForwardMethod::Dr), 1500);
    assert_eq!(judged_by(1500, 1500, ForwardMethod::Dr), 0);
    assert_eq!(judged_by(1400, 1500, ForwardMethod::Dr), 1400);
    assert_eq!(judged_by(1500, 1500, tunnel), 1500);
}

#[test]
fn the_verdict_of_one_check_costs_no_more_than_its_service() {
    let mut world = World::new();
    let mut desired = [service(80, &[1, 2, 3]), service(443, &[1, 2])];
    world.to(&desired);
    desired[1].backends[0].up = false;
    let plan = world.tables.update(&desired[1..], world.now);
    assert_eq!(plan.changes.len(), 1);
    for op in &plan.ops {
        world.maps.apply(op);
    }
    assert_eq!(
        world.tables.plan(&desired, &Refs::default(), world.now).ops,
        []
    );
}

#[test]
fn a_daemon_killed_at_any_operation_is_followed_by_one_that_gets_there() {
    let now = Time::from_nanos(1);
    let from = [service(80, &[1, 2]), service(81, &[1]), service(82, &[3])];
    let to = [
        with_timeout(service(80, &[2, 3]), 7),
        service(82, &[3]),
        service(83, &[4, 5]),
    ];
    let mut start = FakeMaps::default();
    let mut tables = Tables::new(HZ);
    let first = tables.plan(&from, &Refs::default(), now);
    apply(&mut start, &Tables::new(HZ), &tables, &first);
    let second = tables.plan(&to, &Refs::default(), now);
    for cut in 0..=second.ops.len() {
        let mut maps = start.clone();
        for op in &second.ops[..cut] {
            maps.apply(op);
        }
        let adopted = Tables::adopt(&maps.dump(), now);
        let mut tables = adopted.clone();
        let rest = tables.plan(&to, &Refs::default(), now);
        apply(&mut maps, &adopted, &tables, &rest);
        let mut end = Tables::adopt(&maps.dump(), now);
        assert_eq!(settled(&end), settled(&tables), "cut at {cut}");
        assert_eq!(end.plan(&to, &Refs::default(), now).ops, [], "cut at {cut}");
    }
}
