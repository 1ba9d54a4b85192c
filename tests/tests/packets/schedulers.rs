//! Which server a new connection gets.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::maps::{
    LOAD_OVERLOADED, SERVICE_HASH_FALLBACK, SERVICE_HASH_PORT, SERVICE_ONE_PACKET, Sched,
};
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, UdpOnce};

use crate::before::{Server, Service, server, tcp_service, udp_service};
use crate::frame::{ACK, CLIENT, SYN, VIP, octets, tcp, udp, v4, v6};
use crate::row::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = turns();
    rows.extend(source_hash());
    rows.extend(weight_0());
    rows.extend(other_hashes());
    rows.extend(one_packet());
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
        row(
            "every other of sixteen turns is at a server without MAC",
            at(
                tcp_service(80)
                    .servers([server(1).unresolved(), server(2)])
                    .turns(&[1, 2].repeat(8)),
                0,
            ),
            tcp(80, SYN),
        )
        .opens(2, SynRecv)
        .noted(Reason::BackendSkipped),
    ]
}

/// IPVS's sh (`ip_vs_sh.c`, Linux 4.17 and later): 256 buckets, filled with the servers in their
/// order, weight by weight; the bucket is the highest eight bits of the client's address times
/// 0x61c88647 (`hash_32`).
fn sh(servers: &[(u16, u16)], client: IpAddr) -> u16 {
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
        .opens(sh(&equal, CLIENT), UdpOnce),
    ]
}

/// A client that [`sh`] sends to that server of these.
fn client_of(servers: &[(u16, u16)], index: u16) -> IpAddr {
    (0..=255)
        .map(|n| v4(10, 9, 0, n))
        .find(|&client| sh(servers, client) == index)
        .expect("no client of that server among 256")
}

/// A server of weight 0 has one place in sh's table, and who hits it is refused; with
/// `sh-fallback` the next place is tried.
fn weight_0() -> Vec<Row> {
    let servers = [(1, 1), (2, 1)];
    let (of_one, of_two) = (client_of(&servers, 1), client_of(&servers, 2));
    let quiesced = || {
        tcp_service(80)
            .sched(Sched::SourceHash)
            .servers([server(1), server(2).weight(0)])
    };
    let full = || {
        tcp_service(80).sched(Sched::SourceHash).servers([
            server(1),
            server(2)
                .thresholds(1, 0)
                .load(1, 0)
                .marked(LOAD_OVERLOADED),
        ])
    };
    vec![
        row(
            "sh, another server has weight 0",
            quiesced(),
            tcp(80, SYN).from(of_one, 5),
        )
        .opens(1, SynRecv),
        row(
            "sh, its server has weight 0",
            quiesced(),
            tcp(80, SYN).from(of_two, 5),
        )
        .because(Reason::NoServer),
        row(
            "sh-fallback, its server has weight 0",
            quiesced().flags(SERVICE_HASH_FALLBACK),
            tcp(80, SYN).from(of_two, 5),
        )
        .opens(1, SynRecv),
        row(
            "sh, weight 0 and a connection that it has",
            quiesced().into_before().flow(2, Established),
            tcp(80, ACK).from(of_two, 5),
        )
        .stays(2, Established),
        row(
            "sh, its server is full",
            full(),
            tcp(80, SYN).from(of_two, 5),
        )
        .because(Reason::NoServer),
        row(
            "sh-fallback, its server is full",
            full().flags(SERVICE_HASH_FALLBACK),
            tcp(80, SYN).from(of_two, 5),
        )
        .opens(1, SynRecv),
    ]
}

/// IPVS's dh (`ip_vs_dh.c`): 256 buckets, the servers in turn, whatever their weights; the bucket is
/// that of the VIP.
fn dh(servers: &[u16], vip: IpAddr) -> u16 {
    let address = octets(vip)
        .iter()
        .fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
    let bucket = address.wrapping_mul(0x61c8_8647) / (1 << 24);
    servers[bucket as usize % servers.len()]
}

fn other_hashes() -> Vec<Row> {
    let three = [1, 2, 3];
    let dh_of = |table: &[u16]| {
        tcp_service(80)
            .sched(Sched::DestHash)
            .servers(three.map(server))
            .turns(table)
    };
    let hashed = |sched| tcp_service(80).sched(sched).servers([server(1), server(2)]);
    let port_of = |index: u16| {
        (1..2000)
            .find(|&port| sh_with_port(&[(1, 1), (2, 1)], CLIENT, port) == index)
            .expect("no such port")
    };
    vec![
        row("dh", dh_of(&[dh(&three, VIP)]), tcp(80, SYN)).opens(dh(&three, VIP), SynRecv),
        row(
            "dh, another client",
            dh_of(&[dh(&three, VIP)]),
            tcp(80, SYN).from(v4(9, 9, 9, 9), 9),
        )
        .opens(dh(&three, VIP), SynRecv),
        row("dh, its server has weight 0", dh_of(&[0]), tcp(80, SYN)).because(Reason::NoServer),
        row(
            "mh, one server",
            hashed(Sched::Maglev).servers([server(3)]),
            tcp(80, SYN),
        )
        .opens(3, SynRecv),
        row(
            "mh takes TCP in mid-stream",
            hashed(Sched::Maglev).servers([server(3)]),
            tcp(80, ACK),
        )
        .opens(3, Established),
        row("dh takes TCP in mid-stream", dh_of(&[2]), tcp(80, ACK)).opens(2, Established),
        row(
            "sh-port, a port of the first",
            hashed(Sched::SourceHash).flags(SERVICE_HASH_PORT),
            tcp(80, SYN).with(|f| f.from.1 = port_of(1)),
        )
        .opens(1, SynRecv),
        row(
            "sh-port, a port of the second",
            hashed(Sched::SourceHash).flags(SERVICE_HASH_PORT),
            tcp(80, SYN).with(|f| f.from.1 = port_of(2)),
        )
        .opens(2, SynRecv),
    ]
}

/// As [`sh`] with `sh-port`: the port is added to the address.
fn sh_with_port(servers: &[(u16, u16)], client: IpAddr, port: u16) -> u16 {
    let address = octets(client)
        .iter()
        .fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
    sh(
        servers,
        IpAddr::V4(Ipv4Addr::from(address.wrapping_add(port.into()))),
    )
}

/// `ops`: every packet by itself.
fn one_packet() -> Vec<Row> {
    let ops = || {
        udp_service(53)
            .flags(SERVICE_ONE_PACKET)
            .servers([server(1), server(2)])
    };
    vec![
        row("ops", ops(), udp(53)).scheduled(1),
        row(
            "ops, the same client again",
            ops().into_before().after(udp(53)),
            udp(53),
        )
        .scheduled(2),
        row("ops, IPv6", ops().v6(), v6(udp(53))).scheduled(1),
        row("ops, no server", ops().servers([]), udp(53)).because(Reason::NoServer),
    ]
}
