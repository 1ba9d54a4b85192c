//! The macvlans of `use_vmac`: made when their interface is there, removed when nobody wants them.
//!
//! Each carries an alias: whose it is (the state directory tells daemons of one host apart), and what
//! was set on the interface under it before. So a successor knows them again however this daemon ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::interfaces;
use super::run::Daemon;
use crate::io::netlink::{Link, LinkTable, NetlinkError, Setting};
use crate::model::{Macvlan, Model};

pub(super) const IPV4: &str = "/proc/sys/net/ipv4/conf";
const IPV6: &str = "/proc/sys/net/ipv6/conf";
/// What is set on the interface under a macvlan: it must not answer for the virtual address with a
/// MAC of its own, nor ask for a client as the virtual address. (keepalived leaves the last one out;
/// a client then takes the question for news of the address.)
const BASE: [(&str, Setting, u32); 3] = [
    ("arp_ignore", Setting::ARP_IGNORE, 1),
    ("arp_filter", Setting::ARP_FILTER, 1),
    ("arp_announce", Setting::ARP_ANNOUNCE, 2),
];

/// Whether packets are dropped to whose source there is no way back by their interface.
const RP_FILTER: &str = "rp_filter";

/// The macvlans that are set up, with their indices.
pub(super) type Vmacs = BTreeMap<String, u32>;

impl Daemon<'_> {
    /// Makes the macvlans that are wanted and are not there.
    pub(super) fn make_vmacs(&mut self) {
        let model = Arc::clone(self.engine.model());
        for (name, vmac) in model.macvlans() {
            let Some(base) = self.links.by_name(vmac.base).cloned() else {
                continue;
            };
            if let Err(error) = self.make_vmac(name, vmac, &base) {
                self.say_once(format!("{name}: {error}"));
            }
        }
    }

    fn make_vmac(
        &mut self,
        name: &str,
        vmac: Macvlan<'_>,
        base: &Link,
    ) -> Result<(), NetlinkError> {
        let mut found = self.links.by_name(name).cloned();
        let fits = |l: &Link| l.macvlan_on == Some(base.index) && l.mac == Some(vmac.mac);
        if let Some(link) = found.clone().filter(|l| !fits(l)) {
            if !link.alias.starts_with(&self.alias()) {
                self.say_once(format!(
                    "{name} is there and is no macvlan on {} with the virtual router's MAC; remove \
                     it, or give another name to use_vmac",
                    vmac.base
                ));
                return Ok(());
            }
            self.remove_vmac(&link)?;
            found = None;
        }
        let index = match found {
            Some(link) if self.vmacs.get(name) == Some(&link.index) => return Ok(()),
            Some(link) => {
                tracing::info!("{name}: took over the macvlan on {}", vmac.base);
                link.index
            }
            None => {
                self.spread_rp_filter();
                let before = BASE.map(|(word, _, _)| {
                    format!(" {word} {}", read(IPV4, vmac.base, word).unwrap_or(0))
                });
                let alias = self.alias() + &before.concat();
                self.control
                    .add_macvlan(name, base.index, vmac.mac, &alias)?;
                tracing::info!("{name}: made a macvlan on {}", vmac.base);
                self.links = LinkTable::new(self.control.links()?);
                self.links.by_name(name).map_or(0, |l| l.index)
            }
        };
        self.control.set_ipv4(
            index,
            &[
                // Answers only for its own addresses.
                (Setting::ARP_IGNORE, 1),
                // With it the kernel of a director that still has the address would answer the gratuitous
                // ARP of its successor, and switches would look for the virtual MAC here.
                (Setting::ACCEPT_LOCAL, 0),
                // Hears clients whose way back is the interface.
                (Setting::RP_FILTER, 0),
                (Setting::PROMOTE_SECONDARIES, 1),
            ],
        )?;
        self.control.set_ipv4(
            base.index,
            &BASE.map(|(_, setting, value)| (setting, value)),
        )?;
        // A kernel without IPv6 refuses it.
        if self.control.without_link_local(index).is_ok() {
            // What the kernel sends for IPv6 by itself would tell switches that the MAC is here.
            let off = if vmac.has_ipv6 { "0" } else { "1" };
            write(IPV6, name, "disable_ipv6", off);
        }
        self.control.set_up(index)?;
        self.vmacs.insert(name.to_owned(), index);
        Ok(())
    }

    /// Removes the macvlans of this daemon and of its predecessors that are not wanted and have no
    /// address any more.
    pub(super) fn remove_vmacs(&mut self) {
        let model = Arc::clone(self.engine.model());
        self.remove_other_vmacs(&model);
    }

    /// Removes all of them.
    pub(super) fn remove_all_vmacs(&mut self) {
        self.host.clear();
        self.remove_other_vmacs(&Model::default());
    }

    fn remove_other_vmacs(&mut self, model: &Model) {
        let wanted = model.macvlans();
        let alias = self.alias();
        let known = self.vmacs.clone();
        let is_ours = |l: &&Link| {
            let known = known.get(&l.name) == Some(&l.index);
            l.macvlan_on.is_some() && (known || l.alias.starts_with(&alias))
        };
        let gone: Vec<Link> = self
            .links
            .iter()
            .filter(is_ours)
            .filter(|l| !wanted.contains_key(l.name.as_str()) && !self.has_address(l.index))
            .cloned()
            .collect();
        for link in gone {
            match self.remove_vmac(&link) {
                Ok(()) => tracing::info!("{}: removed", link.name),
                Err(error) => self.say_once(format!("{}: {error}", link.name)),
            }
        }
        let left = self.links.iter().any(|l| is_ours(&l));
        if wanted.is_empty() && !left && !self.changed.filtering.is_empty() {
            self.gather_rp_filter();
        }
    }

    fn remove_vmac(&mut self, link: &Link) -> Result<(), NetlinkError> {
        self.control.del_link(link.index)?;
        self.vmacs.remove(&link.name);
        self.links = LinkTable::new(self.control.links()?);
        let base = link.macvlan_on.and_then(|base| self.links.get(base));
        let Some(base) = base.map(|l| l.index) else {
            return Ok(());
        };
        let mut others = self.links.iter().filter(|l| l.macvlan_on == Some(base));
        if let Some(other) = others.find(|l| l.alias.starts_with(&self.alias())) {
            tracing::debug!("{} needs the settings still", other.name);
            return Ok(());
        }
        let before = before(&link.alias);
        self.control.set_ipv4(base, &before)
    }

    /// A virtual address on a macvlan is reached by way of an interface that has no route back to the
    /// client. Where all interfaces are told at once to drop such packets (`all.rp_filter` 1), each is
    /// told by itself instead, as keepalived does; interfaces that come later are told by `default`.
    fn spread_rp_filter(&mut self) {
        if read(IPV4, "all", RP_FILTER) != Some(1) {
            return;
        }
        tracing::info!("net.ipv4.conf.all.rp_filter is 1: set for each interface instead");
        let interfaces = std::fs::read_dir(IPV4).into_iter().flatten().flatten();
        let names: Vec<String> = interfaces
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name != "all" && read(IPV4, name, RP_FILTER) == Some(0))
            .collect();
        let all = ["all".to_owned()].into_iter().chain(names.iter().cloned());
        self.note(|changed| changed.filtering.extend(all));
        let mut done = true;
        for name in &names {
            done &= write(IPV4, name, RP_FILTER, "1");
        }
        if !(done && write(IPV4, "all", RP_FILTER, "0")) {
            tracing::warn!(
                "rp_filter cannot be set; the virtual address may not answer on a macvlan"
            );
        }
    }

    /// Sets it back: `all` first, so that no packet passes meanwhile that should not.
    fn gather_rp_filter(&mut self) {
        tracing::info!("net.ipv4.conf.all.rp_filter is 1 again");
        write(IPV4, "all", RP_FILTER, "1");
        for name in self.changed.filtering.iter().filter(|name| *name != "all") {
            // One that is gone needs nothing.
            write(IPV4, name, RP_FILTER, "0");
        }
        self.note(|changed| changed.filtering.clear());
    }

    /// Tells the program which virtual MACs are this host's: those of macvlans that have an address. In
    /// the moment between, what comes for one is dropped and sent again.
    pub(super) fn tell_virtual_macs(&mut self) {
        let mut macs: BTreeMap<u32, BTreeSet<[u8; 6]>> = BTreeMap::new();
        for index in self
            .vmacs
            .values()
            .filter(|index| self.has_address(**index))
        {
            let link = self.links.get(*index);
            if let Some((base, mac)) = link.and_then(|l| Some((l.macvlan_on?, l.mac?))) {
                macs.entry(base).or_default().insert(mac);
            }
        }
        if let Some(plane) = &mut self.plane {
            plane.set_virtual_macs(&macs);
        }
    }

    /// An address came to an interface or left it.
    pub(super) fn follow_virtual_mac(&mut self, index: u32) {
        if self.vmacs.values().any(|vmac| *vmac == index) {
            self.tell_virtual_macs();
        }
    }

    /// Whether an interface has an address other than a link-local one of IPv6.
    fn has_address(&self, index: u32) -> bool {
        let on = |(of, addr, _): &(u32, IpAddr, u8)| {
            let local = matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
            *of == index && !local
        };
        self.host.iter().any(on)
    }

    fn alias(&self) -> String {
        alias(&self.options.state_dir)
    }

    pub(super) fn say_once(&mut self, text: String) {
        interfaces::say_once(&mut self.said, text);
    }
}

