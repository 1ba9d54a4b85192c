//! IPv4 by direct routing: what is for us, and what becomes of its header.

use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, UdpOnce};

use crate::before::{Service, server, tcp_service, udp_service};
use crate::frame::{ACK, Frame, STRANGER, SYN, other, tcp, udp, v4};
use crate::row::{Row, row};

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2), server(3)])
}

fn dns() -> Service {
    udp_service(53).servers([server(1), server(2)])
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = not_for_us();
    rows.extend(forwarded());
    rows.extend(servers());
    rows
}

fn not_for_us() -> Vec<Row> {
    let syn = || tcp(80, SYN);
    let passes = |name, frame: Frame, reason| row(name, web().into_before(), frame).because(reason);
    vec![
        passes("ARP", syn().ethertype(0x0806), Reason::NotIp),
        passes("LLDP", syn().ethertype(0x88cc), Reason::NotIp),
        passes("MPLS", syn().ethertype(0x8847), Reason::NotIp),
        passes(
            "a length instead of an ethertype (802.3)",
            syn().ethertype(60),
            Reason::NotIp,
        ),
        passes(
            "VRRP",
            other(112, &[0x21, 51, 100, 1, 0, 1, 0, 0]),
            Reason::OtherProtocol,
        ),
        passes("OSPF", other(89, &[0; 24]), Reason::OtherProtocol),
        passes("ESP", other(50, &[1; 24]), Reason::OtherProtocol),
        passes("SSH to the VIP", tcp(22, SYN), Reason::NoService),
        passes("UDP to a TCP service", udp(80), Reason::NoService),
        passes(
            "another address",
            syn().to(v4(192, 0, 2, 2)),
            Reason::NoService,
        ),
        passes(
            "broadcast address",
            syn().to(v4(255, 255, 255, 255)),
            Reason::NoService,
        ),
        passes(
            "a flooded frame for another host",
            syn().dmac(STRANGER),
            Reason::OtherMac,
        ),
        passes("broadcast MAC", syn().dmac([0xff; 6]), Reason::OtherMac),
        passes(
            "multicast MAC",
            syn().dmac([1, 0, 0x5e, 0, 0, 1]),
            Reason::OtherMac,
        ),
        passes(
            "the MAC of a virtual router that another host is",
            syn().dmac([0, 0, 0x5e, 0, 1, 76]),
            Reason::VirtualMac,
        ),
        passes(
            "one of IPv6 that another host is",
            syn().dmac([0, 0, 0x5e, 0, 2, 76]),
            Reason::VirtualMac,
        ),
        passes(
            "neither of IPv4 nor of IPv6",
            syn().dmac([0, 0, 0x5e, 0, 3, 77]),
            Reason::OtherMac,
        ),
        passes(
            "a MAC that differs in its last byte",
            syn().dmac([2, 0, 0, 0, 0, 0]),
            Reason::OtherMac,
        ),
        row("TCP to a UDP service", dns(), tcp(53, SYN)).because(Reason::NoService),
        row("no service at all", crate::before::Before::default(), syn())
            .because(Reason::NoService),
        row(
            "an interface the program does not know",
            web().into_before().without_iface(),
            syn(),
        )
        .because(Reason::UnknownIface),
        row(
            "no service on an unknown interface",
            web().into_before().without_iface(),
            tcp(22, SYN),
        )
        .because(Reason::NoService),
        row(
            "a flow, but for another host's MAC",
            web().into_before().flow(2, Established),
            tcp(80, ACK).dmac(STRANGER),
        )
        .because(Reason::OtherMac),
    ]
}

