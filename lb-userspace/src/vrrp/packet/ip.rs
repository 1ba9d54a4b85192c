//! The IP header around an advert, IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sum::{fold, sum};
use super::{PROTOCOL, Reject, address, ah};
use crate::model::Family;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// "Internetwork control", as keepalived sends it: TOS of IPv4, traffic class of IPv6.
const TOS: u8 = 0xc0;
/// RFC 8200 section 4.5.
const FRAGMENT_HEADER: u8 = 44;

/// An IP packet whose header is right.
pub(super) struct Packet<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// What the header carries, without Ethernet padding.
    pub(super) message: &'a [u8],
    /// AH, if that is around the message.
    pub(super) ah: Option<ah::Ah<'a>>,
}

/// Reads the header.
///
/// # Errors
/// [`Reject::IpHeader`], [`Reject::Fragment`], [`Reject::Protocol`] and [`Reject::Source`].
pub(super) fn split(packet: &[u8]) -> Result<Packet<'_>, Reject> {
    let packet = match family_of(packet) {
        Some(Family::V4) => v4(packet)?,
        Some(Family::V6) => v6(packet)?,
        None => return Err(Reject::IpHeader),
    };
    let possible = match packet.source {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        IpAddr::V6(_) => true,
    };
    let source = packet.source;
    if !possible || source.is_unspecified() || source.is_multicast() || source.is_loopback() {
        return Err(Reject::Source);
    }
    Ok(packet)
}

fn v4(packet: &[u8]) -> Result<Packet<'_>, Reject> {
    let (ip, rest) = packet.split_at_checked(V4_HEADER).ok_or(Reject::IpHeader)?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    if header_len < V4_HEADER || total < header_len || total > packet.len() {
        return Err(Reject::IpHeader);
    }
    // Reserved bit, MF and offset; an advert is far below any MTU.
    if u16::from_be_bytes([ip[6], ip[7]]) & 0xbfff != 0 {
        return Err(Reject::Fragment);
    }
    let (ah, message) = match ip[9] {
        PROTOCOL => (None, &rest[header_len - V4_HEADER..total - V4_HEADER]),
        ah::PROTOCOL => {
            let (ah, message) = ah::split(&packet[..total], header_len)?;
            (Some(ah), message)
        }
        _ => return Err(Reject::Protocol),
    };
    Ok(Packet {
        source: address(&ip[12..16]),
        destination: address(&ip[16..20]),
        ttl: ip[8],
        message,
        ah,
    })
}

fn v6(packet: &[u8]) -> Result<Packet<'_>, Reject> {
    let (ip, rest) = packet.split_at_checked(V6_HEADER).ok_or(Reject::IpHeader)?;
    let len = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    let message = rest.get(..len).ok_or(Reject::IpHeader)?;
    match ip[6] {
        PROTOCOL => {}
        FRAGMENT_HEADER => return Err(Reject::Fragment),
        // Nobody puts an extension header before an advert.
        _ => return Err(Reject::Protocol),
    }
    Ok(Packet {
        source: address(&ip[8..24]),
        destination: address(&ip[24..40]),
        ttl: ip[7],
        message,
        ah: None,
    })
}

/// The header of a packet that carries `len` bytes, at most 65,515 of them. Both addresses are to be of
/// one family; `id` is the identification of IPv4, and `with_ah` means that AH follows there.
pub(super) fn header(
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    (id, with_ah): (u16, bool),
    len: usize,
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let protocol = if with_ah { ah::PROTOCOL } else { PROTOCOL };
            v4_header(source, destination, (ttl, protocol), id, len)
        }
        (source, destination) => v6_header(mapped(source), mapped(destination), ttl, len),
    }
}

fn v4_header(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    (ttl, protocol): (u8, u8),
    id: u16,
    len: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(V4_HEADER + len);
    out.extend_from_slice(&[0x45, TOS]);
    out.extend_from_slice(&((V4_HEADER + len) as u16).to_be_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[0, 0, ttl, protocol, 0, 0]);
    out.extend_from_slice(&source.octets());
    out.extend_from_slice(&destination.octets());
    let checksum = !fold(sum(0, &out));
    out[10..12].copy_from_slice(&checksum.to_be_bytes());
    out
}

fn v6_header(source: Ipv6Addr, destination: Ipv6Addr, ttl: u8, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(V6_HEADER + len);
    out.extend_from_slice(&[0x60 | TOS >> 4, TOS << 4, 0, 0]);
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(&[PROTOCOL, ttl]);
    out.extend_from_slice(&source.octets());
    out.extend_from_slice(&destination.octets());
    out
}

fn mapped(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The version of IP of a packet that [`super::View::parse`] may have refused.
#[must_use]
pub fn family_of(packet: &[u8]) -> Option<Family> {
    match packet.first()? >> 4 {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}

/// The VRID of a packet that [`super::View::parse`] may have refused, to say whose it would have been.
#[must_use]
pub fn vrid_of(packet: &[u8]) -> Option<u8> {
    let header_len = match family_of(packet)? {
        Family::V4 => {
            let before = if packet.get(9) == Some(&ah::PROTOCOL) {
                ah::LEN
            } else {
                0
            };
            usize::from(packet.first()? & 0x0f) * 4 + before
        }
        Family::V6 => V6_HEADER,
    };
    packet.get(header_len + 1).copied()
}

/// The source address of a packet that [`super::View::parse`] may have refused; 0.0.0.0 when it is too
/// short to have one.
#[must_use]
pub fn source_of(packet: &[u8]) -> IpAddr {
    field(packet, 12..16, 8..24)
}

/// Where a packet goes; 0.0.0.0 when it is too short to say.
#[must_use]
pub fn destination_of(packet: &[u8]) -> IpAddr {
    field(packet, 16..20, 24..40)
}

fn field(packet: &[u8], v4: std::ops::Range<usize>, v6: std::ops::Range<usize>) -> IpAddr {
    let bytes = match family_of(packet) {
        Some(Family::V4) => packet.get(v4),
        Some(Family::V6) => packet.get(v6),
        None => None,
    };
    bytes.map_or(Ipv4Addr::UNSPECIFIED.into(), address)
}
