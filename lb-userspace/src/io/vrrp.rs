//! Sockets for adverts, for each interface.
//!
//! Received is with a packet socket for each version of IP, which tells the sender's MAC and sees every
//! VRRP packet whatever the host's firewall says; a filter in the kernel leaves only protocol 112 that
//! others sent to this host or to a group that is listened to. Sent to a group is with another packet socket:
//! by way of the IP layer an advert needs an entry in the neighbour table, and when that is full (a scan
//! of the segment is enough) the kernel drops it without a word, so that both directors become master.
//! Further sockets hold the memberships of the groups, so that switches with IGMP snooping know of us.
//!
//! Sent by unicast is through the IP layer, which finds the way to the peer. What peers send is
//! received as above; a raw socket that keeps nothing is there so that the kernel does not answer it
//! with "protocol unreachable" or "unrecognized next header".

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockFilter, Socket, Type};

use super::arp::{link_address, link_address_to};
use super::clock::{Wall, now};
use crate::model::Family;
use crate::time::Time;
use crate::vrrp::Listen;
use crate::vrrp::packet::{PROTOCOL, destination_of};

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum VrrpSocketError {
    /// A socket for an interface cannot be made.
    #[error("VRRP socket on {iface}: {action}: {source}")]
    Open {
        /// The interface.
        iface: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An advert was not sent.
    #[error("advert on {iface}: {source}")]
    Send {
        /// The interface.
        iface: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// No socket is open for the interface: it does not exist.
    #[error("advert on {0}: no such interface")]
    NoInterface(String),
    /// Waiting for packets failed.
    #[error("waiting for adverts: {0}")]
    Wait(#[source] io::Error),
}

/// Bytes of receive buffer asked for, so that a flood does not displace genuine adverts while the
/// daemon is off the CPU for a moment.
const RECEIVE_BUFFER: usize = 8 << 20;
/// An advert has at most 40 bytes of IPv6 header and 8 + 255 * 16 of message; the rest of a longer
/// packet is not needed to refuse it.
const PACKET: usize = 5000;

/// IP protocol number of IPsec AH.
const AH: u8 = 51;

/// The sockets of one interface.
#[derive(Debug)]
struct Interface {
    index: u32,
    listen: Listen,
    /// Sends to groups of both families.
    send: Socket,
    families: BTreeMap<Family, Sockets>,
    /// Each only holds a membership: a socket can have 20 of them.
    _members: Vec<Socket>,
}

#[derive(Debug)]
struct Sockets {
    receive: Socket,
    /// When it was last known to be empty: what is read came later.
    empty: Wall,
    unicast: Option<Unicast>,
}

#[derive(Debug)]
struct Unicast {
    send: Socket,
    /// Make VRRP and AH known to the IP layer.
    _sinks: Vec<Socket>,
}

/// A packet that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The interface.
    pub iface: &'a str,
    /// From the IP header on.
    pub packet: &'a [u8],
    /// The frame's source MAC.
    pub src_mac: [u8; 6],
    /// When the kernel took it in.
    pub at: Time,
}

/// What [`VrrpSockets::drain`] did.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// How many packets that were.
    pub packets: usize,
    /// Until when everything was read; none: until the call.
    pub until: Option<Time>,
    /// When the call was made.
    pub called: Time,
}

/// The sockets of all interfaces with instances.
#[derive(Debug)]
pub struct VrrpSockets {
    /// Readable when any of the sockets is.
    epoll: Epoll,
    interfaces: BTreeMap<Arc<str>, Interface>,
}

/// Readable when an advert waits in any of the sockets.
impl AsFd for VrrpSockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl VrrpSockets {
    /// No sockets yet.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn new() -> Result<Self, VrrpSocketError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|e| VrrpSocketError::Wait(e.into()))?;
        Ok(VrrpSockets {
            epoll,
            interfaces: BTreeMap::new(),
        })
    }

    /// Whether sockets that receive this are open for this interface and index.
    #[must_use]
    pub fn is_open(&self, iface: &str, index: u32, listen: &Listen) -> bool {
        self.interfaces
            .get(iface)
            .is_some_and(|i| i.index == index && i.listen == *listen)
    }

    /// Opens the sockets of an interface; those of the same name that have another index or receive
    /// something else are closed before. Does nothing when they are open.
    ///
    /// # Errors
    /// When the interface is gone again, or without CAP_NET_RAW.
    pub fn open(
        &mut self,
        iface: &str,
        index: u32,
        listen: &Listen,
    ) -> Result<(), VrrpSocketError> {
        if self.is_open(iface, index, listen) {
            return Ok(());
        }
        self.close(iface);
        let fail = |action| {
            move |source| VrrpSocketError::Open {
                iface: iface.to_owned(),
                action,
                source,
            }
        };
        let send = sender().map_err(fail("send"))?;
        let joined = listen.groups.iter().filter(|_| !listen.is_vmac);
        let members = joined.map(|g| member(index, *g));
        let members = members.collect::<io::Result<_>>();
        let members = members.map_err(fail("join the multicast group"))?;
        let mut families = BTreeMap::new();
        for family in listen.families() {
            let empty = Wall::now();
            let receive = receiver(index, family, &listen.groups).map_err(fail("receive"))?;
            let unicast = match listen.unicast.contains(&family) {
                true => Some(unicast(iface, family).map_err(fail("unicast"))?),
                false => None,
            };
            self.epoll
                .add(&receive, EpollEvent::new(EpollFlags::EPOLLIN, 0))
                .map_err(|e| fail("register")(e.into()))?;
            let sockets = Sockets {
                receive,
                empty,
                unicast,
            };
            families.insert(family, sockets);
        }
        self.interfaces.insert(
            iface.into(),
            Interface {
                index,
                listen: listen.clone(),
                send,
                families,
                _members: members,
            },
        );
        Ok(())
    }

    /// Closes the sockets of an interface.
    pub fn close(&mut self, iface: &str) {
        // Closing takes the descriptor out of the epoll set as well.
        self.interfaces.remove(iface);
    }

    /// Interfaces whose sockets are open.
    pub fn open_interfaces(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.interfaces.iter().map(|(name, i)| (name, i.index))
    }

    /// Waits at most `limit` until something has arrived: false when nothing has.
    ///
    /// # Errors
    /// When the descriptor fails for good.
    pub fn wait(&self, limit: Duration) -> Result<bool, VrrpSocketError> {
        let limit = EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX);
        match self.epoll.wait(&mut [EpollEvent::empty(); 1], limit) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(VrrpSocketError::Wait(error.into())),
        }
    }

    /// Gives packets that have arrived to `each`, without waiting. At most `limit` from each interface
    /// and family, so that a flood does not keep the caller here.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&Received<'_>)) -> Drained {
        let mut buffer = [0; PACKET];
        let wall = Wall::now();
        let mut drained = Drained {
            packets: 0,
            until: None,
            called: wall.at,
        };
        let interfaces = self.interfaces.iter_mut();
        for (iface, sockets) in
            interfaces.flat_map(|(n, i)| i.families.values_mut().map(move |s| (n, s)))
        {
            let mut last = None;
            for _ in 0..limit {
                match receive(&sockets.receive, &mut buffer) {
                    Ok((len, src_mac, stamp)) => {
                        let at = now();
                        let at = stamp.map_or(at, |s| wall.arrival(s, &sockets.empty, at));
                        let packet = &buffer[..len];
                        each(&Received {
                            iface,
                            packet,
                            src_mac,
                            at,
                        });
                        drained.packets += 1;
                        last = Some(at);
                    }
                    Err(nix::Error::EINTR) => {}
                    // EAGAIN: empty. ENETDOWN and the like: netlink tells of it.
                    Err(_) => {
                        last = None;
                        sockets.empty = wall;
                        break;
                    }
                }
            }
            drained.until = [drained.until, last].into_iter().flatten().min();
        }
        drained
    }

    /// Sends a whole IP packet to its destination. Never waits.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&self, iface: &str, packet: &[u8]) -> Result<(), VrrpSocketError> {
        let interface = self
            .interfaces
            .get(iface)
            .ok_or_else(|| VrrpSocketError::NoInterface(iface.to_owned()))?;
        let to = destination_of(packet);
        let index = interface.index;
        let sockets = interface.families.get(&Family::of(to));
        let sent = match sockets.and_then(|s| s.unicast.as_ref()) {
            _ if to.is_multicast() => interface.send.send_to(packet, &group_address(index, to)),
            Some(unicast) => unicast.send.send_to(packet, &host_address(index, to)),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        sent.map(drop).map_err(|source| VrrpSocketError::Send {
            iface: iface.to_owned(),
            source,
        })
    }
}

