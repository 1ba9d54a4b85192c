//! What is in the maps before the frame comes.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result};
use lb_common::flow::{FlowValue, flow_tag, wide_tag};
use lb_common::hash::{addr_words, fold_addr};
use lb_common::maps::{
    BACKEND_CHANGING, BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, Forward, Load,
    REMOTE_CHECKSUM, REMOTE_V6, Remote, SERVICE_ANY_PORT, SERVICE_COUNTS, SERVICE_TUNNEL,
    SERVICE_V6, SERVICE_WIDE, Sched, ServiceSlot, Template, TemplateKey, load_word, mask_client,
    prepared, service_key, service_key_v6, template_key,
};
use lb_common::sched::{SH_SIZE, fill_sh};
use lb_common::tcp::State;
use lb_tests::dataplane::{Director, HASH_SEED, IFINDEX};

use crate::fields::GUE_PORT;
use crate::frame::{Frame, OWN, SCTP, TCP, UDP, VIP, VIP6, v4, words};

/// Backends of a row are below this.
pub(crate) const MAX_SERVERS: u16 = 16;
/// An interface other than the one on which frames arrive.
pub(crate) const OTHER_NIC: u32 = 7;

/// A real server of a service.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) index: u16,
    flags: u16,
    pub(crate) ifindex: u32,
    weight: u16,
    pub(crate) forward: Forward,
    pub(crate) tunnel: Tunnel,
    mtu: u16,
    /// `uthreshold`, `lthreshold`.
    thresholds: (u32, u32),
    /// Active and inactive connections beside the flows of the row.
    pub(crate) load: (i32, i32),
    /// Whether the program counts its connections.
    pub(crate) is_counted: bool,
    marks: u64,
}

/// Both ends of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) has_checksum: bool,
}

/// A server that is up and resolved, of weight 1.
pub(crate) fn server(index: u16) -> Server {
    Server {
        index,
        flags: BACKEND_RESOLVED,
        ifindex: IFINDEX,
        weight: 1,
        forward: Forward::Direct,
        tunnel: Tunnel {
            from: v4(10, 0, 0, 1),
            to: v4(10, 0, 0, 100 + index as u8),
            has_checksum: false,
        },
        mtu: 0,
        thresholds: (0, 0),
        load: (0, 0),
        is_counted: true,
        marks: 0,
    }
}

impl Server {
    pub(crate) fn down(mut self) -> Server {
        self.flags |= BACKEND_DOWN;
        self
    }

    /// Its MAC address is not known.
    pub(crate) fn unresolved(mut self) -> Server {
        self.flags &= !BACKEND_RESOLVED;
        self
    }

    /// How it is reached is just being written.
    pub(crate) fn changing(mut self) -> Server {
        self.flags = BACKEND_CHANGING;
        self
    }

    /// It is this host.
    pub(crate) fn local(mut self) -> Server {
        self.flags = BACKEND_LOCAL;
        self
    }

    pub(crate) fn weight(mut self, weight: u16) -> Server {
        self.weight = weight;
        self
    }

    /// It is reached by [`OTHER_NIC`].
    pub(crate) fn behind_other_nic(mut self) -> Server {
        self.ifindex = OTHER_NIC;
        self
    }

    /// It is reached through a tunnel to an IPv4 address.
    pub(crate) fn behind(mut self, forward: Forward) -> Server {
        self.forward = forward;
        self
    }

    /// The tunnel leads to an IPv6 address.
    pub(crate) fn over_v6(mut self) -> Server {
        let host = |n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, n));
        self.tunnel.from = host(1);
        self.tunnel.to = host(100 + self.index);
        self
    }

    /// The tunnel's header has a checksum.
    pub(crate) fn with_checksum(mut self) -> Server {
        self.tunnel.has_checksum = true;
        self
    }

    /// MTU of the interface by which it is reached.
    pub(crate) fn mtu(mut self, mtu: u16) -> Server {
        self.mtu = mtu;
        self
    }

    /// `uthreshold` and `lthreshold`.
    pub(crate) fn thresholds(mut self, upper: u32, lower: u32) -> Server {
        self.thresholds = (upper, lower);
        self
    }

    /// It has so many active and inactive connections that are no flows of the row.
    pub(crate) fn load(mut self, active: i32, inactive: i32) -> Server {
        self.load = (active, inactive);
        self
    }

    /// Nobody looks at its connections: the program does not count them.
    pub(crate) fn uncounted(mut self) -> Server {
        self.is_counted = false;
        self
    }

    /// `LOAD_*` bits.
    pub(crate) fn marked(mut self, marks: u64) -> Server {
        self.marks = marks;
        self
    }

    /// Destination and source MAC of what it gets.
    pub(crate) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (
            [2, 0xaa, 0, 0, 0, self.index as u8],
            [2, 0xbb, 0, 0, 0, self.ifindex as u8],
        )
    }

    fn elements(&self, service: u16) -> (Backend, Remote) {
        let (dmac, smac) = self.macs();
        let backend = Backend {
            dmac,
            smac,
            ifindex: self.ifindex,
            flags: self.flags,
            service,
            weight: self.weight,
            mtu: self.mtu,
            counted: u8::from(self.is_counted),
            ..Backend::default()
        };
        let mut flags = 0;
        if self.tunnel.to.is_ipv6() {
            flags |= REMOTE_V6;
        }
        if self.tunnel.has_checksum {
            flags |= REMOTE_CHECKSUM;
        }
        let remote = Remote {
            addr: words(self.tunnel.to),
            source: words(self.tunnel.from),
            flags,
            tunnel_port: GUE_PORT.to_be(),
            upper: self.thresholds.0,
            lower: self.thresholds.1,
            ..Remote::default()
        };
        (prepared(backend, &remote, self.forward), remote)
    }
}

