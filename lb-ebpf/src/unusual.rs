//! Reading the frames that are not plain: VLAN tags, IP options, IPv6 extension headers, fragments,
//! SCTP, ICMP errors, and everything that is wrong.

use aya_ebpf::bindings::xdp_md;
use lb_common::hash::addr_words;
use lb_common::maps::{FragmentKey, MAX_BACKENDS, SERVICE_LOCAL, SERVICE_WIDE};
use lb_common::reason::Reason;

use crate::maps::{count, settings, tick};
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, SCTP, TCP, UDP, bounds, field};
use crate::session::{
    IS_ERROR, IS_FIRST_FRAGMENT, IS_LOCAL, IS_SCTP, IS_TCP, IS_V6, IS_WIDE, Session, pack, tag,
    unpack, veil,
};
use crate::{fragments, ifaces, services};

pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
pub(crate) const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8u16.to_be();
/// VLAN tags that are read.
pub(crate) const TAGS: usize = 2;

const ICMP: u8 = 1;
pub(crate) const ICMP_V6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// IPv6 extension headers that are read.
const EXTENSIONS: usize = 6;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LSRR: u8 = 131;
const OPTION_SSRR: u8 = 137;

/// A frame, from the driver.
#[derive(Clone, Copy)]
struct Frame {
    data: usize,
    end: usize,
}

impl Frame {
    /// The field at this place, below 16 KiB, if it is within the frame. Two bytes at least: of a
    /// comparison for one the verifier makes nothing.
    #[inline(always)]
    fn get<T: Copy>(self, at: u32) -> Option<T> {
        let at = self.data + (at & 0x3fff) as usize;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: just compared.
        Some(unsafe { field(at) })
    }

    #[inline(always)]
    fn len(self) -> u32 {
        (self.end - self.data) as u32
    }
}

/// What the IP headers of a packet say.
#[repr(C)]
struct Headers {
    source: [u32; 4],
    destination: [u32; 4],
    /// Where the transport header begins in the frame.
    l4: u32,
    /// Where the packet ends, as its header says; of one that is quoted, where the quote ends. Set
    /// before the headers are read, to what there is.
    end: u32,
    /// Identification of a fragment.
    id: u32,
    proto: u32,
    /// [`LATER`], [`FIRST`], [`SOURCE_ROUTE`], [`LAND`].
    marks: u32,
}

/// Where the headers are that matter.
#[repr(C)]
struct Place {
    headers: Headers,
    /// Where the frame's own IP header begins.
    l3: u32,
    /// [`IS_V6`] and [`IS_ERROR`].
    flags: u32,
}

/// A fragment other than the first.
const LATER: u32 = 1;
/// The first of several fragments.
const FIRST: u32 = 2;
/// It says where to go. Of an ICMP error: its own packet does.
const SOURCE_ROUTE: u32 = 4;
/// From the very address that it is for. Of an ICMP error: its own packet is.
const LAND: u32 = 8;

/// Beside the place of a header: it is of IPv6.
const HEADERS_V6: u32 = 1 << 16;
/// Beside the place of a header: it is quoted in an ICMP error, which may cut its packet.
const HEADERS_QUOTED: u32 = 1 << 17;

/// Beside the backend of a fragment that follows its first one.
pub(crate) const FOLLOWS: u32 = 1 << 15;
const _: () = assert!(MAX_BACKENDS <= FOLLOWS);

/// Fills the session from a frame. For a fragment that follows its first one it gives the backend
/// with [`FOLLOWS`], and no more of the session than is needed to send it there; else 0.
#[inline(always)]
pub(crate) fn read(ctx: *mut xdp_md, session: *mut Session) -> Result<u32, Reason> {
    unpack(read_packed(ctx, session))
}

// In two functions, one after the other: together they would need more stack than there is.
#[inline(never)]
fn read_packed(ctx: *mut xdp_md, session: *mut Session) -> u32 {
    let mut place = Place {
        headers: Headers {
            source: [0; 4],
            destination: [0; 4],
            l4: 0,
            end: 0,
            id: 0,
            proto: 0,
            marks: 0,
        },
        l3: 0,
        flags: 0,
    };
    let answer = locate_packed(ctx, &mut place);
    if answer != 0 {
        return answer;
    }
    resolve_packed(ctx, &place, session)
}

#[inline(never)]
fn locate_packed(ctx: *mut xdp_md, place: &mut Place) -> u32 {
    pack(locate(ctx, place).map(|()| 0))
}

#[inline(never)]
fn resolve_packed(ctx: *mut xdp_md, place: &Place, session: *mut Session) -> u32 {
    pack(resolve(ctx, place, session))
}

#[inline(always)]
fn frame_of(ctx: *mut xdp_md) -> Frame {
    let (data, end) = bounds(ctx);
    Frame { data, end }
}

