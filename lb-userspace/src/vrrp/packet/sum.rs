//! Internet checksums (RFC 1071), and what that of an advert covers.

use std::net::IpAddr;

use super::{Coverage, PROTOCOL};
use crate::model::{Family, VrrpVersion};

/// Adds 16-bit words; an odd byte counts as the upper half of one.
pub(super) fn sum(start: u32, bytes: &[u8]) -> u32 {
    // At most 32 Ki words of 16 bits, so 32 bits hold the sum.
    bytes
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)])))
        .fold(start, u32::wrapping_add)
}

pub(super) fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn add(start: u32, addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(v4) => sum(start, &v4.octets()),
        IpAddr::V6(v6) => sum(start, &v6.octets()),
    }
}

/// The sum of a pseudo header: of IPv4 (RFC 793) or IPv6 (RFC 8200 section 8.1), which have the same
/// parts for what is this short.
pub(super) fn pseudo(source: IpAddr, destination: IpAddr, len: usize) -> u32 {
    add(add(u32::from(PROTOCOL) + len as u32, source), destination)
}

/// The sum of what a version 3 checksum covers beside the message.
pub(super) fn beside(coverage: Coverage, source: IpAddr, destination: IpAddr, len: usize) -> u32 {
    match coverage {
        Coverage::Message => 0,
        Coverage::Destination => pseudo(source, destination, len),
        Coverage::Group => pseudo(source, Family::V4.group(), len),
    }
}

/// What the checksum covers, if it is right in any of the accepted ways. For IPv6 there is only one.
pub(super) fn coverage(
    version: VrrpVersion,
    source: IpAddr,
    destination: IpAddr,
    message: &[u8],
) -> Option<Coverage> {
    let plain = sum(0, message);
    let fits =
        |c: &Coverage| fold(plain + beside(*c, source, destination, message.len())) == 0xffff;
    match (version, Family::of(source)) {
        (VrrpVersion::V2, _) => (fold(plain) == 0xffff).then_some(Coverage::Destination),
        (VrrpVersion::V3, Family::V4) => {
            [Coverage::Destination, Coverage::Message, Coverage::Group]
                .into_iter()
                .find(fits)
        }
        (VrrpVersion::V3, Family::V6) => Some(Coverage::Destination).filter(fits),
    }
}
