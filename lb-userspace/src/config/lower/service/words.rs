//! Words of a service: its protocol, how servers are chosen, how long clients stay, its timeouts.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{PERSISTENT, unsupported};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::lower::{Lower, Walked};
use crate::config::tree::Node;
use crate::model::{Persistence, Protocol, SchedFlags, Scheduler, Timeouts};

/// The longest that IPVS takes: 31 days.
pub(in crate::config::lower) const MAX_TIMEOUT: u64 = 31 * 24 * 3600;

impl Lower {
    pub(super) fn protocol(&mut self, node: &Node, walked: &Walked<'_>) -> Protocol {
        if let Some((n, w)) = self
            .last(walked, "protocol")
            .and_then(|n| n.args().first().map(|w| (n, w)))
        {
            match w.text.to_ascii_uppercase().as_str() {
                "TCP" => return Protocol::Tcp,
                "UDP" => return Protocol::Udp,
                "SCTP" => return Protocol::Sctp,
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

    /// `lb_algo` and the flags of schedulers, in the order of the file: `sh-port` and the like count
    /// only behind the scheduler that they belong to. (A TOML table has no order.)
    pub(super) fn scheduler(
        &mut self,
        node: &Node,
        walked: &Walked<'_>,
    ) -> (Scheduler, SchedFlags) {
        let mut found = None;
        let mut flags = SchedFlags::default();
        let is_algo = |k: &str| matches!(k, "lb_algo" | "lvs_sched");
        let words = || walked.acted.iter().filter(|(k, _)| is_algo(k));
        let rest = walked.acted.iter().filter(|(k, _)| !is_algo(k));
        let ordered: Vec<_> = match self.rules.toml {
            true => words().chain(rest).collect(),
            false => walked.acted.iter().collect(),
        };
        let mut used = None;
        for (k, n) in ordered {
            match *k {
                "lb_algo" | "lvs_sched" => found = self.algorithm(n).or(found),
                "flag-1" => (flags.fallback, used) = (true, Some(n)),
                "flag-2" => (flags.port, used) = (true, Some(n)),
                "sh-port" | "mh-port" | "sh-fallback" | "mh-fallback" => {
                    let (owner, flag) = k.split_at(2);
                    if found.map(Scheduler::name) != Some(owner) {
                        self.push(
                            Diagnostic::new(
                                Code::Conflict,
                                self.replaced(),
                                format!("`{k}` belongs to the scheduler {owner}"),
                            )
                            .at(n.whole(), "ignored, as by keepalived")
                            .help(format!("write it behind `lb_algo {owner}`")),
                        );
                    } else if flag == "-port" {
                        (flags.port, used) = (true, Some(n));
                    } else {
                        (flags.fallback, used) = (true, Some(n));
                    }
                }
                _ => {}
            }
        }
        if words().next().is_none() {
            self.defaulted(
                node,
                format!("`{}` names no scheduler", node.title()),
                "wlc is taken, as by keepalived",
                "add `lb_algo`",
            );
        }
        let scheduler = found.unwrap_or(Scheduler::Wlc);
        if !matches!(scheduler, Scheduler::Sh | Scheduler::Mh) {
            flags = SchedFlags::default();
            if let Some(n) = used {
                self.push(
                    Diagnostic::new(
                        Code::NoEffect,
                        Severity::Note,
                        format!("`{}` means nothing for {}", n.keyword(), scheduler.name()),
                    )
                    .at(n.whole(), "only sh and mh have flags"),
                );
            }
        }
        (scheduler, flags)
    }

    fn algorithm(&mut self, n: &Node) -> Option<Scheduler> {
        let w = n.args().first()?;
        let named = |text: &str| Scheduler::ALL.into_iter().find(|s| s.name() == text);
        let found = named(&w.text);
        if found.is_none() {
            let severity = self.replaced();
            let mut d = Diagnostic::new(
                Code::InvalidValue,
                severity,
                format!("there is no scheduler `{}`", w.text),
            )
            .at(w.span, "keepalived ignores this line: its default is `wlc`")
            .help(format!(
                "one of {}",
                Scheduler::ALL.map(Scheduler::name).join(", ")
            ));
            if named(&w.text.to_ascii_lowercase()).is_some() {
                d = d.help("write it in small letters: case matters");
            }
            self.push(d);
        }
        found
    }

    /// `ops`, which IPVS has for UDP only.
    pub(super) fn ops(&mut self, walked: &Walked<'_>, protocol: Protocol) -> bool {
        let Some(n) = self.last(walked, "ops") else {
            return false;
        };
        if protocol != Protocol::Udp {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    format!("`ops` is for UDP, not for {}", protocol.name()),
                )
                .at(n.whole(), "ignored, as by keepalived"),
            );
            return false;
        }
        true
    }

    /// `persistence_timeout` and `persistence_granularity`. `any_port`: the service, or one of its
    /// group, has no port, so that clients must be kept together. `bits` of an address: 32 or 128,
    /// or none for a group of both families.
    pub(super) fn persistence(
        &mut self,
        node: &Node,
        walked: &Walked<'_>,
        any_port: bool,
        bits: Option<u8>,
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
                    .strict_number(n, w, 1, MAX_TIMEOUT, "keepalived ignores this line")
                    .map(Duration::from_secs),
            };
        }
        let mut prefix_len = bits.unwrap_or(128);
        if let Some(n) = self.last(walked, "persistence_granularity")
            && let Some(given) = self.granularity(n, bits, bad)
        {
            prefix_len = given;
            timeout = timeout.or(Some(PERSISTENT));
        }
        if any_port && timeout.is_none() {
            self.defaulted(
                node,
                "a service for any port keeps its clients".to_owned(),
                "`persistence_timeout 360` is taken, as by keepalived",
                "add `persistence_timeout`, or a port",
            );
            timeout = Some(PERSISTENT);
        }
        if timeout.is_some() && bits.is_none() {
            bad.push(
                unsupported(
                    node.whole(),
                    "persistence for both address families in one group is not supported",
                    "a group of IPv4 and IPv6 addresses",
                )
                .help("make a group for each"),
            );
        }
        timeout.map(|timeout| Persistence {
            timeout,
            prefix_len,
        })
    }

    /// A netmask for IPv4, the length of a prefix for IPv6.
    fn granularity(&mut self, n: &Node, bits: Option<u8>, bad: &mut Vec<Diagnostic>) -> Option<u8> {
        let w = n.args().first()?;
        if bits != Some(32) {
            return self
                .strict_number(n, w, 1, 128, "keepalived ignores this line")
                .map(|v| v as u8);
        }
        match w.text.parse::<Ipv4Addr>().map(u32::from) {
            Ok(m) if m != 0 && m.leading_ones() + m.trailing_zeros() == 32 => {
                Some(m.leading_ones() as u8)
            }
            Ok(_) => {
                bad.push(unsupported(
                    n.whole(),
                    "a netmask with gaps is not supported",
                    "the ones must come first",
                ));
                None
            }
            Err(_) => {
                self.invalid(
                    n,
                    w,
                    "a netmask like 255.255.255.0",
                    "keepalived ignores this line",
                );
                None
            }
        }
    }

    /// lbd's own block `timeouts`, of a service or of `global_defs`.
    pub(in crate::config::lower) fn timeouts(&mut self, walked: &Walked<'_>) -> Timeouts {
        let Some(node) = self.last(walked, "timeouts") else {
            return Timeouts::NONE;
        };
        let inner = self.walk(node.children(), Block::Timeouts);
        self.out.extend(inner.unsupported.iter().cloned());
        let mut seconds = |name: &str| {
            let n = self.last(&inner, name)?;
            let w = n.args().first()?;
            self.own_number(n, w, 1, MAX_TIMEOUT)
        };
        Timeouts {
            established: seconds("established"),
            syn_recv: seconds("syn_recv"),
            fin_wait: seconds("fin_wait"),
            time_wait: seconds("time_wait"),
            close: seconds("close"),
            close_wait: seconds("close_wait"),
            last_ack: seconds("last_ack"),
            udp: seconds("udp"),
            sctp: seconds("sctp"),
        }
    }
}
