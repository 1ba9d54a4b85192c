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

    /// A `TCP_CHECK`.
    pub(super) fn check(
        &mut self,
        node: &Node,
        server: IpAddr,
        port: u16,
        alpha: bool,
        above: Timing,
    ) -> Option<Check> {
        let walked = self.walk(node.children(), Block::TcpCheck);
        let t = self.timing(&walked, above, true);
        let ip = |l: &mut Self, name: &str| {
            let n = l.last(&walked, name)?;
            let w = n.args().first()?;
            l.ip(n, w)
        };
        let addr = ip(self, "connect_ip");
        let bind_addr = ip(self, "bindto");
        let number = |l: &mut Self, name: &str| {
            let n = l.last(&walked, name)?;
            let w = n.args().first()?;
            l.number(n, w, 1, 65535, "keepalived ignores this line")
                .map(|v| v as u16)
        };
        let connect_port = number(self, "connect_port");
        let bind_port = number(self, "bind_port").unwrap_or(0);
        let bind_if = self
            .last(&walked, "bind_if")
            .and_then(|n| n.args().first())
            .map(|w| w.text.clone());
        let alpha = match self.last(&walked, "alpha") {
            Some(n) => self.switch(n).unwrap_or(alpha),
            None => alpha,
        };
        let port = connect_port.unwrap_or(port);
        if port == 0 {
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
        let interval = t.interval.unwrap_or(Duration::from_secs(60));
        Some(Check {
            kind: CheckKind::Tcp,
            addr: addr.unwrap_or(server),
            port,
            bind_addr,
            bind_port,
            bind_if,
            timeout: t.timeout.unwrap_or(Duration::from_secs(5)),
            interval,
            retry: t.retry.unwrap_or(1),
            retry_delay: t.retry_delay.unwrap_or(Duration::from_secs(1)),
            warmup: t.warmup.unwrap_or(interval),
            alpha,
        })
    }
}
