//! The states of flows and their timeouts, and TCP's as IPVS has them for a director that sees one
//! direction only.
//!
//! Source: `ip_vs_proto_tcp.c` of Linux 6.1, table "INPUT-ONLY", `tcp_timeouts`,
//! `tcp_state_active_table`, `tcp_state_idx`; of SCTP `sctp_timeouts`, see [`crate::sctp`].

/// The state of a flow. The numbers of the TCP states are IPVS's.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// None: only before the first packet.
    None = 0,
    /// ESTABLISHED.
    Established = 1,
    /// SYN_SENT; not reached when one direction is seen.
    SynSent = 2,
    /// SYN_RECV: half-open.
    SynRecv = 3,
    /// FIN_WAIT.
    FinWait = 4,
    /// TIME_WAIT.
    TimeWait = 5,
    /// CLOSE.
    Close = 6,
    /// CLOSE_WAIT.
    CloseWait = 7,
    /// LAST_ACK.
    LastAck = 8,
    /// LISTEN.
    Listen = 9,
    /// SYNACK.
    SynAck = 10,
    /// A UDP flow of which more than one packet came.
    Udp = 12,
    /// One of which a single packet came: to IPVS the same, but it may be one of a flood.
    UdpOnce = 13,
    /// SCTP: only before the first packet.
    SctpNone = 16,
    /// SCTP: a first INIT.
    SctpInit1 = 17,
    /// SCTP: another INIT.
    SctpInit = 18,
    /// SCTP: COOKIE_SENT; not reached when one direction is seen.
    SctpCookieSent = 19,
    /// SCTP: COOKIE_REPLIED; not reached when one direction is seen.
    SctpCookieReplied = 20,
    /// SCTP: COOKIE_WAIT; not reached when one direction is seen.
    SctpCookieWait = 21,
    /// SCTP: COOKIE; not reached when one direction is seen.
    SctpCookie = 22,
    /// SCTP: COOKIE_ECHOED.
    SctpCookieEchoed = 23,
    /// SCTP: ESTABLISHED.
    SctpEstablished = 24,
    /// SCTP: SHUTDOWN_SENT; not reached when one direction is seen.
    SctpShutdownSent = 25,
    /// SCTP: SHUTDOWN_RECEIVED: the client shuts down.
    SctpShutdownReceived = 26,
    /// SCTP: SHUTDOWN_ACK_SENT; not reached when one direction is seen.
    SctpShutdownAckSent = 27,
    /// SCTP: REJECTED.
    SctpRejected = 28,
    /// SCTP: CLOSED.
    SctpClosed = 29,
}

impl State {
    /// All states.
    pub const ALL: [State; 27] = [
        State::None,
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::SynAck,
        State::Udp,
        State::UdpOnce,
        State::SctpNone,
        State::SctpInit1,
        State::SctpInit,
        State::SctpCookieSent,
        State::SctpCookieReplied,
        State::SctpCookieWait,
        State::SctpCookie,
        State::SctpCookieEchoed,
        State::SctpEstablished,
        State::SctpShutdownSent,
        State::SctpShutdownReceived,
        State::SctpShutdownAckSent,
        State::SctpRejected,
        State::SctpClosed,
    ];

    /// The state of that number.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<State> {
        let mut i = 0;
        while i < Self::ALL.len() {
            if Self::ALL[i] as u8 == bits {
                return Some(Self::ALL[i]);
            }
            i += 1;
        }
        None
    }

    /// The name that `ipvsadm -Lc` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::None | State::SctpNone => "NONE",
            State::Established | State::SctpEstablished => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::FinWait => "FIN_WAIT",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::SynAck => "SYNACK",
            State::Udp | State::UdpOnce => "UDP",
            State::SctpInit1 => "INIT1",
            State::SctpInit => "INIT",
            State::SctpCookieSent => "C-SENT",
            State::SctpCookieReplied => "C-REPLIED",
            State::SctpCookieWait => "C-WAIT",
            State::SctpCookie => "COOKIE",
            State::SctpCookieEchoed => "C-ECHOED",
            State::SctpShutdownSent => "S-SENT",
            State::SctpShutdownReceived => "S-RECEIVED",
            State::SctpShutdownAckSent => "S-ACK-SENT",
            State::SctpRejected => "REJECTED",
            State::SctpClosed => "CLOSED",
        }
    }

    /// Whether IPVS counts it as ActiveConn rather than InActConn. (It counts all UDP as inactive.)
    #[must_use]
    pub const fn is_active(self) -> bool {
        is_active(self as u8)
    }

    /// How many seconds a flow in this state may be silent, unless set otherwise.
    #[must_use]
    pub const fn default_timeout(self) -> u32 {
        match self {
            State::None | State::SctpNone => 2,
            State::Established | State::SctpEstablished => 15 * 60,
            State::SynSent | State::FinWait | State::TimeWait | State::Listen | State::SynAck => {
                2 * 60
            }
            State::SynRecv | State::CloseWait => 60,
            State::Close => 10,
            State::LastAck => 30,
            State::Udp | State::UdpOnce => 5 * 60,
            State::SctpInit1 | State::SctpRejected => 4,
            State::SctpInit
            | State::SctpCookieSent
            | State::SctpCookieReplied
            | State::SctpCookieWait
            | State::SctpCookie
            | State::SctpCookieEchoed
            | State::SctpShutdownSent
            | State::SctpShutdownReceived
            | State::SctpShutdownAckSent
            | State::SctpClosed => 61,
        }
    }
}

