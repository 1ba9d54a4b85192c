//! The schedulers that look at one server after the other: those that compare connection counts,
//! and the others where a server is overloaded or refuses.
//!
//! Up to `MAX_TABLE` servers are looked at by `bpf_loop`, so the verifier walks the loop's body once.
//! What the body remembers lies in a map: of what lies on the stack kernels before 6.7 believe that
//! the body never changes it.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_loop};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use lb_common::maps::{LOAD_IN_SET, Load, MAX_SERVICES, Sched, Template, split_load};
use lb_common::reason::Reason;
use lb_common::sched::locality::{EXPIRATION, ServerSet, comes_first};
use lb_common::sched::{MAX_TABLE, MH_SIZE, NOBODY, SH_SIZE, mh_slot, sh_slot};

use crate::atomic;
use crate::flood::window;
use crate::flows::{has_no_weight, is_usable};
use crate::loads::{is_overloaded, mark};
use crate::maps::{BACKENDS, LOADS, SERVICE_CURSOR, count, params, settings};
use crate::schedule::{Request, entry};

/// Beside the numbers of [`Sched`]: the next turns.
const TURNS: u32 = 100;
/// The slots that `sh-fallback` looks at.
const SH_FALLBACK: u32 = 101;
/// Those of `mh-fallback`.
const MH_FALLBACK: u32 = 102;
/// [`Sched::PowerOfTwo`], which adds up the weights first and then draws.
const DRAW: u32 = 103;

/// How many turns or slots are tried in the moment after all of them were tried in vain: what comes
/// at a service that is full shall not walk through a long table once for each packet.
const PROBES: u32 = 32;
/// Places of [`EXHAUSTED`], a power of two.
const EXHAUSTED_PLACES: u32 = 256;

/// A server, by its load.
#[repr(C)]
#[derive(Clone, Copy)]
struct Candidate {
    backend: u32,
    /// Its number in a set of `lblcr`.
    number: u32,
    load: u64,
    weight: u64,
}

const NONE: Candidate = Candidate {
    backend: 0,
    number: 0,
    load: 0,
    weight: 0,
};

/// What a scan looks for and has found so far.
#[repr(C)]
#[derive(Clone, Copy)]
struct Scan {
    /// Where the service's table begins, and how long it is.
    base: u32,
    len: u32,
    /// How many of its entries are looked at.
    limit: u32,
    /// The service.
    id: u32,
    /// A [`Sched`] as a number, or one of the others above.
    how: u32,
    /// What the client hashes to, and its slot.
    key: u32,
    home: u32,
    /// How many servers could not be used.
    unusable: u32,
    /// Whether a server has less than half the active connections that its weight allows.
    half_idle: u32,
    /// A set of `lblcr` is forgotten: the marks of its servers are removed.
    forgets: u32,
    /// Servers in the set.
    set_size: u32,
    /// The least loaded server.
    least: Candidate,
    /// The least and the most loaded in the set.
    set_least: Candidate,
    set_most: Candidate,
    /// Sum of the weights.
    total: u64,
    /// What two draws have left of it.
    draws: [i64; 2],
    drawn: [Candidate; 2],
}

#[map]
static SCAN: PerCpuArray<Scan> = PerCpuArray::with_max_entries(1, 0);

/// `window << 16 | service`: in that [`window`] all turns or slots of the service were tried in vain.
/// Where two services have one place the later one has it.
#[map]
static EXHAUSTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(EXHAUSTED_PLACES, 0);

/// IPVS's `ip_vs_dest_conn_overhead`.
#[inline(always)]
const fn overhead(active: u64, inactive: u64) -> u64 {
    (active << 8) + inactive
}

/// Looks at a server; returns whether that is enough.
#[inline(always)]
unsafe fn look(scan: *mut Scan, i: u32) -> Option<bool> {
    // SAFETY (all of this function): an element of a map, this CPU's own.
    unsafe {
        let how = (*scan).how;
        let at = match how {
            TURNS => atomic::fetch_add(word((*scan).id)?, 1) as u32,
            SH_FALLBACK => sh_slot((*scan).key, i.wrapping_add((*scan).home) % SH_SIZE as u32),
            MH_FALLBACK => mh_slot((*scan).key, i.wrapping_add((*scan).home) % MH_SIZE as u32),
            _ => i,
        };
        let backend = entry((*scan).base + at.checked_rem((*scan).len)?).ok()?;
        if backend == NOBODY {
            return Some(false);
        }
        let index = u32::from(backend);
        if !is_usable(backend, (*scan).id as u16) {
            // One of weight 0 would not have been taken anyway.
            if !has_no_weight(backend) {
                (*scan).unusable += 1;
            }
            return Some(false);
        }
        let load = LOADS.get_ptr_mut(index)?;
        if how >= TURNS && how != DRAW {
            if is_overloaded(index, load) {
                return Some(false);
            }
            (*scan).least.backend = index;
            return Some(true);
        }
        weigh(scan, index, load)
    }
}