/// One packet: its length, who sent it and the kernel's stamp of its arrival.
fn receive(
    socket: &Socket,
    buffer: &mut [u8],
) -> Result<(usize, [u8; 6], Option<TimeSpec>), nix::Error> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let got = recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let stamp = got.cmsgs()?.find_map(|c| match c {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
        _ => None,
    });
    let mac = got.address.and_then(|a| a.addr()).unwrap_or_default();
    Ok((got.bytes, mac, stamp))
}

const fn ethertype(family: Family) -> u16 {
    match family {
        Family::V4 => libc::ETH_P_IP as u16,
        Family::V6 => libc::ETH_P_IPV6 as u16,
    }
}

fn receiver(index: u32, family: Family, groups: &BTreeSet<IpAddr>) -> io::Result<Socket> {
    // Made without a protocol and bound after the filter is in place: nothing else gets in.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter(family, groups))?;
    if setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    setsockopt(&socket.as_fd(), sockopt::ReceiveTimestampns, &true)?;
    socket.bind(&link_address(index, ethertype(family)))?;
    Ok(socket)
}

fn sender() -> io::Result<Socket> {
    // Protocol 0: nothing is received. The kernel writes the Ethernet header.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // TC_PRIO_CONTROL: adverts do not queue behind traffic.
    setsockopt(&socket.as_fd(), sockopt::Priority, &7)?;
    Ok(socket)
}

