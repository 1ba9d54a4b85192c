//! What direct routing changes in a frame: both MACs, and the TTL with the header checksum or the
//! hop limit.

use lb_common::checksum::after_ttl_decrement;
use lb_common::maps::Backend;
use lb_common::reason::Reason;

/// Whether the outgoing link takes a packet of this length, its tunnel included.
#[inline(always)]
pub(crate) fn fits(ip_len: u32, backend: *const Backend) -> bool {
    // SAFETY: an element of a map.
    let mtu = unsafe { (*backend).mtu };
    // An MTU of 0, which is any, becomes the largest.
    ip_len <= u32::from(mtu.wrapping_sub(1)) + 1
}

/// Writes both MACs.
///
/// # Safety
/// `frame` points to a frame of 12 bytes or more; `backend` is an element of a map.
#[inline(always)]
pub(crate) unsafe fn set_macs(frame: usize, backend: *const Backend) {
    // SAFETY: the caller's promise. MACs are copied as the twelve bytes that they are in both.
    unsafe {
        *(frame as *mut u64) = *backend.cast::<u64>();
        *((frame + 8) as *mut u32) = *backend.cast::<u32>().add(2);
    }
}

/// Takes one from the TTL or hop limit, as a router does; what is left.
///
/// # Safety
/// `ip` points to an IP header of which 20 bytes are there.
#[inline(always)]
pub(crate) unsafe fn pass_hop<const V6: bool>(ip: usize) -> Result<u8, Reason> {
    // SAFETY: the caller's promise.
    unsafe {
        let hops = (ip + if V6 { 7 } else { 8 }) as *mut u8;
        if *hops <= 1 {
            return Err(Reason::TtlExpired);
        }
        *hops -= 1;
        if !V6 {
            let check = (ip + 10) as *mut u16;
            *check = after_ttl_decrement(*check);
        }
        Ok(*hops)
    }
}

/// Addresses the frame to the backend.
///
/// # Safety
/// `frame` points to a frame whose IP header, of which 20 bytes are there, begins at `ip`.
#[inline(always)]
pub(crate) unsafe fn to_backend<const V6: bool>(
    frame: usize,
    ip: usize,
    backend: *const Backend,
) -> Result<(), Reason> {
    // SAFETY: the caller's promise; `backend` is an element of a map.
    unsafe {
        pass_hop::<V6>(ip)?;
        set_macs(frame, backend);
    }
    Ok(())
}