/// Looks at a server of which the load counts.
#[inline(always)]
unsafe fn weigh(scan: *mut Scan, index: u32, load: *mut Load) -> Option<bool> {
    // SAFETY (all of this function): elements of maps.
    unsafe {
        let how = (*scan).how;
        let weight = u64::from((*BACKENDS.get_ptr(index)?).weight);
        let (active, inactive) = split_load(atomic::load(&raw const (*load).counts));
        let (active, inactive) = (u64::from(active), u64::from(inactive));
        if active * 2 < weight {
            (*scan).half_idle = 1;
        }
        let mut this = Candidate {
            backend: index,
            number: 0,
            load: overhead(active, inactive),
            weight,
        };
        let overloaded = is_overloaded(index, load);
        if how == Sched::Lblcr as u32 {
            in_set(scan, load, &mut this, overloaded);
        }
        if weight == 0 || overloaded {
            return Some(false);
        }
        match how {
            n if n == Sched::LeastConn as u32 => this.weight = 1,
            n if n == Sched::ShortestDelay as u32 => this.load = active + 1,
            n if n == Sched::NeverQueue as u32 => {
                this.load = active + 1;
                if active == 0 {
                    (*scan).least = this;
                    return Some(true);
                }
            }
            // The highest weight: the least of equal loads by weight.
            n if n == Sched::Failover as u32 => this.load = 1,
            n if n == Sched::Overflow as u32 => {
                this.load = 1;
                if active > weight {
                    return Some(false);
                }
            }
            n if n == Sched::PowerOfTwo as u32 => {
                (*scan).total += weight;
                return Some(false);
            }
            DRAW => return Some(draw(scan, &this)),
            _ => {}
        }
        if is_less(&this, &raw const (*scan).least) {
            (*scan).least = this;
        }
        Some(false)
    }
}

/// Whether a server is less loaded than the best so far: the first of equals stays.
#[inline(always)]
unsafe fn is_less(this: &Candidate, best: *const Candidate) -> bool {
    // SAFETY: an element of a map.
    unsafe { (*best).backend == 0 || (*best).load * this.weight > this.load * (*best).weight }
}

/// Looks at a server of a `lblcr` service with regard to the set.
#[inline(always)]
unsafe fn in_set(scan: *mut Scan, load: *mut Load, this: &mut Candidate, overloaded: bool) {
    // SAFETY (all of this function): elements of maps.
    unsafe {
        let marks = atomic::load(&raw const (*load).marks);
        if marks & LOAD_IN_SET == 0 {
            return;
        }
        if (*scan).forgets != 0 {
            mark(load, LOAD_IN_SET, 0);
            return;
        }
        (*scan).set_size += 1;
        this.number = (marks >> 8) as u32 & 0xff;
        if this.weight == 0 {
            return;
        }
        // The set's list begins with the server that came last.
        let least = &raw mut (*scan).set_least;
        let (a, b) = ((*least).load * this.weight, this.load * (*least).weight);
        let first = comes_first(this.number as u8, (*least).number as u8);
        if !overloaded && ((*least).backend == 0 || a > b || a == b && first) {
            *least = *this;
        }
        let most = &raw mut (*scan).set_most;
        let (a, b) = ((*most).load * this.weight, this.load * (*most).weight);
        let first = comes_first(this.number as u8, (*most).number as u8);
        if (*most).backend == 0 || a < b || a == b && first {
            *most = *this;
        }
    }
}

/// Takes a server's weight from both draws; whether both have found theirs.
#[inline(always)]
unsafe fn draw(scan: *mut Scan, this: &Candidate) -> bool {
    // SAFETY (all of this function): an element of a map.
    unsafe {
        (*scan).draws[0] -= this.weight as i64;
        (*scan).draws[1] -= this.weight as i64;
        if (*scan).draws[0] <= 0 && (*scan).drawn[0].backend == 0 {
            (*scan).drawn[0] = *this;
        }
        if (*scan).draws[1] <= 0 && (*scan).drawn[1].backend == 0 {
            (*scan).drawn[1] = *this;
        }
        (*scan).drawn[0].backend != 0 && (*scan).drawn[1].backend != 0
    }
}

/// The body of the loop: 1 ends it.
extern "C" fn step(i: u64, scan: *mut *mut Scan) -> i64 {
    // SAFETY: what `walk` gives.
    i64::from(unsafe { look(*scan, i as u32) }.unwrap_or(true))
}

