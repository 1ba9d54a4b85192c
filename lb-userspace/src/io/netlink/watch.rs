//! The stream of changes.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::io::unix::AsyncFd;

use super::super::fd::{OwnsFd, readable};
use super::{Change, IfaceAddress, Link, Neighbour, NeighbourState, NetlinkError};
use crate::vrrp::LinkState;

/// Bytes of receive buffer asked for: bursts of neighbour events come when a rack reboots.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What concerns the virtual addresses.
const ADDRESSES: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];
/// What concerns the way to the real servers.
const WAYS: [MulticastGroup; 5] = [
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Changes as they arrive, for a thread that waits for the descriptor itself. Open it *before* the
/// first dump of [`super::Control`], so that nothing is missed in between.
pub struct Changes {
    socket: Socket,
    pending: VecDeque<Change>,
    undecoded: u64,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl OwnsFd for Changes {}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Changes {
    /// Subscribes to links and addresses of the current network namespace.
    ///
    /// # Errors
    /// When the kernel has no netlink socket for us.
    pub fn of_addresses() -> Result<Self, NetlinkError> {
        Changes::open(ADDRESSES)
    }

    fn open(groups: impl IntoIterator<Item = MulticastGroup>) -> Result<Self, NetlinkError> {
        let fail = |action| move |source| NetlinkError::Socket { action, source };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(fail("socket"))?;
        socket.bind_auto().map_err(fail("bind"))?;
        socket
            .set_non_blocking(true)
            .map_err(fail("non-blocking"))?;
        // More than the limit of the system when we may, else what it allows.
        if nix::sys::socket::setsockopt(
            &socket.as_fd(),
            nix::sys::socket::sockopt::RcvBufForce,
            &RECEIVE_BUFFER,
        )
        .is_err()
        {
            socket
                .set_rx_buf_sz(RECEIVE_BUFFER as libc::c_int)
                .map_err(fail("receive buffer"))?;
        }
        for group in groups {
            socket
                .add_membership(group as u32)
                .map_err(fail("subscribe"))?;
        }
        Ok(Changes {
            socket,
            pending: VecDeque::new(),
            undecoded: 0,
        })
    }

    /// The next change that is already there.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub fn try_next(&mut self) -> Result<Option<Change>, NetlinkError> {
        while self.pending.is_empty() {
            match self.socket.recv_from_full() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                received => take(&mut self.pending, &mut self.undecoded, received)?,
            }
        }
        Ok(self.pending.pop_front())
    }
}

/// Subscribes to links, addresses, neighbours and routes, as [`Changes`] for a tokio task.
#[derive(Debug)]
pub struct Watch(AsyncFd<Changes>);

impl Watch {
    /// Opens the socket in the current network namespace; needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no netlink socket for us.
    pub fn open() -> Result<Self, NetlinkError> {
        let changes = Changes::open(ADDRESSES.into_iter().chain(WAYS))?;
        readable(changes)
            .map(Watch)
            .map_err(|source| NetlinkError::Socket {
                action: "register",
                source,
            })
    }

    /// Waits for the next change. Cancellation loses nothing.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub async fn next(&mut self) -> Result<Change, NetlinkError> {
        loop {
            if let Some(change) = self.try_next()? {
                return Ok(change);
            }
            let fail = |source| NetlinkError::Socket {
                action: "wait",
                source,
            };
            let mut guard = self.0.readable_mut().await.map_err(fail)?;
            // Read until it blocks, or the next edge would be missed.
            match guard.try_io(|fd| fd.get_ref().socket.recv_from_full()) {
                Ok(received) => {
                    let changes = guard.get_inner_mut();
                    take(&mut changes.pending, &mut changes.undecoded, received)?;
                }
                Err(_would_block) => {}
            }
        }
    }

    /// The next change that is already there.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub fn try_next(&mut self) -> Result<Option<Change>, NetlinkError> {
        self.0.get_mut().try_next()
    }

    /// Messages that could not be read.
    #[must_use]
    pub fn undecoded(&self) -> u64 {
        self.0.get_ref().undecoded
    }
}

