//! ARP: gratuitous ones for virtual addresses, and asking for a neighbour.

use std::io;
use std::net::Ipv4Addr;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use crate::model::is_virtual_mac;

/// What goes wrong; the daemon counts it and goes on.
#[derive(Debug, thiserror::Error)]
pub enum ArpError {
    /// The packet socket cannot be made.
    #[error("packet socket for ARP: {0}")]
    Open(#[source] io::Error),
    /// A frame was not sent.
    #[error("sending ARP for {addr} on interface {index}: {source}")]
    Send {
        /// The address asked for.
        addr: Ipv4Addr,
        /// The interface's index.
        index: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

const BROADCAST: [u8; 6] = [0xff; 6];
const FRAME: usize = 14 + 28;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Sends ARP requests on any interface; receives nothing.
#[derive(Debug)]
pub struct ArpSocket(Socket);

impl ArpSocket {
    /// Opens the socket in the current network namespace. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// When the kernel has no packet socket for us.
    pub fn open() -> Result<Self, ArpError> {
        // Protocol 0: nothing is ever received.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).map_err(ArpError::Open)?;
        socket.set_nonblocking(true).map_err(ArpError::Open)?;
        Ok(ArpSocket(socket))
    }

    /// Broadcasts a gratuitous ARP request as keepalived does: sender and target address are
    /// `addr`, the target's MAC is all ones. From a virtual MAC it is a reply: a predecessor that has
    /// the address still would answer a request from that same MAC, and switches would go on looking
    /// for it there. (All others know the MAC already.)
    ///
    /// # Errors
    /// When the kernel does not take the frame. It is never waited for.
    pub fn send_garp(&self, index: u32, mac: [u8; 6], addr: Ipv4Addr) -> Result<(), ArpError> {
        let (operation, target) = if is_virtual_mac(mac) {
            // Linux takes it for gratuitous only with its own MAC as the target's.
            (REPLY, mac)
        } else {
            (REQUEST, BROADCAST)
        };
        self.send(index, &frame(operation, mac, addr, target, addr), addr)
    }

    /// Broadcasts a request for `target` (RFC 826).
    ///
    /// # Errors
    /// As [`send_garp`](Self::send_garp).
    pub fn send_request(
        &self,
        index: u32,
        mac: [u8; 6],
        source: Ipv4Addr,
        target: Ipv4Addr,
    ) -> Result<(), ArpError> {
        self.send(index, &frame(REQUEST, mac, source, [0; 6], target), target)
    }

    fn send(&self, index: u32, frame: &[u8; FRAME], addr: Ipv4Addr) -> Result<(), ArpError> {
        let to = link_address(index, libc::ETH_P_ARP as u16);
        self.0
            .send_to(frame, &to)
            .map(drop)
            .map_err(|source| ArpError::Send {
                addr,
                index,
                source,
            })
    }
}

fn frame(
    operation: u8,
    mac: [u8; 6],
    source: Ipv4Addr,
    target_mac: [u8; 6],
    target: Ipv4Addr,
) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&BROADCAST);
    put(&mac);
    put(&(libc::ETH_P_ARP as u16).to_be_bytes());
    // Ethernet, IPv4, lengths 6 and 4.
    put(&[0, 1, 8, 0, 6, 4, 0, operation]);
    put(&mac);
    put(&source.octets());
    put(&target_mac);
    put(&target.octets());
    frame
}

/// A `sockaddr_ll` for an interface and an EtherType.
pub(super) fn link_address(index: u32, ethertype: u16) -> SockAddr {
    link_address_to(index, ethertype, &[])
}

/// The same with a hardware address, at most 8 bytes of it, for a socket that lets the kernel write
/// the link-layer header.
pub(super) fn link_address_to(index: u32, ethertype: u16, mac: &[u8]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the socket addresses, all integers, smaller than the storage.
    let ll = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    ll.sll_family = libc::AF_PACKET as u16;
    ll.sll_protocol = ethertype.to_be();
    ll.sll_ifindex = index as i32;
    for (to, from) in ll.sll_addr.iter_mut().zip(mac) {
        *to = *from;
        ll.sll_halen += 1;
    }
    // SAFETY: the family is that of the type, and the length the type's.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_arp_is_what_keepalived_sends() {
        let frame = frame(
            REQUEST,
            [2, 0, 0, 0, 0, 1],
            [10, 77, 0, 100].into(),
            BROADCAST,
            [10, 77, 0, 100].into(),
        );
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2,
            0, 0, 0, 0, 1, 10, 77, 0, 100, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 10, 77, 0, 100,
        ];
        assert_eq!(frame, expected);
    }
}
