//! How a server is chosen for a new connection.

use serde::{Deserialize, Serialize};

/// `lb_algo`: IPVS's schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin, interleaved.
    Wrr,
    /// Fewest connections.
    Lc,
    /// Fewest connections by weight.
    Wlc,
    /// Locality-based least connection.
    Lblc,
    /// Locality-based least connection with replication.
    Lblcr,
    /// Source hashing.
    Sh,
    /// Maglev hashing.
    Mh,
    /// Destination hashing.
    Dh,
    /// Weighted failover: the highest weight.
    Fo,
    /// Weighted overflow: the highest weight until its weight is its number of connections.
    Ovf,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// The better of two drawn by weight.
    Twos,
}

impl Scheduler {
    /// All of them.
    pub const ALL: [Scheduler; 14] = [
        Scheduler::Rr,
        Scheduler::Wrr,
        Scheduler::Lc,
        Scheduler::Wlc,
        Scheduler::Lblc,
        Scheduler::Lblcr,
        Scheduler::Sh,
        Scheduler::Mh,
        Scheduler::Dh,
        Scheduler::Fo,
        Scheduler::Ovf,
        Scheduler::Sed,
        Scheduler::Nq,
        Scheduler::Twos,
    ];

    /// `lb_algo`'s word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Lc => "lc",
            Scheduler::Wlc => "wlc",
            Scheduler::Lblc => "lblc",
            Scheduler::Lblcr => "lblcr",
            Scheduler::Sh => "sh",
            Scheduler::Mh => "mh",
            Scheduler::Dh => "dh",
            Scheduler::Fo => "fo",
            Scheduler::Ovf => "ovf",
            Scheduler::Sed => "sed",
            Scheduler::Nq => "nq",
            Scheduler::Twos => "twos",
        }
    }
}

/// The flags of a scheduler (`sh-port`, `mh-fallback`, ...).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedFlags {
    /// `sh-port`, `mh-port`: the client's port is hashed too.
    pub port: bool,
    /// `sh-fallback`, `mh-fallback`: a server that cannot take the connection is replaced by
    /// another one.
    pub fallback: bool,
}

impl SchedFlags {
    /// Those that are set, as `ipvsadm` prints them for a scheduler; only `sh` and `mh` have any.
    #[must_use]
    pub fn names(self, scheduler: Scheduler) -> Vec<&'static str> {
        let [fallback, port] = match scheduler {
            Scheduler::Sh => ["sh-fallback", "sh-port"],
            Scheduler::Mh => ["mh-fallback", "mh-port"],
            Scheduler::Rr
            | Scheduler::Wrr
            | Scheduler::Lc
            | Scheduler::Wlc
            | Scheduler::Lblc
            | Scheduler::Lblcr
            | Scheduler::Dh
            | Scheduler::Fo
            | Scheduler::Ovf
            | Scheduler::Sed
            | Scheduler::Nq
            | Scheduler::Twos => return Vec::new(),
        };
        let set = [(self.fallback, fallback), (self.port, port)];
        set.into_iter()
            .filter_map(|(on, name)| on.then_some(name))
            .collect()
    }
}
