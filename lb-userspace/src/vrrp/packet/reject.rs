//! Why a packet was not accepted, and how often.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! rejects {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $text:literal;)*) => {
        /// Why a packet was not accepted. Each has a counter with a stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reject { $($(#[$doc])* $variant,)* }

        impl Reject {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Reject] = &[$(Reject::$variant,)*];

            /// The counter's name: stable, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Reject::$variant => $name,)* }
            }

            /// For people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Reject::$variant => $text,)* }
            }
        }
    };
}

rejects! {
    /// Not an IPv4 or IPv6 header, or its lengths do not fit the packet.
    IpHeader = "ip_header", "malformed IP header";
    /// A fragment.
    Fragment = "fragment", "IP fragment";
    /// Not protocol 112.
    Protocol = "protocol", "not VRRP";
    /// Not to the instance's group; by multicast to an instance with `unicast_peer`, or by unicast to
    /// one without.
    Destination = "destination", "sent to another group, or by unicast instead of multicast or the reverse";
    /// TTL or hop limit is not 255: it came through a router. By unicast: outside of the peer's limits.
    Ttl = "ttl", "TTL or hop limit is not 255, or outside of the limits of the unicast peer";
    /// Length and number of addresses do not fit together.
    Length = "length", "wrong length";
    /// Neither version 2 nor 3, not that of the instance, or version 2 over IPv6.
    Version = "version", "wrong version";
    /// Not an advertisement.
    Type = "type", "wrong packet type";
    /// The checksum is wrong.
    Checksum = "checksum", "wrong checksum";
    /// No instance with this VRID on this interface.
    UnknownVrid = "unknown_vrid", "unknown virtual router id";
    /// Another authentication type than configured.
    AuthType = "auth_type", "wrong authentication type";
    /// Another password than configured.
    AuthData = "auth_data", "wrong password";
    /// AH: a sequence number that was seen before: a copy, or a sender that began anew.
    Replay = "replay", "sequence number of AH was seen before";
    /// Version 2: another advertisement interval than configured.
    Interval = "interval", "advertisement interval differs";
    /// Version 3: an advertisement interval of 0.
    ZeroInterval = "zero_interval", "advertisement interval is 0";
    /// No address, or another number of addresses than configured.
    Count = "count", "number of addresses differs";
    /// Other addresses than configured.
    AddressList = "address_list", "addresses differ";
    /// By unicast from a host that is no `unicast_peer`, and the source is checked.
    NotPeer = "not_peer", "source is no unicast peer";
    /// The source is no address of a host.
    Source = "source", "impossible source address";
    /// The source is an address of this host: a loop or a duplicate address.
    OwnSource = "own_source", "source is an address of this host";
    /// The source is in no subnet of the interface.
    OffSubnet = "off_subnet", "source is in no subnet of the interface";
    /// The instance is not started or in FAULT.
    NotListening = "not_listening", "instance is not listening";
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Reject {}

/// One counter for each [`Reject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "std::collections::BTreeMap<Reject, u64>",
    into = "std::collections::BTreeMap<Reject, u64>"
)]
pub struct Counters([u64; Reject::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Counters([0; Reject::ALL.len()])
    }
}

impl Counters {
    /// Counts one.
    pub const fn count(&mut self, reject: Reject) {
        self.0[reject as usize] += 1;
    }

    /// How many.
    #[must_use]
    pub const fn get(&self, reject: Reject) -> u64 {
        self.0[reject as usize]
    }

    /// All of them, those that are 0 included.
    pub fn iter(&self) -> impl Iterator<Item = (Reject, u64)> + '_ {
        Reject::ALL.iter().copied().zip(self.0)
    }

    /// Their sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl From<std::collections::BTreeMap<Reject, u64>> for Counters {
    fn from(map: std::collections::BTreeMap<Reject, u64>) -> Self {
        let mut counters = Counters::default();
        for (reject, n) in map {
            counters.0[reject as usize] = n;
        }
        counters
    }
}

impl From<Counters> for std::collections::BTreeMap<Reject, u64> {
    fn from(counters: Counters) -> Self {
        counters.iter().filter(|(_, n)| *n != 0).collect()
    }
}
