//! One frame, from its first byte to its verdict.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use lb_common::hash::addr_of_words;
use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_LONG_WAY, BACKEND_RESOLVED, Backend, SERVICE_ANY_PORT,
    SERVICE_WIDE, ServiceSlot,
};
use lb_common::reason::Reason;
use lb_common::tcp::State;

use crate::maps::{BACKENDS, COUNTERS, count, settings, tick};
use crate::packet::{ETHER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Plain, TCP, bounds, field};
use crate::session::{
    IS_ERROR, IS_FIRST_FRAGMENT, IS_TCP, IS_V6, IS_WIDE, Session, pack, tag as tag_of, unpack, veil,
};
use crate::tunnel::{self, Sent};
use crate::unusual::FOLLOWS;
use crate::{flows, fragments, ifaces, rewrite, services, unusual};

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

/// How far the short way led.
enum Short {
    /// To the end.
    Sent(Verdict),
    /// To a backend that takes more than new MACs.
    To(u32),
    /// To a connection that is to be decided.
    Open,
    /// Nowhere: the frame is not of the plain kind.
    Unusual,
}

#[inline(always)]
fn forward(ctx: &XdpContext) -> Result<Verdict, Reason> {
    let (frame, end) = (ctx.data(), ctx.data_end());
    if frame + ETHER_LEN > end {
        return Err(Reason::NotIp);
    }
    // SAFETY: just compared.
    let ethertype = unsafe { field::<u16>(frame + 12) };
    // SAFETY: the context of an XDP program.
    let ingress = unsafe { (*ctx.ctx).ingress_ifindex };
    let mut session = MaybeUninit::<Session>::uninit();
    let at = session.as_mut_ptr();
    let short = if ethertype == ETHERTYPE_IPV4 {
        short_way::<false>(ctx.ctx, frame, end, ingress, at)?
    } else if ethertype == ETHERTYPE_IPV6 {
        short_of(short_way_v6(ctx.ctx, ingress, at))?
    } else {
        Short::Unusual
    };
    let known = match short {
        Short::Sent(verdict) => return Ok(verdict),
        Short::To(index) => index | FOLLOWS,
        Short::Open => 0,
        Short::Unusual => unusual::read(ctx.ctx, at)?,
    };
    // SAFETY: filled by the short way or by `unusual`.
    let session = unsafe { session.assume_init_ref() };
    let index = if known & FOLLOWS != 0 {
        known & !FOLLOWS
    } else {
        flows::admit(session)?
    };
    long_way(ctx, session, index, ingress)
}

/// A [`Short`] or a reason in one register.
const TRANSMIT: u64 = 0;
const REDIRECT: u64 = 1 << 32;
const TO: u64 = 2 << 32;
const OPEN: u64 = 3 << 32;
const UNUSUAL: u64 = 4 << 32;
const BECAUSE: u64 = 5 << 32;

#[inline(always)]
fn short_of(packed: u64) -> Result<Short, Reason> {
    let number = packed as u32;
    Ok(match packed & !u64::from(u32::MAX) {
        TRANSMIT => Short::Sent(Verdict::Transmit),
        REDIRECT => Short::Sent(Verdict::Redirect(number)),
        TO => Short::To(number),
        OPEN => Short::Open,
        UNUSUAL => Short::Unusual,
        _ => return unpack(number).map(|_| Short::Unusual),
    })
}

/// The short way of IPv6. Not inlined: its registers would take the room on the stack that the long
/// way needs.
#[inline(never)]
fn short_way_v6(ctx: *mut xdp_md, ingress: u32, session: *mut Session) -> u64 {
    let (frame, end) = bounds(ctx);
    if frame + ETHER_LEN > end {
        return UNUSUAL;
    }
    match short_way::<true>(ctx, frame, end, ingress, session) {
        Ok(Short::Sent(Verdict::Redirect(ifindex))) => REDIRECT | u64::from(ifindex),
        Ok(Short::Sent(_)) => TRANSMIT,
        Ok(Short::To(index)) => TO | u64::from(index),
        Ok(Short::Open) => OPEN,
        Ok(Short::Unusual) => UNUSUAL,
        Err(reason) => BECAUSE | u64::from(pack(Err(reason))),
    }
}

