//! Telling a sender that its packet does not fit the way to the real server: ICMP "fragmentation
//! needed" (RFC 1191), ICMPv6 "packet too big" (RFC 4443). The frame itself becomes the answer.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};

use crate::maps::settings;
use crate::packet::bounds;
use crate::session::veil;
use crate::sum::{fold, of_frame};
use crate::tunnel::{DF, store};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
/// IPv4 and ICMP header of the answer.
const HEAD_V4: u32 = 20 + 8;
/// IPv6 and ICMPv6 header of the answer.
const HEAD_V6: u32 = 40 + 8;
/// The whole answer is at most as long as every host takes (RFC 1812, 4.3.2.3; RFC 8200, 5).
const LONGEST_V4: u32 = 576;
const LONGEST_V6: u32 = 1280;
/// No link that carries IPv4 has a smaller MTU (RFC 791), none with IPv6 than [`LONGEST_V6`].
const LEAST_MTU_V4: u32 = 68;
/// DSCP of the answer: internetwork control.
const TOS: u8 = 0xc0;
const TTL: u8 = 64;

/// Makes the frame the answer that `mtu` bytes would fit, to go back where it came from; false when
/// there must be none: the packet may be cut (this host does not), or comes from no single host, or
/// is of IPv4 and not the first fragment (RFC 1122, 3.2.2). That it is no ICMP error the caller knows.
#[inline(never)]
pub(crate) fn answer(ctx: *mut xdp_md, l3: u32, mtu: u32) -> bool {
    let (data, end) = bounds(ctx);
    let l3 = l3 & 31;
    let ip = data + l3 as usize;
    if data + 22 > end || ip + 40 > bounds(ctx).1 {
        return false;
    }
    // SAFETY (of the whole block): compared with `end` right before.
    let (link, is_v4, source, vip, len) = unsafe {
        let word = |at: usize| *((ip + at) as *const u32);
        let is_v4 = *(ip as *const u8) >> 4 == 4;
        let link: [u16; 11] = core::array::from_fn(|i| *((data + 2 * i) as *const u16));
        if is_v4 {
            let fragment = *((ip + 6) as *const u16);
            let first = *((ip + 12) as *const u8);
            let is_host = first != 0 && first != 127 && first < 224;
            if fragment & DF == 0
                || fragment & FRAGMENT_OFFSET != 0
                || !is_host
                || mtu < LEAST_MTU_V4
            {
                return false;
            }
            let len = u32::from(u16::from_be(*((ip + 2) as *const u16)));
            (link, true, [word(12), 0, 0, 0], [word(16), 0, 0, 0], len)
        } else {
            let source = [word(8), word(12), word(16), word(20)];
            let is_host = *((ip + 8) as *const u8) != 0xff
                && source[0] | source[1] | source[2] | source[3] != 0;
            if !is_host || mtu < LONGEST_V6 {
                return false;
            }
            let len = 40 + u32::from(u16::from_be(*((ip + 4) as *const u16)));
            let vip = [word(24), word(28), word(32), word(36)];
            (link, false, source, vip, len)
        }
    };
    let (head, longest) = if is_v4 {
        (HEAD_V4, LONGEST_V4)
    } else {
        (HEAD_V6, LONGEST_V6)
    };
    let quote = if len < longest - head {
        len
    } else {
        longest - head
    };
    let surplus = (end - data) as i32 - (l3 + quote) as i32;
    // SAFETY: the context; the frame is looked at anew after this.
    unsafe {
        if bpf_xdp_adjust_tail(ctx, -surplus) != 0 || bpf_xdp_adjust_head(ctx, -(head as i32)) != 0
        {
            return false;
        }
    }
    write(ctx, l3, &link, mtu, quote, is_v4, &source, &vip).is_some()
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined; a struct would only be taken apart"
)]
fn write(
    ctx: *mut xdp_md,
    l3: u32,
    link: &[u16; 11],
    mtu: u32,
    quote: u32,
    is_v4: bool,
    source: &[u32; 4],
    vip: &[u32; 4],
) -> Option<()> {
    let (data, end) = bounds(ctx);
    let ip = data + l3 as usize;
    if data + 22 > end || ip + HEAD_V6 as usize > bounds(ctx).1 {
        return None;
    }
    let message = (8 + quote) as u16;
    // SAFETY (of the whole block): compared with `end` right before.
    let (at, pseudo) = unsafe {
        // The MACs change places; tags and type stay.
        for i in 0..6 {
            *((data + 2 * i) as *mut u16) = link[(i + 3) % 6];
        }
        let tags = if l3 >= 22 {
            11
        } else if l3 >= 18 {
            9
        } else {
            7
        };
        for (i, field) in link.iter().enumerate().skip(6) {
            if i < tags {
                *((data + 2 * i) as *mut u16) = *field;
            }
        }
        if is_v4 {
            let words = [
                u16::from_ne_bytes([0x45, TOS]),
                (20 + message).to_be(),
                0,
                DF,
                u16::from_ne_bytes([TTL, ICMP]),
                0,
            ];
            let mut sum = u64::from(source[0]) + u64::from(vip[0]);
            for (i, word) in words.iter().enumerate() {
                sum += u64::from(*word);
                *((ip + 2 * i) as *mut u16) = *word;
            }
            *((ip + 10) as *mut u16) = !fold(sum);
            *((ip + 12) as *mut u32) = vip[0];
            *((ip + 16) as *mut u32) = source[0];
            // Destination unreachable: fragmentation needed.
            *((ip + 20) as *mut u32) = u32::from_ne_bytes([3, 4, 0, 0]);
            *((ip + 24) as *mut u32) = mtu.to_be();
            (20, 0)
        } else {
            *(ip as *mut u32) = (0x6000_0000 | u32::from(TOS) << 20).to_be();
            *((ip + 4) as *mut u16) = message.to_be();
            *((ip + 6) as *mut u16) = u16::from_ne_bytes([ICMPV6, TTL]);
            let mut pseudo = u64::from(message.to_be()) + u64::from(u16::from(ICMPV6).to_be());
            for i in 0..4 {
                *((ip + 8 + 4 * i) as *mut u32) = vip[i];
                *((ip + 24 + 4 * i) as *mut u32) = source[i];
                pseudo += u64::from(vip[i]) + u64::from(source[i]);
            }
            // Packet too big.
            *((ip + 40) as *mut u32) = u32::from_ne_bytes([2, 0, 0, 0]);
            *((ip + 44) as *mut u32) = mtu.to_be();
            (40, pseudo)
        }
    };
    let sum = of_frame(ctx, l3 + at, u32::from(message), veil(settings()?))?;
    store(ctx, l3 + at + 2, !fold(sum + pseudo)).ok()
}