/// Bound to the interface that carries the adverts. The kernel routes, and asks for the neighbour.
fn unicast(iface: &str, family: Family) -> io::Result<Unicast> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let raw = |protocol: i32| {
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(iface.as_bytes()))?;
        io::Result::Ok(socket)
    };
    let send = raw(libc::IPPROTO_RAW)?;
    setsockopt(&send.as_fd(), sockopt::Priority, &7)?;
    let sink = |protocol: u8| {
        let sink = raw(i32::from(protocol))?;
        sink.attach_filter(&[RETURN_NOTHING])?;
        io::Result::Ok(sink)
    };
    let _sinks = match family {
        Family::V4 => vec![sink(PROTOCOL)?, sink(AH)?],
        Family::V6 => vec![sink(PROTOCOL)?],
    };
    Ok(Unicast { send, _sinks })
}

fn member(index: u32, group: IpAddr) -> io::Result<Socket> {
    match group {
        IpAddr::V4(group) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
            Ok(socket)
        }
        IpAddr::V6(group) => {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
            socket.join_multicast_v6(&group, index)?;
            Ok(socket)
        }
    }
}

/// A group on an interface as a link-layer address: 01:00:5e and the low 23 bits (RFC 1112 6.4), or
/// 33:33 and the low 32 (RFC 2464 section 7).
fn group_address(index: u32, group: IpAddr) -> SockAddr {
    let mac = match group {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            [0x01, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [0x33, 0x33, a, b, c, d]
        }
    };
    link_address_to(index, ethertype(Family::of(group)), &mac)
}

