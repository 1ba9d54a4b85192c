//! The XDP program that balances: parse, look up, decide, rewrite, count.
//!
//! What is for a configured service goes to a real server or is dropped under its own reason; it
//! never reaches this host's stack (whose RST would kill the connection) unless this host is the
//! real server. Everything else goes up the stack untouched.
//!
//! The way of an established connection is short and straight: `balance` reads the service, the
//! flow and the backend and is done. Everything else (a new flow, a SYN, a change of state, a
//! server that is gone) is decided in one place, [`flows::admit`].
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod balance;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod flood;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
mod fragments;
#[cfg(target_arch = "bpf")]
mod ifaces;
#[cfg(target_arch = "bpf")]
mod insert;
#[cfg(target_arch = "bpf")]
mod loads;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod places;
#[cfg(target_arch = "bpf")]
mod refused;
#[cfg(target_arch = "bpf")]
mod rewrite;
#[cfg(target_arch = "bpf")]
mod scan;
#[cfg(target_arch = "bpf")]
mod schedule;
#[cfg(target_arch = "bpf")]
mod services;
#[cfg(target_arch = "bpf")]
mod session;
#[cfg(target_arch = "bpf")]
mod sum;
#[cfg(target_arch = "bpf")]
mod too_big;
#[cfg(target_arch = "bpf")]
mod tunnel;
#[cfg(target_arch = "bpf")]
mod unusual;

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
    use aya_ebpf::helpers::generated::bpf_redirect;
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;

    use crate::balance::{Verdict, balance as decide};
    use crate::{clock, maps, refused};

    /// The balancer.
    #[xdp]
    pub(crate) fn balance(ctx: XdpContext) -> u32 {
        match decide(&ctx) {
            Verdict::Transmit => XDP_TX,
            // SAFETY: a helper without pointers.
            Verdict::Redirect(ifindex) => (unsafe { bpf_redirect(ifindex, 0) }) as u32,
            Verdict::Local => XDP_PASS,
            Verdict::Because(reason) => {
                let reason = refused::check(ctx.ctx, reason);
                maps::count(reason);
                if reason.passes() { XDP_PASS } else { XDP_DROP }
            }
        }
    }

    /// The kernel's clocks, for user space (`BPF_PROG_TEST_RUN` only).
    #[xdp]
    pub(crate) fn clock(ctx: XdpContext) -> u32 {
        clock::write(&ctx);
        XDP_PASS
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    /// The helpers that the program calls are open to GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
