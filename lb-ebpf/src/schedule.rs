//! Which real server a new connection gets: the one its client had before (persistence), or the
//! one that the service's table says.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use lb_common::hash::{addr_words, fold_addr};
use lb_common::maps::{
    MAX_SERVICES, SERVICE_COUNTS, SERVICE_EXPIRE_QUIESCENT, SERVICE_HASH_FALLBACK,
    SERVICE_HASH_PORT, SERVICE_V6, Sched, Template, TemplateKey, mask_client, template_key,
};
use lb_common::reason::Reason;
use lb_common::sched::{NOBODY, client_key, mh_slot, sh_slot};

use crate::atomic;
use crate::flows::{has_no_weight, is_usable};
use crate::loads::is_overloaded;
use crate::maps::{COUNTERS, LOADS, SCHED, SERVICE_CURSOR, TEMPLATES, count, params};
use crate::scan;
use crate::session::{Session, pack, unpack};

/// How many entries of the table are tried when servers in it cannot be used.
const TRIES: u32 = 16;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// What scheduling needs of a session, without pointers. It lies in a map, because the functions that
/// read it are global ones: the verifier walks them once each, and not for every way that leads to
/// them, but they are given numbers only; and the stack is short.
#[repr(C)]
pub(crate) struct Request {
    tag: u64,
    /// [`ServiceSlot::table`](lb_common::maps::ServiceSlot::table), as it is at this moment.
    table: u64,
    client: [u32; 4],
    pub(crate) now: u32,
    persist_ticks: u32,
    persist_mask: u32,
    /// `SERVICE_*` bits.
    flags: u32,
    pub(crate) id: u16,
    port: u16,
    pub(crate) sched: u32,
}

#[map]
static REQUEST: PerCpuArray<Request> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's request.
#[inline(always)]
fn request() -> Option<&'static Request> {
    // SAFETY: this CPU's own element, written by `ask` alone.
    REQUEST.get_ptr(0).map(|at| unsafe { &*at })
}

impl Request {
    /// Makes this CPU's request that of a session.
    #[inline(always)]
    fn ask(session: &Session) {
        let Some(at) = REQUEST.get_ptr_mut(0) else {
            return;
        };
        let service = session.service;
        // SAFETY: elements of maps; the table is switched by one store of its word.
        unsafe {
            at.write(Request {
                tag: session.tag,
                table: atomic::load(&raw const (*service).table),
                client: session.client,
                now: session.now,
                persist_ticks: (*service).persist_ticks,
                persist_mask: (*service).persist_mask,
                flags: (*service).flags,
                id: session.id,
                port: session.port,
                sched: u32::from((*service).sched),
            });
        }
    }

    #[inline(always)]
    fn template_key(&self) -> TemplateKey {
        let is_v6 = self.flags & SERVICE_V6 != 0;
        let masked = mask_client(self.client, self.persist_mask, is_v6);
        template_key(self.id, masked)
    }

    /// Where the service's table begins, and how long it is.
    #[inline(always)]
    pub(crate) fn table(&self) -> (u32, u32) {
        ((self.table >> 32) as u32, self.table as u32)
    }

    /// What the client hashes to.
    #[inline(always)]
    pub(crate) fn key(&self) -> u32 {
        let port = if self.flags & SERVICE_HASH_PORT != 0 {
            self.port
        } else {
            0
        };
        client_key(self.client, port)
    }

    #[inline(always)]
    fn is(&self, scheduler: Sched) -> bool {
        self.sched == scheduler as u32
    }

    /// Whether every director chooses the same server.
    #[inline(always)]
    fn is_hashed(&self) -> bool {
        Sched::is_hash(self.sched as u8)
    }
}

/// Chooses a server for a new connection and counts it there.
#[inline(always)]
pub(crate) fn choose(session: &Session) -> Result<u16, Reason> {
    Request::ask(session);
    server(lb_schedule())
}

// No argument that is not used: the compiler would leave anything in its register, which kernel 6.1
// refuses. The same below.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_schedule() -> u32 {
    match request() {
        Some(request) => pack(chosen(request)),
        None => pack(Err(Reason::Internal)),
    }
}