fn host_address(index: u32, to: IpAddr) -> SockAddr {
    match to {
        IpAddr::V4(v4) => SocketAddrV4::new(v4, 0).into(),
        IpAddr::V6(v6) => {
            let scope = if v6.is_unicast_link_local() { index } else { 0 };
            SocketAddrV6::new(v6, 0, 0, scope).into()
        }
    }
}

pub(super) const fn op(code: u32, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code as u16, jt, jf, k)
}

const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
pub(super) const RETURN_NOTHING: SockFilter = op(RETURN, 0, 0, 0);
pub(super) const RETURN_ALL: SockFilter = op(RETURN, 0, 0, u32::MAX);
pub(super) const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
pub(super) const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
/// linux/filter.h: `SKF_AD_OFF + SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4) as u32;
/// linux/if_packet.h.
const PACKET_OUTGOING: u32 = 4;

/// Goes so many instructions on when what was loaded equals `k`, else so many.
pub(super) const fn equal(yes: u8, no: u8, k: u32) -> SockFilter {
    op(IF_EQUAL, yes, no, k)
}

/// Leaves out what this host sends.
pub(super) const NOT_OUTGOING: [SockFilter; 3] = [
    op(LOAD_BYTE, 0, 0, PACKET_TYPE),
    equal(0, 1, PACKET_OUTGOING),
    RETURN_NOTHING,
];

/// Classic BPF on the IP packet: not sent by this host, protocol 112 (over IPv4 in AH too), to this host
/// or to one of the groups.
fn filter(family: Family, groups: &BTreeSet<IpAddr>) -> Vec<SockFilter> {
    /// linux/if_packet.h.
    const PACKET_HOST: u32 = 0;
    const LOAD_HEADER_LEN: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
    const LOAD_BEHIND_HEADER: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    let is_vrrp = u32::from(PROTOCOL);
    let (mut program, destination_at) = match family {
        Family::V4 => (
            vec![
                op(LOAD_BYTE, 0, 0, 9),
                op(IF_EQUAL, 5, 0, is_vrrp),
                // VRRP in AH: the first byte of that header says what follows it.
                op(IF_EQUAL, 0, 3, u32::from(AH)),
                op(LOAD_HEADER_LEN, 0, 0, 0),
                op(LOAD_BEHIND_HEADER, 0, 0, 0),
                op(IF_EQUAL, 1, 0, is_vrrp),
                RETURN_NOTHING,
            ],
            16,
        ),
        Family::V6 => (
            vec![
                op(LOAD_BYTE, 0, 0, 6),
                op(IF_EQUAL, 1, 0, is_vrrp),
                RETURN_NOTHING,
            ],
            24,
        ),
    };
    program.extend([
        op(LOAD_BYTE, 0, 0, PACKET_TYPE),
        op(IF_EQUAL, 0, 1, PACKET_HOST),
        RETURN_ALL,
        op(IF_EQUAL, 0, 1, PACKET_OUTGOING),
        RETURN_NOTHING,
    ]);
    for group in groups.iter().filter(|g| Family::of(**g) == family) {
        let words = words(*group);
        for (i, word) in words.iter().enumerate() {
            program.push(op(LOAD_WORD, 0, 0, destination_at + 4 * i as u32));
            // Over the other words and the return to the next group.
            let left = 2 * (words.len() - 1 - i) + 1;
            program.push(op(IF_EQUAL, 0, left as u8, *word));
        }
        program.push(RETURN_ALL);
    }
    program.push(RETURN_NOTHING);
    program
}

pub(super) fn words(addr: IpAddr) -> Vec<u32> {
    match addr {
        IpAddr::V4(v4) => vec![v4.to_bits()],
        IpAddr::V6(v6) => [96, 64, 32, 0]
            .map(|shift| (v6.to_bits() >> shift) as u32)
            .to_vec(),
    }
}
