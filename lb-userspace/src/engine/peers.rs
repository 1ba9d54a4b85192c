//! The MACs of peer directors: what they send is never scheduled here again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::desired::{self, View};
use super::{Action, Engine};
use crate::model::is_virtual_mac;
use crate::plan::Link;
use crate::vrrp::{Notice, Report};

impl Engine {
    /// A director was heard for the first time. One that advertises with the MAC of the virtual router
    /// forwards with its own, which its address leads to.
    pub(super) fn learn_peer(&mut self, mac: [u8; 6], addr: IpAddr) {
        if is_virtual_mac(mac) {
            if self.hidden_peers.insert(addr) {
                self.follow();
            }
        } else if self.peers.insert(mac) {
            self.actions.push_back(Action::Peers(self.peers.clone()));
        }
    }

    /// What neighbours say of peers whose own MAC was not heard.
    pub(super) fn find_hidden_peers(&mut self, neighbours: &BTreeMap<IpAddr, Link>) {
        let links = self.hidden_peers.iter().filter_map(|a| neighbours.get(a));
        let macs: Vec<[u8; 6]> = links
            .filter(|l| l.on_link && !is_virtual_mac(l.dmac))
            .map(|l| l.dmac)
            .collect();
        let before = self.peers.len();
        self.peers.extend(macs);
        if self.peers.len() != before {
            self.actions.push_back(Action::Peers(self.peers.clone()));
        }
    }

    /// Says which real servers may be directors that were never heard.
    pub(super) fn tell_fellows(&mut self) {
        let view = View {
            health: &self.health,
            neighbours: &self.neighbours,
            own: &self.own,
        };
        let fellows = desired::fellows(&self.model, &self.index, &self.tables, &view);
        if self.fellows.as_ref() != Some(&fellows) {
            self.actions.push_back(Action::Fellows(fellows.clone()));
            self.fellows = Some(fellows);
        }
    }

    /// What the maps are told once: those that are observed may be fresh.
    pub(super) fn tell_again(&mut self) {
        if !self.peers.is_empty() {
            self.actions.push_back(Action::Peers(self.peers.clone()));
        }
        (self.fellows, self.refused_addresses) = (None, None);
        self.tell_refused();
    }

    /// The real server that has a MAC.
    pub(super) fn server_of(&self, mac: [u8; 6]) -> Option<IpAddr> {
        let is_server = |addr: &IpAddr| !self.index.at(addr).is_empty();
        let mut links = self.neighbours.iter().filter(|(addr, _)| is_server(addr));
        let found = links.find(|(_, link)| link.on_link && link.dmac == mac);
        found.map(|(addr, _)| *addr)
    }

    /// A report as the router gave it, with the real server in it whose MAC it names.
    pub(super) fn with_server(&self, mut report: Report) -> Report {
        if let Report::Notice { notice, .. } = &mut report
            && let Notice::Claimed { mac, server, .. } = notice
        {
            *server = self.server_of(*mac);
        }
        report
    }

    /// Says whose MACs are to be found out.
    pub(super) fn follow(&mut self) {
        let mut wanted = desired::to_resolve(&self.model, &self.tables);
        wanted.extend(&self.hidden_peers);
        self.actions.push_back(Action::Follow(wanted));
    }
}
