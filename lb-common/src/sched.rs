//! Scheduling tables: what user space expands a scheduler into, and how the program indexes them.
//!
//! An entry is the index of a backend; [`NOBODY`] refuses the connection. Wherever the order of the
//! servers matters it is IPVS's list order: IPVS adds a new server at the *head* of the service's
//! list (`ip_vs_ctl.c` of 6.1, `__ip_vs_update_dest`: `list_add_rcu`), so whoever wants IPVS's own
//! assignment gives the servers in the reverse of the order in which they were added.

mod dh;
pub mod locality;
mod mh;
mod sh;
mod wrr;

pub use dh::{dh_bucket, fill_dh};
pub use mh::{MH_SIZE, MhServer, fill_mh, mh_slot};
pub use sh::{SH_SIZE, fill_sh, sh_hash, sh_slot};
pub use wrr::{fill_wrr, wrr_len};

/// A table entry without a server: whoever hits it is refused.
pub const NOBODY: u16 = 0;

/// Longest table that a service may have. Weights whose interleaved sequence is longer are scaled
/// down, which moves a server's share by less than one part in `MAX_TABLE` / number of servers.
pub const MAX_TABLE: usize = 16384;

/// What `sh` and `mh` hash of a client: its address, IPv6 folded to 32 bits, and its port, where the
/// service says so (`sh-port`, `mh-port`; else 0). `ip_vs_sh_hashkey` and `ip_vs_mh_hashkey` of 6.1.
///
/// The address as it lies in the packet; IPv4: in the first word, the others zero.
#[inline(always)]
#[must_use]
pub const fn client_key(client: [u32; 4], port_be: u16) -> u32 {
    host_order(client).wrapping_add(u16::from_be(port_be) as u32)
}

/// An address as one number, in host order: the words of IPv6 are joined by exclusive or.
#[inline(always)]
const fn host_order(addr: [u32; 4]) -> u32 {
    u32::from_be(addr[0] ^ addr[1] ^ addr[2] ^ addr[3])
}

/// `hash_32(key, 8)` of `include/linux/hash.h`, with `GOLDEN_RATIO_32`.
#[inline(always)]
const fn hash_8_bits(key: u32) -> u32 {
    key.wrapping_mul(0x61c8_8647) >> (32 - 8)
}

/// The table of `rr`: every server with a weight once (`ip_vs_rr.c`). Returns its length.
///
/// # Panics
/// When `out` is shorter than `servers`.
pub fn fill_rr(servers: &[(u16, u16)], out: &mut [u16]) -> usize {
    let mut filled = 0;
    for &(backend, weight) in servers {
        if weight > 0 {
            out[filled] = backend;
            filled += 1;
        }
    }
    filled
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
