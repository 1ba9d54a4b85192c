//! What the frame out must be, byte by byte.

use lb_common::maps::Forward;

use super::frame::{ICMP, ICMP6, UDP, checksum, octets};
use super::packet::Packet;
use super::world::{GUE_PORT, Server};

const IPIP: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;

fn shim_len(server: &Server) -> usize {
    match (server.forward, server.has_checksum) {
        (Forward::Direct | Forward::Ipip, _) => 0,
        (Forward::Gue, _) => 12,
        (Forward::Gre, false) => 4,
        (Forward::Gre, true) => 8,
    }
}

/// How many bytes a packet grows by on its way to the server.
pub(crate) fn overhead(server: &Server) -> usize {
    match server.forward {
        Forward::Direct => 0,
        Forward::Ipip | Forward::Gue | Forward::Gre => {
            shim_len(server) + if server.over_v6 { 40 } else { 20 }
        }
    }
}

/// The frame forwarded to a server. What may be anything is taken from `out`.
pub(crate) fn forwarded(frame: &[u8], packet: &Packet<'_>, server: &Server, out: &[u8]) -> Vec<u8> {
    let mut forwarded = frame.to_vec();
    forwarded[..6].copy_from_slice(&server.dmac());
    forwarded[6..12].copy_from_slice(&server.smac());
    lower_ttl(&mut forwarded[packet.start..]);
    if server.forward == Forward::Direct {
        return forwarded;
    }
    let end = packet.start + packet.bytes.len();
    let inner = &forwarded[packet.start..end];
    let mut tunnelled = forwarded[..packet.start].to_vec();
    let kind: u16 = if server.over_v6 { 0x86dd } else { 0x0800 };
    tunnelled[packet.start - 2..].copy_from_slice(&kind.to_be_bytes());
    tunnelled.extend(encapsulated(
        inner,
        packet,
        server,
        out.get(packet.start..).unwrap_or_default(),
    ));
    tunnelled.extend(&frame[end..]);
    tunnelled
}

/// The outer packet.
fn encapsulated(inner: &[u8], packet: &Packet<'_>, server: &Server, out: &[u8]) -> Vec<u8> {
    let is_v4 = packet.is_v4();
    let inner_proto = if is_v4 { IPIP } else { IPV6 };
    let (tos, ttl) = if is_v4 {
        (inner[1], inner[8])
    } else {
        (inner[0] << 4 | inner[1] >> 4, inner[7])
    };
    let proto = match server.forward {
        Forward::Direct | Forward::Ipip => inner_proto,
        Forward::Gue => UDP,
        Forward::Gre => GRE,
    };
    let len = shim_len(server) + inner.len();
    let (from, to) = server.tunnel();
    let mut head = if server.over_v6 {
        let mut head = vec![0x60 | tos >> 4, tos << 4];
        // The flow label is anything.
        let label = out.get(1..4).unwrap_or(&[0; 3]);
        head[1] |= label[0] & 0x0f;
        head.extend(&label[1..]);
        head.extend((len as u16).to_be_bytes());
        head.extend([proto, ttl]);
        head
    } else {
        let df = is_v4 && packet.dont_fragment;
        let mut head = vec![0x45, tos];
        head.extend((20 + len as u16).to_be_bytes());
        // One that may be cut needs an identification, any.
        let id = if df { None } else { out.get(4..6) };
        head.extend(id.unwrap_or(&[0; 2]));
        head.extend([if df { 0x40 } else { 0 }, 0, ttl, proto, 0, 0]);
        head
    };
    head.extend(octets(from));
    head.extend(octets(to));
    if !server.over_v6 {
        let sum = checksum(&head);
        head[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    match server.forward {
        Forward::Direct | Forward::Ipip => head.extend(inner),
        Forward::Gue => {
            // The source port is the flow's, of those that nobody listens on.
            let port = out.get(head.len()..head.len() + 2).unwrap_or(&[0; 2]);
            let port = u16::from_be_bytes([port[0], port[1]]).max(49152);
            let mut udp = port.to_be_bytes().to_vec();
            udp.extend(GUE_PORT.to_be_bytes());
            udp.extend((len as u16).to_be_bytes());
            udp.extend([0, 0]);
            udp.extend([0, inner_proto, 0, 0]);
            udp.extend(inner);
            if server.has_checksum {
                let mut pseudo = octets(from);
                pseudo.extend(octets(to));
                pseudo.extend((len as u32).to_be_bytes());
                pseudo.extend([0, 0, 0, UDP]);
                pseudo.extend(&udp);
                let sum = match checksum(&pseudo) {
                    0 => 0xffff,
                    sum => sum,
                };
                udp[6..8].copy_from_slice(&sum.to_be_bytes());
            }
            head.extend(udp);
        }
        Forward::Gre => {
            let mut gre = vec![if server.has_checksum { 0x80 } else { 0 }, 0];
            gre.extend(if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] });
            if server.has_checksum {
                gre.extend([0; 4]);
            }
            gre.extend(inner);
            if server.has_checksum {
                let sum = checksum(&gre);
                gre[4..6].copy_from_slice(&sum.to_be_bytes());
            }
            head.extend(gre);
        }
    }
    head
}

