//! `vrrp_script`, `track_file`, and who follows them.

use std::time::Duration;

use super::checks::Above;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::{
    Check, CheckKind, FileCheck, InitFile, Model, Protocol, Script, ServiceKey, ServiceTrack,
    Track, TrackFile, Tracks, User, VrrpScript,
};

/// A weight is at most this, either way.
pub(super) const MAX_WEIGHT: i32 = 253;
/// The shortest interval and timeout of a script; keepalived counts in whole seconds.
const SHORTEST: Duration = Duration::from_millis(10);
/// keepalived's timers end here.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64 / 1_000_000);

/// A file's value is multiplied by at most this; a product of -254 is a fault.
pub(super) const MAX_PRODUCT: i32 = 254;

/// What lines of `track_script` and the like inherit.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) value: i32,
    pub(super) reverse: bool,
}

impl Weight {
    /// What a file or a process has that says nothing.
    pub(super) const ONE: Self = Self {
        value: 1,
        reverse: false,
    };

    fn is_plain(self) -> bool {
        self.value == 0 && !self.reverse
    }
}

impl Lower {
    /// All `vrrp_script`; instances and groups refer to them.
    pub(super) fn vrrp_scripts(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        for (name, n) in self.named(top, "vrrp_script", false) {
            let (script, weight) = self.vrrp_script(n, &name.text);
            // Also one that is wrong is known: who tracks it is not told that it is missing.
            self.weights
                .insert(("track_script", name.text.clone()), weight);
            model.vrrp_scripts.extend(script);
        }
    }

