//! Clients that keep their server.

use std::net::IpAddr;

use lb_common::maps::SERVICE_EXPIRE_QUIESCENT;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv};

use crate::before::{Before, Service, server, tcp_service};
use crate::frame::{ACK, CLIENT, CLIENT6, SYN, octets, tcp, v4, v6};
use crate::row::{Row, row};

const TICKS: u32 = 1000;

fn web() -> Service {
    tcp_service(80)
        .servers([server(1), server(2)])
        .persistent(TICKS)
}

fn known(idle: u32) -> Before {
    web().into_before().template(CLIENT, 2, idle)
}

pub(crate) fn rows() -> Vec<Row> {
    let down = || {
        tcp_service(80)
            .servers([server(1), server(2).down()])
            .turns(&[1])
            .persistent(TICKS)
            .into_before()
    };
    vec![
        row("a client's first connection", web(), tcp(80, SYN))
            .opens(1, SynRecv)
            .keeps(1),
        row("it comes back", known(5), tcp(80, SYN))
            .opens(2, SynRecv)
            .keeps(2),
        row(
            "it comes back where another CPU was a tick ahead",
            known(u32::MAX),
            tcp(80, SYN),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row(
            "from another port",
            known(5),
            tcp(80, SYN).with(|f| f.from.1 = 99),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row("just in time", known(TICKS - 3), tcp(80, SYN))
            .opens(2, SynRecv)
            .keeps(2),
        row("too late", known(TICKS + 3), tcp(80, SYN))
            .opens(1, SynRecv)
            .keeps(1),
        row(
            "another client",
            known(5),
            tcp(80, SYN).from(v4(10, 1, 2, 4), 1),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row(
            "its server is down",
            down().template(CLIENT, 2, 5),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row(
            "its server has no MAC",
            tcp_service(80)
                .servers([server(1), server(2).unresolved()])
                .turns(&[1])
                .persistent(TICKS)
                .into_before()
                .template(CLIENT, 2, 5),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row(
            "its server has weight 0",
            tcp_service(80)
                .servers([server(1), server(2).weight(0)])
                .turns(&[1])
                .persistent(TICKS)
                .into_before()
                .template(CLIENT, 2, 5),
            tcp(80, SYN),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row(
            "its server is another service's by now",
            web()
                .into_before()
                .and(tcp_service(81).servers([server(3)]))
                .template(CLIENT, 3, 5),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row(
            "a connection's packet keeps the template alive",
            known(500).flow(2, Established).silent(500),
            tcp(80, ACK),
        )
        .stays(2, Established)
        .keeps(2),
        row(
            "a connection whose template was lost",
            web().into_before().flow(2, Established).silent(5),
            tcp(80, ACK),
        )
        .stays(2, Established)
        .keeps(2),
        row("ACK without a flow", known(5), tcp(80, ACK)).because(Reason::TcpNoFlow),
        row("no server", tcp_service(80).persistent(TICKS), tcp(80, SYN)).because(Reason::NoServer),
        row(
            "expire_quiescent_template: its server has weight 0",
            tcp_service(80)
                .servers([server(1), server(2).weight(0)])
                .turns(&[1])
                .persistent(TICKS)
                .flags(SERVICE_EXPIRE_QUIESCENT)
                .into_before()
                .template(CLIENT, 2, 5),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row(
            "expire_quiescent_template: its connections stay",
            tcp_service(80)
                .servers([server(1), server(2).weight(0)])
                .turns(&[1])
                .persistent(TICKS)
                .flags(SERVICE_EXPIRE_QUIESCENT)
                .into_before()
                .template(CLIENT, 2, 0)
                .flow(2, Established),
            tcp(80, ACK),
        )
        .stays(2, Established),
        row(
            "a client of the same /24",
            of_network(),
            tcp(80, SYN).from(v4(10, 1, 2, 200), 1),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row(
            "a client of another /24",
            of_network(),
            tcp(80, SYN).from(v4(10, 1, 3, 3), 1),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row("IPv6, it comes back", six(128), v6(tcp(80, SYN)))
            .opens(2, SynRecv)
            .keeps(2),
        row(
            "IPv6, another client of its /64",
            six(64),
            v6(tcp(80, SYN)).from(neighbour(15), 1),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row(
            "IPv6, another client, every one for itself",
            six(128),
            v6(tcp(80, SYN)).from(neighbour(15), 1),
        )
        .opens(1, SynRecv)
        .keeps(1),
        row(
            "IPv6, a client of another /60",
            six(60),
            v6(tcp(80, SYN)).from(neighbour(7), 1),
        )
        .opens(1, SynRecv)
        .keeps(1),
    ]
}

/// All of 10.1.2.0/24 have one server.
fn of_network() -> Before {
    web()
        .granularity(u32::from_ne_bytes([255, 255, 255, 0]))
        .into_before()
        .template(CLIENT, 2, 5)
}

/// So many leading bits of [`CLIENT6`] have the second server.
fn six(bits: u32) -> Before {
    web()
        .v6()
        .granularity(bits)
        .into_before()
        .template(CLIENT6, 2, 5)
}

/// [`CLIENT6`] with another byte there.
fn neighbour(at: usize) -> IpAddr {
    let mut bytes: [u8; 16] = octets(CLIENT6).try_into().expect("16 bytes");
    bytes[at] ^= 0x10;
    IpAddr::V6(bytes.into())
}
