//! IPv6 by direct routing.

use std::net::{IpAddr, Ipv6Addr};

use lb_common::hash::fold_factors;
use lb_common::maps::Forward::{Gre, Gue, Ipip};
use lb_common::maps::{SERVICE_LOCAL, Sched};
use lb_common::reason::Reason;
use lb_common::tcp::State::{Close, Established, FinWait, SynRecv, Udp, UdpOnce};
use lb_tests::dataplane::HASH_SEED;

use crate::before::{Before, Service, server, tcp_service, udp_service};
use crate::frame::{
    ACK, CLIENT_PORT, CLIENT6, DESTINATION_OPTIONS, FIN, Frame, HOP_BY_HOP, L4, PEER, ROUTING, RST,
    STRANGER, SYN, VIP6, icmp, octets, other, tcp, udp, v6,
};
use crate::row::{Row, row};

/// Six bytes of padding (PadN), as a whole extension header carries them.
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn web() -> Service {
    tcp_service(80)
        .v6()
        .servers([server(1), server(2), server(3)])
}

fn dns() -> Service {
    udp_service(53).v6().servers([server(1), server(2)])
}

fn syn() -> Frame {
    v6(tcp(80, SYN))
}

fn ack() -> Frame {
    v6(tcp(80, ACK))
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = not_for_us();
    rows.extend(forwarded());
    rows.extend(flows());
    rows.extend(extensions());
    rows.extend(wrong());
    rows.extend(tunnelled());
    rows
}

fn not_for_us() -> Vec<Row> {
    let passes = |name, frame: Frame, reason| row(name, web(), frame).because(reason);
    let mut other_host = octets(VIP6);
    other_host[15] = 2;
    vec![
        passes(
            "ping",
            icmp(CLIENT6, 128, 0, [0, 1, 0, 1]).payload(56),
            Reason::OtherProtocol,
        ),
        passes(
            "neighbour solicitation",
            icmp(CLIENT6, 135, 0, [0; 4]).payload(24),
            Reason::OtherProtocol,
        ),
        passes(
            "router advertisement",
            icmp(CLIENT6, 134, 0, [64, 0, 0, 0]).payload(8),
            Reason::OtherProtocol,
        ),
        passes("OSPF", v6(other(89, &[0; 24])), Reason::OtherProtocol),
        passes("no next header", v6(other(59, &[])), Reason::OtherProtocol),
        passes("SSH to the VIP", v6(tcp(22, SYN)), Reason::NoService),
        passes("UDP to a TCP service", v6(udp(80)), Reason::NoService),
        passes(
            "another address",
            syn().to(address(&other_host)),
            Reason::NoService,
        ),
        passes(
            "another address with the hash of the VIP",
            syn().to(same_fold(VIP6, 0)),
            Reason::NoService,
        ),
        passes(
            "a flooded frame for another host",
            syn().dmac(STRANGER),
            Reason::OtherMac,
        ),
        passes(
            "the IPv6 multicast MAC",
            syn().dmac([0x33, 0x33, 0, 0, 0, 1]),
            Reason::OtherMac,
        ),
        row(
            "an interface the program does not know",
            web().into_before().without_iface(),
            syn(),
        )
        .because(Reason::UnknownIface),
        row(
            "the same port of an IPv4 service",
            tcp_service(80).servers([server(1)]),
            syn(),
        )
        .because(Reason::NoService),
        row(
            "IPv4 to the same port of an IPv6 service",
            web(),
            tcp(80, SYN),
        )
        .because(Reason::NoService),
    ]
}

