//! Who else says that a virtual address is its own: by ARP, or for IPv6 in neighbour advertisements.
//!
//! A packet socket for each interface on which there is such an address, with a filter in the kernel that
//! leaves only what has one of them as its sender (ARP) or target (advertisement). Nothing wakes the
//! thread: it looks when it is awake anyway, so that a flood costs no more than the filter.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::sync::Arc;

use socket2::{Domain, SockFilter, Socket, Type};

use super::arp::link_address;
use super::vrrp::{
    LOAD_BYTE, LOAD_WORD, NOT_OUTGOING, RETURN_ALL, RETURN_NOTHING, equal, op, words,
};
use crate::model::Family;

/// How many frames of a socket are looked at in a turn; the others are as good as lost.
const DRAIN: usize = 64;

/// Where an ARP packet has its sender's MAC and address (RFC 826), and its length.
const ARP_SENDER_MAC: usize = 8;
const ARP_SENDER: usize = 14;
const ARP: usize = 28;
/// Where an IPv6 packet has a neighbour advertisement's type, target and first option (RFC 4861, 4.4).
const TYPE: usize = 40;
const TARGET: usize = 48;
const OPTION: usize = 64;
const OPTION_TARGET_MAC: u8 = 2;
const ICMPV6: u32 = 58;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

/// The sockets of an interface.
#[derive(Debug)]
struct Interface {
    index: u32,
    addresses: BTreeSet<IpAddr>,
    sockets: Vec<(Family, Socket)>,
}

/// The sockets of all interfaces.
#[derive(Debug, Default)]
pub(super) struct Claims {
    interfaces: BTreeMap<Arc<str>, Interface>,
}

impl Claims {
    /// Listens for claims of these addresses and no others.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when an interface is gone.
    pub(super) fn listen(
        &mut self,
        wanted: &BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
        index_of: impl Fn(&str) -> Option<u32>,
    ) -> io::Result<()> {
        self.interfaces.retain(|name, i| {
            wanted.get(name) == Some(&i.addresses) && index_of(name) == Some(i.index)
        });
        for (name, addresses) in wanted {
            let Some(index) = index_of(name).filter(|_| !self.interfaces.contains_key(name)) else {
                continue;
            };
            let families: BTreeSet<Family> = addresses.iter().map(|a| Family::of(*a)).collect();
            let sockets = families.into_iter().map(|family| {
                let own = addresses
                    .iter()
                    .copied()
                    .filter(|a| Family::of(*a) == family);
                Ok((family, receiver(index, family, &own.collect::<Vec<_>>())?))
            });
            let interface = Interface {
                index,
                addresses: addresses.clone(),
                sockets: sockets.collect::<io::Result<_>>()?,
            };
            self.interfaces.insert(Arc::clone(name), interface);
        }
        Ok(())
    }

    /// What has been claimed since the last call: interface, address and MAC, each once.
    pub(super) fn drain(&mut self) -> BTreeSet<(Arc<str>, IpAddr, [u8; 6])> {
        let mut heard = BTreeSet::new();
        for (name, interface) in &self.interfaces {
            for (family, socket) in &interface.sockets {
                for _ in 0..DRAIN {
                    let mut buffer = [0; 128];
                    let mut reader: &Socket = socket;
                    let Ok(len) = reader.read(&mut buffer) else {
                        break;
                    };
                    let packet = &buffer[..len];
                    let claim = match family {
                        Family::V4 => arp(packet),
                        Family::V6 => advertisement(packet),
                    };
                    heard.extend(claim.map(|(addr, mac)| (Arc::clone(name), addr, mac)));
                }
            }
        }
        heard
    }
}

/// The sender of an ARP packet for IPv4 over Ethernet.
fn arp(packet: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let packet = packet.get(..ARP)?;
    if !packet.starts_with(&[0, 1, 8, 0, 6, 4]) {
        return None;
    }
    let sender: [u8; 4] = packet[ARP_SENDER..ARP_SENDER + 4].try_into().ok()?;
    let mac = packet[ARP_SENDER_MAC..ARP_SENDER].try_into().ok()?;
    Some((sender.into(), mac))
}