/// Finds the headers of the packet, or of the one that an ICMP error is about.
#[inline(always)]
fn locate(ctx: *mut xdp_md, place: &mut Place) -> Result<(), Reason> {
    let frame = frame_of(ctx);
    let Some(settings) = settings() else {
        return Err(Reason::Internal);
    };
    let veil = veil(settings) as u32;
    let mut at = 12;
    let mut ethertype = frame.get::<u16>(at).ok_or(Reason::NotIp)?;
    for _ in 0..TAGS {
        if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN {
            at += 4;
            ethertype = frame.get(at).ok_or(Reason::NotIp)?;
        }
    }
    let is_v6 = ethertype == ETHERTYPE_IPV6;
    if !is_v6 && ethertype != ETHERTYPE_IPV4 {
        return Err(Reason::NotIp);
    }
    let family = if is_v6 { HEADERS_V6 } else { 0 } ^ veil;
    let l3 = at + 2 ^ veil;
    place.headers.end = frame.len();
    unpack(headers(ctx, l3 & 31 | family, &mut place.headers))?;
    place.l3 = l3;
    place.flags = if family & HEADERS_V6 != 0 { IS_V6 } else { 0 } ^ veil;

    let proto = place.headers.proto as u8;
    let is_v6 = family & HEADERS_V6 != 0;
    let marks = place.headers.marks;
    // What a later fragment of IPv6 says is behind its headers counts for nothing (RFC 8200, 4.5).
    if proto == if is_v6 { ICMP_V6 } else { ICMP } && !(is_v6 && marks & LATER != 0) {
        if marks & (LATER | FIRST) != 0 || !is_error(frame_of(ctx), &place.headers, is_v6) {
            return Err(Reason::OtherProtocol);
        }
        // The packet that could not be delivered went from the VIP to the client.
        let vip = place.headers.destination;
        let quoted = place.headers.l4 + 8 & 0x3fff;
        unpack(headers(
            ctx,
            quoted | family | HEADERS_QUOTED,
            &mut place.headers,
        ))?;
        if place.headers.source != vip || place.headers.marks & LATER != 0 {
            return Err(Reason::OtherProtocol);
        }
        place.headers.marks = marks;
        place.flags = (place.flags | IS_ERROR) ^ veil;
    }
    Ok(())
}

/// Finds the service, and what the transport header says.
#[inline(always)]
fn resolve(ctx: *mut xdp_md, place: &Place, session: *mut Session) -> Result<u16, Reason> {
    let Some(settings) = settings() else {
        return Err(Reason::Internal);
    };
    let Place {
        headers: outer,
        l3,
        flags,
    } = place;
    let (l3, mut flags) = (*l3, *flags);
    let is_v6 = flags & IS_V6 != 0;
    let proto = outer.proto as u8;
    let frame = frame_of(ctx);
    let is_later = outer.marks & LATER != 0;
    if proto != TCP && proto != UDP && proto != SCTP && !(is_v6 && is_later) {
        return Err(Reason::OtherProtocol);
    }
    // SAFETY: the context of an XDP program.
    let ingress = unsafe { (*ctx).ingress_ifindex };
    // The frame's length was compared before; the verifier wants to see it.
    if frame.data + 14 > frame.end {
        return Err(Reason::NotIp);
    }
    if is_later {
        let key = FragmentKey {
            source: outer.source,
            destination: outer.destination,
            id: outer.id,
            proto: if is_v6 { 0 } else { outer.proto },
        };
        let (backend, service, service_flags) = fragments::follow(&key)?;
        // SAFETY: just compared.
        unsafe { ifaces::check(frame.data, ingress, service, service_flags) }?;
        not_hostile(outer.marks)?;
        // SAFETY: the caller's own.
        unsafe {
            (*session).id = service;
            (*session).l3 = l3;
            (*session).fragment = 0;
            (*session).flags = flags ^ veil(settings) as u32;
            (*session).ip_len = whole_len(frame, l3, is_v6);
            (*session).tag = u64::from(outer.id);
        }
        count(Reason::FragmentFollowed);
        return Ok(FOLLOWS as u16 | backend);
    }
    let Some(ports) = frame.get::<u32>(outer.l4) else {
        return Err(Reason::Truncated);
    };
    let l4_len = outer.end.saturating_sub(outer.l4);
    if l4_len < if flags & IS_ERROR != 0 { 4 } else { 8 } {
        return Err(Reason::Truncated);
    }
    let (client, vip, client_port, vip_port) = if flags & IS_ERROR != 0 {
        (
            outer.destination,
            outer.source,
            (ports >> 16) as u16,
            ports as u16,
        )
    } else {
        (
            outer.source,
            outer.destination,
            ports as u16,
            (ports >> 16) as u16,
        )
    };
    let addr = addr_words(vip);
    let service = if is_v6 {
        services::find::<true>(addr, vip_port, proto)
    } else {
        services::find::<false>(addr, vip_port, proto)
    };
    let Some(service) = service else {
        return Err(Reason::NoService);
    };
    // SAFETY: an element of the map.
    let (id, service_flags) = unsafe { ((*service).id, (*service).flags) };
    // SAFETY: just compared.
    unsafe { ifaces::check(frame.data, ingress, id, service_flags) }?;
    not_hostile(outer.marks)?;
    if flags & IS_ERROR == 0 {
        flags |= transport_flags(frame, proto, &outer, l4_len)?;
        if outer.marks & FIRST != 0 {
            flags |= IS_FIRST_FRAGMENT;
            if service_flags & SERVICE_LOCAL != 0 {
                flags |= IS_LOCAL;
            }
        }
    }
    if service_flags & SERVICE_WIDE != 0 {
        flags |= IS_WIDE;
    }
    // SAFETY: the caller's own.
    unsafe {
        Session {
            service,
            tag: tag(addr_words(client), client_port, vip_port, id, service_flags),
            client,
            flags,
            now: tick(),
            port: client_port,
            id,
            l3,
            ip_len: whole_len(frame, l3, is_v6),
            fragment: outer.id,
        }
        .store(session, veil(settings));
    }
    Ok(0)
}