fn forwarded() -> Vec<Row> {
    let opens = |name, frame: Frame| row(name, web(), frame).opens(1, SynRecv);
    let stays = |name, frame: Frame| {
        row(name, web().into_before().flow(2, Established), frame).stays(2, Established)
    };
    let asks = |name, frame: Frame| row(name, dns(), frame).opens(1, UdpOnce);
    vec![
        opens("SYN", syn()),
        opens(
            "SYN with TCP options",
            syn().tcp_options(&[2, 4, 5, 0xa0, 1, 1, 4, 2]),
        ),
        opens("hop limit 2", syn().ttl(2)),
        opens("hop limit 255", syn().ttl(255)),
        opens("traffic class", syn().tos(0xb9)),
        opens("padding behind it", syn().padding(7)),
        opens(
            "to VRRP's virtual MAC of IPv6",
            syn().dmac([0, 0, 0x5e, 0, 2, 77]),
        ),
        opens(
            "to VRRP's virtual MAC of IPv4",
            syn().dmac([0, 0, 0x5e, 0, 1, 77]),
        ),
        stays("ACK", ack()),
        stays("ACK with data", ack().payload(1000)),
        stays("a full frame", ack().payload(1440)),
        stays("an odd length", ack().payload(333)),
        asks("UDP", v6(udp(53))),
        asks("UDP without payload", v6(udp(53).payload(0))),
        asks("UDP of a full frame", v6(udp(53).payload(1452))),
        row(
            "out of another NIC",
            web().servers([server(4).behind_other_nic()]),
            syn(),
        )
        .opens(4, SynRecv),
        row(
            "a server that is this host",
            web().servers([server(4).local()]),
            syn(),
        )
        .opens_here(4, SynRecv),
        row(
            "UDP to this host",
            dns()
                .servers([server(4).local()])
                .into_before()
                .flow(4, Udp),
            v6(udp(53)),
        )
        .stays_here(4, Udp),
        row("hop limit 1", web(), syn().ttl(1))
            .opens(1, SynRecv)
            .because(Reason::TtlExpired),
        row(
            "hop limit 0 in a flow",
            web().into_before().flow(2, Established),
            ack().ttl(0),
        )
        .because(Reason::TtlExpired),
        row(
            "from a peer director",
            web().into_before().peer(PEER),
            syn().smac(PEER),
        )
        .because(Reason::PeerDirector),
        row(
            "from a peer director, and this host is a server",
            web().flags(SERVICE_LOCAL).into_before().peer(PEER),
            syn().smac(PEER),
        )
        .because(Reason::PeerLocal),
        row("no server", tcp_service(80).v6(), syn()).because(Reason::NoServer),
        row("no MAC", web().servers([server(1).unresolved()]), syn())
            .because(Reason::BackendUnresolved),
        row(
            "an IPv4 service beside it",
            Before::from(tcp_service(80).servers([server(4)])).and(web()),
            syn(),
        )
        .opens(1, SynRecv),
        row(
            "two services whose addresses have the same hash",
            web().into_before().and(
                tcp_service(80)
                    .v6()
                    .at(same_fold(VIP6, 0))
                    .servers([server(5)]),
            ),
            syn().to(same_fold(VIP6, 0)),
        )
        .opens(5, SynRecv),
    ]
}

