//! The service table: flat, open addressing, a few probes.

use lb_common::hash::service_slot;
use lb_common::maps::{SERVICE_PROBES, ServiceSlot};

use crate::atomic;
use crate::maps::SERVICES;

/// The service with this key.
#[inline(always)]
pub(crate) fn find(key: u64) -> Option<*const ServiceSlot> {
    for probe in 0..SERVICE_PROBES {
        let slot = SERVICES.get_ptr(service_slot(key, probe))?;
        // SAFETY: an element of the map.
        let found = unsafe { atomic::load(&raw const (*slot).key) };
        if found == key {
            return Some(slot);
        }
        if found == 0 {
            return None;
        }
    }
    None
}
