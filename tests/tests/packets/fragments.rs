//! Fragments go where the first one of their packet went, and nowhere else.

use lb_common::maps::Forward::Ipip;
use lb_common::maps::SERVICE_LOCAL;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, Udp, UdpOnce};

use crate::before::{Before, Service, server, tcp_service, udp_service};
use crate::frame::{
    ACK, CLIENT_PORT, DESTINATION_OPTIONS, Frame, ICMP6, OWN, PEER, STRANGER, SYN, VLAN, other,
    tcp, udp, v4, v6,
};
use crate::row::{Row, row};

fn dns() -> Service {
    udp_service(53).servers([server(1), server(2)])
}

/// 1,508 bytes behind the IP header.
fn datagram() -> Frame {
    udp(53).payload(1500)
}

fn first() -> Frame {
    datagram().part(0..1400)
}

fn second() -> Frame {
    datagram().part(1400..1508)
}

fn after_first(service: Service) -> Before {
    service.into_before().after(first())
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = firsts();
    rows.extend(later());
    rows.extend(ipv6());
    rows
}

fn firsts() -> Vec<Row> {
    vec![
        row("the first of two", dns(), first()).opens(1, UdpOnce),
        row(
            "the first of two, of a known flow",
            dns().into_before().flow(2, Udp),
            first(),
        )
        .stays(2, Udp),
        row(
            "the first of two with IP options",
            dns(),
            first().options(&[1; 8]),
        )
        .opens(1, UdpOnce),
        row("the first of two in a VLAN", dns(), first().tag(VLAN, 5)).opens(1, UdpOnce),
        row("the first of eight bytes", dns(), datagram().part(0..8)).opens(1, UdpOnce),
        row(
            "the first of a SYN",
            tcp_service(80).servers([server(1)]),
            tcp(80, SYN).payload(100).part(0..64),
        )
        .opens(1, SynRecv),
        row(
            "the first of an established connection's packet",
            tcp_service(80)
                .servers([server(1)])
                .into_before()
                .flow(1, Established),
            tcp(80, ACK).payload(1000).part(0..512),
        )
        .stays(1, Established),
        row(
            "the first has only half a TCP header",
            tcp_service(80).servers([server(1)]),
            tcp(80, SYN).payload(100).part(0..8),
        )
        .because(Reason::ShortHeader),
        row(
            "the first without a TCP flow",
            tcp_service(80).servers([server(1)]),
            tcp(80, ACK).payload(100).part(0..64),
        )
        .because(Reason::TcpNoFlow),
        row(
            "the first to no service",
            dns(),
            udp(54).payload(1500).part(0..1400),
        )
        .because(Reason::NoService),
        row(
            "the first to this host",
            dns().servers([server(3).local()]),
            first(),
        )
        .opens_here(3, UdpOnce),
        row(
            "the first by a tunnel",
            dns().servers([server(1).behind(Ipip)]),
            first(),
        )
        .opens(1, UdpOnce),
    ]
}