/// How the alias of a macvlan of the daemon with this state directory begins.
fn alias(state_dir: &Path) -> String {
    // The kernel takes 255 bytes.
    let text = state_dir.display().to_string();
    let start = text.len().saturating_sub(180);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at));
    format!("lbd {}", &text[start.unwrap_or(text.len())..])
}

/// What was set on the interface before, by the alias of the macvlan.
fn before(alias: &str) -> [(Setting, u32); 3] {
    let words: Vec<&str> = alias.split(' ').collect();
    BASE.map(|(word, setting, _)| {
        let mut pairs = words.windows(2).rev();
        let value = pairs.find_map(|pair| (pair[0] == word).then(|| pair[1].parse().ok())?);
        (setting, value.unwrap_or(0))
    })
}

pub(super) fn read(family: &str, iface: &str, word: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("{family}/{iface}/{word}")).ok()?;
    text.trim().parse().ok()
}

pub(super) fn write(family: &str, iface: &str, word: &str, value: &str) -> bool {
    let path = format!("{family}/{iface}/{word}");
    let done = std::fs::write(&path, value);
    if let Err(error) = &done {
        tracing::debug!("{path}: {error}");
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_gives_back_what_was_set() {
        let alias = alias(Path::new("/var/lib/lbd")) + " arp_ignore 2 arp_filter 1";
        assert_eq!(
            before(&alias),
            [
                (Setting::ARP_IGNORE, 2),
                (Setting::ARP_FILTER, 1),
                (Setting::ARP_ANNOUNCE, 0)
            ]
        );
        assert_eq!(before("made by hand").map(|(_, value)| value), [0; 3]);
    }

    #[test]
    fn an_alias_has_room_in_the_kernel() {
        let long = "/ä".repeat(400);
        assert!(
            alias(Path::new(&long)).len() + " arp_ignore 2 arp_filter 1 arp_announce 2".len() < 256
        );
    }
}
