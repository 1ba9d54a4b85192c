//! More new connections than the table shall take: above [`Settings::flood_rate`] they are scheduled
//! without an entry. By itself each CPU.
//!
//! A connection that opened then has no entry. When its next packet comes, in the flood or soon
//! after, it goes where the hash sent its first one, and gets its entry when there is time for it.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use lb_common::maps::Settings;

use crate::maps::{FLOOD, params};

/// A window in which new connections are counted is two to this power of jiffies: 8 to 80 ms.
const WINDOW_SHIFT: u32 = 3;
/// How long after a flood packets in mid-stream are taken for those of its connections: the time in
/// which a client repeats what is not answered.
const AFTERMATH_S: u64 = 60;

/// Counts a new connection; whether it is one too many.
#[inline(always)]
pub(crate) fn is_over(settings: *const Settings, now: u32) -> bool {
    // SAFETY: an element of the map.
    let (rate, hz) = unsafe { (u64::from((*settings).flood_rate), u64::from((*settings).hz)) };
    if rate == 0 {
        return false;
    }
    let Some(flood) = FLOOD.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a helper without arguments; this CPU's own element.
    unsafe {
        let window = bpf_jiffies64() >> WINDOW_SHIFT;
        if (*flood).window != window {
            (*flood).window = window;
            (*flood).flows = 0;
        }
        (*flood).flows += 1;
        let is_over = (*flood).flows * hz > rate << WINDOW_SHIFT;
        if is_over {
            (*flood).last = u64::from(now) + 1;
        }
        is_over
    }
}

/// Whether this CPU has scheduled connections without an entry not long ago.
#[inline(always)]
pub(crate) fn was_lately(settings: *const Settings, now: u32) -> bool {
    // SAFETY: an element of the map, this CPU's own.
    let (hz, last) = unsafe {
        match FLOOD.get_ptr(0) {
            Some(flood) => (u64::from((*settings).hz), (*flood).last),
            None => return false,
        }
    };
    let aftermath = (AFTERMATH_S * hz) >> params().tick_shift;
    last != 0 && u64::from(now.wrapping_sub((last - 1) as u32)) <= aftermath
}
