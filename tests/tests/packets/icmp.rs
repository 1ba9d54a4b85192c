//! ICMP errors about a service's connections go to the connection's server; all else is the stack's.

use lb_common::maps::Forward::Gue;
use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, FinWait, SctpEstablished, Udp};

use crate::before::{Before, Service, sctp_service, server, tcp_service, udp_service};
use crate::frame::{
    ACK, CLIENT, Frame, HOP_BY_HOP, PEER, ROUTING, STRANGER, VIP, VLAN, icmp, icmp_about, other,
    sctp, tcp, udp, v4, v6,
};
use crate::row::{Row, row};

/// What a router quotes: the IP header and eight bytes, or all of it.
const HEADERS: usize = 28;
const ALL: usize = 1500;

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2)])
}

/// The service's answer, about which the error is.
fn answer() -> Frame {
    tcp(80, ACK).payload(1400).reversed()
}

/// The second server has the connection; it was not seen for a while, and that does not change.
fn known() -> Before {
    web()
        .into_before()
        .flow_of(tcp(80, ACK), 2, Established)
        .silent(50)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = followed();
    rows.extend(not_followed());
    rows.extend(ipv6());
    rows
}

fn followed() -> Vec<Row> {
    let to = |name, before: Before, frame: Frame, server| {
        row(name, before, frame)
            .follows(server)
            .noted(Reason::IcmpError)
    };
    let about = |kind, code| icmp_about(kind, code, &answer(), HEADERS);
    vec![
        to("fragmentation needed", known(), about(3, 4), 2),
        to(
            "fragmentation needed, the whole packet quoted",
            known(),
            icmp_about(3, 4, &answer(), ALL),
            2,
        ),
        to("host unreachable", known(), about(3, 1), 2),
        to("port unreachable", known(), about(3, 3), 2),
        to("administratively prohibited", known(), about(3, 13), 2),
        to("TTL exceeded", known(), about(11, 0), 2),
        to("reassembly time exceeded", known(), about(11, 1), 2),
        to("parameter problem", known(), about(12, 0), 2),
        to(
            "from the client itself",
            known(),
            about(3, 3).with(|f| f.from.0 = CLIENT),
            2,
        ),
        to("in a VLAN", known(), about(3, 4).tag(VLAN, 5), 2),
        to("with IP options", known(), about(3, 4).options(&[1; 8]), 2),
        to(
            "about a packet with IP options",
            known(),
            icmp_about(3, 4, &answer().options(&[1; 12]), 40),
            2,
        ),
        to(
            "about the first fragment of a packet",
            known(),
            icmp_about(3, 4, &answer().part(0..512), HEADERS),
            2,
        ),
        to(
            "about UDP",
            udp_service(53)
                .servers([server(1), server(2)])
                .into_before()
                .flow_of(udp(53), 2, Udp),
            icmp_about(3, 3, &udp(53).reversed(), HEADERS),
            2,
        ),
        to(
            "about SCTP",
            sctp_service(9)
                .servers([server(1), server(2)])
                .into_before()
                .flow_of(sctp(9, 0), 2, SctpEstablished),
            icmp_about(3, 4, &sctp(9, 0).reversed(), HEADERS),
            2,
        ),
        to(
            "about a connection that is closing",
            web().into_before().flow_of(tcp(80, ACK), 2, FinWait),
            about(3, 4),
            2,
        ),
        to(
            "its server is down: established TCP stays",
            web()
                .servers([server(1), server(2).down()])
                .turns(&[1])
                .into_before()
                .flow_of(tcp(80, ACK), 2, Established),
            about(3, 4),
            2,
        ),
        to(
            "by a tunnel",
            web()
                .servers([server(2).behind(Gue)])
                .into_before()
                .flow_of(tcp(80, ACK), 2, Established),
            about(3, 4),
            2,
        ),
        to(
            "any port",
            tcp_service(0)
                .any_port()
                .servers([server(2)])
                .into_before()
                .flow_of(tcp(80, ACK), 2, Established),
            about(3, 4),
            2,
        ),
        to(
            "no flow, but a hash",
            web()
                .sched(Sched::SourceHash)
                .servers([server(2)])
                .into_before(),
            about(3, 4),
            2,
        ),
        row(
            "to this host",
            web()
                .servers([server(2).local()])
                .into_before()
                .flow_of(tcp(80, ACK), 2, Established),
            about(3, 4),
        )
        .follows_here(2)
        .noted(Reason::IcmpError),
    ]
}

