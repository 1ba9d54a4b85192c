//! From configuration, health and neighbours to what the data plane should hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::health::{Health, Target};
use crate::model::{ForwardMethod, Model, RealServer, Service, ServiceKey};
use crate::plan::{Defaults, DesiredBackend, DesiredService, FLOOD_RATE, Link, Tables};

/// Which services of a model a change concerns, by their place in it.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_key: HashMap<ServiceKey, usize>,
    by_server: HashMap<IpAddr, Vec<usize>>,
}

impl Index {
    pub(super) fn of(model: &Model) -> Index {
        let mut index = Index::default();
        for (place, service) in model.services.iter().enumerate() {
            index.by_key.insert(service.key, place);
            for addr in servers(service) {
                let at = index.by_server.entry(addr).or_default();
                if at.last() != Some(&place) {
                    at.push(place);
                }
            }
        }
        index
    }

    /// The service that the checks know by this key.
    pub(super) fn service(&self, key: &ServiceKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The services that have a real server of this address.
    pub(super) fn at(&self, addr: &IpAddr) -> &[usize] {
        self.by_server.get(addr).map_or(&[], Vec::as_slice)
    }
}

/// Which services a new plan is wanted for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Due {
    /// For none.
    #[default]
    Nothing,
    /// For those at these places of the model.
    Some(BTreeSet<usize>),
    /// For all, and what is not among them goes.
    All,
}

impl Due {
    /// For these as well.
    pub(super) fn add(&mut self, places: &[usize]) {
        match self {
            Due::All => {}
            Due::Some(some) => some.extend(places),
            Due::Nothing if places.is_empty() => {}
            Due::Nothing => *self = Due::Some(places.iter().copied().collect()),
        }
    }
}

/// What services are made from beside the configuration.
pub(super) struct View<'a> {
    pub(super) health: &'a Health,
    pub(super) neighbours: &'a BTreeMap<IpAddr, Link>,
    pub(super) own: &'a BTreeSet<IpAddr>,
}

/// A service as it should be: one for each of its addresses. A target that is not listed is left out:
/// the plan keeps its established connections and gives it nothing new.
pub(super) fn service(service: &Service, view: &View<'_>) -> Vec<DesiredService> {
    let targets = view.health.targets(&service.key).unwrap_or_default();
    let backends: Vec<DesiredBackend> = targets
        .iter()
        .filter(|t| t.listed)
        .map(|t| backend(t, view))
        .collect();
    service
        .keys()
        .map(|key| DesiredService {
            sched_flags: service.sched_flags,
            ops: service.ops,
            persistence: service.persistence,
            sloppy: service.sloppy,
            expire_nodest_conn: service.expire_nodest_conn,
            expire_quiescent_template: service.expire_quiescent_template,
            timeouts: service.timeouts,
            // Neither direct routing nor a tunnel changes the port.
            backends: backends
                .iter()
                .map(|b| DesiredBackend {
                    port: key.port,
                    ..*b
                })
                .collect(),
            ..DesiredService::new(key, service.scheduler)
        })
        .collect()
}

fn backend(target: &Target, view: &View<'_>) -> DesiredBackend {
    DesiredBackend {
        full_weight: target
            .by_hand
            .weight
            .filter(|w| *w > 0)
            .unwrap_or(target.weight),
        up: target.up || target.sorry,
        link: view.neighbours.get(&target.addr).copied(),
        local: view.own.contains(&target.addr),
        method: target.method,
        uthreshold: target.uthreshold,
        lthreshold: target.lthreshold,
        ..DesiredBackend::new(target.addr, target.port, target.effective_weight)
    }
}

/// What holds for all services.
pub(super) fn defaults(model: &Model) -> Defaults {
    Defaults {
        timeouts: model.global.timeouts,
        flood_rate: model.global.flood_rate.unwrap_or(FLOOD_RATE),
    }
}

/// The MACs of the real servers of each service of which this host is one too, with the service's id.
/// When such a server is a director as well, it forwards to this host what it has scheduled; also
/// while it has never been heard as a master.
pub(super) fn fellows(
    model: &Model,
    index: &Index,
    tables: &Tables,
    view: &View<'_>,
) -> BTreeSet<([u8; 6], u16)> {
    let mut fellows = BTreeSet::new();
    let here: BTreeSet<usize> = view.own.iter().flat_map(|a| index.at(a)).copied().collect();
    for service in here.iter().filter_map(|place| model.services.get(*place)) {
        // Through a tunnel or a router the MAC says nothing about the sender.
        let direct = |s: &&RealServer| s.method == ForwardMethod::Dr;
        let servers = || service.real_servers.iter().filter(direct);
        if !servers().any(|s| view.own.contains(&s.addr)) {
            continue;
        }
        let ids: Vec<u16> = service.keys().filter_map(|key| tables.id_of(key)).collect();
        let links = servers().filter_map(|s| view.neighbours.get(&s.addr));
        for link in links.filter(|l| l.on_link) {
            fellows.extend(ids.iter().map(|id| (link.dmac, *id)));
        }
    }
    fellows
}

