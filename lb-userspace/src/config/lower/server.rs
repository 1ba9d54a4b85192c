//! `real_server`, `sorry_server` and the quorum.

use std::collections::HashMap;
use std::net::IpAddr;

use super::checks::{Above, Timing};
use super::service::{Kind, Targets};
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::{ForwardMethod, RealServer, SorryServer};

/// What real servers inherit.
pub(super) struct Inherited {
    pub(super) kind: Kind,
    pub(super) weight: u16,
    pub(super) inhibit: bool,
    pub(super) alpha: bool,
    pub(super) check_dr_path: bool,
    pub(super) timing: Timing,
    /// `virtualhost`.
    pub(super) host: Option<String>,
}

impl Lower {
    pub(super) fn servers(
        &mut self,
        walked: &Walked<'_>,
        inherited: &Inherited,
        targets: &Targets,
        bad: &mut Vec<Diagnostic>,
    ) -> Vec<RealServer> {
        let mut out: Vec<RealServer> = Vec::new();
        let mut seen: HashMap<(IpAddr, u16), Span> = HashMap::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "real_server") {
            let Some(server) = self.server(n, inherited, targets, bad) else {
                continue;
            };
            if let Some(first) = seen.get(&(server.addr, server.port)) {
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        self.replaced(),
                        format!("`{}` is listed twice", n.title()),
                    )
                    .at(n.whole(), "this one is ignored, as by keepalived")
                    .also(*first, "this one counts"),
                );
                continue;
            }
            seen.insert((server.addr, server.port), n.whole());
            out.push(server);
        }
        out
    }

    /// Neither direct routing nor a tunnel changes a packet's port, so a server's port is the
    /// service's (`method` is none when the server is refused anyway).
    fn port(
        &mut self,
        n: &Node,
        targets: &Targets,
        word: Option<&Word>,
        method: Option<ForwardMethod>,
    ) -> Option<u16> {
        let service = targets.members.first().map_or(0, |(_, port)| *port);
        let Some(w) = word else { return Some(service) };
        let given = self.number(n, w, 0, 65535, "keepalived ignores this server")? as u16;
        let way = match method {
            Some(ForwardMethod::Dr) => "direct routing",
            Some(ForwardMethod::Tun(_)) => "a tunnel",
            None => return Some(service),
        };
        let known = targets.members.is_empty() || targets.members.iter().any(|m| m.1 == given);
        if given != 0 && !known {
            let name = match service {
                0 => "none, as it takes any".to_owned(),
                port => port.to_string(),
            };
            self.push(
                Diagnostic::new(
                    Code::Adjusted,
                    self.replaced(),
                    format!("with {way} the port is the service's: {name}"),
                )
                .at(
                    w.span,
                    format!("{given} is taken as {service}, as by keepalived"),
                ),
            );
        }
        Some(service)
    }

    /// A server of another address family than the service's is reached by a tunnel only.
    fn family(&mut self, n: &Node, targets: &Targets, addr: IpAddr, method: Option<ForwardMethod>) {
        if method == Some(ForwardMethod::Dr) && !targets.family_of(addr) {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    Severity::Error,
                    format!("`{addr}` is of another address family than the service"),
                )
                .at(n.whole(), "direct routing does not change the packet")
                .help("a tunnel can carry it: `TUN` (keepalived leaves such a server out)"),
            );
        }
    }

    fn server(
        &mut self,
        node: &Node,
        inherited: &Inherited,
        targets: &Targets,
        bad: &mut Vec<Diagnostic>,
    ) -> Option<RealServer> {
        let mut walked = self.walk(node.children(), Block::RealServer);
        bad.append(&mut walked.unsupported);
        let w = node.args().first()?;
        let Ok(addr) = w.text.parse::<IpAddr>() else {
            let severity = self.replaced();
            self.push(
                Diagnostic::new(
                    Code::InvalidValue,
                    severity,
                    format!("`{}` is not an IP address", w.text),
                )
                .at(w.span, "this server is ignored, as by keepalived"),
            );
            return None;
        };
        let own = self.last(&walked, "lvs_method");
        let method = self.method_of(own, &inherited.kind, bad);
        let port = self.port(node, targets, node.args().get(1), method)?;
        self.family(node, targets, addr, method);
        // Checks go to the port that is written, even where traffic does not.
        let check_port = node
            .args()
            .get(1)
            .and_then(|w| {
                w.text
                    .trim_end_matches(|c: char| !c.is_ascii_digit())
                    .parse()
                    .ok()
            })
            .filter(|p| *p != 0)
            .unwrap_or(port);
        let weight = match self
            .last(&walked, "weight")
            .and_then(|n| n.args().first().map(|w| (n, w)))
        {
            Some((n, w)) => self
                .number(n, w, 0, i32::MAX as u64, "keepalived ignores this line")
                .map_or(inherited.weight, |v| {
                    u16::try_from(v).unwrap_or_else(|_| {
                        self.adjusted(n, format!("a weight of {v} is too large"), "65535 is taken");
                        u16::MAX
                    })
                }),
            None => inherited.weight,
        };
        let (uthreshold, lthreshold) = self.thresholds(&walked);
        let inhibit_on_failure = match self.last(&walked, "inhibit_on_failure") {
            Some(n) => self.switch(n).unwrap_or(inherited.inhibit),
            None => inherited.inhibit,
        };
        let alpha = match self.last(&walked, "alpha") {
            Some(n) => self.switch(n).unwrap_or(inherited.alpha),
            None => inherited.alpha,
        };
        let host = self.virtualhost(&walked, inherited.host.as_deref());
        let above = Above {
            addr,
            port: check_port,
            alpha,
            timing: self.timing(&walked, inherited.timing, false),
            host: host.as_deref(),
        };
        let mut checks = Vec::new();
        for (keyword, n) in &walked.acted {
            checks.extend(self.checks(keyword, n, &above));
        }
        let dr_path = self.check_dr_path(&walked, inherited.check_dr_path);
        checks.extend(self.dr_path(&walked, &above, dr_path, method));
        // Those of a kind stand together, as in TOML.
        checks.sort_by_key(|c| c.kind.name());
        Some(RealServer {
            method: method.unwrap_or(ForwardMethod::Dr),
            uthreshold,
            lthreshold,
            inhibit_on_failure,
            smtp_alert: self.alert_of_server(&walked),
            notify_up: self.script(&walked, "notify_up"),
            notify_down: self.script(&walked, "notify_down"),
            checks,
            ..RealServer::new(addr, port, weight)
        })
    }

    /// `uthreshold` and `lthreshold`.
    fn thresholds(&mut self, walked: &Walked<'_>) -> (u32, u32) {
        let mut limit = |name: &str| {
            let n = self.last(walked, name)?;
            let w = n.args().first()?;
            let (most, instead) = (u64::from(u32::MAX), "keepalived ignores this line");
            self.number(n, w, 0, most, instead).map(|v| (n, v as u32))
        };
        let (upper, lower) = (limit("uthreshold"), limit("lthreshold"));
        let most = upper.map_or(0, |(_, v)| v);
        if let Some((n, v)) = lower
            && v > most
        {
            let refused = |message| {
                Diagnostic::new(Code::Conflict, Severity::Error, message)
                    .at(n.whole(), "IPVS takes no such server")
            };
            self.push(match upper {
                Some((n, _)) => refused(format!("`lthreshold {v}` is above `uthreshold {most}`"))
                    .also(n.whole(), "from so many connections on it gets nothing new"),
                None => refused(format!("`lthreshold {v}` has no `uthreshold`"))
                    .help("add `uthreshold`: from so many connections on it gets nothing new"),
            });
        }
        (most, lower.map_or(0, |(_, v)| v))
    }

    pub(super) fn sorry(
        &mut self,
        walked: &Walked<'_>,
        kind: &Kind,
        targets: &Targets,
        bad: &mut Vec<Diagnostic>,
    ) -> Option<SorryServer> {
        let n = self.last(walked, "sorry_server")?;
        let w = n.args().first()?;
        let addr = self.ip(n, w)?;
        let own = self.last(walked, "sorry_server_lvs_method");
        let method = self.method_of(own, kind, bad);
        let port = self.port(n, targets, n.args().get(1), method)?;
        self.family(n, targets, addr, method);
        Some(SorryServer {
            addr,
            port,
            method: method.unwrap_or(ForwardMethod::Dr),
            inhibit: walked
                .acted
                .iter()
                .any(|(k, _)| *k == "sorry_server_inhibit"),
        })
    }

    pub(super) fn quorum(&mut self, walked: &Walked<'_>, servers: &[RealServer]) -> (u32, u32) {
        let total = servers
            .iter()
            .fold(0u32, |t, s| t.saturating_add(u32::from(s.weight)));
        let mut quorum = 1;
        if let Some((n, w)) = self
            .last(walked, "quorum")
            .and_then(|n| n.args().first().map(|w| (n, w)))
        {
            quorum = self
                .number(n, w, 1, u64::from(u32::MAX), "keepalived takes 1")
                .map_or(1, |v| v as u32);
            let most = total.max(1);
            if quorum > most {
                self.adjusted(
                    n,
                    format!("a quorum of {quorum} is more than all real servers weigh"),
                    &format!("{most} is taken, as by keepalived"),
                );
                quorum = most;
            }
        }
        let mut hysteresis = 0;
        if let Some((n, w)) = self
            .last(walked, "hysteresis")
            .and_then(|n| n.args().first().map(|w| (n, w)))
        {
            hysteresis = self
                .number(
                    n,
                    w,
                    0,
                    u64::from(u32::MAX),
                    "keepalived ignores this line: 0 holds",
                )
                .map_or(0, |v| v as u32);
            if hysteresis >= quorum {
                self.adjusted(
                    n,
                    format!("a hysteresis of {hysteresis} is not below the quorum of {quorum}"),
                    &format!("{} is taken, as by keepalived", quorum - 1),
                );
                hysteresis = quorum - 1;
            }
        }
        (quorum, hysteresis)
    }

    pub(super) fn inherited(&mut self, walked: &Walked<'_>, kind: Kind) -> Inherited {
        let weight = self.last(walked, "weight").and_then(|n| {
            let w = n.args().first()?;
            self.number(n, w, 1, 65535, "keepalived ignores this line: 1 holds")
        });
        Inherited {
            kind,
            weight: weight.map_or(1, |w| w as u16),
            inhibit: self.flag(walked, "inhibit_on_failure"),
            alpha: self.flag(walked, "alpha"),
            check_dr_path: self.check_dr_path(walked, self.check_dr_path),
            timing: self.timing(walked, Timing::default(), false),
            host: self.virtualhost(walked, None),
        }
    }
}
