//! Real servers behind a tunnel: the packet whole, in another.

use lb_common::maps::Forward::{self, Gre, Gue, Ipip};
use lb_common::maps::Sched;
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, SynRecv, UdpOnce};

use crate::before::{Server, server, tcp_service, udp_service};
use crate::frame::{ACK, Frame, SERVICE_VLAN, SYN, VLAN, tcp, udp};
use crate::row::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = kinds();
    rows.extend(headers());
    rows
}

fn kinds() -> Vec<Row> {
    let opens = |name, server: Server, frame: Frame| {
        row(name, tcp_service(80).servers([server]), frame).opens(1, SynRecv)
    };
    let stays = |name, server: Server, frame: Frame| {
        let before = tcp_service(80)
            .servers([server])
            .into_before()
            .flow(1, Established);
        row(name, before, frame).stays(1, Established)
    };
    let by = |forward: Forward| server(1).behind(forward);
    let syn = || tcp(80, SYN);
    let data = || tcp(80, ACK).payload(700);
    vec![
        opens("SYN by IPIP", by(Ipip), syn()),
        opens("SYN by GUE", by(Gue), syn()),
        opens("SYN by GUE with checksum", by(Gue).with_checksum(), syn()),
        opens("SYN by GRE", by(Gre), syn()),
        opens("SYN by GRE with checksum", by(Gre).with_checksum(), syn()),
        opens("SYN by IPIP over IPv6", by(Ipip).over_v6(), syn()),
        opens("SYN by GUE over IPv6", by(Gue).over_v6(), syn()),
        opens(
            "SYN by GUE with checksum over IPv6",
            by(Gue).over_v6().with_checksum(),
            syn(),
        ),
        opens("SYN by GRE over IPv6", by(Gre).over_v6(), syn()),
        opens(
            "SYN by GRE with checksum over IPv6",
            by(Gre).over_v6().with_checksum(),
            syn(),
        ),
        stays("data by IPIP", by(Ipip), data()),
        stays("data by GUE", by(Gue), data()),
        stays("data by GUE with checksum", by(Gue).with_checksum(), data()),
        stays(
            "an odd length by GUE with checksum",
            by(Gue).with_checksum(),
            tcp(80, ACK).payload(333),
        ),
        stays("data by GRE", by(Gre), data()),
        stays("data by GRE with checksum", by(Gre).with_checksum(), data()),
        stays(
            "an odd length by GRE with checksum",
            by(Gre).with_checksum(),
            tcp(80, ACK).payload(1),
        ),
        stays(
            "data by GUE with checksum over IPv6",
            by(Gue).over_v6().with_checksum(),
            data(),
        ),
        stays("out of another NIC", by(Ipip).behind_other_nic(), data()),
        row("UDP by IPIP", udp_service(53).servers([by(Ipip)]), udp(53)).opens(1, UdpOnce),
        row("UDP by GUE", udp_service(53).servers([by(Gue)]), udp(53)).opens(1, UdpOnce),
        row(
            "one server by a tunnel, the other directly",
            tcp_service(80)
                .servers([by(Gre), server(2)])
                .into_before()
                .turn(1),
            syn(),
        )
        .opens(2, SynRecv),
        row(
            "sh and a tunnel",
            tcp_service(80).sched(Sched::SourceHash).servers([by(Ipip)]),
            tcp(80, ACK),
        )
        .opens(1, Established),
    ]
}

fn headers() -> Vec<Row> {
    let gue = || tcp_service(80).servers([server(1).behind(Gue)]);
    let ipip = || tcp_service(80).servers([server(1).behind(Ipip)]);
    let opens = |name, frame: Frame| row(name, ipip(), frame).opens(1, SynRecv);
    let syn = || tcp(80, SYN);
    vec![
        opens("DSCP and ECN are copied", syn().tos(0xb9)),
        opens("the TTL is copied, one less", syn().ttl(2)),
        opens("DF is copied, set", syn()),
        opens(
            "DF is copied, clear",
            syn().with(|f| f.dont_fragment = false),
        ),
        opens("IP options stay inside", syn().options(&[1; 8])),
        opens("a VLAN tag stays in front", syn().tag(VLAN, 0x6005)),
        opens(
            "two VLAN tags stay in front",
            syn().tag(SERVICE_VLAN, 7).tag(VLAN, 8),
        ),
        row("a VLAN tag before GUE", gue(), syn().tag(VLAN, 9)).opens(1, SynRecv),
        row("padding", gue(), syn().padding(6)).opens(1, SynRecv),
        row("TTL 1", ipip(), syn().ttl(1))
            .opens(1, SynRecv)
            .because(Reason::TtlExpired),
        row(
            "no MAC of the next hop",
            tcp_service(80).servers([server(1).behind(Ipip).unresolved()]),
            syn(),
        )
        .because(Reason::BackendUnresolved),
    ]
}
