//! BFD (RFC 5880, 5881): whether a neighbour is reached and answers, found out within milliseconds.
//!
//! Pure: [`Sessions`] is given datagrams and the time, and gives back [`Action`]s and the time at which
//! it wants to be asked again. Asynchronous mode without echo and without authentication, as in
//! keepalived. A session is never AdminDown by itself: one that is not wanted is taken out of the
//! configuration and falls silent, as keepalived does. The AdminDown of a neighbour is understood.

mod packet;
mod reject;
mod session;
mod sessions;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use packet::{Diag, LENGTH, Packet, State};
pub use reject::{Counters, Reject};
pub use session::{Change, SessionStatus, Up};
pub use sessions::{Action, Datagram, Sessions};

/// The UDP port on which control packets of a single hop are received (RFC 5881); keepalived uses it
/// for several hops too.
pub const PORT: u16 = 3784;
/// UDP ports from which control packets are sent (RFC 5881, section 4).
pub const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
