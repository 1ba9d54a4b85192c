//! `virtual_server`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{ForwardMethod, Model, Persistence, Protocol, Scheduler, Service, ServiceKey};

/// `persistence_timeout` without a number, and what a service without a port gets.
const PERSISTENT: Duration = Duration::from_secs(360);
/// The longest that IPVS takes: 31 days.
const MAX_PERSISTENCE: u64 = 31 * 24 * 3600;
const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos",
];

pub(super) fn unsupported(span: Span, message: impl Into<String>, label: &str) -> Diagnostic {
    Diagnostic::new(Code::Unsupported, Severity::Error, message).at(span, label)
}

impl Lower {
    pub(super) fn services(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let mut keys: HashMap<ServiceKey, Span> = HashMap::new();
        for (_, n) in top.iter().filter(|(k, _)| *k == "virtual_server") {
            let Some(s) = self.service(n) else { continue };
            if let Some(first) = keys.get(&s.key) {
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        Severity::Error,
                        format!("`{}` with this protocol is defined twice", n.title()),
                    )
                    .at(n.whole(), "again here")
                    .also(*first, "first here"),
                );
                continue;
            }
            keys.insert(s.key, n.whole());
            model.services.push(s);
        }
    }

    fn service(&mut self, node: &Node) -> Option<Service> {
        let mut walked = self.walk(node.children(), Block::VirtualServer);
        let mut bad = std::mem::take(&mut walked.unsupported);
        let what = node.title();
        let mut target = None;
        match node.args() {
            [w, ..] if w.text == "fwmark" => {
                bad.push(unsupported(
                    node.whole(),
                    "services by fwmark are not supported",
                    "packets are balanced before the firewall could mark them",
                ));
            }
            [w, ..] if w.text == "group" => {
                bad.push(unsupported(
                    node.whole(),
                    "virtual server groups are not supported yet",
                    "a group of addresses",
                ));
            }
            [w, rest @ ..] => match (w.text.parse::<IpAddr>(), rest.first()) {
                (Ok(ip), port) => {
                    if ip.is_ipv6() {
                        bad.push(unsupported(
                            w.span,
                            "IPv6 services are not supported yet",
                            "an IPv6 address",
                        ));
                    }
                    match port {
                        Some(p) => {
                            let port = self.number(
                                node,
                                p,
                                0,
                                65535,
                                "keepalived ignores this virtual server",
                            )?;
                            target = Some((ip, port as u16));
                        }
                        None => target = Some((ip, 0)),
                    }
                }
                (Err(_), _) => {
                    let severity = self.replaced();
                    let mut d = Diagnostic::new(
                        Code::InvalidValue,
                        severity,
                        format!("`{}` is not an IP address", w.text),
                    )
                    .at(w.span, "this virtual server is ignored, as by keepalived");
                    if let Some((ip, port)) = w.text.rsplit_once(':')
                        && ip.parse::<Ipv4Addr>().is_ok()
                    {
                        d = d.help(format!("write `virtual_server {ip} {port}`"));
                    }
                    self.push(d);
                    return None;
                }
            },
            [] => return None,
        }
        let protocol = self.protocol(node, &walked, &mut bad);
        let scheduler = self.scheduler(node, &walked, &mut bad);
        let others = bad.len();
        let method = self.method(node, &walked, &mut bad);
        let direct = bad.len() == others;
        let persistence = self.persistence(&walked, &mut bad);
        if target.is_some_and(|(_, port)| port == 0) {
            bad.push(unsupported(
                node.whole(),
                "services for any port are not supported yet",
                "no port",
            ));
        }
        let port = target.map_or(0, |(_, p)| p);
        // Only direct routing ties a server's port to the service's.
        let port = if direct { port } else { 0 };
        let inherited = self.inherited(&walked);
        let servers = self.servers(
            &walked,
            &inherited,
            port,
            target.map(|(ip, _)| ip),
            &mut bad,
        );
        let sorry_server = self.sorry(&walked, port, target.map(|(ip, _)| ip), &mut bad);
        if self.leave_out(&what, bad) {
            return None;
        }
        let (addr, port) = target?;
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
        Some(Service {
            scheduler,
            method,
            persistence,
            sloppy: self.flag(&walked, "sloppy"),
            alpha: inherited.alpha,
            omega: self.flag(&walked, "omega"),
            quorum,
            hysteresis,
            sorry_server,
            ha_suspend: walked.acted.iter().any(|(k, _)| *k == "ha_suspend"),
            real_servers: servers,
            ..Service::new(ServiceKey {
                addr,
                port,
                protocol,
            })
        })
    }

    pub(super) fn flag(&mut self, walked: &Walked<'_>, name: &str) -> bool {
        self.last(walked, name)
            .is_some_and(|n| self.switch(n).unwrap_or(false))
    }

    fn protocol(
        &mut self,
        node: &Node,
        walked: &Walked<'_>,
        bad: &mut Vec<Diagnostic>,
    ) -> Protocol {
        if let Some((n, w)) = self
            .last(walked, "protocol")
            .and_then(|n| n.args().first().map(|w| (n, w)))
        {
            match w.text.to_ascii_uppercase().as_str() {
                "TCP" => return Protocol::Tcp,
                "UDP" => return Protocol::Udp,
                "SCTP" => {
                    bad.push(unsupported(
                        n.whole(),
                        "SCTP is not supported yet",
                        "a service over SCTP",
                    ));
                    return Protocol::Tcp;
                }
                _ => self.invalid(
                    n,
                    w,
                    "TCP, UDP or SCTP",
                    "keepalived ignores this line: UDP holds",
                ),
            }
        }
        self.defaulted(
            node,
            format!("`{}` names no protocol", node.title()),
            "UDP is taken, as by keepalived",
            "add `protocol TCP` or `protocol UDP`",
        );
        Protocol::Udp
    }

    fn scheduler(
        &mut self,
        node: &Node,
        walked: &Walked<'_>,
        bad: &mut Vec<Diagnostic>,
    ) -> Scheduler {
        let mut found: Option<(&Node, String)> = None;
        for (_, n) in walked
            .acted
            .iter()
            .filter(|(k, _)| matches!(*k, "lb_algo" | "lvs_sched"))
        {
            let Some(w) = n.args().first() else { continue };
            if SCHEDULERS.contains(&w.text.as_str()) {
                found = Some((n, w.text.clone()));
            } else {
                let severity = self.replaced();
                let mut d = Diagnostic::new(
                    Code::InvalidValue,
                    severity,
                    format!("there is no scheduler `{}`", w.text),
                )
                .at(w.span, "keepalived ignores this line: its default is `wlc`")
                .help(format!("one of {}", SCHEDULERS.join(", ")));
                if SCHEDULERS.contains(&w.text.to_ascii_lowercase().as_str()) {
                    d = d.help("write it in small letters: case matters");
                }
                self.push(d);
            }
        }
        let (span, name) = match &found {
            Some((n, name)) => (n.whole(), name.as_str()),
            None => (node.whole(), "wlc"),
        };
        match name {
            "rr" => Scheduler::Rr,
            "wrr" => Scheduler::Wrr,
            "sh" => Scheduler::Sh,
            other => {
                let label = if found.is_some() {
                    "this scheduler"
                } else {
                    "no scheduler is named, and the default is `wlc`"
                };
                bad.push(
                    unsupported(
                        span,
                        format!("the scheduler `{other}` is not supported yet"),
                        label,
                    )
                    .help("rr, wrr and sh are"),
                );
                Scheduler::Rr
            }
        }
    }

    fn method(
        &mut self,
        node: &Node,
        walked: &Walked<'_>,
        bad: &mut Vec<Diagnostic>,
    ) -> ForwardMethod {
        let mut found: Option<(&Node, &str)> = None;
        for (_, n) in walked
            .acted
            .iter()
            .filter(|(k, _)| matches!(*k, "lb_kind" | "lvs_method"))
        {
            let Some(w) = n.args().first() else { continue };
            match w.text.as_str() {
                "NAT" | "DR" | "TUN" => found = Some((n, w.text.as_str())),
                other => {
                    let severity = self.replaced();
                    let mut d = Diagnostic::new(
                        Code::InvalidValue,
                        severity,
                        format!("there is no forwarding method `{other}`"),
                    )
                    .at(w.span, "keepalived ignores this line: its default is NAT");
                    if matches!(other.to_ascii_uppercase().as_str(), "NAT" | "DR" | "TUN") {
                        d = d.help(format!(
                            "write `{}`: case matters",
                            other.to_ascii_uppercase()
                        ));
                    }
                    self.push(d);
                }
            }
        }
        match found {
            Some((_, "DR")) => {}
            Some((n, kind)) => bad.push(
                unsupported(
                    n.whole(),
                    format!("`{kind}` is not supported yet"),
                    "how packets are forwarded",
                )
                .help("`lb_kind DR` is"),
            ),
            None => bad.push(
                unsupported(
                    node.whole(),
                    "NAT is not supported yet",
                    "no `lb_kind` is given, and the default is NAT",
                )
                .help("`lb_kind DR` is"),
            ),
        }
        ForwardMethod::Dr
    }

    fn persistence(
        &mut self,
        walked: &Walked<'_>,
        bad: &mut Vec<Diagnostic>,
    ) -> Option<Persistence> {
        let mut timeout = None;
        if let Some(n) = self.last(walked, "persistence_timeout") {
            timeout = match n.args().first() {
                None => Some(PERSISTENT),
                Some(w) if w.text == "0" => {
                    self.push(
                        Diagnostic::new(
                            Code::OldSpelling,
                            Severity::Note,
                            "`persistence_timeout 0` means off",
                        )
                        .at(
                            n.whole(),
                            "keepalived calls it invalid and ignores it, which comes to the same",
                        )
                        .help("remove the line"),
                    );
                    None
                }
                Some(w) => self
                    .strict_number(n, w, 1, MAX_PERSISTENCE, "keepalived ignores this line")
                    .map(Duration::from_secs),
            };
        }
        let mut prefix_len = 32;
        if let Some((n, w)) = self
            .last(walked, "persistence_granularity")
            .and_then(|n| n.args().first().map(|w| (n, w)))
        {
            match w.text.parse::<Ipv4Addr>().map(u32::from) {
                Ok(m) if m != 0 && m.leading_ones() + m.trailing_zeros() == 32 => {
                    prefix_len = m.leading_ones() as u8;
                    timeout = timeout.or(Some(PERSISTENT));
                }
                Ok(_) => bad.push(unsupported(
                    n.whole(),
                    "a netmask with gaps is not supported",
                    "the ones must come first",
                )),
                Err(_) => self.invalid(
                    n,
                    w,
                    "a netmask like 255.255.255.0",
                    "keepalived ignores this line",
                ),
            }
        }
        timeout.map(|timeout| Persistence {
            timeout,
            prefix_len,
        })
    }
}
