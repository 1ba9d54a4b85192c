//! The service table: flat, open addressing, a few probes.

use lb_common::hash::service_slot;
use lb_common::maps::{SERVICE_PROBES, ServiceSlot, service_key, service_key_v6};

use crate::atomic;
use crate::maps::SERVICES;

/// The service of this address (as `addr_words`), port and protocol, or the one for any port. As in the
/// packet.
#[inline(always)]
pub(crate) fn find<const V6: bool>(
    addr: [u64; 2],
    port: u16,
    proto: u8,
) -> Option<*const ServiceSlot> {
    at_port::<V6>(addr, port, proto).or_else(|| at_port::<V6>(addr, 0, proto))
}

/// The service of this very port.
#[inline(always)]
pub(crate) fn at_port<const V6: bool>(
    addr: [u64; 2],
    port: u16,
    proto: u8,
) -> Option<*const ServiceSlot> {
    let key = if V6 {
        service_key_v6(addr, port, proto)
    } else {
        service_key(addr[0] as u32, port, proto)
    };
    for probe in 0..SERVICE_PROBES {
        let slot = SERVICES.get_ptr(service_slot(key, probe))?;
        // SAFETY: an element of the map, and two words of it.
        let (found, there) = unsafe {
            let there = (&raw const (*slot).addr).cast::<[u64; 2]>();
            (atomic::load(&raw const (*slot).key), *there)
        };
        // Other addresses may have the same key.
        if found == key && (!V6 || there == addr) {
            return Some(slot);
        }
        if found == 0 {
            return None;
        }
    }
    None
}
