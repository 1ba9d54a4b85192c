//! Which server a new connection gets where connection counts decide.

use lb_common::maps::{LOAD_OVERLOADED, Sched};
use lb_common::reason::Reason;
use lb_common::tcp::State::{Established, FinWait, SynRecv, UdpOnce};

use crate::before::{Server, server, tcp_service, udp_service};
use crate::frame::{ACK, FIN, SYN, tcp, udp, v4, v6};
use crate::row::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = counts();
    rows.extend(thresholds());
    rows.extend(uncounted());
    rows
}

/// Where nobody looks at the counts they stay what user space made them.
fn uncounted() -> Vec<Row> {
    let service = || {
        let servers = [server(1).uncounted().load(5, 2), server(2).uncounted()];
        tcp_service(80).servers(servers)
    };
    vec![
        row("uncounted: a new connection", service(), tcp(80, SYN)).opens(1, SynRecv),
        row(
            "uncounted: an end",
            service().into_before().flow(1, Established),
            tcp(80, FIN | ACK),
        )
        .stays(1, FinWait),
        row(
            "uncounted: a server that is gone, for one that is counted",
            tcp_service(80)
                .servers([server(1).uncounted().load(5, 2).down(), server(2)])
                .turns(&[2])
                .into_before()
                .flow(1, Established),
            tcp(80, SYN),
        )
        .noted(Reason::Rescheduled)
        .opens(2, SynRecv),
    ]
}

