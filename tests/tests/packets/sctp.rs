//! The life of an SCTP association: IPVS's states for a director that sees the client's side only
//! (`ip_vs_proto_sctp.c`, table INPUT-ONLY).

use lb_common::reason::Reason;
use lb_common::tcp::State::{
    self, SctpClosed, SctpCookieEchoed, SctpEstablished, SctpInit, SctpInit1, SctpRejected,
    SctpShutdownReceived, SctpShutdownSent,
};

use crate::before::{Service, sctp_service, server};
use crate::frame::{
    ABORT, COOKIE_ACK, COOKIE_ECHO, ERROR, INIT, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, SYN,
    VLAN, sctp, tcp, v6,
};
use crate::row::{Row, row};

const DATA: u8 = 0;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;

fn diameter() -> Service {
    sctp_service(3868).servers([server(1), server(2), server(3)])
}

const TRANSITIONS: &[(&str, State, u8, State)] = &[
    ("INIT again", SctpInit1, INIT, SctpInit),
    (
        "COOKIE ECHO ends the handshake",
        SctpInit1,
        COOKIE_ECHO,
        SctpEstablished,
    ),
    (
        "COOKIE ECHO after two INITs",
        SctpInit,
        COOKIE_ECHO,
        SctpEstablished,
    ),
    ("DATA in the handshake", SctpInit1, DATA, SctpInit1),
    ("ABORT in the handshake", SctpInit1, ABORT, SctpClosed),
    ("DATA", SctpEstablished, DATA, SctpEstablished),
    ("SACK", SctpEstablished, SACK, SctpEstablished),
    ("HEARTBEAT", SctpEstablished, HEARTBEAT, SctpEstablished),
    ("COOKIE ACK", SctpCookieEchoed, COOKIE_ACK, SctpEstablished),
    ("ERROR", SctpEstablished, ERROR, SctpEstablished),
    (
        "INIT into an association",
        SctpEstablished,
        INIT,
        SctpEstablished,
    ),
    ("SHUTDOWN", SctpEstablished, SHUTDOWN, SctpShutdownReceived),
    ("SHUTDOWN ACK", SctpEstablished, SHUTDOWN_ACK, SctpClosed),
    (
        "SHUTDOWN ACK to our SHUTDOWN",
        SctpShutdownSent,
        SHUTDOWN_ACK,
        SctpClosed,
    ),
    (
        "SHUTDOWN COMPLETE",
        SctpShutdownReceived,
        SHUTDOWN_COMPLETE,
        SctpClosed,
    ),
    ("ABORT", SctpEstablished, ABORT, SctpClosed),
    ("DATA after the end", SctpClosed, DATA, SctpClosed),
    ("DATA after a rejection", SctpRejected, DATA, SctpRejected),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = TRANSITIONS
        .iter()
        .map(|&(name, from, chunk, to)| {
            let before = diameter().into_before().flow(3, from);
            row(name, before, sctp(3868, chunk)).stays(3, to)
        })
        .collect();
    let refused =
        |name, chunk| row(name, diameter(), sctp(3868, chunk)).because(Reason::SctpNoFlow);
    rows.extend([
        row("INIT", diameter(), sctp(3868, INIT)).opens(1, SctpInit1),
        row("INIT with padding", diameter(), sctp(3868, INIT).padding(9)).opens(1, SctpInit1),
        row(
            "INIT with IP options",
            diameter(),
            sctp(3868, INIT).options(&[1; 4]),
        )
        .opens(1, SctpInit1),
        row("INIT in a VLAN", diameter(), sctp(3868, INIT).tag(VLAN, 9)).opens(1, SctpInit1),
        row("IPv6", diameter().v6(), v6(sctp(3868, INIT))).opens(1, SctpInit1),
        row(
            "IPv6, a known association",
            diameter().v6().into_before().flow(2, SctpEstablished),
            v6(sctp(3868, DATA)).payload(500),
        )
        .stays(2, SctpEstablished),
        refused("DATA without a flow", DATA),
        refused("COOKIE ECHO without a flow", COOKIE_ECHO),
        refused("ABORT without a flow", ABORT),
        row(
            "after 15 minutes",
            diameter()
                .into_before()
                .flow(3, SctpEstablished)
                .silent(2000),
            sctp(3868, DATA),
        )
        .because(Reason::SctpNoFlow),
        row(
            "a header that is cut off",
            diameter(),
            sctp(3868, INIT).length_error(-17),
        )
        .because(Reason::ShortHeader),
        row("to no service", diameter(), sctp(3869, INIT)).because(Reason::NoService),
        row("TCP to an SCTP service", diameter(), tcp(3868, SYN)).because(Reason::NoService),
        row(
            "a server that is this host",
            diameter().servers([server(1).local()]),
            sctp(3868, INIT),
        )
        .opens_here(1, SctpInit1),
        row(
            "DATA to a server that is down",
            diameter()
                .servers([server(1), server(3).down()])
                .turns(&[1])
                .into_before()
                .flow(3, SctpEstablished),
            sctp(3868, DATA),
        )
        .stays(3, SctpEstablished),
    ]);
    rows
}