fn not_followed() -> Vec<Row> {
    let passes = |name, frame: Frame, reason| row(name, known(), frame).because(reason);
    let about = |kind, code| icmp_about(kind, code, &answer(), HEADERS);
    let ping = || icmp(CLIENT, 8, 0, [0, 7, 0, 1]).payload(56);
    vec![
        passes("ping", ping(), Reason::OtherProtocol),
        passes("ping in a VLAN", ping().tag(VLAN, 5), Reason::OtherProtocol),
        passes(
            "ping of 1400 bytes",
            ping().payload(1400),
            Reason::OtherProtocol,
        ),
        passes(
            "echo reply",
            icmp(CLIENT, 0, 0, [0, 7, 0, 1]).payload(56),
            Reason::OtherProtocol,
        ),
        passes(
            "timestamp",
            icmp(CLIENT, 13, 0, [0, 7, 0, 1]).payload(12),
            Reason::OtherProtocol,
        ),
        passes("redirect", about(5, 1), Reason::OtherProtocol),
        passes("source quench", about(4, 0), Reason::OtherProtocol),
        passes("one byte of ICMP", other(1, &[3]), Reason::OtherProtocol),
        passes(
            "an error that quotes nothing",
            icmp(CLIENT, 3, 4, [0; 4]),
            Reason::Truncated,
        ),
        passes(
            "half an IP header quoted",
            icmp_about(3, 4, &answer(), 12),
            Reason::Truncated,
        ),
        passes(
            "no ports quoted",
            icmp_about(3, 4, &answer(), 20),
            Reason::Truncated,
        ),
        passes(
            "about a packet that the VIP did not send",
            icmp_about(3, 4, &tcp(80, ACK), HEADERS).to(VIP),
            Reason::OtherProtocol,
        ),
        passes(
            "about another address's packet, to the VIP",
            icmp_about(
                3,
                4,
                &answer().with(|f| f.from.0 = v4(192, 0, 2, 9)),
                HEADERS,
            ),
            Reason::OtherProtocol,
        ),
        passes(
            "about a ping of the VIP",
            icmp_about(3, 1, &ping().reversed(), HEADERS),
            Reason::OtherProtocol,
        ),
        passes(
            "about a later fragment",
            icmp_about(11, 1, &answer().part(512..1024), HEADERS),
            Reason::OtherProtocol,
        ),
        passes(
            "about a connection to no service",
            icmp_about(3, 4, &tcp(22, ACK).reversed(), HEADERS),
            Reason::NoService,
        ),
        passes(
            "about an unknown connection",
            icmp_about(
                3,
                4,
                &tcp(80, ACK).with(|f| f.from.1 = 7).reversed(),
                HEADERS,
            ),
            Reason::IcmpNoFlow,
        ),
        row(
            "about a connection that has expired",
            web()
                .into_before()
                .flow_of(tcp(80, ACK), 2, Established)
                .silent(2000),
            about(3, 4),
        )
        .because(Reason::IcmpNoFlow),
        passes(
            "for another host's MAC",
            about(3, 4).dmac(STRANGER),
            Reason::OtherMac,
        ),
        row(
            "from a peer director",
            known().peer(PEER),
            about(3, 4).smac(PEER),
        )
        .because(Reason::PeerDirector),
        row("TTL 1", known(), about(3, 4).ttl(1)).because(Reason::TtlExpired),
        passes(
            "with a source route",
            about(3, 4).options(&[131, 7, 4, 10, 0, 0, 9, 0]),
            Reason::SourceRoute,
        ),
        row(
            "about a packet with a source route",
            known(),
            icmp_about(3, 4, &answer().options(&[131, 7, 4, 10, 0, 0, 9, 0]), 40),
        )
        .follows(2)
        .noted(Reason::IcmpError),
        passes(
            "from the VIP itself",
            about(3, 4).with(|f| f.from.0 = VIP),
            Reason::Land,
        ),
        passes(
            "the quote goes on behind the packet's end",
            about(3, 4).length_error(-6),
            Reason::Truncated,
        ),
        passes(
            "half an ICMP header, the rest behind the packet's end",
            about(3, 4).length_error(-32),
            Reason::OtherProtocol,
        ),
        passes(
            "a fragment of an error",
            icmp_about(3, 4, &answer(), 200).part(0..64),
            Reason::OtherProtocol,
        ),
    ]
}

fn ipv6() -> Vec<Row> {
    const HEADERS6: usize = 48;
    let answer = || v6(tcp(80, ACK)).payload(1400).reversed();
    let known = || {
        web()
            .v6()
            .into_before()
            .flow_of(v6(tcp(80, ACK)), 2, Established)
            .silent(50)
    };
    let about = |kind, code| icmp_about(kind, code, &answer(), HEADERS6);
    let to = |name, frame: Frame| {
        row(name, known(), frame)
            .follows(2)
            .noted(Reason::IcmpError)
    };
    vec![
        to("IPv6, packet too big", about(2, 0)),
        to(
            "IPv6, packet too big, 1,232 bytes quoted",
            icmp_about(2, 0, &answer(), 1232),
        ),
        to("IPv6, destination unreachable", about(1, 4)),
        to("IPv6, time exceeded", about(3, 0)),
        to("IPv6, parameter problem", about(4, 1)),
        to("IPv6, in a VLAN", about(2, 0).tag(VLAN, 5)),
        to(
            "IPv6, with hop-by-hop options",
            about(2, 0).extension(HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]),
        ),
        row(
            "IPv6, with a routing header of type 0",
            known(),
            about(2, 0).extension(ROUTING, &[0, 1, 0, 0, 0, 0]),
        )
        .because(Reason::SourceRoute),
        row(
            "IPv6, the quote goes on behind the packet's end",
            known(),
            about(2, 0).length_error(-6),
        )
        .because(Reason::Truncated),
        row(
            "IPv6, half an ICMP header, the rest behind the packet's end",
            known(),
            about(2, 0).length_error(-52),
        )
        .because(Reason::OtherProtocol),
        row("IPv6, about an unknown connection", web().v6(), about(2, 0))
            .because(Reason::IcmpNoFlow),
        row(
            "IPv6, no ports quoted",
            known(),
            icmp_about(2, 0, &answer(), 40),
        )
        .because(Reason::Truncated),
        row(
            "IPv6, about UDP",
            udp_service(53)
                .v6()
                .servers([server(1), server(2)])
                .into_before()
                .flow_of(v6(udp(53)), 2, Udp),
            icmp_about(1, 4, &v6(udp(53)).reversed(), HEADERS6),
        )
        .follows(2)
        .noted(Reason::IcmpError),
    ]
}
