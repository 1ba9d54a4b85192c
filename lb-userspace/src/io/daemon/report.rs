//! Answers to the control socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::run::Daemon;
use crate::control::protocol::{
    Connection, ConnectionsPage, ConnectionsRequest, ErrorKind, ErrorReply, MAX_CONNECTIONS,
    Request, Response,
};
use crate::control::status::{self, InterfaceStatus, ReasonAction, ReasonStatus, XdpMode};
use crate::engine::{Sample, Surroundings, mac_text};
use crate::io::bpf::{self, FlowScanner};
use crate::io::clock::now;
pub(super) use crate::io::clock::unix_now;
use crate::io::control::Call;
use crate::model::ServiceKey;
use lb_common::reason::Kind;

/// An answer, or why there is none.
fn answer_to(done: Result<Response, String>) -> Response {
    done.unwrap_or_else(|message| {
        Response::Error(ErrorReply {
            kind: ErrorKind::Failed,
            message,
        })
    })
}

/// Who owns which ids, for a task beside the loop.
struct Owners {
    services: BTreeMap<u16, ServiceKey>,
    backends: BTreeMap<u16, (IpAddr, u16)>,
}

impl Owners {
    /// A connection between them; none when either is unknown by now.
    fn connection(&self, service: u16, backend: u16) -> Option<Connection> {
        let key = self.services.get(&service)?;
        let (server, server_port) = *self.backends.get(&backend)?;
        Some(Connection {
            protocol: key.protocol,
            expires_ms: 0,
            state: String::new(),
            client: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            client_port: 0,
            vip: key.addr,
            vip_port: key.port,
            server,
            server_port,
        })
    }
}

impl Daemon<'_> {
    /// Serves one call. What reads the flow table does so beside the loop.
    pub(super) fn call(&mut self, call: Call) {
        match &call.request {
            Request::Status => {
                let status = self.engine.status(self.surroundings(), now());
                drop(call.reply.send(Response::Status(Box::new(status))));
            }
            Request::Connections(wanted) => self.connections(wanted.clone(), call),
            Request::Reload { dry_run } => {
                let report = self.reload(*dry_run);
                drop(call.reply.send(Response::Reload(report)));
            }
            Request::Server {
                service,
                server,
                set,
            } => {
                let done = self.engine.set_server(service, *server, *set);
                // Answered when it holds.
                self.turn();
                drop(call.reply.send(answer_to(done.map(Response::Server))));
            }
            Request::Log { filter } => {
                let done = self.log.set(filter);
                if let Ok(before) = &done {
                    tracing::info!("logging by {filter} now, {before} before");
                }
                drop(call.reply.send(answer_to(done.map(Response::Log))));
            }
            Request::Vrrp { name, command } => {
                let done = match self.speaker.command(name, *command) {
                    Ok(done) => done,
                    Err(gone) => Err(gone.to_string()),
                };
                drop(call.reply.send(answer_to(done.map(Response::Vrrp))));
            }
        }
    }

    fn connections(&self, wanted: ConnectionsRequest, call: Call) {
        let Some(plane) = &self.plane else {
            drop(
                call.reply
                    .send(Response::Connections(ConnectionsPage::default())),
            );
            return;
        };
        let tables = self.engine.tables();
        let mut owners = Owners {
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
        };
        owners
            .services
            .extend(tables.services().map(|(id, key, _)| (id, key)));
        for (index, _, addr, port, _) in tables.backends() {
            owners.backends.insert(index, (addr, port));
        }
        let scanner = plane.scanner();
        tokio::task::spawn_blocking(move || {
            let answer = match page(&scanner, &wanted, &owners) {
                Ok(page) => Response::Connections(page),
                Err(error) => Response::Error(ErrorReply {
                    kind: ErrorKind::Failed,
                    message: error.to_string(),
                }),
            };
            drop(call.reply.send(answer));
        });
    }

    /// Reads the counters for the rates.
    pub(super) fn sample(&mut self) {
        let Some(sample) = self.read_counters().map(|(sample, _)| sample) else {
            return;
        };
        self.engine.sample(&sample, now());
    }

    fn read_counters(&self) -> Option<(Sample, Vec<ReasonStatus>)> {
        let counts = match self.plane.as_ref()?.counters() {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!("{error}");
                return None;
            }
        };
        let backends = counts
            .backends
            .iter()
            .map(|(&index, &counts)| (index, counts.into()))
            .collect();
        let reasons = counts
            .reasons
            .iter()
            .map(|(reason, count)| ReasonStatus {
                name: reason.name().to_owned(),
                action: match reason.kind() {
                    Kind::Pass => ReasonAction::Pass,
                    Kind::Drop => ReasonAction::Drop,
                    Kind::Note => ReasonAction::Note,
                },
                help: reason.help().to_owned(),
                count: *count,
            })
            .collect();
        Some((Sample { backends }, reasons))
    }

    fn surroundings(&self) -> Surroundings {
        let connections = self.connection_counts();
        let (sample, reasons) = self.read_counters().unwrap_or_default();
        let host = nix::unistd::gethostname()
            .ok()
            .and_then(|h| h.into_string().ok());
        let router_id = self.engine.model().global.router_id.clone().or(host);
        let uptime = now().since(self.started);
        let bfd = self.bfd.status();
        Surroundings {
            daemon: status::Daemon {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                router_id: router_id.unwrap_or_default(),
                uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            },
            config: self.config.clone(),
            data_plane: self.data_plane(&connections),
            sample,
            connections,
            reasons,
            interfaces: self
                .links
                .iter()
                .map(|l| (l.index, l.name.clone()))
                .collect(),
            vrrp: self.speaker.status().unwrap_or_default(),
            routing: self.routing().to_vec(),
            bfd: bfd.sessions,
            bfd_refused: bfd.refused,
            unix_now: unix_now(),
        }
    }

    /// Active and inactive connections of each backend index.
    fn connection_counts(&self) -> BTreeMap<u16, (u64, u64)> {
        let counts = self.plane.as_ref().map(bpf::DataPlane::connections);
        counts
            .unwrap_or_default()
            .into_iter()
            .map(|(index, c)| (index, (u64::from(c.active), u64::from(c.inactive))))
            .collect()
    }

    fn data_plane(&self, connections: &BTreeMap<u16, (u64, u64)>) -> status::DataPlane {
        let Some(plane) = &self.plane else {
            return status::DataPlane {
                loading: self.loading,
                ..status::DataPlane::default()
            };
        };
        let interfaces = plane
            .attachments()
            .into_iter()
            .map(|a| {
                let attached = plane.is_attached(&a.ifname);
                InterfaceStatus {
                    ifindex: a.ifindex,
                    mac: mac_text(a.mac),
                    mode: attached.then_some(match a.mode {
                        bpf::XdpMode::Native => XdpMode::Native,
                        bpf::XdpMode::Generic => XdpMode::Generic,
                    }),
                    program_id: if attached { plane.program_id() } else { 0 },
                    note: if attached {
                        a.why_generic
                    } else {
                        Some("not attached".to_owned())
                    },
                    name: a.ifname,
                }
            })
            .collect();
        status::DataPlane {
            layout: lb_common::maps::LAYOUT_VERSION,
            interfaces,
            hz: plane.hz(),
            flow_slots: plane.flow_slots(),
            flows_used: connections.values().map(|(a, i)| a + i).sum(),
            adopted: plane.adopted(),
            loading: false,
        }
    }
}

