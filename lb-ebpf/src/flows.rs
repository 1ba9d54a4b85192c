//! Which real server a packet's connection has, or gets. See `lb_common::flow` for the table's
//! rules of concurrency.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::flow::{FlowBucket, FlowValue, PENDING};
use lb_common::hash::flow_buckets;
use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, FLOW_WAYS, SERVICE_COUNTS, SERVICE_ONE_PACKET,
    SERVICE_SLOPPY, Sched, ServiceSlot, Settings, TIMEOUTS as STATES,
};
use lb_common::reason::Reason;
use lb_common::tcp::{RST, SYN, State, is_reusable, next_state};

use crate::atomic;
use crate::insert::{self, Inserted};
use crate::maps::{BACKENDS, FLOWS, TIMEOUTS, count, params, settings};
use crate::schedule::{self, Session};
use crate::{flood, loads};

/// Beside the TCP flags in the low byte: it is TCP.
pub(crate) const IS_TCP: u32 = 0x100;
/// How often a way that another CPU is writing is looked at again, some 30 ns apart: it takes that
/// one a tenth of this to schedule a connection.
const PATIENCE: u32 = 48;

/// A way of a bucket in the map.
#[derive(Clone, Copy)]
pub(crate) struct Way(*mut u64);

impl Way {
    #[inline(always)]
    pub(crate) fn of(bucket: *mut FlowBucket, i: usize) -> Way {
        // SAFETY: i is below FLOW_WAYS, so this stays within the element.
        Way(unsafe { bucket.cast::<u64>().add(2 * i) })
    }

    /// Way `i` modulo 8 of two buckets.
    #[inline(always)]
    pub(crate) fn of_two(first: *mut FlowBucket, second: *mut FlowBucket, i: u64) -> Way {
        let bucket = if i & FLOW_WAYS as u64 != 0 {
            second
        } else {
            first
        };
        Self::of(bucket, i as usize % FLOW_WAYS)
    }

    /// Whether both are the same way.
    #[inline(always)]
    pub(crate) fn is(self, other: Way) -> bool {
        core::ptr::eq(self.0, other.0)
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
        // SAFETY: as above.
        unsafe { atomic::store(self.0.add(1), value) }
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
        self.set_tag(0);
        self.settle(0);
    }
}

/// Looks for a flow, for the short way: one that is being written is not found.
#[inline(always)]
pub(crate) fn peek(tag: u64) -> Option<(Way, FlowValue)> {
    let (first, second) = flow_buckets(tag, &params());
    // The second place is looked at here too: after a flood has filled the table, half of the flows
    // that come later live in theirs.
    let way = peek_bucket(first, tag).or_else(|| peek_bucket(second, tag))?;
    let value = way.value();
    (way.tag() == tag && value != PENDING).then_some((way, FlowValue(value)))
}

#[inline(always)]
fn peek_bucket(bucket: u32, tag: u64) -> Option<Way> {
    let bucket = FLOWS.get_ptr_mut(bucket)?;
    (0..FLOW_WAYS)
        .map(|i| Way::of(bucket, i))
        .find(|way| way.tag() == tag)
}

/// Notes that a flow has been seen in this tick. `None` when it had expired.
#[inline(always)]
pub(crate) fn refresh(way: Way, value: FlowValue, now: u32) -> Option<()> {
    if is_expired(value, now) {
        return None;
    }
    // When another CPU was faster the flow has been refreshed.
    way.change(value.0, value.seen_as(value.state_bits(), now).0);
    Some(())
}

/// Whether a flow has been silent for longer than its state allows. A free way is.
#[inline(always)]
pub(crate) fn is_expired(value: FlowValue, now: u32) -> bool {
    let state = usize::from(value.state_bits()) % STATES;
    let Some(set) = TIMEOUTS.get_ptr(u32::from(value.timeouts())) else {
        return true;
    };
    // SAFETY: within the element.
    let timeout = unsafe { *(&raw const (*set).ticks).cast::<u32>().add(state) };
    value.idle(now) > timeout
}

/// 0, but the verifier does not know: it would follow each value of an index, of a rank by itself
/// and not come to an end. Joined with this they are any number to it, and it follows them once.
#[inline(always)]
pub(crate) fn veil(settings: *const Settings) -> u64 {
    // SAFETY: within the element.
    unsafe { core::ptr::read_volatile(&raw const (*settings).zero) }
}

/// Which way of its two buckets has this tag, or [`NOWHERE`].
#[inline(always)]
fn find(first: *mut FlowBucket, second: *mut FlowBucket, tag: u64, veil: u64) -> u64 {
    let mut found = NOWHERE;
    for i in 0..2 * FLOW_WAYS as u64 {
        if Way::of_two(first, second, i).tag() == tag {
            found = i ^ veil;
            break;
        }
    }
    found
}

/// No way.
pub(crate) const NOWHERE: u64 = u64::MAX;

pub(crate) enum Settled {
    As(FlowValue),
    Gone,
    Not,
}

