//! Real servers behind a tunnel: the packet in an outer IP packet to the real server, by itself
//! (IPIP), in UDP with a GUE header, or in GRE. Any family in any.
//!
//! The fields of the outer header are what IPVS makes of them, but for ECN: DSCP and TTL are those of
//! the packet (its TTL already one less), and so is DF, IPv4 in IPv4. ECN is copied too, as RFC 6040
//! has it in normal mode, so that a mark of congestion stays to be seen on the way; IPVS clears it to
//! ECT(0) as RFC 3168 did. To the packet that is taken out it makes no difference, it has its own mark.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_xdp_adjust_head};
use lb_common::checksum::after_ttl_decrement;
use lb_common::maps::{
    Backend, Forward, GRE_OVERHEAD, GUE_OVERHEAD, IPIP_OVERHEAD, REMOTE_CHECKSUM, REMOTE_V6, Remote,
};
use lb_common::reason::Reason;

use crate::maps::{REMOTES, settings};
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, UDP, bounds, field};
use crate::session::{IS_ERROR, IS_FIRST_FRAGMENT, Session, pack, unpack};
use crate::sum::{fold, of_frame};
use crate::{rewrite, too_big};

const _: () = assert!(
    cfg!(target_endian = "little"),
    "headers are written in words"
);
const PROTO_IPIP: u8 = 4;
const PROTO_IPV6: u8 = 41;
const PROTO_GRE: u8 = 47;
const UDP_LEN: u32 = 8;
const GUE_LEN: u32 = 4;
const GRE_LEN: u32 = 4;
/// GRE's checksum and the 16 reserved bits behind it.
const GRE_CHECKSUM_LEN: u32 = 4;
const GRE_CHECKSUM: u16 = 0x8000u16.to_be();
/// The DF bit as it lies in an IPv4 header.
pub(crate) const DF: u16 = 0x4000u16.to_be();

/// The same for all packets of a flow.
#[inline(always)]
pub(crate) const fn hash_of(tag: u64) -> u32 {
    (tag >> 32) as u32 ^ tag as u32
}

/// What became of a packet that direct routing could not just send.
pub(crate) enum Sent {
    /// It goes out, in its tunnel.
    Encapsulated,
    /// In its place the answer to its sender, that it is too long, goes back.
    Answered,
}

/// Beside what fits: the packet is longer.
const TOO_LONG: u32 = 1 << 31;

/// Sends a packet that is too long or that needs a tunnel. Nothing that was read of the frame may be
/// used afterwards: it lies elsewhere.
#[inline(always)]
pub(crate) fn send(
    ctx: *mut xdp_md,
    backend: *const Backend,
    index: u32,
    session: &Session,
) -> Result<Sent, Reason> {
    let l3 = session.l3;
    // All fragments of a packet take one way to the server: the others have its identification alone.
    let flow = if session.is(IS_FIRST_FRAGMENT) {
        u64::from(session.fragment)
    } else {
        session.tag
    };
    let sent = send_by(ctx, backend, index, l3, hash_of(flow));
    if sent & TOO_LONG == 0 {
        return unpack(sent).map(|_| Sent::Encapsulated);
    }
    // No ICMP error is answered with another (RFC 1122, 3.2.2; RFC 4443, 2.4). Not called from
    // there: the stack is short.
    if !session.is(IS_ERROR) && too_big::answer(ctx, l3, sent & !TOO_LONG) {
        Ok(Sent::Answered)
    } else {
        Err(Reason::TooBig)
    }
}

#[inline(never)]
fn send_by(ctx: *mut xdp_md, backend: *const Backend, index: u32, l3: u32, hash: u32) -> u32 {
    match encapsulate(ctx, backend, index, l3, hash) {
        Ok(()) => pack(Ok(0)),
        Err(Refusal::TooLong(mtu)) => TOO_LONG | mtu,
        Err(Refusal::Because(reason)) => pack(Err(reason)),
    }
}

