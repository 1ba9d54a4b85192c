//! Packets longer than the way to the real server takes.

use lb_common::maps::Forward::{Gre, Gue, Ipip};
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, UdpOnce};

use crate::before::{Before, Server, server, tcp_service, udp_service};
use crate::frame::{ACK, HOP_BY_HOP, VLAN, icmp_about, tcp, udp, v4, v6};
use crate::row::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    // The packet has 40 bytes more than this.
    let data = |len| tcp(80, ACK).payload(len);
    let known = |server: Server| -> Before {
        tcp_service(80)
            .servers([server])
            .into_before()
            .flow(1, Established)
    };
    let direct = || known(server(1).mtu(1400));
    let by = |forward| known(server(1).behind(forward).mtu(1400));
    let known6 = || -> Before {
        tcp_service(80)
            .v6()
            .servers([server(1).mtu(1400)])
            .into_before()
            .flow_of(v6(tcp(80, ACK)), 1, Established)
    };
    let error6 = || icmp_about(2, 0, &v6(data(1400)).reversed(), 1400);
    let cuttable = |len| data(len).with(|f| f.dont_fragment = false);
    vec![
        row("as long as the link takes", direct(), data(1360)).stays(1, Established),
        row("one byte longer", direct(), data(1361)).too_big(1400),
        row("much longer", direct(), data(3000)).too_big(1400),
        row("longer than an answer may quote", direct(), data(1460)).too_big(1400),
        row(
            "a small MTU: the whole packet is quoted",
            known(server(1).mtu(300)),
            data(261),
        )
        .too_big(300),
        row("behind a VLAN tag", direct(), data(1400).tag(VLAN, 0x2007)).too_big(1400),
        row("with padding", direct(), data(1400).padding(10)).too_big(1400),
        row("with IP options", direct(), data(1400).options(&[1; 8])).too_big(1400),
        row("without DF", direct(), cuttable(1400)).because(Reason::TooBig),
        row("no MTU known", known(server(1)), data(3000)).stays(1, Established),
        row(
            "no limit on the way of another server",
            known(server(1)).and(tcp_service(81).servers([server(2).mtu(100)])),
            data(1000),
        )
        .stays(1, Established),
        row("a jumbo link", known(server(1).mtu(9000)), data(3000)).stays(1, Established),
        row(
            "from a source that is no host",
            known(server(1).mtu(1400)),
            data(1400).from(v4(224, 0, 0, 1), 9),
        )
        .because(Reason::TooBig),
        row("fits with its tunnel", by(Ipip), data(1340)).stays(1, Established),
        row("one byte too long for IPIP", by(Ipip), data(1341)).too_big(1380),
        row("fits with GUE", by(Gue), data(1328)).stays(1, Established),
        row("one byte too long for GUE", by(Gue), data(1329)).too_big(1368),
        row("fits with GRE", by(Gre), data(1336)).stays(1, Established),
        row("one byte too long for GRE", by(Gre), data(1337)).too_big(1376),
        row(
            "one byte too long for GRE with checksum",
            known(server(1).behind(Gre).with_checksum().mtu(1400)),
            data(1333),
        )
        .too_big(1372),
        row(
            "too long for IPIP over IPv6",
            known(server(1).behind(Ipip).over_v6().mtu(1400)),
            data(1321),
        )
        .too_big(1360),
        row(
            "too long for a tunnel, without DF",
            by(Ipip),
            cuttable(1341),
        )
        .because(Reason::TooBig),
        row(
            "a new UDP flow",
            udp_service(53).servers([server(1).mtu(1400)]),
            udp(53).payload(1400),
        )
        .opens(1, UdpOnce)
        .too_big(1400),
        row(
            "an ICMP error",
            tcp_service(80)
                .servers([server(1).mtu(300)])
                .into_before()
                .flow_of(tcp(80, ACK), 1, Established),
            icmp_about(3, 4, &data(400).reversed(), 400),
        )
        .because(Reason::TooBig),
        row("IPv6", known6(), v6(data(1400))).too_big(1400),
        row("IPv6, an ICMPv6 error", known6(), error6()).because(Reason::TooBig),
        row(
            "IPv6, an ICMPv6 error behind hop-by-hop options",
            known6(),
            error6().extension(HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]),
        )
        .because(Reason::TooBig),
        row(
            "out of another NIC, told back the way it came",
            known(server(1).behind_other_nic().mtu(1400)),
            data(1400),
        )
        .too_big(1400),
    ]
}
