//! Packets that nobody sends in good faith.

use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, Udp};

use crate::before::{Service, server, tcp_service, udp_service};
use crate::frame::{ACK, Frame, SYN, tcp, udp};
use crate::row::{Row, row};

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2)])
}

fn dns() -> Service {
    udp_service(53).servers([server(1)])
}

pub(crate) fn rows() -> Vec<Row> {
    let refused = |name, frame: Frame, reason| row(name, web(), frame).because(reason);
    let syn = || tcp(80, SYN);
    vec![
        refused(
            "IP version 5",
            syn().patch_header(0, 0x55),
            Reason::Malformed,
        ),
        refused(
            "IP version 0",
            syn().patch_header(0, 0x05),
            Reason::Malformed,
        ),
        refused(
            "IP version 6 behind IPv4's ethertype",
            syn().patch_header(0, 0x65),
            Reason::Malformed,
        ),
        refused("only an Ethernet header", syn().cut(14), Reason::Truncated),
        refused("one byte of IP", syn().cut(15), Reason::Truncated),
        refused("an IP header of 19 bytes", syn().cut(33), Reason::Truncated),
        refused(
            "total length one beyond the frame",
            syn().length_error(1),
            Reason::BadTotalLength,
        ),
        refused(
            "total length 65535",
            syn().length_error(65535 - 40),
            Reason::BadTotalLength,
        ),
        refused(
            "total length 0",
            syn().length_error(-40),
            Reason::BadHeaderLength,
        ),
        refused(
            "total length of the IP header alone",
            syn().length_error(-20),
            Reason::Truncated,
        ),
        refused(
            "total length within the ports",
            syn().length_error(-17),
            Reason::Truncated,
        ),
        refused(
            "a TCP header of 19 bytes",
            syn().length_error(-1),
            Reason::ShortHeader,
        ),
        refused(
            "a TCP header of 8 bytes",
            syn().length_error(-12),
            Reason::ShortHeader,
        ),
        // As in IPVS, which looks at the TTL when it sends.
        row("TTL 1", web(), syn().ttl(1))
            .opens(1, SynRecv)
            .because(Reason::TtlExpired),
        row("TTL 0", web(), syn().ttl(0))
            .opens(1, SynRecv)
            .because(Reason::TtlExpired),
        row(
            "TTL 1 in a flow",
            web().into_before().flow(2, Established),
            tcp(80, ACK).ttl(1),
        )
        .because(Reason::TtlExpired),
        row(
            "a UDP header of 7 bytes",
            dns(),
            udp(53).payload(0).length_error(-1),
        )
        .because(Reason::Truncated),
        row("UDP with TTL 1", dns(), udp(53).ttl(1))
            .opens(1, Udp)
            .because(Reason::TtlExpired),
    ]
}
