//! One service whose real servers are reached in every way, and frames for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use etherparse::PacketBuilder;
use lb_common::maps::{
    BACKEND_RESOLVED, Backend, Forward, REMOTE_CHECKSUM, REMOTE_V6, Remote, Sched, ServiceSlot,
    prepared, service_key,
};
use lb_tests::dataplane::{Director, IFINDEX};

pub(crate) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
pub(crate) const OUT_MAC: [u8; 6] = [2, 0xbb, 0, 0, 0, 1];
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(crate) const PORT: u16 = 80;
pub(crate) const GUE_PORT: u16 = 6080;
pub(crate) const BACKEND: u16 = 1;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) forward: Forward,
    pub(crate) checksum: bool,
    /// Whether the server's own address is IPv6.
    pub(crate) v6: bool,
}

impl Way {
    pub(crate) const DIRECT: Way = Way {
        forward: Forward::Direct,
        checksum: false,
        v6: false,
    };

    /// All tunnels.
    pub(crate) fn tunnels() -> Vec<Way> {
        let mut ways = Vec::new();
        for v6 in [false, true] {
            for (forward, checksum) in [
                (Forward::Ipip, false),
                (Forward::Gue, false),
                (Forward::Gue, true),
                (Forward::Gre, false),
                (Forward::Gre, true),
            ] {
                ways.push(Way {
                    forward,
                    checksum,
                    v6,
                });
            }
        }
        ways
    }

    /// Both ends of the tunnel.
    pub(crate) fn ends(self) -> (IpAddr, IpAddr) {
        if self.v6 {
            (
                "2001:db8:1::a".parse().expect("an address"),
                "2001:db8:2::b".parse().expect("an address"),
            )
        } else {
            (
                "203.0.113.5".parse().expect("an address"),
                "203.0.113.250".parse().expect("an address"),
            )
        }
    }

    /// What the tunnel adds to a packet, by the RFCs.
    pub(crate) fn overhead(self) -> usize {
        let outer = if self.v6 { 40 } else { 20 };
        match (self.forward, self.checksum) {
            (Forward::Direct, _) => 0,
            (Forward::Ipip, _) => outer,
            (Forward::Gue, _) => outer + 8 + 4,
            (Forward::Gre, false) => outer + 4,
            (Forward::Gre, true) => outer + 8,
        }
    }
}

fn words(addr: IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(v4) => [u32::from_ne_bytes(v4.octets()), 0, 0, 0],
        IpAddr::V6(v6) => words_v6(v6),
    }
}

pub(crate) fn words_v6(addr: Ipv6Addr) -> [u32; 4] {
    let octets = addr.octets();
    std::array::from_fn(|i| {
        let mut word = [0; 4];
        word.copy_from_slice(&octets[4 * i..4 * i + 4]);
        u32::from_ne_bytes(word)
    })
}

/// A director with the one server.
pub(crate) fn director(way: Way, mtu: u16) -> Result<Director> {
    let mut director = Director::load(64)?;
    director.set_iface(IFINDEX, OWN, &[])?;
    set_way(&director, way, mtu);
    for (id, proto) in [(1, 6), (2, 17)] {
        let slot = ServiceSlot {
            key: service_key(u32::from_ne_bytes(VIP.octets()), PORT.to_be(), proto),
            id,
            sched: Sched::SourceHash as u8,
            ..ServiceSlot::default()
        };
        director.set_service(slot, &[BACKEND + id - 1])?;
    }
    Ok(director)
}

/// Reaches the server in another way.
pub(crate) fn set_way(director: &Director, way: Way, mtu: u16) {
    let (source, addr) = way.ends();
    let mut flags = 0;
    if way.v6 {
        flags |= REMOTE_V6;
    }
    if way.checksum {
        flags |= REMOTE_CHECKSUM;
    }
    for service in [1, 2] {
        let index = BACKEND + service - 1;
        let backend = Backend {
            dmac: SERVER_MAC,
            smac: OUT_MAC,
            ifindex: IFINDEX,
            flags: BACKEND_RESOLVED,
            service,
            mtu,
            ..Backend::default()
        };
        let remote = Remote {
            addr: words(addr),
            source: words(source),
            flags,
            tunnel_port: GUE_PORT.to_be(),
            ..Remote::default()
        };
        director.set_remote(index, remote);
        director.set_backend(index, prepared(backend, &remote, way.forward));
    }
}

/// A TCP segment or UDP datagram for the VIP with so many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) port: u16,
    pub(crate) tcp: bool,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) df: bool,
    pub(crate) payload: usize,
    /// Bytes behind the packet, as short frames have them.
    pub(crate) padding: usize,
}

impl Default for Sample {
    fn default() -> Sample {
        Sample {
            port: 40000,
            tcp: true,
            tos: 0,
            ttl: 64,
            df: true,
            payload: 100,
            padding: 0,
        }
    }
}

impl Sample {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut ip = etherparse::Ipv4Header::new(
            0,
            self.ttl,
            etherparse::IpNumber::TCP,
            CLIENT.octets(),
            VIP.octets(),
        )
        .expect("a header");
        ip.identification = 0x1234;
        ip.dont_fragment = self.df;
        ip.dscp = etherparse::IpDscp::try_new(self.tos >> 2).expect("six bits");
        ip.ecn = etherparse::IpEcn::try_new(self.tos & 3).expect("two bits");
        let builder = PacketBuilder::ethernet2(ROUTER, OWN)
            .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()));
        let payload: Vec<u8> = (0..self.payload).map(|i| (i * 37 + 11) as u8).collect();
        let mut frame = Vec::new();
        if self.tcp {
            let tcp = builder.tcp(self.port, PORT, 7, 1000).syn();
            tcp.write(&mut frame, &payload).expect("a frame");
        } else {
            let udp = builder.udp(self.port, PORT);
            udp.write(&mut frame, &payload).expect("a frame");
        }
        frame.extend(std::iter::repeat_n(0xee, self.padding));
        frame
    }
}

/// The Internet checksum of all that, 0 when it contains its own right checksum.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
