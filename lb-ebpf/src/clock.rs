//! What user space cannot ask the kernel for otherwise: jiffies, in which the flow table counts.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::programs::XdpContext;

/// Writes jiffies and monotonic nanoseconds into the first 16 bytes of the frame.
#[inline(always)]
pub(crate) fn write(ctx: &XdpContext) {
    if ctx.data() + 16 > ctx.data_end() {
        return;
    }
    let out = ctx.data() as *mut u64;
    // SAFETY: 16 bytes of the frame, as just checked.
    unsafe {
        out.write_volatile(bpf_jiffies64());
        out.add(1).write_volatile(bpf_ktime_get_ns());
    }
}
