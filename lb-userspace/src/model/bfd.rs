//! BFD sessions.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `bfd_instance`: a session with one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bfd {
    /// Its name, unique.
    pub name: String,
    /// `neighbor_ip`; no two sessions have the same one and the same `source`.
    pub neighbor: IpAddr,
    /// `source_ip`, of the same family: where packets come from; none: what the kernel takes.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// `min_rx`, default 10 ms, at least 1 ms, whole microseconds, less than 2^32 of them: the shortest
    /// interval of packets that this side can receive.
    pub min_rx: Duration,
    /// `min_tx`, default 10 ms, as `min_rx`: the interval at which this side wants to send.
    pub min_tx: Duration,
    /// `idle_tx`, default 1 s and at least that, as `min_rx`: that interval while the session is not up.
    pub idle_tx: Duration,
    /// `multiplier`, default 5, at least 1: so many of this side's packets in a row are missed before the
    /// neighbour takes the session down.
    pub multiplier: u8,
    /// `passive`: nothing is sent before the neighbour was heard.
    #[serde(default)]
    pub passive: bool,
    /// `ttl` or `hoplimit` of packets, at least 1; default 255 of IPv4 and, as in keepalived, 64 of IPv6.
    pub ttl: u8,
    /// `max_hops`: how much less than `ttl` a packet may arrive with; 255: any.
    #[serde(default)]
    pub max_hops: u8,
    /// Whether instances may follow it (`vrrp`, or neither `vrrp` nor `checker`).
    pub vrrp: bool,
    /// Whether real servers may be checked by it (`checker`, or neither).
    pub checker: bool,
}

impl Bfd {
    /// `min_rx` and `min_tx` where none is given.
    pub const INTERVAL: Duration = Duration::from_millis(10);
    /// `idle_tx` where none is given, and the least that RFC 5880 (6.8.3) allows.
    pub const IDLE: Duration = Duration::from_secs(1);
    /// `multiplier` where none is given.
    pub const MULTIPLIER: u8 = 5;

    /// A session with `neighbor` and keepalived's defaults.
    #[must_use]
    pub fn new(name: &str, neighbor: IpAddr) -> Self {
        Bfd {
            name: name.to_owned(),
            neighbor,
            source: None,
            min_rx: Self::INTERVAL,
            min_tx: Self::INTERVAL,
            idle_tx: Self::IDLE,
            multiplier: Self::MULTIPLIER,
            passive: false,
            ttl: Self::ttl(neighbor),
            max_hops: 0,
            vrrp: true,
            checker: true,
        }
    }

    /// `ttl` or `hoplimit` where none is given.
    #[must_use]
    pub const fn ttl(neighbor: IpAddr) -> u8 {
        match neighbor {
            IpAddr::V4(_) => 255,
            IpAddr::V6(_) => 64,
        }
    }

    /// Whether a packet may arrive with this TTL or hop limit.
    #[must_use]
    pub fn takes_ttl(&self, ttl: u8) -> bool {
        u16::from(ttl) + u16::from(self.max_hops) >= u16::from(self.ttl)
    }
}
