//! Netlink: addresses, links, neighbours and routes of this network namespace.
//!
//! [`Control`] asks and is answered at once: address operations lie in the path of a failover and
//! their order must be exact, so they are plain blocking calls (tens of microseconds each).
//! [`Watch`] is the stream of changes. [`LinkTable`] knows names behind indices.

mod control;
mod links;
mod macvlan;
mod routing;
mod watch;

use std::net::IpAddr;

pub use control::Control;
pub use links::LinkTable;
pub use macvlan::Setting;
pub use routing::{PROTOCOL, Set};
pub use watch::{Changes, Watch};

use crate::vrrp::LinkState;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket cannot be made or used.
    #[error("netlink: {action}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused a request.
    #[error("netlink: {action}: {source}")]
    Refused {
        /// What was asked for.
        action: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The kernel's answer cannot be read.
    #[error("netlink: answer not understood: {0}")]
    Decode(#[from] rtnetlink::packet_core::DecodeError),
    /// There is no interface of this name.
    #[error("no interface {0}")]
    NoInterface(String),
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC, if it is an Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up with a carrier.
    pub state: LinkState,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The bond, bridge or team of which it is a port.
    pub controller: Option<u32>,
    /// The interface under it, when it is a macvlan.
    pub macvlan_on: Option<u32>,
    /// Its alias; empty when it has none.
    pub alias: String,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfaceAddress {
    /// The interface's index.
    pub index: u32,
    /// The address.
    pub addr: IpAddr,
    /// Prefix length.
    pub prefix_len: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
}

/// How good a neighbour entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// The MAC is known and may be used (reachable, stale, delay, probe, permanent, noarp).
    Valid,
    /// It is being asked for.
    Resolving,
    /// It did not answer, or the entry is gone.
    Failed,
}

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface's index.
    pub index: u32,
    /// The neighbour's address.
    pub addr: IpAddr,
    /// Its MAC, if known.
    pub mac: Option<[u8; 6]>,
    /// How good the entry is.
    pub state: NeighbourState,
}

/// Where a packet to an address goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Outgoing interface.
    pub index: u32,
    /// The neighbour that gets it: a gateway or the destination itself.
    pub addr: IpAddr,
    /// The destination is this host.
    pub local: bool,
    /// The source address that the kernel would use.
    pub source: Option<IpAddr>,
    /// The MTU that is set for the route, if any.
    pub mtu: Option<u32>,
}

/// A change of the host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface is new or changed.
    Link(Link),
    /// An interface is gone.
    LinkGone {
        /// Its index.
        index: u32,
    },
    /// An address is new or changed.
    AddressAdded(IfaceAddress),
    /// An address is gone.
    AddressRemoved(IfaceAddress),
    /// A neighbour entry is new or changed; a removed one is [`NeighbourState::Failed`].
    Neighbour(Neighbour),
    /// A route or rule changed: next hops are to be looked up again.
    Routes,
    /// Messages were lost: everything is to be read again by [`Control`].
    Overrun,
}
