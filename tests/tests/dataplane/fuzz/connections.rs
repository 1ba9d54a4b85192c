//! Connections and their servers: the rules of `ip_vs_core.c`, the schedulers of `ip_vs_*.c`.
//!
//! Nothing expires here, and the table is never full: the fuzzer sees to both.

use std::collections::HashMap;
use std::net::IpAddr;

use lb_common::maps::{BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Sched};
use lb_common::reason::Reason;

use super::states::{Event, State};
use super::world::{Server, Service};

#[derive(Clone, Copy, Debug)]
struct Entry {
    server: u16,
    state: State,
}

/// A connection: its service, its client, the port of the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) service: u16,
    pub(crate) client: (IpAddr, u16),
    pub(crate) port: u16,
}

/// All connections, and the servers as they are.
pub(crate) struct Connections {
    pub(crate) servers: HashMap<u16, Server>,
    entries: HashMap<Key, Entry>,
    turns: HashMap<u16, usize>,
    /// Where a service sent a client's network.
    templates: HashMap<(IpAddr, u16), u16>,
    /// Connections scheduled to each server.
    pub(crate) scheduled: HashMap<u16, u64>,
    /// Active and inactive connections of each server.
    pub(crate) loads: HashMap<u16, (u32, u32)>,
    /// What happened on the way of the last packet.
    pub(crate) notes: Vec<Reason>,
}

impl Connections {
    pub(crate) fn new(services: &[Service]) -> Connections {
        let servers = services.iter().flat_map(|service| &service.servers);
        Connections {
            servers: servers.map(|&server| (server.index, server)).collect(),
            entries: HashMap::new(),
            turns: HashMap::new(),
            templates: HashMap::new(),
            scheduled: HashMap::new(),
            loads: HashMap::new(),
            notes: Vec::new(),
        }
    }

    /// The server of a packet.
    pub(crate) fn packet(
        &mut self,
        service: &Service,
        key: Key,
        event: Event,
    ) -> Result<u16, Reason> {
        if let Some(entry) = self.entries.get(&key).copied() {
            let reuses = event.opens() && event != Event::Udp && entry.state.is_over();
            let gone = event.opens() && self.is_left(service, event, entry.server);
            if !reuses && !gone {
                let is_down = self.servers[&entry.server].flags & BACKEND_DOWN != 0;
                if service.expires_nodest && is_down {
                    self.remove(key);
                    return Err(without_connection(event));
                }
                let state = event.step(Some(entry.state));
                self.put(key, Entry { state, ..entry });
                return Ok(entry.server);
            }
            self.remove(key);
            let server = self.schedule(service, key)?;
            if !reuses {
                self.notes.push(Reason::Rescheduled);
            }
            let state = event.step(None);
            self.put(key, Entry { server, state });
            return Ok(server);
        }
        let in_midstream = service.is_sloppy || service.sched == Sched::SourceHash;
        if !event.opens() && (!in_midstream || event.aborts()) {
            return Err(without_connection(event));
        }
        let server = self.schedule(service, key)?;
        if !(service.is_one_packet && event == Event::Udp) {
            let state = event.step(None);
            self.put(key, Entry { server, state });
        }
        Ok(server)
    }

    /// The server of the connection that an ICMP error is about; nothing changes.
    pub(crate) fn about(&mut self, service: &Service, key: Key) -> Result<u16, Reason> {
        match self.entries.get(&key) {
            Some(entry) => Ok(entry.server),
            None if service.sched == Sched::SourceHash => self.hashed(service, key.client.0),
            None => Err(Reason::IcmpNoFlow),
        }
    }

    fn count(&mut self, server: u16, state: State, by: u32) {
        let load = self.loads.entry(server).or_default();
        let part = if state.is_active() {
            &mut load.0
        } else {
            &mut load.1
        };
        *part = part.wrapping_add(by);
    }