/// A service of the row.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    addr: IpAddr,
    port: u16,
    proto: u8,
    sched: Sched,
    flags: u32,
    timeouts: u8,
    persist_ticks: u32,
    persist_mask: u32,
    servers: Vec<Server>,
    turns: Option<Vec<u16>>,
}

/// A service on the [`VIP`], rr, without servers.
fn service(port: u16, proto: u8) -> Service {
    Service {
        addr: VIP,
        port,
        proto,
        sched: Sched::Turn,
        flags: 0,
        timeouts: 0,
        persist_ticks: 0,
        persist_mask: u32::MAX,
        servers: Vec::new(),
        turns: None,
    }
}

/// As [`service`], TCP.
pub(crate) fn tcp_service(port: u16) -> Service {
    service(port, TCP)
}

/// As [`service`], UDP.
pub(crate) fn udp_service(port: u16) -> Service {
    service(port, UDP)
}

/// As [`service`], SCTP.
pub(crate) fn sctp_service(port: u16) -> Service {
    service(port, SCTP)
}

impl Service {
    /// The same on [`VIP6`].
    pub(crate) fn v6(mut self) -> Service {
        self.addr = VIP6;
        self.flags |= SERVICE_V6 | SERVICE_WIDE;
        self
    }

    /// The same on another address of the family.
    pub(crate) fn at(mut self, addr: IpAddr) -> Service {
        self.addr = addr;
        self
    }

    /// The same for any port.
    pub(crate) fn any_port(mut self) -> Service {
        self.port = 0;
        self.flags |= SERVICE_ANY_PORT | SERVICE_WIDE;
        self
    }

    /// Which bits of a client's address count for persistence: of IPv6 how many.
    pub(crate) fn granularity(mut self, mask: u32) -> Service {
        self.persist_mask = mask;
        self
    }

    pub(crate) fn servers(mut self, servers: impl IntoIterator<Item = Server>) -> Service {
        self.servers = servers.into_iter().collect();
        self
    }

    pub(crate) fn sched(mut self, sched: Sched) -> Service {
        self.sched = sched;
        self
    }

    /// `SERVICE_*` bits.
    pub(crate) fn flags(mut self, flags: u32) -> Service {
        self.flags |= flags;
        self
    }

    /// A client keeps its server for so many ticks.
    pub(crate) fn persistent(mut self, ticks: u32) -> Service {
        self.persist_ticks = ticks;
        self
    }

    /// The scheduling table instead of every server once.
    pub(crate) fn turns(mut self, table: &[u16]) -> Service {
        self.turns = Some(table.to_vec());
        self
    }

    /// Which set of timeouts its flows have.
    pub(crate) fn timeouts(mut self, set: u8) -> Service {
        self.timeouts = set;
        self
    }

    /// The state that has nothing but this service.
    pub(crate) fn into_before(self) -> Before {
        self.into()
    }

    fn table(&self) -> Vec<u16> {
        if let Some(turns) = &self.turns {
            return turns.clone();
        }
        if self.sched == Sched::SourceHash {
            let servers: Vec<(u16, u16)> =
                self.servers.iter().map(|s| (s.index, s.weight)).collect();
            let mut table = [0; SH_SIZE];
            let len = fill_sh(&servers, &mut table);
            return table[..len].to_vec();
        }
        self.servers.iter().map(|s| s.index).collect()
    }

