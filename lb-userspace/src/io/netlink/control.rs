//! Requests that are answered at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::watch::{address_of, link_of, neighbour_of};
use super::{IfaceAddress, Link, Neighbour, NetlinkError, NextHop};
use crate::model::Broadcast;
use crate::vrrp::{Address, Applied};

/// A netlink socket for requests; each call waits for the kernel's answer, which comes within the
/// same system call.
pub struct Control {
    socket: Socket,
    sequence: u32,
    /// Answers that could not be read.
    undecoded: u64,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

const fn family(addr: IpAddr) -> AddressFamily {
    match addr {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(super) fn errno(source: &io::Error) -> i32 {
    source.raw_os_error().unwrap_or(0)
}

impl Control {
    /// Opens the socket in the current network namespace.
    ///
    /// # Errors
    /// When the kernel has no netlink socket for us.
    pub fn open() -> Result<Self, NetlinkError> {
        let fail = |action| move |source| NetlinkError::Socket { action, source };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(fail("socket"))?;
        socket.bind_auto().map_err(fail("bind"))?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(fail("connect"))?;
        Ok(Control {
            socket,
            sequence: 0,
            undecoded: 0,
        })
    }

    /// Sends a request and gives every message of the answer to `each`.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), RequestError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(RequestError::Socket)?;
        loop {
            let (received, _) = self.socket.recv_from_full().map_err(RequestError::Socket)?;
            let mut rest: &[u8] = &received;
            while let Some((length, sequence, kind)) = peek(rest) {
                let (one, after) = rest.split_at(length);
                rest = rest
                    .get(length.next_multiple_of(4)..)
                    .unwrap_or(&after[after.len()..]);
                if sequence != self.sequence {
                    continue;
                }
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(one).map(|m| m.payload) {
                    Ok(NetlinkPayload::Done(_)) => return Ok(()),
                    Ok(NetlinkPayload::Error(error)) => {
                        return match error.code {
                            None => Ok(()),
                            Some(_) => Err(RequestError::Refused(error.to_io())),
                        };
                    }
                    Ok(NetlinkPayload::InnerMessage(inner)) => {
                        each(inner);
                        if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
                            return Ok(());
                        }
                    }
                    Ok(_) => {}
                    // A message of a kind or with an attribute that the decoder does not know must
                    // not hide the others; an end must be understood.
                    Err(error) if kind <= 3 => return Err(RequestError::Decode(error)),
                    Err(_) => self.undecoded += 1,
                }
            }
        }
    }

    /// Messages of answers that could not be read.
    #[must_use]
    pub const fn undecoded(&self) -> u64 {
        self.undecoded
    }

    /// Adds a virtual address with the label, broadcast, scope and options asked for.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the address is there.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Result<Applied, NetlinkError> {
        let mut message = address_message(index, address.addr, address.prefix_len);
        message.header.scope = address.scope.into();
        let options = &address.options;
        let mut flags = AddressFlags::empty();
        flags.set(AddressFlags::Noprefixroute, options.noprefixroute);
        let attributes = &mut message.attributes;
        attributes.push(AddressAttribute::Address(
            options.peer.unwrap_or(address.addr),
        ));
        match address.addr {
            IpAddr::V4(v4) => {
                if let Some(broadcast) = address.broadcast {
                    let broadcast = broadcast_address(v4, address.prefix_len, broadcast);
                    attributes.push(AddressAttribute::Broadcast(broadcast));
                }
                if let Some(label) = &address.label {
                    attributes.push(AddressAttribute::Label(label.clone()));
                }
            }
            IpAddr::V6(_) => {
                flags.set(AddressFlags::Nodad, !options.dad);
                flags.set(AddressFlags::Homeaddress, options.home);
                flags.set(AddressFlags::Managetempaddr, options.mngtmpaddr);
                if let Some(preferred) = options.preferred_lft {
                    let mut lifetime = CacheInfo::default();
                    lifetime.ifa_preferred = preferred;
                    lifetime.ifa_valid = u32::MAX;
                    attributes.push(AddressAttribute::CacheInfo(lifetime));
                }
            }
        }
        attributes.push(AddressAttribute::Flags(flags));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewAddress(message), flags, |_| {}) {
            Ok(()) => Ok(Applied::Present),
            Err(RequestError::Refused(source)) if errno(&source) == libc::EEXIST => {
                Ok(Applied::Present)
            }
            Err(error) => {
                Err(error.named(|| format!("add {}/{}", address.addr, address.prefix_len)))
            }
        }
    }

    /// Removes an address with this prefix: the same address with another one is left alone.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that there is no such address.
    pub fn del_address(
        &mut self,
        index: u32,
        addr: IpAddr,
        prefix_len: u8,
    ) -> Result<Applied, NetlinkError> {
        let outcome = self.del_address_of(index, addr, prefix_len, addr)?;
        match (outcome, addr) {
            (Applied::NotThere, IpAddr::V4(_)) => {
                let key = (index, addr, prefix_len);
                let mut all = self.addresses()?.into_iter();
                let found = all.find(|a| (a.index, a.addr, a.prefix_len) == key);
                match found.and_then(|a| a.peer) {
                    Some(peer) => self.del_address_of(index, addr, prefix_len, peer),
                    None => Ok(outcome),
                }
            }
            (outcome, IpAddr::V4(_) | IpAddr::V6(_)) => Ok(outcome),
        }
    }

    fn del_address_of(
        &mut self,
        index: u32,
        addr: IpAddr,
        prefix_len: u8,
        peer: IpAddr,
    ) -> Result<Applied, NetlinkError> {
        let mut message = address_message(index, addr, prefix_len);
        // Of IPv4 the kernel compares the prefix only where it is told the other end's address as well.
        if addr.is_ipv4() {
            message.attributes.push(AddressAttribute::Address(peer));
        }
        match self.request(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK, |_| {}) {
            Ok(()) => Ok(Applied::Removed),
            Err(RequestError::Refused(source))
                if [libc::EADDRNOTAVAIL, libc::ENODEV].contains(&errno(&source)) =>
            {
                Ok(Applied::NotThere)
            }
            Err(error) => Err(error.named(|| format!("remove {addr}/{prefix_len}"))),
        }
    }

    /// All interfaces.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        self.request(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            NLM_F_DUMP,
            |m| {
                if let RouteNetlinkMessage::NewLink(m) = m {
                    links.extend(link_of(&m));
                }
            },
        )
        .map_err(|e| e.named(|| "list links".into()))?;
        Ok(links)
    }

    /// All addresses, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> Result<Vec<IfaceAddress>, NetlinkError> {
        let mut addresses = Vec::new();
        self.request(
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            NLM_F_DUMP,
            |m| {
                if let RouteNetlinkMessage::NewAddress(m) = m {
                    addresses.extend(address_of(&m));
                }
            },
        )
        .map_err(|e| e.named(|| "list addresses".into()))?;
        Ok(addresses)
    }

    /// The whole neighbour table.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut neighbours = Vec::new();
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.request(request, NLM_F_DUMP, |m| {
            if let RouteNetlinkMessage::NewNeighbour(m) = m {
                neighbours.extend(neighbour_of(&m));
            }
        })
        .map_err(|e| e.named(|| "list neighbours".into()))?;
        Ok(neighbours)
    }

    /// Where a packet to `addr` goes.
    ///
    /// # Errors
    /// When there is no route.
    pub fn route_to(&mut self, addr: IpAddr) -> Result<NextHop, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(addr);
        message.header.destination_prefix_length = if addr.is_ipv4() { 32 } else { 128 };
        message
            .attributes
            .push(RouteAttribute::Destination(addr.into()));
        let mut hop = None;
        self.request(RouteNetlinkMessage::GetRoute(message), 0, |m| {
            if let RouteNetlinkMessage::NewRoute(m) = m {
                hop = next_hop(&m, addr);
            }
        })
        .map_err(|e| e.named(|| format!("route to {addr}")))?;
        hop.ok_or_else(|| NetlinkError::Refused {
            action: format!("route to {addr}"),
            source: io::ErrorKind::NetworkUnreachable.into(),
        })
    }

    /// Makes the kernel resolve a neighbour, or confirm one that it knows, as if a packet were
    /// sent to it (`NTF_USE`). The outcome comes as [`super::Change::Neighbour`].
    ///
    /// # Errors
    /// When the interface does not exist or is down.
    pub fn resolve(&mut self, index: u32, addr: IpAddr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(addr);
        message.header.ifindex = index;
        message.header.state = Nud::None;
        message.header.flags = NeighbourFlags::Use;
        message
            .attributes
            .push(NeighbourAttribute::Destination(match addr {
                IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
                IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
            }));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewNeighbour(message), flags, |_| {})
            .map_err(|e| e.named(|| format!("resolve {addr}")))
    }
}

