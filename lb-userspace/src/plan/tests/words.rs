//! What a service says, as the program reads it.

use lb_common::maps::{
    SERVICE_EXPIRE_NODEST, SERVICE_EXPIRE_QUIESCENT, SERVICE_HASH_FALLBACK, SERVICE_HASH_PORT,
    SERVICE_ONE_PACKET, SERVICE_SLOPPY, ServiceSlot, TIMEOUTS, ticks,
};
use lb_common::tcp::State;

use super::super::values::timeout_set;
use super::*;
use crate::model::{SchedFlags, Timeouts};

fn slot(desired: &DesiredService) -> ServiceSlot {
    let mut world = World::new();
    world.to(std::slice::from_ref(desired));
    world.maps.lookup(desired.key).unwrap().1
}

#[test]
fn each_word_of_a_service_is_a_flag_of_its_slot() {
    let plain = DesiredService {
        key: ServiceKey {
            protocol: Protocol::Udp,
            ..key(1)
        },
        ..service(1, &[1])
    };
    let port = SchedFlags {
        port: true,
        fallback: false,
    };
    let fallback = SchedFlags {
        port: false,
        fallback: true,
    };
    let with = |change: fn(&mut DesiredService)| {
        let mut service = plain.clone();
        change(&mut service);
        service
    };
    let flagged = |sched_flags| DesiredService {
        sched_flags,
        ..plain.clone()
    };
    for (service, flag) in [
        (plain.clone(), 0),
        (with(|s| s.sloppy = true), SERVICE_SLOPPY),
        (with(|s| s.ops = true), SERVICE_ONE_PACKET),
        (with(|s| s.expire_nodest_conn = true), SERVICE_EXPIRE_NODEST),
        (
            with(|s| s.expire_quiescent_template = true),
            SERVICE_EXPIRE_QUIESCENT,
        ),
        (flagged(port), SERVICE_HASH_PORT),
        (flagged(fallback), SERVICE_HASH_FALLBACK),
    ] {
        assert_eq!(slot(&service).flags, flag, "{service:?}");
    }
}

#[test]
fn clients_of_one_network_persist_together() {
    let persistent = |prefix_len| DesiredService {
        persistence: Some(Persistence {
            timeout: Duration::from_secs(50),
            prefix_len,
        }),
        ..service(1, &[1])
    };
    for (prefix_len, mask) in [(32, u32::MAX), (24, 0xffff_ff00), (0, 0)] {
        let slot = slot(&persistent(prefix_len));
        assert_eq!(slot.persist_mask, mask.to_be());
        assert_eq!(slot.persist_ticks, ticks(50, HZ));
    }
}

#[test]
fn the_thresholds_are_those_of_the_server() {
    let mut limited = service(1, &[1]);
    (
        limited.backends[0].uthreshold,
        limited.backends[0].lthreshold,
    ) = (9, 7);
    let mut world = World::new();
    world.to(&[limited]);
    let backends = world.maps.dump().backends;
    let limits: Vec<_> = backends.iter().map(|(.., r)| (r.upper, r.lower)).collect();
    assert_eq!(limits, [(9, 7)]);
}

#[test]
fn a_timeout_is_that_of_its_state_alone() {
    type Set = fn(&mut Timeouts, Option<u32>);
    let states: [(&[State], Set); 9] = [
        (&[State::Established], |t, s| t.established = s),
        (&[State::SynRecv], |t, s| t.syn_recv = s),
        (&[State::FinWait], |t, s| t.fin_wait = s),
        (&[State::TimeWait], |t, s| t.time_wait = s),
        (&[State::Close], |t, s| t.close = s),
        (&[State::CloseWait], |t, s| t.close_wait = s),
        (&[State::LastAck], |t, s| t.last_ack = s),
        (&[State::Udp, State::UdpOnce], |t, s| t.udp = s),
        (&[State::SctpEstablished], |t, s| t.sctp = s),
    ];
    let plain = timeout_set(&Timeouts::NONE, &Timeouts::NONE, HZ);
    for (of, set) in states {
        let mut timeouts = Timeouts::NONE;
        set(&mut timeouts, Some(12_345));
        let changed = |own, default| -> Vec<usize> {
            let set = timeout_set(own, default, HZ);
            let differ = |at: &usize| set.ticks[*at] != plain.ticks[*at];
            let changed: Vec<usize> = (0..TIMEOUTS).filter(differ).collect();
            assert!(changed.iter().all(|at| set.ticks[*at] == ticks(12_345, HZ)));
            changed
        };
        let mut want: Vec<usize> = of.iter().map(|s| *s as usize).collect();
        want.sort_unstable();
        assert_eq!(changed(&timeouts, &Timeouts::NONE), want);
        assert_eq!(changed(&Timeouts::NONE, &timeouts), want);
    }
}
