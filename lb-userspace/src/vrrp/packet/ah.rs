//! The IPsec AH header around an advert of version 2 (RFC 2402), as RFC 2338 had it and keepalived has it
//! still: HMAC-MD5-96 keyed by the password, the sender's address as SPI, one sequence for all senders.

use std::net::IpAddr;

use md5::{Digest as _, Md5};

use super::{PROTOCOL as VRRP, Reject, pad_password};

/// IP protocol number of AH.
pub(super) const PROTOCOL: u8 = 51;
/// Bytes of the header.
pub(super) const LEN: usize = 24;
/// Its length in units of 4 bytes, less 2.
const PAYLOAD_LEN: u8 = 4;
const SPI: usize = 4;
const SEQUENCE: usize = 8;
const ICV: usize = 12;

/// A header and the packet that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ah<'a> {
    /// The whole IPv4 packet.
    packet: &'a [u8],
    /// Where the AH header begins.
    at: usize,
}

/// Reads the header behind `at` bytes of IPv4 header; the message follows.
///
/// # Errors
/// [`Reject::Length`], and [`Reject::Protocol`] when something else than VRRP follows.
pub(super) fn split(packet: &[u8], at: usize) -> Result<(Ah<'_>, &[u8]), Reject> {
    let rest = packet.get(at..).unwrap_or_default();
    let (header, message) = rest.split_at_checked(LEN).ok_or(Reject::Length)?;
    if header[0] != VRRP {
        return Err(Reject::Protocol);
    }
    if header[1] != PAYLOAD_LEN {
        return Err(Reject::Length);
    }
    Ok((Ah { packet, at }, message))
}

impl Ah<'_> {
    fn word(&self, field: usize) -> [u8; 4] {
        let at = self.at + field;
        // `split` has seen that the header is there.
        std::array::from_fn(|i| self.packet[at + i])
    }

    pub(super) fn sequence(&self) -> u32 {
        u32::from_be_bytes(self.word(SEQUENCE))
    }

    /// Whether somebody made it who has the password, at the address that it comes from.
    pub(super) fn is_by(&self, source: IpAddr, password: &[u8]) -> bool {
        let spi = match source {
            IpAddr::V4(v4) => v4.octets() == self.word(SPI),
            IpAddr::V6(_) => false,
        };
        let here = &self.packet[self.at + ICV..self.at + LEN];
        let right = icv(self.packet, self.at, password);
        // Every byte is looked at, so that the time says nothing.
        spi && here.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

/// The header without its check value.
pub(super) fn header(source: IpAddr, sequence: u32) -> [u8; LEN] {
    let mut header = [0; LEN];
    header[0] = VRRP;
    header[1] = PAYLOAD_LEN;
    if let IpAddr::V4(v4) = source {
        header[SPI..SEQUENCE].copy_from_slice(&v4.octets());
    }
    header[SEQUENCE..ICV].copy_from_slice(&sequence.to_be_bytes());
    header
}

/// Writes the check value into a packet whose AH header is at `at`.
pub(super) fn seal(packet: &mut [u8], at: usize, password: &[u8]) {
    let right = icv(packet, at, password);
    packet[at + ICV..at + LEN].copy_from_slice(&right);
}

/// Of the packet without what may change on its way: TOS, fragment, header checksum and, by unicast, TTL
/// (RFC 2402 section 3.3.3.1.1.1; keepalived leaves the TTL of multicast in).
fn icv(packet: &[u8], at: usize, password: &[u8]) -> [u8; LEN - ICV] {
    let mut covered = packet.to_vec();
    covered[1] = 0;
    covered[6..8].fill(0);
    covered[10..12].fill(0);
    let is_group = (224..240).contains(&covered[16]);
    if !is_group {
        covered[8] = 0;
    }
    covered[at + ICV..at + LEN].fill(0);
    let digest = hmac_md5(&pad_password(password), &covered);
    std::array::from_fn(|i| digest[i])
}

/// RFC 2104 with a key that is shorter than a block.
fn hmac_md5(key: &[u8; 8], text: &[u8]) -> [u8; 16] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (b, k) in block.iter_mut().zip(key) {
            *b ^= k;
        }
        block
    };
    let inner = Md5::new().chain_update(pad(0x36)).chain_update(text);
    let outer = Md5::new().chain_update(pad(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}
