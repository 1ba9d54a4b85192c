//! Fragments.

use lb_common::reason::Reason;
use lb_common::tcp::State::Udp;

use crate::before::{Service, server, udp_service};
use crate::frame::udp;
use crate::row::{Row, row};

fn dns() -> Service {
    udp_service(53).servers([server(1), server(2)])
}

pub(crate) fn rows() -> Vec<Row> {
    // 1,508 bytes behind the IP header.
    let datagram = || udp(53).payload(1500);
    vec![
        // What comes before the first fragment of its packet is not known.
        row("the second of two", dns(), datagram().part(1400..1508)).because(Reason::LaterFragment),
        row("one in the middle", dns(), datagram().part(704..1400)).because(Reason::LaterFragment),
        row(
            "the last one, of eight bytes",
            dns(),
            datagram().part(1496..1504),
        )
        .because(Reason::LaterFragment),
        row("the first of two", dns(), datagram().part(0..1400)).opens(1, Udp),
        row(
            "the first of two, of a known flow",
            dns().into_before().flow(2, Udp),
            datagram().part(0..1400),
        )
        .stays(2, Udp),
    ]
}