    fn vrrp_script(&mut self, node: &Node, name: &str) -> (Option<VrrpScript>, Weight) {
        let walked = self.walk(node.children(), Block::Script);
        let weight = self.block_weight(&walked, Weight::default(), MAX_WEIGHT);
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

    /// The `weight` of the block of what is tracked; `most`: see [`Self::weight`].
    pub(super) fn block_weight(&mut self, walked: &Walked<'_>, none: Weight, most: i32) -> Weight {
        match self.last(walked, "weight") {
            Some(n) => self.weight(n, n.args(), none, most),
            None => none,
        }
    }

    /// `N [reverse|noreverse]`; `most`: what it is at most, either way.
    pub(super) fn weight(
        &mut self,
        n: &Node,
        words: &[Word],
        default: Weight,
        most: i32,
    ) -> Weight {
        let mut weight = default;
        if let Some(w) = words.first() {
            match w.text.parse::<i32>() {
                Ok(v) if v.unsigned_abs() <= most.unsigned_abs() => weight.value = v,
                Ok(v) if most == MAX_WEIGHT && v.abs() == MAX_WEIGHT + 1 => {
                    weight.value = v.signum() * MAX_WEIGHT;
                    let label = format!("{} is taken, as by keepalived", weight.value);
                    self.adjusted(n, format!("a weight of {v} is too large"), &label);
                }
                Ok(_) => self.push(
                    Diagnostic::new(
                        Code::OutOfRange,
                        Severity::Error,
                        format!("a weight of {} is out of range", w.text),
                    )
                    .at(w.span, format!("must be -{most} to {most}"))
                    .help("keepalived would ignore it, and take what is set elsewhere"),
                ),
                Err(_) => {
                    let want = format!("a weight from -{most} to {most}");
                    self.invalid(n, w, &want, "");
                }
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
        if let Some(extra) = words.get(2) {
            self.invalid_word(extra, "known here", "ignored; write one a line");
        }
        weight
    }

    /// What an instance or a group follows; `own`: the instance's interface.
    pub(super) fn tracks(&mut self, walked: &Walked<'_>, own: Option<&str>) -> Tracks {
        Tracks {
            interfaces: self.track_lines(walked, "track_interface", own),
            scripts: self.track_lines(walked, "track_script", None),
            files: self.track_lines(walked, "track_file", None),
            processes: self.track_lines(walked, "track_process", None),
            bfds: self.track_lines(walked, "track_bfd", None),
            services: self.track_services(walked),
            // Of `track_group`, which names the instances.
            statics: Vec::new(),
        }
    }

    /// The weight at the end of a line.
    fn line_weight(&mut self, line: &Node, rest: &[Word], default: Weight, most: i32) -> Weight {
        match rest {
            [] => default,
            [word] if word.text == "weight" => {
                self.invalid_word(word, "of use without a number", "ignored");
                default
            }
            [word, rest @ ..] if word.text == "weight" => self.weight(line, rest, default, most),
            [word, ..] => {
                self.invalid_word(word, "`weight`", "ignored; write one a line");
                default
            }
        }
    }

    /// The lines `NAME [weight N [reverse]]` of one keyword.
    fn track_lines(
        &mut self,
        walked: &Walked<'_>,
        keyword: &'static str,
        own: Option<&str>,
    ) -> Vec<Track> {
        let (kind, most) = match keyword {
            "track_script" => (Some("vrrp_script"), MAX_WEIGHT),
            "track_file" => (Some("track_file"), MAX_PRODUCT),
            "track_process" => (Some("vrrp_track_process"), MAX_PRODUCT),
            "track_bfd" => (Some("bfd_instance"), MAX_WEIGHT),
            _ => (None, MAX_WEIGHT),
        };
        let mut out: Vec<Track> = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == keyword) {
            for line in n.children() {
                let Some((name, rest)) = line.words.split_first() else {
                    continue;
                };
                let known = self.weights.get(&(keyword, name.text.clone()));
                let default = match (known.copied(), kind) {
                    (Some(weight), _) => weight,
                    (None, None) => Weight::default(),
                    (None, Some("bfd_instance")) => {
                        let d = self.no_session(name, "BFD_CHECK", "vrrp");
                        self.push(d.help("keepalived runs without it"));
                        continue;
                    }
                    (None, Some(kind)) => {
                        self.push(
                            Diagnostic::new(
                                Code::UnknownName,
                                Severity::Error,
                                format!("there is no `{kind} {}`", name.text),
                            )
                            .at(name.span, "nothing to track")
                            .help("keepalived runs without it, as if it were always good"),
                        );
                        continue;
                    }
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
                let weight = self.line_weight(line, rest, default, most);
                if own == Some(name.text.as_str()) && weight.is_plain() {
                    self.push(
                        Diagnostic::new(
                            Code::Duplicate,
                            Severity::Note,
                            format!("`{}` is tracked already", name.text),
                        )
                        .at(name.span, "this line changes nothing"),
                    );
                    continue;
                }
                out.push(Track {
                    name: name.text.clone(),
                    // More than that makes no difference to any value.
                    weight: weight.value.clamp(-MAX_PRODUCT, MAX_PRODUCT) as i16,
                    reverse: weight.reverse,
                });
            }
        }
        out
    }

    /// The lines `IP PORT [PROTOCOL] [weight N [reverse]]` of `track_service`.
    fn track_services(&mut self, walked: &Walked<'_>) -> Vec<ServiceTrack> {
        let mut out: Vec<ServiceTrack> = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "track_service") {
            for line in n.children() {
                let [addr, port, rest @ ..] = line.words.as_slice() else {
                    self.push(
                        Diagnostic::new(
                            Code::MissingParameter,
                            Severity::Error,
                            "a service is named by its address and port",
                        )
                        .at(line.whole(), "as in `10.0.0.1 80 tcp`"),
                    );
                    continue;
                };
                let Some(addr) = self.ip(line, addr) else {
                    continue;
                };
                let Some(port) = self.strict_number(line, port, 0, 65535, "") else {
                    continue;
                };
                let named = rest.first().and_then(|w| match w.text.as_str() {
                    "tcp" | "TCP" => Some(Protocol::Tcp),
                    "udp" | "UDP" => Some(Protocol::Udp),
                    "sctp" | "SCTP" => Some(Protocol::Sctp),
                    _ => None,
                });
                let rest = if named.is_some() { &rest[1..] } else { rest };
                let weight = self.line_weight(line, rest, Weight::default(), MAX_PRODUCT);
                let key = ServiceKey {
                    addr,
                    port: port as u16,
                    protocol: named.unwrap_or(Protocol::Tcp),
                };
                if out.iter().any(|t| t.key == key) {
                    self.push(
                        Diagnostic::new(
                            Code::Duplicate,
                            Severity::Error,
                            format!("`{key}` is tracked already"),
                        )
                        .at(line.whole(), "again here"),
                    );
                    continue;
                }
                self.service_tracks.push((key, line.whole()));
                out.push(ServiceTrack {
                    key,
                    weight: weight.value as i16,
                    reverse: weight.reverse,
                });
            }
        }
        out
    }

    /// Services that are tracked must be there, and be checked wherever their address is.
    pub(super) fn tracked_services(&mut self, model: &mut Model) {
        for (key, at) in std::mem::take(&mut self.service_tracks) {
            let problem = match model.service_at(&key) {
                Some(s) if s.ha_suspend => Diagnostic::new(
                    Code::Conflict,
                    Severity::Error,
                    format!("`{key}` has `ha_suspend`, and its quorum is tracked"),
                )
                .at(at, "without its address this host checks no server of it")
                .help("remove `ha_suspend`, or do not track the service"),
                Some(_) => continue,
                None => {
                    let mut left_out = self.left_out.iter();
                    let severity = match left_out.any(|l| l.starts_with("virtual_server")) {
                        true => Severity::Warning,
                        false => Severity::Error,
                    };
                    Diagnostic::new(
                        Code::UnknownName,
                        severity,
                        format!("there is no service `{key}`"),
                    )
                    .at(at, "nothing to track")
                }
            };
            self.push(problem);
            let instances = model.instances.iter_mut().map(|i| &mut i.tracks);
            for tracks in instances.chain(model.sync_groups.iter_mut().map(|g| &mut g.tracks)) {
                tracks.services.retain(|t| t.key != key);
            }
        }
    }

    /// Leaves out what has a weight where weights mean nothing.
    pub(super) fn without_weights(&mut self, tracks: &mut Tracks, at: Span, why: &str) {
        let mut left = Vec::new();
        let Tracks {
            interfaces,
            scripts,
            files,
            processes,
            bfds,
            services,
            // They have none.
            statics: _,
        } = tracks;
        for list in [interfaces, scripts, files, processes, bfds] {
            list.retain(|t| {
                if t.weight != 0 {
                    left.push(t.name.clone());
                }
                t.weight == 0
            });
        }
        services.retain(|t| {
            if t.weight != 0 {
                left.push(t.key.to_string());
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

    /// All `track_file`; instances, groups and checks refer to them.
    pub(super) fn track_files(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        for (name, n) in self.named(top, "track_file", false) {
            let walked = self.walk(n.children(), Block::TrackFile);
            let weight = self.block_weight(&walked, Weight::ONE, i32::MAX);
            self.weights
                .insert(("track_file", name.text.clone()), weight);
            let path = self.last(&walked, "file").and_then(|n| n.args().first());
            let Some(path) = path.filter(|w| !w.text.is_empty()) else {
                self.push(
                    Diagnostic::new(
                        Code::Incomplete,
                        Severity::Error,
                        format!("`track_file {}` has no `file`", name.text),
                    )
                    .at(n.whole(), "there is nothing to read")
                    .help("add `file \"/path/to/it\"`"),
                );
                continue;
            };
            let init = self.last(&walked, "init_file").map(|n| self.init_file(n));
            model.track_files.push(TrackFile {
                name: name.text.clone(),
                path: path.text.clone(),
                init,
            });
        }
    }

    /// `[VALUE] [overwrite]`.
    fn init_file(&mut self, n: &Node) -> InitFile {
        let mut init = InitFile {
            value: 0,
            overwrite: false,
        };
        for w in n.args() {
            match (w.text.as_str(), w.text.parse::<i64>()) {
                ("overwrite", _) => init.overwrite = true,
                (_, Ok(value)) if TrackFile::VALUES.contains(&value) => init.value = value,
                (_, Ok(_) | Err(_)) => self.invalid(
                    n,
                    w,
                    "a value from -2147483648 to 2147483648, or `overwrite`",
                    "keepalived ignores it",
                ),
            }
        }
        init
    }

    /// A `FILE_CHECK`.
    pub(super) fn file_check(&mut self, node: &Node, above: &Above<'_>) -> Option<Check> {
        let walked = self.walk(node.children(), Block::FileCheck);
        let Some(n) = self.last(&walked, "track_file") else {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    "this check has no `track_file`",
                )
                .at(node.whole(), "there is nothing to read")
                .help("keepalived would leave the check out: the server would always be up"),
            );
            return None;
        };
        let name = n.args().first()?;
        let Some(default) = self
            .weights
            .get(&("track_file", name.text.clone()))
            .copied()
        else {
            self.push(
                Diagnostic::new(
                    Code::UnknownName,
                    Severity::Error,
                    format!("there is no `track_file {}`", name.text),
                )
                .at(name.span, "nothing to read")
                .help("keepalived would leave the check out: the server would always be up"),
            );
            return None;
        };
        let weight = match self.last(&walked, "weight") {
            Some(n) => self.weight(n, n.args(), default, i32::MAX),
            None => default,
        };
        let kind = CheckKind::File(FileCheck {
            file: name.text.clone(),
            weight: weight.value,
            reverse: weight.reverse,
        });
        Some(Check::new(kind, above.addr, 0))
    }
}

fn with_user(script: Script, user: Option<User>) -> Script {
    Script {
        user: user.or(script.user),
        ..script
    }
}
