//! Scheduling tables: what user space expands a scheduler into, and how the program indexes them.
//!
//! An entry is the index of a backend; [`NOBODY`] refuses the connection. IPVS keeps the real
//! servers of a service in a list to whose *head* a new one is added (`ip_vs_ctl.c`,
//! `__ip_vs_update_dest`), so wherever order matters the servers are given here in reverse order of
//! configuration by whoever wants IPVS's own assignment.

/// A table entry without a server: whoever hits it is refused.
pub const NOBODY: u16 = 0;

/// Entries of a `sh` table (`CONFIG_IP_VS_SH_TAB_BITS` 8).
pub const SH_SIZE: usize = 256;

/// Longest table that a service may have. Weights whose interleaved sequence is longer are scaled
/// down, which moves a server's share by less than one part in `MAX_TABLE` / number of servers.
pub const MAX_TABLE: usize = 16384;

/// IPVS's `sh` hash of a client: `hash_32(ip, 8)` with port 0 (`ip_vs_sh_hashkey`, Linux 4.17 and
/// later). `client_be` as it lies in the packet.
#[inline(always)]
#[must_use]
pub const fn sh_hash(client_be: u32) -> u32 {
    // GOLDEN_RATIO_32 of include/linux/hash.h.
    u32::from_be(client_be).wrapping_mul(0x61c8_8647) >> (32 - 8)
}

/// The table of `sh`: the servers in list order, `weight` slots each, over and over
/// (`ip_vs_sh_reassign`). A server of weight 0 takes one slot, as in IPVS, and who hits it is
/// refused.
///
/// `servers` are (backend, weight). Returns the length of the table in `out`: 0 if there are no
/// servers, or none with a weight, else [`SH_SIZE`].
pub fn fill_sh(servers: &[(u16, u16)], out: &mut [u16; SH_SIZE]) -> usize {
    if servers.iter().all(|&(_, weight)| weight == 0) {
        return 0;
    }
    let mut filled = 0;
    for &(backend, weight) in servers.iter().cycle() {
        let entry = if weight == 0 { NOBODY } else { backend };
        for _ in 0..weight.max(1) {
            out[filled] = entry;
            filled += 1;
            if filled == SH_SIZE {
                return SH_SIZE;
            }
        }
    }
    filled
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

/// How long the table of `wrr` is: the sum of the weights over their greatest common divisor; see
/// [`MAX_TABLE`] for when that is too long.
#[must_use]
pub fn wrr_len(servers: &[(u16, u16)]) -> usize {
    let scale = Scale::of(servers);
    servers
        .iter()
        .map(|&(_, weight)| scale.apply(weight) as usize)
        .sum()
}

/// The table of `wrr`: IPVS's interleaved sequence (`ip_vs_wrr.c`). In pass k of max/gcd passes
/// every server whose weight is at least `max - k * gcd` has a turn, in list order. Returns its
/// length, [`wrr_len`].
///
/// # Panics
/// When `out` is shorter than [`wrr_len`].
pub fn fill_wrr(servers: &[(u16, u16)], out: &mut [u16]) -> usize {
    let scale = Scale::of(servers);
    let max = servers
        .iter()
        .map(|&(_, weight)| scale.apply(weight))
        .max()
        .unwrap_or(0);
    let mut filled = 0;
    for current in (1..=max).rev() {
        for &(backend, weight) in servers {
            if scale.apply(weight) >= current {
                out[filled] = backend;
                filled += 1;
            }
        }
    }
    filled
}

/// Divides weights by their greatest common divisor and, when the sequence would still be longer
/// than [`MAX_TABLE`], scales them so that it is not.
struct Scale {
    multiply: u64,
    divide: u64,
}

impl Scale {
    fn of(servers: &[(u16, u16)]) -> Scale {
        let gcd = servers
            .iter()
            .fold(0, |acc, &(_, weight)| gcd(acc, u64::from(weight)))
            .max(1);
        let sum: u64 = servers
            .iter()
            .map(|&(_, weight)| u64::from(weight) / gcd)
            .sum();
        if sum <= MAX_TABLE as u64 {
            return Scale {
                multiply: 1,
                divide: gcd,
            };
        }
        // A weight is rounded to the nearest but not to 0: room is left for one each.
        let room = (MAX_TABLE - servers.len().min(MAX_TABLE / 2)) as u64;
        Scale {
            multiply: room,
            divide: sum * gcd,
        }
    }

    fn apply(&self, weight: u16) -> u64 {
        if weight == 0 {
            return 0;
        }
        ((u64::from(weight) * self.multiply + self.divide / 2) / self.divide).max(1)
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
