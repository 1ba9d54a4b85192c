//! Whether a frame for a service is one to balance: sent to this host, and not by a peer director.

use lb_common::maps::{
    IFACE_PROBES, Iface, SERVICE_LOCAL, iface_slot, mac_bloom, peer_key, virtual_mac_bit,
};
use lb_common::reason::Reason;

use crate::maps::{IFACES, PEERS};
use crate::packet::field;

/// 00:00:5e:00:01 for IPv4, 00:00:5e:00:02 for IPv6, and then the VRID (RFC 9568, 7.3).
const VRRP_MAC_START: u32 = u32::from_ne_bytes([0, 0, 0x5e, 0]);

#[inline(always)]
fn find(ifindex: u32) -> Option<*const Iface> {
    for probe in 0..IFACE_PROBES {
        let iface = IFACES.get_ptr(iface_slot(ifindex, probe))?;
        // SAFETY: an element of the map.
        if unsafe { (*iface).ifindex } == ifindex {
            return Some(iface);
        }
    }
    None
}

/// Whether the MAC 00:00:5e:00:`kind`:`vrid` is of a virtual router that this host is at this moment.
#[inline(always)]
fn is_virtual(iface: *const Iface, kind: u8, vrid: u8) -> bool {
    let (word, bit) = virtual_mac_bit(kind, vrid);
    // SAFETY: an element of the map; the word is one of its eight.
    unsafe { (*iface).virtual_macs[word & 7] & bit != 0 }
}

#[inline(always)]
fn is_peer(key: u64) -> bool {
    // SAFETY: the value is not used.
    unsafe { PEERS.get(key) }.is_some()
}

/// Whether the frame is to be balanced; else what becomes of it.
///
/// # Safety
/// `frame` points to a frame of 14 bytes at least.
#[inline(always)]
pub(crate) unsafe fn check(
    frame: usize,
    ingress: u32,
    service: u16,
    service_flags: u32,
) -> Result<(), Reason> {
    let Some(iface) = find(ingress) else {
        return Err(Reason::UnknownIface);
    };
    // SAFETY: an element of the map; the MAC lies at a multiple of four.
    let (own_start, own_rest, bloom) = unsafe {
        let mac = (&raw const (*iface).mac).cast::<u8>();
        (
            *mac.cast::<u32>(),
            *mac.add(4).cast::<u16>(),
            (*iface).peer_bloom,
        )
    };
    // SAFETY: the caller's promise.
    let (start, rest) = unsafe { (field::<u32>(frame), field::<u16>(frame + 4)) };
    let is_own = start == own_start && rest == own_rest;
    // A switch that has forgotten where a MAC is floods its frames; they are not ours.
    if !is_own {
        let [kind, vrid] = rest.to_ne_bytes();
        if start != VRRP_MAC_START || kind != 1 && kind != 2 {
            return Err(Reason::OtherMac);
        }
        // Dropped: the address may just have come, and the stack would answer for it.
        if !is_virtual(iface, kind, vrid) {
            return Err(Reason::VirtualMac);
        }
    }
    if bloom != 0 {
        // SAFETY: the caller's promise. As `mac_key` makes it.
        let smac = unsafe {
            u64::from(field::<u32>(frame + 6)) | u64::from(field::<u16>(frame + 10)) << 32
        };
        // What a peer director sent here it has scheduled already. To do so again could send the
        // frame back and forth for ever.
        if bloom & mac_bloom(smac) != 0 && (is_peer(smac) || is_peer(peer_key(smac, service))) {
            return Err(if service_flags & SERVICE_LOCAL != 0 {
                Reason::PeerLocal
            } else {
                Reason::PeerDirector
            });
        }
    }
    Ok(())
}