/// The server, or the reason, that a function has [`pack`]ed.
#[inline(always)]
fn server(answer: u32) -> Result<u16, Reason> {
    unpack(answer).map(|backend| backend as u16)
}

#[inline(always)]
fn chosen(request: &Request) -> Result<u16, Reason> {
    let backend = client_or_table(request)?;
    count_connection(backend);
    Ok(backend)
}

#[inline(always)]
fn count_connection(backend: u16) {
    if let Some(counters) = COUNTERS.get_ptr_mut(u32::from(backend)) {
        // SAFETY: this CPU's own element.
        unsafe { (*counters).conns += 1 };
    }
}

/// The client's server, if the service is persistent and it has one that may be used, else the
/// table's, which it keeps. A server of weight 0 keeps its clients unless the service says
/// otherwise (`expire_quiescent_template`).
#[inline(always)]
fn client_or_table(request: &Request) -> Result<u16, Reason> {
    let is_persistent = request.persist_ticks != 0;
    let key = request.template_key();
    let mut how = BPF_NOEXIST;
    if is_persistent && let Some(backend) = template(request, &key, &mut how) {
        keep(request, backend);
        return Ok(backend);
    }
    let backend = from_table(request)?;
    if is_persistent
        && TEMPLATES.insert(&key, Template::new(backend, request.now).0, how).is_err()
        && how == BPF_NOEXIST
        // Another connection of the client was faster; both go to its server.
        && let Some(backend) = template(request, &key, &mut how)
    {
        return Ok(backend);
    }
    Ok(backend)
}

#[inline(always)]
fn template(request: &Request, key: &TemplateKey, how: &mut u64) -> Option<u16> {
    // SAFETY: read as one word; the element may be reused for another client meanwhile, and that is
    // what the age and the owner of the backend are checked for.
    let found = Template(unsafe { atomic::load(TEMPLATES.get_ptr(key)?) });
    *how = BPF_ANY;
    let is_fresh = found.idle(request.now) <= request.persist_ticks;
    let leaves = request.flags & SERVICE_EXPIRE_QUIESCENT != 0 && has_no_weight(found.backend());
    (is_fresh && !leaves && is_usable(found.backend(), request.id)).then_some(found.backend())
}

