//! Finding a place for a new flow.
//!
//! In this order: a free way in the first bucket, in the second; a flow that is closing gives way;
//! one that lives is moved to its own second bucket; a half-open one, or UDP of one packet, gives way;
//! the most idle.

use lb_common::flow::{FlowValue, PENDING};
use lb_common::hash::flow_buckets;
use lb_common::maps::{FLOW_WAYS, Settings};
use lb_common::reason::Reason;
use lb_common::tcp::{is_closing, is_half_open};

use crate::flows::{NOWHERE, Places, Settled, Way, is_expired, settled};
use crate::loads;
use crate::maps::{CROWDED, count, params};
use crate::session::{IS_WIDE, Session, veil};

/// How often a place is looked for when other CPUs take what was found.
const TRIES: u32 = 2;
/// How often the own bucket is looked at again while another CPU decides about the same flow.
const ROUNDS: u32 = 3;

/// Ways of two buckets.
const WAYS: u64 = 2 * FLOW_WAYS as u64;

/// What came of it.
pub(crate) enum Inserted {
    /// The number of the flow's way: claimed, with its tag, its value to be settled.
    New(u64),
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
    places: &Places,
    session: &Session,
    settings: *const Settings,
) -> Result<Inserted, Reason> {
    let now = session.now;
    for _ in 0..TRIES {
        let mut best = best(places, 2 * FLOW_WAYS as u64, now, settings);
        let mut is_claimed = false;
        if best >= HALF_OPEN && !is_crowded(now) {
            let room = make_room(places, now, settings);
            if room == NOWHERE {
                note_failure(now);
            } else {
                count(Reason::FlowMoved);
                is_claimed = true;
                best = room;
            }
        }
        if !is_claimed {
            is_claimed = take(places.way(best), best, now, settings);
        }
        if is_claimed {
            return publish(places, best % WAYS, session, settings);
        }
    }
    Err(Reason::FlowBusy)
}

/// How often moving a flow may fail in a tick before it is left alone: then the table is full, and
/// to look for room in one bucket after the other costs a cache miss each.
const FAILURES: u64 = 64;

#[inline(always)]
fn is_crowded(now: u32) -> bool {
    // SAFETY: this CPU's own element.
    CROWDED
        .get_ptr(0)
        .is_some_and(|word| unsafe { *word } >= u64::from(now) << 32 | FAILURES)
}

#[inline(always)]
fn note_failure(now: u32) {
    if let Some(word) = CROWDED.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        unsafe {
            let since = u64::from(now) << 32;
            *word = if *word >= since { *word + 1 } else { since | 1 };
        }
    }
}

/// Claims the way that ranked best, unless it has become dearer since.
#[inline(always)]
fn take(way: Way, best: u64, now: u32, settings: *const Settings) -> bool {
    let value = way.value();
    // Who writes it owns it: it would be "claimed" from that one.
    if value == PENDING || rank(value, now, settings) | 7 > best | 7 || !way.claim(value) {
        return false;
    }
    left(value);
    if best >= LIVE {
        count(Reason::EvictedLive);
    } else if best >= HALF_OPEN {
        count(Reason::EvictedHalfOpen);
    } else if best >= CLOSING {
        count(Reason::EvictedClosing);
    }
    true
}

/// The flow that a claimed way had is gone.
#[inline(always)]
fn left(value: u64) {
    if value != 0 {
        let value = FlowValue(value);
        loads::moved(value.backend(), Some(value.state_bits()), None);
    }
}

/// The lowest rank among the first `ways` ways of two buckets, with the way's number in its lowest
/// three bits.
#[inline(always)]
fn best(places: &Places, ways: u64, now: u32, settings: *const Settings) -> u64 {
    let mut best = TAKEN;
    for i in 0..ways {
        let rank = rank(places.way(i).value(), now, settings) ^ i;
        if rank < best {
            best = rank;
        }
        if best < CLOSING {
            break;
        }
    }
    // Whatever it is, the verifier walks what follows once.
    best ^ veil(settings)
}

/// The rank of a way; the lowest three bits are free.
#[inline(always)]
fn rank(value: u64, now: u32, settings: *const Settings) -> u64 {
    let veil = veil(settings);
    if value == PENDING {
        return TAKEN ^ 7 ^ veil;
    }
    let value = FlowValue(value);
    if value.0 == 0 || is_expired(value, now) {
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

/// Moves a flow of these buckets to its second place and returns the number of its way, claimed, or
/// [`NOWHERE`].
#[inline(always)]
fn make_room(places: &Places, now: u32, settings: *const Settings) -> u64 {
    for i in 0..WAYS {
        let i = i ^ veil(settings);
        let way = places.way(i);
        let (tag, value) = (way.tag(), way.value());
        if value == 0 || value == PENDING || tag == 0 {
            continue;
        }
        let Some(own) = Places::of(flow_buckets(tag, &params())) else {
            continue;
        };
        // Only from its first place to its second: see `lb_common::flow`.
        if !own.only(false).way(i).is(way) {
            continue;
        }
        let other = own.only(true);
        let best = best(&other, FLOW_WAYS as u64, now, settings);
        if best >= CLOSING {
            continue;
        }
        let place = other.way(best);
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
        left(expired);
        place.set_flow_of(way, tag);
        place.settle(value);
        return i;
    }
    NOWHERE
}

/// Gives a claimed way its tag, and makes sure that no other CPU has entered the same flow.
///
/// Both publish their tag before they look (with a full barrier between), so at least one sees the
/// other. The lower way waits for the higher to settle or give up; the higher gives up when it
/// sees the lower, and waits for what that decides: one of them remains.
#[inline(always)]
fn publish(
    places: &Places,
    own: u64,
    session: &Session,
    settings: *const Settings,
) -> Result<Inserted, Reason> {
    let way = places.way(own);
    if session.is(IS_WIDE) {
        way.set_client(session.client_words());
    }
    way.publish_tag(session.tag);
    for _ in 0..ROUNDS {
        let rival = rival(places, own, session, settings);
        if rival == NOWHERE {
            return Ok(Inserted::New(own));
        }
        let gives_up = rival < own;
        if gives_up {
            // Another CPU may take it at once: from here on it is not to be touched.
            way.free();
        }
        let decided = settled(places.way(rival), session);
        if !gives_up {
            if let Settled::Gone = decided {
                continue;
            }
            way.free();
        }
        return match decided {
            Settled::As(value) => Ok(Inserted::Found(value)),
            Settled::Gone | Settled::Not => Err(Reason::FlowBusy),
        };
    }
    way.free();
    Err(Reason::FlowBusy)
}

/// The number of another way with this connection, or [`NOWHERE`].
#[inline(always)]
fn rival(places: &Places, own: u64, session: &Session, settings: *const Settings) -> u64 {
    for i in 0..WAYS {
        if i != own && places.way(i).is_of(session) {
            return i ^ veil(settings);
        }
    }
    NOWHERE
}
