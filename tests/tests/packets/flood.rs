//! More new connections than `flood_rate`: scheduled by hash, without an entry.

use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::sctp;
use lb_common::tcp::State::{Close, Established, SctpEstablished, SctpInit1, SynRecv, Udp};
use lb_common::tcp::{FIN, RST};

use crate::before::{Before, Service, sctp_service, server, tcp_service, udp_service};
use crate::frame::{ACK, CLIENT, Frame, SYN, icmp_about, tcp, udp, v4, v6};
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
    let mut rows = above_the_rate();
    rows.extend(below_it_after_a_flood());
    rows
}

fn above_the_rate() -> Vec<Row> {
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
        row(
            "persistent, the client's server is known",
            flooded(persistent(Sched::Turn).template(CLIENT, 2, 5), syn_of),
            tcp(80, SYN),
        )
        .follows(2)
        .noted(Reason::FloodHashed),
        // Neither a connection of the server nor a template that takes another client's place.
        row(
            "persistent, sh",
            flooded(persistent(Sched::SourceHash).template(CLIENT, 2, 5), syn_of),
            tcp(80, SYN),
        )
        .follows(2)
        .noted(Reason::FloodHashed),
        row(
            "persistent, sh, a client that is not known",
            flooded(
                web()
                    .sched(Sched::SourceHash)
                    .persistent(TICKS)
                    .into_before(),
                syn_of,
            ),
            tcp(80, SYN),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
        // The second stands by.
        row(
            "fo",
            flooded(
                tcp_service(80)
                    .servers([server(1).weight(2), server(2)])
                    .sched(Sched::Failover)
                    .into_before(),
                |n| tcp(80, SYN).from(v4(10, 66, 1, n), 1),
            ),
            tcp(80, SYN),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
    ]
}

const TICKS: u32 = 1000;
const COOKIE_ECHO: u8 = 10;
/// A rate that no row exceeds.
const ENOUGH: u32 = 1_000_000;

fn persistent(sched: Sched) -> Before {
    tcp_service(80)
        .servers([server(1), server(2)])
        .sched(sched)
        .persistent(TICKS)
        .into_before()
}

fn below_it_after_a_flood() -> Vec<Row> {
    let after = |before: Before, ticks| before.flood_rate(ENOUGH).flooded(ticks);
    let web_after = |ticks| after(web().into_before(), ticks);
    let sctp_after = |ticks| {
        let service = sctp_service(80).servers([server(1)]);
        after(service.into_before(), ticks)
    };
    vec![
        // Half-open until its next packet: no ACK of anyone displaces a connection in use.
        row("ACK", web_after(10), tcp(80, ACK)).opens(1, SynRecv),
        row(
            "the next one",
            web_after(10).after(tcp(80, ACK)),
            tcp(80, ACK),
        )
        .stays(1, Established),
        row("FIN", web_after(10), tcp(80, FIN | ACK)).opens(1, Close),
        row("RST", web_after(10), tcp(80, RST))
            .follows(1)
            .noted(Reason::FloodHashed),
        row("ACK, the flood just seen", web_after(0), tcp(80, ACK)).opens(1, SynRecv),
        row("ACK long after", web_after(70), tcp(80, ACK)).because(Reason::TcpNoFlow),
        row("RST long after", web_after(70), tcp(80, RST)).because(Reason::TcpNoFlow),
        row(
            "ACK, another CPU's clock was read later",
            web_after(u32::MAX),
            tcp(80, ACK),
        )
        .opens(1, SynRecv),
        row(
            "ACK, more of them than the rate",
            (1..=3).fold(
                web().into_before().flood_rate(1).flooded(10),
                |before, n| before.after(tcp(80, ACK).from(v4(10, 66, 0, n), 1)),
            ),
            tcp(80, ACK),
        )
        .follows(1)
        .noted(Reason::FloodHashed),
        row(
            "COOKIE ECHO",
            sctp_after(10),
            crate::frame::sctp(80, COOKIE_ECHO),
        )
        .opens(1, SctpEstablished),
        row("ABORT", sctp_after(10), crate::frame::sctp(80, sctp::ABORT))
            .follows(1)
            .noted(Reason::FloodHashed),
        row("INIT", sctp_after(10), crate::frame::sctp(80, sctp::INIT)).opens(1, SctpInit1),
        row(
            "COOKIE ECHO long after",
            sctp_after(70),
            crate::frame::sctp(80, COOKIE_ECHO),
        )
        .because(Reason::SctpNoFlow),
        row(
            "an ICMP error about one without an entry",
            web_after(10),
            icmp_about(3, 4, &tcp(80, ACK).payload(1400).reversed(), 28),
        )
        .follows(1)
        .noted(Reason::IcmpError),
        row(
            "an ICMP error long after",
            web_after(70),
            icmp_about(3, 4, &tcp(80, ACK).payload(1400).reversed(), 28),
        )
        .because(Reason::IcmpNoFlow),
        row(
            "persistent, ACK",
            after(persistent(Sched::Turn).template(CLIENT, 2, 5), 10),
            tcp(80, ACK),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row(
            "persistent, sh, ACK",
            after(persistent(Sched::SourceHash).template(CLIENT, 2, 5), 10),
            tcp(80, ACK),
        )
        .opens(2, SynRecv)
        .keeps(2),
    ]
}
