//! `virtual_server`.

mod group;
mod method;
mod words;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::maps::{MAX_BACKENDS, MAX_SERVICES};

pub(super) use method::Kind;
pub(super) use words::MAX_TIMEOUT;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{ForwardMethod, Group, Model, Service, ServiceKey};
use group::GroupDef;

/// `persistence_timeout` without a number, and what a service without a port gets.
const PERSISTENT: Duration = Duration::from_secs(360);

pub(super) fn unsupported(span: Span, message: impl Into<String>, label: &str) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, Severity::Error, message).at(span, label)
}

/// The addresses and ports of a service; port 0 is any.
pub(super) struct Targets {
    /// The name of the group that they are from.
    group: Option<String>,
    /// In the order of the file; empty when the service cannot be had.
    pub(super) members: Vec<(IpAddr, u16)>,
}

impl Targets {
    /// Whether a server of the family of `addr` can answer for all of them without a tunnel.
    pub(super) fn family_of(&self, addr: IpAddr) -> bool {
        let mut members = self.members.iter();
        members.all(|(vip, _)| vip.is_ipv4() == addr.is_ipv4())
    }

    /// The bits of an address; none when there are both families.
    fn bits(&self) -> Option<u8> {
        let v4 = self.members.first().is_none_or(|(a, _)| a.is_ipv4());
        let bits = if v4 { 32 } else { 128 };
        let mut members = self.members.iter();
        members.all(|(a, _)| a.is_ipv4() == v4).then_some(bits)
    }
}

/// What the services of a model take up in the data plane.
#[derive(Default)]
struct Room {
    services: usize,
    servers: usize,
}

impl Lower {
    pub(super) fn services(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let groups = self.server_groups(top);
        let mut keys: HashMap<ServiceKey, Span> = HashMap::new();
        let mut room = Room::default();
        for (_, n) in top.iter().filter(|(k, _)| *k == "virtual_server") {
            let Some(s) = self.service(n, &groups) else {
                continue;
            };
            let twice = s.keys().find_map(|k| keys.get(&k).map(|first| (k, *first)));
            if let Some((key, first)) = twice {
                let message = match &s.group {
                    None => format!("`{}` with this protocol is defined twice", n.title()),
                    Some(g) => format!("{key} of the group `{}` is a service already", g.name),
                };
                self.push(
                    Diagnostic::new(Code::Duplicate, Severity::Error, message)
                        .at(n.whole(), "again here")
                        .also(first, "first here"),
                );
                continue;
            }
            keys.extend(s.keys().map(|k| (k, n.whole())));
            self.make_room(n, &s, &mut room);
            model.services.push(s);
        }
    }

    /// Says, once, what is more than the data plane has room for.
    fn make_room(&mut self, node: &Node, service: &Service, room: &mut Room) {
        let at = |s: &Service| {
            let listed = |addr| s.real_servers.iter().any(|r| r.addr == addr);
            let sorry = s.sorry_server.is_some_and(|s| !listed(s.addr));
            s.real_servers.len() + usize::from(sorry)
        };
        let (services, servers) = (room.services, room.servers);
        room.services += service.keys().count();
        room.servers += service.keys().count() * at(service);
        for (what, before, now, most) in [
            ("services", services, room.services, MAX_SERVICES),
            (
                "real servers of services",
                servers,
                room.servers,
                MAX_BACKENDS,
            ),
        ] {
            // Number 0 of both means none.
            let most = most as usize - 1;
            if before <= most && now > most {
                self.push(
                    Diagnostic::new(
                        Code::TooMany,
                        Severity::Error,
                        format!("there are more than {most} {what}"),
                    )
                    .at(node.whole(), format!("with this one there are {now}"))
                    .help("each address of a group is a service, with all of the real servers"),
                );
            }
        }
    }