/// The flags of the TCP header, its 14th byte.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// ACK.
pub const ACK: u8 = 0x10;

const fn row(states: [u8; 11]) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < 11 {
        word |= (states[i] as u64) << (4 * i);
        i += 1;
    }
    word
}

// A row is the next state for each state, four bits each: one shift instead of a load.
//                        NO ES SS SR FW TW CL CW LA LI SA
const ON_SYN: u64 = row([3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3]);
const ON_FIN: u64 = row([6, 4, 2, 5, 4, 5, 6, 7, 8, 9, 5]);
const ON_ACK: u64 = row([1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1]);
const ON_RST: u64 = row([6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6]);
const ON_NONE: u64 = row([6; 11]);

/// The state after a packet with these flags from the client. RST outweighs SYN, that FIN, that
/// ACK; a packet with none of them closes, as in IPVS.
#[inline(always)]
#[must_use]
pub const fn next_state(state: u8, flags: u8) -> u8 {
    let row = if flags & (RST | SYN | FIN) == 0 {
        if flags & ACK != 0 { ON_ACK } else { ON_NONE }
    } else if flags & RST != 0 {
        ON_RST
    } else if flags & SYN != 0 {
        ON_SYN
    } else {
        ON_FIN
    };
    (row >> (4 * (state & 15))) as u8 & 15
}

/// The state of a UDP flow after a packet.
#[inline(always)]
#[must_use]
pub const fn next_udp_state(state: u8) -> u8 {
    if state == State::None as u8 {
        State::UdpOnce as u8
    } else {
        State::Udp as u8
    }
}

/// Whether a packet with these flags can only say that a connection in this state goes on.
#[inline(always)]
#[must_use]
pub const fn goes_on(state: u8, flags: u8) -> bool {
    flags & (RST | SYN | FIN | ACK) == ACK && next_state(state, ACK) == state
}

/// States as bits: one shift tells whether a state is among them.
const fn set(states: &[State]) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < states.len() {
        bits |= 1 << states[i] as u8;
        i += 1;
    }
    bits
}

#[inline(always)]
const fn is_in(set: u32, state: u8) -> bool {
    set >> (state & 31) & 1 != 0
}

/// [`State::is_active`] of the state with this number.
#[inline(always)]
#[must_use]
pub const fn is_active(state: u8) -> bool {
    const ACTIVE: u32 = set(&[
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::SynAck,
        State::SctpEstablished,
    ]);
    is_in(ACTIVE, state)
}

/// Whether a SYN or INIT may open a new connection in place of one in this state (IPVS with
/// `conn_reuse_mode` 1).
#[inline(always)]
#[must_use]
pub const fn is_reusable(state: u8) -> bool {
    const REUSABLE: u32 = set(&[State::TimeWait, State::Close, State::SctpClosed]);
    is_in(REUSABLE, state)
}

/// Whether a flow in this state is the first to go when its bucket is full: nothing but stray
/// packets will come.
#[inline(always)]
#[must_use]
pub const fn is_closing(state: u8) -> bool {
    const CLOSING: u32 = set(&[
        State::FinWait,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::SctpShutdownSent,
        State::SctpShutdownReceived,
        State::SctpShutdownAckSent,
        State::SctpRejected,
        State::SctpClosed,
    ]);
    is_in(CLOSING, state)
}

/// Whether a flow in this state has not yet proved that its client exists. (No UDP flow does; one of
/// a single packet is taken for one of a flood before any other is.)
#[inline(always)]
#[must_use]
pub const fn is_half_open(state: u8) -> bool {
    const HALF_OPEN: u32 = set(&[
        State::SynRecv,
        State::SynSent,
        State::UdpOnce,
        State::SctpInit1,
        State::SctpInit,
        State::SctpCookieEchoed,
    ]);
    is_in(HALF_OPEN, state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    fn run(packets: &[u8]) -> [Option<State>; 8] {
        let mut states = [Option::None; 8];
        let mut state = 0;
        for (i, &flags) in packets.iter().enumerate() {
            state = next_state(state, flags);
            states[i] = State::from_bits(state);
        }
        states
    }

    #[test]
    fn a_connection_seen_from_the_client_side_only() {
        let seen = run(&[SYN, ACK, ACK | 0x08, FIN | ACK, ACK, SYN, RST]);
        assert_eq!(
            seen[..7],
            [
                SynRecv,
                Established,
                Established,
                FinWait,
                FinWait,
                SynRecv,
                SynRecv
            ]
            .map(Some)
        );
    }

    #[test]
    fn flags_have_ipvs_order_of_weight() {
        assert_eq!(next_state(1, RST | SYN | FIN | ACK), Close as u8);
        assert_eq!(next_state(1, SYN | FIN | ACK), Established as u8);
        assert_eq!(next_state(1, FIN | ACK), FinWait as u8);
        assert_eq!(next_state(1, 0), Close as u8);
        assert_eq!(
            next_state(1, 0xe8),
            Close as u8,
            "PSH, URG, ECE, CWR say nothing"
        );
    }

    #[test]
    fn numbers_and_names_go_both_ways() {
        for state in State::ALL {
            assert_eq!(State::from_bits(state as u8), Some(state));
        }
        assert_eq!(State::from_bits(11), Option::None);
        assert_eq!(State::from_bits(15), Option::None);
    }
}
