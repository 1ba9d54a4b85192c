//! From configuration, health and neighbours to what the data plane should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use lb_common::maps::BACKEND_RESOLVED;

use crate::health::{Health, Target};
use crate::model::{ForwardMethod, Model, RealServer, Service, ServiceKey};
use crate::plan::{DesiredBackend, DesiredService, Dump, Link, Tables};

/// All services as they should be. A target that is not listed is left out: the plan keeps its
/// established connections and gives it nothing new.
pub(super) fn services(
    model: &Model,
    health: &Health,
    neighbours: &BTreeMap<Ipv4Addr, Link>,
    own: &BTreeSet<IpAddr>,
) -> Vec<DesiredService> {
    model
        .services
        .iter()
        .map(|service| {
            let targets = health.targets(&service.key).unwrap_or_default();
            DesiredService {
                key: service.key,
                scheduler: service.scheduler,
                persistence: service.persistence,
                sloppy: service.sloppy,
                backends: targets
                    .iter()
                    .filter(|t| t.listed)
                    .map(|t| backend(t, neighbours, own))
                    .collect(),
            }
        })
        .collect()
}

fn backend(
    target: &Target,
    neighbours: &BTreeMap<Ipv4Addr, Link>,
    own: &BTreeSet<IpAddr>,
) -> DesiredBackend {
    let link = match target.addr {
        IpAddr::V4(addr) => neighbours.get(&addr).copied(),
        IpAddr::V6(_) => None,
    };
    DesiredBackend {
        addr: target.addr,
        port: target.port,
        weight: target.effective_weight,
        up: target.up || target.sorry,
        link,
        local: own.contains(&target.addr),
    }
}

/// The MACs of the real servers of each service of which this host is one too, with the service's id.
/// When such a server is a director as well, it forwards to this host what it has scheduled; also
/// while it has never been heard as a master.
pub(super) fn fellows(
    model: &Model,
    tables: &Tables,
    neighbours: &BTreeMap<Ipv4Addr, Link>,
    own: &BTreeSet<IpAddr>,
) -> BTreeSet<([u8; 6], u16)> {
    let ids: BTreeMap<ServiceKey, u16> = tables
        .services()
        .filter(|(_, _, removed)| !removed)
        .map(|(id, key, _)| (key, id))
        .collect();
    let mut fellows = BTreeSet::new();
    for service in &model.services {
        let servers = &service.real_servers;
        // Through a tunnel or a router the MAC says nothing about the sender.
        let is_here = servers.iter().any(|s| own.contains(&s.addr));
        if !is_here || service.method != ForwardMethod::Dr {
            continue;
        }
        let Some(id) = ids.get(&service.key) else {
            continue;
        };
        for server in servers {
            let IpAddr::V4(addr) = server.addr else {
                continue;
            };
            if let Some(link) = neighbours.get(&addr) {
                fellows.insert((link.dmac, *id));
            }
        }
    }
    fellows
}

/// How real servers were reached when the maps were last written, so that adopting them stops no
/// packet.
pub(super) fn known_links(dump: &Dump) -> BTreeMap<Ipv4Addr, Link> {
    dump.backends
        .iter()
        .filter(|(_, b)| b.flags & BACKEND_RESOLVED != 0 && b.ifindex != 0)
        .map(|(_, b)| {
            let addr = Ipv4Addr::from(b.addr.to_ne_bytes());
            (
                addr,
                Link {
                    dmac: b.dmac,
                    smac: b.smac,
                    ifindex: b.ifindex,
                },
            )
        })
        .collect()
}

/// Every address to which frames may have to be sent.
pub(super) fn to_resolve(model: &Model) -> BTreeSet<Ipv4Addr> {
    let of = |s: &Service| {
        let servers = s.real_servers.iter().map(|r| r.addr);
        servers
            .chain(s.sorry_server.map(|s| s.addr))
            .collect::<Vec<_>>()
    };
    model
        .services
        .iter()
        .flat_map(of)
        .filter_map(|a| match a {
            IpAddr::V4(a) => Some(a),
            IpAddr::V6(_) => None,
        })
        .collect()
}

