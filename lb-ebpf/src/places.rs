//! Where a flow may lie: its two buckets, their ways, and what a way's words may be changed to.

use lb_common::flow::PENDING;
use lb_common::hash::flow_buckets;
use lb_common::maps::FLOW_WAYS;

use crate::atomic;
use crate::maps::{FLOW_ADDRS, FLOWS, params};
use crate::session::{IS_WIDE, Session};

/// The two buckets where a flow may lie, and what lies beside them.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    first: *mut u64,
    second: *mut u64,
    first_clients: *mut u64,
    second_clients: *mut u64,
}

impl Places {
    /// The buckets of these numbers.
    #[inline(always)]
    pub(crate) fn of((first, second): (u32, u32)) -> Option<Places> {
        Some(Places {
            first: FLOWS.get_ptr_mut(first)?.cast(),
            second: FLOWS.get_ptr_mut(second)?.cast(),
            first_clients: FLOW_ADDRS.get_ptr_mut(first)?.cast(),
            second_clients: FLOW_ADDRS.get_ptr_mut(second)?.cast(),
        })
    }

    /// Way `i` modulo 8.
    #[inline(always)]
    pub(crate) fn way(&self, i: u64) -> Way {
        let (bucket, clients) = if i & FLOW_WAYS as u64 != 0 {
            (self.second, self.second_clients)
        } else {
            (self.first, self.first_clients)
        };
        let i = 2 * (i as usize % FLOW_WAYS);
        // SAFETY: i is below FLOW_WAYS, so both stay within the elements.
        unsafe { Way(bucket.add(i), clients.add(i)) }
    }

    /// Twice the first bucket, or twice the second.
    #[inline(always)]
    pub(crate) fn only(&self, is_second: bool) -> Places {
        let (bucket, clients) = if is_second {
            (self.second, self.second_clients)
        } else {
            (self.first, self.first_clients)
        };
        Places {
            first: bucket,
            second: bucket,
            first_clients: clients,
            second_clients: clients,
        }
    }
}

/// A way of a bucket in the map: the flow, and its client where that is wide.
#[derive(Clone, Copy)]
pub(crate) struct Way(pub(crate) *mut u64, pub(crate) *mut u64);

impl Way {
    /// Whether both are the same way.
    #[inline(always)]
    pub(crate) fn is(self, other: Way) -> bool {
        core::ptr::eq(self.0, other.0)
    }

    /// Whether it has the tag of this connection, and its client.
    #[inline(always)]
    pub(crate) fn is_of(self, session: &Session) -> bool {
        self.tag() == session.tag
            && (!session.is(IS_WIDE) || self.client() == session.client_words())
    }

    /// The client of a wide flow.
    #[inline(always)]
    pub(crate) fn client(self) -> [u64; 2] {
        // SAFETY: two words of an element of the map.
        unsafe { [atomic::load(self.1), atomic::load(self.1.add(1))] }
    }

    /// Gives a claimed way the client of its new flow, before the tag.
    #[inline(always)]
    pub(crate) fn set_client(self, client: [u64; 2]) {
        // SAFETY: as above.
        unsafe {
            atomic::store(self.1, client[0]);
            atomic::store(self.1.add(1), client[1]);
        }
    }

    /// Gives a claimed way the tag, and the client, of a flow that is moved there.
    #[inline(always)]
    pub(crate) fn set_flow_of(self, other: Way, tag: u64) {
        self.set_client(other.client());
        self.set_tag(tag);
    }

    #[inline(always)]
    pub(crate) fn tag(self) -> u64 {
        // SAFETY: the tag of a way in the map.
        unsafe { atomic::load(self.0) }
    }

    #[inline(always)]
    pub(crate) fn value(self) -> u64 {
        // SAFETY: the value of a way in the map.
        unsafe { atomic::load(self.0.add(1)) }
    }

    /// Takes the way if its value is still this one.
    #[inline(always)]
    pub(crate) fn claim(self, value: u64) -> bool {
        // SAFETY: as above.
        unsafe { atomic::compare_exchange(self.0.add(1), value, PENDING) }
    }

    /// Changes the value unless somebody else has.
    #[inline(always)]
    pub(crate) fn change(self, value: u64, to: u64) -> bool {
        // SAFETY: as above.
        unsafe { atomic::compare_exchange(self.0.add(1), value, to) }
    }

    /// Gives a claimed way a tag; whoever looks at it after this returns sees it.
    #[inline(always)]
    pub(crate) fn publish_tag(self, tag: u64) {
        // SAFETY: as above.
        unsafe { atomic::exchange(self.0, tag) };
    }

    /// Gives a claimed way its value, which ends the claim.
    #[inline(always)]
    pub(crate) fn settle(self, value: u64) {
        Claimed(self.0).settle(value);
    }

    /// Stores the tag of a claimed way.
    #[inline(always)]
    pub(crate) fn set_tag(self, tag: u64) {
        // SAFETY: as above.
        unsafe { atomic::store(self.0, tag) }
    }

    /// Frees a claimed way.
    #[inline(always)]
    pub(crate) fn free(self) {
        Claimed(self.0).free();
    }
}

/// A way that this CPU has claimed.
#[derive(Clone, Copy)]
pub(crate) struct Claimed(*mut u64);

impl Claimed {
    /// The way of this number, modulo 8, of the buckets of a flow.
    #[inline(always)]
    pub(crate) fn of(tag: u64, number: u32) -> Option<Claimed> {
        let (first, second) = flow_buckets(tag, &params());
        let bucket = if number & FLOW_WAYS as u32 != 0 {
            second
        } else {
            first
        };
        let bucket: *mut u64 = FLOWS.get_ptr_mut(bucket)?.cast();
        // SAFETY: below FLOW_WAYS, so this stays within the element.
        Some(Claimed(unsafe {
            bucket.add(2 * (number as usize % FLOW_WAYS))
        }))
    }

    /// Gives it its value, which ends the claim.
    #[inline(always)]
    pub(crate) fn settle(self, value: u64) {
        // SAFETY: the value of a way in the map.
        unsafe { atomic::store(self.0.add(1), value) }
    }

    /// Frees it.
    #[inline(always)]
    pub(crate) fn free(self) {
        // SAFETY: the tag of a way in the map.
        unsafe { atomic::store(self.0, 0) };
        self.settle(0);
    }
}
