//! How the adverts of a VRRP instance travel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::VrrpInstance;

/// The version of IP that a virtual router is of: that of its addresses and of its adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The group of VRRP: 224.0.0.18, RFC 5798 section 5.1.1.2, or ff02::12, section 5.1.2.2.
    #[must_use]
    pub const fn group(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12)),
        }
    }

    /// Bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// To whom adverts go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// To a group: `mcast_dst_ip`, else `vrrp_mcast_group4` or `vrrp_mcast_group6`.
    Multicast(IpAddr),
    /// To each of a list of hosts.
    Unicast(Unicast),
}

impl Default for Transport {
    /// The group of IPv4.
    fn default() -> Self {
        Transport::Multicast(Family::V4.group())
    }
}

impl Transport {
    /// The list of hosts, when there is one.
    #[must_use]
    pub const fn unicast(&self) -> Option<&Unicast> {
        match self {
            Transport::Multicast(_) => None,
            Transport::Unicast(unicast) => Some(unicast),
        }
    }

    fn meets(&self, other: &Transport) -> bool {
        match (self, other) {
            (Transport::Multicast(one), Transport::Multicast(other)) => one == other,
            (Transport::Unicast(one), Transport::Unicast(other)) => {
                one.peers.iter().any(|p| other.has_peer(p.addr))
            }
            (Transport::Multicast(_), Transport::Unicast(_))
            | (Transport::Unicast(_), Transport::Multicast(_)) => false,
        }
    }
}

impl VrrpInstance {
    /// Whether interface, VRID and family are the same.
    #[must_use]
    pub fn is_beside(&self, other: &VrrpInstance) -> bool {
        self.interface == other.interface
            && self.virtual_router_id == other.virtual_router_id
            && self.family() == other.family()
    }

    /// Whether an advert may be meant for both: they have interface, VRID and family in common, and the
    /// group or a peer. A peer tells them apart when they send from different addresses, and they its
    /// answers.
    #[must_use]
    pub fn meets(&self, other: &VrrpInstance) -> bool {
        let sources = self.mcast_src_ip.zip(other.mcast_src_ip);
        let is_apart =
            self.transport.unicast().is_some() && sources.is_some_and(|(one, other)| one != other);
        self.is_beside(other) && self.transport.meets(&other.transport) && !is_apart
    }
}

impl Unicast {
    /// Whether `addr` is among the peers.
    #[must_use]
    pub fn has_peer(&self, addr: IpAddr) -> bool {
        self.peers.iter().any(|p| p.addr == addr)
    }
}

/// `unicast_peer` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unicast {
    /// `unicast_peer`, each address once. Empty only with `unicast_fault_no_peer`: the instance is in
    /// FAULT.
    pub peers: Vec<UnicastPeer>,
    /// `unicast_ttl`, default 255.
    pub ttl: u8,
    /// `check_unicast_src`, `vrrp_check_unicast_src`, or a peer with a limit of its TTL: adverts of
    /// other hosts are rejected.
    pub check_source: bool,
    /// `old_unicast_checksum`.
    pub old_checksum: OldChecksum,
}

/// A host of `unicast_peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnicastPeer {
    /// Its address, of the instance's family.
    pub addr: IpAddr,
    /// `min_ttl`, default 0: the least TTL or hop limit that an advert of it may arrive with.
    pub min_ttl: u8,
    /// `max_ttl`, default 255: the greatest.
    pub max_ttl: u8,
}

/// `old_unicast_checksum`: keepalived up to 1.3.6 computed the checksum of version 3 as if a unicast
/// advert went to the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldChecksum {
    /// Sent when a peer was heard that does so.
    #[default]
    Auto,
    /// `old_unicast_checksum`: always sent.
    Always,
    /// `old_unicast_checksum never`: neither sent nor accepted.
    Never,
}
