//! What happened to checks, servers and quorums: the source of log lines, notify scripts and what
//! `lbctl watch` shows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::health::{ByHand, Failure};
use crate::model::ServiceKey;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The service.
    pub service: ServiceKey,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A check passes now; `first`: it had not run before.
    CheckUp {
        /// The real server.
        server: (IpAddr, u16),
        /// `TCP_CHECK`.
        kind: &'static str,
        /// It had not run before.
        first: bool,
    },
    /// A check fails now.
    CheckDown {
        /// The real server.
        server: (IpAddr, u16),
        /// `TCP_CHECK`.
        kind: &'static str,
        /// Why.
        why: Failure,
        /// How many retries failed too.
        retries: u32,
        /// It had not run before.
        first: bool,
    },
    /// A run of a check that is up failed and is forgiven (`log_all_failures`).
    CheckForgiven {
        /// The real server.
        server: (IpAddr, u16),
        /// `TCP_CHECK`.
        kind: &'static str,
        /// Why.
        why: Failure,
        /// How many failures in a row are forgiven with this one.
        retry: u32,
    },
    /// A check cannot be run; said once until it can.
    CheckNotRun {
        /// The real server.
        server: (IpAddr, u16),
        /// `TCP_CHECK`.
        kind: &'static str,
        /// Why.
        why: String,
    },
    /// The checks of a real server say that it should weigh something else (`misc_dynamic`).
    Weight {
        /// The real server.
        server: (IpAddr, u16),
        /// Its weight before.
        from: u16,
        /// Its weight now.
        to: u16,
    },
    /// A real server may be used again.
    ServerUp {
        /// It.
        server: (IpAddr, u16),
        /// It stays in the table all the time, with weight 0 while it is down.
        inhibit: bool,
    },
    /// A real server is not to be used.
    ServerDown {
        /// It.
        server: (IpAddr, u16),
        /// It stays in the table, with weight 0.
        inhibit: bool,
        /// Why.
        why: String,
    },
    /// A real server was out of use before this start and is until its checks pass.
    LeftOut {
        /// It.
        server: (IpAddr, u16),
    },
    /// An operator, or a configuration that ends it, has set something by hand.
    ByHand {
        /// The real server.
        server: (IpAddr, u16),
        /// What holds now.
        by_hand: ByHand,
        /// The weight that the configuration gives it.
        configured: u16,
    },
    /// The service has its quorum.
    QuorumGained {
        /// Weight of the living servers.
        weight: u64,
        /// What was needed.
        threshold: u64,
    },
    /// The service has no quorum.
    QuorumLost {
        /// Weight of the living servers.
        weight: u64,
        /// What was needed.
        threshold: u64,
        /// It never had it: the service starts so.
        start: bool,
    },
    /// The sorry server stands in for all real servers.
    SorryIn {
        /// It.
        server: (IpAddr, u16),
    },
    /// The real servers serve again.
    SorryOut {
        /// It.
        server: (IpAddr, u16),
    },
}

impl Change {
    /// Whether an operator should be told at once.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        match self {
            Change::CheckDown { .. }
            | Change::CheckNotRun { .. }
            | Change::ServerDown { .. }
            | Change::LeftOut { .. }
            | Change::QuorumLost { .. }
            | Change::SorryIn { .. } => true,
            Change::CheckUp { .. }
            | Change::Weight { .. }
            | Change::CheckForgiven { .. }
            | Change::ServerUp { .. }
            | Change::ByHand { .. }
            | Change::QuorumGained { .. }
            | Change::SorryOut { .. } => false,
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vs = self.service;
        let at = |&(addr, port): &(IpAddr, u16)| SocketAddr::new(addr, port);
        match &self.change {
            Change::CheckUp { server, kind, .. } => {
                write!(f, "{kind} of {} succeeds (service {vs})", at(server))
            }
            Change::CheckDown {
                server,
                kind,
                why,
                retries,
                first: _,
            } => {
                write!(f, "{kind} of {} fails: {why}", at(server))?;
                match retries {
                    0 => {}
                    1 => f.write_str(", after 1 retry")?,
                    n => write!(f, ", after {n} retries")?,
                }
                write!(f, " (service {vs})")
            }
            Change::CheckForgiven {
                server,
                kind,
                why,
                retry,
            } => {
                let at = at(server);
                write!(
                    f,
                    "{kind} of {at} failed: {why}, retry {retry} follows (service {vs})"
                )
            }
            Change::CheckNotRun { server, kind, why } => {
                write!(
                    f,
                    "{kind} of {} cannot be run: {why} (service {vs})",
                    at(server)
                )
            }
            Change::Weight { server, from, to } => write!(
                f,
                "weight of {} changes from {from} to {to} (service {vs})",
                at(server)
            ),
            Change::ServerUp {
                server,
                inhibit: false,
            } => write!(f, "adding {} to service {vs}", at(server)),
            Change::ServerUp {
                server,
                inhibit: true,
            } => write!(f, "enabling {} of service {vs}", at(server)),
            Change::ServerDown {
                server,
                inhibit: false,
                why,
            } => {
                write!(f, "removing {} from service {vs}: {why}", at(server))
            }
            Change::ServerDown {
                server,
                inhibit: true,
                why,
            } => {
                write!(f, "disabling {} of service {vs}: {why}", at(server))
            }
            Change::LeftOut { server } => write!(
                f,
                "{} of service {vs} was out of use before this start, and is until its checks pass",
                at(server)
            ),
            Change::ByHand {
                server,
                by_hand,
                configured,
            } => write!(
                f,
                "by hand: {} of service {vs} is {by_hand} (configured weight {configured})",
                at(server)
            ),
            Change::QuorumGained { weight, threshold } => {
                write!(
                    f,
                    "quorum gained for service {vs}: living weight {weight}, needed {threshold}"
                )
            }
            Change::QuorumLost {
                weight,
                threshold,
                start: false,
            } => {
                write!(
                    f,
                    "quorum lost for service {vs}: living weight {weight}, needed {threshold}"
                )
            }
            Change::QuorumLost {
                weight,
                threshold,
                start: true,
            } => {
                write!(
                    f,
                    "service {vs} starts without quorum: living weight {weight}, needed {threshold}"
                )
            }
            Change::SorryIn { server } => {
                write!(f, "sorry server {} stands in for service {vs}", at(server))
            }
            Change::SorryOut { server } => {
                write!(
                    f,
                    "sorry server {} is not needed any more for service {vs}",
                    at(server)
                )
            }
        }
    }
}