/// One page of connections. The cursor is a place in the flow table, so that a page costs no more
/// than its part of the table; behind the last place it counts entries of persistence.
fn page(
    scanner: &FlowScanner,
    wanted: &ConnectionsRequest,
    owners: &Owners,
) -> Result<ConnectionsPage, bpf::BpfError> {
    let limit = wanted.limit.clamp(1, MAX_CONNECTIONS) as usize;
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let start = usize::try_from(wanted.cursor).unwrap_or(usize::MAX);
    let places = scanner.places();
    let mut page = ConnectionsPage::default();
    for (place, flow) in scanner.flows_from(start)? {
        if page.connections.len() == limit {
            page.next = Some(place as u64);
            return Ok(page);
        }
        let Some(mut found) = owners.connection(flow.service, flow.backend) else {
            continue;
        };
        found.expires_ms = millis(flow.left);
        flow.state.name().clone_into(&mut found.state);
        (found.client, found.client_port) = (flow.client.ip(), flow.client.port());
        found.vip_port = flow.vip_port.unwrap_or(found.vip_port);
        if wanted.filter.matches(&found) {
            page.connections.push(found);
        }
    }
    let templates = scanner.templates()?;
    for (n, template) in templates
        .iter()
        .enumerate()
        .skip(start.saturating_sub(places))
    {
        if page.connections.len() == limit {
            page.next = Some((places + n) as u64);
            return Ok(page);
        }
        let Some(mut found) = owners.connection(template.service, template.backend) else {
            continue;
        };
        found.expires_ms = millis(template.left);
        "TEMPLATE".clone_into(&mut found.state);
        found.client = template.client;
        if wanted.filter.matches(&found) {
            page.connections.push(found);
        }
    }
    Ok(page)
}
