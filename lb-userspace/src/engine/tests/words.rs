//! Every word of a service gets to the plan.

use super::super::desired::{self, View};
use super::*;
use crate::health::Health;
use crate::model::{ForwardMethod, Global, Persistence, SchedFlags, SorryServer, Timeouts, Tunnel};
use crate::plan::{Defaults, DesiredBackend, DesiredService, FLOOD_RATE};

fn planned(service: &Service) -> Vec<DesiredService> {
    let mut health = Health::new();
    health.apply(std::slice::from_ref(service), Time::ZERO, &mut || 0);
    let view = View {
        health: &health,
        neighbours: &BTreeMap::new(),
        own: &BTreeSet::new(),
    };
    desired::service(service, &view)
}

#[test]
fn a_service_is_planned_with_all_that_is_said_of_it() {
    let timeouts = Timeouts {
        established: Some(60),
        ..Timeouts::NONE
    };
    let sched_flags = SchedFlags {
        port: true,
        fallback: true,
    };
    let persistence = Some(Persistence {
        timeout: Duration::from_secs(50),
        prefix_len: 24,
    });
    let tunnel = ForwardMethod::Tun(Tunnel::Gre { csum: true });
    let mut real = RealServer::new(server(1).into(), 80, 3);
    (real.method, real.uthreshold, real.lthreshold) = (tunnel, 9, 7);
    let whole = Service {
        scheduler: Scheduler::Mh,
        sched_flags,
        ops: true,
        persistence,
        sloppy: true,
        expire_nodest_conn: true,
        expire_quiescent_template: true,
        timeouts,
        real_servers: vec![real],
        ..service(80, &[])
    };
    let want = DesiredService {
        sched_flags,
        ops: true,
        persistence,
        sloppy: true,
        expire_nodest_conn: true,
        expire_quiescent_template: true,
        timeouts,
        backends: vec![DesiredBackend {
            method: tunnel,
            uthreshold: 9,
            lthreshold: 7,
            ..DesiredBackend::new(server(1).into(), 80, 3)
        }],
        ..DesiredService::new(whole.key, Scheduler::Mh)
    };
    assert_eq!(planned(&whole), [want]);
    let plain = DesiredService::new(whole.key, Scheduler::Rr);
    assert_eq!(planned(&service(80, &[])), [plain]);
}

#[test]
fn a_sorry_server_is_reached_by_its_own_method() {
    let method = ForwardMethod::Tun(Tunnel::Ipip);
    let sorry = Service {
        sorry_server: Some(SorryServer {
            addr: server(9).into(),
            port: 80,
            method,
            inhibit: true,
        }),
        ..service(80, &[])
    };
    let backends = &planned(&sorry)[0].backends;
    assert_eq!(backends[0].addr, server(9));
    assert_eq!(backends[0].method, method);
}

#[test]
fn what_holds_for_all_services_is_that_of_global_defs() {
    let timeouts = Timeouts {
        udp: Some(7),
        ..Timeouts::NONE
    };
    let mut conf = Model::default();
    assert_eq!(desired::defaults(&conf), Defaults::default());
    conf.global = Global {
        timeouts,
        flood_rate: Some(5),
        ..Global::default()
    };
    assert_ne!(FLOOD_RATE, 5);
    let want = Defaults {
        timeouts,
        flood_rate: 5,
    };
    assert_eq!(desired::defaults(&conf), want);
}