/// The target of a neighbour advertisement that says its MAC.
fn advertisement(packet: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let target: [u8; 16] = packet.get(TARGET..OPTION)?.try_into().ok()?;
    let [kind, _, mac @ ..] = packet.get(OPTION..OPTION + 8)? else {
        return None;
    };
    let mac = mac.try_into().ok().filter(|_| *kind == OPTION_TARGET_MAC)?;
    Some((target.into(), mac))
}

fn receiver(index: u32, family: Family, addresses: &[IpAddr]) -> io::Result<Socket> {
    // Made without a protocol and bound after the filter is in place: nothing else gets in.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel has room for so many instructions (4096, and net.core.optmem_max); then all is taken.
    let exact = socket.attach_filter(&filter(family, Some(addresses)));
    exact.or_else(|_| socket.attach_filter(&filter(family, None)))?;
    let ethertype = match family {
        Family::V4 => libc::ETH_P_ARP,
        Family::V6 => libc::ETH_P_IPV6,
    };
    socket.bind(&link_address(index, ethertype as u16))?;
    Ok(socket)
}

/// Classic BPF on an ARP packet or an IPv6 packet: not sent by this host, and about one of the addresses
/// (none: about any).
fn filter(family: Family, addresses: Option<&[IpAddr]>) -> Vec<SockFilter> {
    let mut program = Vec::from(NOT_OUTGOING);
    let at = match family {
        Family::V4 => ARP_SENDER,
        Family::V6 => {
            program.extend([
                op(LOAD_BYTE, 0, 0, 6),
                equal(1, 0, ICMPV6),
                RETURN_NOTHING,
                op(LOAD_BYTE, 0, 0, TYPE as u32),
                equal(1, 0, NEIGHBOUR_ADVERTISEMENT),
                RETURN_NOTHING,
            ]);
            TARGET
        }
    };
    let Some(addresses) = addresses else {
        program.push(RETURN_ALL);
        return program;
    };
    for addr in addresses {
        program.extend(is_address(at as u32, *addr));
    }
    program.push(RETURN_NOTHING);
    program
}

/// Takes the packet when it has this address at this place.
fn is_address(at: u32, addr: IpAddr) -> Vec<SockFilter> {
    let words = words(addr);
    let compared = words.iter().enumerate().flat_map(|(i, word)| {
        // Over the other words and the return.
        let left = 2 * (words.len() - 1 - i) + 1;
        let load = op(LOAD_WORD, 0, 0, at + 4 * i as u32);
        [load, equal(0, left as u8, *word)]
    });
    compared.chain([RETURN_ALL]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_claims_is_read_from_requests_and_answers() {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 192, 0, 2, 1];
        packet.extend([0; 10]);
        let claim = (IpAddr::from([192, 0, 2, 1]), [2, 0, 0, 0, 0, 9]);
        assert_eq!(arp(&packet), Some(claim));
        packet.extend([0; 18]);
        assert_eq!(arp(&packet), Some(claim), "padded");
        assert_eq!(arp(&packet[..ARP - 1]), None);
        packet[4] = 8;
        assert_eq!(arp(&packet), None, "of other lengths");
    }

    #[test]
    fn an_advertisement_counts_when_it_has_a_mac() {
        let addr: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
        let mut packet = vec![0; TARGET];
        packet.extend(addr.octets());
        assert_eq!(advertisement(&packet), None);
        packet.extend([2, 1, 2, 0, 0, 0, 0, 9]);
        let claim = (IpAddr::V6(addr), [2, 0, 0, 0, 0, 9]);
        assert_eq!(advertisement(&packet), Some(claim));
        packet[OPTION] = 1;
        assert_eq!(advertisement(&packet), None, "a source's MAC");
    }
}