fn forwarded() -> Vec<Row> {
    let opens = |name, frame: Frame| row(name, web(), frame).opens(1, SynRecv);
    let stays = |name, frame: Frame| {
        row(name, web().into_before().flow(2, Established), frame).stays(2, Established)
    };
    let asks = |name, frame: Frame| row(name, dns(), frame).opens(1, UdpOnce);
    let syn = || tcp(80, SYN);
    let ack = || tcp(80, ACK);
    vec![
        opens("SYN", syn()),
        opens("SYN with ECN", tcp(80, SYN | 0xc0)),
        opens("SYN and ACK", tcp(80, SYN | ACK)),
        opens("SYN with data (fast open)", syn().payload(100)),
        opens(
            "SYN with TCP options",
            syn().tcp_options(&[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1]),
        ),
        opens("to VRRP's virtual MAC", syn().dmac([0, 0, 0x5e, 0, 1, 77])),
        opens(
            "to VRRP's virtual MAC of IPv6",
            syn().dmac([0, 0, 0x5e, 0, 2, 77]),
        ),
        opens(
            "one IP option (NOP, NOP, NOP, end)",
            syn().options(&[1, 1, 1, 0]),
        ),
        opens("40 bytes of IP options", syn().options(&[1; 40])),
        opens("router alert", syn().options(&[148, 4, 0, 0])),
        opens("record route", syn().options(&[7, 7, 4, 0, 0, 0, 0, 0])),
        opens(
            "timestamp",
            syn().options(&[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        opens("padding behind it", syn().padding(6)),
        opens("TTL 2", syn().ttl(2)),
        opens("TTL 255", syn().ttl(255)),
        opens("DSCP and ECN", syn().tos(0xb9)),
        opens("without DF", syn().with(|f| f.dont_fragment = false)),
        opens("the evil bit", syn().patch_header(6, 0xc0)),
        opens("identification 0", syn().with(|f| f.id = 0)),
        opens("identification 65535", syn().with(|f| f.id = 0xffff)),
        opens("client port 0", syn().with(|f| f.from.1 = 0)),
        opens("client port 65535", syn().with(|f| f.from.1 = 65535)),
        opens("another client", syn().from(v4(203, 0, 113, 255), 1)),
        stays("ACK", ack()),
        stays("ACK with data", ack().payload(1000)),
        stays("ACK of one byte, an odd length", ack().payload(1)),
        stays(
            "ACK with TCP options",
            ack().tcp_options(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
        ),
        stays("60 bytes of TCP header", ack().tcp_options(&[1; 40])),
        stays("60 bytes of IP header", ack().options(&[1; 40])),
        stays(
            "both headers of 60 bytes",
            ack().options(&[1; 40]).tcp_options(&[1; 40]),
        ),
        stays("a full frame", ack().payload(1460)),
        stays("a jumbo frame", ack().payload(3300)),
        stays("TTL 2 in a flow", ack().ttl(2)),
        stays("DSCP in a flow", ack().tos(0x48)),
        stays("padding behind a flow's packet", ack().padding(20)),
        asks("UDP", udp(53)),
        asks("UDP without payload", udp(53).payload(0)),
        asks("UDP of a full frame", udp(53).payload(1472)),
        asks("UDP with IP options", udp(53).options(&[1; 8])),
        asks("UDP without checksum", udp(53).without_checksum()),
        asks("UDP with padding", udp(53).payload(2).padding(16)),
    ]
}

fn servers() -> Vec<Row> {
    let one = |s| tcp_service(80).servers([s]);
    vec![
        row(
            "out of another NIC",
            one(server(5).behind_other_nic()),
            tcp(80, SYN),
        )
        .opens(5, SynRecv),
        row(
            "a flow out of another NIC",
            one(server(5).behind_other_nic())
                .into_before()
                .flow(5, Established),
            tcp(80, ACK),
        )
        .stays(5, Established),
        row(
            "a server that is this host",
            one(server(4).local()),
            tcp(80, SYN),
        )
        .opens_here(4, SynRecv),
        row(
            "a flow to this host",
            one(server(4).local()).into_before().flow(4, Established),
            tcp(80, ACK),
        )
        .stays_here(4, Established),
        row(
            "TTL 1 to this host",
            one(server(4).local()),
            tcp(80, SYN).ttl(1),
        )
        .opens_here(4, SynRecv),
        row(
            "UDP to this host",
            udp_service(53).servers([server(4).local()]),
            udp(53),
        )
        .opens_here(4, UdpOnce),
        row("no servers", tcp_service(80), tcp(80, SYN)).because(Reason::NoServer),
        row("UDP, no servers", udp_service(53), udp(53)).because(Reason::NoServer),
        row(
            "a server without MAC is skipped",
            tcp_service(80).servers([server(1).unresolved(), server(2)]),
            tcp(80, SYN),
        )
        .opens(2, SynRecv)
        .noted(Reason::BackendSkipped),
        row(
            "a server that is down is skipped",
            udp_service(53).servers([server(1).down(), server(2)]),
            udp(53),
        )
        .opens(2, UdpOnce)
        .noted(Reason::BackendSkipped),
        row(
            "no server has a MAC",
            one(server(1).unresolved()),
            tcp(80, SYN),
        )
        .because(Reason::BackendUnresolved),
        row("every server is down", one(server(1).down()), tcp(80, SYN))
            .because(Reason::BackendUnresolved),
        row(
            "a flow to a server without MAC",
            one(server(1).unresolved())
                .into_before()
                .flow(1, Established),
            tcp(80, ACK),
        )
        .because(Reason::BackendUnresolved),
        row(
            "two services are told apart by the port",
            web()
                .into_before()
                .and(tcp_service(443).servers([server(4)])),
            tcp(443, SYN),
        )
        .opens(4, SynRecv),
        row(
            "two services are told apart by the protocol",
            tcp_service(53)
                .servers([server(4)])
                .into_before()
                .and(dns_of(5)),
            udp(53),
        )
        .opens(5, UdpOnce),
    ]
}

fn dns_of(index: u16) -> Service {
    udp_service(53).servers([server(index)])
}