/// Notes that a client was just sent to its server.
#[inline(always)]
pub(crate) fn keep_template(session: &Session, backend: u16) {
    // SAFETY: an element of the map.
    if unsafe { (*session.service).persist_ticks } != 0 {
        Request::ask(session);
        lb_keep(u32::from(backend));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_keep(backend: u32) -> u32 {
    if let Some(request) = request() {
        keep(request, backend as u16);
    }
    0
}

#[inline(always)]
fn keep(request: &Request, backend: u16) {
    if request.persist_ticks == 0 {
        return;
    }
    let key = request.template_key();
    let fresh = Template::new(backend, request.now).0;
    match TEMPLATES.get_ptr_mut(&key) {
        Some(word) => {
            // SAFETY: a value of the map. Only the time changes, and only if the element is still of
            // a client of this server.
            unsafe {
                let old = atomic::load(word);
                if Template(old).backend() == backend && old != fresh {
                    atomic::compare_exchange(word, old, fresh);
                }
            }
        }
        None => {
            // Lost to the table's limit: the connection that lives says where its client belongs.
            let _ = TEMPLATES.insert(&key, fresh, BPF_NOEXIST);
        }
    }
}

#[inline(always)]
fn from_table(request: &Request) -> Result<u16, Reason> {
    let (base, len) = request.table();
    if len == 0 {
        return Err(Reason::NoServer);
    }
    let counts = request.flags & SERVICE_COUNTS != 0;
    let mut start = if request.is(Sched::SourceHash) {
        sh_slot(request.key(), 0)
    } else if request.is(Sched::Maglev) {
        mh_slot(request.key(), 0)
    } else if request.is(Sched::DestHash) {
        0
    } else if !request.is(Sched::Turn) || counts {
        return scanned();
    } else {
        let Some(cursor) = SERVICE_CURSOR.get_ptr_mut(u32::from(request.id) % MAX_SERVICES) else {
            return Err(Reason::Internal);
        };
        // One turn for all CPUs, or rr would be exact on none.
        // SAFETY: an element of the map.
        (unsafe { atomic::fetch_add(cursor, 1) } % u64::from(len)) as u32
    };
    if request.is_hashed() {
        // A division only where the table has another length than the scheduler gives it.
        if start >= len {
            start %= len;
        }
        let backend = entry(base + start)?;
        if backend == NOBODY || counts && is_full(backend) {
            if request.flags & SERVICE_HASH_FALLBACK == 0 || request.is(Sched::DestHash) {
                return Err(Reason::NoServer);
            }
            return scanned();
        }
    }
    let (backend, attempt) = probe::<false>(request, start, Reason::BackendUnresolved)?;
    if attempt != 0 {
        count(Reason::BackendSkipped);
    }
    Ok(backend)
}

/// The first server from entry `start` of the table on that can be used, and how many were tried
/// before it; where there is none, that reason. `LISTS`: it may be one of the lists of the schedulers
/// that count, which have servers of weight 0 too; in the tables of the others nobody stands for one.
#[inline(always)]
fn probe<const LISTS: bool>(
    request: &Request,
    start: u32,
    if_none: Reason,
) -> Result<(u16, u32), Reason> {
    let (base, len) = request.table();
    // Far enough apart that a server with many entries in a row is left behind.
    let step = len / TRIES + 1;
    let mut at = start;
    for attempt in 0..TRIES {
        let backend = entry(base + at)?;
        let is_quiesced = LISTS && request.sched > Sched::DestHash as u32 && has_no_weight(backend);
        if backend != NOBODY && !is_quiesced && is_usable(backend, request.id) {
            return Ok((backend, attempt));
        }
        at += step;
        if at >= len {
            at -= len;
            // By an even step one would never come to half of the entries.
            if step != 1 {
                at ^= 1;
            }
        }
    }
    Err(if_none)
}

#[inline(always)]
fn is_full(backend: u16) -> bool {
    LOADS
        .get_ptr_mut(u32::from(backend))
        .is_some_and(|load| is_overloaded(u32::from(backend), load))
}

#[inline(always)]
fn scanned() -> Result<u16, Reason> {
    server(lb_scan())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_scan() -> u32 {
    match request() {
        Some(request) => pack(scan::choose(request)),
        None => pack(Err(Reason::Internal)),
    }
}

/// The server where a hash of what a connection has and nothing that changes puts it, so that all
/// its packets go to the same, and nothing is remembered or counted: see [`begin`]. Schedulers that
/// hash the client anyway do so, and one with a single server for all takes that; a client whose
/// server persistence knows keeps it.
#[inline(always)]
pub(crate) fn by_hash(session: &Session) -> Result<u16, Reason> {
    Request::ask(session);
    server(lb_by_hash())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_by_hash() -> u32 {
    match request() {
        Some(request) => pack(hashed(request)),
        None => pack(Err(Reason::Internal)),
    }
}

/// Begins a connection whose server [`by_hash`] gave.
#[inline(always)]
pub(crate) fn begin(session: &Session, backend: u16) {
    count_connection(backend);
    keep_template(session, backend);
}

#[inline(always)]
fn hashed(request: &Request) -> Result<u16, Reason> {
    let mut what = request.tag;
    if request.persist_ticks != 0 {
        let key = request.template_key();
        if let Some(backend) = template(request, &key, &mut 0) {
            return Ok(backend);
        }
        // All of a client's connections to one server.
        what = u64::from(fold_addr(addr_words([key[0], key[1], key[2], key[3]]), 0));
    }
    if request.is_hashed() || request.is(Sched::Failover) {
        return from_table(request);
    }
    let (_, len) = request.table();
    if len == 0 {
        return Err(Reason::NoServer);
    }
    let mixed = (what ^ params().hash_seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let start = (mixed as u32).checked_rem(len).unwrap_or(0);
    probe::<true>(request, start, Reason::NoServer).map(|(backend, _)| backend)
}

/// Entry `index` of the arena.
#[inline(always)]
pub(crate) fn entry(index: u32) -> Result<u16, Reason> {
    match SCHED.get_ptr(index >> 2) {
        // SAFETY: an element of the map.
        Some(word) => Ok((unsafe { atomic::load(word) } >> (16 * (index & 3))) as u16),
        None => Err(Reason::Internal),
    }
}
