//! Virtual addresses that are here but not to be talked to (`no_accept`).

use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv};

use crate::before::{Before, server, tcp_service};
use crate::frame::{
    ACK, CLIENT6, HOP_BY_HOP, PEER, SYN, VIP, VIP6, VLAN, icmp, other, tcp, udp, v4, v6,
};
use crate::row::{Row, row};

/// A service on an address of either family, for neither of which anything else is accepted.
fn before() -> Before {
    let web = tcp_service(80).servers([server(1), server(2)]);
    let web6 = tcp_service(80).v6().servers([server(3)]);
    web.into_before().and(web6).refused(VIP).refused(VIP6)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = refused();
    rows.extend(passed());
    rows
}

fn refused() -> Vec<Row> {
    let no = |name, frame| row(name, before(), frame).because(Reason::NotAccepted);
    vec![
        no("TCP to another port", tcp(22, SYN)),
        no("UDP", udp(53)),
        no("an echo request", icmp(v4(198, 51, 100, 9), 8, 0, [0; 4])),
        no("another protocol", other(47, &[0; 8])),
        no("in a VLAN", tcp(22, SYN).tag(VLAN, 5)),
        no("in two VLANs", tcp(22, SYN).tag(0x88a8, 5).tag(VLAN, 6)),
        no("with IP options", tcp(22, SYN).options(&[1; 8])),
        no("IPv6: TCP to another port", v6(tcp(22, SYN))),
        no("IPv6: in a VLAN", v6(tcp(22, SYN)).tag(VLAN, 5)),
        no("IPv6: an echo request", icmp(CLIENT6, 128, 0, [0; 4])),
        no(
            "IPv6: a router advertisement",
            icmp(CLIENT6, 134, 0, [0; 4]),
        ),
        no(
            "IPv6: more extension headers than are looked at",
            (0..8).fold(v6(tcp(22, SYN)), |f, _| f.extension(HOP_BY_HOP, &[0; 6])),
        ),
    ]
}

fn passed() -> Vec<Row> {
    vec![
        row("the service", before(), tcp(80, SYN)).opens(1, SynRecv),
        row(
            "the service's flow",
            before().flow(2, Established),
            tcp(80, ACK),
        )
        .stays(2, Established),
        row("IPv6: the service", before(), v6(tcp(80, SYN))).opens(3, SynRecv),
        row(
            "another address",
            before(),
            tcp(22, SYN).to(v4(203, 0, 113, 77)),
        )
        .because(Reason::NoService),
        row(
            "the IPv6 address of the same bytes",
            before(),
            v6(tcp(22, SYN)).to(same_bytes()),
        )
        .because(Reason::NoService),
        row(
            "IPv6: a neighbour solicitation",
            before(),
            icmp(CLIENT6, 135, 0, [0; 4]),
        )
        .because(Reason::OtherProtocol),
        row(
            "IPv6: a neighbour advertisement",
            before(),
            icmp(CLIENT6, 136, 0, [0; 4]),
        )
        .because(Reason::OtherProtocol),
        row(
            "no address is refused",
            tcp_service(80).servers([server(1)]),
            tcp(22, SYN),
        )
        .because(Reason::NoService),
        row("ARP", before(), tcp(22, SYN).ethertype(0x0806).smac(PEER)).because(Reason::NotIp),
    ]
}

/// The address whose first bytes are those of the VIP.
fn same_bytes() -> std::net::IpAddr {
    let mut bytes = [0; 16];
    let std::net::IpAddr::V4(vip) = VIP else {
        unreachable!("the VIP is of IPv4")
    };
    bytes[..4].copy_from_slice(&vip.octets());
    std::net::Ipv6Addr::from(bytes).into()
}