/// The virtual addresses on this host whose packets only services may have (`no_accept`).
pub(super) fn refused(model: &Model, here: &BTreeMap<IpAddr, bool>) -> BTreeSet<IpAddr> {
    let instances = model.instances.iter().filter(|i| !i.accept);
    let addresses = instances.flat_map(|i| i.addresses.iter().chain(&i.excluded));
    addresses
        .map(|a| a.addr)
        .filter(|addr| here.get(addr) == Some(&true))
        .collect()
}

/// The real servers of direct routing that are behind a router, with its MAC.
pub(super) fn routed(
    model: &Model,
    neighbours: &BTreeMap<IpAddr, Link>,
) -> BTreeMap<IpAddr, [u8; 6]> {
    if neighbours.values().all(|link| link.on_link) {
        return BTreeMap::new();
    }
    let servers = model.services.iter().flat_map(|service| {
        let sorry = service.sorry_server.iter().map(|s| (s.addr, s.method));
        let servers = service.real_servers.iter().map(|s| (s.addr, s.method));
        servers.chain(sorry)
    });
    servers
        .filter(|(_, method)| *method == ForwardMethod::Dr)
        .filter_map(|(addr, _)| Some((addr, neighbours.get(&addr).filter(|l| !l.on_link)?.dmac)))
        .collect()
}

/// How real servers were reached when the maps were last written, so that adopting them stops no
/// packet.
pub(super) fn known_links(tables: &Tables) -> BTreeMap<IpAddr, Link> {
    let mut known: BTreeMap<IpAddr, Link> = BTreeMap::new();
    for (addr, link) in tables.links() {
        // One that is reached through a tunnel too says what is needed for both.
        let knows_more = link.source.is_some();
        if knows_more || !known.contains_key(&addr) {
            known.insert(addr, link);
        }
    }
    known
}

/// The addresses of a service's real servers.
fn servers(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let sorry = service.sorry_server.map(|s| s.addr);
    service.real_servers.iter().map(|r| r.addr).chain(sorry)
}

/// Every address to which frames may have to be sent: the configuration's, and those of servers that
/// were removed, as long as they have connections.
pub(super) fn to_resolve(model: &Model, tables: &Tables) -> BTreeSet<IpAddr> {
    let configured = model.services.iter().flat_map(servers);
    let known = tables.backends().map(|(_, _, addr, _, _)| addr);
    configured.chain(known).collect()
}

/// The real servers that a predecessor had taken out: their service is in the maps, they are not,
/// or have weight 0 there that the configuration does not give them (`inhibit_on_failure`). A server
/// that was added to the file while no daemon ran is among them; it is used once its first check has
/// passed.
pub(super) fn missing<'m>(model: &'m Model, tables: &Tables) -> Vec<(&'m Service, &'m RealServer)> {
    let live: BTreeMap<(u16, IpAddr, u16), u16> = tables
        .backends()
        .filter(|(_, _, _, _, removed)| !removed)
        .map(|(index, id, addr, port, _)| ((id, addr, port), index))
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
                backends: backends
                    .iter()
                    .map(|&(last, weight)| DesiredBackend::new([10, 0, 0, last].into(), 80, weight))
                    .collect(),
                ..DesiredService::new(model.services[0].key, Scheduler::Rr)
            })
            .collect();
        let mut tables = Tables::new(250);
        let plan = tables.plan(&desired, &Refs::default(), Time::ZERO);
        assert!(plan.refused.is_empty());
        let last = |server: &RealServer| match server.addr {
            IpAddr::V4(a) => a.octets()[3],
            IpAddr::V6(_) => 0,
        };
        let missing = missing(model, &tables);
        missing
            .into_iter()
            .map(|(_, server)| last(server))
            .collect()
    }

    #[test]
    fn fellows_are_the_servers_of_the_services_that_are_also_here() {
        let mut model = Model {
            services: vec![service(&[1, 2, 4, 9]), service(&[2, 3])],
            ..Model::default()
        };
        model.services[1].key.port = 81;
        let link = |last| {
            let addr = IpAddr::from([10, 0, 0, last]);
            (
                addr,
                Link::new([2, 0, 0, 0, 0, last], [2, 1, 1, 1, 1, 1], 2),
            )
        };
        // A router's MAC is also that of the clients behind it.
        let (addr, mut routed) = link(4);
        routed.on_link = false;
        let neighbours = [link(1), link(2), link(3), (addr, routed)].into();
        let own = |last: u8| [IpAddr::from([10, 0, 0, last])].into();
        let mut tables = Tables::new(250);
        let view = View {
            health: &Health::new(),
            neighbours: &neighbours,
            own: &own(9),
        };
        let desired: Vec<_> = model
            .services
            .iter()
            .flat_map(|s| super::service(s, &view))
            .collect();
        let _ = tables.plan(&desired, &Refs::default(), Time::ZERO);
        let id = tables.id_of(model.services[0].key).unwrap();
        let index = Index::of(&model);
        let of = |own| {
            let view = View { own: &own, ..view };
            fellows(&model, &index, &tables, &view)
        };
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
