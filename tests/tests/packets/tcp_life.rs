//! The life of a TCP connection: IPVS's states for a director that sees the client's side only
//! (`ip_vs_proto_tcp.c`, table INPUT-ONLY), its timeouts, and servers that go.

use lb_common::maps::{SERVICE_EXPIRE_NODEST, SERVICE_SLOPPY, Sched};
use lb_common::reason::Reason;
use lb_common::tcp::State::{
    self, Close, CloseWait, Established, FinWait, LastAck, Listen, SynAck, SynRecv, SynSent,
    TimeWait,
};

use crate::before::{Service, server, tcp_service};
use crate::frame::{ACK, FIN, RST, SYN, tcp};
use crate::row::{Row, row};

const PSH: u8 = 8;
const URG: u8 = 32;

fn web() -> Service {
    tcp_service(80).servers([server(1), server(2), server(3)])
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = transitions();
    rows.extend(without_flow());
    rows.extend(timeouts());
    rows.extend(timeouts_of_a_service());
    rows.extend(servers_that_go());
    rows.extend(servers_of_weight_0());
    rows
}

/// State, flags, state after. (A SYN in TIME_WAIT or CLOSE begins anew; see below.)
const TRANSITIONS: &[(&str, State, u8, State)] = &[
    ("ACK", Established, ACK, Established),
    ("data", Established, ACK | PSH, Established),
    ("urgent data", Established, ACK | PSH | URG, Established),
    ("ACK ends the handshake", SynRecv, ACK, Established),
    ("SYN again", SynRecv, SYN, SynRecv),
    ("SYN and ACK in the handshake", SynRecv, SYN | ACK, SynRecv),
    (
        "SYN into an established connection",
        Established,
        SYN,
        Established,
    ),
    ("FIN", Established, FIN | ACK, FinWait),
    ("FIN without ACK", Established, FIN, FinWait),
    ("FIN again", FinWait, FIN | ACK, FinWait),
    ("FIN with data", Established, FIN | ACK | PSH, FinWait),
    ("FIN in the handshake", SynRecv, FIN, TimeWait),
    ("ACK after FIN", FinWait, ACK, FinWait),
    ("SYN after FIN", FinWait, SYN, SynRecv),
    ("RST", Established, RST, Close),
    ("RST and ACK", Established, RST | ACK, Close),
    ("RST in the handshake", SynRecv, RST | ACK, SynRecv),
    ("RST after FIN", FinWait, RST, Close),
    ("RST in TIME_WAIT", TimeWait, RST, Close),
    ("RST in CLOSE_WAIT", CloseWait, RST, Close),
    ("RST in LAST_ACK", LastAck, RST, LastAck),
    (
        "RST outweighs SYN and FIN",
        Established,
        RST | SYN | FIN | ACK,
        Close,
    ),
    ("SYN outweighs FIN", Established, SYN | FIN, Established),
    ("ACK after RST", Close, ACK, Close),
    ("FIN after RST", Close, FIN | ACK, Close),
    ("ACK in TIME_WAIT", TimeWait, ACK, TimeWait),
    ("FIN in TIME_WAIT", TimeWait, FIN | ACK, TimeWait),
    ("ACK in CLOSE_WAIT", CloseWait, ACK, CloseWait),
    ("FIN in CLOSE_WAIT", CloseWait, FIN | ACK, CloseWait),
    ("SYN in CLOSE_WAIT", CloseWait, SYN, SynRecv),
    ("ACK in LAST_ACK", LastAck, ACK, Close),
    ("FIN in LAST_ACK", LastAck, FIN | ACK, LastAck),
    ("SYN in LAST_ACK", LastAck, SYN, SynRecv),
    ("ACK in SYN_SENT", SynSent, ACK, SynSent),
    ("SYN in SYN_SENT", SynSent, SYN, Established),
    ("ACK in SYNACK", SynAck, ACK, Established),
    ("FIN in SYNACK", SynAck, FIN, TimeWait),
    ("ACK in LISTEN", Listen, ACK, Listen),
    ("no flag at all", Established, 0, Close),
    ("no flag that says anything", Established, PSH | URG, Close),
];

fn transitions() -> Vec<Row> {
    TRANSITIONS
        .iter()
        .map(|&(name, from, flags, to)| {
            row(name, web().into_before().flow(3, from), tcp(80, flags)).stays(3, to)
        })
        .collect()
}

