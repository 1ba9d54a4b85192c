//! Finding a place for a new flow.
//!
//! In this order: a free way in the first bucket, in the second; a flow that is closing gives way;
//! one that lives is moved to its own second bucket; a half-open one gives way; the most idle.

use lb_common::flow::{FlowBucket, FlowValue, PENDING};
use lb_common::hash::flow_buckets;
use lb_common::maps::{FLOW_WAYS, Settings};
use lb_common::reason::Reason;
use lb_common::tcp::{is_closing, is_half_open};

use crate::flows::{Way, is_expired, veil};
use crate::maps::{CROWDED, FLOWS, count, params};

/// How often a place is looked for when other CPUs take what was found.
const TRIES: u32 = 2;
/// How often the own bucket is looked at again while another CPU decides about the same flow.
const ROUNDS: u32 = 8;

/// What came of it.
pub(crate) enum Inserted {
    /// The flow's way: claimed, with its tag, its value to be settled.
    New(Way),
    /// Another CPU has put in the same flow.
    Found(FlowValue),
}

/// How willingly a way is given up; the smallest rank is taken.
const FREE: u64 = 0;
const CLOSING: u64 = 1 << 48;
const HALF_OPEN: u64 = 2 << 48;
const LIVE: u64 = 3 << 48;
const TAKEN: u64 = u64::MAX;

/// Claims a way for a flow that is not in its buckets.
#[inline(always)]
pub(crate) fn insert(
    first: *mut FlowBucket,
    second: *mut FlowBucket,
    tag: u64,
    now: u32,
    settings: *const Settings,
) -> Result<Inserted, Reason> {
    for _ in 0..TRIES {
        let best = best(first, second, 2 * FLOW_WAYS as u64, now, settings);
        let mut way = None;
        if best >= HALF_OPEN && !is_crowded(now) {
            way = make_room(first, now, settings);
            if way.is_some() {
                count(Reason::FlowMoved);
            } else {
                set_crowded(now);
            }
        }
        if way.is_none() {
            way = take(Way::of_two(first, second, best), best, now, settings);
        }
        if let Some(way) = way {
            return publish(first, second, way, tag);
        }
    }
    Err(Reason::FlowBusy)
}

/// Whether moving a flow has failed in this tick: the table is full, and to look for room in one
/// bucket after the other costs a cache miss each. (At half load it fails once in 10,000 tries.)
#[inline(always)]
fn is_crowded(now: u32) -> bool {
    // SAFETY: this CPU's own element.
    CROWDED
        .get_ptr(0)
        .is_some_and(|tick| unsafe { *tick } == u64::from(now))
}

#[inline(always)]
fn set_crowded(now: u32) {
    if let Some(tick) = CROWDED.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        unsafe { *tick = u64::from(now) };
    }
}

/// Claims the way that ranked best, unless it has become dearer since.
#[inline(always)]
fn take(way: Way, best: u64, now: u32, settings: *const Settings) -> Option<Way> {
    let value = way.value();
    if rank(value, now, settings) | 7 > best | 7 || !way.claim(value) {
        return None;
    }
    if best >= LIVE {
        count(Reason::EvictedLive);
    } else if best >= HALF_OPEN {
        count(Reason::EvictedHalfOpen);
    } else if best >= CLOSING {
        count(Reason::EvictedClosing);
    }
    Some(way)
}

/// The lowest rank among the first `ways` ways of two buckets, with the way's number in its lowest
/// three bits.
#[inline(always)]
fn best(
    first: *mut FlowBucket,
    second: *mut FlowBucket,
    ways: u64,
    now: u32,
    settings: *const Settings,
) -> u64 {
    let mut best = TAKEN;
    for i in 0..ways {
        let rank = rank(Way::of_two(first, second, i).value(), now, settings) ^ i;
        if rank < best {
            best = rank;
        }
        if best < CLOSING {
            break;
        }
    }
    best
}

/// The rank of a way; the lowest three bits are free.
#[inline(always)]
fn rank(value: u64, now: u32, settings: *const Settings) -> u64 {
    let veil = veil(settings);
    if value == PENDING {
        return TAKEN ^ 7 ^ veil;
    }
    let value = FlowValue(value);
    if value.0 == 0 || is_expired(value, now, settings) {
        return FREE ^ veil;
    }
    let recent = u64::from(u32::MAX - value.idle(now)) << 3;
    let class = if is_closing(value.state_bits()) {
        CLOSING
    } else if is_half_open(value.state_bits()) {
        HALF_OPEN
    } else {
        LIVE
    };
    (class + recent) ^ veil
}

/// Moves a flow of the bucket to its second place and returns its way, claimed.
#[inline(always)]
fn make_room(bucket: *mut FlowBucket, now: u32, settings: *const Settings) -> Option<Way> {
    for i in 0..FLOW_WAYS as u64 {
        let way = Way::of_two(bucket, bucket, i ^ veil(settings));
        let (tag, value) = (way.tag(), way.value());
        if value == 0 || value == PENDING || tag == 0 {
            continue;
        }
        let (home, other) = flow_buckets(tag, &params());
        // Only from its first place to its second: see `lb_common::flow`.
        let (Some(home), Some(other)) = (FLOWS.get_ptr_mut(home), FLOWS.get_ptr_mut(other)) else {
            continue;
        };
        if home != bucket {
            continue;
        }
        let best = best(other, other, FLOW_WAYS as u64, now, settings);
        if best >= CLOSING {
            continue;
        }
        let place = Way::of_two(other, other, best);
        let expired = place.value();
        if rank(expired, now, settings) >= CLOSING || !place.claim(expired) {
            continue;
        }
        if !way.claim(value) {
            place.settle(expired);
            continue;
        }
        if way.tag() != tag {
            way.settle(value);
            place.settle(expired);
            continue;
        }
        place.set_tag(tag);
        place.settle(value);
        return Some(way);
    }
    None
}

/// Gives a claimed way its tag, and makes sure that no other CPU has entered the same flow.
///
/// Both publish their tag before they look (with a full barrier between), so at least one sees the
/// other. The lower way waits for the higher to settle or give up, the higher gives up at once
/// when it sees the lower: one of them remains.
#[inline(always)]
fn publish(
    first: *mut FlowBucket,
    second: *mut FlowBucket,
    way: Way,
    tag: u64,
) -> Result<Inserted, Reason> {
    way.publish_tag(tag);
    for _ in 0..ROUNDS {
        match rival(first, second, way, tag) {
            Rival::None => return Ok(Inserted::New(way)),
            Rival::Higher => {}
            Rival::Lower => break,
            Rival::Settled(value) => {
                way.free();
                return Ok(Inserted::Found(value));
            }
        }
    }
    way.free();
    Err(Reason::FlowBusy)
}

enum Rival {
    None,
    Lower,
    Higher,
    Settled(FlowValue),
}

#[inline(always)]
fn rival(first: *mut FlowBucket, second: *mut FlowBucket, own: Way, tag: u64) -> Rival {
    let mut passed_own = false;
    for i in 0..2 * FLOW_WAYS as u64 {
        let way = Way::of_two(first, second, i);
        if way.is(own) {
            passed_own = true;
        } else if way.tag() == tag {
            let value = way.value();
            if way.tag() != tag {
                continue;
            }
            return if value != PENDING {
                Rival::Settled(FlowValue(value))
            } else if passed_own {
                Rival::Higher
            } else {
                Rival::Lower
            };
        }
    }
    Rival::None
}