    fn slot(&self, id: u16) -> ServiceSlot {
        let addr = words(self.addr);
        let port = self.port.to_be();
        let is_v6 = self.addr.is_ipv6();
        let mut flags = self.flags;
        if self.servers.iter().any(|s| s.forward != Forward::Direct) {
            flags |= SERVICE_TUNNEL;
        }
        if self.sched as u8 >= Sched::LeastConn as u8
            || self.servers.iter().any(|s| s.thresholds.0 != 0)
        {
            flags |= SERVICE_COUNTS;
        }
        ServiceSlot {
            key: if is_v6 {
                service_key_v6(addr_words(addr), port, self.proto)
            } else {
                service_key(addr[0], port, self.proto)
            },
            id,
            sched: self.sched as u8,
            flags,
            timeouts: self.timeouts,
            persist_ticks: self.persist_ticks,
            persist_mask: if is_v6 {
                self.persist_mask.min(128)
            } else {
                self.persist_mask
            },
            addr: if is_v6 { addr } else { [0; 4] },
            ..ServiceSlot::default()
        }
    }

    fn takes(&self, frame: &Frame, port: u16) -> bool {
        self.proto == frame.proto() && (self.addr, self.port) == (frame.to.0, port)
    }
}

/// A flow as the table names it: its tag, and what the tag does not have of the client.
pub(crate) type FlowKey = (u64, [u64; 2]);

/// A flow of the table.
#[derive(Clone, Debug)]
struct FlowBefore {
    /// The frame that has it; that of the row if none.
    frame: Option<Frame>,
    server: u16,
    state: State,
    idle: u32,
}

/// The state before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    pub(crate) services: Vec<Service>,
    flows: Vec<FlowBefore>,
    templates: Vec<(IpAddr, u16, u32)>,
    peers: Vec<[u8; 6]>,
    refused: Vec<IpAddr>,
    without_iface: bool,
    /// Frames that came before.
    pub(crate) earlier: Vec<Frame>,
    turn: u64,
    chosen: Option<(u16, u32)>,
    flood_rate: u32,
    flooded: Option<u32>,
}

impl From<Service> for Before {
    fn from(service: Service) -> Before {
        Before {
            services: vec![service],
            ..Before::default()
        }
    }
}

impl Before {
    /// Another service.
    pub(crate) fn and(mut self, service: Service) -> Before {
        self.services.push(service);
        self
    }

    /// The flow of the row's frame goes to this server and is in this state, seen just now.
    pub(crate) fn flow(self, server: u16, state: State) -> Before {
        self.add_flow(None, server, state)
    }

    /// The same, of another frame.
    pub(crate) fn flow_of(self, frame: Frame, server: u16, state: State) -> Before {
        self.add_flow(Some(frame), server, state)
    }

    fn add_flow(mut self, frame: Option<Frame>, server: u16, state: State) -> Before {
        self.flows.push(FlowBefore {
            frame,
            server,
            state,
            idle: 0,
        });
        self
    }

    /// The last flow was not seen for so many ticks.
    pub(crate) fn silent(mut self, ticks: u32) -> Before {
        self.flows.last_mut().expect("no flow").idle = ticks;
        self
    }

    /// The first service sent this client to that server, so many ticks ago.
    pub(crate) fn template(mut self, client: IpAddr, server: u16, idle: u32) -> Before {
        self.templates.push((client, server, idle));
        self
    }

    /// A peer director has this MAC.
    pub(crate) fn peer(mut self, mac: [u8; 6]) -> Before {
        self.peers.push(mac);
        self
    }

    /// For this virtual address nothing but services is accepted.
    pub(crate) fn refused(mut self, addr: IpAddr) -> Before {
        self.refused.push(addr);
        self
    }

    /// The program has not been told of the interface.
    pub(crate) fn without_iface(mut self) -> Before {
        self.without_iface = true;
        self
    }

    /// This frame came first.
    pub(crate) fn after(mut self, frame: Frame) -> Before {
        self.earlier.push(frame);
        self
    }

    /// More new flows than this in a second are a flood.
    pub(crate) fn flood_rate(mut self, flows: u32) -> Before {
        self.flood_rate = flows;
        self
    }

    /// A connection was last scheduled without an entry so many ticks ago, maybe by another CPU.
    pub(crate) fn flooded(mut self, ticks: u32) -> Before {
        self.flooded = Some(ticks);
        self
    }

    /// So many turns of the first service have been taken.
    pub(crate) fn turn(mut self, turn: u64) -> Before {
        self.turn = turn;
        self
    }

    /// The first service, of `lblc`, last chose this server, so many ticks ago.
    pub(crate) fn chose(mut self, server: u16, idle: u32) -> Before {
        self.chosen = Some((server, idle));
        self
    }

    /// The id of the service of a frame.
    pub(crate) fn service_of(&self, frame: &Frame) -> Option<u16> {
        let place = |port| {
            self.services
                .iter()
                .position(|service| service.takes(frame, port))
        };
        place(frame.to.1).or_else(|| place(0)).map(|i| i as u16 + 1)
    }

