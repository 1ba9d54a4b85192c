//! The states of `ip_vs_proto_tcp.c` and `ip_vs_proto_sctp.c` that are reached when only the client is
//! seen.

use super::frame::{
    ABORT, ACK, COOKIE_ACK, COOKIE_ECHO, ERROR, FIN, INIT, RST, SHUTDOWN, SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE, SYN,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Established,
    SynRecv,
    FinWait,
    TimeWait,
    Close,
    Udp,
    Sctp(Sctp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sctp {
    FirstInit,
    Init,
    CookieEchoed,
    Established,
    ShutdownReceived,
    Closed,
}

/// What a packet does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// TCP with these flags.
    Tcp(u8),
    Udp,
    /// SCTP whose first chunk has this type.
    Sctp(u8),
}

impl Event {
    /// It may open a connection.
    pub(crate) fn opens(self) -> bool {
        match self {
            Event::Tcp(flags) => flags & (SYN | RST) == SYN,
            Event::Udp => true,
            Event::Sctp(chunk) => chunk == INIT,
        }
    }

    /// It ends whatever there is.
    pub(crate) fn aborts(self) -> bool {
        match self {
            Event::Tcp(flags) => flags & RST != 0,
            Event::Udp => false,
            Event::Sctp(chunk) => chunk == ABORT,
        }
    }

    pub(crate) fn step(self, from: Option<State>) -> State {
        match self {
            Event::Tcp(flags) => tcp(from, flags),
            Event::Udp => State::Udp,
            Event::Sctp(chunk) => State::Sctp(sctp(from, chunk)),
        }
    }
}

impl State {
    /// Over, so that its ports may be used again (`is_new_conn_expected`).
    pub(crate) fn is_over(self) -> bool {
        matches!(
            self,
            State::TimeWait | State::Close | State::Sctp(Sctp::Closed)
        )
    }

    /// Counted as ActiveConn (`tcp_state_active_table`; SCTP: established only).
    pub(crate) fn is_active(self) -> bool {
        matches!(
            self,
            State::Established | State::SynRecv | State::Sctp(Sctp::Established)
        )
    }
}

fn tcp(from: Option<State>, flags: u8) -> State {
    use State::{Close, Established, FinWait, SynRecv, TimeWait};
    if flags & RST != 0 {
        if from == Some(SynRecv) {
            SynRecv
        } else {
            Close
        }
    } else if flags & SYN != 0 {
        if from == Some(Established) {
            Established
        } else {
            SynRecv
        }
    } else if flags & FIN != 0 {
        match from {
            Some(Established | FinWait) => FinWait,
            Some(SynRecv | TimeWait) => TimeWait,
            None | Some(Close | State::Udp | State::Sctp(_)) => Close,
        }
    } else if flags & ACK != 0 {
        match from {
            None | Some(Established | SynRecv) => Established,
            Some(FinWait) => FinWait,
            Some(TimeWait) => TimeWait,
            Some(Close | State::Udp | State::Sctp(_)) => Close,
        }
    } else {
        Close
    }
}

fn sctp(from: Option<State>, chunk: u8) -> Sctp {
    use Sctp::{Closed, CookieEchoed, Established, FirstInit, Init, ShutdownReceived};
    const INIT_ACK: u8 = 2;
    let Some(State::Sctp(from)) = from else {
        return match chunk {
            INIT => FirstInit,
            INIT_ACK => CookieEchoed,
            SHUTDOWN => ShutdownReceived,
            ABORT | SHUTDOWN_ACK | ERROR | SHUTDOWN_COMPLETE => Closed,
            _ => Established,
        };
    };
    match (from, chunk) {
        (_, ABORT) => Closed,
        (FirstInit | Init, INIT | SHUTDOWN_ACK) => Init,
        (FirstInit | Init, INIT_ACK) => CookieEchoed,
        (FirstInit | Init, COOKIE_ECHO) | (CookieEchoed, COOKIE_ACK) => Established,
        (FirstInit | Init | ShutdownReceived, SHUTDOWN_COMPLETE) => Closed,
        (Established, SHUTDOWN) => ShutdownReceived,
        (Established, SHUTDOWN_ACK) => Closed,
        (Closed, INIT) => Init,
        (there, _) => there,
    }
}
