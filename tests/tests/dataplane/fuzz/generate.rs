//! Valid frames of every kind.

use std::net::{IpAddr, Ipv6Addr};

use super::frame::{
    ACK, CLIENT, CLIENT6, DESTINATION_OPTIONS, FIN, Frame, HOP_BY_HOP, OWN, PEER, ROUTING, RST,
    SCTP, SERVICE_VLAN, STRANGER, SYN, TCP, UDP, VLAN, icmp, icmp_about, other, sctp, tcp, udp, v4,
};
use super::world::Service;

/// xorshift64*: the same frames in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

/// Few clients, or the flow table would fill up.
pub(crate) fn client(random: &mut Random, is_v6: bool) -> (IpAddr, u16) {
    let (network, host) = (random.below(4) as u8, random.below(8) as u8);
    let addr = if is_v6 {
        let host = u16::from(host);
        IpAddr::V6(Ipv6Addr::new(
            0x2001,
            0xdb8,
            0xc,
            u16::from(network),
            host << 8,
            0,
            0x1234,
            host,
        ))
    } else {
        v4(10, 0, network, host)
    };
    (addr, 1024 + random.below(16) as u16)
}

/// A packet of a service's client, as it should be.
fn plain(random: &mut Random, service: &Service) -> Frame {
    let is_v6 = service.vip.is_ipv6();
    let (client, client_port) = client(random, is_v6);
    let port = if service.port == 0 {
        random.pick(&[1, 22, 443, 8080])
    } else {
        service.port
    };
    let frame = match service.proto {
        TCP => {
            let flags = random.pick(&[
                SYN,
                SYN,
                ACK,
                ACK,
                ACK | 8,
                FIN | ACK,
                RST,
                RST | ACK,
                SYN | ACK,
                SYN | RST,
                SYN | FIN,
                0,
            ]);
            tcp(port, flags)
        }
        UDP => udp(port),
        SCTP => {
            let chunk = random.pick(&[0, 0, 1, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 15, 0xc0]);
            sctp(port, chunk)
        }
        proto => unreachable!("a service of protocol {proto}"),
    };
    let len = match random.below(32) {
        0 => random.below(1500),
        1 => random.below(3000),
        2..8 if service.servers.iter().any(|server| server.mtu != 0) => 1000 + random.below(500),
        _ => random.below(200),
    };
    frame.from(client, client_port).to(service.vip).payload(len)
}

/// IPv6 extension headers, as many as `n`.
fn extend(random: &mut Random, frame: &mut Frame, n: usize) {
    for _ in 0..n {
        let mut body = vec![1, 4, 0, 0, 0, 0];
        if random.one_in(4) {
            body.extend([1, 6, 0, 0, 0, 0, 0, 0]);
        }
        let number = random.pick(&[
            HOP_BY_HOP,
            DESTINATION_OPTIONS,
            DESTINATION_OPTIONS,
            ROUTING,
        ]);
        if number == ROUTING {
            // Its type and how many segments are left.
            body[0] = random.pick(&[0, 2, 3, 4]);
            body[1] = random.pick(&[0, 1]);
        }
        frame.extensions.push((number, body));
    }
}

/// IPv4 options.
fn options(random: &mut Random) -> Vec<u8> {
    match random.below(5) {
        0 => vec![131, 7, 4, 10, 0, 0, 9, 0],
        1 => vec![1, 137, 7, 4, 10, 0, 0, 9],
        2 => vec![0, 131, 7, 4],
        3 => vec![148, 4, 0, 0, 131, 3, 4, 0],
        _ => vec![1; 4 * (1 + random.below(10))],
    }
}

