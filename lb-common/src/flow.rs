//! The flow table: which real server a connection belongs to.
//!
//! A bucket is one cache line of four flows; a flow lies in the first or, where that was full, in
//! the second of its two buckets. No lock: `value` is the word that is fought for.
//!
//! - To take a way (free, expired, to be evicted, to be moved) its `value` is changed to
//!   [`PENDING`] by compare-and-swap. Whoever succeeds owns the way until it stores another value.
//! - The owner stores `tag`, then `value`. To free a way: `tag` 0, then `value` 0.
//! - A reader loads `tag`, `value`, `tag`: only when both tags are its own does the value hold. One
//!   that finds its tag with [`PENDING`] looks again: another CPU is just deciding.
//! - To refresh a flow its value is changed by compare-and-swap to one with the same backend, so it
//!   does not matter when the way has changed hands meanwhile.
//! - A flow is moved only from its first to its second bucket and is in both for a moment, so a
//!   reader, who looks into them in this order, does not miss it.
//!
//! The order of two loads by one CPU is what x86-64 gives.

use crate::maps::FLOW_WAYS;
use crate::tcp::State;

/// One flow: 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Flow {
    /// [`flow_tag`]; 0 is free.
    pub tag: u64,
    /// A [`FlowValue`]; 0 is free, [`PENDING`] being written.
    pub value: u64,
}

/// Flows whose hash is the same: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct FlowBucket {
    /// The flows.
    pub ways: [Flow; FLOW_WAYS],
}

/// What the tags of a bucket's flows do not have, way by way: one cache line. Written before the tag
/// is published; for flows of services without [`SERVICE_WIDE`](crate::maps::SERVICE_WIDE) it says
/// nothing.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct FlowAddrs {
    /// The client's address as in the packet, two words; IPv4: the first word's first four bytes.
    pub ways: [[u64; 2]; FLOW_WAYS],
}

/// The value of a way that is being written.
pub const PENDING: u64 = u64::MAX;

/// The tag of a flow: `client address << 32 | client port << 16 | service id`. Exact, since the
/// service's id stands for address, port and protocol of the VIP. Never 0.
///
/// Address and port as they lie in the packet (network byte order in memory).
#[inline(always)]
#[must_use]
pub const fn flow_tag(client_be: u32, port_be: u16, service: u16) -> u64 {
    (client_be as u64) << 32 | (port_be as u64) << 16 | service as u64
}

/// The tag of a flow whose key does not fit: `rest << 32 | client port << 16 | service id`. `rest` is
/// a hash of the client's address; for a service for any port its upper half is the port of the VIP.
/// The client's address is compared too ([`FlowAddrs`]), so the key is exact all the same.
#[inline(always)]
#[must_use]
pub const fn wide_tag(rest: u32, port_be: u16, service: u16) -> u64 {
    flow_tag(rest, port_be, service)
}

/// The parts of a tag: client address and port as they lie in the packet, service id.
#[inline(always)]
#[must_use]
pub const fn split_tag(tag: u64) -> (u32, u16, u16) {
    ((tag >> 32) as u32, (tag >> 16) as u16, tag as u16)
}

/// Ticks from `then` to `now`; ticks wrap. 0 when `then` is later: another CPU, which looked at the
/// clock a moment after this one, wrote it.
#[inline(always)]
#[must_use]
pub const fn elapsed(now: u32, then: u32) -> u32 {
    let ticks = now.wrapping_sub(then);
    if ticks > i32::MAX as u32 { 0 } else { ticks }
}

/// `backend << 48 | state << 40 | set of timeouts << 32 | last seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowValue(pub u64);

impl FlowValue {
    /// A flow of `backend` in `state`, seen at `tick`, with the first set of timeouts.
    #[inline(always)]
    #[must_use]
    pub const fn new(backend: u16, state: u8, tick: u32) -> Self {
        FlowValue((backend as u64) << 48 | (state as u64) << 40 | tick as u64)
    }

    /// The same with that set of timeouts.
    #[inline(always)]
    #[must_use]
    pub const fn with_timeouts(self, set: u8) -> Self {
        FlowValue(self.0 & !(0xff << 32) | (set as u64) << 32)
    }

