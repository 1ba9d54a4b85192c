//! Virtual and real servers.

use std::net::IpAddr;
use std::time::Duration;

use lb_userspace::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::checks::check;
use super::scripts::script;
use super::values::*;

pub(crate) fn v6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|n| IpAddr::V6(n.into()))
}

pub(crate) fn tunnel() -> impl Strategy<Value = ForwardMethod> {
    prop_oneof![
        Just(Tunnel::Ipip),
        (1u16.., any::<bool>()).prop_map(|(port, csum)| Tunnel::Gue { port, csum }),
        any::<bool>().prop_map(|csum| Tunnel::Gre { csum }),
    ]
    .prop_map(ForwardMethod::Tun)
}

pub(crate) fn method() -> impl Strategy<Value = ForwardMethod> {
    prop_oneof![Just(ForwardMethod::Dr), tunnel()]
}

pub(crate) fn timeouts() -> impl Strategy<Value = Timeouts> {
    vec(option::of(1u32..=2_678_400), 9).prop_map(|t| Timeouts {
        established: t[0],
        syn_recv: t[1],
        fin_wait: t[2],
        time_wait: t[3],
        close: t[4],
        close_wait: t[5],
        last_ack: t[6],
        udp: t[7],
        sctp: t[8],
    })
}

/// The addresses and ports of a service, the first one its key's: one, or those of a group.
pub(crate) fn members() -> impl Strategy<Value = (bool, Vec<(IpAddr, u16)>)> {
    let port = || prop_oneof![1 => Just(0u16), 4 => any::<u16>()];
    let one = |ip: BoxedStrategy<IpAddr>| (ip, port()).prop_map(|m| (false, vec![m]));
    // Runs of neighbours, so that there are ranges to write.
    let run = |ip: BoxedStrategy<IpAddr>| {
        (ip, port(), 1u8..6).prop_map(|(ip, port, len)| {
            let next = |n: u8| match ip {
                IpAddr::V4(a) => IpAddr::V4(u32::from(a).saturating_add(n.into()).into()),
                IpAddr::V6(a) => IpAddr::V6(u128::from(a).saturating_add(n.into()).into()),
            };
            (0..len).map(|n| (next(n), port)).collect::<Vec<_>>()
        })
    };
    let several = |ip: fn() -> BoxedStrategy<IpAddr>| {
        vec(run(ip()), 1..4).prop_map(|runs| {
            let mut all: Vec<(IpAddr, u16)> = Vec::new();
            for m in runs.concat() {
                if !all.contains(&m) {
                    all.push(m);
                }
            }
            (true, all)
        })
    };
    prop_oneof![
        one(ip().boxed()),
        one(v6().boxed()),
        several(|| ip().boxed()),
        several(|| v6().boxed()),
        several(|| prop_oneof![ip(), v6()].boxed()),
    ]
}

pub(crate) fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ]
}

/// A check that connects to nothing has its server's address.
fn unconnected(check: Check, addr: IpAddr) -> Check {
    if check.kind.connects() {
        return check;
    }
    Check {
        addr,
        port: 0,
        bind_addr: None,
        bind_port: 0,
        bind_if: None,
        fwmark: 0,
        timeout: check.timeout.max(Duration::from_millis(1)),
        ..check
    }
}

pub(crate) fn server() -> impl Strategy<Value = RealServer> {
    (
        prop_oneof![ip(), v6()],
        any::<u16>(),
        method(),
        any::<bool>(),
        any::<[u32; 2]>(),
        vec(check(), 0..3).prop_map(|mut all| {
            all.sort_by_key(|c| c.kind.name());
            all
        }),
        vec(option::weighted(0.2, script()), 2),
    )
        .prop_map(
            |(addr, weight, method, inhibit_on_failure, limits, checks, scripts)| RealServer {
                method,
                uthreshold: limits[0].max(limits[1]),
                lthreshold: limits[0].min(limits[1]),
                inhibit_on_failure,
                checks: checks.into_iter().map(|c| unconnected(c, addr)).collect(),
                smtp_alert: scripts[0].is_none(),
                notify_up: scripts[0].clone(),
                notify_down: scripts[1].clone(),
                ..RealServer::new(addr, 0, weight)
            },
        )
}