/// The schedulers that look at connection counts. Loads are active and inactive connections.
fn counts() -> Vec<Row> {
    let loaded =
        |index, weight, active, inactive| server(index).weight(weight).load(active, inactive);
    let by = |sched, servers: Vec<Server>| tcp_service(80).sched(sched).servers(servers);
    let lblc = || {
        let servers = vec![loaded(1, 9, 2, 0), loaded(2, 9, 0, 0)];
        by(Sched::Lblc, servers).into_before()
    };
    // Servers as their index, weight, active and inactive connections.
    let chosen = |name, sched, servers: &[(u16, u16, i32, i32)], server| {
        let servers = servers.iter().map(|&(i, w, a, n)| loaded(i, w, a, n));
        row(name, by(sched, servers.collect()), tcp(80, SYN)).opens(server, SynRecv)
    };
    use Sched::{
        Failover, LeastConn, NeverQueue, Overflow, PowerOfTwo, ShortestDelay, WeightedLeastConn,
    };
    vec![
        chosen(
            "lc: fewest connections",
            LeastConn,
            &[(1, 1, 3, 0), (2, 1, 1, 0), (3, 1, 2, 0)],
            2,
        ),
        chosen(
            "lc: an active one counts as 256 inactive ones",
            LeastConn,
            &[(1, 1, 1, 0), (2, 1, 0, 255)],
            2,
        ),
        chosen(
            "lc: 257 inactive ones are more than an active one",
            LeastConn,
            &[(1, 1, 0, 257), (2, 1, 1, 0)],
            2,
        ),
        chosen(
            "lc: the first of equals",
            LeastConn,
            &[(3, 1, 1, 1), (1, 1, 1, 1)],
            3,
        ),
        chosen(
            "lc: weights do not matter",
            LeastConn,
            &[(1, 9, 2, 0), (2, 1, 1, 0)],
            2,
        ),
        chosen(
            "lc: but 0 does",
            LeastConn,
            &[(1, 0, 0, 0), (2, 1, 7, 0)],
            2,
        ),
        chosen(
            "wlc: connections by weight",
            WeightedLeastConn,
            &[(1, 4, 4, 0), (2, 1, 2, 0), (3, 2, 3, 0)],
            1,
        ),
        chosen(
            "wlc: the first of equals",
            WeightedLeastConn,
            &[(2, 2, 2, 0), (1, 3, 3, 0)],
            2,
        ),
        chosen(
            "wlc: nobody has any: the first, whatever its weight",
            WeightedLeastConn,
            &[(1, 1, 0, 0), (2, 9, 0, 0)],
            1,
        ),
        chosen(
            "sed: one more, by weight",
            ShortestDelay,
            &[(1, 1, 0, 0), (2, 3, 1, 0)],
            2,
        ),
        chosen(
            "sed: inactive ones do not matter",
            ShortestDelay,
            &[(1, 2, 1, 500), (2, 2, 2, 0)],
            1,
        ),
        chosen(
            "nq: an idle server, although sed says otherwise",
            NeverQueue,
            &[(1, 9, 1, 0), (2, 1, 0, 90)],
            2,
        ),
        chosen(
            "nq: nobody idle: as sed",
            NeverQueue,
            &[(1, 1, 1, 0), (2, 3, 2, 0)],
            2,
        ),
        chosen(
            "fo: the highest weight, however loaded",
            Failover,
            &[(1, 1, 0, 0), (2, 5, 900, 0), (3, 3, 0, 0)],
            2,
        ),
        row(
            "fo: the next one, the first being full",
            by(
                Failover,
                vec![
                    loaded(1, 1, 0, 0),
                    loaded(2, 5, 9, 0).thresholds(9, 0).marked(LOAD_OVERLOADED),
                    loaded(3, 3, 0, 0),
                ],
            ),
            tcp(80, SYN),
        )
        .opens(3, SynRecv),
        chosen(
            "ovf: the highest weight up to its weight",
            Overflow,
            &[(1, 5, 5, 0), (2, 3, 0, 0)],
            1,
        ),
        chosen(
            "ovf: then the next one",
            Overflow,
            &[(1, 5, 6, 0), (2, 3, 0, 0)],
            2,
        ),
        row(
            "ovf: nobody has room",
            by(Overflow, vec![loaded(1, 5, 6, 0), loaded(2, 3, 4, 0)]),
            tcp(80, SYN),
        )
        .because(Reason::NoServer),
        row(
            "ovf: nobody has room, and one of weight 0 has no MAC either",
            by(
                Overflow,
                vec![loaded(1, 5, 6, 0), server(2).weight(0).unresolved()],
            ),
            tcp(80, SYN),
        )
        .because(Reason::NoServer),
        row(
            "ovf: one has no room, the other no MAC",
            by(Overflow, vec![loaded(1, 5, 6, 0), server(2).unresolved()]),
            tcp(80, SYN),
        )
        .because(Reason::BackendUnresolved),
        chosen("twos: one server", PowerOfTwo, &[(4, 1, 9, 0)], 4),
        chosen(
            "twos: weight 0 is not drawn",
            PowerOfTwo,
            &[(1, 0, 0, 0), (4, 1, 9, 0)],
            4,
        ),
        chosen(
            "lblc: as wlc",
            Sched::Lblc,
            &[(1, 1, 2, 0), (2, 3, 3, 0)],
            2,
        ),
        row(
            "lblc: the server of last time",
            lblc().chose(1, 500),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "lblc: another CPU chose it and was a tick ahead",
            lblc().chose(1, u32::MAX),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "lblc: chosen days ago",
            lblc().chose(1, 500_000),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        chosen(
            "lblcr: as wlc",
            Sched::Lblcr,
            &[(1, 1, 2, 0), (2, 3, 3, 0)],
            2,
        ),
        row(
            "lc: a server that is down is not looked at",
            by(
                LeastConn,
                vec![loaded(1, 1, 0, 0).down(), loaded(2, 1, 3, 0)],
            ),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "lc: TCP in mid-stream",
            by(LeastConn, vec![loaded(1, 1, 0, 0)]),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "lc, IPv6",
            by(LeastConn, vec![loaded(1, 1, 3, 0), loaded(2, 1, 1, 0)]).v6(),
            v6(tcp(80, SYN)),
        )
        .opens(2, SynRecv),
        row(
            "lc, UDP: all are inactive",
            udp_service(53)
                .sched(LeastConn)
                .servers([loaded(1, 1, 0, 3), loaded(2, 1, 0, 2)]),
            udp(53),
        )
        .opens(2, UdpOnce),
        row(
            "lc, a known connection",
            by(LeastConn, vec![loaded(1, 1, 9, 0), loaded(2, 1, 0, 0)])
                .into_before()
                .flow(1, Established),
            tcp(80, ACK),
        )
        .stays(1, Established),
        row(
            "lc, every server has weight 0",
            by(LeastConn, vec![loaded(1, 0, 0, 0)]),
            tcp(80, SYN),
        )
        .because(Reason::NoServer),
    ]
}

/// `uthreshold` and `lthreshold`: with so many connections a server takes no new ones, until it has
/// fewer than `lthreshold`, or than three quarters of `uthreshold`.
fn thresholds() -> Vec<Row> {
    let full = |index, upper, lower, active, inactive| {
        server(index)
            .thresholds(upper, lower)
            .load(active, inactive)
            .marked(LOAD_OVERLOADED)
    };
    let rr = |servers: Vec<Server>| tcp_service(80).servers(servers);
    vec![
        row(
            "rr, a full server",
            rr(vec![full(1, 10, 0, 10, 0), server(2)]),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "rr, full by inactive ones",
            rr(vec![full(1, 10, 0, 2, 8), server(2)]),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "rr, not yet below three quarters",
            rr(vec![full(1, 10, 0, 8, 0), server(2)]),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "rr, below three quarters",
            rr(vec![full(1, 10, 0, 7, 0), server(2)]),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "rr, not yet below lthreshold",
            rr(vec![full(1, 10, 3, 3, 0), server(2)]),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "rr, below lthreshold",
            rr(vec![full(1, 10, 3, 2, 0), server(2)]),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "rr, room for one more",
            rr(vec![server(1).thresholds(10, 0).load(9, 0), server(2)]),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "rr, the first has taken its only one",
            rr(vec![server(1).thresholds(1, 0), server(2).thresholds(5, 0)])
                .into_before()
                .turn(2)
                .after(tcp(80, SYN).from(v4(10, 0, 0, 9), 1))
                .after(tcp(80, SYN).from(v4(10, 0, 0, 9), 2)),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
        row(
            "rr, all are full",
            rr(vec![full(1, 1, 0, 1, 0), full(2, 1, 0, 1, 0)]),
            tcp(80, SYN),
        )
        .because(Reason::NoServer),
        row(
            "a full server keeps its connections",
            rr(vec![full(1, 1, 0, 0, 0), server(2)])
                .into_before()
                .flow(1, Established),
            tcp(80, ACK),
        )
        .stays(1, Established),
        row(
            "lc, the least loaded is full",
            tcp_service(80)
                .sched(Sched::LeastConn)
                .servers([full(1, 2, 0, 2, 0), server(2).load(50, 0)]),
            tcp(80, SYN),
        )
        .opens(2, SynRecv),
    ]
}
