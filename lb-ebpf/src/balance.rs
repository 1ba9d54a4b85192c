//! One frame, from its first byte to its verdict.

use aya_ebpf::programs::XdpContext;
use lb_common::maps::{BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, ServiceSlot};
use lb_common::reason::Reason;
use lb_common::tcp::State;

use crate::maps::{BACKENDS, COUNTERS, count, tick};
use crate::packet::{Packet, TCP};
use crate::schedule::Session;
use crate::tunnel::{self, Sent};
use crate::{flows, ifaces, rewrite, services};

/// What becomes of a frame.
pub(crate) enum Verdict {
    /// Out of the interface on which it came.
    Transmit,
    /// Out of that interface.
    Redirect(u32),
    /// Up the stack: this host is its real server.
    Local,
    /// Up the stack or nowhere, as the reason says.
    Because(Reason),
}

/// Decides a frame and rewrites it.
#[inline(always)]
pub(crate) fn balance(ctx: &XdpContext) -> Verdict {
    match forward(ctx) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Because(reason),
    }
}

#[inline(always)]
fn forward(ctx: &XdpContext) -> Result<Verdict, Reason> {
    let packet = Packet::parse(ctx)?;
    let Some(service) = services::find(packet.service_key()) else {
        return Err(Reason::NoService);
    };
    // SAFETY: an element of the map.
    let (id, service_flags) = unsafe { ((*service).id, (*service).flags) };
    // SAFETY: the context of an XDP program.
    let ingress = unsafe { (*ctx.ctx).ingress_ifindex };
    ifaces::check(&packet, ingress, id, service_flags)?;
    if packet.first_fragment {
        return Err(Reason::Fragment);
    }
    let flags = if packet.proto == TCP {
        u32::from(packet.tcp_flags()?) | flows::IS_TCP
    } else {
        0
    };

    let backend = match established(&packet, service, id, flags) {
        Some(backend) => backend,
        None => admitted(&packet, service, id, flags)?,
    };
    // SAFETY: an element of the map.
    let (backend_flags, egress) = unsafe { ((*backend.at).flags, (*backend.at).ifindex) };
    let verdict = if backend_flags & (BACKEND_RESOLVED | BACKEND_LOCAL) == BACKEND_RESOLVED {
        if rewrite::is_plain(&packet, backend.at) {
            rewrite::to_backend(&packet, backend.at)?;
        } else {
            let (l3, hash) = (packet.l3(), packet.flow_hash());
            match tunnel::send(ctx.ctx, backend.at, backend.index, l3, hash)? {
                Sent::Encapsulated => {}
                Sent::Answered => {
                    count(Reason::TooBigAnswered);
                    return Ok(Verdict::Transmit);
                }
            }
        }
        if egress == ingress {
            Verdict::Transmit
        } else {
            Verdict::Redirect(egress)
        }
    } else if backend_flags & BACKEND_LOCAL != 0 {
        Verdict::Local
    } else {
        return Err(Reason::BackendUnresolved);
    };
    let Some(counters) = COUNTERS.get_ptr_mut(backend.index) else {
        return Err(Reason::Internal);
    };
    // SAFETY: this CPU's own element.
    unsafe {
        (*counters).packets += 1;
        (*counters).bytes += u64::from(packet.ip_len);
    }
    Ok(verdict)
}

struct Chosen {
    at: *const Backend,
    index: u32,
}

/// The short way: a flow in a state that this packet does not change (a SYN too, unless it may open
/// a new connection in its place: then the state changes), with a
/// living server. `None` whenever anything is to be decided.
#[inline(always)]
fn established(
    packet: &Packet,
    service: *const ServiceSlot,
    id: u16,
    flags: u32,
) -> Option<Chosen> {
    let tag = packet.flow_tag(id);
    let (way, value) = flows::peek(tag)?;
    let state = value.state_bits();
    if flags & flows::IS_TCP != 0 {
        if lb_common::tcp::next_state(state, flags as u8) != state {
            return None;
        }
    } else if state != State::Udp as u8 {
        return None;
    }
    let index = u32::from(value.backend());
    let at = BACKENDS.get_ptr(index)?;
    // SAFETY: an element of the map.
    let (backend_flags, owner) = unsafe { ((*at).flags, (*at).service) };
    let is_usable = backend_flags == BACKEND_RESOLVED
        || backend_flags & (BACKEND_LOCAL | BACKEND_DOWN) == BACKEND_LOCAL;
    if !is_usable || owner != id {
        return None;
    }
    let now = tick();
    if value.seen() != now {
        // SAFETY: an element of the map.
        if unsafe { (*service).persist_ticks } != 0 {
            return None;
        }
        flows::refresh(way, value, now)?;
    }
    Some(Chosen { at, index })
}

/// The long way.
#[inline(always)]
fn admitted(
    packet: &Packet,
    service: *const ServiceSlot,
    id: u16,
    flags: u32,
) -> Result<Chosen, Reason> {
    let session = Session {
        service,
        tag: packet.flow_tag(id),
        client: [packet.client(), 0, 0, 0],
        port: packet.client_port(),
        now: tick(),
    };
    let index = flows::admit(&session, flags)?;
    match BACKENDS.get_ptr(index) {
        Some(at) => Ok(Chosen { at, index }),
        None => Err(Reason::Internal),
    }
}
