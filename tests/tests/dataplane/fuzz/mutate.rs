//! Frames with something changed, and random bytes.

use super::frame::{
    DESTINATION_OPTIONS, HOP_BY_HOP, ICMP, ICMP6, OWN, PEER, ROUTER, ROUTING, SERVICE_VLAN,
    STRANGER, VLAN, octets,
};
use super::generate::{Random, client, valid};
use super::world::Service;

/// Where an IP packet has the lengths and numbers that lead a reader on.
fn offsets(random: &mut Random, frame: &[u8]) -> usize {
    let mut start = 14;
    while start + 4 <= frame.len() && matches!(frame[start - 2..start], [0x81, 0] | [0x88, 0xa8]) {
        start += 4;
    }
    start
        + if frame[start - 2..start] == [0x86, 0xdd] {
            random.pick(&[0, 4, 5, 6, 6, 7, 40, 40, 41, 42, 43, 48, 49, 50])
        } else {
            random.pick(&[0, 0, 2, 3, 6, 7, 8, 9, 20, 21, 28, 37, 33])
        }
}

/// A valid frame, with up to three things changed; `last` is the one before.
pub(crate) fn mutated(
    random: &mut Random,
    services: &[Service],
    n: u32,
    last: &[u8],
    frame: &mut Vec<u8>,
) {
    *frame = valid(random, services, n).bytes();
    let source = source_bytes(frame);
    for _ in 0..random.below(4) {
        let at = match random.below(3) {
            0 => offsets(random, frame).min(frame.len() - 1),
            1 => random.below(frame.len().min(80)),
            _ => random.below(frame.len()),
        };
        // The client's address is mostly left alone: the table holds so many flows.
        if source.contains(&at) && !random.one_in(16) {
            continue;
        }
        match random.below(9) {
            0 | 1 => frame[at] ^= 1 << random.below(8),
            2 => frame[at] = random.next() as u8,
            3 => {
                frame[at] = random.pick(&[
                    0, 1, 4, 6, 0x2c, 0x3c, 0x2b, 0x7f, 0x80, 0xff, 132, 17, 58, 0x45, 0x4f,
                ]);
            }
            4 => frame[at] = frame[at].wrapping_add(random.pick(&[1, 255, 4, 8])),
            5 if at >= 14 => frame.truncate(at),
            6 => frame.extend_from_slice(&[0; 7][..random.below(7)]),
            7 if last.len() > at && at >= 14 => {
                frame.truncate(at);
                frame.extend_from_slice(&last[at..]);
            }
            _ => {}
        }
    }
    frame.truncate(3400);
}

/// Where the client's address and port are, if there is neither a tag nor an option.
fn source_bytes(frame: &[u8]) -> std::ops::Range<usize> {
    match frame[12..14] {
        [0x86, 0xdd] => 22..38,
        _ => 26..30,
    }
}

/// Random bytes, most of them behind as much of a header as lets them get past the first look.
pub(crate) fn random_bytes(random: &mut Random, services: &[Service], n: u32, frame: &mut Vec<u8>) {
    let len = if random.one_in(50) {
        14 + random.below(1500)
    } else {
        14 + random.below(140)
    };
    frame.resize(len, 0);
    random.fill(frame);
    // What stands where: one part of the time the next layer is random too.
    let depth = random.below(8);
    let mut at = 12;
    while random.one_in(6) {
        put(frame, at, &random.pick(&[VLAN, SERVICE_VLAN]).to_be_bytes());
        at += 4;
    }
    if depth == 0 {
        return;
    }
    if depth >= 6 {
        frame[..6].copy_from_slice(&random.pick(&[OWN, OWN, OWN, STRANGER]));
        frame[6..12].copy_from_slice(&random.pick(&[ROUTER, ROUTER, ROUTER, PEER]));
    }
    let service = &services[random.below(services.len())];
    let is_v6 = service.vip.is_ipv6();
    let ip = at + 2;
    put(frame, at, &if is_v6 { [0x86, 0xdd] } else { [8, 0] });
    let rest = frame.len().saturating_sub(ip);
    let total = if random.one_in(3) {
        random.below(len)
    } else {
        rest
    };
    let proto = match random.below(6) {
        0 if is_v6 => ICMP6,
        0 => ICMP,
        1 if is_v6 => random.pick(&[HOP_BY_HOP, ROUTING, 44, DESTINATION_OPTIONS]),
        _ => service.proto,
    };
    let (client, client_port) = client(random, is_v6);
    let header = if is_v6 {
        if depth >= 2 {
            put(frame, ip, &[0x60]);
            put(
                frame,
                ip + 4,
                &(total.saturating_sub(40) as u16).to_be_bytes(),
            );
            put(frame, ip + 6, &[proto]);
        }
        if depth >= 3 {
            put(frame, ip + 8, &octets(client));
            put(frame, ip + 24, &octets(service.vip));
        }
        40
    } else {
        let words = random.pick(&[5, 5, 5, 6, 15, 4]);
        if depth >= 2 {
            put(frame, ip, &[0x40 | words]);
            put(frame, ip + 2, &(total as u16).to_be_bytes());
            put(frame, ip + 4, &((n >> 10) as u16).to_be_bytes());
            let part = random.pick(&[0, 0, 0, 0, 0, 0x2000, 0x2001, 1]);
            put(frame, ip + 6, &u16::to_be_bytes(part));
            put(frame, ip + 9, &[proto]);
        }
        if depth >= 3 {
            put(frame, ip + 12, &octets(client));
            put(frame, ip + 16, &octets(service.vip));
        }
        usize::from(words) * 4
    };
    if depth < 4 {
        return;
    }
    let mut l4 = ip + header;
    match proto {
        HOP_BY_HOP | ROUTING | 44 | DESTINATION_OPTIONS => {
            put(
                frame,
                l4,
                &[
                    service.proto,
                    random.pick(&[0, 0, 1]),
                    0,
                    random.pick(&[0, 1]),
                ],
            );
            l4 += 8;
        }
        ICMP | ICMP6 => {
            // About a packet of the VIP, whose client is this one.
            put(frame, l4, &[random.pick(&[1, 2, 3, 3, 11, 8])]);
            l4 += 8;
            let quoted = if is_v6 {
                put(frame, l4, &[0x60]);
                put(frame, l4 + 6, &[service.proto]);
                [l4 + 8, l4 + 24, l4 + 40]
            } else {
                put(frame, l4, &[0x45]);
                put(frame, l4 + 6, &[0, 0]);
                put(frame, l4 + 9, &[service.proto]);
                [l4 + 12, l4 + 16, l4 + 20]
            };
            put(frame, quoted[0], &octets(service.vip));
            put(frame, quoted[1], &octets(client));
            put(frame, quoted[2], &service.port.to_be_bytes());
            put(frame, quoted[2] + 2, &client_port.to_be_bytes());
            return;
        }
        _ => {}
    }
    put(frame, l4, &client_port.to_be_bytes());
    put(frame, l4 + 2, &service.port.to_be_bytes());
}

/// As much of it as the frame is long.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
