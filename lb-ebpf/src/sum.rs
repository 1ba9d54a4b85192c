//! The Internet checksum (RFC 1071) over part of a frame.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_csum_diff;

/// What `bpf_csum_diff` takes at a time.
const BLOCK: u32 = 512;
/// The longest part that is summed: more than a jumbo frame.
const MAX: u32 = 32 * BLOCK - 1;

/// Sum of the `len` bytes from `at` (even) of the frame as 16-bit words; `None` when they are not all
/// there.
///
/// `veil` is 0, but unknown to the verifier: it would follow each length by itself.
#[inline(always)]
pub(crate) fn of_frame(ctx: *mut xdp_md, at: u32, len: u32, veil: u64) -> Option<u64> {
    let sum = walk(ctx, at, len, veil);
    (sum != MISSING).then_some(u64::from(sum))
}

/// No sum: they are 16 bits.
const MISSING: u32 = u32::MAX;

#[inline(never)]
fn walk(ctx: *mut xdp_md, at: u32, len: u32, veil: u64) -> u32 {
    if len > MAX {
        return MISSING;
    }
    let mut sum = 0;
    let mut at = u64::from(at) ^ veil;
    for block in 1..=u64::from(MAX / BLOCK) {
        if block * u64::from(BLOCK) > u64::from(len) {
            break;
        }
        if !add::<BLOCK>(ctx, at, &mut sum) {
            return MISSING;
        }
        at += u64::from(BLOCK);
    }
    at ^= veil;
    let len = u64::from(len) ^ veil;
    macro_rules! rest {
        ($($size:literal)+) => {
            $(if len & $size != 0 {
                if !add::<$size>(ctx, at, &mut sum) {
                    return MISSING;
                }
                at = (at + $size) ^ veil;
            })+
        };
    }
    rest!(256 128 64 32 16 8 4);
    // SAFETY: the context of an XDP program.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    let last = data + (at as usize & MAX as usize);
    // SAFETY: each byte is compared with the end first. Where a byte pair starts is even.
    unsafe {
        if len & 2 != 0 {
            if last + 2 > end {
                return MISSING;
            }
            sum += u64::from(*(last as *const u16));
        }
        if len & 1 != 0 {
            // The byte in front of it is there too.
            let pair = data + ((at + (len & 2) - 1) as usize & MAX as usize);
            if pair + 2 > end {
                return MISSING;
            }
            sum += u64::from(u16::from_ne_bytes([*((pair + 1) as *const u8), 0]));
        }
    }
    u32::from(fold(sum))
}

/// Adds `SIZE` bytes.
#[inline(always)]
fn add<const SIZE: u32>(ctx: *mut xdp_md, at: u64, sum: &mut u64) -> bool {
    // SAFETY: the context of an XDP program.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    let from = data + (at as usize & MAX as usize);
    if from + SIZE as usize > end {
        return false;
    }
    // SAFETY: the bytes are there, as just compared.
    *sum = u64::from(unsafe {
        bpf_csum_diff(
            core::ptr::null_mut(),
            0,
            from as *mut u32,
            SIZE,
            *sum as u32,
        )
    } as u32);
    true
}

/// A sum of 16-bit words as one.
#[inline(always)]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}
