//! 802.1Q and 802.1ad: tags are read past and kept.

use lb_common::maps::SERVICE_LOCAL;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, UdpOnce};

use crate::before::{Service, server, tcp_service, udp_service};
use crate::frame::{ACK, Frame, PEER, SERVICE_VLAN, STRANGER, SYN, VLAN, tcp, udp, v6};
use crate::row::{Row, row};

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2)])
}

pub(crate) fn rows() -> Vec<Row> {
    let opens = |name, frame: Frame| row(name, web(), frame).opens(1, SynRecv);
    let stays = |name, frame: Frame| {
        row(name, web().into_before().flow(2, Established), frame).stays(2, Established)
    };
    let syn = || tcp(80, SYN);
    let ack = || tcp(80, ACK);
    let tagged = || syn().tag(VLAN, 5);
    vec![
        opens("a tag", tagged()),
        opens(
            "VLAN 4095 with the highest priority and DEI",
            syn().tag(VLAN, 0xffff),
        ),
        opens("a priority tag (VLAN 0)", syn().tag(VLAN, 0xa000)),
        opens("an 802.1ad tag", syn().tag(SERVICE_VLAN, 100)),
        opens("both", syn().tag(SERVICE_VLAN, 100).tag(VLAN, 5)),
        opens("two 802.1Q tags", syn().tag(VLAN, 100).tag(VLAN, 5)),
        opens("a tag and IP options", tagged().options(&[1; 12])),
        opens("a tag and padding", tagged().padding(2)),
        stays("a flow's packet", ack().tag(VLAN, 5)),
        stays(
            "a flow is the same in another VLAN",
            ack().tag(VLAN, 6).payload(100),
        ),
        stays(
            "a flow's packet with two tags",
            ack().tag(SERVICE_VLAN, 1).tag(VLAN, 2).payload(1400),
        ),
        row(
            "UDP",
            udp_service(53).servers([server(1)]),
            udp(53).tag(VLAN, 5),
        )
        .opens(1, UdpOnce),
        row(
            "IPv6",
            tcp_service(80).v6().servers([server(1)]),
            v6(syn()).tag(VLAN, 5),
        )
        .opens(1, SynRecv),
        row(
            "IPv6 with two tags",
            tcp_service(80)
                .v6()
                .servers([server(1)])
                .into_before()
                .flow(1, Established),
            v6(ack()).tag(SERVICE_VLAN, 5).tag(VLAN, 6),
        )
        .stays(1, Established),
        row(
            "out of another NIC",
            web().servers([server(3).behind_other_nic()]),
            tagged(),
        )
        .opens(3, SynRecv),
        row(
            "a server that is this host",
            web().servers([server(3).local()]),
            tagged(),
        )
        .opens_here(3, SynRecv),
        row(
            "three tags",
            web(),
            syn().tag(VLAN, 1).tag(VLAN, 2).tag(VLAN, 3),
        )
        .because(Reason::NotIp),
        row("a tag before ARP", web(), tagged().ethertype(0x0806)).because(Reason::NotIp),
        row("a frame that ends in its tag", web(), tagged().cut(17)).because(Reason::NotIp),
        row("an IP header that is cut off", web(), tagged().cut(18 + 19))
            .because(Reason::Truncated),
        row("for another host's MAC", web(), tagged().dmac(STRANGER)).because(Reason::OtherMac),
        row(
            "from a peer director",
            web().into_before().peer(PEER),
            tagged().smac(PEER),
        )
        .because(Reason::PeerDirector),
        row(
            "from a peer director, and this host is a server",
            web().flags(SERVICE_LOCAL).into_before().peer(PEER),
            tagged().smac(PEER),
        )
        .because(Reason::PeerLocal),
        row("to no service", web(), tcp(22, SYN).tag(VLAN, 5)).because(Reason::NoService),
        row("TTL 1", web(), tagged().ttl(1))
            .opens(1, SynRecv)
            .because(Reason::TtlExpired),
    ]
}
