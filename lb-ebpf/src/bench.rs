//! What `cargo xtask bench` runs around the balancer: a driver that gives it a fresh frame each
//! time, and programs that do less, as floors to compare with.
//!
//! `BPF_PROG_TEST_RUN` does not restore the frame between repetitions, so a program that rewrites
//! it would see its own output from the second one on. The driver writes the frame anew, with
//! another client each time, and tail-calls the program under test; what it costs by itself is
//! measured with a program that does nothing, and subtracted.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
// The floors use a few functions of the balancer's modules, not all.
#![cfg_attr(target_arch = "bpf", allow(dead_code))]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod rewrite;
#[cfg(target_arch = "bpf")]
mod services;

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::bindings::BPF_F_MMAPABLE;
    use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
    use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, ProgramArray};
    use aya_ebpf::programs::XdpContext;
    use lb_common::bench::{Driver, FRAME_LEN, FRAME_LEN_V6};
    use lb_common::sched::sh_hash;

    use crate::maps::{BACKENDS, COUNTERS, SCHED};
    use crate::packet::Plain;
    use crate::{rewrite, services};

    /// The driver's orders.
    #[map]
    static DRIVER: Array<Driver> = Array::with_max_entries(1, BPF_F_MMAPABLE);
    /// The program under test.
    #[map]
    static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// Copies a field of the template into the frame, by the field's own size: a load of what several
    /// stores have just written would stall the program under test.
    #[inline(always)]
    unsafe fn copy<T: Copy>(frame: usize, template: *const u8, offset: usize) {
        // SAFETY: the caller has compared the frame's length.
        unsafe {
            ((frame + offset) as *mut T)
                .write_volatile(template.add(offset).cast::<T>().read_unaligned());
        }
    }

    /// Writes the next frame and calls the program under test.
    #[xdp]
    pub(crate) fn driver(ctx: XdpContext) -> u32 {
        let Some(orders) = DRIVER.get_ptr_mut(0) else {
            return XDP_ABORTED;
        };
        // SAFETY: an element of a map.
        let template = unsafe { (&raw const (*orders).frame).cast::<u8>() };
        // SAFETY: within the template.
        let is_v6 = unsafe { *template.add(12) } == 0x86;
        let len = if is_v6 { FRAME_LEN_V6 } else { FRAME_LEN };
        let there = ctx.data_end() - ctx.data();
        if there != len {
            // What a tunnel put in front of the last one.
            let more = there as i32 - len as i32;
            // SAFETY: the context of an XDP program.
            if unsafe { bpf_xdp_adjust_head(ctx.ctx, more) } != 0 {
                return XDP_ABORTED;
            }
        }
        let frame = ctx.data();
        if frame + FRAME_LEN > ctx.data_end() {
            return XDP_ABORTED;
        }
        // SAFETY: the orders are an element of a map.
        let flow = unsafe {
            let flow = (*orders).next.wrapping_mul((*orders).stride) & (*orders).mask;
            (*orders).next += 1;
            flow
        };
        // 16,384 ports of each client, and as many clients as it takes.
        let client = 0x0a00_0000 | (flow >> 14) as u32 & 0x3f_ffff;
        let port = (1024 + (flow & 0x3fff) as u16).to_be();
        // SAFETY: the frame has 64 bytes, as just compared; the template has more.
        unsafe {
            // Both MACs and the type; the IP header up to its checksum; destination address.
            copy::<u32>(frame, template, 0);
            copy::<u16>(frame, template, 4);
            copy::<u32>(frame, template, 6);
            copy::<u16>(frame, template, 10);
            copy::<u16>(frame, template, 12);
        }
        if is_v6 {
            if frame + FRAME_LEN_V6 > ctx.data_end() {
                return XDP_ABORTED;
            }
            // SAFETY: the frame has 84 bytes, as just compared; the template has more.
            unsafe {
                copy::<u32>(frame, template, 14);
                copy::<u16>(frame, template, 18);
                copy::<u16>(frame, template, 20);
                copy::<u64>(frame, template, 22);
                copy::<u64>(frame, template, 38);
                copy::<u64>(frame, template, 46);
                copy::<u32>(frame, template, 58);
                copy::<u32>(frame, template, 62);
                copy::<u32>(frame, template, 66);
                // The second half of the client's address, which is read as one.
                let half = u64::from(template.add(30).cast::<u32>().read_unaligned());
                let half = half | u64::from(client.to_be()) << 32;
                ((frame + 30) as *mut u64).write_volatile(half);
                let service_port = u32::from(template.add(56).cast::<u16>().read_unaligned());
                ((frame + 54) as *mut u32).write_volatile(u32::from(port) | service_port << 16);
                TARGET.tail_call(&ctx, 0);
                (*orders).lost += 1;
            }
            return XDP_ABORTED;
        }
        // SAFETY: the frame has 64 bytes, as compared above; the template has more.
        unsafe {
            copy::<u16>(frame, template, 14);
            copy::<u64>(frame, template, 16);
            copy::<u16>(frame, template, 24);
            copy::<u32>(frame, template, 30);
            // The TCP or UDP header behind the ports.
            copy::<u32>(frame, template, 38);
            copy::<u32>(frame, template, 42);
            copy::<u32>(frame, template, 46);
            ((frame + 26) as *mut u32).write_volatile(client.to_be());
            let service_port = u32::from(template.add(36).cast::<u16>().read_unaligned());
            ((frame + 34) as *mut u32).write_volatile(u32::from(port) | service_port << 16);
            TARGET.tail_call(&ctx, 0);
            (*orders).lost += 1;
        }
        XDP_ABORTED
    }

    /// Nothing: what is subtracted.
    #[xdp]
    pub(crate) fn floor_nothing(_ctx: XdpContext) -> u32 {
        XDP_TX
    }

    /// Swaps the MACs and sends.
    #[xdp]
    pub(crate) fn floor_swap(ctx: XdpContext) -> u32 {
        let frame = ctx.data();
        if frame + 14 > ctx.data_end() {
            return XDP_DROP;
        }
        // SAFETY: an Ethernet header, as just compared.
        unsafe {
            let (a, b) = (frame as *mut u32, (frame + 4) as *mut u16);
            let (c, d) = ((frame + 6) as *mut u32, (frame + 10) as *mut u16);
            let (to, to_end, from, from_end) = (*a, *b, c.read_unaligned(), *d);
            (*a, *b, *d) = (from, from_end, to_end);
            c.write_unaligned(to);
        }
        XDP_TX
    }

    /// Makes room for 20 bytes in front and sends.
    #[xdp]
    pub(crate) fn floor_room(ctx: XdpContext) -> u32 {
        // SAFETY: the context of an XDP program.
        if unsafe { bpf_xdp_adjust_head(ctx.ctx, -20) } != 0 {
            return XDP_DROP;
        }
        XDP_TX
    }

    /// Parses, looks up the service and a backend by a hash of the client, rewrites, counts: a
    /// balancer without connections.
    #[xdp]
    pub(crate) fn floor_lookup(ctx: XdpContext) -> u32 {
        let Some(packet) = Plain::read::<false>(ctx.data(), ctx.data_end()) else {
            return XDP_PASS;
        };
        let port = (packet.ports >> 16) as u16;
        let Some(service) = services::find::<false>(packet.destination, port, packet.proto) else {
            return XDP_PASS;
        };
        // SAFETY: an element of the map.
        let table = unsafe { (*service).table };
        let (base, len) = ((table >> 32) as u32, table as u32);
        if len == 0 {
            return XDP_DROP;
        }
        let client = packet.source[0] as u32 ^ packet.ports & 0xffff;
        let entry = base + sh_hash(client) % len;
        let Some(word) = SCHED.get_ptr(entry >> 2) else {
            return XDP_DROP;
        };
        // SAFETY: an element of the map.
        let index = unsafe { *word >> (16 * (entry & 3)) } as u16;
        let Some(backend) = BACKENDS.get_ptr(u32::from(index)) else {
            return XDP_DROP;
        };
        // SAFETY: `read` saw the IP header.
        let sent = unsafe { rewrite::to_backend::<false>(packet.frame, packet.ip(), backend) };
        if sent.is_err() {
            return XDP_DROP;
        }
        let Some(counters) = COUNTERS.get_ptr_mut(u32::from(index)) else {
            return XDP_DROP;
        };
        // SAFETY: this CPU's own element.
        unsafe {
            (*counters).packets += 1;
            (*counters).bytes += u64::from(packet.ip_len);
        }
        XDP_TX
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
