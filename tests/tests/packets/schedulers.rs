//! Which server a new connection gets.

use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::tcp::State::{SynRecv, Udp};

use crate::before::{Server, Service, server, tcp_service, udp_service};
use crate::frame::{CLIENT, SYN, octets, tcp, udp, v4};
use crate::row::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = turns();
    rows.extend(source_hash());
    rows
}

fn turns() -> Vec<Row> {
    let rr = || tcp_service(80).servers([server(1), server(2), server(3)]);
    // IPVS's wrr of weights 3 and 1.
    let wrr = || {
        tcp_service(80)
            .servers([server(1).weight(3), server(2)])
            .turns(&[1, 1, 1, 2])
    };
    let at = |service: Service, turn| service.into_before().turn(turn);
    vec![
        row("rr, first turn", rr(), tcp(80, SYN)).opens(1, SynRecv),
        row("rr, second turn", at(rr(), 1), tcp(80, SYN)).opens(2, SynRecv),
        row("rr, third turn", at(rr(), 2), tcp(80, SYN)).opens(3, SynRecv),
        row("rr, from the start again", at(rr(), 3), tcp(80, SYN)).opens(1, SynRecv),
        row("rr, after 2^32 turns", at(rr(), 1 << 32), tcp(80, SYN)).opens(2, SynRecv),
        row(
            "rr, after another client's SYN",
            rr().into_before()
                .after(tcp(80, SYN).from(v4(10, 0, 0, 9), 1)),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "rr, one server",
            tcp_service(80).servers([server(3)]),
            tcp(80, SYN),
        )
        .opens(3, SynRecv),
        row(
            "wrr, third turn of the heavy one",
            at(wrr(), 2),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row("wrr, the light one's turn", at(wrr(), 3), tcp(80, SYN)).opens(2, SynRecv),
        row(
            "a turn at a server without MAC goes to the next",
            at(
                tcp_service(80).servers([server(1), server(2).unresolved(), server(3)]),
                1,
            ),
            tcp(80, SYN),
        )
        .opens(3, SynRecv)
        .noted(Reason::BackendSkipped),
        row(
            "from the last to the first",
            at(
                tcp_service(80).servers([server(1), server(2), server(3).unresolved()]),
                2,
            ),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .noted(Reason::BackendSkipped),
    ]
}

/// IPVS's sh (`ip_vs_sh.c`, Linux 4.17 and later): 256 buckets, filled with the servers in their
/// order, weight by weight; the bucket is the highest eight bits of the client's address times
/// 0x61c88647 (`hash_32`).
fn sh(servers: &[(u16, u16)], client: std::net::IpAddr) -> u16 {
    let address = octets(client)
        .iter()
        .fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
    let bucket = address.wrapping_mul(0x61c8_8647) / (1 << 24);
    let total: u32 = servers.iter().map(|&(_, weight)| u32::from(weight)).sum();
    // Bucket after bucket, each server as often as its weight says.
    let mut turn = bucket % total;
    for &(index, weight) in servers {
        if turn < u32::from(weight) {
            return index;
        }
        turn -= u32::from(weight);
    }
    unreachable!("turn is below the sum of the weights")
}

fn source_hash() -> Vec<Row> {
    let hashed = |servers: Vec<Server>| tcp_service(80).sched(Sched::SourceHash).servers(servers);
    let equal = [(1, 1), (2, 1), (3, 1)];
    let weighted = [(1, 1), (2, 2), (3, 5)];
    let three = || hashed(vec![server(1), server(2), server(3)]);
    let heavy = || hashed(vec![server(1), server(2).weight(2), server(3).weight(5)]);
    let other = v4(203, 0, 113, 77);
    vec![
        row("sh", three(), tcp(80, SYN)).opens(sh(&equal, CLIENT), SynRecv),
        row(
            "sh, another port of the client",
            three(),
            tcp(80, SYN).with(|f| f.from.1 = 7),
        )
        .opens(sh(&equal, CLIENT), SynRecv),
        row("sh, another client", three(), tcp(80, SYN).from(other, 7))
            .opens(sh(&equal, other), SynRecv),
        row("sh with weights", heavy(), tcp(80, SYN)).opens(sh(&weighted, CLIENT), SynRecv),
        row(
            "sh with weights, another client",
            heavy(),
            tcp(80, SYN).from(other, 7),
        )
        .opens(sh(&weighted, other), SynRecv),
        row(
            "sh, UDP",
            udp_service(53)
                .sched(Sched::SourceHash)
                .servers([server(1), server(2), server(3)]),
            udp(53),
        )
        .opens(sh(&equal, CLIENT), Udp),
    ]
}