/// Waits until a way that had this tag has a value, or another tag.
#[inline(always)]
pub(crate) fn settled(way: Way, tag: u64) -> Settled {
    for _ in 0..PATIENCE {
        let value = way.value();
        if way.tag() != tag {
            return Settled::Gone;
        }
        if value != PENDING {
            return Settled::As(FlowValue(value));
        }
        // A pause that leaves the cache line to its owner.
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() };
    }
    Settled::Not
}

/// What is known of a backend to which a flow points.
#[inline(always)]
pub(crate) fn is_usable(backend: u16, service: u16) -> bool {
    let Some(at) = BACKENDS.get_ptr(u32::from(backend)) else {
        return false;
    };
    // SAFETY: an element of the map.
    let (flags, owner) = unsafe { ((*at).flags, (*at).service) };
    owner == service && flags & BACKEND_DOWN == 0 && flags & (BACKEND_RESOLVED | BACKEND_LOCAL) != 0
}

#[inline(always)]
fn is_owned(backend: u16, service: u16) -> bool {
    // SAFETY: an element of the map.
    BACKENDS
        .get_ptr(u32::from(backend))
        .is_some_and(|at| unsafe { (*at).service } == service)
}

/// The backend of a packet's flow: the one it has, or else the one that the scheduler gives it.
///
/// In three steps that do not lie within each other, for the stack's sake: `decide` finds the flow or
/// claims a place, the scheduler chooses, `settle` writes what it chose into the place.
#[inline(always)]
pub(crate) fn admit(session: &Session, flags: u32) -> Result<u32, Reason> {
    let answer = decide(session, flags);
    if answer < FIRST_REASON {
        return Ok(answer);
    }
    if answer < SCHEDULE {
        return Err(reason_of(answer));
    }
    let chosen = if answer & BY_HASH != 0 {
        schedule::without_entry(session)
    } else {
        schedule::choose(session)
    };
    if answer & CLAIMED != 0 {
        let backend = match chosen {
            Ok(backend) => u32::from(backend),
            Err(_) => 0,
        };
        settle(session, flags, answer, backend);
    }
    chosen.map(u32::from)
}

/// What [`decide`] answers beside a backend or a reason: a server is to be chosen.
const SCHEDULE: u32 = 1 << 20;
/// By the hash of floods.
const BY_HASH: u32 = 1 << 21;
/// The flow has a place: its way's number is in the lowest bits.
const CLAIMED: u32 = 1 << 22;
/// Its server is gone.
const FLEES: u32 = 1 << 23;

/// Gives a claimed way the server that was chosen, or frees it (0).
#[inline(never)]
fn settle(session: &Session, flags: u32, answer: u32, backend: u32) -> u32 {
    let (first, second) = flow_buckets(session.tag, &params());
    let (Some(first), Some(second)) = (FLOWS.get_ptr_mut(first), FLOWS.get_ptr_mut(second)) else {
        return 0;
    };
    let way = Way::of_two(first, second, u64::from(answer) % (2 * FLOW_WAYS as u64));
    if backend == 0 {
        way.free();
        return 0;
    }
    let backend = backend as u16;
    // SAFETY: an element of the map.
    let (set, service_flags) = unsafe { ((*session.service).timeouts, (*session.service).flags) };
    let value = FlowValue::new(backend, first_state(flags), session.now);
    way.settle(value.with_timeouts(set).0);
    loads::moved(backend, None, Some(value.state_bits()));
    if service_flags & SERVICE_COUNTS != 0 {
        loads::bound(backend);
    }
    if answer & FLEES != 0 {
        count(Reason::Rescheduled);
    }
    0
}

/// Answers above this are reasons: one register for both.
const FIRST_REASON: u32 = 1 << 16;

#[inline(always)]
fn reason_of(answer: u32) -> Reason {
    // Only those that `decide` gives.
    match answer - FIRST_REASON {
        n if n == Reason::NoServer as u32 => Reason::NoServer,
        n if n == Reason::BackendUnresolved as u32 => Reason::BackendUnresolved,
        n if n == Reason::TcpNoFlow as u32 => Reason::TcpNoFlow,
        n if n == Reason::FlowBusy as u32 => Reason::FlowBusy,
        _ => Reason::Internal,
    }
}

#[inline(never)]
fn decide(session: &Session, flags: u32) -> u32 {
    match admit_inner(session, flags) {
        Ok(answer) => answer,
        Err(reason) => FIRST_REASON + u32::from(reason as u8),
    }
}