/// Looks at as many entries of the table as [`Scan::limit`] says.
#[inline(always)]
fn walk(scan: *mut Scan) {
    // Loaded as it is: the helper takes 32 bits, and what the compiler leaves in the others of the
    // register the kernel's inlined loop would count too.
    // SAFETY: this CPU's own element.
    let limit = unsafe { core::ptr::read_volatile(&raw const (*scan).limit) };
    let times = if limit < MAX_TABLE as u32 {
        limit
    } else {
        MAX_TABLE as u32
    };
    let mut context = scan;
    let body: extern "C" fn(u64, *mut *mut Scan) -> i64 = step;
    // SAFETY: the helper calls the body with a number below `times` and with this pointer to the
    // stack, and has done with both when it returns.
    unsafe {
        bpf_loop(times, body as *mut c_void, (&raw mut context).cast(), 0);
    }
}

/// The server of a new connection, by one of the schedulers that look at them all, or by the next
/// turns of a service whose servers may be overloaded.
#[inline(always)]
pub(crate) fn choose(request: &Request) -> Result<u16, Reason> {
    let sched = request.sched;
    let (base, len) = request.table();
    let key = request.key();
    if sched == Sched::Lblc as u32
        && let Some(backend) = remembered(request)
    {
        return Ok(backend);
    }
    let Some(scan) = SCAN.get_ptr_mut(0) else {
        return Err(Reason::Internal);
    };
    let how = match sched {
        n if n == Sched::Turn as u32 => TURNS,
        n if n == Sched::SourceHash as u32 => SH_FALLBACK,
        n if n == Sched::Maglev as u32 => MH_FALLBACK,
        n => n,
    };
    let id = u32::from(request.id);
    let home = if how == MH_FALLBACK {
        mh_slot(key, 0)
    } else {
        sh_slot(key, 0)
    };
    let limit = if how >= TURNS && len > PROBES && is_exhausted(id) {
        PROBES
    } else {
        len
    };
    // SAFETY (all of this function): this CPU's own element.
    unsafe {
        scan.write(Scan {
            base,
            len,
            limit,
            id,
            how,
            key,
            home,
            unusable: 0,
            half_idle: 0,
            forgets: 0,
            set_size: 0,
            least: NONE,
            set_least: NONE,
            set_most: NONE,
            total: 0,
            draws: [0; 2],
            drawn: [NONE; 2],
        });
        if how == Sched::Lblcr as u32 {
            (*scan).forgets = u32::from(set(id).is_forgotten(request.now, expiration()));
        }
        walk(scan);
        if how == Sched::PowerOfTwo as u32 && (*scan).total > 0 {
            (*scan).how = DRAW;
            (*scan).draws = [lot((*scan).total), lot((*scan).total)];
            walk(scan);
            (*scan).least = less_drawn(scan);
        }
        if how == Sched::Lblcr as u32 {
            replicate(scan, request);
        }
        if how == Sched::Lblc as u32 {
            locate(scan, request);
        }
        let backend = (*scan).least.backend as u16;
        if how >= TURNS && backend != NOBODY && (*scan).unusable != 0 {
            count(Reason::BackendSkipped);
        }
        if backend == NOBODY {
            if how >= TURNS && limit == len {
                note_exhausted(id);
            }
            return Err(if (*scan).unusable != 0 {
                Reason::BackendUnresolved
            } else {
                Reason::NoServer
            });
        }
        Ok(backend)
    }
}

#[inline(always)]
fn exhausted_now(id: u32) -> u64 {
    window() << 16 | u64::from(id)
}

/// Whether all of a service's turns or slots were just tried in vain.
#[inline(always)]
fn is_exhausted(id: u32) -> bool {
    // SAFETY: this CPU's own element.
    EXHAUSTED
        .get_ptr(id % EXHAUSTED_PLACES)
        .is_some_and(|place| unsafe { *place } == exhausted_now(id))
}

#[inline(always)]
fn note_exhausted(id: u32) {
    if let Some(place) = EXHAUSTED.get_ptr_mut(id % EXHAUSTED_PLACES) {
        // SAFETY: as above.
        unsafe { *place = exhausted_now(id) };
    }
}

/// A number from 0 to `most`.
#[inline(always)]
fn lot(most: u64) -> i64 {
    // SAFETY: a helper without arguments.
    let random = u64::from(unsafe { bpf_get_prandom_u32() });
    random.checked_rem(most.wrapping_add(1)).unwrap_or(0) as i64
}

/// The less loaded of two drawn servers, the first of equals.
#[inline(always)]
unsafe fn less_drawn(scan: *const Scan) -> Candidate {
    // SAFETY: an element of a map.
    let [first, second] = unsafe { (*scan).drawn };
    if second.backend != 0 && second.weight * first.load > first.weight * second.load {
        second
    } else {
        first
    }
}

