//! Weighted round robin: `ip_vs_wrr.c`.

use super::{MAX_TABLE, gcd};

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
