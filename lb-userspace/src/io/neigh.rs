//! How real servers are reached: route, outgoing interface, MAC, kept true by the kernel's events.
//!
//! A MAC that was known once stays in use until another one is known: whether a server is dead is
//! the health check's to say, and an entry that the kernel merely forgot must not stop a packet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::netlink::{Control, LinkTable, Neighbour, NeighbourState, NextHop};
use crate::plan::Link;
use crate::time::Time;

/// Servers that are looked up in one step. Each is two system calls that may have the kernel clean
/// up a full neighbour table, and adverts are due every 10 ms.
const STEP: usize = 32;
/// The least time between the beginnings of two rounds over all servers, however often routes
/// change.
const ROUND_GAP: Duration = Duration::from_millis(200);
/// Servers without a MAC that are asked for again at a time, in turn.
const UNKNOWN_AT_ONCE: usize = 256;

/// Interface and address of a next hop.
type Hop = (u32, IpAddr);

/// Follows the real servers of all services. Nothing here takes long: what is to be looked up is
/// looked up in steps.
#[derive(Debug, Default)]
pub struct Resolver {
    /// Where each server's packets go; none without a route.
    followed: BTreeMap<IpAddr, Option<NextHop>>,
    /// The last MAC of every neighbour.
    macs: BTreeMap<Hop, [u8; 6]>,
    /// Still to be looked up.
    queue: VecDeque<IpAddr>,
    /// Neighbours that were asked for since the queue was empty.
    asked: BTreeSet<Hop>,
    /// A round over all servers is wanted.
    round: bool,
    /// When the last round began.
    begun: Option<Time>,
    /// The last server without a MAC that was asked for again.
    last_unknown: Option<IpAddr>,
}

impl Resolver {
    /// Follows exactly these from now on.
    pub fn follow(&mut self, wanted: &BTreeSet<IpAddr>) {
        self.followed.retain(|addr, _| wanted.contains(addr));
        let new = wanted
            .iter()
            .filter(|addr| !self.followed.contains_key(addr));
        let new: Vec<IpAddr> = new.copied().collect();
        // The first ones need the neighbour table as well.
        self.round |= !new.is_empty();
        self.followed.extend(new.into_iter().map(|a| (a, None)));
    }

    /// Wants every route looked up again, the neighbour table read, and the kernel to confirm what
    /// it knows and to ask for what it does not.
    pub fn refresh(&mut self) {
        self.round = true;
    }

    /// Wants some of the servers without a MAC asked for again.
    pub fn retry_unknown(&mut self) {
        if self.round || !self.queue.is_empty() {
            return;
        }
        let unknown: Vec<IpAddr> = self
            .followed
            .iter()
            .filter(|(_, hop)| self.is_unknown(**hop))
            .map(|(addr, _)| *addr)
            .collect();
        let after = unknown.partition_point(|a| Some(*a) <= self.last_unknown);
        let turn = unknown.iter().cycle().skip(after);
        self.queue = turn
            .take(unknown.len().min(UNKNOWN_AT_ONCE))
            .copied()
            .collect();
        self.last_unknown = self.queue.back().copied();
    }

    /// When [`Resolver::step`] is wanted.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<Time> {
        if !self.queue.is_empty() {
            Some(now)
        } else if self.round {
            Some(self.begun.map_or(now, |begun| begun + ROUND_GAP))
        } else {
            None
        }
    }

    /// Looks up a few servers; true when one may be reached differently now.
    pub fn step(&mut self, control: &mut Control, now: Time) -> bool {
        let mut changed = false;
        if self.queue.is_empty() && self.round && self.due(now).is_some_and(|due| due <= now) {
            self.round = false;
            self.begun = Some(now);
            self.queue = self.followed.keys().copied().collect();
            changed = self.read_neighbours(control);
        }
        for _ in 0..STEP {
            let Some(addr) = self.queue.pop_front() else {
                break;
            };
            let Some(old) = self.followed.get_mut(&addr) else {
                continue;
            };
            // A server to which there is no route at this moment keeps the one it had.
            if let Ok(hop) = control.route_to(addr) {
                changed |= *old != Some(hop);
                *old = Some(hop);
            }
            let Some(hop) = old.filter(|h| !h.local) else {
                continue;
            };
            if self.asked.insert(key(hop))
                && let Err(error) = control.resolve(hop.index, hop.addr)
            {
                tracing::debug!("asking for {}: {error}", hop.addr);
            }
        }
        if self.queue.is_empty() {
            self.asked.clear();
        }
        changed
    }

    /// Takes the whole neighbour table in, and forgets neighbours that are neither in it nor used.
    fn read_neighbours(&mut self, control: &mut Control) -> bool {
        let neighbours = match control.neighbours() {
            Ok(neighbours) => neighbours,
            Err(error) => {
                tracing::warn!("neighbour table: {error}");
                return false;
            }
        };
        let used: BTreeSet<Hop> = self.followed.values().flatten().map(|h| key(*h)).collect();
        self.macs.retain(|hop, _| used.contains(hop));
        let mut changed = false;
        for neighbour in &neighbours {
            changed |= self.learn(neighbour);
        }
        changed
    }

    /// Takes in a neighbour entry; true when it says something new. One that failed or was
    /// forgotten keeps its MAC; the next round asks for it again.
    pub fn learn(&mut self, entry: &Neighbour) -> bool {
        let Some(mac) = entry.mac.filter(|_| entry.state == NeighbourState::Valid) else {
            return false;
        };
        self.macs.insert((entry.index, entry.addr), mac) != Some(mac)
    }

    fn is_unknown(&self, hop: Option<NextHop>) -> bool {
        hop.is_none_or(|h| !h.local && !self.macs.contains_key(&key(h)))
    }

    /// How each server is reached, those that are. `joined_above` as in [`Link`].
    #[must_use]
    pub fn links(&self, table: &LinkTable, joined_above: u16) -> BTreeMap<IpAddr, Link> {
        self.followed
            .iter()
            .filter_map(|(addr, hop)| {
                let hop = (*hop)?;
                let out = table.carrier(hop.index)?;
                let mtu = hop.mtu.map_or(out.mtu, |mtu| mtu.min(out.mtu));
                let link = Link {
                    dmac: *self.macs.get(&key(hop))?,
                    smac: out.mac?,
                    ifindex: out.index,
                    mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
                    source: hop.source,
                    on_link: hop.addr == *addr,
                    joined_above,
                };
                Some((*addr, link))
            })
            .collect()
    }
}

const fn key(hop: NextHop) -> Hop {
    (hop.index, hop.addr)
}