fn later() -> Vec<Row> {
    let follows = |name, before: Before, frame: Frame| {
        row(name, before, frame)
            .follows(1)
            .noted(Reason::FragmentFollowed)
    };
    let unknown = |name, before: Before, frame: Frame| {
        row(name, before, frame).because(Reason::LaterFragment)
    };
    let none = || dns().into_before();
    vec![
        follows("the second", after_first(dns()), second()),
        follows(
            "one in the middle",
            after_first(dns()),
            datagram().part(704..1400),
        ),
        follows(
            "the last one, of four bytes",
            after_first(dns()),
            datagram().part(1504..1508),
        ),
        follows(
            "after another later one",
            after_first(dns()).after(second()),
            datagram().part(704..1400),
        ),
        follows(
            "the same one twice",
            after_first(dns()).after(second()),
            second(),
        ),
        follows(
            "with IP options",
            after_first(dns()),
            second().options(&[1; 4]),
        ),
        follows(
            "with a VLAN tag",
            dns().into_before().after(first().tag(VLAN, 5)),
            second().tag(VLAN, 5),
        ),
        follows("with padding", after_first(dns()), second().padding(3)),
        follows(
            "of a TCP packet",
            tcp_service(80)
                .servers([server(1)])
                .into_before()
                .flow_of(tcp(80, ACK), 1, Established)
                .after(tcp(80, ACK).payload(1000).part(0..512)),
            tcp(80, ACK).payload(1000).part(512..1020),
        ),
        row(
            "its first one's flow goes to the second server",
            dns().into_before().flow_of(udp(53), 2, Udp).after(first()),
            second(),
        )
        .follows(2)
        .noted(Reason::FragmentFollowed),
        row(
            "out of another NIC",
            after_first(dns().servers([server(3).behind_other_nic()])),
            second(),
        )
        .follows(3)
        .noted(Reason::FragmentFollowed),
        row(
            "to this host",
            after_first(dns().servers([server(3).local()])),
            second(),
        )
        .follows_here(3)
        .noted(Reason::FragmentFollowed),
        row(
            "by a tunnel",
            after_first(dns().servers([server(3).behind(Ipip)])),
            second(),
        )
        .follows(3)
        .noted(Reason::FragmentFollowed),
        unknown("before its first one", none(), second()),
        unknown(
            "of another packet",
            after_first(dns()),
            second().with(|f| f.id += 1),
        ),
        unknown(
            "of another client's packet",
            after_first(dns()),
            second().from(v4(10, 1, 2, 4), CLIENT_PORT),
        ),
        unknown(
            "to another address",
            after_first(dns()),
            second().to(v4(192, 0, 2, 2)),
        ),
        unknown(
            "of another protocol",
            after_first(dns()),
            tcp(53, ACK).payload(1500).part(1400..1520),
        ),
        unknown(
            "its first one was for another service",
            after_first(tcp_service(80)),
            second(),
        ),
        unknown(
            "its first one had no server",
            after_first(udp_service(53)),
            second(),
        ),
        unknown(
            "its first one came from a peer director",
            dns().into_before().peer(PEER).after(first().smac(PEER)),
            second().smac(PEER),
        ),
        unknown(
            "its first one was for another host's MAC",
            dns().into_before().after(first().dmac(STRANGER)),
            second(),
        ),
        row(
            "for another host's MAC",
            after_first(dns()),
            second().dmac(STRANGER),
        )
        .because(Reason::OtherMac),
        row(
            "from a peer director, the first one not",
            dns().into_before().peer(PEER).after(first()),
            second().smac(PEER).dmac(OWN),
        )
        .because(Reason::PeerDirector),
        row(
            "from a peer director, the first one not, and this host is a server",
            dns()
                .flags(SERVICE_LOCAL)
                .into_before()
                .peer(PEER)
                .after(first()),
            second().smac(PEER),
        )
        .because(Reason::PeerLocal),
        row(
            "with a source route, the first one without",
            after_first(dns()),
            second().options(&[131, 7, 4, 10, 0, 0, 9, 0]),
        )
        .because(Reason::SourceRoute),
    ]
}

fn ipv6() -> Vec<Row> {
    let service = || dns().v6();
    let one = || v6(first());
    let two = || v6(second());
    let of = |proto| v6(other(proto, &[1; 1508])).part(1400..1508);
    let after = || service().into_before().after(one());
    vec![
        row("IPv6, the first", service(), one()).opens(1, UdpOnce),
        row(
            "IPv6, an atomic fragment",
            service(),
            v6(datagram().part(0..1508)),
        )
        .opens(1, UdpOnce),
        row(
            "IPv6, destination options before the fragment header",
            service(),
            one().extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]),
        )
        .opens(1, UdpOnce),
        row("IPv6, the second", after(), two())
            .follows(1)
            .noted(Reason::FragmentFollowed),
        row("IPv6, the second in a VLAN", after(), two().tag(VLAN, 9))
            .follows(1)
            .noted(Reason::FragmentFollowed),
        // What its own fragment header says is behind it counts for nothing (RFC 8200, 4.5).
        row("IPv6, the second says it is of ESP", after(), of(50))
            .follows(1)
            .noted(Reason::FragmentFollowed),
        row("IPv6, the second says it is of ICMPv6", after(), of(ICMP6))
            .follows(1)
            .noted(Reason::FragmentFollowed),
        row("IPv6, one of ICMPv6", service(), of(ICMP6)).because(Reason::LaterFragment),
        row("IPv6, before its first one", service(), two()).because(Reason::LaterFragment),
        row(
            "IPv6, of another packet",
            after(),
            two().with(|f| f.id = 0x8000_1234),
        )
        .because(Reason::LaterFragment),
        row(
            "IPv6, of the IPv4 packet with the same identification",
            after_first(dns()),
            two(),
        )
        .because(Reason::LaterFragment),
    ]
}
