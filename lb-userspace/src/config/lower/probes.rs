//! What the checkers beside TCP_CHECK ask and expect.

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{DnsCheck, DnsType, Pattern, SmtpCheck, UdpCheck};

/// The parameters of a statement, as one text.
fn text(n: &Node) -> String {
    let words: Vec<&str> = n.args().iter().map(|w| w.text.as_str()).collect();
    words.join(" ")
}

/// Where they stand.
fn place(n: &Node) -> Span {
    match n.args() {
        [] => n.whole(),
        [first, .., last] => first.span.to(last.span),
        [one] => one.span,
    }
}

impl Lower {
    /// A value without which the check would ask for something else than what is meant.
    fn unusable(&mut self, n: &Node, message: String, label: &str, help: &str) {
        self.push(
            Diagnostic::new(Code::InvalidValue, Severity::Error, message)
                .at(place(n), label.to_owned())
                .help(help.to_owned()),
        );
    }

    /// What is particular to a `UDP_CHECK`.
    pub(super) fn udp_check(&mut self, walked: &Walked<'_>) -> UdpCheck {
        let mut check = UdpCheck::default();
        if let Some(n) = self.last(walked, "payload") {
            let octets = Pattern::parse(&text(n)).and_then(Pattern::exact);
            match octets.filter(|o| !o.is_empty()) {
                Some(o) if o.len() <= UdpCheck::MOST_PAYLOAD => check.payload = Some(o),
                Some(o) => self.unusable(
                    n,
                    format!(
                        "a payload of {} octets does not fit into a datagram",
                        o.len()
                    ),
                    &format!("at most {} octets", UdpCheck::MOST_PAYLOAD),
                    "keepalived would never get it sent, and the server would never be up",
                ),
                None => self.unusable(
                    n,
                    "`payload` needs octets in hexadecimal".to_owned(),
                    "not hexadecimal",
                    "write digits and spaces, as in `payload 01 02 a0ff`",
                ),
            }
        }
        let required = self.last(walked, "require_reply");
        if let Some(n) = required {
            check.require_reply = Pattern::parse(&text(n));
            if check.require_reply.is_none() {
                self.unusable(
                    n,
                    "`require_reply` takes octets in hexadecimal".to_owned(),
                    "not hexadecimal",
                    "write digits, spaces, and x for a digit that may be any, as in `require_reply 01 xx a0ff`",
                );
            }
        }
        let mut length = |name: &str, default: u16| {
            let n = self.last(walked, name);
            let w = n.and_then(|n| n.args().first().map(|w| (n, w)));
            let given = w.and_then(|(n, w)| {
                self.number(n, w, 0, 65535, "keepalived ignores this line")
                    .map(|v| v as u16)
            });
            (given.unwrap_or(default), n)
        };
        let (min, min_at) = length("min_reply_length", check.min_reply_length);
        let (max, max_at) = length("max_reply_length", check.max_reply_length);
        check.min_reply_length = min;
        check.max_reply_length = max;
        if let (Some(n), true) = (min_at, min > max) {
            let message = format!("`min_reply_length` {min} is above `max_reply_length` {max}");
            let mut d = Diagnostic::new(Code::Conflict, Severity::Error, message).at(
                n.whole(),
                "no answer can be so: the server would never be up",
            );
            if let Some(max) = max_at {
                d = d.also(max.whole(), "the longest");
            }
            self.push(d);
        }
        if let (Some(n), None) = (min_at.or(max_at), required) {
            self.push(
                Diagnostic::new(
                    Code::NoEffect,
                    Severity::Warning,
                    format!("`{}` has no effect without `require_reply`", n.keyword()),
                )
                .at(
                    n.whole(),
                    "no answer is required, so it may have any length",
                ),
            );
        }
        check
    }

    /// What is particular to a `DNS_CHECK`.
    pub(super) fn dns_check(&mut self, walked: &Walked<'_>) -> DnsCheck {
        let mut check = DnsCheck::default();
        if let Some(n) = self.last(walked, "type")
            && let Some(w) = n.args().first()
        {
            let named = |t: &&DnsType| t.name().eq_ignore_ascii_case(&w.text);
            match DnsType::ALL.iter().find(named) {
                Some(t) => check.record = *t,
                None => {
                    let names: Vec<&str> = DnsType::ALL.iter().map(|t| t.name()).collect();
                    let want = format!("one of {}", names.join(", "));
                    self.invalid(n, w, &want, "keepalived asks for SOA");
                }
            }
        }
        if let Some(n) = self.last(walked, "name")
            && let Some(w) = n.args().first()
        {
            match DnsCheck::name(&w.text) {
                Ok(name) => check.name = name,
                Err(why) => self.unusable(
                    n,
                    format!("`{}` cannot be asked for", w.text),
                    why,
                    "no server would understand the question",
                ),
            }
        }
        check
    }

    /// What is particular to an `SMTP_CHECK`.
    pub(super) fn smtp_check(&mut self, walked: &Walked<'_>) -> SmtpCheck {
        let mut check = SmtpCheck::default();
        if let Some(n) = self.last(walked, "helo_name")
            && let Some(w) = n.args().first()
        {
            let fits = |b: u8| b.is_ascii_graphic() || b == b' ';
            if (1..=255).contains(&w.text.len()) && w.text.bytes().all(fits) {
                check.helo_name.clone_from(&w.text);
            } else {
                self.unusable(
                    n,
                    "this cannot be said in HELO".to_owned(),
                    "1 to 255 characters of ASCII, none of them a control character",
                    "write this host's name",
                );
            }
        }
        check
    }
}
