//! Virtual addresses that are here but not to be talked to (`no_accept`): what is for one of them and
//! for no service stays out of the stack (RFC 5798 section 6.4.3 (650)). ARP is no IP, and neighbour
//! discovery is let through: others must find the address.

use aya_ebpf::bindings::xdp_md;
use lb_common::maps::{RefusedKey, refused_key};
use lb_common::reason::Reason;

use crate::maps::{REFUSED, settings};
use crate::packet::{ETHER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, bounds, field};
use crate::unusual::{ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, ICMP_V6, TAGS};

/// ICMPv6 types (RFC 4861).
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// What becomes of a frame that would go up the stack for this reason. Of a datagram in fragments the
/// first is enough; what is about a service, or for another host, is none of ours.
#[inline(always)]
pub(crate) fn check(ctx: *mut xdp_md, reason: Reason) -> Reason {
    let may_be = matches!(
        reason,
        Reason::NoService | Reason::OtherProtocol | Reason::ExtensionHeaders
    );
    let Some(settings) = settings().filter(|_| may_be) else {
        return reason;
    };
    // SAFETY: an element of the map.
    if unsafe { (*settings).refused } != 0 && is_refused(ctx) != 0 {
        return Reason::NotAccepted;
    }
    reason
}

/// Whether it is for such an address. Not inlined: few hosts have one.
#[inline(never)]
fn is_refused(ctx: *mut xdp_md) -> u32 {
    let Some(key) = destination(ctx) else {
        return 0;
    };
    // SAFETY: the value is not used.
    u32::from(unsafe { REFUSED.get(key) }.is_some())
}

/// To whom an IP packet goes; nothing for neighbour discovery.
#[inline(always)]
fn destination(ctx: *mut xdp_md) -> Option<RefusedKey> {
    let (frame, end) = bounds(ctx);
    let mut l3 = frame + ETHER_LEN;
    if l3 > end {
        return None;
    }
    // SAFETY: just compared, as everywhere below.
    let mut ethertype = unsafe { field::<u16>(frame + 12) };
    for _ in 0..TAGS {
        if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN {
            if l3 + 4 > end {
                return None;
            }
            // SAFETY: see above.
            ethertype = unsafe { field(l3 + 2) };
            l3 += 4;
        }
    }
    if ethertype == ETHERTYPE_IPV4 {
        if l3 + 20 > end {
            return None;
        }
        // SAFETY: see above.
        return Some(refused_key(unsafe { field(l3 + 16) }));
    }
    if ethertype != ETHERTYPE_IPV6 || l3 + 40 > end {
        return None;
    }
    // SAFETY: see above.
    let (next, to) = unsafe { (field::<u8>(l3 + 6), field::<RefusedKey>(l3 + 24)) };
    if next == ICMP_V6 && l3 + 42 <= end {
        // SAFETY: see above.
        let kind = unsafe { field::<u8>(l3 + 40) };
        if kind == NEIGHBOUR_SOLICITATION || kind == NEIGHBOUR_ADVERTISEMENT {
            return None;
        }
    }
    Some(to)
}