/// What nobody sends in good faith.
#[inline(always)]
fn not_hostile(marks: u32) -> Result<(), Reason> {
    if marks & SOURCE_ROUTE != 0 {
        return Err(Reason::SourceRoute);
    }
    if marks & LAND != 0 {
        return Err(Reason::Land);
    }
    Ok(())
}

/// Length of the frame's own IP packet.
#[inline(always)]
fn whole_len(frame: Frame, l3: u32, is_v6: bool) -> u32 {
    let at = (l3 & 31) + if is_v6 { 4 } else { 2 };
    let len = u32::from(u16::from_be(frame.get(at).unwrap_or_default()));
    if is_v6 { len + 40 } else { len }
}

/// Whether the ICMP message is about a packet that was sent: destination unreachable (packet too
/// big), time exceeded, parameter problem.
#[inline(always)]
fn is_error(frame: Frame, outer: &Headers, is_v6: bool) -> bool {
    let Some([kind, _]) = frame.get::<[u8; 2]>(outer.l4) else {
        return false;
    };
    if outer.l4 + 8 > outer.end {
        return false;
    }
    if is_v6 {
        (1..=4).contains(&kind)
    } else {
        kind == 3 || kind == 11 || kind == 12
    }
}

/// What is known of the connection by the transport header.
#[inline(always)]
fn transport_flags(frame: Frame, proto: u8, outer: &Headers, l4_len: u32) -> Result<u32, Reason> {
    if proto == UDP {
        return Ok(0);
    }
    let is_tcp = proto == TCP;
    let least = if is_tcp { 20 } else { 16 };
    if l4_len < least {
        return Err(Reason::ShortHeader);
    }
    // The type of the first chunk is where TCP has its header length, its flags behind.
    match frame.get::<[u8; 2]>(outer.l4 + 12) {
        Some([_, flags]) if is_tcp => Ok(u32::from(flags) | IS_TCP),
        Some([chunk, _]) => Ok(u32::from(chunk) | IS_SCTP),
        None => Err(Reason::ShortHeader),
    }
}

/// Reads the IP headers at a place of the frame with `HEADERS_*` beside it. Once for the frame's own
/// and those that are quoted in it.
#[inline(never)]
fn headers(ctx: *mut xdp_md, place: u32, out: *mut Headers) -> u32 {
    let frame = frame_of(ctx);
    // SAFETY: the caller's own.
    let out = unsafe { &mut *out };
    let is_quoted = place & HEADERS_QUOTED != 0;
    let read = if place & HEADERS_V6 != 0 {
        ipv6(frame, place & 0x3fff, is_quoted, out)
    } else {
        ipv4(frame, place & 0x3fff, is_quoted, out)
    };
    pack(read.map(|()| 0))
}

