//! `bfd_instance` and `BFD_CHECK`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::checks::Above;
use super::track::{MAX_WEIGHT, Weight};
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::{Bfd, Check, CheckKind, Model};

/// keepalived's times end here: whole milliseconds of which there are less than 2^32 microseconds.
const LONGEST: Duration = Duration::from_millis(u32::MAX as u64 / 1000);
/// What is said of a value that keepalived would not take.
const IGNORED: &str = "keepalived ignores this line";

impl Lower {
    /// All `bfd_instance`; instances, groups and checks refer to them.
    pub(super) fn bfd_instances(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut taken: Vec<(Bfd, Span)> = Vec::new();
        for (_, n) in top.iter().filter(|(k, _)| *k == "bfd_instance") {
            let Some(name) = n.args().first() else {
                continue;
            };
            if let Some(first) = names.insert(&name.text, name.span) {
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        Severity::Error,
                        format!("`bfd_instance {}` is defined twice", name.text),
                    )
                    .at(name.span, "again here")
                    .also(first, "first here"),
                );
                continue;
            }
            let walked = self.walk(n.children(), Block::Bfd);
            let has = |word: &str| walked.acted.iter().any(|(k, _)| *k == word);
            let (vrrp, checker) = (has("vrrp"), has("checker"));
            let all = !vrrp && !checker;
            let weight = match self.last(&walked, "weight") {
                Some(n) => self.weight(n, n.args(), Weight::default(), MAX_WEIGHT),
                None => Weight::default(),
            };
            // Also one that is wrong is known: who follows it is not told that it is missing.
            for (by, heard) in [("track_bfd", vrrp), ("BFD_CHECK", checker)] {
                if heard || all {
                    self.weights.insert((by, name.text.clone()), weight);
                }
            }
            let bfd = self.bfd_instance(n, &walked).map(|bfd| Bfd {
                name: name.text.clone(),
                passive: has("passive"),
                vrrp: vrrp || all,
                checker: checker || all,
                ..bfd
            });
            let Some(bfd) = bfd else {
                continue;
            };
            let clash = taken.iter().find(|(other, _)| {
                let sources = [other.source, bfd.source];
                other.neighbor == bfd.neighbor
                    && (other.source == bfd.source || sources.contains(&None))
            });
            if let Some((other, first)) = clash {
                let message = format!(
                    "`bfd_instance {}` has the addresses of `{}`",
                    bfd.name, other.name
                );
                let d = Diagnostic::new(Code::Duplicate, Severity::Error, message)
                    .at(n.whole(), "no packet could tell which of the two it is for")
                    .also(*first, "first here")
                    .help(
                        "give both a `source_ip` of their own; keepalived would leave this one out",
                    );
                self.push(d);
                continue;
            }
            taken.push((bfd, n.whole()));
        }
        model
            .bfd_instances
            .extend(taken.into_iter().map(|(bfd, _)| bfd));
    }

    /// Everything but the name and who hears of it.
    fn bfd_instance(&mut self, node: &Node, walked: &Walked<'_>) -> Option<Bfd> {
        let ip = |l: &mut Self, names: [&str; 2]| {
            let n = names.iter().find_map(|name| l.last(walked, name))?;
            Some((l.ip(n, n.args().first()?)?, n.whole()))
        };
        let source = ip(self, ["source_ip"; 2]);
        let Some((neighbor, at)) = ip(self, ["neighbor_ip", "neighbour_ip"]) else {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    format!("`{}` has no `neighbor_ip`", node.title()),
                )
                .at(node.whole(), "there is nobody to speak with")
                .help("keepalived would leave it out, and who follows it would never see it up"),
            );
            return None;
        };
        if let Some((source, at)) = source
            && source.is_ipv4() != neighbor.is_ipv4()
        {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    Severity::Error,
                    format!(
                        "`source_ip` and `neighbor_ip` of `{}` are of two families",
                        node.title()
                    ),
                )
                .at(at, format!("the neighbour is {neighbor}")),
            );
            return None;
        }
        if let IpAddr::V6(v6) = neighbor
            && v6.is_unicast_link_local()
        {
            self.push(
                Diagnostic::new(
                    Code::InvalidValue,
                    Severity::Error,
                    format!("{neighbor} is on every link"),
                )
                .at(at, "which interface leads to it cannot be said here")
                .help(
                    "take an address that is not link-local; keepalived could not send to this one",
                ),
            );
            return None;
        }
        let time = |l: &mut Self, name: &str, least: Duration, default: Duration| {
            let given = l.last(walked, name);
            let word = given.and_then(|n| Some((n, n.args().first()?)));
            word.and_then(|(n, w)| l.millis(n, w, least))
                .unwrap_or(default)
        };
        let shortest = Duration::from_millis(1);
        let min_rx = time(self, "min_rx", shortest, Bfd::INTERVAL);
        let min_tx = time(self, "min_tx", shortest, Bfd::INTERVAL);
        let idle_tx = time(self, "idle_tx", Bfd::IDLE, Bfd::IDLE);
        let number = |l: &mut Self, name: &str| {
            let n = l.last(walked, name)?;
            let v = l.strict_number(n, n.args().first()?, 1, 255, IGNORED)?;
            Some(v as u8)
        };
        let multiplier = number(self, "multiplier").unwrap_or(Bfd::MULTIPLIER);
        let (ttl, hoplimit) = (number(self, "ttl"), number(self, "hoplimit"));
        let ttl = ttl.or(hoplimit).unwrap_or(Bfd::ttl(neighbor));
        Some(Bfd {
            source: source.map(|(ip, _)| ip),
            min_rx,
            min_tx,
            idle_tx,
            multiplier,
            ttl,
            max_hops: self.max_hops(walked),
            ..Bfd::new("", neighbor)
        })
    }

    fn max_hops(&mut self, walked: &Walked<'_>) -> u8 {
        let Some(n) = self.last(walked, "max_hops") else {
            return 0;
        };
        match n.args().first() {
            // Any number of them.
            Some(w) if w.text == "-1" => 255,
            Some(w) => self
                .strict_number(n, w, 0, 255, IGNORED)
                .map_or(0, |v| v as u8),
            None => 0,
        }
    }

    /// A time in milliseconds, to the microsecond.
    fn millis(&mut self, n: &Node, word: &Word, least: Duration) -> Option<Duration> {
        // A thousandth of as many seconds.
        let Some(time) = super::seconds(&word.text) else {
            self.invalid(n, word, "a time in milliseconds", IGNORED);
            return None;
        };
        let micros = (time.as_micros() + 500) / 1000;
        let time = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        if time < least || time > LONGEST {
            let severity = self.replaced();
            let range = format!(
                "must be {} to {} ms",
                least.as_millis(),
                LONGEST.as_millis()
            );
            let d = Diagnostic::new(
                Code::OutOfRange,
                severity,
                format!("`{}` is out of range: {}", n.keyword(), word.text),
            )
            .at(word.span, range);
            let d = if self.rules.toml { d } else { d.help(IGNORED) };
            self.push(d);
            return None;
        }
        Some(time)
    }

    /// A `BFD_CHECK`.
    pub(super) fn bfd_check(&mut self, node: &Node, above: &Above<'_>) -> Option<Check> {
        let walked = self.walk(node.children(), Block::BfdCheck);
        let left_out = "keepalived would leave the check out: the server would always be up";
        let Some(n) = self.last(&walked, "name") else {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    "this check has no `name`",
                )
                .at(node.whole(), "there is no session to follow")
                .help(left_out),
            );
            return None;
        };
        let name = n.args().first()?;
        if !self.weights.contains_key(&("BFD_CHECK", name.text.clone())) {
            self.push(self.no_session(name, "track_bfd", "checker").help(left_out));
            return None;
        }
        let mut check = Check::new(CheckKind::Bfd(name.text.clone()), above.addr, 0);
        check.alpha = above.alpha;
        if let Some(n) = self.last(&walked, "alpha") {
            check.alpha = self.switch(n).unwrap_or(check.alpha);
        }
        Some(check)
    }

    /// There is no session of this name for who asks for it; whether there is one for `others`.
    pub(super) fn no_session(
        &self,
        name: &Word,
        others: &'static str,
        missing: &str,
    ) -> Diagnostic {
        let known = self.weights.contains_key(&(others, name.text.clone()));
        let (message, label) = match known {
            false => (
                format!("there is no `bfd_instance {}`", name.text),
                "nothing to follow".to_owned(),
            ),
            true => (
                format!("`bfd_instance {}` is not for {missing}", name.text),
                format!("add `{missing}` to it"),
            ),
        };
        Diagnostic::new(Code::UnknownName, Severity::Error, message).at(name.span, label)
    }
}
