//! Source hashing: `ip_vs_sh.c` of 6.1.

use super::{NOBODY, hash_8_bits};

/// Entries of a `sh` table (`CONFIG_IP_VS_SH_TAB_BITS` 8).
pub const SH_SIZE: usize = 256;

/// `ip_vs_sh_hashkey`: the slot of a client ([`client_key`](super::client_key)) in a table of
/// [`SH_SIZE`].
///
/// `sh-fallback`: when the server in the slot that offset 0 gives cannot take the connection, the
/// offsets from that slot's number on (modulo the table's size) are tried, each once.
#[inline(always)]
#[must_use]
pub const fn sh_slot(key: u32, offset: u32) -> u32 {
    offset.wrapping_add(hash_8_bits(key)) & (SH_SIZE as u32 - 1)
}

/// [`sh_slot`] of an IPv4 client, `client_be` as it lies in the packet, without its port.
#[inline(always)]
#[must_use]
pub const fn sh_hash(client_be: u32) -> u32 {
    sh_slot(u32::from_be(client_be), 0)
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
