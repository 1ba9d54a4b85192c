//! Checkers, and the timing that they inherit from their server and service.

use std::net::IpAddr;
use std::time::Duration;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::{Check, CheckKind};

/// What is set on the way from the service to the checker.
#[derive(Clone, Copy, Default)]
pub(super) struct Timing {
    timeout: Option<Duration>,
    interval: Option<Duration>,
    retry: Option<u32>,
    retry_delay: Option<Duration>,
    warmup: Option<Duration>,
}

/// What a checker has from its real server.
pub(super) struct Above<'a> {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    pub(super) alpha: bool,
    pub(super) timing: Timing,
    /// `virtualhost`.
    pub(super) host: Option<&'a str>,
}

const MICRO: Duration = Duration::from_micros(1);
/// keepalived's timers end here: 2^32 microseconds.
const MAX: Duration = Duration::from_micros(u32::MAX as u64);

impl Lower {
    /// The timing of one level; what it does not set is `above`'s.
    pub(super) fn timing(&mut self, walked: &Walked<'_>, above: Timing, checker: bool) -> Timing {
        let timer = |l: &mut Self, name: &str, min: Duration| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.timer(n, w, min, MAX, "keepalived ignores this line")
        };
        let timeout = timer(self, "connect_timeout", MICRO);
        let interval = timer(self, "delay_loop", MICRO);
        let retry_delay = timer(self, "delay_before_retry", Duration::ZERO);
        let warmup = timer(self, "warmup", Duration::ZERO);
        let retry = self.last(walked, "retry").and_then(|n| {
            let w = n.args().first()?;
            let (most, instead) = (u64::from(u32::MAX), "keepalived ignores this line");
            let v = if checker {
                self.number(n, w, 0, most, instead)
            } else {
                self.strict_number(n, w, 1, most, instead)
            };
            v.map(|v| v as u32)
        });
        Timing {
            timeout: timeout.or(above.timeout),
            interval: interval.or(above.interval),
            retry: retry.or(above.retry),
            retry_delay: retry_delay.or(above.retry_delay),
            warmup: warmup.or(above.warmup),
        }
    }

    /// The checks that a statement of a real server asks for; none when it is no checker.
    pub(super) fn checks(&mut self, keyword: &str, node: &Node, above: &Above<'_>) -> Vec<Check> {
        let block = match keyword {
            "TCP_CHECK" => Block::TcpCheck,
            "UDP_CHECK" => Block::UdpCheck,
            "HTTP_GET" => Block::HttpGet,
            "SSL_GET" => Block::SslGet,
            "DNS_CHECK" => Block::DnsCheck,
            "PING_CHECK" => Block::PingCheck,
            "SMTP_CHECK" => Block::SmtpCheck,
            "MISC_CHECK" => Block::MiscCheck,
            "BFD_CHECK" => return Vec::from_iter(self.bfd_check(node, above)),
            "FILE_CHECK" => return Vec::from_iter(self.file_check(node, above)),
            _ => return Vec::new(),
        };
        let walked = self.walk(node.children(), block);
        let kind = match block {
            Block::TcpCheck => CheckKind::Tcp,
            Block::UdpCheck => CheckKind::Udp(self.udp_check(&walked)),
            Block::DnsCheck => CheckKind::Dns(self.dns_check(&walked)),
            Block::PingCheck => CheckKind::Ping,
            Block::SmtpCheck => CheckKind::Smtp(self.smtp_check(&walked)),
            Block::HttpGet | Block::SslGet => {
                let tls = block == Block::SslGet;
                match self.http_get(node, &walked, tls, above.host) {
                    Some(http) => CheckKind::Http(http),
                    None => return Vec::new(),
                }
            }
            Block::MiscCheck => match self.misc_check(node, &walked) {
                Some(misc) => CheckKind::Misc(misc),
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let timing = self.timing(&walked, above.timing, true);
        let mut check = self.target(&walked, Check::new(kind, above.addr, above.port));
        check.alpha = above.alpha;
        check.log_all_failures = self.log_all_failures;
        self.pace(&walked, &timing, &mut check);
        if let CheckKind::Misc(_) = check.kind {
            check.port = 0;
            check.timeout = self.misc_timeout(&walked).unwrap_or(check.interval);
        }
        let hosts = walked.acted.iter().filter(|(k, _)| *k == "host");
        let mut all: Vec<Check> = hosts
            .map(|(_, n)| self.smtp_host(n, &check, timing))
            .collect();
        if all.is_empty() {
            self.needs_port(node, &check);
            all.push(check);
        }
        all
    }

    /// A `host` of an `SMTP_CHECK`: what it does not say is the checker's.
    fn smtp_host(&mut self, node: &Node, checker: &Check, above: Timing) -> Check {
        let walked = self.walk(node.children(), Block::SmtpHost);
        let timing = self.timing(&walked, above, true);
        let mut check = self.target(&walked, checker.clone());
        self.pace(&walked, &timing, &mut check);
        self.needs_port(node, &check);
        check
    }

    /// Where a check connects to and from; what is not said stays as in `check`.
    pub(super) fn target(&mut self, walked: &Walked<'_>, check: Check) -> Check {
        let ip = |l: &mut Self, name: &str| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.ip(n, w)
        };
        let addr = ip(self, "connect_ip");
        let bind_addr = ip(self, "bindto");
        let number = |l: &mut Self, name: &str, min: u64, max: u64| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.number(n, w, min, max, "keepalived ignores this line")
        };
        let port = number(self, "connect_port", 1, 65535);
        let bind_port = number(self, "bind_port", 1, 65535);
        let fwmark = number(self, "fwmark", 0, u64::from(u32::MAX));
        let bind_if = self.last(walked, "bind_if");
        let bind_if = bind_if.and_then(|n| n.args().first());
        Check {
            addr: addr.unwrap_or(check.addr),
            port: port.map_or(check.port, |v| v as u16),
            bind_addr: bind_addr.or(check.bind_addr),
            bind_port: bind_port.map_or(check.bind_port, |v| v as u16),
            bind_if: bind_if.map(|w| w.text.clone()).or(check.bind_if),
            fwmark: fwmark.map_or(check.fwmark, |v| v as u32),
            ..check
        }
    }

    /// When a check runs, and what is told of it.
    pub(super) fn pace(&mut self, walked: &Walked<'_>, t: &Timing, check: &mut Check) {
        check.timeout = t.timeout.unwrap_or(Check::TIMEOUT);
        check.interval = t.interval.unwrap_or(Check::INTERVAL);
        check.retry = t.retry.unwrap_or(check.kind.retry());
        let retry_delay = check.kind.retry_delay(check.interval);
        check.retry_delay = t.retry_delay.unwrap_or(retry_delay);
        check.warmup = t.warmup.unwrap_or(check.interval);
        let switch = |l: &mut Self, name, inherited| match l.last(walked, name) {
            Some(n) => l.switch(n).unwrap_or(inherited),
            None => inherited,
        };
        check.alpha = switch(self, "alpha", check.alpha);
        check.log_all_failures = switch(self, "log_all_failures", check.log_all_failures);
    }

    fn needs_port(&mut self, node: &Node, check: &Check) {
        if check.port == 0 && check.kind.has_port() {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    "this check has no port to connect to",
                )
                .at(
                    node.whole(),
                    "the service takes any port, and no other one is given",
                )
                .help("add `connect_port`, or a port to the `real_server`")
                .help("keepalived would try port 0, and the server would never be up"),
            );
        }
    }
}