    /// The same in another state and seen at `tick`.
    #[inline(always)]
    #[must_use]
    pub const fn seen_as(self, state: u8, tick: u32) -> Self {
        FlowValue(self.0 & !0x0000_ff00_ffff_ffff | (state as u64) << 40 | tick as u64)
    }

    /// Which set of timeouts it has.
    #[inline(always)]
    #[must_use]
    pub const fn timeouts(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// Index of the backend.
    #[inline(always)]
    #[must_use]
    pub const fn backend(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The state as a number, 0..32: see [`State`].
    #[inline(always)]
    #[must_use]
    pub const fn state_bits(self) -> u8 {
        (self.0 >> 40) as u8 & 31
    }

    /// The state.
    #[must_use]
    pub const fn state(self) -> Option<State> {
        State::from_bits(self.state_bits())
    }

    /// The tick in which its last packet came.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> u32 {
        self.0 as u32
    }

    /// How many ticks it has been silent at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn idle(self, now: u32) -> u32 {
        elapsed(now, self.seen())
    }
}

/// What user space does to a flow table that it has mapped.
#[cfg(feature = "user")]
pub mod shared {
    use super::{FlowBucket, FlowValue, PENDING};
    use core::sync::atomic::{AtomicU64, Ordering};

    /// A way of a mapped table.
    #[repr(C)]
    #[derive(Debug)]
    pub struct SharedFlow {
        tag: AtomicU64,
        value: AtomicU64,
    }

    const _: () = assert!(size_of::<FlowBucket>() == super::FLOW_WAYS * size_of::<SharedFlow>());

    impl SharedFlow {
        /// The flow's tag and value, unless the way is free or being written.
        #[must_use]
        pub fn read(&self) -> Option<(u64, FlowValue)> {
            let tag = self.tag.load(Ordering::Acquire);
            if tag == 0 {
                return None;
            }
            let value = self.value.load(Ordering::Acquire);
            let same = self.tag.load(Ordering::Acquire) == tag;
            (same && value != 0 && value != PENDING).then_some((tag, FlowValue(value)))
        }

        /// The tag of a way that is being written, or of the flow that it had.
        #[must_use]
        pub fn pending(&self) -> Option<u64> {
            let tag = self.tag.load(Ordering::Acquire);
            (self.value.load(Ordering::Acquire) == PENDING).then_some(tag)
        }

        /// Frees the way if it still holds this flow with this value.
        pub fn remove(&self, tag: u64, value: FlowValue) -> bool {
            let took =
                self.value
                    .compare_exchange(value.0, PENDING, Ordering::AcqRel, Ordering::Relaxed);
            if took.is_err() {
                return false;
            }
            if self.tag.load(Ordering::Acquire) != tag {
                self.value.store(value.0, Ordering::Release);
                return false;
            }
            self.tag.store(0, Ordering::Release);
            self.value.store(0, Ordering::Release);
            true
        }

        /// Frees a way that has been [`pending`](Self::pending) with this tag for so long that whoever
        /// was writing it is dead.
        pub fn give_up(&self, tag: u64) {
            if self.pending() == Some(tag) {
                self.tag.store(0, Ordering::Release);
                // If it lives after all and has just settled, the way is left with a value alone, until
                // that has expired, and the connection begins anew.
                let _ =
                    self.value
                        .compare_exchange(PENDING, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }

        /// Stores a flow into a way that nobody else writes (tests, restoring a table).
        pub fn put(&self, tag: u64, value: FlowValue) {
            self.value.store(PENDING, Ordering::Release);
            self.tag.store(tag, Ordering::Release);
            self.value.store(value.0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_gives_back_what_it_was_made_of() {
        let value = FlowValue::new(16383, State::Udp as u8, 0xfedc_ba98);
        assert_eq!(
            (value.backend(), value.state(), value.seen()),
            (16383, Some(State::Udp), 0xfedc_ba98)
        );
        assert_ne!(value.0, PENDING);
        assert_eq!(value.idle(0xfedc_ba9a), 2);
        assert_eq!(
            value.idle(0xfedc_ba97),
            0,
            "seen a tick later by another CPU"
        );
        assert_eq!(FlowValue::new(1, 1, u32::MAX).idle(1), 2, "ticks wrap");
    }

    #[test]
    fn a_tag_is_exact() {
        let tag = flow_tag(0x0102_0304, 0x0506, 7);
        assert_eq!(split_tag(tag), (0x0102_0304, 0x0506, 7));
    }
}
