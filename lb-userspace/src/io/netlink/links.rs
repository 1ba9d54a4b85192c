//! Names behind interface indices; turns changes into what the router is told.

use std::collections::BTreeMap;

use super::{Change, Link};
use crate::model::is_virtual_mac;
use crate::vrrp::LinkState;

/// The interfaces of this host.
#[derive(Clone, Debug, Default)]
pub struct LinkTable {
    by_index: BTreeMap<u32, Link>,
}

impl LinkTable {
    /// A table of what a dump gave.
    #[must_use]
    pub fn new(links: Vec<Link>) -> Self {
        LinkTable {
            by_index: links.into_iter().map(|l| (l.index, l)).collect(),
        }
    }

    /// The interface with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Link> {
        self.by_index.get(&index)
    }

    /// The interface that sends what is to go out by this one: a macvlan with a virtual router's MAC
    /// only receives, since a switch goes by where that MAC was last seen as a sender.
    #[must_use]
    pub fn carrier(&self, index: u32) -> Option<&Link> {
        let link = self.get(index)?;
        let is_virtual = link.mac.is_some_and(is_virtual_mac);
        match link.macvlan_on.filter(|_| is_virtual) {
            Some(base) => self.get(base),
            None => Some(link),
        }
    }

    /// The interface of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.by_index.values().find(|l| l.name == name)
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.by_index.values()
    }

    /// Takes a change in; the names whose state is to be told to the router are returned, a name
    /// that an interface no longer has as [`LinkState::Gone`].
    pub fn apply(&mut self, change: &Change) -> Vec<(String, LinkState)> {
        match change {
            Change::Link(link) => {
                let before = self.by_index.insert(link.index, link.clone());
                let renamed = before.filter(|b| b.name != link.name);
                renamed
                    .map(|b| (b.name, LinkState::Gone))
                    .into_iter()
                    .chain([(link.name.clone(), link.state)])
                    .collect()
            }
            Change::LinkGone { index } => self
                .by_index
                .remove(index)
                .map(|l| (l.name, LinkState::Gone))
                .into_iter()
                .collect(),
            Change::AddressAdded(_)
            | Change::AddressRemoved(_)
            | Change::Neighbour(_)
            | Change::Routes
            | Change::Overrun => Vec::new(),
        }
    }

    /// The state of a name as the router wants it.
    #[must_use]
    pub fn state(&self, name: &str) -> LinkState {
        self.by_name(name).map_or(LinkState::Gone, |l| l.state)
    }
}
