//! The services of two directors.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Side, differ, only, place};
use crate::config::diag::{Diagnostic, Severity};
use crate::config::tree::Node;
use crate::model::{Model, Scheduler, Service, ServiceKey};

fn keys(model: &Model) -> Vec<(ServiceKey, &Service)> {
    let of = |s| {
        let s: &Service = s;
        s.keys().map(move |key| (key, s)).collect::<Vec<_>>()
    };
    model.services.iter().flat_map(of).collect()
}

pub(super) fn services(sides: &[Side; 2], out: &mut Vec<Diagnostic>) {
    let all = [keys(&sides[0].model), keys(&sides[1].model)];
    let mut done: BTreeSet<(ServiceKey, ServiceKey)> = BTreeSet::new();
    for (at, other) in [(0, 1), (1, 0)] {
        for (key, service) in &all[at] {
            let theirs = all[other].iter().find(|(k, _)| k == key);
            match theirs {
                None => {
                    let node = sides[at].service_node(service);
                    out.push(differ(
                        Severity::Error,
                        format!("only one of the directors has the service {key}"),
                        [
                            node.map(|n| {
                                (n.whole(), "the other file has no such service".to_owned())
                            }),
                            None,
                        ],
                        "after a failover its clients are refused",
                    ));
                }
                Some((_, theirs)) if at == 0 && done.insert((service.key, theirs.key)) => {
                    let nodes = [
                        sides[0].service_node(service),
                        sides[1].service_node(theirs),
                    ];
                    service_pair([*service, *theirs], nodes, out);
                }
                Some(_) => {}
            }
        }
    }
}

fn service_pair(of: [&Service; 2], nodes: [Option<&Node>; 2], out: &mut Vec<Diagnostic>) {
    let [a, b] = of;
    let hashed = matches!(a.scheduler, Scheduler::Sh | Scheduler::Mh | Scheduler::Dh);
    let mut say = |what: &str, keywords: &[&str], labels: [String; 2], help: &str| {
        let [x, y] = nodes.map(|n| place(n, keywords));
        let [first, second] = labels;
        out.push(differ(
            Severity::Warning,
            format!("{}: {what}", a.key),
            [x.map(|s| (s, first)), y.map(|s| (s, second))],
            help,
        ));
    };
    if a.scheduler != b.scheduler || a.sched_flags != b.sched_flags {
        let text = |s: &Service| {
            let flags = s.sched_flags.names(s.scheduler);
            match flags.as_slice() {
                [] => s.scheduler.name().to_owned(),
                flags => format!("{} ({})", s.scheduler.name(), flags.join(", ")),
            }
        };
        say(
            "the schedulers differ",
            &["lb_algo", "lvs_sched"],
            [text(a), text(b)],
            "after a failover clients go to other real servers; a hash finds no connection again",
        );
    }
    if a.method != b.method {
        let text = |s: &Service| format!("{:?}", s.method);
        say(
            "lb_kind differs",
            &["lb_kind", "lvs_method"],
            [text(a), text(b)],
            "the real servers must be prepared for both",
        );
    }
    if a.persistence != b.persistence {
        let text = |s: &Service| match s.persistence {
            None => "no persistence".to_owned(),
            Some(p) => format!("{} s, prefix {}", p.timeout.as_secs(), p.prefix_len),
        };
        say(
            "persistence differs",
            &["persistence_timeout", "persistence_granularity"],
            [text(a), text(b)],
            "after a failover clients stay with their server for another time, or not at all",
        );
    }
    servers([a, b], hashed, &mut say);
}

fn servers(
    of: [&Service; 2],
    hashed: bool,
    say: &mut impl FnMut(&str, &[&str], [String; 2], &str),
) {
    let [a, b] = of;
    let set = |s: &Service| {
        let all = s.real_servers.iter().map(|r| r.addr);
        all.collect::<BTreeSet<IpAddr>>()
    };
    let help = match hashed {
        true => {
            "a hash finds a connection's server again after a failover only when both have the same \
                 servers and weights"
        }
        false => "after a failover the load is spread otherwise",
    };
    let [x, y] = [set(a), set(b)];
    if x != y {
        let keywords = ["real_server"];
        say(
            "the real servers differ",
            &keywords,
            [only(&x, &y), only(&y, &x)],
            help,
        );
    }
    let other_weight = a.real_servers.iter().find_map(|r| {
        let t = b.real_servers.iter().find(|t| t.addr == r.addr)?;
        (t.weight != r.weight).then_some((r, t))
    });
    if let Some((r, t)) = other_weight {
        let text = |r: &crate::model::RealServer| format!("{} has weight {}", r.addr, r.weight);
        say(
            "the weight of a real server differs",
            &["real_server"],
            [text(r), text(t)],
            help,
        );
    }
    let sorry = |s: &Service| s.sorry_server.map(|s| s.addr);
    if sorry(a) != sorry(b) {
        let text = |s: &Service| sorry(s).map_or("none".to_owned(), |s| s.to_string());
        let keywords = ["sorry_server"];
        let help = "after a failover another one stands in when all real servers are down";
        say(
            "the sorry servers differ",
            &keywords,
            [text(a), text(b)],
            help,
        );
    }
}