    /// Whether the tags of a service lack part of the key.
    pub(crate) fn is_wide(&self, service: u16) -> bool {
        self.services[usize::from(service) - 1].flags & SERVICE_WIDE != 0
    }

    /// The key of a frame's flow.
    pub(crate) fn flow_key(&self, frame: &Frame) -> Option<FlowKey> {
        let id = self.service_of(frame)?;
        let client = words(frame.from.0);
        let port = frame.from.1.to_be();
        if !self.is_wide(id) {
            return Some((flow_tag(client[0], port, id), [0; 2]));
        }
        let fold = fold_addr(addr_words(client), HASH_SEED);
        let rest = if self.services[usize::from(id) - 1].port == 0 {
            u32::from(frame.to.1.to_be()) << 16 | fold >> 16
        } else {
            fold
        };
        Some((wide_tag(rest, port, id), addr_words(client)))
    }

    /// Which set of timeouts the flows of a service have.
    pub(crate) fn timeouts_of(&self, service: u16) -> u8 {
        self.services[usize::from(service) - 1].timeouts
    }

    /// The key of the template of a frame's client.
    pub(crate) fn template_key(&self, frame: &Frame) -> TemplateKey {
        self.client_key(frame.from.0)
    }

    fn client_key(&self, client: IpAddr) -> TemplateKey {
        let service = &self.services[0];
        let masked = mask_client(
            words(client),
            service.slot(1).persist_mask,
            client.is_ipv6(),
        );
        template_key(1, masked)
    }

    /// The server with this index.
    pub(crate) fn server(&self, index: u16) -> Result<&Server> {
        self.servers()
            .find(|server| server.index == index)
            .with_context(|| format!("the row has no server {index}"))
    }

    /// Whether the service has this server: only then do its flows count among the server's.
    pub(crate) fn has(&self, service: u16, server: u16) -> bool {
        let servers = &self.services[usize::from(service) - 1].servers;
        servers.iter().any(|there| there.index == server)
    }

    /// Every server.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.services.iter().flat_map(|service| &service.servers)
    }

    /// Makes a director have this state; `frame` is the row's.
    pub(crate) fn set_up(&self, director: &mut Director, frame: &Frame) -> Result<()> {
        director.clear(MAX_SERVERS)?;
        if !self.without_iface {
            director.set_iface(IFINDEX, OWN, &self.peers)?;
        }
        director.set_refused(&self.refused)?;
        for (id, service) in (1..).zip(&self.services) {
            for server in &service.servers {
                assert!(server.index < MAX_SERVERS);
                let (backend, remote) = server.elements(id);
                director.set_backend(server.index, backend);
                director.set_remote(server.index, remote);
            }
            director.set_service(service.slot(id), &service.table())?;
        }
        let now = director.now()?;
        let chosen = self
            .chosen
            .map(|(server, idle)| Template::new(server, now.wrapping_sub(idle)).0);
        director.set_cursor(1, chosen.unwrap_or(self.turn));
        for flow in &self.flows {
            let frame = flow.frame.as_ref().unwrap_or(frame);
            let key = self.flow_key(frame);
            let (tag, client) = key.context("a flow of no service")?;
            let set = self.timeouts_of(tag as u16);
            let value = FlowValue::new(flow.server, flow.state as u8, now.wrapping_sub(flow.idle));
            director.put_wide_flow(tag, client, value.with_timeouts(set))?;
        }
        for server in self.servers() {
            let (mut active, mut inactive) = server.load;
            let is_its = |server: &Server, n| server.is_counted && n == server.index;
            for flow in self.flows.iter().filter(|flow| is_its(server, flow.server)) {
                let key = self.flow_key(flow.frame.as_ref().unwrap_or(frame));
                if !key.is_some_and(|(tag, _)| self.has(tag as u16, server.index)) {
                    continue;
                }
                if flow.state.is_active() {
                    active += 1;
                } else {
                    inactive += 1;
                }
            }
            let load = Load {
                counts: load_word(active, inactive),
                marks: server.marks,
            };
            director.set_load(server.index, load);
        }
        director.set_flood_rate(self.flood_rate);
        if let Some(ticks) = self.flooded {
            director.set_flood_tick(u64::from(now.wrapping_sub(ticks)));
        }
        for &(client, server, idle) in &self.templates {
            let value = Template::new(server, now.wrapping_sub(idle));
            director.set_template(self.client_key(client), value.0)?;
        }
        for frame in &self.earlier {
            director.run(&frame.bytes())?;
        }
        Ok(())
    }
}
