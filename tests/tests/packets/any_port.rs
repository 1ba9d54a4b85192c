//! Services for any port.

use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, Udp, UdpOnce};

use crate::before::{Service, server, tcp_service, udp_service};
use crate::frame::{ACK, CLIENT, SYN, tcp, udp, v4, v6};
use crate::row::{Row, row};

fn any() -> Service {
    tcp_service(0)
        .any_port()
        .servers([server(1), server(2), server(3)])
}

pub(crate) fn rows() -> Vec<Row> {
    let known = |port| any().into_before().flow_of(tcp(port, SYN), 3, Established);
    vec![
        row("any port", any(), tcp(12345, SYN)).opens(1, SynRecv),
        row("port 1", any(), tcp(1, SYN)).opens(1, SynRecv),
        row("port 65535", any(), tcp(65535, SYN)).opens(1, SynRecv),
        row("a known flow", known(443), tcp(443, ACK)).stays(3, Established),
        row(
            "a flow of the same client port to another port",
            known(443),
            tcp(444, ACK),
        )
        .because(Reason::TcpNoFlow),
        row("a new one beside it", known(443), tcp(444, SYN)).opens(1, SynRecv),
        row(
            "the same of another client",
            known(443),
            tcp(443, ACK).from(v4(10, 1, 2, 4), 40_000),
        )
        .because(Reason::TcpNoFlow),
        row(
            "a service for that port goes first",
            any()
                .into_before()
                .and(tcp_service(443).servers([server(4)])),
            tcp(443, SYN),
        )
        .opens(4, SynRecv),
        row(
            "and the other ports do not change",
            any()
                .into_before()
                .and(tcp_service(443).servers([server(4)])),
            tcp(444, SYN),
        )
        .opens(1, SynRecv),
        row("UDP to any port of TCP", any(), udp(53)).because(Reason::NoService),
        row("another address", any(), tcp(80, SYN).to(v4(192, 0, 2, 2))).because(Reason::NoService),
        row(
            "UDP to any port",
            udp_service(0).any_port().servers([server(2)]),
            udp(5060),
        )
        .opens(2, UdpOnce),
        row(
            "UDP of a known flow",
            udp_service(0)
                .any_port()
                .servers([server(1), server(2)])
                .into_before()
                .flow(2, Udp),
            udp(5060),
        )
        .stays(2, Udp),
        row(
            "one client to one server, whatever the port",
            any().persistent(1000).into_before().template(CLIENT, 2, 5),
            tcp(21, SYN),
        )
        .opens(2, SynRecv)
        .keeps(2),
        row("IPv6", any().v6(), v6(tcp(8080, SYN))).opens(1, SynRecv),
        row("IPv6, port 0", any().v6(), v6(tcp(0, SYN))).opens(1, SynRecv),
        row(
            "IPv6, a known flow",
            any().v6().into_before().flow(2, Established),
            v6(tcp(8080, ACK)),
        )
        .stays(2, Established),
        row(
            "IPv6, a flow to another port",
            any()
                .v6()
                .into_before()
                .flow_of(v6(tcp(8081, SYN)), 2, Established),
            v6(tcp(8080, ACK)),
        )
        .because(Reason::TcpNoFlow),
        row(
            "sh",
            any().sched(Sched::SourceHash).servers([server(2)]),
            tcp(25, ACK),
        )
        .opens(2, Established),
    ]
}
