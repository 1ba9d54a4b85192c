//! What direct routing changes in a frame: both MACs, the TTL and with it the header checksum.

use lb_common::checksum::after_ttl_decrement;
use lb_common::maps::{Backend, Forward};
use lb_common::reason::Reason;

use crate::packet::Packet;

/// Whether direct routing can just send the packet: no tunnel, and not longer than the outgoing link
/// takes.
#[inline(always)]
pub(crate) fn is_plain(packet: &Packet, backend: *const Backend) -> bool {
    // SAFETY: an element of a map.
    let (forward, mtu) = unsafe { ((*backend).forward, (*backend).mtu) };
    // An MTU of 0, which is any, becomes the largest.
    forward == Forward::Direct as u8 && packet.ip_len <= u32::from(mtu.wrapping_sub(1)) + 1
}

/// Addresses the frame to the backend.
#[inline(always)]
pub(crate) fn to_backend(packet: &Packet, backend: *const Backend) -> Result<(), Reason> {
    let frame = packet.start();
    // SAFETY: `Packet::parse` saw 34 bytes; `backend` is an element of a map. MACs are copied as the
    // twelve bytes that they are in both.
    unsafe {
        let ttl = (frame + 22) as *mut u8;
        let check = (frame + 24) as *mut u16;
        if *ttl <= 1 {
            return Err(Reason::TtlExpired);
        }
        *ttl -= 1;
        *check = after_ttl_decrement(*check);
        *(frame as *mut u64) = *backend.cast::<u64>();
        *((frame + 8) as *mut u32) = *backend.cast::<u32>().add(2);
    }
    Ok(())
}
