//! The one change that forwarding makes to an IPv4 header.

/// The header checksum after the TTL went down by one: RFC 1624 for the one word that changed.
///
/// `check` is the field as it lies in memory (network byte order), and so is the result. A checksum
/// that was wrong stays wrong, so damage is not hidden from the real server.
#[inline(always)]
#[must_use]
pub const fn after_ttl_decrement(check: u16) -> u16 {
    // The TTL is the high byte of its 16-bit word: adding 0x0100 to the complement of the sum is
    // taking it from the sum. 0xffff would be "minus zero" and is folded to 0, as the kernel does.
    let sum = check as u32 + 0x0100u16.to_be() as u32;
    (sum + (sum >= 0xffff) as u32) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(header: &[u8; 20]) -> u16 {
        let mut sum = 0u32;
        for (i, pair) in header.chunks_exact(2).enumerate() {
            if i != 5 {
                sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            }
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_incremental_checksum_is_the_full_one_for_every_identification() {
        let mut header = [
            0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 2, 3, 192, 0, 2, 1,
        ];
        for id in 0..=u16::MAX {
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header[8] = 64;
            let before = full(&header).to_be();
            header[8] = 63;
            assert_eq!(
                after_ttl_decrement(before),
                full(&header).to_be(),
                "id {id:#x}"
            );
        }
    }
}