#[inline(always)]
fn ipv4(frame: Frame, at: u32, is_quoted: bool, out: &mut Headers) -> Result<(), Reason> {
    let Some(settings) = settings() else {
        return Err(Reason::Internal);
    };
    let Some(header) = frame.get::<[u32; 5]>(at) else {
        return Err(Reason::Truncated);
    };
    if at + 20 > out.end {
        return Err(Reason::Truncated);
    }
    let first = u32::from_be(header[0]);
    let (header_len, total) = ((first >> 24 & 15) * 4, first & 0xffff);
    if first >> 28 != 4 {
        return Err(Reason::Malformed);
    }
    if header_len < 20 {
        return Err(Reason::BadHeaderLength);
    }
    if !is_quoted {
        if at + total > out.end {
            return Err(Reason::BadTotalLength);
        }
        if total < header_len {
            return Err(Reason::BadHeaderLength);
        }
        out.end = at + total;
    }
    let second = u32::from_be(header[1]);
    let mut marks = 0;
    if second & 0x1fff != 0 {
        marks = LATER;
    } else if second & 0x2000 != 0 {
        marks = FIRST;
    }
    if header_len > 20 && is_source_routed(frame, at, header_len, veil(settings) as u32) {
        marks |= SOURCE_ROUTE;
    }
    if header[3] == header[4] {
        marks |= LAND;
    }
    out.source = [header[3], 0, 0, 0];
    out.destination = [header[4], 0, 0, 0];
    out.l4 = at + header_len;
    // As it lies in the packet.
    out.id = (second >> 16).to_be() >> 16;
    out.proto = u32::from_be(header[2]) >> 16 & 0xff;
    out.marks = marks;
    Ok(())
}

/// Whether the options have a source route.
#[inline(always)]
fn is_source_routed(frame: Frame, at: u32, header_len: u32, veil: u32) -> bool {
    let mut option = 20;
    for _ in 0..40 {
        if option >= header_len {
            break;
        }
        let Some([kind, len]) = frame.get::<[u8; 2]>(at + option) else {
            break;
        };
        if kind == OPTION_END {
            break;
        }
        if kind == OPTION_LSRR || kind == OPTION_SSRR {
            return true;
        }
        let mut len = u32::from(len);
        if kind == OPTION_NOP {
            len = 1;
        } else if len < 2 {
            break;
        }
        // Any number to the verifier, or it would follow each.
        option = (option + len ^ veil) & 0x3ff;
    }
    false
}

#[inline(always)]
fn is_extension(number: u32) -> bool {
    number == u32::from(HOP_BY_HOP)
        || number == u32::from(DESTINATION_OPTIONS)
        || number == u32::from(ROUTING)
        || number == u32::from(FRAGMENT_HEADER)
}

#[inline(always)]
fn ipv6(frame: Frame, at: u32, is_quoted: bool, out: &mut Headers) -> Result<(), Reason> {
    let Some(settings) = settings() else {
        return Err(Reason::Internal);
    };
    let veil = veil(settings) as u32;
    let Some(header) = frame.get::<[u32; 10]>(at) else {
        return Err(Reason::Truncated);
    };
    if at + 40 > out.end {
        return Err(Reason::Truncated);
    }
    if u32::from_be(header[0]) >> 28 != 6 {
        return Err(Reason::Malformed);
    }
    let total = (u32::from_be(header[1]) >> 16) + 40;
    if !is_quoted {
        if at + total > out.end {
            return Err(Reason::BadTotalLength);
        }
        out.end = at + total;
    }
    let mut marks = veil;
    if header[2..6] == header[6..10] {
        marks = marks | LAND ^ veil;
    }
    out.source = [header[2], header[3], header[4], header[5]];
    out.destination = [header[6], header[7], header[8], header[9]];
    out.id = 0;
    let mut next = u32::from_be(header[1]) >> 8 & 0xff ^ veil;
    let mut l4 = at + 40 ^ veil;
    for _ in 0..EXTENSIONS {
        if !is_extension(next) {
            break;
        }
        if l4 + 8 > out.end {
            return Err(Reason::Truncated);
        }
        if next == u32::from(FRAGMENT_HEADER) {
            let Some(fragment) = frame.get::<[u32; 2]>(l4) else {
                return Err(Reason::Truncated);
            };
            let first = u32::from_be(fragment[0]);
            next = first >> 24 ^ veil;
            out.id = fragment[1];
            l4 = l4 + 8 ^ veil;
            if first & 0xfff8 != 0 {
                // What it is a part of is not in here.
                marks = marks | LATER ^ veil;
                break;
            }
            if first & 1 != 0 {
                marks = marks | FIRST ^ veil;
            }
        } else {
            let Some(extension) = frame.get::<[u8; 4]>(l4) else {
                return Err(Reason::Truncated);
            };
            if next == u32::from(ROUTING) && extension[2] == 0 {
                marks = marks | SOURCE_ROUTE ^ veil;
            }
            next = u32::from(extension[0]) ^ veil;
            l4 = (l4 + (u32::from(extension[1]) + 1) * 8 ^ veil) & 0x3fff;
        }
    }
    if l4 > out.end {
        return Err(Reason::Truncated);
    }
    if marks & LATER == 0 && is_extension(next) {
        return Err(Reason::ExtensionHeaders);
    }
    out.l4 = l4;
    out.proto = next;
    out.marks = marks;
    Ok(())
}
