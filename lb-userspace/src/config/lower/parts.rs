//! Parts of an instance: its password, its gratuitous ARPs, the interfaces that it tracks.

use std::time::Duration;

use super::global::Defaults;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::model::{Auth, VrrpVersion};

/// When and how many gratuitous ARPs are sent.
pub(super) struct Garp {
    pub(super) delay: Duration,
    pub(super) repeat: u32,
    pub(super) refresh: Duration,
    pub(super) refresh_repeat: u32,
    pub(super) lower_delay: Duration,
    pub(super) lower_repeat: u32,
}

impl Lower {
    pub(super) fn auth(&mut self, walked: &Walked<'_>, version: VrrpVersion) -> Auth {
        let Some(node) = self.last(walked, "authentication") else {
            return Auth::None;
        };
        let inner = self.walk(node.children(), Block::Authentication);
        let kind = self.last(&inner, "auth_type");
        let pass = self.last(&inner, "auth_pass");
        let mut known: Option<fn(Vec<u8>) -> Auth> = None;
        if let Some((n, w)) = kind.and_then(|n| n.args().first().map(|w| (n, w))) {
            match w.text.as_str() {
                "PASS" => known = Some(Auth::Pass),
                "AH" => known = Some(Auth::Ah),
                t if t.eq_ignore_ascii_case("PASS") => {
                    self.push(
                        Diagnostic::new(
                            Code::OldSpelling,
                            Severity::Note,
                            format!("`auth_type {t}` is taken as PASS"),
                        )
                        .at(
                            w.span,
                            "keepalived 2.2.7 knows only PASS, and would run without a password",
                        )
                        .help("write `PASS`"),
                    );
                    known = Some(Auth::Pass);
                }
                _ => self.invalid(
                    n,
                    w,
                    "PASS or AH",
                    "keepalived ignores this line: there is no authentication",
                ),
            }
        }
        if version == VrrpVersion::V3 {
            if known.is_some() {
                self.push(
                    Diagnostic::new(
                        Code::Conflict,
                        self.replaced(),
                        "version 3 has no authentication",
                    )
                    .at(
                        node.whole(),
                        "ignored, as by keepalived (RFC 5798, section 9)",
                    ),
                );
            }
            return Auth::None;
        }
        match (known, pass.and_then(|n| n.args().first().map(|w| (n, w)))) {
            (Some(auth), Some((n, w))) => {
                let mut bytes = w.raw.clone().unwrap_or_else(|| w.text.clone().into_bytes());
                if bytes.len() > 8 {
                    bytes.truncate(8);
                    self.push(
                        Diagnostic::new(
                            Code::Adjusted,
                            Severity::Note,
                            "only the first 8 bytes of `auth_pass` count",
                        )
                        .at(n.whole(), "longer than 8 bytes"),
                    );
                }
                auth(bytes)
            }
            (Some(_), None) => {
                self.push(
                    Diagnostic::new(
                        Code::Incomplete,
                        self.replaced(),
                        "`auth_type` without `auth_pass`",
                    )
                    .at(node.whole(), "there is no authentication, as in keepalived"),
                );
                Auth::None
            }
            (None, Some((n, _))) => {
                self.push(
                    Diagnostic::new(
                        Code::Incomplete,
                        self.replaced(),
                        "`auth_pass` without a valid `auth_type`",
                    )
                    .at(n.whole(), "there is no authentication, as in keepalived")
                    .help("add `auth_type PASS`"),
                );
                Auth::None
            }
            (None, None) => Auth::None,
        }
    }

    pub(super) fn garp(&mut self, walked: &Walked<'_>, d: &Defaults) -> Garp {
        let seconds = |l: &mut Self, name: &str| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.whole_seconds(n, w, "keepalived ignores this line")
        };
        let delay = seconds(self, "garp_master_delay").or(d.garp_delay);
        let refresh = seconds(self, "garp_master_refresh").or(d.refresh);
        let lower_delay = seconds(self, "garp_lower_prio_delay").or(d.lower_delay);
        let count = |l: &mut Self, name: &str, min: u32| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.repeat(n, w, min, "keepalived ignores this line")
        };
        let repeat = count(self, "garp_master_repeat", 1).or(d.garp_repeat);
        let refresh_repeat = count(self, "garp_master_refresh_repeat", 1).or(d.refresh_repeat);
        let lower_repeat = count(self, "garp_lower_prio_repeat", 0).or(d.lower_repeat);
        let (default_delay, default_repeat) = if d.min_garp { (0, 1) } else { (5, 5) };
        // After a lower advert it is the global setting that holds, not the instance's own.
        let global_delay = d.garp_delay.unwrap_or(Duration::from_secs(default_delay));
        let global_repeat = d.garp_repeat.unwrap_or(default_repeat);
        let delay = delay.unwrap_or(Duration::from_secs(default_delay));
        let repeat = repeat.unwrap_or(default_repeat);
        Garp {
            delay,
            repeat,
            refresh: refresh.unwrap_or_default(),
            refresh_repeat: refresh_repeat.unwrap_or(1),
            lower_delay: lower_delay.unwrap_or(global_delay),
            lower_repeat: lower_repeat.unwrap_or(global_repeat),
        }
    }
}
