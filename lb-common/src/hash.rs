//! The hashes of the service table and of the flow table.

use crate::maps::{Params, SERVICE_SLOTS};

/// The `probe`-th slot where the service `key` may lie.
#[inline(always)]
#[must_use]
pub const fn service_slot(key: u64, probe: u32) -> u32 {
    const BITS: u32 = SERVICE_SLOTS.trailing_zeros();
    let home = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as u32;
    home.wrapping_add(probe) & (SERVICE_SLOTS - 1)
}

/// An IPv6 address as 32 bits, mixed with a seed.
#[inline(always)]
#[must_use]
pub const fn fold_addr(addr: [u32; 4], seed: u64) -> u32 {
    let high = (addr[0] as u64) << 32 | addr[1] as u64;
    let low = (addr[2] as u64) << 32 | addr[3] as u64;
    let mut x = (high ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 32 ^ low).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x >> 32) as u32
}

/// The two buckets where the flow `tag` may lie; they differ (unless there is only one bucket).
///
/// Mixed with a secret, so that nobody can choose connections that crowd one bucket.
#[inline(always)]
#[must_use]
pub const fn flow_buckets(tag: u64, params: &Params) -> (u32, u32) {
    let mut x = (tag ^ params.hash_seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    let first = (x >> 32) as u32 & params.flow_mask;
    // An odd-looking distance that is never 0: bits of the same product, made odd.
    let second = (first ^ (x as u32 | 1)) & params.flow_mask;
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::flow_tag;

    #[test]
    fn consecutive_flows_spread_over_the_buckets_like_random_ones() {
        const BUCKETS: usize = 1 << 12;
        let params = Params {
            hash_seed: 0x1234_5678_9abc_def0,
            flow_mask: BUCKETS as u32 - 1,
            tick_shift: 8,
        };
        let mut first = [0u32; BUCKETS];
        let mut second = [0u32; BUCKETS];
        for n in 0..BUCKETS as u32 * 2 {
            let client = (0x0a00_0000 + (n >> 10)).to_be();
            let tag = flow_tag(client, (1024 + (n & 1023) as u16).to_be(), 1);
            let (a, b) = flow_buckets(tag, &params);
            assert_ne!(a, b);
            first[a as usize] += 1;
            second[b as usize] += 1;
        }
        for counts in [first, second] {
            // Poisson with mean 2: 5.3 % of the buckets have more than 4.
            let crowded = counts.iter().filter(|&&n| n > 4).count();
            assert!(
                (120..320).contains(&crowded),
                "{crowded} of {BUCKETS} buckets have more than 4 flows"
            );
        }
    }
}