/// ICMP "fragmentation needed" (RFC 1191) or ICMPv6 "packet too big" (RFC 4443) from the VIP, back
/// the way the frame came. What may be anything is taken from `out`.
pub(crate) fn told(frame: &[u8], packet: &Packet<'_>, mtu: u16, out: &[u8]) -> Vec<u8> {
    let is_v4 = packet.is_v4();
    // The whole answer is no longer than every host takes.
    let (head_len, longest) = if is_v4 { (28, 576) } else { (48, 1280) };
    let quote = &packet.bytes[..packet.bytes.len().min(longest - head_len)];

    let mut icmp = if is_v4 {
        vec![3, 4, 0, 0, 0, 0]
    } else {
        vec![2, 0, 0, 0, 0, 0]
    };
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(quote);
    let mut summed = Vec::new();
    if !is_v4 {
        summed.extend(octets(packet.dst));
        summed.extend(octets(packet.src));
        summed.extend((icmp.len() as u32).to_be_bytes());
        summed.extend([0, 0, 0, ICMP6]);
    }
    summed.extend(&icmp);
    let sum = checksum(&summed);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());

    // Internetwork control.
    let tos = 0xc0u8;
    let mut ip = if is_v4 {
        let mut ip = vec![0x45, tos];
        ip.extend((20 + icmp.len() as u16).to_be_bytes());
        // Identification and DF are anything.
        let any = out.get(packet.start + 4..packet.start + 8);
        let any = any.unwrap_or(&[0; 4]);
        ip.extend([any[0], any[1], any[2] & 0x40, 0]);
        ip.extend([64, ICMP, 0, 0]);
        ip
    } else {
        let mut ip = vec![0x60 | tos >> 4, tos << 4, 0, 0];
        ip.extend((icmp.len() as u16).to_be_bytes());
        ip.extend([ICMP6, 64]);
        ip
    };
    ip.extend(octets(packet.dst));
    ip.extend(octets(packet.src));
    if is_v4 {
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    let mut told = frame[6..12].to_vec();
    told.extend(&frame[..6]);
    told.extend(&frame[12..packet.start]);
    told.extend(ip);
    told.extend(icmp);
    told
}

/// Takes one from the TTL or hop limit and puts the header checksum right, if it was.
fn lower_ttl(ip: &mut [u8]) {
    if ip[0] >> 4 == 6 {
        ip[7] -= 1;
        return;
    }
    let end = usize::from(ip[0] & 15) * 4;
    let sum = |ip: &[u8]| {
        let mut header = ip[..end].to_vec();
        header[10..12].fill(0);
        checksum(&header)
    };
    let (there, right) = (u16::from_be_bytes([ip[10], ip[11]]), sum(ip));
    ip[8] -= 1;
    // One that was wrong stays as wrong as it was (one's complement arithmetic).
    let after = if there == right {
        sum(ip)
    } else {
        let sum = u32::from(there) + 0x0100;
        (sum + u32::from(sum >= 0xffff)) as u16
    };
    ip[10..12].copy_from_slice(&after.to_be_bytes());
}
