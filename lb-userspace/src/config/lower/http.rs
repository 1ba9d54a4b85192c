//! `HTTP_GET` and `SSL_GET`.

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::{Node, Word};
use crate::model::{Http, HttpRegex, HttpRegexText, HttpVersion, RegexOption, StatusCodes, Url};

/// Options of PCRE that change nothing of what matches here.
const NO_MATTER: &[&str] = &[
    "auto_callout",
    "never_backslash_c",
    "never_ucp",
    "never_utf",
    "no_auto_capture",
    "no_auto_possess",
    "no_dotstar_anchor",
    "no_start_optimize",
    "use_offset_limit",
];

/// Those that would change it, in ways that are not built.
const NOT_BUILT: &[&str] = &[
    "allow_empty_class",
    "alt_bsux",
    "alt_circumflex",
    "alt_verbnames",
    "dupnames",
    "match_unset_backref",
];

const LINE: &str = "keepalived ignores this line";

impl Lower {
    /// `virtualhost` of a service, a real server, a checker or a URL; by default `above`.
    pub(super) fn virtualhost(
        &mut self,
        walked: &Walked<'_>,
        above: Option<&str>,
    ) -> Option<String> {
        let own = self.last(walked, "virtualhost").and_then(|n| {
            let w = n.args().first()?;
            self.request_word(n, w)
        });
        own.or_else(|| above.map(str::to_owned))
    }

    /// A word that can stand in a request.
    fn request_word(&mut self, n: &Node, w: &Word) -> Option<String> {
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if w.text.is_empty() || w.raw.is_some() || w.text.contains(bad) {
            let message = format!("`{}` cannot stand in a request", n.keyword());
            self.push(
                Diagnostic::new(Code::InvalidValue, Severity::Error, message).at(
                    w.span,
                    "it is empty, or has a blank or a control character in it",
                ),
            );
            return None;
        }
        Some(w.text.clone())
    }