/// A plain frame of a flow in a state that it does not change, with a living server that is reached
/// directly or, IPv4, through a tunnel of the usual kind. What could open or end a connection goes the
/// long way, even where the flow has seen it before.
#[inline(always)]
fn short_way<const V6: bool>(
    ctx: *mut xdp_md,
    frame: usize,
    end: usize,
    ingress: u32,
    session: *mut Session,
) -> Result<Short, Reason> {
    let Some(packet) = Plain::read::<V6>(frame, end) else {
        return Ok(Short::Unusual);
    };
    let vip_port = (packet.ports >> 16) as u16;
    // A service for any port is found on the long way.
    let Some(service) = services::at_port::<V6>(packet.destination, vip_port, packet.proto) else {
        return Ok(Short::Unusual);
    };
    // SAFETY: an element of the map.
    let (id, service_flags) = unsafe { ((*service).id, (*service).flags) };
    // SAFETY: the frame has an Ethernet header.
    unsafe { ifaces::check(frame, ingress, id, service_flags) }?;
    // One for any port has the port of the VIP in its tags; this packet's is 0.
    let other = if V6 { SERVICE_ANY_PORT } else { SERVICE_WIDE };
    if service_flags & other != 0 {
        return Ok(Short::Unusual);
    }
    let wide = if V6 { SERVICE_WIDE } else { 0 };
    let tag = tag_of(packet.source, packet.ports as u16, vip_port, id, wide);
    let now = tick();
    let found = established::<V6>(&packet, service, id, tag, now);
    if let Some(backend) = &found {
        let Chosen { at, index } = *backend;
        // SAFETY: an element of the map.
        let (flags, overhead) = unsafe { ((*at).flags, (*at).overhead) };
        let is_short = overhead == 0 || !V6 && overhead != BACKEND_LONG_WAY;
        let len = packet.ip_len + u32::from(overhead);
        if flags == BACKEND_RESOLVED && is_short && rewrite::fits(len, at) {
            // SAFETY: `Plain::read` saw the whole IP header.
            unsafe { rewrite::pass_hop::<V6>(packet.ip()) }?;
            if V6 || overhead == 0 {
                // SAFETY: the frame has an Ethernet header.
                unsafe { rewrite::set_macs(frame, at) };
            } else {
                tunnel::wrap(ctx, at, overhead, len, tag)?;
            }
            count_packet(index, packet.ip_len)?;
            return Ok(Short::Sent(out(at, ingress)));
        }
    }
    let index = found.map(|backend| backend.index);
    prepare::<V6>(ctx, service, tag, index.is_none(), session)?;
    Ok(index.map_or(Short::Open, Short::To))
}

/// Fills the session. The frame is read again: to keep all this until here would cost the packets
/// that do not need it, and the stack of the long way.
#[inline(always)]
fn prepare<const V6: bool>(
    ctx: *mut xdp_md,
    service: *const ServiceSlot,
    tag: u64,
    opens: bool,
    session: *mut Session,
) -> Result<(), Reason> {
    let (frame, end) = bounds(ctx);
    if frame + ETHER_LEN > end {
        return Err(Reason::Internal);
    }
    let (Some(packet), Some(settings)) = (Plain::read::<V6>(frame, end), settings()) else {
        return Err(Reason::Internal);
    };
    if opens {
        packet.not_land()?;
    }
    // SAFETY: an element of the map.
    let id = unsafe { (*service).id };
    let mut flags = u32::from(packet.tcp_flags);
    if packet.proto == TCP {
        flags |= IS_TCP;
    }
    if V6 {
        flags |= IS_V6;
    }
    if V6 {
        flags |= IS_WIDE;
    }
    // SAFETY: the caller's own.
    unsafe {
        Session {
            service,
            tag,
            client: addr_of_words(packet.source),
            flags,
            now: tick(),
            port: packet.ports as u16,
            id,
            l3: ETHER_LEN as u32,
            ip_len: packet.ip_len,
            fragment: 0,
        }
        .store(session, veil(settings));
    }
    Ok(())
}

