//! The segment, the client and time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Random;
use super::node::{Frame, Kind, Node};
use crate::model::VrrpInstance;
use crate::time::Time;
use crate::vrrp::packet::destination_of;

#[derive(Clone, Debug)]
enum Happening {
    Tick(usize),
    Frame {
        from: usize,
        to: usize,
        packet: Vec<u8>,
    },
    Garp {
        from: usize,
    },
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    pub(super) random: Random,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    /// When the last frame on the way from one to another arrives: the wire keeps the order.
    last_arrival: BTreeMap<(usize, usize), Time>,
    /// Pairs of directors that do not hear each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Percentage of adverts lost.
    pub(super) loss: u64,
    /// Whose MAC the client has.
    pub(super) arp: Option<usize>,
    outage_since: Option<Time>,
    /// The longest time without an answer.
    pub(super) longest_outage: Duration,
    /// The longest time with two masters that hear each other.
    pub(super) longest_two: Duration,
    two_since: Option<Time>,
    /// The longest time without a master.
    pub(super) longest_none: Duration,
    none_since: Option<Time>,
}

/// The client.
const CLIENT: usize = usize::MAX;

impl World {
    pub(super) fn new(seed: u64, nodes: Vec<(Kind, VrrpInstance)>) -> Self {
        let mut random = Random(seed);
        // Not at the origin: clocks of hosts that have been up for a while.
        let now = Time::ZERO + Duration::from_secs(1000);
        let nodes = nodes
            .into_iter()
            .zip(1..)
            .map(|((kind, config), number)| {
                let drift = random.below(2001) as i64 - 1000;
                let offset = random.micros(0, 5_000_000_000);
                Node::new(kind, config, number, drift, offset)
            })
            .collect();
        World {
            now,
            nodes,
            random,
            queue: BTreeMap::new(),
            sequence: 0,
            last_arrival: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0,
            arp: None,
            outage_since: None,
            longest_outage: Duration::ZERO,
            longest_two: Duration::ZERO,
            two_since: None,
            longest_none: Duration::ZERO,
            none_since: None,
        }
    }

    fn put(&mut self, at: Time, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    /// Forgets what was measured so far.
    pub(super) fn measure_anew(&mut self) {
        self.longest_outage = Duration::ZERO;
        self.longest_two = Duration::ZERO;
        self.longest_none = Duration::ZERO;
        self.outage_since = None;
        self.two_since = None;
        self.none_since = None;
    }

    /// Lets something happen to a node and sends what it sends.
    pub(super) fn with(&mut self, at: usize, f: impl FnOnce(&mut Node, Time)) {
        f(&mut self.nodes[at], self.now);
        self.flush(at);
        self.observe();
    }

    fn flush(&mut self, at: usize) {
        for frame in std::mem::take(&mut self.nodes[at].sent) {
            if self.nodes[at].off {
                continue;
            }
            match frame {
                Frame::Garp => {
                    let arrival = self.arrival(at, CLIENT);
                    self.put(arrival, Happening::Garp { from: at });
                }
                Frame::Advert(packet) => {
                    let destination = destination_of(&packet);
                    for to in 0..self.nodes.len() {
                        if !destination.is_multicast() && destination != self.nodes[to].source {
                            continue;
                        }
                        let arrival = self.arrival(at, to);
                        let lost = self.random.chance(self.loss);
                        if to != at && !lost {
                            self.put(
                                arrival,
                                Happening::Frame {
                                    from: at,
                                    to,
                                    packet: packet.clone(),
                                },
                            );
                        }
                    }
                }
            }
        }
        if let Some(wait) = self.nodes[at].wait(self.now) {
            // The daemon gets the CPU a little late.
            let late = self.random.micros(1, 500);
            self.put(self.now + wait + late, Happening::Tick(at));
        }
    }

    fn arrival(&mut self, from: usize, to: usize) -> Time {
        let delay = self.random.micros(20, 400);
        let before = self
            .last_arrival
            .get(&(from, to))
            .copied()
            .unwrap_or(Time::ZERO);
        let at = (self.now + delay).max(before + Duration::from_nanos(1));
        self.last_arrival.insert((from, to), at);
        at
    }

    fn hears(&self, a: usize, b: usize) -> bool {
        !self.nodes[a].off && !self.nodes[b].off && !self.cut.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((&(at, sequence), _)) = self.queue.first_key_value() {
            if at > end {
                break;
            }
            self.now = at;
            let Some(happening) = self.queue.remove(&(at, sequence)) else {
                break;
            };
            match happening {
                Happening::Tick(node) => {
                    let due = self.nodes[node]
                        .wait(at)
                        .is_some_and(|w| w <= Duration::from_nanos(2));
                    if due && !self.nodes[node].off {
                        self.with(node, Node::tick);
                    } else if due {
                        // Off: its daemon goes on in vain.
                        self.nodes[node].tick(at);
                        self.flush(node);
                    }
                }
                Happening::Frame { from, to, packet } => {
                    if self.hears(from, to) {
                        self.with(to, |n, now| n.receive(&packet, from as u8 + 1, now));
                    }
                }
                Happening::Garp { from } => {
                    if !self.nodes[from].off {
                        self.arp = Some(from);
                    }
                }
            }
            self.observe();
        }
        self.now = end;
        self.observe();
    }

    /// Whether the client is served and how many masters there are, after each happening.
    fn observe(&mut self) {
        if self.arp.is_none() {
            let holders: Vec<usize> = (0..self.nodes.len())
                .filter(|n| self.nodes[*n].has_vip && !self.nodes[*n].off)
                .collect();
            if !holders.is_empty() {
                self.arp = Some(holders[self.random.below(holders.len() as u64) as usize]);
            }
        }
        let answered = self
            .arp
            .is_some_and(|n| self.nodes[n].has_vip && !self.nodes[n].off);
        let masters: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].is_master() && !self.nodes[*n].off)
            .collect();
        let two = masters
            .iter()
            .any(|a| masters.iter().any(|b| a < b && self.hears(*a, *b)));
        let now = self.now;
        let track =
            |since: &mut Option<Time>, longest: &mut Duration, bad: bool| match (bad, *since) {
                (true, None) => *since = Some(now),
                (true, Some(start)) => *longest = (*longest).max(now.since(start)),
                (false, Some(start)) => {
                    *longest = (*longest).max(now.since(start));
                    *since = None;
                }
                (false, None) => {}
            };
        track(&mut self.outage_since, &mut self.longest_outage, !answered);
        track(&mut self.two_since, &mut self.longest_two, two);
        track(
            &mut self.none_since,
            &mut self.longest_none,
            masters.is_empty(),
        );
    }

    pub(super) fn masters(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|n| self.nodes[*n].is_master() && !self.nodes[*n].off)
            .collect()
    }

    /// In a quiet LAN: exactly this node is master, has the address alone, and the client knows it.
    pub(super) fn assert_settled(&self, on: usize, what: &str) {
        assert_eq!(self.masters(), [on], "{what}: masters");
        let holders: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].has_vip && !self.nodes[*n].off)
            .collect();
        assert_eq!(holders, [on], "{what}: holders");
        assert_eq!(self.arp, Some(on), "{what}: the client's ARP entry");
    }
}
