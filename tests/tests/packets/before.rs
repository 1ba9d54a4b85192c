//! What is in the maps before the frame comes.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use lb_common::flow::{FlowValue, flow_tag};
use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, Sched, ServiceSlot, Template,
    TemplateKey, service_key, template_key,
};
use lb_common::sched::{SH_SIZE, fill_sh};
use lb_common::tcp::State;
use lb_tests::dataplane::{Director, IFINDEX};

use crate::frame::{Frame, OWN, TCP, UDP, VIP, words};

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
}

/// A server that is up and resolved, of weight 1.
pub(crate) fn server(index: u16) -> Server {
    Server {
        index,
        flags: BACKEND_RESOLVED,
        ifindex: IFINDEX,
        weight: 1,
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

    /// Destination and source MAC of what it gets.
    pub(crate) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (
            [2, 0xaa, 0, 0, 0, self.index as u8],
            [2, 0xbb, 0, 0, 0, self.ifindex as u8],
        )
    }

    fn backend(&self, service: u16) -> Backend {
        let (dmac, smac) = self.macs();
        Backend {
            dmac,
            smac,
            ifindex: self.ifindex,
            flags: self.flags,
            service,
            weight: self.weight,
            ..Backend::default()
        }
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

impl Service {
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
        ServiceSlot {
            key: service_key(words(self.addr)[0], self.port.to_be(), self.proto),
            id,
            sched: self.sched as u8,
            flags: self.flags,
            timeouts: self.timeouts,
            persist_ticks: self.persist_ticks,
            persist_mask: u32::MAX,
            ..ServiceSlot::default()
        }
    }

    fn takes(&self, frame: &Frame) -> bool {
        self.proto == frame.proto() && (self.addr, self.port) == frame.to
    }
}

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
    without_iface: bool,
    /// Frames that came before.
    pub(crate) earlier: Vec<Frame>,
    turn: u64,
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

    /// So many turns of the first service have been taken.
    pub(crate) fn turn(mut self, turn: u64) -> Before {
        self.turn = turn;
        self
    }

    /// The id of the service of a frame.
    pub(crate) fn service_of(&self, frame: &Frame) -> Option<u16> {
        self.services
            .iter()
            .position(|service| service.takes(frame))
            .map(|i| i as u16 + 1)
    }

    /// The tag of a frame's flow.
    pub(crate) fn tag(&self, frame: &Frame) -> Option<u64> {
        let id = self.service_of(frame)?;
        Some(flow_tag(words(frame.from.0)[0], frame.from.1.to_be(), id))
    }

    /// Which set of timeouts the flows of a service have.
    pub(crate) fn timeouts_of(&self, service: u16) -> u8 {
        self.services[usize::from(service) - 1].timeouts
    }

    /// The key of the template of a frame's client.
    pub(crate) fn template_key(&self, frame: &Frame) -> TemplateKey {
        template_key(1, words(frame.from.0))
    }

    /// The server with this index.
    pub(crate) fn server(&self, index: u16) -> Result<&Server> {
        self.services
            .iter()
            .flat_map(|service| &service.servers)
            .find(|server| server.index == index)
            .with_context(|| format!("the row has no server {index}"))
    }

    /// Every server's index.
    pub(crate) fn servers(&self) -> impl Iterator<Item = u16> {
        self.services
            .iter()
            .flat_map(|service| service.servers.iter().map(|server| server.index))
    }

    /// Makes a director have this state; `frame` is the row's.
    pub(crate) fn set_up(&self, director: &mut Director, frame: &Frame) -> Result<()> {
        director.clear(MAX_SERVERS)?;
        if !self.without_iface {
            director.set_iface(IFINDEX, OWN, &self.peers)?;
        }
        for (id, service) in (1..).zip(&self.services) {
            for server in &service.servers {
                assert!(server.index < MAX_SERVERS);
                director.set_backend(server.index, server.backend(id));
            }
            director.set_service(service.slot(id), &service.table())?;
        }
        director.set_cursor(1, self.turn);
        let now = director.now()?;
        for flow in &self.flows {
            let frame = flow.frame.as_ref().unwrap_or(frame);
            let tag = self.tag(frame).context("a flow of no service")?;
            let set = self.timeouts_of(tag as u16);
            let value = FlowValue::new(flow.server, flow.state as u8, now.wrapping_sub(flow.idle));
            director.put_flow(tag, value.with_timeouts(set))?;
        }
        for &(client, server, idle) in &self.templates {
            let value = Template::new(server, now.wrapping_sub(idle));
            director.set_template(template_key(1, words(client)), value.0)?;
        }
        for frame in &self.earlier {
            director.run(&frame.bytes())?;
        }
        Ok(())
    }
}