fn flows() -> Vec<Row> {
    let known = |state| web().into_before().flow(3, state);
    let twin = same_fold(CLIENT6, HASH_SEED);
    let mut low = octets(CLIENT6);
    low[15] ^= 1;
    let mut high = octets(CLIENT6);
    high[0] ^= 1;
    let of_other = |client: IpAddr| {
        web()
            .into_before()
            .flow_of(syn().from(client, CLIENT_PORT), 3, Established)
    };
    vec![
        row("ACK ends the handshake", known(SynRecv), ack()).stays(3, Established),
        row("FIN", known(Established), v6(tcp(80, FIN | ACK))).stays(3, FinWait),
        row("RST", known(Established), v6(tcp(80, RST))).stays(3, Close),
        row("ACK after a while", known(Established).silent(600), ack()).stays(3, Established),
        row(
            "ACK after 15 minutes",
            known(Established).silent(2000),
            ack(),
        )
        .because(Reason::TcpNoFlow),
        row("SYN reuses a closed connection", known(Close), syn()).opens(1, SynRecv),
        row("ACK without a flow", web(), ack()).because(Reason::TcpNoFlow),
        row(
            "UDP of a known flow",
            dns().into_before().flow(2, Udp),
            v6(udp(53)),
        )
        .stays(2, Udp),
        row(
            "its server is down",
            dns()
                .servers([server(1), server(2).down()])
                .turns(&[1])
                .into_before()
                .flow(2, Udp),
            v6(udp(53)),
        )
        .opens(1, UdpOnce)
        .noted(Reason::Rescheduled),
        row(
            "the flow of a client with another last bit",
            of_other(address(&low)),
            ack(),
        )
        .because(Reason::TcpNoFlow),
        row(
            "the flow of a client with another first bit",
            of_other(address(&high)),
            ack(),
        )
        .because(Reason::TcpNoFlow),
        row(
            "the flow of a client with the same tag",
            of_other(twin),
            ack(),
        )
        .because(Reason::TcpNoFlow),
        row(
            "a new flow beside that of a client with the same tag",
            of_other(twin),
            syn(),
        )
        .opens(1, SynRecv),
        row(
            "the right one of two flows with the same tag",
            of_other(twin).flow(2, Established),
            ack(),
        )
        .stays(2, Established),
        row(
            "sh",
            tcp_service(80)
                .v6()
                .sched(Sched::SourceHash)
                .servers([server(2)]),
            ack(),
        )
        .opens(2, Established),
    ]
}

fn extensions() -> Vec<Row> {
    let opens = |name, frame: Frame| row(name, web(), frame).opens(1, SynRecv);
    let stays = |name, frame: Frame| {
        row(name, web().into_before().flow(2, Established), frame).stays(2, Established)
    };
    vec![
        opens("hop-by-hop options", syn().extension(HOP_BY_HOP, &PADDING)),
        opens(
            "destination options",
            syn().extension(DESTINATION_OPTIONS, &PADDING),
        ),
        opens(
            "both, and one of 24 bytes",
            syn().extension(HOP_BY_HOP, &PADDING).extension(
                DESTINATION_OPTIONS,
                &[[1, 20].as_slice(), &[0; 20]].concat(),
            ),
        ),
        opens(
            "a segment routing header at its last segment",
            syn().extension(ROUTING, &[4, 0, 0, 0, 0, 0]),
        ),
        stays(
            "ACK with destination options",
            ack().extension(DESTINATION_OPTIONS, &PADDING),
        ),
        row(
            "UDP with hop-by-hop options",
            dns(),
            v6(udp(53)).extension(HOP_BY_HOP, &PADDING),
        )
        .opens(1, UdpOnce),
        row(
            "routing header type 0",
            web(),
            syn().extension(
                ROUTING,
                &[[0, 1, 0, 0, 0, 0].as_slice(), &octets(CLIENT6)].concat(),
            ),
        )
        .because(Reason::SourceRoute),
        row(
            "routing header type 0 in a flow",
            web().into_before().flow(2, Established),
            ack().extension(
                ROUTING,
                &[[0, 1, 0, 0, 0, 0].as_slice(), &octets(CLIENT6)].concat(),
            ),
        )
        .because(Reason::SourceRoute),
        row(
            "routing header type 0 to no service",
            web(),
            v6(tcp(22, SYN)).extension(
                ROUTING,
                &[[0, 1, 0, 0, 0, 0].as_slice(), &octets(CLIENT6)].concat(),
            ),
        )
        .because(Reason::NoService),
        row(
            "more extension headers than anybody sends",
            web(),
            (0..12).fold(syn(), |frame, _| {
                frame.extension(DESTINATION_OPTIONS, &PADDING)
            }),
        )
        .because(Reason::ExtensionHeaders),
        row(
            "an extension header beyond the packet",
            web(),
            syn().extension(HOP_BY_HOP, &PADDING).cut(14 + 40 + 3),
        )
        .because(Reason::BadTotalLength),
        row(
            "an extension header longer than the packet says it is",
            web(),
            syn().extension(HOP_BY_HOP, &PADDING).length_error(-24),
        )
        .because(Reason::Truncated),
    ]
}

