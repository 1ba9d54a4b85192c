//! The life of a UDP flow.

use lb_common::maps::SERVICE_EXPIRE_NODEST;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Udp, UdpOnce};

use crate::before::{Service, server, udp_service};
use crate::frame::{udp, v4};
use crate::row::{Row, row};

fn dns() -> Service {
    udp_service(53).servers([server(1), server(2)])
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "the second packet of a flow",
            dns().into_before().flow(2, UdpOnce),
            udp(53),
        )
        .stays(2, Udp),
        row("a known client", dns().into_before().flow(2, Udp), udp(53)).stays(2, Udp),
        row(
            "after a while",
            dns().into_before().flow(2, Udp).silent(200),
            udp(53),
        )
        .stays(2, Udp),
        row(
            "after 5 minutes",
            dns().into_before().flow(2, Udp).silent(700),
            udp(53),
        )
        .opens(1, UdpOnce),
        row(
            "another port of a known client",
            dns().into_before().flow_of(udp(53), 2, Udp),
            udp(53).with(|f| f.from.1 += 1),
        )
        .opens(1, UdpOnce),
        row(
            "another client with a known port",
            dns().into_before().flow_of(udp(53), 2, Udp),
            udp(53).from(v4(10, 1, 2, 4), 40_000),
        )
        .opens(1, UdpOnce),
        row(
            "its server is down",
            udp_service(53)
                .servers([server(1), server(2).down()])
                .turns(&[1])
                .into_before()
                .flow(2, Udp),
            udp(53),
        )
        .opens(1, UdpOnce)
        .noted(Reason::Rescheduled),
        row(
            "its server has no MAC any more",
            udp_service(53)
                .servers([server(1), server(2).unresolved()])
                .turns(&[1])
                .into_before()
                .flow(2, Udp),
            udp(53),
        )
        .opens(1, UdpOnce)
        .noted(Reason::Rescheduled),
        row(
            "its server is just being moved to another interface",
            udp_service(53)
                .servers([server(1), server(2).changing()])
                .into_before()
                .flow(2, Udp),
            udp(53),
        )
        .stays(2, Udp)
        .because(Reason::BackendUnresolved),
        row(
            "its server is down and there is no other",
            udp_service(53)
                .servers([server(2).down()])
                .turns(&[])
                .into_before()
                .flow(2, Udp),
            udp(53),
        )
        .ends()
        .because(Reason::NoServer),
        row(
            "its server has weight 0",
            udp_service(53)
                .servers([server(1), server(2).weight(0)])
                .turns(&[1])
                .into_before()
                .flow(2, Udp),
            udp(53),
        )
        .stays(2, Udp),
        row(
            "its server has weight 0, with expire_nodest_conn",
            udp_service(53)
                .servers([server(1), server(2).weight(0)])
                .turns(&[1])
                .flags(SERVICE_EXPIRE_NODEST)
                .into_before()
                .flow(2, Udp),
            udp(53),
        )
        .stays(2, Udp),
    ]
}
