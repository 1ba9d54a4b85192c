//! Frames of every kind, field by field; each field may be set to something wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const PEER: [u8; 6] = [2, 0, 0, 0, 0, 3];
/// Of another host, to which a switch floods.
pub(crate) const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 9];

pub(crate) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
pub(crate) const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub(crate) const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(
    0x2001, 0xdb8, 0xc, 0x11e, 0x1234, 0x5678, 0x9abc, 0xdef0,
));
/// The client's port unless a row says otherwise.
pub(crate) const CLIENT_PORT: u16 = 40_000;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMP6: u8 = 58;

/// 802.1Q.
pub(crate) const VLAN: u16 = 0x8100;
/// 802.1ad.
pub(crate) const SERVICE_VLAN: u16 = 0x88a8;

/// IPv6 extension headers.
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

pub(crate) use lb_common::tcp::{ACK, FIN, RST, SYN};

/// What the IP packet carries.
#[derive(Clone, Debug)]
pub(crate) enum L4 {
    Tcp {
        flags: u8,
        options: Vec<u8>,
    },
    Udp,
    /// SCTP whose first chunk has this type.
    Sctp {
        chunk: u8,
    },
    /// ICMP or ICMPv6, as the family is.
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// Any other protocol: what stands before the payload.
    Other {
        proto: u8,
        head: Vec<u8>,
    },
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) dmac: [u8; 6],
    pub(crate) smac: [u8; 6],
    /// VLAN tags: ethertype and tag control information.
    pub(crate) tags: Vec<(u16, u16)>,
    /// Instead of the one that fits.
    pub(crate) ethertype: Option<u16>,
    pub(crate) from: (IpAddr, u16),
    pub(crate) to: (IpAddr, u16),
    pub(crate) tos: u8,
    /// Identification.
    pub(crate) id: u32,
    pub(crate) dont_fragment: bool,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// IPv6 extension headers: number, and what follows their first two bytes (6, 14, ... bytes).
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) l4: L4,
    pub(crate) payload: Vec<u8>,
    /// A fragment: it has these bytes of what follows the IP header.
    pub(crate) part: Option<std::ops::Range<usize>>,
    /// Bytes of the IP header that are set to this, before its checksum is made.
    pub(crate) header_patch: Vec<(usize, u8)>,
    /// Whether TCP and UDP have a checksum.
    pub(crate) has_checksum: bool,
    /// Added to the IP packet's length field.
    pub(crate) length_error: i32,
    /// The frame is cut to this.
    pub(crate) cut: Option<usize>,
    /// Bytes behind the IP packet.
    pub(crate) padding: usize,
}

/// TCP from [`CLIENT`] to the [`VIP`].
pub(crate) fn tcp(port: u16, flags: u8) -> Frame {
    let l4 = L4::Tcp {
        flags,
        options: Vec::new(),
    };
    Frame::new(CLIENT, (VIP, port), l4)
}

/// UDP from [`CLIENT`] to the [`VIP`], twelve bytes.
pub(crate) fn udp(port: u16) -> Frame {
    Frame::new(CLIENT, (VIP, port), L4::Udp).payload(12)
}

/// The same from [`CLIENT6`] to [`VIP6`].
pub(crate) fn v6(frame: Frame) -> Frame {
    frame.from(CLIENT6, CLIENT_PORT).to(VIP6)
}

// Types of SCTP chunks (RFC 9260, 3.2).
pub(crate) const INIT: u8 = 1;
pub(crate) const ABORT: u8 = 6;
pub(crate) const SHUTDOWN: u8 = 7;
pub(crate) const SHUTDOWN_ACK: u8 = 8;
pub(crate) const ERROR: u8 = 9;
pub(crate) const COOKIE_ECHO: u8 = 10;
pub(crate) const COOKIE_ACK: u8 = 11;
pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;

/// SCTP from [`CLIENT`] to the [`VIP`].
pub(crate) fn sctp(port: u16, chunk: u8) -> Frame {
    Frame::new(CLIENT, (VIP, port), L4::Sctp { chunk }).payload(16)
}

/// ICMP or ICMPv6 to the VIP of that family; `from` is what follows the header.
pub(crate) fn icmp(from: IpAddr, kind: u8, code: u8, rest: [u8; 4]) -> Frame {
    let vip = if from.is_ipv6() { VIP6 } else { VIP };
    Frame::new(from, (vip, 0), L4::Icmp { kind, code, rest })
}

/// A router's ICMP message to the VIP about a packet that the VIP's server sent, of which it quotes
/// the first `len` bytes.
pub(crate) fn icmp_about(kind: u8, code: u8, sent: &Frame, len: usize) -> Frame {
    let router = match sent.from.0 {
        IpAddr::V4(_) => v4(198, 51, 100, 9),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 9)),
    };
    let mut quote = sent.packet();
    quote.truncate(len);
    icmp(router, kind, code, [0, 0, 5, 0x78]).with(|f| f.payload = quote)
}