/// Puts an IPv4 packet into its tunnel where that is of the usual kind (IPv4, no checksum of its
/// own): what the short way does. The frame has no tags, the packet's TTL is one less already, and
/// with the outer headers, `overhead` bytes, it has `len`, which fit.
#[inline(always)]
pub(crate) fn wrap(
    ctx: *mut xdp_md,
    backend: *const Backend,
    overhead: u8,
    len: u32,
    tag: u64,
) -> Result<(), Reason> {
    match overhead {
        IPIP_OVERHEAD => wrap_by::<IPIP_OVERHEAD>(ctx, backend, len, tag),
        GRE_OVERHEAD => wrap_by::<GRE_OVERHEAD>(ctx, backend, len, tag),
        GUE_OVERHEAD => wrap_by::<GUE_OVERHEAD>(ctx, backend, len, tag),
        _ => Err(Reason::Internal),
    }
}

/// In the tunnel that adds so many bytes.
#[inline(always)]
fn wrap_by<const OVERHEAD: u8>(
    ctx: *mut xdp_md,
    backend: *const Backend,
    len: u32,
    tag: u64,
) -> Result<(), Reason> {
    const IP: usize = 14;
    // SAFETY: the context; the frame is looked at anew after this.
    if unsafe { bpf_xdp_adjust_head(ctx, -i32::from(OVERHEAD)) } != 0 {
        return Err(Reason::Internal);
    }
    let (frame, end) = bounds(ctx);
    let inner = frame + IP + usize::from(OVERHEAD);
    if inner + 20 > end {
        return Err(Reason::Internal);
    }
    // SAFETY: just compared; an element of the map.
    let (tos, id, df, ttl, constant) = unsafe {
        (
            u64::from(field::<u8>(inner + 1)),
            field::<u16>(inner + 4),
            field::<u16>(inner + 6) & DF,
            u64::from(field::<u8>(inner + 8)),
            (*backend).sum,
        )
    };
    // What a router may cut is told apart by the packet's own number; those of other flows, which are
    // counted by other hosts, begin elsewhere. What none may cut needs none (RFC 6864).
    let id = u64::from(if df == 0 { id ^ hash_of(tag) as u16 } else { 0 });
    let (df, len_be) = (u64::from(df), u64::from((len as u16).to_be()));
    let proto = u64::from(match OVERHEAD {
        IPIP_OVERHEAD => PROTO_IPIP,
        GRE_OVERHEAD => PROTO_GRE,
        _ => UDP,
    });
    // Six words of 16 bits or less: two folds are enough.
    let sum = constant + (tos << 8) + len_be + id + df + ttl;
    let sum = (sum & 0xffff) + (sum >> 16);
    let check = u64::from(!(sum + (sum >> 16)) as u16);
    // SAFETY: just compared; `backend` is an element of the map. From the MACs on: what is in front
    // of the packet, in words as wide as can be, the lowest byte first.
    unsafe {
        let macs = backend.cast::<u32>();
        *(frame as *mut u64) = *macs.cast::<u64>();
        *((frame + 8) as *mut u64) =
            u64::from(*macs.add(2)) | u64::from(ETHERTYPE_IPV4) << 32 | (0x45 | tos << 8) << 48;
        *((frame + 16) as *mut u32) = (len_be | id << 16) as u32;
        *((frame + 20) as *mut u64) = df | (ttl | proto << 8) << 16 | check << 32;
        *((frame + 26) as *mut u64) = (*backend).ends;
        let at = frame + IP + 20;
        if OVERHEAD == GRE_OVERHEAD {
            *(at as *mut u32) = u32::from_ne_bytes(pair_bytes(0, ETHERTYPE_IPV4));
        } else if OVERHEAD == GUE_OVERHEAD {
            let port = (*backend).tunnel_port as u16;
            gue(at, port, hash_of(tag), (len - 20) as u16, PROTO_IPIP);
        }
    }
    Ok(())
}

/// What an outer IPv4 header says.
struct Head {
    tos: u8,
    ttl: u8,
    /// The DF bit where it stands in the header.
    df: u16,
    proto: u8,
    /// Length of the whole outer packet.
    len: u16,
}

