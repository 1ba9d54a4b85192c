//! Which real server a new connection gets: the one its client had before (persistence), or the
//! one that the service's table says.

use lb_common::flow::split_tag;
use lb_common::maps::{
    MAX_SERVICES, SERVICE_V6, Sched, ServiceSlot, Template, TemplateKey, mask_client, template_key,
};
use lb_common::reason::Reason;
use lb_common::sched::{NOBODY, sh_hash};

use crate::atomic;
use crate::flows::is_usable;
use crate::maps::{COUNTERS, SCHED, SERVICE_CURSOR, TEMPLATES, count};

/// How many entries of the table are tried when servers in it cannot be used.
const TRIES: u32 = 16;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// A connection that is being decided.
pub(crate) struct Session {
    pub(crate) service: *const ServiceSlot,
    pub(crate) tag: u64,
    /// The client's address as in the packet; IPv4: in the first word, the others zero.
    pub(crate) client: [u32; 4],
    /// The client's port as in the packet.
    #[expect(dead_code, reason = "for the schedulers that hash it")]
    pub(crate) port: u16,
    pub(crate) now: u32,
}

impl Session {
    #[inline(always)]
    fn id(&self) -> u16 {
        split_tag(self.tag).2
    }

    #[inline(always)]
    fn template_key(&self) -> TemplateKey {
        // SAFETY: an element of the map.
        let (mask, flags) = unsafe { ((*self.service).persist_mask, (*self.service).flags) };
        let masked = mask_client(self.client, mask, flags & SERVICE_V6 != 0);
        template_key(self.id(), masked)
    }

    #[inline(always)]
    fn persist_ticks(&self) -> u32 {
        // SAFETY: an element of the map.
        unsafe { (*self.service).persist_ticks }
    }
}

/// Chooses a server for a new connection and counts it there.
#[inline(always)]
pub(crate) fn choose(session: &Session) -> Result<u16, Reason> {
    let backend = client_or_table(session)?;
    if let Some(counters) = COUNTERS.get_ptr_mut(u32::from(backend)) {
        // SAFETY: this CPU's own element.
        unsafe { (*counters).conns += 1 };
    }
    Ok(backend)
}

/// The client's server, if the service is persistent and it has one that may be used, else the
/// table's, which it keeps. A server of weight 0 keeps its clients, as in IPVS without
/// `expire_quiescent_template`.
#[inline(always)]
fn client_or_table(session: &Session) -> Result<u16, Reason> {
    let is_persistent = session.persist_ticks() != 0;
    let key = session.template_key();
    let mut how = BPF_NOEXIST;
    if is_persistent && let Some(backend) = template(session, &key, &mut how) {
        keep_template(session, backend);
        return Ok(backend);
    }
    let backend = from_table(session)?;
    if is_persistent
        && TEMPLATES.insert(&key, Template::new(backend, session.now).0, how).is_err()
        && how == BPF_NOEXIST
        // Another connection of the client was faster; both go to its server.
        && let Some(backend) = template(session, &key, &mut how)
    {
        return Ok(backend);
    }
    Ok(backend)
}

#[inline(always)]
fn template(session: &Session, key: &TemplateKey, how: &mut u64) -> Option<u16> {
    // SAFETY: read as one word; the element may be reused for another client meanwhile, and that is
    // what the age and the owner of the backend are checked for.
    let found = Template(unsafe { atomic::load(TEMPLATES.get_ptr(key)?) });
    *how = BPF_ANY;
    let is_fresh = session.now.wrapping_sub(found.used()) <= session.persist_ticks();
    (is_fresh && is_usable(found.backend(), session.id())).then_some(found.backend())
}

/// Notes that a client was just sent to its server.
#[inline(always)]
pub(crate) fn keep_template(session: &Session, backend: u16) {
    if session.persist_ticks() == 0 {
        return;
    }
    let key = session.template_key();
    let fresh = Template::new(backend, session.now).0;
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
fn from_table(session: &Session) -> Result<u16, Reason> {
    // SAFETY: an element of the map; the table is switched by one store of this word.
    let (word, sched) = unsafe {
        (
            atomic::load(&raw const (*session.service).table),
            (*session.service).sched,
        )
    };
    let (base, len) = ((word >> 32) as u32, word as u32);
    if len == 0 {
        return Err(Reason::NoServer);
    }
    let id = session.id();
    let start = if sched == Sched::SourceHash as u8 {
        sh_hash(session.client[0]) % len
    } else {
        let Some(cursor) = SERVICE_CURSOR.get_ptr_mut(u32::from(id) % MAX_SERVICES) else {
            return Err(Reason::Internal);
        };
        // One turn for all CPUs, or rr would be exact on none.
        // SAFETY: an element of the map.
        (unsafe { atomic::fetch_add(cursor, 1) } % u64::from(len)) as u32
    };
    // Far enough apart that a server with many entries in a row is left behind.
    let step = len / TRIES + 1;
    let mut at = start;
    for attempt in 0..TRIES {
        let backend = entry(base + at)?;
        if backend == NOBODY {
            if attempt == 0 {
                // The client's server has weight 0: IPVS refuses it too.
                return Err(Reason::NoServer);
            }
        } else if is_usable(backend, id) {
            if attempt != 0 {
                count(Reason::BackendSkipped);
            }
            return Ok(backend);
        }
        at += step;
        if at >= len {
            at -= len;
        }
    }
    Err(Reason::BackendUnresolved)
}

/// Entry `index` of the arena.
#[inline(always)]
fn entry(index: u32) -> Result<u16, Reason> {
    match SCHED.get_ptr(index >> 2) {
        // SAFETY: an element of the map.
        Some(word) => Ok((unsafe { atomic::load(word) } >> (16 * (index & 3))) as u16),
        None => Err(Reason::Internal),
    }
}