    /// The addresses of a service; none when keepalived ignores it.
    fn targets(
        &mut self,
        node: &Node,
        groups: &HashMap<String, GroupDef>,
        bad: &mut Vec<Diagnostic>,
    ) -> Option<Targets> {
        let mut targets = Targets {
            group: None,
            members: Vec::new(),
        };
        match node.args() {
            [w, ..] if w.text == "fwmark" => bad.push(group::fwmark(node.whole())),
            [w, rest @ ..] if w.text == "group" => {
                let Some(name) = rest.first() else {
                    let what = "`virtual_server group` needs the name of a group";
                    self.push(
                        Diagnostic::new(Code::MissingParameter, Severity::Error, what)
                            .at(node.whole(), "a parameter is missing"),
                    );
                    return None;
                };
                match groups.get(&name.text) {
                    Some(group) => {
                        bad.extend(group.bad.iter().cloned());
                        targets.group = Some(name.text.clone());
                        targets.members = group.members.clone();
                    }
                    None => {
                        let d = Diagnostic::new(
                            Code::UnknownName,
                            self.replaced(),
                            format!("there is no `virtual_server_group {}`", name.text),
                        );
                        self.push(d.at(
                            name.span,
                            "this virtual server is ignored, as by keepalived",
                        ));
                        return None;
                    }
                }
                if targets.members.is_empty() && bad.is_empty() {
                    return None;
                }
            }
            [w, rest @ ..] => {
                let (text, more) = match w.text.find(['/', '-']) {
                    Some(at) => w.text.split_at(at),
                    None => (w.text.as_str(), ""),
                };
                let Ok(ip) = text.parse::<IpAddr>() else {
                    let severity = self.replaced();
                    let mut d = Diagnostic::new(
                        Code::InvalidValue,
                        severity,
                        format!("`{}` is not an IP address", w.text),
                    )
                    .at(w.span, "this virtual server is ignored, as by keepalived");
                    if let Some((ip, port)) = w.text.rsplit_once(':')
                        && ip.parse::<IpAddr>().is_ok()
                    {
                        d = d.help(format!("write `virtual_server {ip} {port}`"));
                    }
                    self.push(d);
                    return None;
                };
                if !more.is_empty() {
                    self.push(
                        Diagnostic::new(
                            Code::Adjusted,
                            self.replaced(),
                            format!("a virtual server has one address, not `{}`", w.text),
                        )
                        .at(w.span, format!("taken as {ip}, as by keepalived"))
                        .help("several addresses go into a `virtual_server_group`"),
                    );
                }
                let instead = "keepalived ignores this virtual server";
                let port = match rest.first() {
                    Some(p) => self.number(node, p, 0, 65535, instead)?,
                    None => 0,
                };
                targets.members.push((ip, port as u16));
            }
            [] => return None,
        }
        Some(targets)
    }

    fn service(&mut self, node: &Node, groups: &HashMap<String, GroupDef>) -> Option<Service> {
        let mut walked = self.walk(node.children(), Block::VirtualServer);
        let mut bad = std::mem::take(&mut walked.unsupported);
        let what = node.title();
        let targets = self.targets(node, groups, &mut bad)?;
        let protocol = self.protocol(node, &walked);
        let (scheduler, sched_flags) = self.scheduler(node, &walked);
        let ops = self.ops(&walked, protocol);
        let kind = self.kind(node, &walked);
        let any_port = targets.members.iter().any(|(_, port)| *port == 0);
        let bits = targets.bits();
        let persistence = self.persistence(node, &walked, any_port, bits, &mut bad);
        let timeouts = self.timeouts(&walked);
        let inherited = self.inherited(&walked, kind.clone());
        let servers = self.servers(&walked, &inherited, &targets, &mut bad);
        let sorry_server = self.sorry(&walked, &kind, &targets, &mut bad);
        if servers.is_empty()
            && let Kind::HasNot(why) = &kind
        {
            bad.push((**why).clone());
        }
        if self.leave_out(&what, bad) {
            return None;
        }
        let mut members = targets.members.into_iter();
        let (addr, port) = members.next()?;
        if servers.is_empty() {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Warning,
                    format!("`{what}` has no real server"),
                )
                .at(node.whole(), "ignored, as by keepalived"),
            );
            return None;
        }
        let (quorum, hysteresis) = self.quorum(&walked, &servers);
        let key = |(addr, port)| ServiceKey {
            addr,
            port,
            protocol,
        };
        Some(Service {
            group: targets.group.map(|name| Group {
                name,
                others: members.map(key).collect(),
            }),
            scheduler,
            sched_flags,
            method: match kind {
                Kind::Has(method) => method,
                // Every server has its own.
                Kind::HasNot(_) => servers.first().map_or(ForwardMethod::Dr, |s| s.method),
            },
            ops,
            timeouts,
            expire_nodest_conn: self.flag(&walked, "expire_nodest_conn"),
            expire_quiescent_template: self.flag(&walked, "expire_quiescent_template"),
            persistence,
            sloppy: self.flag(&walked, "sloppy"),
            alpha: inherited.alpha,
            omega: self.flag(&walked, "omega"),
            quorum_up: self.script(&walked, "quorum_up"),
            smtp_alert: self.alert_of_service(&walked),
            quorum_down: self.script(&walked, "quorum_down"),
            quorum,
            hysteresis,
            sorry_server,
            ha_suspend: walked.acted.iter().any(|(k, _)| *k == "ha_suspend"),
            real_servers: servers,
            ..Service::new(key((addr, port)))
        })
    }

    pub(super) fn flag(&mut self, walked: &Walked<'_>, name: &str) -> bool {
        self.last(walked, name)
            .is_some_and(|n| self.switch(n).unwrap_or(false))
    }
}
