//! `real_server`, `sorry_server` and the quorum.

use std::collections::HashMap;
use std::net::IpAddr;

use super::checks::Timing;
use super::service::unsupported;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{ForwardMethod, RealServer, SorryServer};

/// What real servers inherit.
pub(super) struct Inherited {
    pub(super) weight: u16,
    pub(super) inhibit: bool,
    pub(super) alpha: bool,
    pub(super) timing: Timing,
}

impl Lower {
    pub(super) fn servers(
        &mut self,
        walked: &Walked<'_>,
        inherited: &Inherited,
        port: u16,
        vip: Option<IpAddr>,
        bad: &mut Vec<Diagnostic>,
    ) -> Vec<RealServer> {
        let mut out: Vec<RealServer> = Vec::new();
        let mut seen: HashMap<(IpAddr, u16), Span> = HashMap::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "real_server") {
            let Some(server) = self.server(n, inherited, port, bad) else {
                continue;
            };
            if vip.is_some_and(|v| v.is_ipv4() != server.addr.is_ipv4()) {
                self.push(
                    Diagnostic::new(
                        Code::Conflict,
                        self.replaced(),
                        format!(
                            "`{}` is of another address family than the service",
                            server.addr
                        ),
                    )
                    .at(n.whole(), "ignored, as by keepalived"),
                );
                continue;
            }
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

    /// With direct routing the packet's port is not changed, so a server's port is the service's.
    fn port(
        &mut self,
        n: &Node,
        service: u16,
        word: Option<&crate::config::tree::Word>,
    ) -> Option<u16> {
        let Some(w) = word else { return Some(service) };
        let given = self.number(n, w, 0, 65535, "keepalived ignores this server")? as u16;
        if given != service && service != 0 {
            self.push(
                Diagnostic::new(
                    Code::Adjusted,
                    self.replaced(),
                    format!("with direct routing the port is the service's: {service}"),
                )
                .at(
                    w.span,
                    format!("{given} is taken as {service}, as by keepalived"),
                ),
            );
        }
        Some(service)
    }

    fn server(
        &mut self,
        node: &Node,
        inherited: &Inherited,
        port: u16,
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
        let service_port = port;
        let port = self.port(node, port, node.args().get(1))?;
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
            .unwrap_or(service_port);
        if let Some((n, w)) = self
            .last(&walked, "lvs_method")
            .and_then(|n| n.args().first().map(|w| (n, w)))
            && w.text != "DR"
        {
            bad.push(unsupported(
                n.whole(),
                format!("`{}` is not supported yet", w.text),
                "how packets reach this server",
            ));
        }
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
        let inhibit_on_failure = match self.last(&walked, "inhibit_on_failure") {
            Some(n) => self.switch(n).unwrap_or(inherited.inhibit),
            None => inherited.inhibit,
        };
        let alpha = match self.last(&walked, "alpha") {
            Some(n) => self.switch(n).unwrap_or(inherited.alpha),
            None => inherited.alpha,
        };
        let timing = self.timing(&walked, inherited.timing, false);
        let mut checks = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "TCP_CHECK") {
            if let Some(c) = self.check(n, addr, check_port, alpha, timing) {
                checks.push(c);
            }
        }
        Some(RealServer {
            inhibit_on_failure,
            checks,
            ..RealServer::new(addr, port, weight)
        })
    }

    pub(super) fn sorry(
        &mut self,
        walked: &Walked<'_>,
        port: u16,
        vip: Option<IpAddr>,
        bad: &mut Vec<Diagnostic>,
    ) -> Option<SorryServer> {
        let n = self.last(walked, "sorry_server")?;
        let w = n.args().first()?;
        let addr = self.ip(n, w)?;
        let port = self.port(n, port, n.args().get(1))?;
        if vip.is_some_and(|v| v.is_ipv4() != addr.is_ipv4()) {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    "the sorry server is of another address family than the service",
                )
                .at(n.whole(), "ignored, as by keepalived"),
            );
            return None;
        }
        if let Some((m, w)) = self
            .last(walked, "sorry_server_lvs_method")
            .and_then(|n| n.args().first().map(|w| (n, w)))
            && w.text != "DR"
        {
            bad.push(unsupported(
                m.whole(),
                format!("`{}` is not supported yet", w.text),
                "how packets reach the sorry server",
            ));
        }
        Some(SorryServer {
            addr,
            port,
            method: ForwardMethod::Dr,
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

    pub(super) fn inherited(&mut self, walked: &Walked<'_>) -> Inherited {
        let weight = self.last(walked, "weight").and_then(|n| {
            let w = n.args().first()?;
            self.number(n, w, 1, 65535, "keepalived ignores this line: 1 holds")
        });
        Inherited {
            weight: weight.map_or(1, |w| w as u16),
            inhibit: self.flag(walked, "inhibit_on_failure"),
            alpha: self.flag(walked, "alpha"),
            timing: self.timing(walked, Timing::default(), false),
        }
    }
}
