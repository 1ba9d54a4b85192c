//! What is known of the host's interfaces and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::event::{Address, LinkState};
use crate::model::Family;

/// One interface.
#[derive(Debug, Default)]
struct Iface {
    link: Option<LinkState>,
    /// In the kernel's order; `None` before the first snapshot.
    addresses: Option<Vec<(IpAddr, u8)>>,
    /// The same: there may be thousands, and each is looked for when another comes.
    present: BTreeSet<(IpAddr, u8)>,
    /// Those that are not virtual, in the kernel's order: each advert asks for one of these few.
    own: Vec<(IpAddr, u8)>,
    /// Removals that we made and that netlink has still to report.
    own_removals: BTreeMap<(IpAddr, u8), u32>,
}

impl Iface {
    /// True: it was there.
    fn remove(&mut self, key: (IpAddr, u8)) -> bool {
        let list = self.addresses.get_or_insert_default();
        let was_there = self.present.remove(&key);
        if was_there {
            list.retain(|a| *a != key);
            self.own.retain(|a| *a != key);
        }
        was_there
    }

    fn find_own(&mut self, virtual_addresses: &BTreeSet<IpAddr>) {
        let all = self.addresses.iter().flatten();
        let own = all.filter(|(a, _)| !virtual_addresses.contains(a));
        self.own = own.copied().collect();
    }
}

/// All interfaces, by name.
#[derive(Debug, Default)]
pub(super) struct Net {
    ifaces: BTreeMap<Arc<str>, Iface>,
    /// The virtual addresses of all instances: never a primary address.
    virtual_addresses: BTreeSet<IpAddr>,
}

impl Net {
    fn entry(&mut self, iface: &str) -> &mut Iface {
        self.ifaces.entry(iface.into()).or_default()
    }

    /// Takes these for the virtual addresses, and no others.
    pub(super) fn set_virtual(&mut self, addresses: BTreeSet<IpAddr>) {
        self.virtual_addresses = addresses;
        self.find_own();
    }

    /// These are virtual addresses too.
    pub(super) fn add_virtual(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.virtual_addresses.extend(addresses);
        self.find_own();
    }

    fn find_own(&mut self) {
        for iface in self.ifaces.values_mut() {
            iface.find_own(&self.virtual_addresses);
        }
    }

    /// `None`: not told yet.
    pub(super) fn link(&self, iface: &str) -> Option<LinkState> {
        self.ifaces.get(iface).and_then(|i| i.link)
    }

    pub(super) fn set_link(&mut self, iface: &str, state: LinkState) {
        let entry = self.entry(iface);
        entry.link = Some(state);
        match state {
            LinkState::Up | LinkState::Down => {}
            LinkState::Gone => {
                entry.addresses = Some(Vec::new());
                entry.present.clear();
                entry.own.clear();
                entry.own_removals.clear();
            }
        }
    }

    /// The interface is gone, and nobody wants to know of it.
    pub(super) fn forget(&mut self, iface: &str) {
        self.ifaces.remove(iface);
    }

    /// All addresses of an interface. True: that is new.
    pub(super) fn snapshot(&mut self, iface: &str, addresses: &[(IpAddr, u8)]) -> bool {
        let entry = self.ifaces.entry(iface.into()).or_default();
        entry.own_removals.clear();
        if entry.addresses.as_deref() == Some(addresses) {
            return false;
        }
        entry.addresses = Some(addresses.to_vec());
        entry.present = addresses.iter().copied().collect();
        entry.find_own(&self.virtual_addresses);
        true
    }

    pub(super) fn addresses_known(&self, iface: &str) -> bool {
        self.ifaces
            .get(iface)
            .is_some_and(|i| i.addresses.is_some())
    }

    pub(super) fn is_present(&self, address: &Address) -> bool {
        let key = (address.addr, address.prefix_len);
        let iface = self.ifaces.get(&address.iface);
        iface.is_some_and(|i| i.present.contains(&key))
    }

    /// The address is there: what we did ourselves, or what netlink reports. True: that is new.
    pub(super) fn set_present(&mut self, iface: &str, key: (IpAddr, u8)) -> bool {
        let is_virtual = self.virtual_addresses.contains(&key.0);
        let entry = self.entry(iface);
        let list = entry.addresses.get_or_insert_default();
        let is_new = entry.present.insert(key);
        if is_new {
            list.push(key);
            entry.own.extend((!is_virtual).then_some(key));
        }
        is_new
    }