/// Another protocol from [`CLIENT`] to the [`VIP`].
pub(crate) fn other(proto: u8, head: &[u8]) -> Frame {
    let head = head.to_vec();
    Frame::new(CLIENT, (VIP, 0), L4::Other { proto, head })
}

impl Frame {
    fn new(from: IpAddr, to: (IpAddr, u16), l4: L4) -> Frame {
        Frame {
            dmac: OWN,
            smac: ROUTER,
            tags: Vec::new(),
            ethertype: None,
            from: (from, CLIENT_PORT),
            to,
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
            ttl: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            l4,
            payload: Vec::new(),
            part: None,
            header_patch: Vec::new(),
            has_checksum: true,
            length_error: 0,
            cut: None,
            padding: 0,
        }
    }

    /// The same with a change.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Frame)) -> Frame {
        change(&mut self);
        self
    }

    pub(crate) fn from(self, addr: IpAddr, port: u16) -> Frame {
        self.with(|f| f.from = (addr, port))
    }

    pub(crate) fn to(self, addr: IpAddr) -> Frame {
        self.with(|f| f.to.0 = addr)
    }

    /// From the server back to the client.
    pub(crate) fn reversed(self) -> Frame {
        self.with(|f| std::mem::swap(&mut f.from, &mut f.to))
    }

    /// One more VLAN tag, behind those that are there.
    pub(crate) fn tag(self, ethertype: u16, control: u16) -> Frame {
        self.with(|f| f.tags.push((ethertype, control)))
    }

    /// One more IPv6 extension header: what follows its first two bytes.
    pub(crate) fn extension(self, number: u8, body: &[u8]) -> Frame {
        assert_eq!(body.len() % 8, 6);
        self.with(|f| f.extensions.push((number, body.to_vec())))
    }

    pub(crate) fn dmac(self, mac: [u8; 6]) -> Frame {
        self.with(|f| f.dmac = mac)
    }

    pub(crate) fn smac(self, mac: [u8; 6]) -> Frame {
        self.with(|f| f.smac = mac)
    }

    pub(crate) fn ethertype(self, ethertype: u16) -> Frame {
        self.with(|f| f.ethertype = Some(ethertype))
    }

    pub(crate) fn ttl(self, ttl: u8) -> Frame {
        self.with(|f| f.ttl = ttl)
    }

    pub(crate) fn tos(self, tos: u8) -> Frame {
        self.with(|f| f.tos = tos)
    }

    pub(crate) fn options(self, options: &[u8]) -> Frame {
        self.with(|f| f.options = options.to_vec())
    }

    /// TCP options, a multiple of four bytes.
    pub(crate) fn tcp_options(self, bytes: &[u8]) -> Frame {
        self.with(|f| match &mut f.l4 {
            L4::Tcp { options, .. } => *options = bytes.to_vec(),
            L4::Udp | L4::Sctp { .. } | L4::Icmp { .. } | L4::Other { .. } => panic!("no TCP"),
        })
    }

    /// Without a UDP checksum.
    pub(crate) fn without_checksum(self) -> Frame {
        self.with(|f| f.has_checksum = false)
    }

    /// That many bytes behind the headers.
    pub(crate) fn payload(self, len: usize) -> Frame {
        self.with(|f| f.payload = (0..len).map(|i| (i * 7 + 1) as u8).collect())
    }

    /// The fragment that has these bytes of what follows the IP header; it starts at a multiple of
    /// eight.
    pub(crate) fn part(self, bytes: std::ops::Range<usize>) -> Frame {
        self.with(|f| {
            f.dont_fragment = false;
            f.part = Some(bytes);
        })
    }

    /// Byte `at` of the IP header; its checksum is right.
    pub(crate) fn patch_header(self, at: usize, byte: u8) -> Frame {
        self.with(|f| f.header_patch.push((at, byte)))
    }

    pub(crate) fn length_error(self, error: i32) -> Frame {
        self.with(|f| f.length_error = error)
    }

    pub(crate) fn cut(self, len: usize) -> Frame {
        self.with(|f| f.cut = Some(len))
    }

    pub(crate) fn padding(self, len: usize) -> Frame {
        self.with(|f| f.padding = len)
    }

    /// The protocol number.
    pub(crate) fn proto(&self) -> u8 {
        match self.l4 {
            L4::Tcp { .. } => TCP,
            L4::Udp => UDP,
            L4::Sctp { .. } => SCTP,
            L4::Icmp { .. } if self.to.0.is_ipv6() => ICMP6,
            L4::Icmp { .. } => ICMP,
            L4::Other { proto, .. } => proto,
        }
    }

    /// TCP or UDP header and payload, whole, with a right checksum.
    fn l4_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let checksum_at = match &self.l4 {
            L4::Tcp { flags, options } => {
                out.extend(self.from.1.to_be_bytes());
                out.extend(self.to.1.to_be_bytes());
                out.extend(0x0102_0304u32.to_be_bytes());
                out.extend(0x1112_1314u32.to_be_bytes());
                out.extend([((20 + options.len()) / 4) as u8 * 16, *flags, 0x20, 0]);
                out.extend([0; 4]);
                out.extend(options);
                Some(16)
            }
            L4::Udp => {
                out.extend(self.from.1.to_be_bytes());
                out.extend(self.to.1.to_be_bytes());
                out.extend((8 + self.payload.len() as u16).to_be_bytes());
                out.extend([0; 2]);
                Some(6)
            }
            L4::Sctp { chunk } => {
                out.extend(self.from.1.to_be_bytes());
                out.extend(self.to.1.to_be_bytes());
                out.extend(0xa1b2_c3d4u32.to_be_bytes());
                // The checksum covers nothing that forwarding changes: any will do.
                out.extend(0x0bad_5eedu32.to_be_bytes());
                out.extend([*chunk, 0]);
                out.extend((4 + self.payload.len() as u16).to_be_bytes());
                None
            }
            L4::Icmp { kind, code, rest } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(rest);
                Some(2)
            }
            L4::Other { head, .. } => {
                out.extend(head);
                None
            }
        };
        out.extend(&self.payload);
        if let Some(at) = checksum_at
            && self.has_checksum
        {
            let mut sum = match self.proto() {
                ICMP => Vec::new(),
                _ => self.pseudo_header(out.len()),
            };
            sum.extend(&out);
            let sum = match checksum(&sum) {
                0 if matches!(self.l4, L4::Udp) => 0xffff,
                sum => sum,
            };
            out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }

    fn pseudo_header(&self, len: usize) -> Vec<u8> {
        let mut out = octets(self.from.0);
        out.extend(octets(self.to.0));
        out.extend((len as u32).to_be_bytes());
        out.extend([0, 0, 0, self.proto()]);
        out
    }

    /// The IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let whole = self.l4_bytes();
        let (offset, more, l4) = match &self.part {
            Some(part) => (part.start, part.end < whole.len(), &whole[part.clone()]),
            None => (0, false, &whole[..]),
        };
        assert_eq!(offset % 8, 0, "a fragment starts at a multiple of eight");
        let mut out = match self.to.0 {
            IpAddr::V4(_) => self.ipv4_header(offset, more, l4.len()),
            IpAddr::V6(_) => self.ipv6_header(offset, more, l4.len()),
        };
        out.extend(l4);
        out
    }

    fn ipv6_header(&self, offset: usize, more: bool, len: usize) -> Vec<u8> {
        let mut numbers: Vec<u8> = self.extensions.iter().map(|&(number, _)| number).collect();
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        for (_, body) in &self.extensions {
            let mut bytes = vec![(body.len() / 8) as u8];
            bytes.extend(body);
            bodies.push(bytes);
        }
        if self.part.is_some() {
            numbers.push(FRAGMENT);
            let mut bytes = vec![0];
            bytes.extend((offset as u16 | u16::from(more)).to_be_bytes());
            bytes.extend(self.id.to_be_bytes());
            bodies.push(bytes);
        }
        numbers.push(self.proto());
        let extensions: usize = bodies.iter().map(|body| 1 + body.len()).sum();
        let length = (extensions + len) as i32 + self.length_error;
        let mut out = (0x600a_bcde | u32::from(self.tos) << 20)
            .to_be_bytes()
            .to_vec();
        out.extend((length as u16).to_be_bytes());
        out.extend([numbers[0], self.ttl]);
        out.extend(octets(self.from.0));
        out.extend(octets(self.to.0));
        for &(at, byte) in &self.header_patch {
            out[at] = byte;
        }
        for (next, body) in numbers[1..].iter().zip(bodies) {
            out.push(*next);
            out.extend(body);
        }
        out
    }

    fn ipv4_header(&self, offset: usize, more: bool, len: usize) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total = (header_len + len) as i32 + self.length_error;
        let fragment =
            u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | (offset / 8) as u16;
        let mut out = vec![0x40 | (header_len / 4) as u8, self.tos];
        out.extend((total as u16).to_be_bytes());
        out.extend((self.id as u16).to_be_bytes());
        out.extend(fragment.to_be_bytes());
        out.extend([self.ttl, self.proto(), 0, 0]);
        out.extend(octets(self.from.0));
        out.extend(octets(self.to.0));
        out.extend(&self.options);
        for &(at, byte) in &self.header_patch {
            out[at] = byte;
        }
        let sum = checksum(&out);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.dmac);
        out.extend(self.smac);
        for (ethertype, control) in &self.tags {
            out.extend(ethertype.to_be_bytes());
            out.extend(control.to_be_bytes());
        }
        let fitting = if self.to.0.is_ipv6() { 0x86dd } else { 0x0800 };
        out.extend(self.ethertype.unwrap_or(fitting).to_be_bytes());
        out.extend(self.packet());
        out.extend(std::iter::repeat_n(0xee, self.padding));
        if let Some(len) = self.cut {
            out.truncate(len);
        }
        out
    }
}

/// The bytes of an address.
pub(crate) fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// An address as the maps have it: as in the packet; IPv4 in the first word.
pub(crate) fn words(addr: IpAddr) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets(addr).chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

/// An IPv4 address as in the packet.
pub(crate) fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&byte| u32::from(byte)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
