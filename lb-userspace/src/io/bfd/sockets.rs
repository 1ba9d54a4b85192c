//! UDP sockets of BFD: one to receive for each family, one to send for each session.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bfd::{Datagram, LENGTH, PORT, SOURCE_PORTS};
use crate::config::FileSource as _;
use crate::io::files::RealFiles;
use crate::model::{Bfd, Family};

/// Bytes of receive buffer asked for: a flood does not displace the packets of neighbours at once.
const RECEIVE_BUFFER: usize = 1 << 20;
/// A longer datagram is read up to here; its length field cannot say more.
const DATAGRAM: usize = 256;
/// So many ports are tried before a session has none.
const TRIES: u16 = 100;

/// All sockets of the thread.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    receive: BTreeMap<Family, Socket>,
    /// Families with sessions.
    wanted: Vec<Family>,
    send: BTreeMap<String, Sender>,
}

#[derive(Debug)]
struct Sender {
    config: Bfd,
    /// Opened when it is needed: the address may come later.
    socket: Option<Socket>,
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn udp(family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn receiver(family: Family) -> io::Result<Socket> {
    let socket = udp(family)?;
    match family {
        Family::V4 => {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        Family::V6 => {
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SocketAddr::new(unspecified(family), PORT).into())?;
    Ok(socket)
}

fn sender(config: &Bfd) -> io::Result<Socket> {
    let family = Family::of(config.neighbor);
    let socket = udp(family)?;
    match family {
        Family::V4 => socket.set_ttl_v4(config.ttl.into())?,
        Family::V6 => socket.set_unicast_hops_v6(config.ttl.into())?,
    }
    let source = config.source.unwrap_or(unspecified(family));
    let (first, last) = SOURCE_PORTS.into_inner();
    let ports = u64::from(last - first) + 1;
    let begin = RealFiles.random() % ports;
    let mut in_use = io::Error::from(io::ErrorKind::AddrInUse);
    for more in 0..u64::from(TRIES) {
        let port = first + ((begin + more) % ports) as u16;
        match socket.bind(&SocketAddr::new(source, port).into()) {
            Ok(()) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => in_use = error,
            Err(error) => return Err(error),
        }
    }
    Err(in_use)
}

impl Sockets {
    /// Closes what is not wanted any more. What is new is opened by [`Sockets::open`] and when it is
    /// first sent by.
    pub(super) fn configure(&mut self, all: &[Bfd]) {
        let mut wanted: Vec<Family> = all.iter().map(|b| Family::of(b.neighbor)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.receive.retain(|family, _| wanted.contains(family));
        self.wanted = wanted;
        let mut old = std::mem::take(&mut self.send);
        for config in all {
            let same = |s: &Sender| {
                let is = &s.config;
                (is.neighbor, is.source, is.ttl) == (config.neighbor, config.source, config.ttl)
            };
            let socket = old.remove(&config.name).filter(same);
            let sender = Sender {
                config: config.clone(),
                socket: socket.and_then(|s| s.socket),
            };
            self.send.insert(config.name.clone(), sender);
        }
    }

    /// Opens what is missing to receive.
    pub(super) fn open(&mut self) -> io::Result<()> {
        for family in &self.wanted {
            if !self.receive.contains_key(family) {
                self.receive.insert(*family, receiver(*family)?);
            }
        }
        Ok(())
    }

    /// What becomes readable when something arrives.
    pub(super) fn receiving(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.receive.values().map(|s| s.as_fd())
    }

    /// Sends to the neighbour of a session.
    pub(super) fn send(&mut self, name: &str, packet: &[u8; LENGTH]) -> io::Result<()> {
        let Some(Sender { config, socket }) = self.send.get_mut(name) else {
            return Ok(());
        };
        let socket = match socket {
            Some(socket) => socket,
            None => socket.insert(sender(config)?),
        };
        let to = SocketAddr::new(config.neighbor, PORT);
        socket.send_to(packet, &to.into()).map(drop)
    }

    /// Reads what has arrived, at most `limit` datagrams of each family; whether that was all.
    pub(super) fn drain(&self, limit: usize, mut each: impl FnMut(Datagram<'_>)) -> bool {
        let mut is_empty = true;
        for (family, socket) in &self.receive {
            is_empty &= (0..limit).any(|_| !read_one(*family, socket, &mut each));
        }
        is_empty
    }
}

/// Reads one datagram; false when there is none.
fn read_one(family: Family, socket: &Socket, each: &mut impl FnMut(Datagram<'_>)) -> bool {
    let mut buffer = [0; DATAGRAM];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int);
    let (mut ttl, mut to) = (0, unspecified(family));
    let (length, from) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let got = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags) {
            Ok(got) => got,
            // Nothing is there, or an error that an earlier packet had caused, which is over with this.
            Err(_) => return false,
        };
        for message in got.cmsgs().into_iter().flatten() {
            match message {
                ControlMessageOwned::Ipv4Ttl(n) | ControlMessageOwned::Ipv6HopLimit(n) => {
                    ttl = u8::try_from(n).unwrap_or(0);
                }
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into();
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    to = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                }
                _ => {}
            }
        }
        let from = got.address.and_then(|a| match family {
            Family::V4 => a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip())),
            Family::V6 => a.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())),
        });
        (got.bytes, from)
    };
    if let Some(from) = from {
        each(Datagram {
            from,
            to,
            ttl,
            payload: &buffer[..length],
        });
    }
    true
}