fn take(
    pending: &mut VecDeque<Change>,
    undecoded: &mut u64,
    received: io::Result<(Vec<u8>, rtnetlink::sys::SocketAddr)>,
) -> Result<(), NetlinkError> {
    let bytes = match received {
        Ok((bytes, _)) => bytes,
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
            pending.push_back(Change::Overrun);
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
        Err(source) => {
            return Err(NetlinkError::Socket {
                action: "receive",
                source,
            });
        }
    };
    let mut rest: &[u8] = &bytes;
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if !(16..=rest.len()).contains(&length) {
            break;
        }
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..length]).map(|m| m.payload)
        {
            Ok(NetlinkPayload::InnerMessage(message)) => pending.extend(change(&message)),
            Ok(_) => {}
            Err(_) => *undecoded += 1,
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

fn change(message: &RouteNetlinkMessage) -> Option<Change> {
    match message {
        RouteNetlinkMessage::NewLink(m) => link_of(m).map(Change::Link),
        RouteNetlinkMessage::DelLink(m) => {
            // A bridge tells of a port that left it by a DELLINK of its own family.
            (u8::from(m.header.interface_family) == 0).then_some(Change::LinkGone {
                index: m.header.index,
            })
        }
        RouteNetlinkMessage::NewAddress(m) => address_of(m).map(Change::AddressAdded),
        RouteNetlinkMessage::DelAddress(m) => address_of(m).map(Change::AddressRemoved),
        RouteNetlinkMessage::NewNeighbour(m) => neighbour_of(m).map(Change::Neighbour),
        RouteNetlinkMessage::DelNeighbour(m) => neighbour_of(m).map(|n| {
            Change::Neighbour(Neighbour {
                mac: None,
                state: NeighbourState::Failed,
                ..n
            })
        }),
        RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(Change::Routes),
        _ => None,
    }
}

fn mac_of(bytes: &[u8]) -> Option<[u8; 6]> {
    bytes.try_into().ok()
}

/// The interface that a message tells of; `None` for messages of other families (bridge ports).
pub(super) fn link_of(message: &LinkMessage) -> Option<Link> {
    if u8::from(message.header.interface_family) != 0 {
        return None;
    }
    let flags = message.header.flags;
    let state = if flags.contains(LinkFlags::Up | LinkFlags::Running) {
        LinkState::Up
    } else {
        LinkState::Down
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        state,
        mtu: 0,
        controller: None,
        macvlan_on: None,
        alias: String::new(),
    };
    let (mut under, mut is_macvlan) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac_of(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Link(index) => under = Some(*index),
            LinkAttribute::LinkInfo(infos)
                if infos.contains(&LinkInfo::Kind(InfoKind::MacVlan)) =>
            {
                is_macvlan = true;
            }
            _ => {}
        }
    }
    link.macvlan_on = under.filter(|_| is_macvlan);
    // A new one is found running some time later; whether it has a carrier is known at once.
    if is_macvlan && flags.contains(LinkFlags::Up | LinkFlags::LowerUp) {
        link.state = LinkState::Up;
    }
    (!link.name.is_empty()).then_some(link)
}

pub(super) fn address_of(message: &AddressMessage) -> Option<IfaceAddress> {
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let mut local = None;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => address = Some(*addr),
            _ => {}
        }
    }
    let addr: IpAddr = local.or(address)?;
    Some(IfaceAddress {
        index: message.header.index,
        addr,
        prefix_len: message.header.prefix_len,
        peer: address.filter(|other| *other != addr),
    })
}

pub(super) fn neighbour_of(message: &NeighbourMessage) -> Option<Neighbour> {
    let mut addr = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                addr = Some(IpAddr::V4(*v4))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                addr = Some(IpAddr::V6(*v6))
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_of(bytes),
            _ => {}
        }
    }
    let state = match message.header.state {
        Nud::Reachable | Nud::Stale | Nud::Delay | Nud::Probe | Nud::Permanent | Nud::Noarp => {
            NeighbourState::Valid
        }
        Nud::Failed => NeighbourState::Failed,
        _ => NeighbourState::Resolving,
    };
    Some(Neighbour {
        index: message.header.ifindex,
        addr: addr?,
        mac,
        state,
    })
}
