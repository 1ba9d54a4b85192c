//! Atomic operations on 64-bit words in maps.
//!
//! The BPF target of rustc has no compare-and-swap of its own, so they are written as the
//! instructions they are. All are sequentially consistent.

use core::arch::asm;

/// Changes `*word` from `old` to `new`; whether it did.
///
/// # Safety
/// `word` points into a map value and is aligned.
#[inline(always)]
pub(crate) unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: the caller's promise; nothing but `*word` is touched.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") old => found,
            options(nostack),
        );
    }
    found == old
}

/// Stores `new` with a full barrier behind it.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub(crate) unsafe fn exchange(word: *mut u64, new: u64) -> u64 {
    let old: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{value} = xchg_64({word} + 0, {value})",
            word = in(reg) word,
            value = inlateout(reg) new => old,
            options(nostack),
        );
    }
    old
}

/// Adds to `*word` and returns what it was.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(word: *mut u64, value: u64) -> u64 {
    let old: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
            word = in(reg) word,
            value = inlateout(reg) value => old,
            options(nostack),
        );
    }
    old
}

/// Loads a word that another CPU may be writing.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub(crate) unsafe fn load(word: *const u64) -> u64 {
    // SAFETY: the caller's promise. An aligned 64-bit load is one instruction.
    unsafe { core::ptr::read_volatile(word) }
}

/// Stores a word that another CPU may be reading.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub(crate) unsafe fn store(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise. An aligned 64-bit store is one instruction.
    unsafe { core::ptr::write_volatile(word, value) }
}

/// Adds to `*word`.
///
/// # Safety
/// As for [`compare_exchange`].
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {value}",
            word = in(reg) word,
            value = in(reg) value,
            options(nostack),
        );
    }
}
