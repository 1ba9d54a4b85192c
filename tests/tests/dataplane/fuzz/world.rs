//! The services and servers of the fuzzer: each kind for IPv4 and for IPv6.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;
use lb_common::hash::addr_words;
use lb_common::maps::{
    BACKEND_LOCAL, BACKEND_RESOLVED, Backend, Forward, REMOTE_CHECKSUM, REMOTE_V6, Remote,
    SERVICE_ANY_PORT, SERVICE_COUNTS, SERVICE_EXPIRE_NODEST, SERVICE_LOCAL, SERVICE_ONE_PACKET,
    SERVICE_SLOPPY, SERVICE_TUNNEL, SERVICE_V6, SERVICE_WIDE, Sched, ServiceSlot, prepared,
    service_key, service_key_v6,
};
use lb_common::sched::{SH_SIZE, fill_sh};
use lb_tests::dataplane::{Director, IFINDEX};

use super::frame::{OWN, PEER, SCTP, TCP, UDP, VIP, VIP6, v4, words};

/// The VIPs of the services for any port.
pub(crate) const ANY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
pub(crate) const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
/// The UDP port of GUE.
pub(crate) const GUE_PORT: u16 = 6080;

/// A real server of one service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) index: u16,
    pub(crate) service: u16,
    /// `BACKEND_*` bits.
    pub(crate) flags: u16,
    pub(crate) weight: u16,
    /// Whether another interface leads to it.
    pub(crate) is_elsewhere: bool,
    pub(crate) forward: Forward,
    pub(crate) over_v6: bool,
    pub(crate) has_checksum: bool,
    pub(crate) mtu: u16,
    /// Whether the program counts its connections.
    pub(crate) is_counted: bool,
}

const PLAIN: Server = Server {
    index: 0,
    service: 0,
    flags: BACKEND_RESOLVED,
    weight: 1,
    is_elsewhere: false,
    forward: Forward::Direct,
    over_v6: false,
    has_checksum: false,
    mtu: 0,
    is_counted: false,
};

impl Server {
    pub(crate) fn dmac(&self) -> [u8; 6] {
        let [high, low] = self.index.to_be_bytes();
        [2, 0xaa, 0, 0, high, low]
    }

    pub(crate) fn smac(&self) -> [u8; 6] {
        [2, 0xbb, 0, 0, 0, u8::from(self.is_elsewhere)]
    }

    /// Both ends of its tunnel: this host's, its own.
    pub(crate) fn tunnel(&self) -> (IpAddr, IpAddr) {
        let host = |n: u16| {
            if self.over_v6 {
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, n))
            } else {
                v4(10, 77, (n >> 8) as u8, n as u8)
            }
        };
        (host(0xff00), host(self.index))
    }

    /// Stores it.
    pub(crate) fn put(&self, director: &Director) {
        let backend = Backend {
            dmac: self.dmac(),
            smac: self.smac(),
            ifindex: if self.is_elsewhere { 7 } else { IFINDEX },
            flags: self.flags,
            service: self.service,
            weight: self.weight,
            mtu: self.mtu,
            counted: u8::from(self.is_counted),
            ..Backend::default()
        };
        let (source, addr) = self.tunnel();
        let remote = Remote {
            addr: words(addr),
            source: words(source),
            flags: if self.over_v6 { REMOTE_V6 } else { 0 }
                | if self.has_checksum {
                    REMOTE_CHECKSUM
                } else {
                    0
                },
            tunnel_port: GUE_PORT.to_be(),
            ..Remote::default()
        };
        director.set_remote(self.index, remote);
        director.set_backend(self.index, prepared(backend, &remote, self.forward));
    }
}

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) id: u16,
    pub(crate) vip: IpAddr,
    /// 0: any.
    pub(crate) port: u16,
    pub(crate) proto: u8,
    pub(crate) sched: Sched,
    pub(crate) is_sloppy: bool,
    pub(crate) is_local: bool,
    pub(crate) is_one_packet: bool,
    pub(crate) expires_nodest: bool,
    pub(crate) persists: bool,
    pub(crate) servers: Vec<Server>,
    pub(crate) table: Vec<u16>,
}

impl Service {
    fn slot(&self) -> ServiceSlot {
        let is_v6 = self.vip.is_ipv6();
        let mut flags = 0;
        for (bits, is_set) in [
            (SERVICE_V6 | SERVICE_WIDE, is_v6),
            (SERVICE_ANY_PORT | SERVICE_WIDE, self.port == 0),
            (SERVICE_SLOPPY, self.is_sloppy),
            (SERVICE_LOCAL, self.is_local),
            (SERVICE_ONE_PACKET, self.is_one_packet),
            (SERVICE_EXPIRE_NODEST, self.expires_nodest),
            (SERVICE_COUNTS, self.sched as u8 >= Sched::LeastConn as u8),
            (
                SERVICE_TUNNEL,
                self.servers.iter().any(|s| s.forward != Forward::Direct),
            ),
        ] {
            if is_set {
                flags |= bits;
            }
        }
        let (addr, port) = (words(self.vip), self.port.to_be());
        ServiceSlot {
            key: if is_v6 {
                service_key_v6(addr_words(addr), port, self.proto)
            } else {
                service_key(addr[0], port, self.proto)
            },
            id: self.id,
            sched: self.sched as u8,
            flags,
            persist_ticks: if self.persists { 100_000 } else { 0 },
            // A /24 or a /64 keeps its server.
            persist_mask: if is_v6 {
                64
            } else {
                u32::from_ne_bytes([255, 255, 255, 0])
            },
            addr: if is_v6 { addr } else { [0; 4] },
            ..ServiceSlot::default()
        }
    }
}