/// Writes a UDP header without a checksum and a GUE header: version 0, no options, no flags.
///
/// # Safety
/// 12 bytes are there.
#[inline(always)]
unsafe fn gue(at: usize, destination: u16, hash: u32, len: u16, inner: u8) {
    // The ports above 49151 are nobody's (RFC 6335); so many bits tell flows apart on the way.
    let source = 0xc000 | (hash.wrapping_mul(0x9e37_79b1) >> 18) as u16;
    // SAFETY: the caller's.
    unsafe {
        *(at as *mut u32) = u32::from_ne_bytes(pair_bytes(source.to_be(), destination));
        *((at + 4) as *mut u32) = u32::from_ne_bytes(pair_bytes(len.to_be(), 0));
        *((at + 8) as *mut u32) = u32::from_ne_bytes([0, inner, 0, 0]);
    }
}

enum Refusal {
    /// Longer than this, which is what fits.
    TooLong(u32),
    Because(Reason),
}

/// What the outer headers are made of.
struct Outer {
    remote: *const Remote,
    forward: u8,
    remote_flags: u32,
    /// Bytes that are put in front of the packet.
    overhead: u32,
    /// Length of the packet.
    inner_len: u32,
    /// Protocol number of the packet, and its ethertype.
    inner: (u8, u16),
    /// DSCP and ECN.
    tos: u8,
    ttl: u8,
    /// The DF bit where it stands in the header.
    df: u16,
}

impl Outer {
    /// Length between the outer IP header and the packet.
    #[inline(always)]
    fn shim_len(&self) -> u32 {
        shim_len(self.forward, self.remote_flags)
    }
}

/// What the outer IP header says is behind it.
#[inline(always)]
fn outer_proto(forward: u8, inner: u8) -> u8 {
    if forward == Forward::Gue as u8 {
        UDP
    } else if forward == Forward::Gre as u8 {
        PROTO_GRE
    } else {
        inner
    }
}

#[inline(always)]
fn shim_len(forward: u8, remote_flags: u32) -> u32 {
    if forward == Forward::Gue as u8 {
        UDP_LEN + GUE_LEN
    } else if forward == Forward::Gre as u8 {
        if remote_flags & REMOTE_CHECKSUM != 0 {
            GRE_LEN + GRE_CHECKSUM_LEN
        } else {
            GRE_LEN
        }
    } else {
        0
    }
}

#[inline(always)]
fn encapsulate(
    ctx: *mut xdp_md,
    backend: *const Backend,
    index: u32,
    l3: u32,
    hash: u32,
) -> Result<(), Refusal> {
    const INTERNAL: Refusal = Refusal::Because(Reason::Internal);
    // To the verifier it is any number.
    let l3 = l3 & 31;
    // SAFETY: an element of the map.
    let (forward, link_mtu) = unsafe { ((*backend).forward, u32::from((*backend).mtu)) };
    let is_direct = forward == Forward::Direct as u8;
    let remote = REMOTES.get_ptr(index).ok_or(INTERNAL)?;
    // SAFETY: an element of the map.
    let remote_flags = unsafe { (*remote).flags };
    let is_remote_v6 = remote_flags & REMOTE_V6 != 0;
    let overhead = match (is_direct, is_remote_v6) {
        (true, _) => 0,
        (false, false) => 20 + shim_len(forward, remote_flags),
        (false, true) => 40 + shim_len(forward, remote_flags),
    };

    let (data, end) = bounds(ctx);
    let ip = data + l3 as usize;
    if data + 22 > end || ip + 20 > bounds(ctx).1 {
        return Err(INTERNAL);
    }
    // SAFETY (to the end of this block): each field was compared with `end` right before.
    let (outer, tags) = unsafe {
        let is_v4 = *(ip as *const u8) >> 4 == 4;
        let hops = if is_v4 { ip + 8 } else { ip + 7 } as *mut u8;
        let ttl = *hops;
        if ttl <= 1 {
            return Err(Refusal::Because(Reason::TtlExpired));
        }
        let inner_len = if is_v4 {
            u32::from(u16::from_be(*((ip + 2) as *const u16)))
        } else {
            40 + u32::from(u16::from_be(*((ip + 4) as *const u16)))
        };
        let len = inner_len + overhead;
        if link_mtu != 0 && len > link_mtu {
            return Err(Refusal::TooLong(link_mtu.saturating_sub(overhead)));
        }
        if len > 0xffff || is_direct {
            return Err(Refusal::Because(Reason::TooBig));
        }
        *hops = ttl - 1;
        let (tos, df) = if is_v4 {
            let check = (ip + 10) as *mut u16;
            *check = after_ttl_decrement(*check);
            (*((ip + 1) as *const u8), *((ip + 6) as *const u16) & DF)
        } else {
            // The version's four bits, then eight of the traffic class.
            let word = u16::from_be(*(ip as *const u16));
            ((word >> 4) as u8, 0)
        };
        let outer = Outer {
            remote,
            forward,
            remote_flags,
            overhead,
            inner_len,
            inner: if is_v4 {
                (PROTO_IPIP, ETHERTYPE_IPV4)
            } else {
                (PROTO_IPV6, ETHERTYPE_IPV6)
            },
            tos,
            ttl: ttl - 1,
            df,
        };
        let tag = |at: usize, is_there: bool| {
            if is_there {
                *((data + at) as *const u32)
            } else {
                0
            }
        };
        (outer, (tag(12, l3 >= 18), tag(16, l3 >= 22)))
    };
    // SAFETY: the context; the frame is looked at anew after this.
    if unsafe { bpf_xdp_adjust_head(ctx, -(overhead as i32)) } != 0 {
        return Err(INTERNAL);
    }
    write(ctx, backend, l3, hash, &outer, tags).map_err(Refusal::Because)
}

