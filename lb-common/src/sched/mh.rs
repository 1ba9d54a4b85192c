//! Maglev hashing: `ip_vs_mh.c` of 6.1, with its fixed keys, so that every director that uses it
//! sends a client to the same server.

use super::{NOBODY, gcd, host_order};

/// Entries of a `mh` table (`CONFIG_IP_VS_MH_TAB_INDEX` 12).
pub const MH_SIZE: usize = 4093;

/// `IP_VS_MH_TAB_BITS`: how many bits of a weight (over the greatest common divisor) count.
const WEIGHT_BITS: u32 = 6;

/// Both halves of the key of the hash that places clients, and servers' first choices.
const KEY: u64 = 2_654_435_761;
/// The same for the distance between a server's choices.
const SKIP_KEY: u64 = 2_654_446_892;

/// A server of a `mh` service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MhServer {
    /// Index of its backend.
    pub backend: u16,
    /// Its weight; with 0 its clients are refused.
    pub weight: u16,
    /// Where `weight` is 0, the last one that was not: it decides how many clients are the server's,
    /// so that one that is quiesced for a while keeps its own and the others keep theirs. 0: it never
    /// had one.
    pub last_weight: u16,
    /// Its address as in a packet; IPv4: in the first word, the others zero.
    pub addr: [u32; 4],
    /// Its port, network byte order.
    pub port_be: u16,
}

impl MhServer {
    /// IPVS's `last_weight`.
    fn share(&self) -> u64 {
        u64::from(if self.weight == 0 {
            self.last_weight
        } else {
            self.weight
        })
    }
}

/// `ip_vs_mh_hashkey`, modulo the table's size: the slot of a client
/// ([`client_key`](super::client_key)) in a table of [`MH_SIZE`].
///
/// `mh-fallback`: when the server in the slot that offset 0 gives cannot take the connection, the
/// offsets from that slot's number on (modulo the table's size) are tried, each once.
#[inline(always)]
#[must_use]
pub const fn mh_slot(key: u32, offset: u32) -> u32 {
    hsiphash(key.wrapping_add(offset), KEY) % MH_SIZE as u32
}

/// `hsiphash` of four bytes on a 64-bit kernel: SipHash with one round for the data, three at the
/// end and 32 bits of the result. Both halves of the key are the same.
#[inline(always)]
const fn hsiphash(data: u32, key: u64) -> u32 {
    let mut v = [
        0x736f_6d65_7073_6575 ^ key,
        0x646f_7261_6e64_6f6d ^ key,
        0x6c79_6765_6e65_7261 ^ key,
        0x7465_6462_7974_6573 ^ key,
    ];
    let block = 4 << 56 | data as u64;
    v[3] ^= block;
    v = round(v);
    v[0] ^= block;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
}

#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

/// The table of `mh`: the servers, in list order, take their next choice in turn, as many at a time
/// as their weight says (`ip_vs_mh_permutate`, `ip_vs_mh_populate`).
///
/// Returns the length of the table in `out`: 0 if no server has a weight, else [`MH_SIZE`]. IPVS
/// refuses a service of more than [`MH_SIZE`] servers; here those behind get no clients.
pub fn fill_mh(servers: &[MhServer], out: &mut [u16; MH_SIZE]) -> usize {
    const FREE: u16 = u16::MAX;
    if servers.iter().all(|server| server.weight == 0) {
        return 0;
    }
    let servers = &servers[..servers.len().min(MH_SIZE)];
    let turns = Turns::of(servers);
    // Where each server looks next, and how far it goes on from there.
    let mut at = [0u16; MH_SIZE];
    let mut skip = [0u16; MH_SIZE];
    for (i, server) in servers.iter().enumerate() {
        let key = host_order(server.addr).wrapping_add(u32::from(u16::from_be(server.port_be)));
        at[i] = (hsiphash(key, KEY) % MH_SIZE as u32) as u16;
        skip[i] = (hsiphash(key, SKIP_KEY) % (MH_SIZE as u32 - 1) + 1) as u16;
    }
    out.fill(FREE);
    let mut filled = 0;
    loop {
        for (i, server) in servers.iter().enumerate() {
            for _ in 0..turns.of_server(server) {
                while out[usize::from(at[i])] != FREE {
                    at[i] = ((usize::from(at[i]) + usize::from(skip[i])) % MH_SIZE) as u16;
                }
                out[usize::from(at[i])] = if server.weight == 0 {
                    NOBODY
                } else {
                    server.backend
                };
                filled += 1;
                if filled == MH_SIZE {
                    return MH_SIZE;
                }
            }
        }
    }
}

/// How many slots a server takes at a time (`ip_vs_mh_gcd_weight`, `ip_vs_mh_shift_weight`).
struct Turns {
    gcd: u64,
    shift: u32,
}

impl Turns {
    fn of(servers: &[MhServer]) -> Turns {
        let weights = servers.iter().map(MhServer::share);
        let gcd = weights.clone().fold(0, gcd).max(1);
        let bits = u64::BITS - (weights.max().unwrap_or(0) / gcd).leading_zeros();
        Turns {
            gcd,
            shift: bits.saturating_sub(WEIGHT_BITS),
        }
    }

    fn of_server(&self, server: &MhServer) -> u64 {
        let turns = (server.share() / self.gcd) >> self.shift;
        turns.max(u64::from(server.share() != 0))
    }
}

#[cfg(test)]
mod tests;
