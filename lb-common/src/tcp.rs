//! TCP states and timeouts as IPVS has them for a director that sees one direction only.
//!
//! Source: `ip_vs_proto_tcp.c` of Linux 6.1, table "INPUT-ONLY", `tcp_timeouts`,
//! `tcp_state_active_table`, `tcp_state_idx`.

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
    /// A UDP flow.
    Udp = 12,
}

impl State {
    /// All states.
    pub const ALL: [State; 12] = [
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
            State::None => "NONE",
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::FinWait => "FIN_WAIT",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::SynAck => "SYNACK",
            State::Udp => "UDP",
        }
    }

    /// Whether IPVS counts it as ActiveConn rather than InActConn. (It counts all UDP as inactive.)
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(
            self,
            State::Established | State::SynSent | State::SynRecv | State::SynAck
        )
    }

    /// How many seconds a flow in this state may be silent, unless set otherwise.
    #[must_use]
    pub const fn default_timeout(self) -> u32 {
        match self {
            State::None => 2,
            State::Established => 15 * 60,
            State::SynSent | State::FinWait | State::TimeWait | State::Listen | State::SynAck => {
                2 * 60
            }
            State::SynRecv | State::CloseWait => 60,
            State::Close => 10,
            State::LastAck => 30,
            State::Udp => 5 * 60,
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

/// Whether a SYN may open a new connection in place of one in this state (IPVS with
/// `conn_reuse_mode` 1).
#[inline(always)]
#[must_use]
pub const fn is_reusable(state: u8) -> bool {
    state == State::TimeWait as u8 || state == State::Close as u8
}

/// Whether a flow in this state is the first to go when its bucket is full: nothing but stray
/// packets will come.
#[inline(always)]
#[must_use]
pub const fn is_closing(state: u8) -> bool {
    state >= State::FinWait as u8 && state <= State::LastAck as u8
}

/// Whether a flow in this state has not yet proved that its client exists.
#[inline(always)]
#[must_use]
pub const fn is_half_open(state: u8) -> bool {
    state == State::SynRecv as u8 || state == State::SynSent as u8
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