    fn put(&mut self, key: Key, entry: Entry) {
        self.count(entry.server, entry.state, 1);
        if let Some(old) = self.entries.insert(key, entry) {
            self.count(old.server, old.state, u32::MAX);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(old) = self.entries.remove(&key) {
            self.count(old.server, old.state, u32::MAX);
        }
    }

    fn is_usable(&self, server: u16) -> bool {
        let flags = self.servers[&server].flags;
        flags & BACKEND_DOWN == 0 && flags & (BACKEND_RESOLVED | BACKEND_LOCAL) != 0
    }

    /// Whether what opens a connection leaves the server that it had: one that takes no connections,
    /// or of weight 0 (`ip_vs_in_hook`, with the sysctl `expire_nodest_conn`).
    fn is_left(&self, service: &Service, event: Event, server: u16) -> bool {
        let is_quiesced = self.servers[&server].weight == 0;
        !self.is_usable(server) || service.expires_nodest && event != Event::Udp && is_quiesced
    }

    fn schedule(&mut self, service: &Service, key: Key) -> Result<u16, Reason> {
        let network = (network(key.client.0), service.id);
        let kept = self.templates.get(&network).copied();
        let server = match kept.filter(|&server| service.persists && self.is_usable(server)) {
            Some(server) => server,
            None => self.choose(service, key.client.0)?,
        };
        if service.persists {
            self.templates.insert(network, server);
        }
        *self.scheduled.entry(server).or_default() += 1;
        Ok(server)
    }

    fn choose(&mut self, service: &Service, client: IpAddr) -> Result<u16, Reason> {
        if service.table.is_empty() {
            return Err(Reason::NoServer);
        }
        match service.sched {
            Sched::Turn => {
                let turn = self.turns.entry(service.id).or_default();
                *turn += 1;
                let start = (*turn - 1) % service.table.len();
                self.by_table(service, start)
            }
            Sched::SourceHash => self.hashed(service, client),
            Sched::LeastConn
            | Sched::WeightedLeastConn
            | Sched::ShortestDelay
            | Sched::NeverQueue
            | Sched::Failover
            | Sched::Overflow => self.by_counts(service),
            Sched::Maglev | Sched::DestHash | Sched::PowerOfTwo | Sched::Lblc | Sched::Lblcr => {
                unreachable!("no such service")
            }
        }
    }

    /// `ip_vs_sh.c`.
    fn hashed(&mut self, service: &Service, client: IpAddr) -> Result<u16, Reason> {
        let address = match client {
            IpAddr::V4(client) => u32::from(client),
            IpAddr::V6(client) => {
                let [a, b, c, d] =
                    [0, 32, 64, 96].map(|shift| (u128::from(client) >> shift) as u32);
                a ^ b ^ c ^ d
            }
        };
        // hash_32(address, 8)
        let bucket = address.wrapping_mul(0x61c8_8647) >> 24;
        self.by_table(service, bucket as usize)
    }

    /// What the table says, or the next one that can take it.
    fn by_table(&mut self, service: &Service, start: usize) -> Result<u16, Reason> {
        let len = service.table.len();
        if service.table[start] == 0 {
            return Err(Reason::NoServer);
        }
        for attempt in 0..16 {
            let server = service.table[(start + attempt * (len / 16 + 1)) % len];
            if server != 0 && self.is_usable(server) {
                if attempt > 0 {
                    self.notes.push(Reason::BackendSkipped);
                }
                return Ok(server);
            }
        }
        Err(Reason::BackendUnresolved)
    }

    /// `ip_vs_lc.c`, `ip_vs_wlc.c`, `ip_vs_sed.c`, `ip_vs_nq.c`, `ip_vs_fo.c`, `ip_vs_ovf.c`: the
    /// first of the best.
    fn by_counts(&self, service: &Service) -> Result<u16, Reason> {
        let mut best: Option<(u64, u64, u16)> = None;
        let mut without = Reason::NoServer;
        for server in &service.servers {
            let weight = u64::from(server.weight);
            if weight == 0 {
                continue;
            }
            if !self.is_usable(server.index) {
                without = Reason::BackendUnresolved;
                continue;
            }
            let (active, inactive) = self.loads.get(&server.index).copied().unwrap_or_default();
            let (active, inactive) = (u64::from(active), u64::from(inactive));
            // The least cost by weight.
            let (cost, weight) = match service.sched {
                Sched::LeastConn => (active * 256 + inactive, 1),
                Sched::WeightedLeastConn => (active * 256 + inactive, weight),
                Sched::NeverQueue if active == 0 => return Ok(server.index),
                Sched::NeverQueue | Sched::ShortestDelay => (active + 1, weight),
                Sched::Overflow if active > weight => continue,
                // The highest weight.
                _ => (1, weight),
            };
            let is_better = best.is_none_or(|(least, by, _)| least * weight > cost * by);
            if is_better {
                best = Some((cost, weight, server.index));
            }
        }
        best.map(|(_, _, server)| server).ok_or(without)
    }
}

fn without_connection(event: Event) -> Reason {
    match event {
        Event::Sctp(_) => Reason::SctpNoFlow,
        Event::Tcp(_) | Event::Udp => Reason::TcpNoFlow,
    }
}

/// A /24 or a /64.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(client) => IpAddr::V4((u32::from(client) & !0xff).into()),
        IpAddr::V6(client) => IpAddr::V6((u128::from(client) >> 64 << 64).into()),
    }
}
