//! Keys and values as the maps have them.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, ServiceSlot, service_key,
};

use super::desired::DesiredBackend;
use crate::model::{Protocol, ServiceKey};

/// An IPv4 address as it lies in a packet.
pub(super) fn wire(addr: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(addr.octets())
}

/// The key as the program computes it; `None` when the address is not IPv4.
pub(super) fn raw_key(key: ServiceKey) -> Option<u64> {
    match key.addr {
        IpAddr::V4(addr) => Some(service_key(
            wire(addr),
            key.port.to_be(),
            key.protocol.number(),
        )),
        IpAddr::V6(_) => None,
    }
}

/// The service of a raw key; `None` when its protocol is none that we know.
pub(super) fn service_of_key(key: u64) -> Option<ServiceKey> {
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|p| u64::from(p.number()) == key & 0xff)?;
    let addr = IpAddr::V4(Ipv4Addr::from(((key >> 32) as u32).to_ne_bytes()));
    Some(ServiceKey {
        addr,
        port: u16::from_be((key >> 16) as u16),
        protocol,
    })
}

/// The value of a real server.
pub(super) fn backend_value(backend: &DesiredBackend, addr: Ipv4Addr, service: u16) -> Backend {
    let mut flags = 0;
    if !backend.up {
        flags |= BACKEND_DOWN;
    }
    if backend.local {
        flags |= BACKEND_LOCAL;
    }
    let mut value = Backend {
        service,
        addr: wire(addr),
        port: backend.port.to_be(),
        weight: backend.weight,
        ..Backend::default()
    };
    if let Some(link) = backend.link {
        flags |= BACKEND_RESOLVED;
        value.dmac = link.dmac;
        value.smac = link.smac;
        value.ifindex = link.ifindex;
    }
    value.flags = flags;
    value
}

/// What a real server is good for, as bits: taking new connections, being reached.
pub(super) fn usable(flags: u16) -> u8 {
    u8::from(flags & BACKEND_DOWN == 0)
        | u8::from(flags & (BACKEND_RESOLVED | BACKEND_LOCAL) != 0) << 1
}

/// Address and port of a real server.
pub(super) fn endpoint(value: &Backend) -> (IpAddr, u16) {
    (
        IpAddr::V4(Ipv4Addr::from(value.addr.to_ne_bytes())),
        u16::from_be(value.port),
    )
}

/// The parameters of a slot: all but key and table.
pub(super) fn params(slot: &ServiceSlot) -> ServiceSlot {
    ServiceSlot {
        key: 0,
        table: 0,
        ..*slot
    }
}