    /// What is particular to an `HTTP_GET` or `SSL_GET`; none when keepalived ignores it. `host`: the
    /// real server's `virtualhost`.
    pub(super) fn http_get(
        &mut self,
        node: &Node,
        walked: &Walked<'_>,
        tls: bool,
        host: Option<&str>,
    ) -> Option<Http> {
        let host = self.virtualhost(walked, host);
        let mut version = HttpVersion::default();
        if let Some(n) = self.last(walked, "http_protocol")
            && let Some(w) = n.args().first()
        {
            let same = |v: &HttpVersion| v.name().eq_ignore_ascii_case(&w.text);
            match HttpVersion::ALL.into_iter().find(same) {
                Some(v) => version = v,
                None => self.invalid(n, w, "1.0, 1.0C or 1.1", LINE),
            }
        }
        let sni = self.flag(walked, "enable_sni");
        if let Some(n) = self.last(walked, "enable_sni").filter(|_| !tls && sni) {
            self.no_handshake(n);
        }
        let trust = self.trust(walked, tls);
        let fast_recovery = self.flag(walked, "fast_recovery");
        let mut urls = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "url") {
            urls.extend(self.url(n, host.as_deref()));
        }
        if urls.is_empty() {
            let message = format!("`{}` has no `url` to ask for", node.keyword());
            self.push(
                Diagnostic::new(Code::Incomplete, Severity::Error, message)
                    .at(node.whole(), "there is nothing to ask for")
                    .help("add `url { path / }`")
                    .help("keepalived would leave the check out: the server would always be up"),
            );
            return None;
        }
        Some(Http {
            tls,
            sni: sni && tls,
            trust,
            version,
            fast_recovery,
            urls,
        })
    }

    /// A `url`; none when keepalived ignores it.
    fn url(&mut self, node: &Node, host: Option<&str>) -> Option<Url> {
        let walked = self.walk(node.children(), Block::Url);
        let host = self.virtualhost(&walked, host);
        let status = self.status_codes(&walked);
        let digest = self.last(&walked, "digest").and_then(|n| {
            let w = n.args().first()?;
            let digest = w.text.parse();
            digest.map_err(|want| self.invalid(n, w, want, LINE)).ok()
        });
        let regex = self.regex(&walked);
        let Some(n) = self.last(&walked, "path") else {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    "this `url` has no `path`",
                )
                .at(node.whole(), "keepalived would not ask for it"),
            );
            return None;
        };
        let w = n.args().first()?;
        let path = self.request_word(n, w)?;
        Some(Url {
            path,
            host,
            status,
            digest,
            regex,
        })
    }

    /// All that `status_code` lines list together.
    fn status_codes(&mut self, walked: &Walked<'_>) -> StatusCodes {
        let mut ranges = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "status_code") {
            for w in n.args() {
                let (from, to) = w.text.split_once('-').unwrap_or((&w.text, &w.text));
                let code = |text: &str| {
                    let digits = text.bytes().all(|b| b.is_ascii_digit());
                    let code = text.parse::<u16>().ok().filter(|_| digits)?;
                    (StatusCodes::MIN..=StatusCodes::MAX)
                        .contains(&code)
                        .then_some(code)
                };
                match (code(from), code(to)) {
                    (Some(from), Some(to)) if from <= to => ranges.push((from, to)),
                    _ => self.invalid(
                        n,
                        w,
                        "status codes from 100 to 599 or ranges such as 200-299",
                        "keepalived ignores this one",
                    ),
                }
            }
        }
        match ranges.is_empty() {
            true => StatusCodes::default(),
            false => StatusCodes::from(ranges),
        }
    }

    /// `regex` and the words that go with it.
    fn regex(&mut self, walked: &Walked<'_>) -> Option<HttpRegex> {
        let others = [
            "regex_no_match",
            "regex_options",
            "regex_min_offset",
            "regex_max_offset",
        ];
        let Some(node) = self.last(walked, "regex") else {
            for (name, n) in walked.acted.iter().filter(|(k, _)| others.contains(k)) {
                let message = format!("`{name}` has no effect without `regex`");
                self.push(
                    Diagnostic::new(Code::NoEffect, Severity::Warning, message)
                        .at(n.whole(), "ignored, as by keepalived"),
                );
            }
            return None;
        };
        let w = node.args().first()?;
        let mut text = HttpRegexText {
            text: w.text.clone(),
            no_match: self.last(walked, "regex_no_match").is_some(),
            ..HttpRegexText::default()
        };
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "regex_options") {
            for w in n.args() {
                self.regex_option(n, w, &mut text.options);
            }
        }
        text.options.sort_unstable();
        text.options.dedup();
        let mut offset = |name: &str| {
            let n = self.last(walked, name)?;
            let w = n.args().first()?;
            let at = self.strict_number(n, w, 0, u64::from(u32::MAX), LINE)?;
            Some((n, at))
        };
        let (min, max) = (offset("regex_min_offset"), offset("regex_max_offset"));
        match (min, max) {
            (Some((n, min)), Some((_, max))) if min > max => self.adjusted(
                n,
                format!("`regex_min_offset` {min} is above `regex_max_offset` {max}"),
                "neither counts, as in keepalived",
            ),
            (min, max) => {
                text.min_offset = min.map_or(0, |(_, at)| at);
                text.max_offset = max.map(|(_, at)| at);
            }
        }
        let compiled = match &w.raw {
            Some(_) => Err("it is not UTF-8".to_owned()),
            None => HttpRegex::new(text),
        };
        match compiled {
            Ok(regex) => Some(regex),
            Err(why) => {
                self.push(
                    Diagnostic::new(Code::InvalidValue, Severity::Error, "this regex cannot be had")
                        .at(w.span, why)
                        .help("look-around, references back and possessive quantifiers are not supported: matching takes linear time")
                        .help("in keepalived.conf a `\\` in a pattern is written twice"),
                );
                None
            }
        }
    }

    fn regex_option(&mut self, n: &Node, w: &Word, options: &mut Vec<RegexOption>) {
        let name = w.text.as_str();
        if let Some(option) = RegexOption::ALL.into_iter().find(|o| o.name() == name) {
            options.push(option);
        } else if NOT_BUILT.contains(&name) {
            let message = format!("`regex_options {name}` is not supported");
            self.push(
                Diagnostic::new(Code::InvalidValue, Severity::Error, message)
                    .at(w.span, "it would change what matches"),
            );
        } else if !NO_MATTER.contains(&name) {
            self.invalid(n, w, "options of PCRE", "keepalived ignores this one");
        }
    }
}

#[cfg(test)]
mod tests;
