//! How many connections each backend has: IPVS's ActiveConn and InActConn, where somebody looks at them
//! packet by packet.

use lb_common::maps::{LOAD_OVERLOADED, Load, Remote, load_word, split_load};
use lb_common::tcp::State;

use crate::atomic;
use crate::maps::{BACKENDS, LOADS, REMOTES};

/// A flow of `backend` came (`from` is `None`), went (`to` is `None`) or changed its state.
///
/// Called once for each flow that really did, after its way in the table says so.
#[inline(always)]
pub(crate) fn moved(backend: u16, from: Option<u8>, to: Option<u8>) {
    let difference = share(to).wrapping_sub(share(from));
    if difference == 0 {
        return;
    }
    let is_counted = BACKENDS
        .get_ptr(u32::from(backend))
        // SAFETY: an element of the map.
        .is_some_and(|at| unsafe { (*at).counted } != 0);
    if !is_counted {
        return;
    }
    if let Some(load) = LOADS.get_ptr_mut(u32::from(backend)) {
        // SAFETY: an element of the map.
        unsafe { atomic::add(&raw mut (*load).counts, difference) };
    }
}

/// What a flow in this state adds to [`Load::counts`].
#[inline(always)]
fn share(state: Option<u8>) -> u64 {
    const ACTIVE: u32 = {
        let (mut mask, mut i) = (0, 0);
        while i < State::ALL.len() {
            if State::ALL[i].is_active() {
                mask |= 1 << State::ALL[i] as u8;
            }
            i += 1;
        }
        mask
    };
    match state {
        None => 0,
        Some(state) if ACTIVE >> (state & 31) & 1 != 0 => load_word(1, 0),
        Some(_) => load_word(0, 1),
    }
}

/// Notes that a connection was bound to a backend: with [`Remote::upper`] of them it is overloaded
/// (`ip_vs_bind_dest`).
#[inline(always)]
pub(crate) fn bound(backend: u16) {
    let index = u32::from(backend);
    let (Some(remote), Some(load)) = (REMOTES.get_ptr(index), LOADS.get_ptr_mut(index)) else {
        return;
    };
    // SAFETY: elements of the maps.
    let upper = unsafe { (*remote).upper };
    // SAFETY: as above.
    if upper != 0 && total(unsafe { atomic::load(&raw const (*load).counts) }) >= u64::from(upper) {
        mark(load, LOAD_OVERLOADED, LOAD_OVERLOADED);
    }
}

/// Whether a backend takes no new connections because it has, or had not long ago, too many. It is
/// looked at when its turn comes, not when a connection ends as in `ip_vs_unbind_dest`: most end in
/// silence.
#[inline(always)]
pub(crate) fn is_overloaded(index: u32, load: *mut Load) -> bool {
    // SAFETY: an element of the map.
    let (counts, marks) = unsafe {
        (
            atomic::load(&raw const (*load).counts),
            atomic::load(&raw const (*load).marks),
        )
    };
    if marks & LOAD_OVERLOADED == 0 {
        return false;
    }
    let Some(remote) = REMOTES.get_ptr(index) else {
        return false;
    };
    if recovers(remote, total(counts)) {
        mark(load, LOAD_OVERLOADED, 0);
        return false;
    }
    true
}

#[inline(always)]
fn recovers(remote: *const Remote, total: u64) -> bool {
    // SAFETY: an element of the map.
    let (upper, lower) = unsafe { (u64::from((*remote).upper), u64::from((*remote).lower)) };
    if lower != 0 {
        total < lower
    } else {
        upper == 0 || total * 4 < upper * 3
    }
}

#[inline(always)]
fn total(counts: u64) -> u64 {
    let (active, inactive) = split_load(counts);
    u64::from(active) + u64::from(inactive)
}

/// Gives the bits `which` of a backend's marks the value `to`. Another CPU that changes them at the
/// same time wins: it has just looked at the same counts.
#[inline(always)]
pub(crate) fn mark(load: *mut Load, which: u64, to: u64) {
    // SAFETY: an element of the map.
    unsafe {
        let marks = &raw mut (*load).marks;
        let old = atomic::load(marks);
        let new = old & !which | to;
        if new != old {
            atomic::compare_exchange(marks, old, new);
        }
    }
}