struct Chosen {
    at: *const Backend,
    index: u32,
}

/// The backend of a flow for which nothing is to be decided.
#[inline(always)]
fn established<const V6: bool>(
    packet: &Plain,
    service: *const ServiceSlot,
    id: u16,
    tag: u64,
    now: u32,
) -> Option<Chosen> {
    let (way, value) = flows::peek(tag, V6.then_some(packet.source))?;
    let state = value.state_bits();
    if packet.proto == TCP {
        if !lb_common::tcp::goes_on(state, packet.tcp_flags) {
            return None;
        }
    } else if state != State::Udp as u8 {
        return None;
    }
    let index = u32::from(value.backend());
    let at = BACKENDS.get_ptr(index)?;
    // SAFETY: an element of the map.
    let (flags, owner) = unsafe { ((*at).flags, (*at).service) };
    let is_usable =
        flags == BACKEND_RESOLVED || flags & (BACKEND_LOCAL | BACKEND_DOWN) == BACKEND_LOCAL;
    if !is_usable || owner != id {
        return None;
    }
    if value.seen() != now {
        // SAFETY: an element of the map.
        if unsafe { (*service).persist_ticks } != 0 {
            return None;
        }
        flows::refresh(way, value, now)?;
    }
    Some(Chosen { at, index })
}

/// A packet whose backend is known, to that backend, by whatever it takes.
#[inline(always)]
fn long_way(
    ctx: &XdpContext,
    session: &Session,
    index: u32,
    ingress: u32,
) -> Result<Verdict, Reason> {
    let Some(backend) = BACKENDS.get_ptr(index) else {
        return Err(Reason::Internal);
    };
    if session.is(IS_FIRST_FRAGMENT) {
        fragments::remember(ctx.ctx, session, index);
    }
    // SAFETY: an element of the map.
    let (flags, overhead) = unsafe { ((*backend).flags, (*backend).overhead) };
    let verdict = if flags & BACKEND_LOCAL != 0 {
        Verdict::Local
    } else if flags & BACKEND_RESOLVED == 0 {
        return Err(Reason::BackendUnresolved);
    } else {
        if overhead == 0 && rewrite::fits(session.ip_len, backend) {
            direct(ctx, session, backend)?;
        } else {
            match tunnel::send(ctx.ctx, backend, index, session)? {
                Sent::Encapsulated => {}
                Sent::Answered => {
                    count(Reason::TooBigAnswered);
                    return Ok(Verdict::Transmit);
                }
            }
        }
        out(backend, ingress)
    };
    if session.is(IS_ERROR) {
        count(Reason::IcmpError);
    }
    count_packet(index, session.ip_len)?;
    Ok(verdict)
}

/// Direct routing of a frame whose headers lie anywhere.
#[inline(always)]
fn direct(ctx: &XdpContext, session: &Session, backend: *const Backend) -> Result<(), Reason> {
    let (frame, end) = bounds(ctx.ctx);
    let ip = frame + (session.l3 & 31) as usize;
    if frame + ETHER_LEN > end || ip + 20 > bounds(ctx.ctx).1 {
        return Err(Reason::Internal);
    }
    // SAFETY: just compared.
    unsafe {
        if session.is(IS_V6) {
            rewrite::to_backend::<true>(frame, ip, backend)
        } else {
            rewrite::to_backend::<false>(frame, ip, backend)
        }
    }
}

#[inline(always)]
fn out(backend: *const Backend, ingress: u32) -> Verdict {
    // SAFETY: an element of the map.
    let egress = unsafe { (*backend).ifindex };
    if egress == ingress {
        Verdict::Transmit
    } else {
        Verdict::Redirect(egress)
    }
}

#[inline(always)]
fn count_packet(backend: u32, len: u32) -> Result<(), Reason> {
    let Some(counters) = COUNTERS.get_ptr_mut(backend) else {
        return Err(Reason::Internal);
    };
    // SAFETY: this CPU's own element.
    unsafe {
        (*counters).packets += 1;
        (*counters).bytes += u64::from(len);
    }
    Ok(())
}
