//! From configuration, health and neighbours to what the data plane should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use lb_common::maps::BACKEND_RESOLVED;

use crate::health::{Health, Target};
use crate::model::{Model, RealServer, Service};
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

/// The real servers that a predecessor had taken out: their service is in the maps, they are not.
/// A server that was added to the file while no daemon ran is among them; it is used once its first
/// check has passed.
pub(super) fn missing<'m>(model: &'m Model, tables: &Tables) -> Vec<(&'m Service, &'m RealServer)> {
    let live: BTreeSet<(u16, IpAddr, u16)> = tables
        .backends()
        .filter(|(_, _, _, _, removed)| !removed)
        .map(|(_, id, addr, port, _)| (id, IpAddr::V4(addr), port))
        .collect();
    let ids: BTreeMap<_, u16> = live
        .iter()
        .filter_map(|(id, _, _)| Some((tables.service_of(*id)?, *id)))
        .collect();
    let mut missing = Vec::new();
    for service in &model.services {
        // With its sorry server alone in the maps a service had lost all of its real servers.
        let Some(id) = ids.get(&service.key) else {
            continue;
        };
        for server in &service.real_servers {
            if !live.contains(&(*id, server.addr, server.port)) {
                missing.push((service, server));
            }
        }
    }
    missing
}
