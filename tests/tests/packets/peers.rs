//! Frames that a peer director sent: never scheduled again.

use lb_common::maps::SERVICE_LOCAL;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv};

use crate::before::{Before, Service, server, tcp_service, udp_service};
use crate::frame::{ACK, PEER, ROUTER, SYN, tcp, udp};
use crate::row::{Row, row};

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2)])
}

fn here() -> Service {
    web()
        .flags(SERVICE_LOCAL)
        .servers([server(1), server(3).local()])
}

fn beside(service: Service) -> Before {
    service.into_before().peer(PEER)
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("a SYN from a peer", beside(web()), tcp(80, SYN).smac(PEER))
            .because(Reason::PeerDirector),
        row(
            "a flow's packet from a peer",
            beside(web()).flow(2, Established),
            tcp(80, ACK).smac(PEER),
        )
        .because(Reason::PeerDirector),
        row(
            "UDP from a peer",
            beside(udp_service(53).servers([server(1)])),
            udp(53).smac(PEER),
        )
        .because(Reason::PeerDirector),
        row(
            "from a peer, and this host is a server",
            beside(here()),
            tcp(80, SYN).smac(PEER),
        )
        .because(Reason::PeerLocal),
        row(
            "a flow's packet from a peer, and this host is a server",
            beside(here()).flow(1, Established),
            tcp(80, ACK).smac(PEER),
        )
        .because(Reason::PeerLocal),
        row(
            "from a peer with TTL 1",
            beside(web()),
            tcp(80, SYN).smac(PEER).ttl(1),
        )
        .because(Reason::PeerDirector),
        row(
            "from a peer to the virtual MAC",
            beside(web()),
            tcp(80, SYN).smac(PEER).dmac([0, 0, 0x5e, 0, 1, 9]),
        )
        .because(Reason::PeerDirector),
        row(
            "from a peer to no service",
            beside(web()),
            tcp(22, SYN).smac(PEER),
        )
        .because(Reason::NoService),
        row("beside a peer, from a router", beside(web()), tcp(80, SYN)).opens(1, SynRecv),
        row(
            "a MAC with a peer's bit that is no peer",
            beside(web()),
            tcp(80, SYN).smac(same_bloom_bit()),
        )
        .opens(1, SynRecv),
        row(
            "the second of two peers",
            beside(web()).peer([2, 0, 0, 0, 0, 0x33]),
            tcp(80, SYN).smac([2, 0, 0, 0, 0, 0x33]),
        )
        .because(Reason::PeerDirector),
        row(
            "a router, no peer configured",
            web(),
            tcp(80, SYN).smac(PEER),
        )
        .opens(1, SynRecv),
    ]
}

/// A MAC that only an exact look at the peers tells from one.
fn same_bloom_bit() -> [u8; 6] {
    use lb_common::maps::{mac_bloom, mac_key};
    (0..=u16::MAX)
        .map(|n| [ROUTER[0], 0, 0, 1, (n >> 8) as u8, n as u8])
        .find(|&mac| mac_bloom(mac_key(mac)) == mac_bloom(mac_key(PEER)))
        .expect("64 bits, 65,536 addresses")
}