/// [`EXPIRATION`] in ticks.
#[inline(always)]
fn expiration() -> u32 {
    let hz = match settings() {
        // SAFETY: an element of the map.
        Some(settings) => unsafe { (*settings).hz },
        None => 0,
    };
    (u64::from(EXPIRATION) * u64::from(hz) >> params().tick_shift) as u32
}

/// Where a service's turn, its server (`lblc`) or its set (`lblcr`) is kept.
#[inline(always)]
fn word(id: u32) -> Option<*mut u64> {
    SERVICE_CURSOR.get_ptr_mut(id % MAX_SERVICES)
}

#[inline(always)]
fn remember(id: u32, to: u64) {
    if let Some(word) = word(id) {
        // SAFETY: an element of the map.
        unsafe { atomic::store(word, to) };
    }
}

/// The server where `lblc` sends the service's clients, and whether it has a weight and its number
/// of active connections is not above that.
#[inline(always)]
fn last(request: &Request) -> Option<(u16, bool)> {
    // SAFETY: elements of the maps.
    unsafe {
        let last = Template(atomic::load(word(u32::from(request.id))?));
        let index = u32::from(last.backend());
        if last.idle(request.now) > expiration() || !is_usable(last.backend(), request.id) {
            return None;
        }
        let weight = u32::from((*BACKENDS.get_ptr(index)?).weight);
        let (active, _) = split_load(atomic::load(&raw const (*LOADS.get_ptr(index)?).counts));
        (weight != 0).then_some((last.backend(), active <= weight))
    }
}

/// The server of `lblc`, if nothing else needs to be looked at.
#[inline(always)]
fn remembered(request: &Request) -> Option<u16> {
    let (backend, has_room) = last(request)?;
    if !has_room {
        return None;
    }
    remember(u32::from(request.id), Template::new(backend, request.now).0);
    Some(backend)
}

/// `lblc` after a scan: the same server as before if no other is half idle, else the least loaded.
#[inline(always)]
unsafe fn locate(scan: *mut Scan, request: &Request) {
    // SAFETY (all of this function): an element of a map.
    unsafe {
        if (*scan).half_idle == 0
            && let Some((backend, _)) = last(request)
        {
            (*scan).least.backend = u32::from(backend);
        }
        let backend = (*scan).least.backend as u16;
        if backend != NOBODY {
            remember(u32::from(request.id), Template::new(backend, request.now).0);
        }
    }
}

#[inline(always)]
fn set(id: u32) -> ServerSet {
    // SAFETY: an element of the map.
    ServerSet(word(id).map_or(0, |word| unsafe { atomic::load(word) }))
}

/// `lblcr` after a scan: the least loaded of the set, unless it has too much while another server is
/// half idle; then the least loaded of all, which comes into the set. A set that has not changed for
/// a day loses its busiest server.
#[inline(always)]
unsafe fn replicate(scan: *mut Scan, request: &Request) {
    // SAFETY (all of this function): elements of maps.
    unsafe {
        let id = u32::from(request.id);
        let old = set(id);
        let mut changed = old.changed();
        let mut number = old.number();
        if (*scan).set_size > 1 && old.is_settled(request.now, expiration()) {
            if let Some(load) = LOADS.get_ptr_mut((*scan).set_most.backend) {
                mark(load, LOAD_IN_SET, 0);
            }
            changed = request.now;
        }
        let own = (*scan).set_least;
        if own.backend != 0 && !is_busy(own.backend, own.weight, (*scan).half_idle) {
            (*scan).least = own;
        } else if (*scan).least.backend != 0
            && let Some(load) = LOADS.get_ptr_mut((*scan).least.backend)
            && atomic::load(&raw const (*load).marks) & LOAD_IN_SET == 0
        {
            number = number.wrapping_add(1);
            changed = request.now;
            mark(
                load,
                LOAD_IN_SET | 0xff00,
                LOAD_IN_SET | u64::from(number) << 8,
            );
        }
        remember(id, ServerSet::new(number, request.now, changed).0);
    }
}

/// IPVS's `is_overloaded` of `lblc` and `lblcr`: more active connections than its weight, while some
/// server has less than half of its own.
#[inline(always)]
fn is_busy(backend: u32, weight: u64, half_idle: u32) -> bool {
    let Some(load) = LOADS.get_ptr(backend) else {
        return false;
    };
    // SAFETY: an element of the map.
    let (active, _) = split_load(unsafe { atomic::load(&raw const (*load).counts) });
    u64::from(active) > weight && half_idle != 0
}
