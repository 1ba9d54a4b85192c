//! Which real server a packet's connection has, or gets. See `lb_common::flow` for the table's
//! rules of concurrency.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::flow::{FlowValue, PENDING};
use lb_common::hash::flow_buckets;
use lb_common::maps::{
    BACKEND_CHANGING, BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, FLOW_WAYS, SERVICE_COUNTS,
    SERVICE_EXPIRE_NODEST, SERVICE_ONE_PACKET, SERVICE_SLOPPY, Sched, Settings, TIMEOUTS as STATES,
};
use lb_common::reason::Reason;
use lb_common::sctp;
use lb_common::tcp::{RST, SYN, State, is_reusable, next_state, next_udp_state};

use crate::atomic;
use crate::insert::{self, Inserted};
use crate::maps::{BACKENDS, FLOW_ADDRS, FLOWS, TIMEOUTS, count, params, settings};
use crate::places::Claimed;
pub(crate) use crate::places::{Places, Way};
use crate::schedule;
use crate::session::{IS_ERROR, IS_SCTP, IS_TCP, IS_WIDE, Session, pack, unpack, veil};
use crate::{flood, loads};

/// How often a way that another CPU is writing is looked at again, some 30 ns apart: it takes that
/// one a tenth of this to schedule a connection.
const PATIENCE: u32 = 48;

/// Looks for a flow, for the short way: one that is being written is not found. Of a wide one the
/// client is compared too.
#[inline(always)]
pub(crate) fn peek(tag: u64, client: Option<[u64; 2]>) -> Option<(Way, FlowValue)> {
    let (first, second) = flow_buckets(tag, &params());
    // The second place is looked at here too: after a flood has filled the table, half of the flows
    // that come later live in theirs.
    let (flow, bucket, i) = match peek_bucket(first, tag) {
        Some((flow, i)) => (flow, first, i),
        None => {
            let (flow, i) = peek_bucket(second, tag)?;
            (flow, second, i)
        }
    };
    // SAFETY: tag and value of a way.
    let value = unsafe { atomic::load(flow.add(1)) };
    let mut clients = flow;
    if let Some(client) = client {
        clients = FLOW_ADDRS.get_ptr_mut(bucket)?.cast::<u64>();
        // SAFETY: i is below FLOW_WAYS.
        clients = unsafe { clients.add(2 * i) };
        // The value is read again: with this tag another client may have been there before.
        // SAFETY: as above.
        if Way(flow, clients).client() != client || unsafe { atomic::load(flow.add(1)) } != value {
            return None;
        }
    }
    let way = Way(flow, clients);
    (way.tag() == tag && value != PENDING).then_some((way, FlowValue(value)))
}

