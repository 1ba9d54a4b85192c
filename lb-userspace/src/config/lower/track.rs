//! `vrrp_script` and `track_script`.

use std::collections::HashMap;
use std::time::Duration;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::{Model, Script, Track, User, VrrpScript};

/// A weight is at most this, either way.
const MAX_WEIGHT: i32 = 253;
/// The shortest interval and timeout of a script; keepalived counts in whole seconds.
const SHORTEST: Duration = Duration::from_millis(10);
/// keepalived's timers end here.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64 / 1_000_000);

/// What a script's lines in `track_script` inherit.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    value: i16,
    reverse: bool,
}

impl Lower {
    /// All `vrrp_script`; instances and groups refer to them.
    pub(super) fn vrrp_scripts(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        for (_, n) in top.iter().filter(|(k, _)| *k == "vrrp_script") {
            let Some(name) = n.args().first() else {
                continue;
            };
            if let Some(first) = names.insert(&name.text, name.span) {
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        Severity::Error,
                        format!("`vrrp_script {}` is defined twice", name.text),
                    )
                    .at(name.span, "again here")
                    .also(first, "first here"),
                );
                continue;
            }
            let (script, weight) = self.vrrp_script(n, &name.text);
            // Also one that is wrong is known: who tracks it is not told that it is missing.
            self.weights.insert(name.text.clone(), weight);
            model.vrrp_scripts.extend(script);
        }
    }

    fn vrrp_script(&mut self, node: &Node, name: &str) -> (Option<VrrpScript>, Weight) {
        let walked = self.walk(node.children(), Block::Script);
        let weight = match self.last(&walked, "weight") {
            Some(n) => self.weight(n, n.args(), Weight::default()),
            None => Weight::default(),
        };
        let time = |l: &mut Self, name: &str| {
            let n = l.last(&walked, name)?;
            let w = n.args().first()?;
            l.timer(n, w, SHORTEST, LONGEST, "keepalived ignores this line")
        };
        let interval = time(self, "interval").unwrap_or(Duration::from_secs(1));
        let timeout = time(self, "timeout").unwrap_or(interval);
        let count = |l: &mut Self, name: &str| {
            let n = l.last(&walked, name)?;
            let w = n.args().first()?;
            let most = u64::from(i32::MAX.unsigned_abs());
            let instead = "keepalived ignores this line: 1 holds";
            l.strict_number(n, w, 1, most, instead).map(|v| v as u32)
        };
        let rise = count(self, "rise").unwrap_or(1);
        let fall = count(self, "fall").unwrap_or(1);
        let user = self.user(&walked, "user");
        let init_fail = walked.acted.iter().any(|(k, _)| *k == "init_fail");
        if !walked.acted.iter().any(|(k, _)| *k == "script") {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    format!("`vrrp_script {name}` has no `script`"),
                )
                .at(node.whole(), "there is nothing to run")
                .help("add `script \"/path/to/it\"`"),
            );
        }
        let script = self.script(&walked, "script").map(|s| VrrpScript {
            name: name.to_owned(),
            script: with_user(s, user),
            interval,
            timeout,
            rise,
            fall,
            init_fail,
        });
        (script, weight)
    }

    /// `N [reverse|noreverse]`.
    fn weight(&mut self, n: &Node, words: &[Word], default: Weight) -> Weight {
        let mut weight = default;
        if let Some(w) = words.first() {
            match w.text.parse::<i32>() {
                Ok(v) if v.abs() <= MAX_WEIGHT => weight.value = v as i16,
                Ok(v) if v.abs() == MAX_WEIGHT + 1 => {
                    weight.value = (v.signum() * MAX_WEIGHT) as i16;
                    let label = format!("{} is taken, as by keepalived", weight.value);
                    self.adjusted(n, format!("a weight of {v} is too large"), &label);
                }
                Ok(_) => self.push(
                    Diagnostic::new(
                        Code::OutOfRange,
                        Severity::Error,
                        format!("a weight of {} is out of range", w.text),
                    )
                    .at(w.span, "must be -253 to 253")
                    .help("keepalived would ignore it, and take what is set elsewhere or 0: FAULT"),
                ),
                Err(_) => self.invalid(n, w, "a weight from -253 to 253", ""),
            }
        }
        match words.get(1).map(|w| (w, w.text.as_str())) {
            Some((_, "reverse")) => weight.reverse = true,
            Some((_, "noreverse" | "no_reverse")) => weight.reverse = false,
            Some((w, _)) => {
                self.invalid_word(w, "reverse or noreverse", "ignored, as by keepalived")
            }
            None => {}
        }
        weight
    }

    /// `track_script` of an instance or a group.
    pub(super) fn track_scripts(&mut self, walked: &Walked<'_>) -> Vec<Track> {
        let mut out: Vec<Track> = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "track_script") {
            for line in n.children() {
                let Some((name, rest)) = line.words.split_first() else {
                    continue;
                };
                let Some(default) = self.weights.get(&name.text).copied() else {
                    self.push(
                        Diagnostic::new(
                            Code::UnknownName,
                            Severity::Error,
                            format!("there is no `vrrp_script {}`", name.text),
                        )
                        .at(name.span, "nothing to track")
                        .help("keepalived runs without it, as if it were always good"),
                    );
                    continue;
                };
                if out.iter().any(|t| t.name == name.text) {
                    self.push(
                        Diagnostic::new(
                            Code::Duplicate,
                            self.replaced(),
                            format!("`{}` is tracked already", name.text),
                        )
                        .at(name.span, "this line is ignored, as by keepalived"),
                    );
                    continue;
                }
                let weight = match rest {
                    [] => default,
                    [word, rest @ ..] if word.text == "weight" => {
                        if rest.is_empty() {
                            self.invalid_word(word, "of use without a number", "ignored");
                        }
                        if let Some(extra) = rest.get(2) {
                            self.invalid_word(
                                extra,
                                "known here",
                                "ignored; write one script a line",
                            );
                        }
                        self.weight(line, rest, default)
                    }
                    [word, ..] => {
                        self.invalid_word(word, "`weight`", "ignored; write one script a line");
                        default
                    }
                };
                out.push(Track {
                    name: name.text.clone(),
                    weight: weight.value,
                    reverse: weight.reverse,
                });
            }
        }
        out
    }

    /// Leaves out what has a weight where weights mean nothing.
    pub(super) fn without_weights(&mut self, tracks: &mut Vec<Track>, at: Span, why: &str) {
        let mut left = Vec::new();
        tracks.retain(|t| {
            if t.weight != 0 {
                left.push(t.name.clone());
            }
            t.weight == 0
        });
        for name in left {
            let d = Diagnostic::new(
                Code::Conflict,
                self.replaced(),
                format!("`{name}` is tracked with a weight {why}"),
            );
            self.push(d.at(at, "it is not tracked, as by keepalived"));
        }
    }
}

fn with_user(script: Script, user: Option<User>) -> Script {
    Script {
        user: user.or(script.user),
        ..script
    }
}
