//! Reading a frame: IEEE 802.1Q, RFC 791, RFC 8200, RFC 792, RFC 4443.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::reason::Reason;

use super::frame::{
    DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMP, ICMP6, ROUTING, SCTP, SERVICE_VLAN, TCP, UDP,
    VLAN,
};

/// Extension headers that are looked at.
const MAX_EXTENSIONS: usize = 6;
/// Tags that are looked at.
const MAX_TAGS: usize = 2;

/// An IP packet.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'a> {
    /// Where it begins in the frame.
    pub(crate) start: usize,
    /// As much of it as its length says.
    pub(crate) bytes: &'a [u8],
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    /// The transport protocol.
    pub(crate) proto: u8,
    /// What follows the IP headers.
    pub(crate) l4: &'a [u8],
    pub(crate) fragment: Option<Fragment>,
    pub(crate) is_source_routed: bool,
}

/// Which part of which packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fragment {
    pub(crate) packet: PacketId,
    pub(crate) is_first: bool,
}

/// What the fragments of a packet have in common (RFC 791, 3.2; RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PacketId {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// 0 with IPv6.
    proto: u8,
}

impl<'a> Packet<'a> {
    /// Reads a frame; why it is not for us otherwise.
    pub(crate) fn of_frame(frame: &'a [u8]) -> Result<Packet<'a>, Reason> {
        let mut start = 14;
        let mut tags = 0;
        loop {
            let kind = word(frame, start - 2).ok_or(Reason::NotIp)?;
            match kind {
                VLAN | SERVICE_VLAN if tags < MAX_TAGS => {
                    tags += 1;
                    start += 4;
                }
                0x0800 => return Self::of_ipv4(&frame[start..], start, true),
                0x86dd => return Self::of_ipv6(&frame[start..], start, true),
                _ => return Err(Reason::NotIp),
            }
        }
    }

    /// `is_whole`: it is as long as it says; else quoted.
    fn of_ipv4(ip: &'a [u8], start: usize, is_whole: bool) -> Result<Packet<'a>, Reason> {
        if ip.len() < 20 {
            return Err(Reason::Truncated);
        }
        if ip[0] >> 4 != 4 {
            return Err(Reason::Malformed);
        }
        let (header, total) = (usize::from(ip[0] & 15) * 4, usize::from(be(ip, 2)));
        if header < 20 {
            return Err(Reason::BadHeaderLength);
        }
        let ip = if is_whole {
            if total > ip.len() {
                return Err(Reason::BadTotalLength);
            }
            if total < header {
                return Err(Reason::BadHeaderLength);
            }
            &ip[..total]
        } else {
            ip
        };
        let addr = |at| IpAddr::V4(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
        let (src, dst, proto) = (addr(12), addr(16), ip[9]);
        let (offset, more) = (be(ip, 6) & 0x1fff, be(ip, 6) & 0x2000 != 0);
        let id = u32::from(be(ip, 4));
        let packet = PacketId {
            src,
            dst,
            id,
            proto,
        };
        let options = &ip[20..header.min(ip.len())];
        Ok(Packet {
            start,
            bytes: ip,
            src,
            dst,
            ttl: ip[8],
            dont_fragment: ip[6] & 0x40 != 0,
            proto,
            l4: ip.get(header..).unwrap_or_default(),
            fragment: (offset != 0 || more).then_some(Fragment {
                packet,
                is_first: offset == 0,
            }),
            is_source_routed: is_source_routed(options),
        })
    }

    fn of_ipv6(ip: &'a [u8], start: usize, is_whole: bool) -> Result<Packet<'a>, Reason> {
        if ip.len() < 40 {
            return Err(Reason::Truncated);
        }
        if ip[0] >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let total = 40 + usize::from(be(ip, 4));
        let ip = if is_whole {
            ip.get(..total).ok_or(Reason::BadTotalLength)?
        } else {
            ip
        };
        let addr = |at: usize| {
            let bytes: [u8; 16] = ip[at..at + 16].try_into().expect("16 bytes");
            IpAddr::V6(Ipv6Addr::from(bytes))
        };
        let mut out = Packet {
            start,
            bytes: ip,
            src: addr(8),
            dst: addr(24),
            ttl: ip[7],
            dont_fragment: true,
            proto: ip[6],
            l4: &ip[40..],
            fragment: None,
            is_source_routed: false,
        };
        for seen in 0.. {
            let (number, head) = (out.proto, out.l4);
            if !matches!(
                number,
                HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS
            ) {
                break;
            }
            if seen == MAX_EXTENSIONS {
                return Err(Reason::ExtensionHeaders);
            }
            if head.len() < 8 {
                return Err(Reason::Truncated);
            }
            let len = match number {
                FRAGMENT => 8,
                _ => 8 + 8 * usize::from(head[1]),
            };
            out.proto = head[0];
            out.l4 = head.get(len..).ok_or(Reason::Truncated)?;
            if number == ROUTING && head[2] == 0 {
                out.is_source_routed = true;
            }
            if number == FRAGMENT {
                let (offset, more) = (be(head, 2) >> 3, head[3] & 1 != 0);
                let packet = PacketId {
                    src: out.src,
                    dst: out.dst,
                    id: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
                    proto: 0,
                };
                if offset != 0 || more {
                    out.fragment = Some(Fragment {
                        packet,
                        is_first: offset == 0,
                    });
                }
                if offset != 0 {
                    // What follows is the middle of something.
                    break;
                }
            }
        }
        Ok(out)
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.src.is_ipv4()
    }

    pub(crate) fn is_icmp(&self) -> bool {
        self.proto == if self.is_v4() { ICMP } else { ICMP6 }
    }

    pub(crate) fn has_ports(&self) -> bool {
        matches!(self.proto, TCP | UDP | SCTP)
    }

    pub(crate) fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_first)
    }

    /// Source and destination port.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        Some((word(self.l4, 0)?, word(self.l4, 2)?))
    }

    /// The packet that an ICMP error is about, as far as it is quoted; `None`: it is no error, or
    /// about nothing that can be a service's.
    pub(crate) fn quote(&self) -> Result<Option<Packet<'a>>, Reason> {
        if self.fragment.is_some() || self.l4.len() < 8 {
            return Ok(None);
        }
        let is_error = if self.is_v4() {
            // Destination unreachable, time exceeded, parameter problem.
            matches!(self.l4[0], 3 | 11 | 12)
        } else {
            // And packet too big.
            matches!(self.l4[0], 1..=4)
        };
        if !is_error {
            return Ok(None);
        }
        let quoted = if self.is_v4() {
            Self::of_ipv4(&self.l4[8..], 0, false)?
        } else {
            Self::of_ipv6(&self.l4[8..], 0, false)?
        };
        // Only the VIP's own packets are a service's.
        if !quoted.has_ports() || quoted.is_later_fragment() || quoted.src != self.dst {
            return Ok(None);
        }
        Ok(Some(quoted))
    }
}

/// Whether IP options say where to go: LSRR or SSRR, before the end or an option that cannot be.
fn is_source_routed(mut options: &[u8]) -> bool {
    loop {
        match *options {
            [] | [0, ..] => return false,
            [131 | 137, ..] => return true,
            [1, ref rest @ ..] => options = rest,
            [_, len, ..] if len >= 2 && usize::from(len) <= options.len() => {
                options = &options[usize::from(len)..];
            }
            _ => return false,
        }
    }
}

fn be(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    (bytes.len() >= at + 2).then(|| be(bytes, at))
}
