//! How real servers are reached: route, outgoing interface, MAC, kept true by the kernel's events.
//!
//! A MAC that was known once stays in use until another one is known: whether a server is dead is
//! the health check's to say, and an entry that the kernel merely forgot must not stop a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::netlink::{Control, LinkTable, Neighbour, NeighbourState, NextHop};
use crate::plan::Link;

/// A real server that is followed.
#[derive(Clone, Copy, Debug)]
struct Followed {
    /// Where its packets go; none without a route.
    hop: Option<NextHop>,
    /// The neighbour's MAC.
    mac: Option<[u8; 6]>,
}

/// Follows the real servers of all services.
#[derive(Debug, Default)]
pub struct Resolver {
    followed: BTreeMap<Ipv4Addr, Followed>,
}

impl Resolver {
    /// Follows exactly these from now on.
    pub fn follow(&mut self, wanted: &BTreeSet<Ipv4Addr>, control: &mut Control) {
        self.followed.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            self.followed.entry(*addr).or_insert(Followed {
                hop: None,
                mac: None,
            });
        }
        self.refresh(control);
    }

    /// Looks every route up again, reads the neighbour table, and has the kernel confirm what it
    /// knows and ask for what it does not.
    pub fn refresh(&mut self, control: &mut Control) {
        for (addr, followed) in &mut self.followed {
            let hop = control.route_to(IpAddr::V4(*addr)).ok();
            if followed.hop.map(|h| (h.index, h.addr)) != hop.map(|h| (h.index, h.addr))
                && hop.is_some()
            {
                *followed = Followed { hop, mac: None };
            }
        }
        match control.neighbours() {
            Ok(neighbours) => {
                for neighbour in &neighbours {
                    self.learn(neighbour);
                }
            }
            Err(error) => tracing::warn!("neighbour table: {error}"),
        }
        let hops: BTreeSet<(u32, IpAddr)> = self
            .followed
            .values()
            .filter_map(|f| f.hop)
            .filter(|h| !h.local)
            .map(|h| (h.index, h.addr))
            .collect();
        for (index, addr) in hops {
            if let Err(error) = control.resolve(index, addr) {
                tracing::debug!("asking for {addr}: {error}");
            }
        }
    }

    /// Takes in a neighbour entry; true when a followed server is reached differently now. One that
    /// failed or was forgotten keeps its MAC; the next [`Resolver::refresh`] asks for it again.
    pub fn learn(&mut self, entry: &Neighbour) -> bool {
        let Some(mac) = entry.mac.filter(|_| entry.state == NeighbourState::Valid) else {
            return false;
        };
        let mut changed = false;
        for followed in self.followed.values_mut() {
            if followed
                .hop
                .is_some_and(|h| (h.index, h.addr) == (entry.index, entry.addr))
                && followed.mac != Some(mac)
            {
                followed.mac = Some(mac);
                changed = true;
            }
        }
        changed
    }

    /// Whether there is a server whose MAC is not known.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.followed
            .values()
            .any(|f| f.mac.is_none() && f.hop.is_none_or(|h| !h.local))
    }

    /// How each server is reached, those that are.
    #[must_use]
    pub fn links(&self, table: &LinkTable) -> BTreeMap<Ipv4Addr, Link> {
        self.followed
            .iter()
            .filter_map(|(addr, f)| {
                let hop = f.hop?;
                let smac = table.get(hop.index)?.mac?;
                Some((
                    *addr,
                    Link {
                        dmac: f.mac?,
                        smac,
                        ifindex: hop.index,
                    },
                ))
            })
            .collect()
    }
}
