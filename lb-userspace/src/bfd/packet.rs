//! The control packet (RFC 5880, section 4.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reject::Reject;

/// Octets of a control packet without authentication.
pub const LENGTH: usize = 24;
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The state of a session as its packets say it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its operator does not want it.
    AdminDown,
    /// Not there.
    #[default]
    Down,
    /// The other side is heard, but does not know of this one.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    /// As in RFC 5880.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        }
    }

    const fn of(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        }
    }
}

/// A diagnostic code: why a session was left. Codes that were given out later are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diag(pub u8);

impl Diag {
    /// None.
    pub const NONE: Diag = Diag(0);
    /// Control Detection Time Expired.
    pub const EXPIRED: Diag = Diag(1);
    /// Neighbor Signaled Session Down.
    pub const SIGNALED: Diag = Diag(3);
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            code => return write!(f, "diagnostic {code}"),
        })
    }
}

/// A control packet without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session is where it is; 0..=31.
    pub diag: Diag,
    /// The sender's state.
    pub state: State,
    /// It wants a packet with `last` at once.
    pub poll: bool,
    /// Final: it answers one with `poll`.
    pub last: bool,
    /// The sender has demand mode active: it wants no periodic packets.
    pub demand: bool,
    /// Detect Mult.
    pub multiplier: u8,
    /// The sender's discriminator, not 0.
    pub my_discriminator: u32,
    /// The receiver's, or 0 where it is not known.
    pub your_discriminator: u32,
    /// Desired Min TX Interval, microseconds.
    pub min_tx: u32,
    /// Required Min RX Interval, microseconds; 0: it wants no periodic packets.
    pub min_rx: u32,
}

impl Packet {
    /// As it is sent.
    #[must_use]
    pub fn emit(&self) -> [u8; LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = [0; LENGTH];
        out[0] = VERSION << 5 | self.diag.0 & 0x1f;
        out[1] = self.state.bits() << 6
            | flag(self.poll, POLL)
            | flag(self.last, FINAL)
            | flag(self.demand, DEMAND);
        out[2] = self.multiplier;
        out[3] = LENGTH as u8;
        out[4..8].copy_from_slice(&self.my_discriminator.to_be_bytes());
        out[8..12].copy_from_slice(&self.your_discriminator.to_be_bytes());
        out[12..16].copy_from_slice(&self.min_tx.to_be_bytes());
        out[16..20].copy_from_slice(&self.min_rx.to_be_bytes());
        // Required Min Echo RX Interval is 0: no echo.
        out
    }

    /// Reads the payload of a datagram, in the order of RFC 5880, 6.8.6; that its session exists, its
    /// TTL and its authentication are for [`super::Sessions`], which is told of the latter.
    ///
    /// # Errors
    /// Why it is to be discarded.
    pub fn parse(payload: &[u8]) -> Result<(Packet, Authenticated), Reject> {
        let Some((fixed, _)) = payload.split_first_chunk::<LENGTH>() else {
            return Err(Reject::Length);
        };
        let number = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let (flags, length) = (fixed[1], usize::from(fixed[3]));
        if fixed[0] >> 5 != VERSION {
            return Err(Reject::Version);
        }
        if length < LENGTH || length > payload.len() {
            return Err(Reject::Length);
        }
        let packet = Packet {
            diag: Diag(fixed[0] & 0x1f),
            state: State::of(flags >> 6),
            poll: flags & POLL != 0,
            last: flags & FINAL != 0,
            demand: flags & DEMAND != 0,
            multiplier: fixed[2],
            my_discriminator: number(4),
            your_discriminator: number(8),
            min_tx: number(12),
            min_rx: number(16),
        };
        if packet.multiplier == 0 {
            return Err(Reject::DetectMult);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Reject::Multipoint);
        }
        if packet.my_discriminator == 0 {
            return Err(Reject::MyDiscriminator);
        }
        let unknown = match packet.state {
            State::AdminDown | State::Down => false,
            State::Init | State::Up => packet.your_discriminator == 0,
        };
        if unknown {
            return Err(Reject::YourDiscriminator);
        }
        if packet.poll && packet.last {
            return Err(Reject::PollFinal);
        }
        Ok((packet, Authenticated(flags & AUTHENTICATION != 0)))
    }
}

/// Whether a packet claims to be authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated(pub bool);
