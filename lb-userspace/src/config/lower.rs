//! Tree to model: defaults, ranges, inheritance, and what keepalived 2.2.7 makes of odd values.

mod address;
mod bfd;
mod checks;
mod dr_path;
mod election;
mod family;
mod garp;
mod global;
mod groups;
mod http;
mod instance;
mod mail;
mod parts;
mod probes;
mod process;
mod routing;
mod scripts;
mod server;
mod service;
mod ssl;
mod static_group;
mod strict;
mod suggest;
mod track;
mod transport;
mod values;
mod vmac;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use super::diag::{Code, Diagnostic, Severity};
use super::keywords::{self, Block, Body, Keyword, Status};
use super::source::Span;
use super::tree::{Node, Word};
use crate::model::{Model, ServiceKey, Trust, User};

pub(crate) use suggest::did_you_mean;
pub(crate) use values::seconds;

/// How the tree is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// What is not built yet is left out instead of refused.
    pub(crate) skip_unsupported: bool,
    /// The file is TOML: nothing old needs to be tolerated, so a value that keepalived would replace
    /// is an error.
    pub(crate) toml: bool,
}

/// What lowering gives.
pub(crate) struct Lowered {
    pub(crate) model: Model,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) left_out: Vec<String>,
    pub(crate) places: Places,
}

/// Where files and CPUs of the host are named.
#[derive(Default)]
pub(crate) struct Places {
    /// Commands.
    pub(crate) scripts: HashMap<Vec<String>, Span>,
    /// `SSL`.
    pub(crate) ssl: Option<Span>,
    /// CPUs, with the keyword.
    pub(crate) cpus: Vec<(u16, &'static str, Span)>,
}

/// The state of lowering.
pub(crate) struct Lower {
    rules: Rules,
    out: Vec<Diagnostic>,
    left_out: Vec<String>,
    places: Places,
    /// `script_user`, for scripts without a user of their own.
    script_user: Option<User>,
    /// What lines of `track_script` and the like inherit, by their keyword and name.
    weights: HashMap<(&'static str, String), track::Weight>,
    /// The lines of `track_service`.
    service_tracks: Vec<(ServiceKey, Span)>,
    suggestions: HashMap<(Block, String), Vec<String>>,
    /// `checker_log_all_failures`.
    log_all_failures: bool,
    /// `verify_certificate` of `global_defs`, and the files of `SSL`, for checks by TLS.
    trust: Trust,
    /// What has mails sent that does not say otherwise.
    alerts: mail::Alerts,
    /// `check_dr_path` of `global_defs`.
    check_dr_path: bool,
    /// `track_group`, while static entries are read, which alone can be in one.
    static_groups: Option<BTreeSet<String>>,
}

/// The statements of a block that have an effect, under their present names, and what stands in the
/// way of acting on the block.
#[derive(Default)]
pub(crate) struct Walked<'n> {
    acted: Vec<(&'static str, &'n Node)>,
    unsupported: Vec<Diagnostic>,
}

/// Lowers a tree.
pub(crate) fn lower(nodes: &[Node], rules: Rules) -> Lowered {
    let mut l = Lower {
        rules,
        out: Vec::new(),
        left_out: Vec::new(),
        places: Places::default(),
        script_user: None,
        weights: HashMap::new(),
        service_tracks: Vec::new(),
        suggestions: HashMap::new(),
        log_all_failures: false,
        trust: Trust::default(),
        alerts: mail::Alerts::default(),
        check_dr_path: false,
        static_groups: None,
    };
    let model = l.top(nodes);
    Lowered {
        model,
        diagnostics: l.out,
        left_out: l.left_out,
        places: l.places,
    }
}

/// Whether what is ignored is a check, or what an instance follows; `meant`: its keyword, and what is
/// said of the one that it may be.
fn watches(n: &Node, block: Block, meant: &[String]) -> bool {
    let blocks = Block::RealServer.keywords().iter();
    let mut checks = blocks.filter(|k| matches!(k.body, Body::Block(_)));
    let is_block = n.block.is_some();
    is_block && (block == Block::RealServer || meant.iter().any(|m| m.contains("track_")))
        || checks.any(|check| meant.iter().any(|m| m.contains(check.name)))
}

/// Refuses what would run without a check that was asked for.
fn unwatched(mut d: Diagnostic) -> Diagnostic {
    d.severity = Severity::Error;
    d.help("keepalived would leave it out: what it watches would always count as good")
}

impl Lower {
    fn top(&mut self, nodes: &[Node]) -> Model {
        let walked = self.walk(nodes, Block::Top);
        self.out.extend(walked.unsupported);
        let mut defaults = global::Defaults::default();
        let mut global = crate::model::Global::default();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "global_defs") {
            self.global(n, &mut global, &mut defaults);
        }
        self.garp_groups(&walked.acted, &mut global);
        self.link_delays(&walked.acted, &mut global);
        let mut model = Model {
            global,
            ..Model::default()
        };
        self.vrrp_scripts(&walked.acted, &mut model);
        self.track_files(&walked.acted, &mut model);
        self.track_processes(&walked.acted, &mut model);
        self.bfd_instances(&walked.acted, &mut model);
        self.instances(&walked.acted, &defaults, &mut model);
        self.check_link_delays(&walked.acted, &model);
        self.sync_groups(&walked.acted, &mut model);
        self.ssl(&walked.acted);
        self.static_groups(&walked.acted, &mut model);
        model.statics = self.statics(&walked.acted, defaults.interface.as_deref());
        self.services(&walked.acted, &mut model);
        self.tracked_services(&mut model);
        model
    }

