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

/// An address of four words, as in a packet, as two.
#[inline(always)]
#[must_use]
pub const fn addr_words(addr: [u32; 4]) -> [u64; 2] {
    [
        addr[0] as u64 | (addr[1] as u64) << 32,
        addr[2] as u64 | (addr[3] as u64) << 32,
    ]
}

/// The four words of [`addr_words`].
#[inline(always)]
#[must_use]
pub const fn addr_of_words(words: [u64; 2]) -> [u32; 4] {
    [
        words[0] as u32,
        (words[0] >> 32) as u32,
        words[1] as u32,
        (words[1] >> 32) as u32,
    ]
}

/// An address ([`addr_words`]) as 32 bits, mixed with a seed: two products side by side, of which
/// neither waits for the other. Both halves count as numbers, since the bits in which addresses differ
/// are the lowest of those; and the factors are as secret as the seed, for addresses are the client's to
/// choose.
#[inline(always)]
#[must_use]
pub const fn fold_addr(words: [u64; 2], seed: u64) -> u32 {
    let (high, low) = fold_factors(seed);
    let high = words[0].to_be().wrapping_mul(high);
    let low = words[1].to_be().wrapping_mul(low);
    (high.wrapping_add(low) >> 32) as u32
}

/// The factors of [`fold_addr`], both odd.
#[inline(always)]
#[must_use]
pub const fn fold_factors(seed: u64) -> (u64, u64) {
    (
        (0x9e37_79b9_7f4a_7c15 ^ seed.rotate_left(32)) | 1,
        (0xd6e8_feb8_6659_fd93 ^ seed) | 1,
    )
}

/// Buckets of one page of memory (4 KiB).
const PAGE: u32 = 64;

/// The two buckets where the flow `tag` may lie; they differ (unless there is only one bucket).
///
/// Mixed with a secret, so that nobody can choose connections that crowd one bucket. But 64
/// neighbouring ports of a client lie in one page, in neighbouring lines: clients and their address
/// translators take ports in turn or in blocks, and a page that was just used costs no walk through
/// the page tables. A bucket is no more crowded for it, since these 64 never share one.
#[inline(always)]
#[must_use]
pub const fn flow_buckets(tag: u64, params: &Params) -> (u32, u32) {
    // The lowest six bits of the port, as they lie in a tag on a little-endian host.
    const NEIGHBOURS: u64 = (PAGE as u64 - 1) << 24;
    let mut x = ((tag & !NEIGHBOURS) ^ params.hash_seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    let line = (tag >> 24) as u32;
    let high = (x >> 32) as u32;
    let first = (high & !(PAGE - 1) | high.wrapping_add(line) & (PAGE - 1)) & params.flow_mask;
    // Another page and another line of it: bits of the same product, made odd.
    let second = (first ^ (x as u32 | PAGE | 1)) & params.flow_mask;
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::flow_tag;
    extern crate std;
    use std::vec;

    const PARAMS: Params = Params {
        hash_seed: 0x1234_5678_9abc_def0,
        flow_mask: (1 << 16) - 1,
        tick_shift: 8,
    };

    fn tag(client: u32, port: u16) -> u64 {
        flow_tag(client.to_be(), port.to_be(), 1)
    }

    #[test]
    fn consecutive_flows_spread_over_the_buckets_like_random_ones() {
        const BUCKETS: usize = PARAMS.flow_mask as usize + 1;
        let mut first = vec![0u32; BUCKETS];
        let mut second = vec![0u32; BUCKETS];
        for n in 0..BUCKETS as u32 * 2 {
            let (a, b) = flow_buckets(
                tag(0x0a00_0000 + (n >> 10), 1024 + (n & 1023) as u16),
                &PARAMS,
            );
            assert_ne!(a, b);
            first[a as usize] += 1;
            second[b as usize] += 1;
        }
        for counts in [first, second] {
            // Poisson with mean 2: 5.3 % of the buckets, 3450, have more than 4, in groups of 64.
            let crowded = counts.iter().filter(|&&n| n > 4).count();
            assert!(
                (2000..5000).contains(&crowded),
                "{crowded} of {BUCKETS} buckets have more than 4 flows"
            );
        }
    }

    #[test]
    fn folded_addresses_differ_like_random_numbers() {
        let addr = |subnet: u16, host: u64| {
            let net = 0x2001_0db8_0000_0000u64 | u64::from(subnet);
            [net.to_be(), host.to_be()]
        };
        // Hosts of one network, networks of one host, both: of 65,536 random numbers of 32 bits half a
        // pair is equal.
        let kinds: [fn(u64) -> (u16, u64); 3] = [
            |n| (7, n),
            |n| (n as u16, 1),
            |n| (n as u16 & 0xff, n >> 8 | 0x0200_00ff_fe00_0000),
        ];
        for (kind, of) in kinds.into_iter().enumerate() {
            for seed in [0, PARAMS.hash_seed] {
                let mut folded: vec::Vec<u32> = (0..1 << 16)
                    .map(|n| {
                        let (subnet, host) = of(n);
                        fold_addr(addr(subnet, host), seed)
                    })
                    .collect();
                folded.sort_unstable();
                folded.dedup();
                assert!(folded.len() > (1 << 16) - 8, "{kind}: {}", folded.len());
            }
        }
    }

    #[test]
    fn neighbouring_ports_share_a_page_and_never_a_bucket() {
        for client in 0..100 {
            let home = flow_buckets(tag(client, 4096), &PARAMS);
            let mut lines = [0u64; 2];
            for port in 4096..4096 + 64 {
                let (first, second) = flow_buckets(tag(client, port), &PARAMS);
                assert_eq!((first / 64, second / 64), (home.0 / 64, home.1 / 64));
                assert_ne!(first / 64, second / 64);
                lines[0] |= 1 << (first % 64);
                lines[1] |= 1 << (second % 64);
            }
            assert_eq!(lines, [u64::MAX; 2]);
        }
        assert_ne!(
            flow_buckets(tag(1, 4095), &PARAMS).0 / 64,
            flow_buckets(tag(1, 4096), &PARAMS).0 / 64
        );
    }

    #[test]
    fn in_a_table_of_one_page_the_two_buckets_differ_too() {
        let params = Params {
            flow_mask: 15,
            ..PARAMS
        };
        for port in 0..1000 {
            let (first, second) = flow_buckets(tag(7, port), &params);
            assert!(first < 16 && second < 16 && first != second);
        }
    }
}
