//! Destination hashing: `ip_vs_dh.c` of 6.1.

use super::{NOBODY, hash_8_bits, host_order};

/// Buckets of IPVS's table (`CONFIG_IP_VS_DH_TAB_BITS` 8).
const SIZE: usize = 256;

/// `ip_vs_dh_hashkey`: the bucket of a virtual address as it lies in a packet (IPv4: in the first
/// word, the others zero).
#[inline(always)]
#[must_use]
pub const fn dh_bucket(vip: [u32; 4]) -> usize {
    hash_8_bits(host_order(vip)) as usize % SIZE
}

/// What `dh` makes of a service: all its clients hash to one bucket, that of the virtual address, so
/// its table is that one entry. `servers` are (backend, weight) in list order; the buckets are dealt
/// out to them in turn, whatever their weights (`ip_vs_dh_reassign`).
///
/// [`NOBODY`] when the server has weight 0: clients are refused, as in IPVS. `None` without servers.
#[must_use]
pub fn fill_dh(vip: [u32; 4], servers: &[(u16, u16)]) -> Option<u16> {
    let turn = dh_bucket(vip).checked_rem(servers.len())?;
    let (backend, weight) = servers[turn];
    Some(if weight == 0 { NOBODY } else { backend })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_one_server_in_turn_of_its_bucket() {
        let vip = [u32::from_be_bytes([192, 0, 2, 1]).to_be(), 0, 0, 0];
        // hash_32(v, 8), written out with 64-bit arithmetic.
        let bucket = ((0xc000_0201 * 0x61c8_8647_u64) & 0xffff_ffff) >> 24;
        assert_eq!(dh_bucket(vip), bucket as usize);
        let servers: [(u16, u16); 7] = core::array::from_fn(|i| (i as u16 + 1, 1));
        for n in 1..=servers.len() {
            let right = servers[bucket as usize % n].0;
            assert_eq!(fill_dh(vip, &servers[..n]), Some(right));
        }
        assert_eq!(fill_dh(vip, &[(1, 0)]), Some(NOBODY));
        assert_eq!(fill_dh(vip, &[]), None);
    }

    #[test]
    fn the_words_of_an_ipv6_address_are_joined() {
        let folded = [3 ^ 5 ^ 9 ^ 17, 0, 0, 0];
        assert_eq!(dh_bucket([3, 5, 9, 17]), dh_bucket(folded));
    }
}