/// A valid frame of any kind; `n` tells the packets of different times apart.
pub(crate) fn valid(random: &mut Random, services: &[Service], n: u32) -> Frame {
    let service = &services[random.below(services.len())];
    let mut frame = plain(random, service);
    let is_v6 = service.vip.is_ipv6();
    if random.one_in(16) {
        frame.ttl = random.pick(&[0, 1, 2, 255]);
    }
    if random.one_in(16) {
        frame.smac = PEER;
    }
    if random.one_in(16) {
        frame.dmac = random.pick(&[
            STRANGER,
            [0, 0, 0x5e, 0, 1, 9],
            [0, 0, 0x5e, 0, 2, 9],
            [0, 0, 0x5e, 0, 1, 10],
            [0, 0, 0x5e, 0, 3, 9],
            [0xff; 6],
        ]);
    }
    if random.one_in(8) {
        frame.tos = random.next() as u8;
    }
    if random.one_in(4) {
        frame.dont_fragment = false;
    }
    if random.one_in(32) {
        frame.from.0 = frame.to.0;
    }
    if random.one_in(32) {
        frame.to.1 = 7;
    }
    if random.one_in(64) {
        frame.from.0 = if is_v6 {
            random.pick(&[
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
            ])
        } else {
            random.pick(&[
                v4(0, 0, 0, 0),
                v4(127, 0, 0, 1),
                v4(224, 0, 0, 1),
                v4(255, 255, 255, 255),
            ])
        };
    }
    if random.one_in(64) {
        frame.has_checksum = false;
    }
    if random.one_in(16) {
        frame.padding = random.below(64);
    }
    // Few enough that a later fragment often has its first one, and none of seconds ago.
    frame.id = n >> 10 << 2 | random.below(4) as u32;
    match random.below(16) {
        0 | 1 => fragment(random, &mut frame),
        2 => frame = about(random, frame),
        3 if random.one_in(4) => {
            let about = frame.from.0;
            frame = if random.one_in(2) {
                icmp(
                    about,
                    random.pick(&[0, 5, 8, 13, 128, 129, 135]),
                    0,
                    [0, 1, 0, 2],
                )
                .payload(56)
            } else {
                other(random.pick(&[0, 2, 47, 50, 51, 58, 59, 89]), &[1; 24])
                    .from(about, 0)
                    .to(frame.to.0)
            };
        }
        _ => {}
    }
    if is_v6 && random.one_in(8) {
        let n = match random.below(8) {
            0 => 5 + random.below(4),
            _ => 1 + random.below(2),
        };
        extend(random, &mut frame, n);
    }
    if !is_v6 && random.one_in(8) {
        frame.options = options(random);
    }
    if random.one_in(8) {
        for _ in 0..random.pick(&[1, 1, 1, 2, 2, 3]) {
            let tag = (random.pick(&[VLAN, SERVICE_VLAN]), random.next() as u16);
            frame.tags.push(tag);
        }
    }
    frame
}

/// Makes it a fragment of itself.
fn fragment(random: &mut Random, frame: &mut Frame) {
    frame.payload = vec![0x5a; 256];
    // Of one client, so that fragments meet.
    frame.from = if frame.to.0.is_ipv6() {
        (CLIENT6, 1024)
    } else {
        (CLIENT, 1024)
    };
    let start = 8 * random.pick(&[0, 0, 1, 2, 16]);
    let end = start + random.pick(&[8, 24, 64, 128]);
    frame.dont_fragment = false;
    frame.part = Some(start..end);
}

/// An ICMP message about what the service answers to a frame.
fn about(random: &mut Random, frame: Frame) -> Frame {
    let is_v6 = frame.to.0.is_ipv6();
    let mut sent = frame.reversed();
    sent.smac = OWN;
    match random.below(8) {
        0 if is_v6 => extend(random, &mut sent, 1),
        0 => sent.options = options(random),
        1 => sent = sent.payload(256).part(0..64),
        2 => sent = sent.payload(256).part(64..128),
        _ => {}
    }
    let len = match random.below(4) {
        0 => random.below(64),
        1 => 1200,
        _ => 28 + if is_v6 { 20 } else { 0 },
    };
    let kind = if is_v6 {
        random.pick(&[1, 2, 3, 4, 2, 5])
    } else {
        random.pick(&[3, 11, 12, 3, 3, 4, 5])
    };
    let vip = sent.from.0;
    let mut error = icmp_about(kind, random.below(5) as u8, &sent, len).to(vip);
    if random.one_in(16) {
        error.from.0 = vip;
    }
    error
}
