//! Finding a place for a new flow.
//!
//! In this order: a free way in the first bucket, in the second; a flow that is closing gives way;
//! one that lives is moved to its own second bucket; a half-open one gives way; the most idle.

use lb_common::flow::{FlowBucket, FlowValue, PENDING};
use lb_common::hash::flow_buckets;
use lb_common::maps::{FLOW_WAYS, Settings};
use lb_common::reason::Reason;
use lb_common::tcp::{is_closing, is_half_open};

use crate::flows::{Settled, Way, is_expired, settled};
use crate::maps::{FLOWS, count, params};

/// How often a place is looked for when other CPUs take what was found.
const TRIES: u32 = 4;
/// How often the own bucket is looked at again while another CPU decides about the same flow.
const ROUNDS: u32 = 64;

/// What came of it.
pub(crate) enum Inserted {
    /// The flow's way: claimed, with its tag, its value to be settled.
    New(Way),
    /// Another CPU has put in the same flow.
    Found(FlowValue),
}

/// How willingly a way is given up; the smallest rank is taken.
const FREE: u64 = 0;
const CLOSING: u64 = 1 << 40;
const HALF_OPEN: u64 = 2 << 40;
const LIVE: u64 = 3 << 40;
const TAKEN: u64 = u64::MAX;

struct Place {
    rank: u64,
    way: Way,
    value: u64,
}

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
        let mut place = Place {
            rank: TAKEN,
            way: Way::of(first, 0),
            value: 0,
        };
        best(first, now, settings, &mut place);
        if place.rank != FREE {
            best(second, now, settings, &mut place);
        }
        if place.rank >= HALF_OPEN {
            if let Some(way) = make_room(first, now, settings) {
                count(Reason::FlowMoved);
                return publish(first, second, way, tag);
            }
            if place.rank == TAKEN {
                continue;
            }
        }
        if place.way.claim(place.value) {
            if place.rank >= LIVE {
                count(Reason::EvictedLive);
            } else if place.rank >= HALF_OPEN {
                count(Reason::EvictedHalfOpen);
            } else if place.rank >= CLOSING {
                count(Reason::EvictedClosing);
            }
            return publish(first, second, place.way, tag);
        }
    }
    Err(Reason::FlowBusy)
}

#[inline(always)]
fn best(bucket: *mut FlowBucket, now: u32, settings: *const Settings, place: &mut Place) {
    for i in 0..FLOW_WAYS {
        let way = Way::of(bucket, i);
        let value = way.value();
        let rank = rank(value, now, settings);
        if rank < place.rank {
            *place = Place { rank, way, value };
        }
    }
}

#[inline(always)]
fn rank(value: u64, now: u32, settings: *const Settings) -> u64 {
    if value == 0 {
        return FREE;
    }
    if value == PENDING {
        return TAKEN;
    }
    let value = FlowValue(value);
    if is_expired(value, now, settings) {
        return FREE;
    }
    let recent = u64::from(u32::MAX - value.idle(now));
    if is_closing(value.state_bits()) {
        CLOSING + recent
    } else if is_half_open(value.state_bits()) {
        HALF_OPEN + recent
    } else {
        LIVE + recent
    }
}

/// Moves a flow of the bucket to its second place and returns its way, claimed.
#[inline(always)]
fn make_room(bucket: *mut FlowBucket, now: u32, settings: *const Settings) -> Option<Way> {
    for i in 0..FLOW_WAYS {
        let way = Way::of(bucket, i);
        let (tag, value) = (way.tag(), way.value());
        if value == 0 || value == PENDING || tag == 0 {
            continue;
        }
        let (home, other) = flow_buckets(tag, &params());
        // Only from its first place to its second: see `lb_common::flow`.
        if FLOWS.get_ptr_mut(home)? != bucket {
            continue;
        }
        let other = FLOWS.get_ptr_mut(other)?;
        let mut place = Place {
            rank: CLOSING,
            way,
            value: 0,
        };
        best(other, now, settings, &mut place);
        if place.rank != FREE || !place.way.claim(place.value) {
            continue;
        }
        if !way.claim(value) {
            place.way.settle(place.value);
            continue;
        }
        if way.tag() != tag {
            way.settle(value);
            place.way.settle(place.value);
            continue;
        }
        place.way.set_tag(tag);
        place.way.settle(value);
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
            Rival::Lower(other) => {
                way.free();
                return match settled(other, tag) {
                    Settled::As(value) => Ok(Inserted::Found(value)),
                    Settled::Gone | Settled::Not => Err(Reason::FlowBusy),
                };
            }
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
    Lower(Way),
    Higher,
    Settled(FlowValue),
}

#[inline(always)]
fn rival(first: *mut FlowBucket, second: *mut FlowBucket, own: Way, tag: u64) -> Rival {
    let mut passed_own = false;
    for i in 0..2 * FLOW_WAYS {
        let way = if i < FLOW_WAYS {
            Way::of(first, i)
        } else {
            Way::of(second, i - FLOW_WAYS)
        };
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
                Rival::Lower(way)
            };
        }
    }
    Rival::None
}
