//! More new connections than `flood_rate`: scheduled by hash, without an entry.

use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, Udp};

use crate::before::{Before, Service, server, tcp_service, udp_service};
use crate::frame::{ACK, Frame, SYN, tcp, udp, v4, v6};
use crate::row::{Row, row};

/// One server: that of any hash.
fn web() -> Service {
    tcp_service(80).servers([server(1)])
}

/// One new flow in a second, of which several have come just now.
fn flooded(before: Before, frame: fn(u8) -> Frame) -> Before {
    (1..=3).fold(before.flood_rate(1), |before, n| before.after(frame(n)))
}

fn syn_of(n: u8) -> Frame {
    tcp(80, SYN).from(v4(10, 66, 0, n), 1)
}

pub(crate) fn rows() -> Vec<Row> {
    let web_flooded = || flooded(web().into_before(), syn_of);
    vec![
        row(
            "no rate set",
            (1..=3).fold(web().into_before(), |b, n| b.after(syn_of(n))),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "below the rate",
            (1..=3).fold(web().into_before().flood_rate(1_000_000), |b, n| {
                b.after(syn_of(n))
            }),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row("SYN", web_flooded(), tcp(80, SYN))
            .follows(1)
            .noted(Reason::FloodHashed),
        row(
            "the next packet of such a connection",
            web_flooded(),
            tcp(80, ACK),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
        row(
            "a known connection",
            web_flooded().flow(1, Established),
            tcp(80, ACK),
        )
        .stays(1, Established),
        row(
            "a known half-open connection",
            web_flooded().flow(1, SynRecv),
            tcp(80, ACK),
        )
        .stays(1, Established),
        row(
            "UDP",
            flooded(udp_service(53).servers([server(1)]).into_before(), |n| {
                udp(53).from(v4(10, 66, 0, n), 1)
            }),
            udp(53),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
        row(
            "a known UDP flow",
            flooded(udp_service(53).servers([server(1)]).into_before(), |n| {
                udp(53).from(v4(10, 66, 0, n), 1)
            })
            .flow(1, Udp),
            udp(53),
        )
        .stays(1, Udp),
        row(
            "IPv6",
            flooded(web().v6().into_before(), |n| {
                v6(tcp(80, SYN)).with(|f| f.from.1 = n.into())
            }),
            v6(tcp(80, SYN)),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
        row(
            "sh",
            flooded(web().sched(Sched::SourceHash).into_before(), syn_of),
            tcp(80, SYN),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
        row(
            "no server",
            flooded(tcp_service(80).into_before(), syn_of),
            tcp(80, SYN),
        )
        .because(Reason::NoServer),
    ]
}
