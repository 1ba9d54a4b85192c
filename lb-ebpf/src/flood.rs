//! More new connections than the table shall take: above [`Settings::flood_rate`] they are scheduled
//! without an entry. Each CPU counts its own; that there is a flood holds for all.
//!
//! A connection that opened then has no entry. When its next packet comes, in the flood or soon
//! after, on whatever CPU, it goes where the hash sent its first one, and gets its entry.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use lb_common::maps::Settings;

use crate::atomic;
use crate::maps::FLOOD;

/// A window in which new connections are counted is two to this power of jiffies: 8 to 80 ms.
const WINDOW_SHIFT: u32 = 3;
/// For how many ticks after a flood packets in mid-stream are taken for those of its connections:
/// the time in which a client repeats what is not answered.
pub(crate) const AFTERMATH: u32 = 60;
/// For how many ticks after a flood one that opens goes by the hash too: it may be the repetition of
/// one that did, after one and three seconds, and its server's answer may still come.
pub(crate) const REPETITION: u32 = 4;

/// The number of the window that it is now.
#[inline(always)]
pub(crate) fn window() -> u64 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_jiffies64() }) >> WINDOW_SHIFT
}

/// Counts a new connection; whether it is one too many. Those that are first seen in mid-stream are
/// counted by themselves: who opens more than the table shall take does not keep out those that
/// have opened.
#[inline(always)]
pub(crate) fn is_over(settings: *const Settings, now: u32, is_stray: bool) -> bool {
    // SAFETY: an element of the map.
    let (rate, hz) = unsafe { (u64::from((*settings).flood_rate), u64::from((*settings).hz)) };
    if rate == 0 {
        return false;
    }
    let Some(flood) = FLOOD.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own element.
    let flows = unsafe {
        let window = window();
        if (*flood).window != window {
            (*flood).window = window;
            (*flood).flows = 0;
            (*flood).strays = 0;
        }
        let flows = if is_stray {
            &raw mut (*flood).strays
        } else {
            &raw mut (*flood).flows
        };
        *flows += 1;
        *flows
    };
    let is_over = flows * hz > rate << WINDOW_SHIFT;
    if is_over {
        note(settings, now);
    }
    is_over
}

/// Notes that there is a flood, once a tick: all CPUs read that line.
#[inline(always)]
fn note(settings: *const Settings, now: u32) {
    // SAFETY: an element of the map, of which the program alone writes this word.
    unsafe {
        let tick = &raw const (*settings).flood_tick;
        if atomic::load(tick) != u64::from(now) {
            tick.cast_mut().write_volatile(u64::from(now));
        }
    }
}

/// How many ticks ago a connection was scheduled without an entry, by any CPU.
#[inline(always)]
pub(crate) fn since(settings: *const Settings, now: u32) -> u32 {
    // SAFETY: an element of the map.
    let tick = unsafe { atomic::load(&raw const (*settings).flood_tick) };
    if tick == 0 {
        return u32::MAX;
    }
    // Another CPU's clock may have been read later.
    (now.wrapping_sub(tick as u32) as i32).max(0) as u32
}