/// Writes all that stands in front of the packet now.
#[inline(always)]
fn write(
    ctx: *mut xdp_md,
    backend: *const Backend,
    l3: u32,
    hash: u32,
    outer: &Outer,
    tags: (u32, u32),
) -> Result<(), Reason> {
    let (data, end) = bounds(ctx);
    let ip = data + l3 as usize;
    let is_v6 = outer.remote_flags & REMOTE_V6 != 0;
    if data + 22 > end || ip + 32 > bounds(ctx).1 {
        return Err(Reason::Internal);
    }
    let proto = outer_proto(outer.forward, outer.inner.0);
    // SAFETY (of the whole function): what is written was compared with `end`.
    unsafe {
        rewrite::set_macs(data, backend);
        if l3 >= 18 {
            *((data + 12) as *mut u32) = tags.0;
        }
        if l3 >= 22 {
            *((data + 16) as *mut u32) = tags.1;
        }
        // In front of the IP header; the verifier would not believe it that way.
        let ethertype = if l3 >= 22 {
            data + 20
        } else if l3 >= 18 {
            data + 16
        } else {
            data + 12
        } as *mut u16;
        if is_v6 {
            *ethertype = ETHERTYPE_IPV6;
            if ip + 52 > end {
                return Err(Reason::Internal);
            }
            ipv6(ip, outer, proto);
            shim(ctx, ip + 40, l3 + 40, hash, outer)
        } else {
            *ethertype = ETHERTYPE_IPV4;
            let head = Head {
                tos: outer.tos,
                ttl: outer.ttl,
                df: outer.df,
                proto,
                len: (outer.inner_len + outer.overhead) as u16,
            };
            ipv4(ip, outer.remote, &head);
            shim(ctx, ip + 20, l3 + 20, hash, outer)
        }
    }
}

/// The identification of an outer IPv4 header: a packet that no router may cut needs none (RFC 6864).
#[inline(always)]
fn identification(df: u16) -> u16 {
    if df != 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    (unsafe { bpf_get_prandom_u32() }) as u16
}

/// # Safety
/// 20 bytes are there.
#[inline(always)]
unsafe fn ipv4(ip: usize, remote: *const Remote, head: &Head) {
    let id = identification(head.df);
    // SAFETY: the caller's, and an element of the map.
    unsafe {
        let (source, destination) = ((*remote).source[0], (*remote).addr[0]);
        let words = [
            u16::from_ne_bytes([0x45, head.tos]),
            head.len.to_be(),
            id,
            head.df,
            u16::from_ne_bytes([head.ttl, head.proto]),
        ];
        let mut sum = u64::from(source) + u64::from(destination);
        for word in words {
            sum += u64::from(word);
        }
        let check = !fold(sum);
        let pair = |a: u16, b: u16| u32::from_ne_bytes(pair_bytes(a, b));
        *(ip as *mut u32) = pair(words[0], words[1]);
        *((ip + 4) as *mut u32) = pair(words[2], words[3]);
        *((ip + 8) as *mut u32) = pair(words[4], check);
        *((ip + 12) as *mut u32) = source;
        *((ip + 16) as *mut u32) = destination;
    }
}