#[inline(always)]
fn admit_inner(session: &Session, flags: u32) -> Result<u32, Reason> {
    let tag = session.tag;
    let (first, second) = flow_buckets(tag, &params());
    let (Some(first), Some(second)) = (FLOWS.get_ptr_mut(first), FLOWS.get_ptr_mut(second)) else {
        return Err(Reason::Internal);
    };
    let Some(settings) = settings() else {
        return Err(Reason::Internal);
    };
    let mut found = None;
    // Looked for again when it was evicted, moved or given up in this moment.
    for _ in 0..2 {
        let number = find(first, second, tag, veil(settings));
        if number == NOWHERE {
            break;
        }
        match settled(Way::of_two(first, second, number), tag) {
            Settled::As(value) => {
                found = Some((number, value));
                break;
            }
            Settled::Gone => {}
            Settled::Not => return Err(Reason::FlowBusy),
        }
    }
    let mut flees = false;
    let mut strays = false;
    let way = match found {
        Some((number, value)) => {
            let way = Way::of_two(first, second, number);
            match known(session, flags, way, value)? {
                Known::Stays(backend) => return Ok(u32::from(backend)),
                Known::Anew { flees: is_fleeing } => {
                    flees = is_fleeing;
                    number
                }
            }
        }
        None => {
            if is_one_packet(session, flags) {
                return Ok(SCHEDULE);
            }
            let mid_stream = flags & IS_TCP == 0 || flags as u8 & SYN == 0;
            strays = mid_stream && flood::was_lately(settings, session.now);
            let is_stray_tcp = strays && flags as u8 & RST == 0;
            if !may_open(session.service, flags) && !is_stray_tcp {
                return Err(Reason::TcpNoFlow);
            }
            if flood::is_over(settings, session.now) {
                count(Reason::FloodHashed);
                return Ok(SCHEDULE | BY_HASH);
            }
            match insert::insert(first, second, tag, session.now, settings)? {
                Inserted::New(number) => number,
                Inserted::Found(value) => return Ok(u32::from(value.backend())),
            }
        }
    };
    let mut answer = SCHEDULE | CLAIMED | way as u32 % (2 * FLOW_WAYS as u32);
    if strays {
        answer |= BY_HASH;
    }
    if flees {
        answer |= FLEES;
    }
    Ok(answer)
}

/// Whether a packet without a flow may start one. TCP in mid-stream may where every director would
/// choose the same server (a hash) or the operator said so. Otherwise IPVS hands it to the
/// director's own stack, which answers RST; a director that promises never to send one drops it.
#[inline(always)]
fn may_open(service: *const ServiceSlot, flags: u32) -> bool {
    if flags & IS_TCP == 0 {
        return true;
    }
    if flags as u8 & RST != 0 {
        return false;
    }
    // SAFETY: an element of the map.
    flags as u8 & SYN != 0
        || unsafe { (*service).flags } & SERVICE_SLOPPY != 0
        || unsafe { is_hash((*service).sched) }
}

/// Whether every director chooses the same server.
const fn is_hash(sched: u8) -> bool {
    sched >= Sched::SourceHash as u8 && sched <= Sched::DestHash as u8
}

/// Whether each packet is scheduled by itself (`ops`, for UDP).
#[inline(always)]
fn is_one_packet(session: &Session, flags: u32) -> bool {
    // SAFETY: an element of the map.
    flags & IS_TCP == 0 && unsafe { (*session.service).flags } & SERVICE_ONE_PACKET != 0
}

/// The state of a flow after its first packet.
#[inline(always)]
fn first_state(flags: u32) -> u8 {
    if flags & IS_TCP != 0 {
        next_state(State::None as u8, flags as u8)
    } else {
        State::Udp as u8
    }
}

enum Known {
    /// It goes where the flow went.
    Stays(u16),
    /// Its way is claimed, to be scheduled again; whether only because its server is gone.
    Anew { flees: bool },
}

/// A packet of a flow that is in the table.
#[inline(always)]
fn known(session: &Session, flags: u32, way: Way, value: FlowValue) -> Result<Known, Reason> {
    // SAFETY: an element of the map.
    let id = unsafe { (*session.service).id };
    let state = value.state_bits();
    let is_tcp = flags & IS_TCP != 0;
    let opens = !is_tcp || flags as u8 & (SYN | RST) == SYN;
    // An entry that ought to be gone is.
    let is_stale = is_expired(value, session.now) || !is_owned(value.backend(), id);
    let reuses = is_tcp && opens && is_reusable(state);
    let flees = opens && !is_usable(value.backend(), id);
    if is_stale || reuses || flees {
        if !may_open(session.service, flags) {
            return Err(Reason::TcpNoFlow);
        }
        if !way.claim(value.0) {
            return Err(Reason::FlowBusy);
        }
        if way.tag() != session.tag {
            // It changed hands and has the same value by chance.
            way.settle(value.0);
            return Err(Reason::FlowBusy);
        }
        loads::moved(value.backend(), Some(state), None);
        return Ok(Known::Anew {
            flees: flees && !is_stale && !reuses,
        });
    }
    let next = if is_tcp {
        next_state(state, flags as u8)
    } else {
        state
    };
    if next != state || value.seen() != session.now {
        if way.change(value.0, value.seen_as(next, session.now).0) && next != state {
            loads::moved(value.backend(), Some(state), Some(next));
        }
        if value.seen() != session.now {
            schedule::keep_template(session, value.backend());
        }
    }
    Ok(Known::Stays(value.backend()))
}