/// All services.
pub(crate) fn services() -> Vec<Service> {
    let mut out: Vec<Service> = Vec::new();
    let mut index = 0;
    for is_v6 in [false, true] {
        for mut service in kinds() {
            service.id = out.len() as u16 + 1;
            service.vip = match (service.vip == ANY, is_v6) {
                (false, true) => VIP6,
                (true, true) => ANY6,
                (_, false) => service.vip,
            };
            for server in &mut service.servers {
                // One of them stays below what a link with IPv6 has at least.
                if is_v6 && server.mtu != 0 {
                    server.mtu += 1150;
                }
                index += 1;
                server.index = index;
                server.service = service.id;
                // Where the scheduler looks, and at some where it does not.
                server.is_counted = service.sched as u8 >= Sched::LeastConn as u8 || index % 2 == 0;
            }
            service.table = table(&service);
            out.push(service);
        }
    }
    out
}

fn table(service: &Service) -> Vec<u16> {
    if service.sched == Sched::SourceHash {
        let servers: Vec<(u16, u16)> = service
            .servers
            .iter()
            .map(|s| (s.index, s.weight))
            .collect();
        let mut table = [0; SH_SIZE];
        let len = fill_sh(&servers, &mut table);
        return table[..len].to_vec();
    }
    service.servers.iter().map(|s| s.index).collect()
}

fn kinds() -> Vec<Service> {
    let service = |proto, port, servers: &[Server]| Service {
        id: 0,
        vip: VIP,
        port,
        proto,
        sched: Sched::Turn,
        is_sloppy: false,
        is_local: false,
        is_one_packet: false,
        expires_nodest: false,
        persists: false,
        servers: servers.to_vec(),
        table: Vec::new(),
    };
    let by = |forward, over_v6, has_checksum| Server {
        forward,
        over_v6,
        has_checksum,
        ..PLAIN
    };
    let local = Server {
        flags: BACKEND_LOCAL,
        ..PLAIN
    };
    let unresolved = Server { flags: 0, ..PLAIN };
    let elsewhere = Server {
        is_elsewhere: true,
        ..PLAIN
    };
    let weight = |weight| Server { weight, ..PLAIN };
    let mtu = |mtu, server: Server| Server { mtu, ..server };
    let mut out = vec![
        service(TCP, 80, &[PLAIN; 3]),
        service(UDP, 53, &[PLAIN; 2]),
        service(SCTP, 9, &[PLAIN; 2]),
        Service {
            is_sloppy: true,
            ..service(TCP, 81, &[PLAIN])
        },
        Service {
            is_local: true,
            ..service(TCP, 82, &[local, PLAIN])
        },
        Service {
            is_local: true,
            ..service(UDP, 82, &[local])
        },
        service(TCP, 83, &[]),
        service(TCP, 84, &[unresolved, PLAIN]),
        service(UDP, 85, &[unresolved]),
        Service {
            persists: true,
            ..service(TCP, 86, &[PLAIN, PLAIN])
        },
        service(TCP, 87, &[elsewhere]),
        Service {
            is_one_packet: true,
            ..service(UDP, 88, &[PLAIN; 2])
        },
        Service {
            expires_nodest: true,
            ..service(TCP, 89, &[PLAIN; 2])
        },
        service(TCP, 90, &[mtu(300, PLAIN), mtu(300, elsewhere)]),
        service(UDP, 91, &[mtu(120, PLAIN)]),
        service(
            TCP,
            92,
            &[
                by(Forward::Ipip, false, false),
                by(Forward::Gue, false, false),
                by(Forward::Gre, false, false),
                by(Forward::Gue, false, true),
                by(Forward::Gre, false, true),
            ],
        ),
        service(
            UDP,
            93,
            &[
                by(Forward::Ipip, true, false),
                by(Forward::Gue, true, false),
                by(Forward::Gre, true, false),
                by(Forward::Gue, true, true),
                by(Forward::Gre, true, true),
            ],
        ),
        service(
            TCP,
            94,
            &[
                mtu(200, by(Forward::Ipip, false, false)),
                mtu(200, by(Forward::Gue, true, false)),
                mtu(200, by(Forward::Gre, false, true)),
            ],
        ),
        Service {
            vip: ANY,
            ..service(TCP, 0, &[PLAIN; 2])
        },
        Service {
            vip: ANY,
            ..service(UDP, 0, &[PLAIN; 2])
        },
        Service {
            vip: ANY,
            ..service(TCP, 443, &[PLAIN])
        },
    ];
    let hash = |proto, port, servers| Service {
        sched: Sched::SourceHash,
        ..service(proto, port, servers)
    };
    out.extend([
        hash(TCP, 100, &[PLAIN, weight(3)]),
        hash(TCP, 101, &[PLAIN, weight(0)]),
        hash(SCTP, 102, &[PLAIN; 2]),
        hash(UDP, 103, &[PLAIN; 2]),
    ]);
    for (sched, port) in [
        (Sched::LeastConn, 110),
        (Sched::WeightedLeastConn, 111),
        (Sched::ShortestDelay, 112),
        (Sched::NeverQueue, 113),
        (Sched::Failover, 114),
        (Sched::Overflow, 115),
    ] {
        out.push(Service {
            sched,
            ..service(TCP, port, &[weight(9), PLAIN, weight(60), weight(0)])
        });
    }
    out
}

/// A director with all that, whose flows do not expire.
pub(crate) fn director() -> Result<Director> {
    let mut director = Director::load(1 << 17)?;
    director.never_expire();
    director.set_iface(IFINDEX, OWN, &[PEER])?;
    for service in services() {
        for server in &service.servers {
            server.put(&director);
        }
        director.set_service(service.slot(), &service.table)?;
    }
    Ok(director)
}