/// The real servers that a predecessor had taken out: their service is in the maps, they are not,
/// or have weight 0 there that the configuration does not give them (`inhibit_on_failure`). A server
/// that was added to the file while no daemon ran is among them; it is used once its first check has
/// passed.
pub(super) fn missing<'m>(model: &'m Model, tables: &Tables) -> Vec<(&'m Service, &'m RealServer)> {
    let live: BTreeMap<(u16, IpAddr, u16), u16> = tables
        .backends()
        .filter(|(_, _, _, _, removed)| !removed)
        .map(|(index, id, addr, port, _)| ((id, IpAddr::V4(addr), port), index))
        .collect();
    let ids: BTreeMap<ServiceKey, u16> = tables
        .services()
        .filter(|(_, _, removed)| !removed)
        .map(|(id, key, _)| (key, id))
        .collect();
    let mut missing = Vec::new();
    for service in &model.services {
        let Some(id) = ids.get(&service.key) else {
            continue;
        };
        for server in &service.real_servers {
            let in_use = match live.get(&(*id, server.addr, server.port)) {
                Some(index) => {
                    let quiet = tables.weight(*index) == Some(0) && server.weight > 0;
                    !(quiet && server.inhibit_on_failure)
                }
                None => false,
            };
            if !in_use {
                missing.push((service, server));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ForwardMethod, Protocol, Scheduler, SorryServer};
    use crate::plan::Refs;
    use crate::time::Time;

    fn service(servers: &[u8]) -> Service {
        Service {
            scheduler: Scheduler::Rr,
            real_servers: servers
                .iter()
                .map(|&last| RealServer {
                    inhibit_on_failure: last >= 100,
                    ..RealServer::new([10, 0, 0, last].into(), 80, 1)
                })
                .collect(),
            ..Service::new(ServiceKey {
                addr: [192, 0, 2, 1].into(),
                port: 80,
                protocol: Protocol::Tcp,
            })
        }
    }

    /// The last bytes of what is missing after a predecessor that had `(last byte, weight)` of a
    /// service in the maps, or no service at all.
    fn left(model: &Model, held: Option<&[(u8, u16)]>) -> Vec<u8> {
        let desired: Vec<DesiredService> = held
            .iter()
            .map(|backends| DesiredService {
                key: model.services[0].key,
                scheduler: Scheduler::Rr,
                persistence: None,
                sloppy: false,
                backends: backends
                    .iter()
                    .map(|&(last, weight)| DesiredBackend {
                        addr: [10, 0, 0, last].into(),
                        port: 80,
                        weight,
                        up: true,
                        link: None,
                        local: false,
                    })
                    .collect(),
            })
            .collect();
        let plan = Tables::new(250).plan(&desired, &Refs::default(), Time::ZERO);
        assert!(plan.refused.is_empty());
        let last = |server: &RealServer| match server.addr {
            IpAddr::V4(a) => a.octets()[3],
            IpAddr::V6(_) => 0,
        };
        let missing = missing(model, &plan.next);
        missing
            .into_iter()
            .map(|(_, server)| last(server))
            .collect()
    }

    #[test]
    fn fellows_are_the_servers_of_the_services_that_are_also_here() {
        let mut model = Model {
            services: vec![service(&[1, 2, 9]), service(&[2, 3])],
            ..Model::default()
        };
        model.services[1].key.port = 81;
        let link = |last| {
            let addr = Ipv4Addr::new(10, 0, 0, last);
            let dmac = [2, 0, 0, 0, 0, last];
            let smac = [2, 1, 1, 1, 1, 1];
            let ifindex = 2;
            (
                addr,
                Link {
                    dmac,
                    smac,
                    ifindex,
                },
            )
        };
        // The third is not resolved.
        let neighbours = [link(1), link(2), link(3)].into();
        let own = |last: u8| [IpAddr::from([10, 0, 0, last])].into();
        let health = Health::new();
        let desired = services(&model, &health, &neighbours, &own(9));
        let plan = Tables::new(250).plan(&desired, &Refs::default(), Time::ZERO);
        let tables = plan.next;
        let id = tables.services().find(|(_, key, _)| key.port == 80);
        let id = id.map(|(id, ..)| id).unwrap();
        let of = |own| fellows(&model, &tables, &neighbours, &own);
        let mac = |last| [2, 0, 0, 0, 0, last];
        assert_eq!(of(own(9)), [(mac(1), id), (mac(2), id)].into());
        assert_eq!(of(own(77)), BTreeSet::new());
    }

    #[test]
    fn what_a_predecessor_had_taken_out() {
        let mut model = Model {
            services: vec![service(&[1, 2, 100])],
            ..Model::default()
        };
        let none: [u8; 0] = [];
        assert_eq!(
            left(&model, None),
            none,
            "a fresh start: all are assumed up"
        );
        assert_eq!(left(&model, Some(&[(1, 1), (2, 1), (100, 1)])), none);
        assert_eq!(left(&model, Some(&[(2, 1), (100, 1)])), [1]);
        assert_eq!(
            left(&model, Some(&[])),
            [1, 2, 100],
            "all of them were dead"
        );
        assert_eq!(
            left(&model, Some(&[(1, 0), (2, 1), (100, 0)])),
            [100],
            "inhibited"
        );
        model.services[0].sorry_server = Some(SorryServer {
            addr: [10, 0, 0, 9].into(),
            port: 80,
            method: ForwardMethod::Dr,
            inhibit: false,
        });
        assert_eq!(
            left(&model, Some(&[(9, 1), (100, 0)])),
            [1, 2, 100],
            "sorry"
        );
    }
}