    /// The address is gone because we removed it.
    pub(super) fn set_removed(&mut self, iface: &str, key: (IpAddr, u8), netlink_will_tell: bool) {
        let entry = self.entry(iface);
        entry.remove(key);
        if netlink_will_tell {
            *entry.own_removals.entry(key).or_default() += 1;
        }
    }

    /// Netlink reports an address. While one of our own removals is still to be reported this
    /// tells of the time before it. True: it was not known.
    pub(super) fn reported_added(&mut self, iface: &str, key: (IpAddr, u8)) -> bool {
        !self.entry(iface).own_removals.contains_key(&key) && self.set_present(iface, key)
    }

    /// Netlink reports that an address is gone. True: it was there and we did not do it.
    pub(super) fn reported_removed(&mut self, iface: &str, key: (IpAddr, u8)) -> bool {
        let entry = self.entry(iface);
        if let Some(left) = entry.own_removals.get_mut(&key) {
            *left -= 1;
            if *left == 0 {
                entry.own_removals.remove(&key);
            }
            return false;
        }
        entry.remove(key)
    }

    /// The interface's own addresses of a family, virtual ones left out.
    fn own(&self, iface: &str, family: Family) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        let own = self.ifaces.get(iface).map_or(&[][..], |i| &i.own);
        let own = own.iter().copied();
        own.filter(move |(a, _)| Family::of(*a) == family)
    }

    /// The address that adverts are sent from: the first, over IPv6 the first link-local one (RFC 5798
    /// section 5.1.2.1).
    pub(super) fn primary(&self, iface: &str, family: Family) -> Option<IpAddr> {
        let is_primary = |addr: &IpAddr| match addr {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let mut own = self.own(iface, family).map(|(addr, _)| addr);
        own.find(is_primary)
    }

    /// Whether an address belongs to this host.
    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        let with_any_prefix = (addr, 0)..=(addr, u8::MAX);
        let mut ifaces = self.ifaces.values();
        ifaces.any(|i| i.present.range(with_any_prefix.clone()).next().is_some())
    }

    /// Whether `addr` may be a neighbour on `iface`. An interface that has only host addresses
    /// cannot tell, so anything may.
    pub(super) fn is_on_link(&self, iface: &str, addr: IpAddr) -> bool {
        let family = Family::of(addr);
        let mut own = self.own(iface, family);
        own.all(|(_, prefix)| prefix == family.bits()) || self.is_in_subnet(iface, addr)
    }

    /// Whether `addr` is in a network of `iface`.
    pub(super) fn is_in_subnet(&self, iface: &str, addr: IpAddr) -> bool {
        let family = Family::of(addr);
        self.own(iface, family)
            .any(|(own, prefix)| prefix < family.bits() && same_network(own, addr, prefix))
    }
}

/// Whether two addresses have so many leading bits in common.
fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let differ = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differ >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (IpAddr, u8) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)), 24);

    fn vip(last: u8) -> (IpAddr, u8) {
        (IpAddr::from([10, 0, 0, last]), 24)
    }

    #[test]
    fn an_address_is_virtual_or_the_hosts_own_whichever_is_told_first() {
        let mut net = Net::default();
        let primary = |net: &Net| net.primary("eth0", Family::V4);
        net.set_link("eth0", LinkState::Up);
        net.snapshot("eth0", &[vip(1), vip(2), HOST]);
        assert_eq!(primary(&net), Some(vip(1).0), "nothing is virtual yet");
        net.add_virtual([vip(1).0]);
        assert_eq!(primary(&net), Some(vip(2).0));
        net.set_virtual([vip(1).0, vip(2).0, vip(3).0].into());
        assert_eq!(primary(&net), Some(HOST.0));
        assert_eq!(net.ifaces["eth0"].own, [HOST], "nothing else is searched");
        net.set_present("eth0", vip(3));
        assert!(net.reported_removed("eth0", HOST));
        assert_eq!(primary(&net), None, "virtual ones alone are left");
        net.snapshot("eth0", &[vip(3)]);
        assert_eq!(primary(&net), None);
        net.set_present("eth0", HOST);
        assert_eq!(primary(&net), Some(HOST.0));
        net.set_virtual([vip(1).0].into());
        assert_eq!(primary(&net), Some(vip(3).0), "no longer virtual");
        net.set_link("eth0", LinkState::Gone);
        assert_eq!(primary(&net), None);
    }
}