fn wrong() -> Vec<Row> {
    let refused = |name, frame: Frame, reason| row(name, web(), frame).because(reason);
    vec![
        refused(
            "IP version 4 behind IPv6's ethertype",
            syn().patch_header(0, 0x40),
            Reason::Malformed,
        ),
        refused(
            "an IP header of 39 bytes",
            syn().cut(14 + 39),
            Reason::Truncated,
        ),
        refused("only an Ethernet header", syn().cut(14), Reason::Truncated),
        refused(
            "a length one beyond the frame",
            syn().length_error(1),
            Reason::BadTotalLength,
        ),
        refused(
            "length 0 (a jumbogram, or nothing)",
            syn().length_error(-20),
            Reason::Truncated,
        ),
        refused(
            "a length within the ports",
            syn().length_error(-17),
            Reason::Truncated,
        ),
        refused(
            "a TCP header of 19 bytes",
            syn().length_error(-1),
            Reason::ShortHeader,
        ),
        refused(
            "from the VIP to the VIP (land)",
            syn().from(VIP6, CLIENT_PORT),
            Reason::Land,
        ),
        refused(
            "an encrypted packet",
            syn().with(|f| {
                f.l4 = L4::Other {
                    proto: 50,
                    head: vec![1; 32],
                };
            }),
            Reason::OtherProtocol,
        ),
    ]
}

fn tunnelled() -> Vec<Row> {
    let by = |forward| server(1).behind(forward);
    let opens = |name, server| row(name, web().servers([server]), syn()).opens(1, SynRecv);
    let known = |server| web().servers([server]).into_before().flow(1, Established);
    vec![
        opens("SYN by IPIP over IPv4", by(Ipip)),
        opens("SYN by IPIP over IPv6", by(Ipip).over_v6()),
        opens("SYN by GUE over IPv4", by(Gue)),
        opens(
            "SYN by GUE over IPv6 with checksum",
            by(Gue).over_v6().with_checksum(),
        ),
        opens("SYN by GRE over IPv4", by(Gre)),
        opens("SYN by GRE over IPv6", by(Gre).over_v6()),
        row(
            "as long as the link takes",
            known(server(1).mtu(1400)),
            ack().payload(1340),
        )
        .stays(1, Established),
        row(
            "one byte longer",
            known(server(1).mtu(1400)),
            ack().payload(1341),
        )
        .too_big(1400),
        row(
            "much longer",
            known(server(1).mtu(1400)),
            ack().payload(3000),
        )
        .too_big(1400),
        row(
            "too long for IPIP over IPv6",
            known(by(Ipip).over_v6().mtu(1400)),
            ack().payload(1301),
        )
        .too_big(1360),
        row(
            "too long for GUE over IPv4",
            known(by(Gue).mtu(1400)),
            ack().payload(1400),
        )
        .too_big(1368),
    ]
}

fn address(bytes: &[u8]) -> IpAddr {
    let bytes: [u8; 16] = bytes.try_into().expect("16 bytes");
    IpAddr::V6(Ipv6Addr::from(bytes))
}

/// Another address that `fold_addr` with this seed makes the same number of.
fn same_fold(addr: IpAddr, seed: u64) -> IpAddr {
    let bytes = octets(addr);
    let half = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let (high, low) = (half(0), half(8));
    let (high_factor, low_factor) = fold_factors(seed);
    // Newton's iteration: each step doubles the bits that are right.
    let inverse = (0..6).fold(low_factor, |x, _| {
        x.wrapping_mul(2u64.wrapping_sub(low_factor.wrapping_mul(x)))
    });
    let other = high ^ 1;
    let gap = high.wrapping_sub(other).wrapping_mul(high_factor);
    let other_low = low.wrapping_add(gap.wrapping_mul(inverse));
    address(&[other.to_be_bytes(), other_low.to_be_bytes()].concat())
}
