//! Values of single words: numbers, times, switches, addresses.

use std::net::IpAddr;
use std::time::Duration;

use super::Lower;
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::tree::{Node, Word};

impl Lower {
    /// A whole number within a range, read as keepalived reads most of them: what follows the digits
    /// is ignored with a message. `None` after saying what is wrong and what holds instead.
    pub(super) fn number(
        &mut self,
        n: &Node,
        word: &Word,
        min: u64,
        max: u64,
        instead: &str,
    ) -> Option<u64> {
        let digits = word.text.bytes().take_while(u8::is_ascii_digit).count();
        let junk = digits > 0 && digits < word.text.len() && !self.rules.toml;
        if junk
            && let Some(v) = word.text[..digits]
                .parse::<u64>()
                .ok()
                .filter(|v| (min..=max).contains(v))
        {
            self.push(
                Diagnostic::new(
                    Code::Adjusted,
                    Severity::Warning,
                    format!("`{}` is not a whole number", word.text),
                )
                .at(word.span, format!("taken as {v}, as by keepalived"))
                .help(format!("write `{} {v}`", n.keyword())),
            );
            return Some(v);
        }
        self.strict_number(n, word, min, max, instead)
    }

    /// A whole number within a range and nothing after it.
    pub(super) fn strict_number(
        &mut self,
        n: &Node,
        word: &Word,
        min: u64,
        max: u64,
        instead: &str,
    ) -> Option<u64> {
        let text = word.text.trim_start_matches('+');
        match text.parse::<u64>() {
            Ok(v) if (min..=max).contains(&v) => Some(v),
            Ok(_) => {
                self.out_of_range(n, word, min, max, instead);
                None
            }
            Err(_)
                if !text.is_empty()
                    && text
                        .trim_start_matches('-')
                        .bytes()
                        .all(|b| b.is_ascii_digit()) =>
            {
                self.out_of_range(n, word, min, max, instead);
                None
            }
            Err(_) => {
                self.invalid(n, word, "a whole number", instead);
                None
            }
        }
    }

    /// A number of one of lbd's own words: nobody has got used to a wrong one, so it is an error.
    pub(super) fn own_number(&mut self, n: &Node, word: &Word, min: u64, max: u64) -> Option<u32> {
        let toml = std::mem::replace(&mut self.rules.toml, true);
        let v = self.strict_number(n, word, min, max, "");
        self.rules.toml = toml;
        v.map(|v| v as u32)
    }

    fn out_of_range(&mut self, n: &Node, word: &Word, min: u64, max: u64, instead: &str) {
        let range = if max > u64::from(u32::MAX) {
            format!("at least {min}")
        } else {
            format!("{min} to {max}")
        };
        let severity = self.replaced();
        let mut d = Diagnostic::new(
            Code::OutOfRange,
            severity,
            format!("`{}` is out of range: {}", n.keyword(), word.text),
        )
        .at(word.span, format!("must be {range}"));
        if !self.rules.toml {
            d = d.help(instead.to_owned());
        }
        self.push(d);
    }

    pub(super) fn invalid(&mut self, n: &Node, word: &Word, want: &str, instead: &str) {
        let severity = self.replaced();
        let mut d = Diagnostic::new(
            Code::InvalidValue,
            severity,
            format!("`{}` needs {want}, not `{}`", n.keyword(), word.text),
        )
        .at(word.span, format!("not {want}"));
        if word.text.starts_with('$') {
            d = d.help(format!("`{}` is not defined", word.text));
        }
        if !self.rules.toml && !instead.is_empty() {
            d = d.help(instead.to_owned());
        }
        self.push(d);
    }

    /// A time in seconds, to the microsecond.
    pub(super) fn timer(
        &mut self,
        n: &Node,
        word: &Word,
        min: Duration,
        max: Duration,
        instead: &str,
    ) -> Option<Duration> {
        let Some(t) = seconds(&word.text) else {
            // keepalived takes `3s` as 3 microseconds: nobody can mean that.
            let unit = word
                .text
                .trim_end_matches(|c: char| c.is_ascii_alphabetic());
            if unit.len() < word.text.len() && seconds(unit).is_some() {
                self.push(
                    Diagnostic::new(
                        Code::InvalidValue,
                        Severity::Error,
                        format!(
                            "`{}` takes seconds without a unit, not `{}`",
                            n.keyword(),
                            word.text
                        ),
                    )
                    .at(word.span, "keepalived would take this as microseconds")
                    .help(format!("write `{} {unit}`", n.keyword())),
                );
            } else {
                self.invalid(n, word, "a time in seconds", instead);
            }
            return None;
        };
        if t < min || t > max {
            let severity = self.replaced();
            let d = Diagnostic::new(
                Code::OutOfRange,
                severity,
                format!("`{}` is out of range: {}", n.keyword(), word.text),
            )
            .at(
                word.span,
                format!(
                    "must be {} to {} seconds",
                    min.as_secs_f64(),
                    max.as_secs_f64()
                ),
            );
            let d = if self.rules.toml {
                d
            } else {
                d.help(instead.to_owned())
            };
            self.push(d);
            return None;
        }
        Some(t)
    }

    /// A switch: on when nothing follows the keyword.
    pub(super) fn switch(&mut self, n: &Node) -> Option<bool> {
        match n.args().first() {
            None => Some(true),
            Some(w) => match boolean(&w.text) {
                Some(v) => Some(v),
                None => {
                    self.invalid(
                        n,
                        w,
                        "on, off, true, false, yes or no",
                        "keepalived ignores this line",
                    );
                    None
                }
            },
        }
    }

    /// An IP address; `None` after saying that it is none.
    pub(super) fn ip(&mut self, n: &Node, word: &Word) -> Option<IpAddr> {
        match word.text.parse() {
            Ok(ip) => Some(ip),
            Err(_) => {
                self.invalid(n, word, "an IP address", "keepalived ignores this line");
                None
            }
        }
    }

    /// Says that a value is replaced as keepalived replaces it.
    pub(super) fn adjusted(&mut self, n: &Node, message: String, label: &str) {
        let severity = self.replaced();
        self.push(
            Diagnostic::new(Code::Adjusted, severity, message).at(n.whole(), label.to_owned()),
        );
    }

    /// Says which default holds for a word that is missing.
    pub(super) fn defaulted(&mut self, n: &Node, message: String, label: &str, help: &str) {
        self.push(
            Diagnostic::new(Code::Defaulted, Severity::Note, message)
                .at(n.whole(), label.to_owned())
                .help(help.to_owned()),
        );
    }
}

/// keepalived's words for yes and no.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// A decimal number of seconds, to the microsecond.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 12 || fraction.len() > 30 {
        return None;
    }
    if !whole
        .bytes()
        .chain(fraction.bytes())
        .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let secs: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let micros = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .fold(0u64, |v, b| v * 10 + u64::from(b - b'0'));
    let round = u64::from(fraction.as_bytes().get(6).is_some_and(|b| *b >= b'5'));
    Some(Duration::from_secs(secs) + Duration::from_micros(micros + round))
}