#[inline(always)]
fn peek_bucket(bucket: u32, tag: u64) -> Option<(*mut u64, usize)> {
    let bucket = FLOWS.get_ptr_mut(bucket)?.cast::<u64>();
    (0..FLOW_WAYS)
        // SAFETY: i is below FLOW_WAYS, so this stays within the element.
        .map(|i| (unsafe { bucket.add(2 * i) }, i))
        // SAFETY: the tag of a way.
        .find(|&(flow, _)| unsafe { atomic::load(flow) } == tag)
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

/// Which way of its two buckets is this connection's, or [`NOWHERE`].
#[inline(always)]
fn find(places: &Places, session: &Session, veil: u64) -> u64 {
    let mut found = NOWHERE;
    for i in 0..2 * FLOW_WAYS as u64 {
        if places.way(i).is_of(session) {
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

/// Waits until a way that had this connection has a value, or another connection.
#[inline(always)]
pub(crate) fn settled(way: Way, session: &Session) -> Settled {
    let mut value = PENDING;
    for _ in 0..PATIENCE {
        value = way.value();
        if value != PENDING || way.tag() != session.tag {
            break;
        }
        // A pause that leaves the cache line to its owner.
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() };
    }
    if !way.is_of(session) {
        return Settled::Gone;
    }
    // Read again where the tag alone does not say that it is the same flow's.
    if value == PENDING || session.is(IS_WIDE) && way.value() != value {
        return Settled::Not;
    }
    Settled::As(FlowValue(value))
}

/// What is known of a backend to which a flow points.
#[inline(always)]
pub(crate) fn is_usable(backend: u16, service: u16) -> bool {
    let Some(at) = BACKENDS.get_ptr(u32::from(backend)) else {
        return false;
    };
    // SAFETY: an element of the map.
    let (flags, owner) = unsafe { ((*at).flags, (*at).service) };
    const REACHED: u16 = BACKEND_RESOLVED | BACKEND_LOCAL | BACKEND_CHANGING;
    owner == service && flags & BACKEND_DOWN == 0 && flags & REACHED != 0
}

/// Whether a backend is still this service's.
#[inline(always)]
pub(crate) fn is_owned(backend: u16, service: u16) -> bool {
    // SAFETY: an element of the map.
    BACKENDS
        .get_ptr(u32::from(backend))
        .is_some_and(|at| unsafe { (*at).service } == service)
}

/// Whether a backend's weight is 0.
#[inline(always)]
pub(crate) fn has_no_weight(backend: u16) -> bool {
    // SAFETY: an element of the map.
    BACKENDS
        .get_ptr(u32::from(backend))
        .is_none_or(|at| unsafe { (*at).weight } == 0)
}

#[inline(always)]
fn is_down(backend: u16) -> bool {
    // SAFETY: an element of the map.
    BACKENDS
        .get_ptr(u32::from(backend))
        .is_some_and(|at| unsafe { (*at).flags } & BACKEND_DOWN != 0)
}

/// The backend of a packet's flow: the one it has, or else the one that the scheduler gives it.
///
/// In three steps that do not lie within each other, for the stack's sake: `decide` finds the flow or
/// claims a place, the scheduler chooses, `settle` writes what it chose into the place.
#[inline(always)]
pub(crate) fn admit(session: &Session) -> Result<u32, Reason> {
    let answer = decide_packed(session);
    if answer < SCHEDULE {
        return unpack(answer);
    }
    let chosen = if answer & (ABOUT | BY_HASH) != 0 {
        schedule::by_hash(session)
    } else {
        schedule::choose(session)
    };
    let mut zero = 0;
    if answer & CLAIMED != 0 {
        let backend = match chosen {
            Ok(backend) => u32::from(backend),
            Err(_) => 0,
        };
        zero = settle(session, answer, backend);
    } else if answer & BY_HASH != 0 && chosen.is_ok() {
        count(Reason::FloodHashed);
    }
    // Used, or the compiler would let the function return whatever is in the register.
    chosen.map(|backend| u32::from(backend) ^ zero)
}

/// What [`decide`] answers beside a backend or a reason: a server is to be chosen.
const SCHEDULE: u32 = 1 << 20;
/// By the hash of floods.
const BY_HASH: u32 = 1 << 21;
/// The flow has a place: its way's number is in the lowest bits.
const CLAIMED: u32 = 1 << 22;
/// Its server is gone.
const FLEES: u32 = 1 << 23;
/// It only says where the connection would be.
const ABOUT: u32 = 1 << 24;

/// Gives a claimed way the server that was chosen, or frees it (0). It returns 0.
#[inline(never)]
fn settle(session: &Session, answer: u32, backend: u32) -> u32 {
    let Some(settings) = settings() else {
        return 0;
    };
    let zero = veil(settings) as u32;
    let Some(way) = Claimed::of(session.tag, answer) else {
        return zero;
    };
    if backend == 0 {
        way.free();
        return zero;
    }
    let backend = backend as u16;
    // SAFETY: an element of the map.
    let (set, service_flags) = unsafe { ((*session.service).timeouts, (*session.service).flags) };
    let mut state = next(session, State::None as u8);
    if answer & BY_HASH != 0 {
        schedule::begin(session, backend);
        // A packet in mid-stream of which nobody knows whether its connection was ever opened. The
        // next one tells; until then the entry shall not outlive one that is in use.
        if state == State::Established as u8 {
            state = State::SynRecv as u8;
        }
    }
    let value = FlowValue::new(backend, state, session.now);
    way.settle(value.with_timeouts(set).0);
    loads::moved(backend, None, Some(state));
    if service_flags & SERVICE_COUNTS != 0 {
        loads::bound(backend);
    }
    if answer & FLEES != 0 {
        count(Reason::Rescheduled);
    }
    zero
}

/// Not inlined: the short way shall not pay for its registers.
#[inline(never)]
fn decide_packed(session: &Session) -> u32 {
    match decide(session) {
        Ok(answer) => answer,
        Err(reason) => pack(Err(reason)),
    }
}

#[inline(always)]
fn decide(session: &Session) -> Result<u32, Reason> {
    let Some(places) = Places::of(flow_buckets(session.tag, &params())) else {
        return Err(Reason::Internal);
    };
    let Some(settings) = settings() else {
        return Err(Reason::Internal);
    };
    let mut found = None;
    // Looked for again when it was evicted, moved or given up in this moment.
    for _ in 0..2 {
        let number = find(&places, session, veil(settings));
        if number == NOWHERE {
            break;
        }
        match settled(places.way(number), session) {
            Settled::As(value) => {
                found = Some((number, value));
                break;
            }
            Settled::Gone => {}
            Settled::Not => return Err(Reason::FlowBusy),
        }
    }
    if session.is(IS_ERROR) {
        return about(session, found.map(|(_, value)| value), settings);
    }
    // Bits of the answer, which the verifier does not know: it would walk what follows for each.
    let mut marks = veil(settings) as u32;
    let way = match found {
        Some((number, value)) => match known(session, places.way(number), value)? {
            Known::Stays(backend) => return Ok(u32::from(backend)),
            Known::Anew { flees } => {
                if flees {
                    marks ^= FLEES;
                }
                number
            }
        },
        None => {
            if is_one_packet(session) {
                return Ok(SCHEDULE);
            }
            let since = flood::since(settings, session.now);
            let is_stray = !opens(session) && since <= flood::AFTERMATH;
            if !is_stray {
                may_open(session)?;
            }
            if is_stray && ends(session) || flood::is_over(settings, session.now, is_stray) {
                return Ok(SCHEDULE | BY_HASH);
            }
            // What opens a connection is known for it; of UDP any packet may be the next one.
            let by_hash_for = if is_stray || !session.is(IS_TCP | IS_SCTP) {
                flood::AFTERMATH
            } else {
                flood::REPETITION
            };
            if since <= by_hash_for {
                marks = BY_HASH;
            }
            marks ^= veil(settings) as u32;
            match insert::insert(&places, session, settings)? {
                Inserted::New(number) => number,
                Inserted::Found(value) => return Ok(u32::from(value.backend())),
            }
        }
    };
    let way = way ^ veil(settings);
    let number = way as u32 % (2 * FLOW_WAYS as u32);
    Ok(SCHEDULE | CLAIMED | number | marks & (BY_HASH | FLEES))
}

/// Whether each packet is scheduled by itself (`ops`, for UDP).
#[inline(always)]
fn is_one_packet(session: &Session) -> bool {
    // SAFETY: an element of the map.
    !session.is(IS_TCP | IS_SCTP) && unsafe { (*session.service).flags } & SERVICE_ONE_PACKET != 0
}

/// The backend of the connection that an ICMP error is about, which is left as it is. One that is
/// not in the table is where a hash would put it, or did in a flood.
#[inline(always)]
fn about(
    session: &Session,
    found: Option<FlowValue>,
    settings: *const Settings,
) -> Result<u32, Reason> {
    if let Some(value) = found
        && !is_expired(value, session.now)
        && is_owned(value.backend(), session.id)
    {
        return Ok(u32::from(value.backend()));
    }
    if is_hashed(session) || flood::since(settings, session.now) <= flood::AFTERMATH {
        return Ok(SCHEDULE | ABOUT);
    }
    Err(Reason::IcmpNoFlow)
}

/// Whether the service's scheduler gives a connection to the same server everywhere.
#[inline(always)]
fn is_hashed(session: &Session) -> bool {
    // SAFETY: an element of the map.
    let sched = unsafe { (*session.service).sched };
    Sched::is_hash(sched)
}

/// Whether a packet begins a connection.
#[inline(always)]
fn opens(session: &Session) -> bool {
    let low = session.flags as u8;
    if session.is(IS_TCP) {
        low & (SYN | RST) == SYN
    } else {
        !session.is(IS_SCTP) || low == sctp::INIT
    }
}

/// Whether a packet ends its connection at once (RST, ABORT).
#[inline(always)]
fn ends(session: &Session) -> bool {
    let low = session.flags as u8;
    if session.is(IS_TCP) {
        low & RST != 0
    } else {
        session.is(IS_SCTP) && low == sctp::ABORT
    }
}

/// Whether a packet without a flow may start one. TCP in mid-stream may where every director would
/// choose the same server (a hash) or the operator said so. Otherwise IPVS hands it to the
/// director's own stack, which answers RST; a director that promises never to send one drops it.
#[inline(always)]
fn may_open(session: &Session) -> Result<(), Reason> {
    // SAFETY: an element of the map.
    let takes_all = unsafe { (*session.service).flags } & SERVICE_SLOPPY != 0 || is_hashed(session);
    if opens(session) {
        return Ok(());
    }
    if takes_all && !ends(session) {
        Ok(())
    } else if session.is(IS_TCP) {
        Err(Reason::TcpNoFlow)
    } else {
        Err(Reason::SctpNoFlow)
    }
}

/// The state of a flow after this packet.
#[inline(always)]
fn next(session: &Session, state: u8) -> u8 {
    if session.is(IS_TCP) {
        next_state(state, session.flags as u8)
    } else if session.is(IS_SCTP) {
        sctp::next_state(state, session.flags as u8)
    } else {
        next_udp_state(state)
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
fn known(session: &Session, way: Way, value: FlowValue) -> Result<Known, Reason> {
    // SAFETY: an element of the map.
    let service_flags = unsafe { (*session.service).flags };
    let state = value.state_bits();
    let opens = opens(session);
    // An entry that ought to be gone is.
    let is_stale = is_expired(value, session.now) || !is_owned(value.backend(), session.id);
    let reuses = opens && is_reusable(state);
    // What opens goes to a server that lives; the rest stays, unless it is to end.
    let expires = service_flags & SERVICE_EXPIRE_NODEST != 0;
    let flees = if opens {
        // IPVS: a SYN or INIT that finds its connection at a server of weight 0.
        let leaves = expires && session.is(IS_TCP | IS_SCTP) && has_no_weight(value.backend());
        leaves || !is_usable(value.backend(), session.id)
    } else {
        expires && is_down(value.backend())
    };
    if is_stale || reuses || flees {
        let may_open = may_open(session);
        if is_stale {
            may_open?;
        }
        if !way.claim(value.0) {
            return Err(Reason::FlowBusy);
        }
        if !way.is_of(session) {
            // It changed hands and has the same value by chance.
            way.settle(value.0);
            return Err(Reason::FlowBusy);
        }
        if is_owned(value.backend(), session.id) {
            loads::moved(value.backend(), Some(state), None);
        }
        if let Err(reason) = may_open {
            way.free();
            return Err(reason);
        }
        return Ok(Known::Anew {
            flees: flees && !is_stale && !reuses,
        });
    }
    let backend = value.backend();
    // Not a loop: the one that the compiler makes of it Linux 6.1 refuses.
    let _ = advance(session, way, value)
        .and_then(|current| advance(session, way, current))
        .and_then(|current| advance(session, way, current))
        .and_then(|current| advance(session, way, current));
    if value.seen() != session.now {
        schedule::keep_template(session, backend);
    }
    Ok(Known::Stays(backend))
}

/// Notes what a packet does to its flow, whose value was this. Where another packet of the flow, on
/// another CPU, was faster, its new value: this one comes after it, or a FIN would be lost. Unless the
/// way has changed hands: then nothing is to be changed any more.
#[inline(always)]
fn advance(session: &Session, way: Way, value: FlowValue) -> Option<FlowValue> {
    let state = value.state_bits();
    let next = next(session, state);
    if next == state && value.seen() == session.now {
        return None;
    }
    let backend = value.backend();
    if way.change(value.0, value.seen_as(next, session.now).0) {
        if next != state {
            loads::moved(backend, Some(state), Some(next));
        }
        return None;
    }
    let current = FlowValue(way.value());
    let is_same = current.0 != PENDING && current.backend() == backend && way.is_of(session);
    is_same.then_some(current)
}
