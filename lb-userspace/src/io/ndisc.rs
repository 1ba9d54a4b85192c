//! Unsolicited neighbour advertisements for virtual addresses (RFC 4861 section 7.2.6), and asking who
//! else has one.

use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

use super::arp::link_address;

/// What goes wrong; the daemon counts it and goes on.
#[derive(Debug, thiserror::Error)]
pub enum NdiscError {
    /// The packet socket cannot be made.
    #[error("packet socket for neighbour advertisements: {0}")]
    Open(#[source] io::Error),
    /// A frame was not sent.
    #[error("neighbour advertisement of {addr} on interface {index}: {source}")]
    Send {
        /// The address announced.
        addr: Ipv6Addr,
        /// The interface's index.
        index: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// All nodes of the link, and its MAC (RFC 2464 section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
const HEADERS: usize = 14 + 40;
const MESSAGE: usize = 32;
const FRAME: usize = HEADERS + MESSAGE;

/// Sends neighbour advertisements on any interface; receives nothing.
#[derive(Debug)]
pub struct NdiscSocket(Socket);

impl NdiscSocket {
    /// Opens the socket in the current network namespace. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// When the kernel has no packet socket for us.
    pub fn open() -> Result<Self, NdiscError> {
        // Protocol 0: nothing is ever received.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).map_err(NdiscError::Open)?;
        socket.set_nonblocking(true).map_err(NdiscError::Open)?;
        Ok(NdiscSocket(socket))
    }

    /// Tells all nodes of the link that `addr` has this MAC, as keepalived does: from the address itself,
    /// with the override flag. `router`: whether this host forwards, as the kernel says in the answers
    /// to solicitations too.
    ///
    /// # Errors
    /// When the kernel does not take the frame. It is never waited for.
    pub fn send(
        &self,
        index: u32,
        mac: [u8; 6],
        addr: Ipv6Addr,
        router: bool,
    ) -> Result<(), NdiscError> {
        let to = link_address(index, libc::ETH_P_IPV6 as u16);
        let sent = self.0.send_to(&advertisement(mac, addr, router), &to);
        let fail = |source| NdiscError::Send {
            addr,
            index,
            source,
        };
        sent.map(drop).map_err(fail)
    }
}

impl NdiscSocket {
    /// Asks the link who has `addr` (RFC 4861 section 4.3), from this host's own address `from`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ask(
        &self,
        index: u32,
        mac: [u8; 6],
        from: Ipv6Addr,
        addr: Ipv6Addr,
    ) -> Result<(), NdiscError> {
        let to = link_address(index, libc::ETH_P_IPV6 as u16);
        let sent = self.0.send_to(&solicitation(mac, from, addr), &to);
        let fail = |source| NdiscError::Send {
            addr,
            index,
            source,
        };
        sent.map(drop).map_err(fail)
    }
}

/// Whether the host forwards what comes in at an interface.
#[must_use]
pub fn is_router(iface: &str) -> bool {
    std::fs::read(format!("/proc/sys/net/ipv6/conf/{iface}/forwarding"))
        .is_ok_and(|value| !value.starts_with(b"0"))
}

fn advertisement(mac: [u8; 6], addr: Ipv6Addr, router: bool) -> [u8; FRAME] {
    let flags = FLAG_OVERRIDE | if router { FLAG_ROUTER } else { 0 };
    let kind = [NEIGHBOUR_ADVERTISEMENT, flags, OPTION_TARGET_MAC];
    frame(ALL_NODES_MAC, mac, [addr, ALL_NODES], kind, addr)
}

/// To the group of all addresses that end alike (RFC 4291 section 2.7.1).
fn solicitation(mac: [u8; 6], from: Ipv6Addr, addr: Ipv6Addr) -> [u8; FRAME] {
    let [.., a, b, c] = addr.octets();
    let [high, low] = [0xff00 | u16::from(a), u16::from_be_bytes([b, c])];
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low);
    let kind = [NEIGHBOUR_SOLICITATION, 0, OPTION_SOURCE_MAC];
    frame([0x33, 0x33, 0xff, a, b, c], mac, [from, group], kind, addr)
}

/// A message of neighbour discovery about `target`: type, flags and the kind of its option, which has
/// this host's MAC.
fn frame(
    to_mac: [u8; 6],
    mac: [u8; 6],
    [from, to]: [Ipv6Addr; 2],
    [kind, flags, option]: [u8; 3],
    target: Ipv6Addr,
) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&to_mac);
    put(&mac);
    put(&(libc::ETH_P_IPV6 as u16).to_be_bytes());
    // Hop limit 255: whoever gets it knows that no router was between.
    put(&[0x60, 0, 0, 0, 0, MESSAGE as u8, ICMPV6, 255]);
    put(&from.octets());
    put(&to.octets());
    put(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    put(&target.octets());
    // In units of 8 bytes.
    put(&[option, 1]);
    put(&mac);
    let checksum = checksum(&frame[14 + 8..]);
    frame[HEADERS + 2..HEADERS + 4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Of both addresses and the message, with the rest of the pseudo header.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2);
    let start = u32::from(ICMPV6) + MESSAGE as u32;
    let sum = words.fold(start, |sum, w| {
        sum + u32::from(u16::from_be_bytes([w[0], w[1]]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_advertisement_is_what_keepalived_sends() {
        let addr = "2001:db8::100".parse().unwrap();
        // What keepalived 2.2.7 sent for this address from this MAC on a host that does not forward.
        let seen = "33330000000102000000000186dd\
                    6000000000203aff\
                    20010db8000000000000000000000100\
                    ff020000000000000000000000000001\
                    8800f72c20000000\
                    20010db8000000000000000000000100\
                    0201020000000001";
        assert_eq!(hex(&advertisement([2, 0, 0, 0, 0, 1], addr, false)), seen);
        let routed = advertisement([2, 0, 0, 0, 0, 1], addr, true);
        assert_eq!(routed[HEADERS + 4], 0xa0);
        // With its own checksum inside the sum is all ones.
        assert_eq!(checksum(&routed[14 + 8..]), 0);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
