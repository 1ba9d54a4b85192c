//! The fragments of a packet go where its first one went, which has the ports.

use aya_ebpf::bindings::xdp_md;
use lb_common::maps::{FragmentKey, MAX_BACKENDS, SERVICE_LOCAL, Template};
use lb_common::reason::Reason;

use crate::atomic;
use crate::flows::is_owned;
use crate::maps::{FRAGMENTS, tick};
use crate::packet::{bounds, field};
use crate::session::{IS_LOCAL, IS_V6, Session};

/// How many ticks after the first fragment others may come. Those of one packet come together;
/// what is later may be of another packet with the same identification.
const PATIENCE: u32 = 3;
const BPF_ANY: u64 = 0;
/// Beside the backend: its service has [`SERVICE_LOCAL`].
const LOCAL: u16 = 1 << 15;
const _: () = assert!(MAX_BACKENDS <= LOCAL as u32);

/// The backend to which the first fragment of this packet went, its service, and of the service's
/// flags [`SERVICE_LOCAL`].
#[inline(always)]
pub(crate) fn follow(key: &FragmentKey) -> Result<(u16, u16, u32), Reason> {
    let Some(word) = FRAGMENTS.get_ptr(key) else {
        return Err(Reason::LaterFragment);
    };
    // SAFETY: read as one word; should the element be another packet's by now, it is younger.
    let word = unsafe { atomic::load(word) };
    let found = Template(word);
    let is_fresh = found.idle(tick()) <= PATIENCE;
    let (backend, service) = (found.backend() & !LOCAL, (word >> 48) as u16);
    let flags = if found.backend() & LOCAL != 0 {
        SERVICE_LOCAL
    } else {
        0
    };
    if !is_fresh || !is_owned(backend, service) {
        return Err(Reason::LaterFragment);
    }
    Ok((backend, service, flags))
}

/// Remembers where the first fragment of a packet goes.
#[inline(never)]
pub(crate) fn remember(ctx: *mut xdp_md, session: &Session, backend: u32) -> u32 {
    let (data, end) = bounds(ctx);
    let ip = data + (session.l3 & 31) as usize;
    let mut key = FragmentKey {
        source: [0; 4],
        destination: [0; 4],
        id: session.fragment,
        proto: 0,
    };
    if session.is(IS_V6) {
        if ip + 40 > end {
            return 0;
        }
        // SAFETY: just compared.
        unsafe {
            key.source = field(ip + 8);
            key.destination = field(ip + 24);
        }
    } else {
        if ip + 20 > end {
            return 0;
        }
        // SAFETY: just compared.
        unsafe {
            key.proto = u32::from(field::<u8>(ip + 9));
            key.source[0] = field(ip + 12);
            key.destination[0] = field(ip + 16);
        }
    }
    let local = if session.is(IS_LOCAL) { LOCAL } else { 0 };
    let word = u64::from(session.id) << 48 | Template::new(backend as u16 | local, tick()).0;
    // When the table has no room the others are counted as unknown.
    let _ = FRAGMENTS.insert(key, word, BPF_ANY);
    0
}
