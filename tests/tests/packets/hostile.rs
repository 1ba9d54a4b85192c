//! Packets that nobody sends in good faith.

use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, UdpOnce};

use crate::before::{Service, server, tcp_service, udp_service};
use crate::frame::{ACK, CLIENT_PORT, Frame, SYN, VIP, tcp, udp};
use crate::row::{Row, row};

/// Loose and strict source route: one address.
const LSRR: [u8; 8] = [131, 7, 4, 10, 0, 0, 9, 0];
const SSRR: [u8; 8] = [137, 7, 4, 10, 0, 0, 9, 0];

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2)])
}

fn dns() -> Service {
    udp_service(53).servers([server(1)])
}

fn syn() -> Frame {
    tcp(80, SYN)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = headers();
    rows.extend(routes_and_sources());
    rows.extend(ttl());
    rows
}

fn headers() -> Vec<Row> {
    let refused = |name, frame: Frame, reason| row(name, web(), frame).because(reason);
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
        refused(
            "header length 16",
            syn().patch_header(0, 0x44),
            Reason::BadHeaderLength,
        ),
        refused(
            "header length 0",
            syn().patch_header(0, 0x40),
            Reason::BadHeaderLength,
        ),
        refused(
            "header length beyond the packet",
            syn().patch_header(0, 0x4f),
            Reason::BadHeaderLength,
        ),
        refused("only an Ethernet header", syn().cut(14), Reason::Truncated),
        refused("one byte of IP", syn().cut(15), Reason::Truncated),
        refused("an IP header of 19 bytes", syn().cut(33), Reason::Truncated),
        refused(
            "a frame cut within its ports",
            syn().cut(37),
            Reason::BadTotalLength,
        ),
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
            "total length 19",
            syn().length_error(-21),
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
        row(
            "a UDP header of 7 bytes",
            dns(),
            udp(53).payload(0).length_error(-1),
        )
        .because(Reason::Truncated),
    ]
}

fn routes_and_sources() -> Vec<Row> {
    let known = || web().into_before().flow(2, Established);
    let routed = |name, options: &[u8]| {
        row(name, web(), syn().options(options)).because(Reason::SourceRoute)
    };
    vec![
        routed("loose source route", &LSRR),
        routed("strict source route", &SSRR),
        routed(
            "a source route behind other options",
            &[[1, 148, 4, 0, 0, 1, 1, 1].as_slice(), &LSRR].concat(),
        ),
        routed(
            "a source route that has been followed",
            &[131, 7, 8, 10, 0, 0, 9, 0],
        ),
        row(
            "a source route in a flow",
            known(),
            tcp(80, ACK).options(&SSRR),
        )
        .because(Reason::SourceRoute),
        row("a source route of UDP", dns(), udp(53).options(&LSRR)).because(Reason::SourceRoute),
        row(
            "a source route to no service",
            web(),
            tcp(22, SYN).options(&LSRR),
        )
        .because(Reason::NoService),
        row(
            "a source route behind the end of the options",
            web(),
            syn().options(&[[0; 4].as_slice(), &LSRR].concat()),
        )
        .opens(1, SynRecv),
        row(
            "from the VIP to itself (land)",
            web(),
            syn().from(VIP, CLIENT_PORT),
        )
        .because(Reason::Land),
        row(
            "from the VIP and its port to itself (land)",
            web(),
            syn().from(VIP, 80),
        )
        .because(Reason::Land),
        row(
            "ACK from the VIP to itself",
            web(),
            tcp(80, ACK).from(VIP, 80),
        )
        .because(Reason::Land),
        row("UDP from the VIP to itself", dns(), udp(53).from(VIP, 53)).because(Reason::Land),
        row(
            "from the VIP to no service",
            web(),
            tcp(22, SYN).from(VIP, 22),
        )
        .because(Reason::NoService),
        row(
            "from the VIP with IP options",
            web(),
            syn().from(VIP, 80).options(&[1; 4]),
        )
        .because(Reason::Land),
    ]
}

/// As in IPVS, which looks at the TTL when it sends.
fn ttl() -> Vec<Row> {
    vec![
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
        row("UDP with TTL 1", dns(), udp(53).ttl(1))
            .opens(1, UdpOnce)
            .because(Reason::TtlExpired),
    ]
}
