//! Interfaces on which the program runs.

use super::IFACE_SLOTS;

/// An interface on which the program runs.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Iface {
    /// Its index; 0 is an empty slot. Its place is [`iface_slot`] of 0 .. [`IFACE_PROBES`](super::IFACE_PROBES).
    pub ifindex: u32,
    /// Its MAC: only frames for it, or for one of `virtual_macs`, are balanced.
    pub mac: [u8; 6],
    /// Reserved.
    pub reserved: [u8; 6],
    /// The bits [`mac_bloom`](super::mac_bloom) of all MACs in the table of peers, so that only frames that may come
    /// from one pay for looking it up. The same on every interface.
    pub peer_bloom: u64,
    /// Reserved.
    pub reserved2: u64,
    /// The VRRP virtual MACs that are this host's at this moment, a bit for each
    /// ([`virtual_mac_bit`]). A switch that has forgotten where one is floods its frames to the backup
    /// too.
    pub virtual_macs: [u64; 8],
}

/// Word and bit in [`Iface::virtual_macs`] of the MAC 00:00:5e:00:`kind`:`vrid` (RFC 9568, 7.3), `kind`
/// being 1 for IPv4 and 2 for IPv6.
#[inline(always)]
#[must_use]
pub const fn virtual_mac_bit(kind: u8, vrid: u8) -> (usize, u64) {
    let word = (kind as usize & 2) << 1 | vrid as usize >> 6;
    (word, 1 << (vrid & 63))
}

/// The `probe`-th slot where interface `ifindex` may lie.
#[inline(always)]
#[must_use]
pub const fn iface_slot(ifindex: u32, probe: u32) -> u32 {
    ifindex.wrapping_add(probe) & (IFACE_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_virtual_mac_has_a_bit_of_its_own() {
        let mut seen = [0; 8];
        for kind in 1..=2 {
            for vrid in 0..=255 {
                let (word, bit) = virtual_mac_bit(kind, vrid);
                assert_eq!(seen[word] & bit, 0, "{kind} {vrid}");
                seen[word] |= bit;
            }
        }
        assert_eq!(seen, [u64::MAX; 8]);
    }
}