    fn push(&mut self, d: Diagnostic) {
        self.out.push(d);
    }

    /// A value that keepalived replaces by another: a warning, or an error in TOML.
    fn replaced(&self) -> Severity {
        if self.rules.toml {
            Severity::Error
        } else {
            Severity::Warning
        }
    }

    /// Sorts the statements of a block, and names everything in it that has no effect.
    fn walk<'n>(&mut self, nodes: &'n [Node], block: Block) -> Walked<'n> {
        let mut walked = Walked::default();
        for n in nodes {
            let Some(word) = n.words.first() else {
                continue;
            };
            let Some(keyword) = keywords::find(block, &word.text) else {
                self.unknown(n, word, block);
                continue;
            };
            if !self.shape(n, keyword, block) {
                continue;
            }
            match keyword.status {
                Status::Acted | Status::Own => walked.acted.push((keyword.name, n)),
                Status::NoEffect => self.push(
                    Diagnostic::new(
                        Code::NoEffect,
                        Severity::Warning,
                        format!("`{}` has no effect here yet", keyword.name),
                    )
                    .at(n.whole(), keyword.help),
                ),
                Status::NotNeeded => self.push(
                    Diagnostic::new(
                        Code::NoEffect,
                        Severity::Note,
                        format!("`{}` has no meaning here", keyword.name),
                    )
                    .at(n.whole(), keyword.help),
                ),
                Status::Unsupported => walked.unsupported.push(self.unsupported(n, keyword)),
                Status::Old(now) => {
                    self.push(
                        Diagnostic::new(
                            Code::OldSpelling,
                            Severity::Note,
                            format!("`{}` is the old spelling of `{now}`", keyword.name),
                        )
                        .at(word.span, "it is taken in its old meaning")
                        .help(format!("write `{now}`")),
                    );
                    walked.acted.push((now, n));
                }
                Status::Removed(why) => self.push(
                    Diagnostic::new(
                        Code::OldSpelling,
                        Severity::Note,
                        format!("`{}` has no effect any more", keyword.name),
                    )
                    .at(n.whole(), keyword.help)
                    .help(why),
                ),
            }
        }
        walked
    }

    fn unsupported(&self, n: &Node, keyword: &Keyword) -> Diagnostic {
        Diagnostic::new(
            Code::Unsupported,
            Severity::Error,
            format!("`{}` is not supported yet", keyword.name),
        )
        .at(n.whole(), keyword.help)
    }

    /// Number of parameters, and a block where one belongs. False: the statement is to be left out.
    fn shape(&mut self, n: &Node, keyword: &Keyword, block: Block) -> bool {
        let args = n.args().len();
        if args < keyword.min {
            let d = Diagnostic::new(
                Code::MissingParameter,
                Severity::Error,
                format!("`{}` needs {}", keyword.name, keyword.args),
            )
            .at(n.whole(), "a parameter is missing")
            .help(format!("{}: {}", keyword.name, keyword.help));
            self.push(d);
            return false;
        }
        match (keyword.body, &n.block) {
            (Body::None, Some(b)) => {
                self.push(
                    Diagnostic::new(
                        Code::BlockMismatch,
                        Severity::Warning,
                        format!("`{}` takes no block", keyword.name),
                    )
                    .at(b.open, "what stands in this block is ignored"),
                );
            }
            (Body::Block(_) | Body::Lines, None) => {
                // What belongs inside, perhaps.
                let inside = n.args().get(keyword.max..).unwrap_or_default();
                let words: Vec<&str> = inside.iter().map(|w| w.text.as_str()).collect();
                let title = n.title();
                let head = title.strip_suffix(&words.join(" ")).unwrap_or(&title);
                let body = if words.is_empty() {
                    "...".to_owned()
                } else {
                    words.join(" ")
                };
                let d = Diagnostic::new(
                    Code::BlockMismatch,
                    Severity::Warning,
                    format!("`{}` is a block, but there is no `{{`", keyword.name),
                )
                .at(n.whole(), "ignored")
                .help(format!("write `{} {{ {body} }}`", head.trim_end()));
                let name = [keyword.name.to_owned()];
                let is_track = keyword.name.starts_with("track_");
                let watches = is_track || watches(n, block, &name);
                self.push(if watches { unwatched(d) } else { d });
                return false;
            }
            (Body::None, None) | (Body::Block(_) | Body::Lines, Some(_)) => {}
        }
        if args > keyword.max {
            let extra = &n.args()[keyword.max..];
            let span = extra[0].span.to(extra[extra.len() - 1].span);
            let mut d = Diagnostic::new(
                Code::ExtraParameter,
                Severity::Warning,
                format!(
                    "`{}` takes {}",
                    keyword.name,
                    if keyword.args.is_empty() {
                        "no parameter"
                    } else {
                        keyword.args
                    }
                ),
            )
            .at(span, "ignored");
            if let [w, ..] = extra
                && matches!(
                    w.text.as_str(),
                    "off" | "false" | "no" | "FALSE" | "OFF" | "NO" | "0"
                )
            {
                d = d.help(format!(
                    "`{}` is on by being there; to turn it off, remove the line",
                    keyword.name
                ));
            }
            self.push(d);
        }
        true
    }

    fn unknown(&mut self, n: &Node, word: &Word, block: Block) {
        let mut d = Diagnostic::new(Code::UnknownKeyword, Severity::Warning, String::new());
        if let Some((i, c, latin, meant)) = suggest::look_alike(&word.text, block) {
            let place = if word.quoted {
                word.span
            } else {
                sub(word.span, &word.text, i, c)
            };
            d.message = format!(
                "unknown keyword `{}`: it only looks like `{meant}`",
                word.text
            );
            d = d
                .at(
                    place,
                    format!("this is {}, not the Latin `{latin}`", suggest::letter(c)),
                )
                .help(format!("type `{meant}` again"));
            let watches = watches(n, block, &[meant.to_owned()]);
            self.push(if watches { unwatched(d) } else { d });
            return;
        }
        let elsewhere: Vec<Block> = keywords::blocks_of(&word.text).collect();
        let what = if n.block.is_some() {
            "this block is ignored"
        } else {
            "ignored"
        };
        let mut meant = vec![word.text.clone()];
        if elsewhere.is_empty() {
            d.message = format!("unknown keyword `{}` in {}", word.text, place_name(block));
            d = d.at(word.span, what);
            for s in self.suggest(block, &word.text) {
                meant.push(s.clone());
                d = d.help(s);
            }
        } else {
            d.code = Code::MisplacedKeyword;
            d.message = format!("`{}` does not belong in {}", word.text, place_name(block));
            d = d.at(word.span, what);
            let names: Vec<&str> = elsewhere.iter().map(|b| b.name()).collect();
            d = d.help(match names.as_slice() {
                [one] => format!("it belongs in {}", in_block(one)),
                many => format!("it belongs in one of {}", many.join(", ")),
            });
        }
        let watches = watches(n, block, &meant);
        self.push(if watches { unwatched(d) } else { d });
    }

    fn suggest(&mut self, block: Block, word: &str) -> Vec<String> {
        // Text that is no configuration at all must not cost a search for each of its words.
        if self.suggestions.len() > 64 && !self.suggestions.contains_key(&(block, word.to_owned()))
        {
            return Vec::new();
        }
        self.suggestions
            .entry((block, word.to_owned()))
            .or_insert_with(|| suggest::did_you_mean(word, block))
            .clone()
    }

    /// Takes in what is unsupported about one thing. True: it is to be left out.
    fn leave_out(&mut self, what: &str, found: Vec<Diagnostic>) -> bool {
        if found.is_empty() {
            return false;
        }
        for mut d in found {
            if self.rules.skip_unsupported {
                d.severity = Severity::Warning;
                d.help.push(format!("{what} is left out"));
            } else {
                d.help
                    .push("`--skip-unsupported` leaves it out and runs the rest".to_owned());
            }
            self.out.push(d);
        }
        self.left_out.push(what.to_owned());
        true
    }

    /// The blocks `keyword NAME { .. }` in order, each with its name. The second of a name is
    /// told and left out: keepalived ignores it where `ignored`, else it is an error.
    fn named<'n>(
        &mut self,
        top: &[(&'static str, &'n Node)],
        keyword: &str,
        ignored: bool,
    ) -> Vec<(&'n Word, &'n Node)> {
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut named = Vec::new();
        for (_, node) in top.iter().filter(|(k, _)| *k == keyword) {
            let Some(name) = node.args().first() else {
                continue;
            };
            match names.entry(&name.text) {
                Entry::Vacant(free) => {
                    free.insert(name.span);
                    named.push((name, *node));
                }
                Entry::Occupied(first) => {
                    let (severity, here, there) = match ignored {
                        true => (
                            self.replaced(),
                            "this one is ignored, as by keepalived",
                            "this one counts",
                        ),
                        false => (Severity::Error, "again here", "first here"),
                    };
                    let title = format!("`{keyword} {}` is defined twice", name.text);
                    self.push(
                        Diagnostic::new(Code::Duplicate, severity, title)
                            .at(name.span, here)
                            .also(*first.get(), there),
                    );
                }
            }
        }
        named
    }

    /// The last of several statements of the same name wins; the earlier are named.
    fn last<'n>(&mut self, walked: &Walked<'n>, name: &str) -> Option<&'n Node> {
        let mut found = walked
            .acted
            .iter()
            .filter(|(k, _)| *k == name)
            .map(|(_, n)| *n);
        let mut last = found.next()?;
        for n in found {
            self.push(
                Diagnostic::new(
                    Code::Duplicate,
                    Severity::Warning,
                    format!("`{name}` is set twice"),
                )
                .at(n.whole(), "this one counts")
                .also(last.whole(), "this one has no effect"),
            );
            last = n;
        }
        Some(last)
    }
}

fn place_name(block: Block) -> String {
    match block {
        Block::Top => "the top level".to_owned(),
        other => format!("`{}`", other.name()),
    }
}

fn in_block(name: &str) -> String {
    if name == Block::Top.name() {
        "the top level, outside of any block".to_owned()
    } else {
        format!("a `{name}` block")
    }
}

/// The place of the character at byte `i` of a word that was written without quotes.
fn sub(span: Span, text: &str, i: usize, c: char) -> Span {
    let written = (span.end - span.start) as usize == text.len();
    if !written {
        return span;
    }
    let start = span.start + u32::try_from(i).unwrap_or(0);
    Span {
        start,
        end: start + u32::try_from(c.len_utf8()).unwrap_or(1),
        ..span
    }
}