fn without_flow() -> Vec<Row> {
    let sloppy = || web().flags(SERVICE_SLOPPY);
    let refused = |name, service: Service, flags| {
        row(name, service, tcp(80, flags)).because(Reason::TcpNoFlow)
    };
    vec![
        refused("ACK without a flow", web(), ACK),
        refused("data without a flow", web(), ACK | PSH),
        refused("FIN without a flow", web(), FIN | ACK),
        refused("RST without a flow", web(), RST),
        refused("SYN and RST", web(), SYN | RST),
        refused("no flag, no flow", web(), 0),
        refused("RST, sloppy", sloppy(), RST),
        row("ACK, sloppy", sloppy(), tcp(80, ACK)).opens(1, Established),
        row("FIN, sloppy", sloppy(), tcp(80, FIN | ACK)).opens(1, Close),
        row("SYN, sloppy", sloppy(), tcp(80, SYN)).opens(1, SynRecv),
        row("SYN and FIN", web(), tcp(80, SYN | FIN)).opens(1, SynRecv),
        row(
            "ACK to a hash",
            tcp_service(80)
                .sched(Sched::SourceHash)
                .servers([server(4)]),
            tcp(80, ACK),
        )
        .opens(4, Established),
        row(
            "the flow of another port of the client",
            web()
                .into_before()
                .flow_of(tcp(80, SYN).with(|f| f.from.1 = 40_001), 3, Established),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "the flow of the same client and port to another service",
            web()
                .into_before()
                .and(tcp_service(81).servers([server(4)]))
                .flow_of(tcp(81, SYN), 4, Established),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
    ]
}

/// In ticks, which are 0.5 s to 1 s long: clearly within a timeout and clearly beyond it.
fn timeouts() -> Vec<Row> {
    let known = |state, ticks| web().into_before().flow(3, state).silent(ticks);
    vec![
        row("ACK after a while", known(Established, 600), tcp(80, ACK)).stays(3, Established),
        row(
            "ACK after 15 minutes",
            known(Established, 2000),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "SYN after 15 minutes",
            known(Established, 2000),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "the handshake goes on after 30 s",
            known(SynRecv, 30),
            tcp(80, ACK),
        )
        .stays(3, Established),
        row(
            "half-open for more than a minute",
            known(SynRecv, 140),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "a SYN again after more than a minute",
            known(SynRecv, 140),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row("ACK long after RST", known(Close, 25), tcp(80, ACK)).because(Reason::TcpNoFlow),
        row("ACK soon after RST", known(Close, 5), tcp(80, ACK)).stays(3, Close),
        row("ACK a minute after FIN", known(FinWait, 60), tcp(80, ACK)).stays(3, FinWait),
        row("ACK long after FIN", known(FinWait, 260), tcp(80, ACK)).because(Reason::TcpNoFlow),
        row(
            "ACK long after TIME_WAIT began",
            known(TimeWait, 260),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "LAST_ACK for a minute and a half",
            known(LastAck, 90),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "CLOSE_WAIT for more than a minute",
            known(CloseWait, 140),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "SYN reuses a closed connection",
            known(Close, 0),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row("SYN reuses TIME_WAIT", known(TimeWait, 0), tcp(80, SYN)).opens(1, SynRecv),
        row(
            "SYN and ACK reuse TIME_WAIT",
            known(TimeWait, 0),
            tcp(80, SYN | ACK),
        )
        .opens(1, SynRecv),
    ]
}

/// Set 1 has a minute for each state.
fn timeouts_of_a_service() -> Vec<Row> {
    let known = |state, ticks| web().timeouts(1).into_before().flow(3, state).silent(ticks);
    vec![
        row(
            "a service with timeouts of its own",
            web().timeouts(1),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "within its own timeout",
            known(Established, 30),
            tcp(80, ACK),
        )
        .stays(3, Established),
        row(
            "longer than its own timeout",
            known(Established, 200),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "closed for longer than usual",
            known(Close, 30),
            tcp(80, ACK),
        )
        .stays(3, Close),
    ]
}

fn servers_that_go() -> Vec<Row> {
    let down = || tcp_service(80).servers([server(1), server(2), server(3).down()]);
    let ends = |state| {
        down()
            .turns(&[1, 2])
            .flags(SERVICE_EXPIRE_NODEST)
            .into_before()
            .flow(3, state)
    };
    // Taken out of the table by the daemon when it went down.
    let known = |state| down().turns(&[1, 2]).into_before().flow(3, state);
    vec![
        row(
            "ACK to a server that is down",
            known(Established),
            tcp(80, ACK),
        )
        .stays(3, Established),
        row(
            "FIN to a server that is down",
            known(Established),
            tcp(80, FIN | ACK),
        )
        .stays(3, FinWait),
        row(
            "RST to a server that is down",
            known(Established),
            tcp(80, RST),
        )
        .stays(3, Close),
        row(
            "SYN to a server that is down",
            known(Established),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .noted(Reason::Rescheduled),
        row(
            "a SYN again, the server being down",
            known(SynRecv),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .noted(Reason::Rescheduled),
        row(
            "SYN to a server that is down, and no other is there",
            tcp_service(80)
                .servers([server(3).down()])
                .turns(&[])
                .into_before()
                .flow(3, Established),
            tcp(80, SYN),
        )
        .ends()
        .because(Reason::NoServer),
        row(
            "weight 0 keeps its connections",
            tcp_service(80)
                .servers([server(1), server(3).weight(0)])
                .turns(&[1])
                .into_before()
                .flow(3, Established),
            tcp(80, ACK),
        )
        .stays(3, Established),
        row(
            "a SYN again to weight 0",
            tcp_service(80)
                .servers([server(1), server(3).weight(0)])
                .turns(&[1])
                .into_before()
                .flow(3, SynRecv),
            tcp(80, SYN),
        )
        .stays(3, SynRecv),
        row(
            "a flow whose server is another service's by now",
            web()
                .into_before()
                .and(tcp_service(81).servers([server(4)]))
                .flow(4, Established),
            tcp(80, ACK),
        )
        .because(Reason::TcpNoFlow),
        row(
            "a SYN of such a flow",
            web()
                .into_before()
                .and(tcp_service(81).servers([server(4)]))
                .flow(4, Established),
            tcp(80, SYN),
        )
        .opens(1, SynRecv),
        row(
            "SYN to a server without MAC, and no other is there",
            tcp_service(80)
                .servers([server(3).unresolved()])
                .into_before()
                .flow(3, Established),
            tcp(80, SYN),
        )
        .ends()
        .because(Reason::BackendUnresolved),
        row(
            "expire_nodest_conn: ACK to a server that is down",
            ends(Established),
            tcp(80, ACK),
        )
        .ends()
        .because(Reason::TcpNoFlow),
        row(
            "expire_nodest_conn: FIN to a server that is down",
            ends(Established),
            tcp(80, FIN | ACK),
        )
        .ends()
        .because(Reason::TcpNoFlow),
        row(
            "expire_nodest_conn: SYN to a server that is down",
            ends(Established),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .noted(Reason::Rescheduled),
        row(
            "expire_nodest_conn: a server that is up",
            web()
                .flags(SERVICE_EXPIRE_NODEST)
                .into_before()
                .flow(3, Established),
            tcp(80, ACK),
        )
        .stays(3, Established),
    ]
}

/// IPVS with `conn_reuse_mode` 1: `ip_vs_in_hook` of 6.1.
fn servers_of_weight_0() -> Vec<Row> {
    let quiet = |flags, state| {
        tcp_service(80)
            .servers([server(1), server(2), server(3).weight(0)])
            .turns(&[1, 2])
            .flags(flags)
            .into_before()
            .flow(3, state)
    };
    let ends = |state| quiet(SERVICE_EXPIRE_NODEST, state);
    vec![
        row("weight 0: ACK", quiet(0, Established), tcp(80, ACK)).stays(3, Established),
        row("weight 0: SYN", quiet(0, Established), tcp(80, SYN)).stays(3, Established),
        row(
            "weight 0: SYN again in the handshake",
            quiet(0, SynRecv),
            tcp(80, SYN),
        )
        .stays(3, SynRecv),
        row("weight 0: SYN after RST", quiet(0, Close), tcp(80, SYN)).opens(1, SynRecv),
        row(
            "weight 0, expire_nodest_conn: ACK",
            ends(Established),
            tcp(80, ACK),
        )
        .stays(3, Established),
        row(
            "weight 0, expire_nodest_conn: FIN",
            ends(Established),
            tcp(80, FIN | ACK),
        )
        .stays(3, FinWait),
        row(
            "weight 0, expire_nodest_conn: SYN",
            ends(Established),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .noted(Reason::Rescheduled),
        row(
            "weight 0, expire_nodest_conn: SYN again in the handshake",
            ends(SynRecv),
            tcp(80, SYN),
        )
        .opens(1, SynRecv)
        .noted(Reason::Rescheduled),
        row(
            "weight 0, expire_nodest_conn: SYN, and no other server is there",
            tcp_service(80)
                .servers([server(3).weight(0)])
                .turns(&[])
                .flags(SERVICE_EXPIRE_NODEST)
                .into_before()
                .flow(3, Established),
            tcp(80, SYN),
        )
        .ends()
        .because(Reason::NoServer),
    ]
}