/// A request's failure before it has a name.
pub(super) enum RequestError {
    Socket(io::Error),
    Refused(io::Error),
    Decode(rtnetlink::packet_core::DecodeError),
}

impl RequestError {
    pub(super) fn named(self, action: impl FnOnce() -> String) -> NetlinkError {
        match self {
            RequestError::Socket(source) => NetlinkError::Socket {
                action: "request",
                source,
            },
            RequestError::Refused(source) => NetlinkError::Refused {
                action: action(),
                source,
            },
            RequestError::Decode(error) => NetlinkError::Decode(error),
        }
    }
}

/// Length, sequence number and type of the message at the beginning of `bytes`.
fn peek(bytes: &[u8]) -> Option<(usize, u32, u16)> {
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_ne_bytes)
    };
    let length = word(0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    (16..=bytes.len())
        .contains(&length)
        .then_some((length, word(8)?, kind))
}

fn address_message(index: u32, addr: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(addr);
    message.header.prefix_len = prefix_len;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(addr));
    message
}

fn broadcast_address(addr: Ipv4Addr, prefix_len: u8, broadcast: Broadcast) -> Ipv4Addr {
    let host = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    match broadcast {
        Broadcast::Addr(addr) => addr,
        Broadcast::HostBitsSet => (u32::from(addr) | host).into(),
        Broadcast::HostBitsClear => (u32::from(addr) & !host).into(),
    }
}

fn next_hop(message: &RouteMessage, to: IpAddr) -> Option<NextHop> {
    let ip = |a: &RouteAddress| match a {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    };
    let mut hop = NextHop {
        index: 0,
        addr: to,
        local: message.header.kind == RouteType::Local,
        source: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => hop.index = *index,
            RouteAttribute::Gateway(gateway) => hop.addr = ip(gateway)?,
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => hop.addr = IpAddr::V6(*gateway),
            RouteAttribute::PrefSource(source) => hop.source = ip(source),
            RouteAttribute::Metrics(metrics) => {
                hop.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (hop.index != 0).then_some(hop)
}
