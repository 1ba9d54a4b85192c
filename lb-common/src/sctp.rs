//! SCTP states as IPVS has them for a director that sees one direction only.
//!
//! Source: `ip_vs_proto_sctp.c` of Linux 6.1, table "INPUT-ONLY", `sctp_events`. The states are
//! [`State::SctpNone`] and those after it; an event is the type of a packet's first chunk.

use crate::tcp::State;

/// The type of an INIT chunk: it opens an association.
pub const INIT: u8 = 1;
/// The type of an ABORT chunk.
pub const ABORT: u8 = 6;

/// IPVS's number of a state is ours less this.
const FIRST: u8 = State::SctpNone as u8;
const STATES: usize = 14;

const fn row(states: [u8; STATES]) -> u64 {
    let mut word = 0;
    let mut i = 0;
    while i < STATES {
        word |= (states[i] as u64) << (4 * i);
        i += 1;
    }
    word
}

// A row is the next state for each state, four bits each: one shift instead of a load.
//                                NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
const ON_DATA: u64 = row([8, 1, 2, 3, 4, 8, 6, 7, 8, 9, 10, 11, 12, 13]);
const ON_INIT: u64 = row([1, 2, 2, 2, 2, 2, 6, 7, 8, 9, 10, 11, 2, 2]);
const ON_INIT_ACK: u64 = row([7, 7, 7, 7, 7, 7, 6, 7, 8, 9, 10, 11, 12, 13]);
const ON_COOKIE_ECHO: u64 = row([8, 8, 8, 8, 8, 8, 6, 7, 8, 9, 10, 11, 12, 13]);
const ON_COOKIE_ACK: u64 = row([8, 1, 2, 8, 8, 5, 8, 8, 8, 9, 10, 11, 12, 13]);
const ON_SHUTDOWN: u64 = row([10, 1, 2, 3, 4, 5, 6, 7, 10, 9, 10, 11, 12, 13]);
const ON_SHUTDOWN_ACK: u64 = row([13, 2, 2, 3, 4, 5, 6, 7, 13, 13, 10, 13, 12, 13]);
const ON_SHUTDOWN_COMPLETE: u64 = row([13, 13, 13, 13, 13, 5, 6, 7, 8, 9, 13, 13, 12, 13]);
const ON_ERROR: u64 = row([13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
const ON_ABORT: u64 = row([13, 13, 13, 13, 13, 12, 13, 13, 13, 13, 13, 13, 13, 13]);

/// The state after a packet of the client whose first chunk has this type. A state of another
/// protocol counts as [`State::SctpNone`].
#[inline(always)]
#[must_use]
pub const fn next_state(state: u8, chunk: u8) -> u8 {
    let row = match chunk {
        INIT => ON_INIT,
        2 => ON_INIT_ACK,
        ABORT => ON_ABORT,
        7 => ON_SHUTDOWN,
        8 => ON_SHUTDOWN_ACK,
        9 => ON_ERROR,
        10 => ON_COOKIE_ECHO,
        11 => ON_COOKIE_ACK,
        14 => ON_SHUTDOWN_COMPLETE,
        _ => ON_DATA,
    };
    let from = state.saturating_sub(FIRST);
    FIRST + ((row >> (4 * (from & 15))) as u8 & 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    const INIT_ACK: u8 = 2;
    const DATA: u8 = 0;
    const SACK: u8 = 3;
    const HEARTBEAT: u8 = 4;
    const SHUTDOWN: u8 = 7;
    const SHUTDOWN_ACK: u8 = 8;
    const ERROR: u8 = 9;
    const COOKIE_ECHO: u8 = 10;
    const COOKIE_ACK: u8 = 11;
    const SHUTDOWN_COMPLETE: u8 = 14;

    #[track_caller]
    fn goes(chunks: &[u8], states: &[State]) {
        let mut state = SctpNone as u8;
        for (chunk, wanted) in chunks.iter().zip(states) {
            state = next_state(state, *chunk);
            assert_eq!(State::from_bits(state), Some(*wanted), "chunk {chunk}");
        }
        assert_eq!(chunks.len(), states.len());
    }

    #[test]
    fn an_association_seen_from_the_client_side_only() {
        goes(
            &[INIT, INIT, COOKIE_ECHO, DATA, SACK, HEARTBEAT, SHUTDOWN],
            &[
                SctpInit1,
                SctpInit,
                SctpEstablished,
                SctpEstablished,
                SctpEstablished,
                SctpEstablished,
                SctpShutdownReceived,
            ],
        );
        goes(
            &[DATA, SHUTDOWN, SHUTDOWN_COMPLETE, INIT],
            &[SctpEstablished, SctpShutdownReceived, SctpClosed, SctpInit],
        );
        goes(&[INIT, ABORT], &[SctpInit1, SctpClosed]);
        goes(
            &[COOKIE_ECHO, ERROR, SHUTDOWN_ACK],
            &[SctpEstablished, SctpEstablished, SctpClosed],
        );
        goes(
            &[INIT_ACK, COOKIE_ACK],
            &[SctpCookieEchoed, SctpEstablished],
        );
    }

    #[test]
    fn no_packet_leads_out_of_the_states() {
        for state in 0..32 {
            for chunk in 0..=255 {
                let next = next_state(state, chunk);
                if State::from_bits(state).is_some() {
                    assert!(
                        (SctpNone as u8..=SctpClosed as u8).contains(&next),
                        "{state} {chunk}"
                    );
                }
            }
        }
    }
}
