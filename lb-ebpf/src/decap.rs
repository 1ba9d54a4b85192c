//! The XDP program of a real server behind a tunnel: takes the packet out and hands it to the
//! stack, as if the director had sent it directly.
//!
//! Only what is for a virtual address and came to an address of this host is touched.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod sum;

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
    use aya_ebpf::bindings::xdp_md;
    use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
    use aya_ebpf::programs::XdpContext;
    use lb_common::decap::{
        Address, COUNT_SLOTS, Count, LOCAL, MAX_ADDRESSES, Settings, VIP_GRE, VIP_GUE, VIP_IPIP,
        key_v4,
    };

    use crate::sum::{fold, of_frame};

    #[map]
    static DECAP_ADDRS: HashMap<[u32; 4], Address> = HashMap::with_max_entries(MAX_ADDRESSES, 0);
    #[map]
    static DECAP_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNT_SLOTS, 0);
    #[map]
    static DECAP_SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

    const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
    const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
    const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
    const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();
    const FRAGMENT: u16 = 0x3fffu16.to_be();
    const UDP: u8 = 17;
    const GRE: u8 = 47;
    const GRE_CHECKSUM: u16 = 0x8000u16.to_be();
    const CONGESTED: u8 = 3;

    /// What becomes of a frame that is not simply passed.
    enum Done {
        Counted(Count, u32),
        Passed,
    }

    fn passed(count: Count) -> Done {
        Done::Counted(count, XDP_PASS)
    }

    fn dropped(count: Count) -> Done {
        Done::Counted(count, XDP_DROP)
    }

    /// Takes tunnels off.
    #[xdp]
    pub(crate) fn decap(ctx: XdpContext) -> u32 {
        match strip(ctx.ctx) {
            Done::Passed => XDP_PASS,
            Done::Counted(count, verdict) => {
                if let Some(counter) = DECAP_COUNTS.get_ptr_mut(u32::from(count as u8)) {
                    // SAFETY: this CPU's own element.
                    unsafe { *counter += 1 };
                }
                verdict
            }
        }
    }

    /// # Safety
    /// The field lies within the frame.
    #[inline(always)]
    unsafe fn field<T: Copy>(at: usize) -> T {
        // SAFETY: the caller's promise.
        unsafe { *(at as *const T) }
    }

    /// # Safety
    /// 16 bytes lie within the frame.
    #[inline(always)]
    unsafe fn address(at: usize) -> [u32; 4] {
        // SAFETY: the caller's promise.
        unsafe { [field(at), field(at + 4), field(at + 8), field(at + 12)] }
    }

    #[inline(always)]
    fn known(key: &[u32; 4]) -> Option<Address> {
        // SAFETY: a copy; user space replaces values as a whole.
        unsafe { DECAP_ADDRS.get(key) }.copied()
    }

    #[inline(always)]
    fn strip(ctx: *mut xdp_md) -> Done {
        // SAFETY: the context of an XDP program.
        let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        // A tunnel packet with the least packet in it is longer than this, two tags included.
        if data + 14 + 40 > end {
            return Done::Passed;
        }
        // SAFETY (of this function): each field was compared with `end` before.
        unsafe {
            let is_tag = |kind: u16| kind == ETHERTYPE_VLAN || kind == ETHERTYPE_QINQ;
            let mut l3 = 14u32;
            let mut kind = field::<u16>(data + 12);
            if is_tag(kind) {
                l3 = 18;
                kind = field(data + 16);
                if is_tag(kind) {
                    l3 = 22;
                    kind = field(data + 20);
                }
            }
            let ip = data + l3 as usize;
            let outer = if kind == ETHERTYPE_IPV4 {
                if ip + 20 > end || field::<u8>(ip) != 0x45 {
                    return Done::Passed;
                }
                Outer {
                    is_v6: false,
                    proto: field(ip + 9),
                    len: u32::from(u16::from_be(field(ip + 2))).wrapping_sub(20),
                    is_fragment: field::<u16>(ip + 6) & FRAGMENT != 0,
                    ecn: field::<u8>(ip + 1) & 3,
                    to: key_v4(field(ip + 16)),
                }
            } else if kind == ETHERTYPE_IPV6 {
                if ip + 40 > end || field::<u8>(ip) >> 4 != 6 {
                    return Done::Passed;
                }
                Outer {
                    is_v6: true,
                    proto: field(ip + 6),
                    len: u32::from(u16::from_be(field(ip + 4))),
                    is_fragment: false,
                    ecn: field::<u8>(ip + 1) >> 4 & 3,
                    to: address(ip + 24),
                }
            } else {
                return Done::Passed;
            };
            let head = if outer.is_v6 { 40u32 } else { 20 };
            unwrap(ctx, l3, head, &outer)
        }
    }

    /// The outer IP header.
    struct Outer {
        is_v6: bool,
        proto: u8,
        /// Bytes behind the header.
        len: u32,
        is_fragment: bool,
        ecn: u8,
        to: [u32; 4],
    }

    #[inline(always)]
    fn unwrap(ctx: *mut xdp_md, l3: u32, head: u32, outer: &Outer) -> Done {
        // SAFETY: the context of an XDP program.
        let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        let shim = data + ((l3 + head) & 127) as usize;
        if shim + 20 > end {
            return Done::Passed;
        }
        // SAFETY (of this function): each field was compared with `end` before.
        unsafe {
            // How long the tunnel's own header is, the packet's family, which tunnel, its port.
            let (own, inner, flag, port, count) = match outer.proto {
                4 => (0, ETHERTYPE_IPV4, VIP_IPIP, 0, Count::Ipip),
                41 => (0, ETHERTYPE_IPV6, VIP_IPIP, 0, Count::Ipip),
                UDP => {
                    let port = field::<u16>(shim + 2);
                    // Version 0, a data packet without options or flags.
                    let (first, proto) = (field::<u8>(shim + 8), field::<u8>(shim + 9));
                    let inner = match (first, proto, field::<u16>(shim + 10)) {
                        (0, 4, 0) => ETHERTYPE_IPV4,
                        (0, 41, 0) => ETHERTYPE_IPV6,
                        _ => return Done::Passed,
                    };
                    (12, inner, VIP_GUE, port, Count::Gue)
                }
                GRE => {
                    let inner = field::<u16>(shim + 2);
                    if inner != ETHERTYPE_IPV4 && inner != ETHERTYPE_IPV6 {
                        return Done::Passed;
                    }
                    match field::<u16>(shim) {
                        0 => (4, inner, VIP_GRE, 0, Count::Gre),
                        GRE_CHECKSUM => (8, inner, VIP_GRE, 0, Count::Gre),
                        _ => return Done::Passed,
                    }
                }
                _ => return Done::Passed,
            };
            let packet = data + ((l3 + head + own) & 127) as usize;
            let (vip, len, ecn) = if inner == ETHERTYPE_IPV4 {
                if packet + 20 > end || field::<u8>(packet) >> 4 != 4 {
                    return Done::Passed;
                }
                let len = u32::from(u16::from_be(field(packet + 2)));
                (key_v4(field(packet + 16)), len, field::<u8>(packet + 1) & 3)
            } else {
                if packet + 40 > end || field::<u8>(packet) >> 4 != 6 {
                    return Done::Passed;
                }
                let len = 40 + u32::from(u16::from_be(field(packet + 4)));
                (address(packet + 24), len, field::<u8>(packet + 1) >> 4 & 3)
            };
            let Some(entry) = known(&vip) else {
                return Done::Passed;
            };
            if entry.flags & flag == 0 || flag == VIP_GUE && entry.port != port {
                return Done::Passed;
            }
            // From here on it is one of ours, and what is wrong with it is counted.
            if known(&outer.to).is_none_or(|there| there.flags & LOCAL == 0) {
                return passed(Count::NotLocal);
            }
            if outer.is_fragment {
                return passed(Count::Fragment);
            }
            if outer.len > 0xffff
                || len + own > outer.len
                || packet - data + len as usize > end - data
            {
                return passed(Count::Unknown);
            }
            if flag != VIP_IPIP && !is_intact(ctx, l3, head, outer, flag) {
                return dropped(Count::Checksum);
            }
            if outer.ecn == CONGESTED && ecn == 0 {
                return dropped(Count::Ecn);
            }
            take_out(
                ctx,
                l3,
                head + own,
                inner,
                outer.ecn == CONGESTED && ecn != CONGESTED,
                count,
            )
        }
    }

    /// Whether the checksum of the tunnel's own header is right or absent.
    #[inline(never)]
    fn is_intact(ctx: *mut xdp_md, l3: u32, head: u32, outer: &Outer, flag: u32) -> bool {
        // SAFETY: the context of an XDP program.
        let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        let ip = data + (l3 & 31) as usize;
        let shim = data + ((l3 + head) & 127) as usize;
        if ip + 40 > end || shim + 8 > end {
            return false;
        }
        let Some(settings) = DECAP_SETTINGS.get_ptr(0) else {
            return false;
        };
        // SAFETY (of this function): each field was compared with `end` before.
        unsafe {
            let veil = core::ptr::read_volatile(&raw const (*settings).zero);
            if flag == VIP_GRE {
                return field::<u16>(shim) == 0
                    || of_frame(ctx, l3 + head, outer.len, veil)
                        .is_some_and(|sum| fold(sum) == 0xffff);
            }
            if field::<u16>(shim + 6) == 0 {
                return true;
            }
            let len = u32::from(u16::from_be(field(shim + 4)));
            if len > outer.len {
                return false;
            }
            let mut pseudo = u64::from(field::<u16>(shim + 4)) + u64::from(u16::from(UDP).to_be());
            let words = if outer.is_v6 {
                [8, 12, 16, 20, 24, 28, 32, 36]
            } else {
                [12, 16, 12, 12, 12, 12, 12, 12]
            };
            for (i, at) in words.into_iter().enumerate() {
                if outer.is_v6 || i < 2 {
                    pseudo += u64::from(field::<u32>(ip + at));
                }
            }
            of_frame(ctx, l3 + head, len, veil).is_some_and(|sum| fold(sum + pseudo) == 0xffff)
        }
    }

    /// Removes `overhead` bytes between the Ethernet header with its tags and the packet.
    #[inline(always)]
    fn take_out(
        ctx: *mut xdp_md,
        l3: u32,
        overhead: u32,
        kind: u16,
        congested: bool,
        count: Count,
    ) -> Done {
        let l3 = l3 & 31;
        // SAFETY: the context; what is read and written was compared with `end` right before.
        unsafe {
            let (data, end) = ((*ctx).data as usize, (*ctx).data_end as usize);
            if data + 22 > end {
                return passed(Count::Unknown);
            }
            let link: [u16; 11] = core::array::from_fn(|i| field(data + 2 * i));
            if bpf_xdp_adjust_head(ctx, overhead as i32) != 0 {
                return passed(Count::Unknown);
            }
            let (data, end) = ((*ctx).data as usize, (*ctx).data_end as usize);
            let ip = data + l3 as usize;
            if data + 22 > end || ip + 20 > end {
                return dropped(Count::Unknown);
            }
            for (i, part) in link.iter().enumerate() {
                if i < l3 as usize / 2 - 1 {
                    *((data + 2 * i) as *mut u16) = *part;
                }
            }
            *((ip - 2) as *mut u16) = kind;
            if congested {
                // RFC 6040: the mark that a router made on the tunnel is the packet's now.
                if kind == ETHERTYPE_IPV4 {
                    let before = field::<u16>(ip);
                    *((ip + 1) as *mut u8) |= CONGESTED;
                    // RFC 1624, for the one word that changed.
                    let check = (ip + 10) as *mut u16;
                    let sum = u64::from(!*check) + u64::from(!before) + u64::from(field::<u16>(ip));
                    *check = !fold(sum);
                } else {
                    *((ip + 1) as *mut u8) |= CONGESTED << 4;
                }
            }
        }
        passed(count)
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    /// The helpers are open to GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