/// What there is of `DR_PATH_CHECK`: one at a server of direct routing, with what it knows.
fn dr_path(server: &mut RealServer) {
    let mut seen = server.method != ForwardMethod::Dr;
    server
        .checks
        .retain(|c| c.kind != CheckKind::DrPath || !std::mem::replace(&mut seen, true));
    let of_path = server
        .checks
        .iter_mut()
        .filter(|c| c.kind == CheckKind::DrPath);
    for check in of_path {
        (check.addr, check.bind_port, check.bind_if, check.fwmark) = (server.addr, 0, None, 0);
    }
}

pub(crate) fn service() -> impl Strategy<Value = Service> {
    let sorry = option::of((prop_oneof![ip(), v6()], method(), any::<bool>()));
    (
        (members(), protocol(), method()),
        prop::sample::select(Scheduler::ALL.to_vec()),
        option::of((1u64..=2_678_400, 1u8..=128)),
        any::<[bool; 9]>(),
        any::<[u32; 2]>(),
        sorry,
        vec(server(), 1..4),
        timeouts(),
        vec(option::weighted(0.2, script()), 2),
    )
        .prop_map(
            |(
                ((grouped, members), protocol, method),
                scheduler,
                persistence,
                flags,
                quorum,
                sorry,
                servers,
                timeouts,
                scripts,
            )| {
                let keys: Vec<ServiceKey> = members
                    .iter()
                    .map(|&(addr, port)| ServiceKey {
                        addr,
                        port,
                        protocol,
                    })
                    .collect();
                let key = keys[0];
                let one_family = keys.iter().all(|k| k.addr.is_ipv4() == key.addr.is_ipv4());
                let any_port = keys.iter().any(|k| k.port == 0);
                let bits = if key.addr.is_ipv4() { 32 } else { 128 };
                // What a server of another family needs.
                let way = |addr: IpAddr, method: ForwardMethod| {
                    let same = one_family && addr.is_ipv4() == key.addr.is_ipv4();
                    match method {
                        ForwardMethod::Dr if !same => ForwardMethod::Tun(Tunnel::Ipip),
                        method => method,
                    }
                };
                let mut real_servers: Vec<RealServer> = Vec::new();
                for r in servers {
                    if !real_servers.iter().any(|o| o.addr == r.addr) {
                        let mut r = RealServer {
                            port: key.port,
                            method: way(r.addr, r.method),
                            ..r
                        };
                        dr_path(&mut r);
                        real_servers.push(r);
                    }
                }
                let total = real_servers
                    .iter()
                    .map(|r| u32::from(r.weight))
                    .sum::<u32>()
                    .max(1);
                let q = quorum[0] % total + 1;
                let hashes = matches!(scheduler, Scheduler::Sh | Scheduler::Mh);
                Service {
                    group: grouped.then(|| Group {
                        name: String::new(),
                        others: keys[1..].to_vec(),
                    }),
                    scheduler,
                    sched_flags: SchedFlags {
                        port: flags[4] && hashes,
                        fallback: flags[5] && hashes,
                    },
                    method,
                    ops: flags[6] && protocol == Protocol::Udp,
                    timeouts,
                    expire_nodest_conn: flags[7],
                    expire_quiescent_template: flags[8],
                    persistence: persistence.or(any_port.then_some((360, 128))).map(
                        |(secs, len)| Persistence {
                            timeout: Duration::from_secs(secs),
                            prefix_len: len.min(bits),
                        },
                    ),
                    sloppy: flags[0],
                    alpha: flags[1],
                    omega: flags[2],
                    smtp_alert: scripts[0].is_some(),
                    quorum_up: scripts[0].clone(),
                    quorum_down: scripts[1].clone(),
                    quorum: q,
                    hysteresis: quorum[1] % q,
                    sorry_server: sorry.map(|(addr, method, inhibit)| SorryServer {
                        addr,
                        port: key.port,
                        method: way(addr, method),
                        inhibit,
                    }),
                    ha_suspend: flags[3],
                    real_servers,
                    ..Service::new(key)
                }
            },
        )
        .prop_filter("persistence is for one family", |s| {
            let same = |k: ServiceKey| k.addr.is_ipv4() == s.key.addr.is_ipv4();
            s.persistence.is_none() || s.keys().all(same)
        })
}
