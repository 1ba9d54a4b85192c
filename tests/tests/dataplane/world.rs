//! The services and servers of the fuzzer.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, SERVICE_LOCAL, SERVICE_SLOPPY, Sched,
    ServiceSlot, service_key,
};
use lb_common::sched::{SH_SIZE, fill_sh};
use lb_tests::dataplane::{Director, IFINDEX};

use crate::frame::{OWN, PEER, TCP, UDP, VIP};

/// A service of the world.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) id: u16,
    pub(crate) port: u16,
    pub(crate) proto: u8,
    pub(crate) hash: bool,
    pub(crate) flags: u32,
    pub(crate) persist_ticks: u32,
    pub(crate) table: Vec<u16>,
}

pub(crate) const RR: u16 = 80;
pub(crate) const UDP_RR: u16 = 53;
pub(crate) const HASH: u16 = 8080;
pub(crate) const SLOPPY: u16 = 81;
pub(crate) const LOCAL: u16 = 82;
pub(crate) const EMPTY: u16 = 83;
pub(crate) const HALF_UNRESOLVED: u16 = 84;
pub(crate) const UNRESOLVED: u16 = 85;
pub(crate) const PERSISTENT: u16 = 86;
pub(crate) const OTHER_NIC: u16 = 87;
pub(crate) const UDP_DOWN: u16 = 88;
pub(crate) const HASH_WEIGHT_0: u16 = 89;
/// Every connection of a client goes where its first went, for so many ticks.
pub(crate) const PERSIST_TICKS: u32 = 1000;
/// The interface of the servers of [`OTHER_NIC`].
pub(crate) const EGRESS: u32 = 7;

pub(crate) fn services() -> Vec<Service> {
    let service = |id, port, proto, table: &[u16]| Service {
        id,
        port,
        proto,
        hash: false,
        flags: 0,
        persist_ticks: 0,
        table: table.to_vec(),
    };
    let sh = |servers: &[(u16, u16)]| {
        let mut table = [0; SH_SIZE];
        let len = fill_sh(servers, &mut table);
        table[..len].to_vec()
    };
    vec![
        service(1, RR, TCP, &[1, 2, 3]),
        service(2, UDP_RR, UDP, &[4, 5]),
        Service {
            hash: true,
            ..service(3, HASH, TCP, &sh(&[(6, 1), (7, 1)]))
        },
        Service {
            flags: SERVICE_SLOPPY,
            ..service(4, SLOPPY, TCP, &[8])
        },
        Service {
            flags: SERVICE_LOCAL,
            ..service(5, LOCAL, TCP, &[9])
        },
        service(6, EMPTY, TCP, &[]),
        service(7, HALF_UNRESOLVED, TCP, &[10, 11]),
        service(8, UNRESOLVED, TCP, &[12]),
        Service {
            persist_ticks: PERSIST_TICKS,
            ..service(9, PERSISTENT, TCP, &[13, 14])
        },
        service(10, OTHER_NIC, TCP, &[15]),
        service(11, UDP_DOWN, UDP, &[16, 17]),
        Service {
            hash: true,
            ..service(12, HASH_WEIGHT_0, TCP, &sh(&[(18, 1), (19, 0)]))
        },
    ]
}

pub(crate) fn backends() -> Vec<(u16, Backend)> {
    let mut backends = Vec::new();
    for service in services() {
        for &index in &service.table {
            if index == 0 || backends.iter().any(|&(there, _)| there == index) {
                continue;
            }
            let (flags, ifindex) = match index {
                9 => (BACKEND_LOCAL, 0),
                10 | 12 => (0, IFINDEX),
                15 => (BACKEND_RESOLVED, EGRESS),
                16 => (BACKEND_RESOLVED | BACKEND_DOWN, IFINDEX),
                _ => (BACKEND_RESOLVED, IFINDEX),
            };
            let backend = Backend {
                dmac: [2, 0xaa, 0, 0, 0, index as u8],
                smac: [2, 0xbb, 0, 0, 0, ifindex as u8],
                ifindex,
                flags,
                service: service.id,
                ..Backend::default()
            };
            backends.push((index, backend));
        }
    }
    backends
}

/// A director with all that, and a small flow table.
pub(crate) fn director(buckets: u32) -> Result<Director> {
    let mut director = Director::load(buckets)?;
    director.set_iface(IFINDEX, OWN, &[PEER])?;
    fill(&mut director)?;
    Ok(director)
}

/// Stores services and servers as they are at the start.
pub(crate) fn fill(director: &mut Director) -> Result<()> {
    for (index, backend) in backends() {
        director.set_backend(index, backend);
    }
    for service in services() {
        let slot = ServiceSlot {
            key: service_key(addr(VIP), service.port.to_be(), service.proto),
            id: service.id,
            sched: if service.hash {
                Sched::SourceHash as u8
            } else {
                Sched::Turn as u8
            },
            flags: service.flags,
            persist_ticks: service.persist_ticks,
            persist_mask: u32::from_ne_bytes([255, 255, 255, 0]),
            ..ServiceSlot::default()
        };
        director.set_service(slot, &service.table)?;
    }
    Ok(())
}

/// An address as it lies in a packet.
pub(crate) fn addr(addr: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(addr.octets())
}