/// # Safety
/// 40 bytes are there.
#[inline(always)]
unsafe fn ipv6(ip: usize, outer: &Outer, proto: u8) {
    let payload = (outer.inner_len + outer.shim_len()) as u16;
    // SAFETY: the caller's, and an element of the map.
    unsafe {
        *(ip as *mut u32) = (0x6000_0000 | u32::from(outer.tos) << 20).to_be();
        *((ip + 4) as *mut u32) = u32::from_ne_bytes(pair_bytes(
            payload.to_be(),
            u16::from_ne_bytes([proto, outer.ttl]),
        ));
        for i in 0..4 {
            *((ip + 8 + 4 * i) as *mut u32) = (*outer.remote).source[i];
            *((ip + 24 + 4 * i) as *mut u32) = (*outer.remote).addr[i];
        }
    }
}

/// Two fields as they lie in memory.
#[inline(always)]
fn pair_bytes(a: u16, b: u16) -> [u8; 4] {
    let (a, b) = (a.to_ne_bytes(), b.to_ne_bytes());
    [a[0], a[1], b[0], b[1]]
}

/// Writes what stands between the outer IP header and the packet, at `shim`, `offset` bytes into
/// the frame.
///
/// # Safety
/// 12 bytes are there.
#[inline(always)]
unsafe fn shim(
    ctx: *mut xdp_md,
    shim: usize,
    offset: u32,
    hash: u32,
    outer: &Outer,
) -> Result<(), Reason> {
    let has_checksum = outer.remote_flags & REMOTE_CHECKSUM != 0;
    let len = outer.shim_len() + outer.inner_len;
    // SAFETY: the caller's.
    unsafe {
        if outer.forward == Forward::Gue as u8 {
            gue(
                shim,
                (*outer.remote).tunnel_port,
                hash,
                len as u16,
                outer.inner.0,
            );
            if has_checksum {
                let sum = checked(ctx, offset, len)?
                    + addresses(outer)
                    + u64::from((len as u16).to_be())
                    + u64::from(u16::from(UDP).to_be());
                let check = match !fold(sum) {
                    // 0 would mean that there is none.
                    0 => 0xffff,
                    check => check,
                };
                store(ctx, offset + 6, check)?;
            }
        } else if outer.forward == Forward::Gre as u8 {
            let flags = if has_checksum { GRE_CHECKSUM } else { 0 };
            *(shim as *mut u32) = u32::from_ne_bytes(pair_bytes(flags, outer.inner.1));
            if has_checksum {
                *((shim + 4) as *mut u32) = 0;
                let check = !fold(checked(ctx, offset, len)?);
                store(ctx, offset + 4, check)?;
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn checked(ctx: *mut xdp_md, offset: u32, len: u32) -> Result<u64, Reason> {
    let settings = settings().ok_or(Reason::Internal)?;
    of_frame(ctx, offset, len, crate::session::veil(settings)).ok_or(Reason::TooBig)
}

/// Sum of both outer addresses.
#[inline(always)]
fn addresses(outer: &Outer) -> u64 {
    let mut sum = 0;
    for i in 0..4 {
        // SAFETY: an element of the map; what IPv4 does not use is 0.
        sum += unsafe { u64::from((*outer.remote).source[i]) + u64::from((*outer.remote).addr[i]) };
    }
    sum
}

/// Stores a 16-bit field of the frame.
#[inline(always)]
pub(crate) fn store(ctx: *mut xdp_md, offset: u32, value: u16) -> Result<(), Reason> {
    let (data, end) = bounds(ctx);
    let field = data + (offset & 127) as usize;
    if field + 2 > end {
        return Err(Reason::Internal);
    }
    // SAFETY: just compared.
    unsafe { *(field as *mut u16) = value };
    Ok(())
}
