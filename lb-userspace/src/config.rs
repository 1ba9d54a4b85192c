//! Configuration files: keepalived.conf and TOML, both into the one [`Model`], with everything that is
//! wrong or has no effect named by file, line and column.
//!
//! Text goes through a reader that works on lines (`include`, `@id`, `$NAME`, `~SEQ`), a tree of
//! statements, the table of keywords, and lowering, which fills in defaults and inheritance. Files are
//! reached through [`FileSource`] only.

mod agree;
mod codes;
mod command;
mod diag;
pub mod keywords;
mod lexer;
mod lower;
mod reader;
mod source;
mod toml_file;
mod tree;
mod unfit;
mod write;

use std::collections::BTreeMap;

pub use agree::{Compared, compare};
pub use diag::{
    Code, Diagnostic, JsonDiagnostic, JsonPlace, JsonRelated, Label, Severity, render, to_json,
};
pub use source::{Position, Source, SourceId, Sources, Span};
pub(crate) use write::words;
pub use write::{to_keepalived, to_toml};

use crate::model::{Model, Script, Trust};

/// What a word that is no keyword was perhaps meant to be, for people.
#[must_use]
pub fn did_you_mean(word: &str) -> Vec<String> {
    lower::did_you_mean(word, keywords::Block::Top)
}

/// How files are reached.
pub trait FileSource {
    /// The contents of a file.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// The files that a pattern (`glob(3)` with braces) matches, sorted.
    ///
    /// # Errors
    /// Why the pattern is no pattern, for people.
    fn glob(&self, pattern: &str) -> Result<Vec<String>, String>;

    /// The host's name; its first part is the config id unless one is given.
    fn hostname(&self) -> String;

    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;

    /// The directory that relative names start from.
    fn current_dir(&self) -> String;

    /// A uniform 64-bit number, for `${_RANDOM}`.
    fn random(&self) -> u64;

    /// What is wrong with a script on this host; `security` is `enable_script_security`.
    fn unfit(&self, script: &Script, security: bool) -> Option<Unfit>;

    /// Why the files of checks by TLS cannot be used on this host, for people.
    fn unfit_tls(&self, trust: &Trust) -> Option<String>;

    /// Whether this host has a CPU of that number, counted from 0.
    fn has_cpu(&self, cpu: u16) -> bool;
}

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It cannot be run: why.
    NotRun(String),
    /// It runs as root, and others may write this part of the way to it.
    Writable(String),
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    /// Contents by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The host's name.
    pub host: String,
}

impl MemoryFiles {
    /// One file.
    #[must_use]
    pub fn one(path: &str, text: &str) -> Self {
        MemoryFiles {
            files: BTreeMap::from([(path.to_owned(), text.as_bytes().to_vec())]),
            host: "host".to_owned(),
        }
    }
}

impl FileSource for MemoryFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| "no such file".to_owned())
    }

    /// Knows `*` in the last part of the path.
    fn glob(&self, pattern: &str) -> Result<Vec<String>, String> {
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(self
                .files
                .keys()
                .filter(|k| *k == pattern)
                .cloned()
                .collect());
        };
        Ok(self
            .files
            .keys()
            .filter(|k| {
                k.strip_prefix(before)
                    .and_then(|r| r.strip_suffix(after))
                    .is_some_and(|m| !m.contains('/'))
            })
            .cloned()
            .collect())
    }

    fn hostname(&self) -> String {
        self.host.clone()
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn current_dir(&self) -> String {
        "/".to_owned()
    }

    fn random(&self) -> u64 {
        4
    }

    /// A script is one of the files.
    fn unfit(&self, script: &Script, _security: bool) -> Option<Unfit> {
        let there = script
            .command
            .first()
            .is_some_and(|p| self.files.contains_key(p));
        (!there).then(|| Unfit::NotRun("no such file".to_owned()))
    }

    fn unfit_tls(&self, _trust: &Trust) -> Option<String> {
        None
    }

    /// There are four.
    fn has_cpu(&self, cpu: u16) -> bool {
        cpu < 4
    }
}

/// How a configuration is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The id that `@id` lines are compared with; by default the host's name up to the first dot.
    pub config_id: Option<String>,
    /// Services and instances of a kind that is not built yet are left out with a warning; otherwise
    /// they are errors.
    pub skip_unsupported: bool,
    /// Whether the scripts, other files and CPUs that it names are looked at: it is for this host, and this
    /// process may do what lbd may.
    pub look: bool,
}

/// What reading a configuration gives.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; `None` when there are errors.
    pub model: Option<Model>,
    /// Everything there is to say, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// What is not in the model because it is not built yet, by its title.
    pub left_out: Vec<String>,
    /// The files that were read.
    pub sources: Sources,
}

impl Loaded {
    /// How many diagnostics there are of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|d| d.severity == severity)
            .count()
    }

    /// All diagnostics as rustc prints them.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render(&self.diagnostics, &self.sources, color)
    }
}

/// Reads a configuration: TOML if the name ends in `.toml` or the text starts with a table, and
/// keepalived.conf otherwise.
#[must_use]
pub fn load(path: &str, files: &dyn FileSource, options: &Options) -> Loaded {
    load_with_tree(path, files, options).0
}

/// As [`load`], with the statements that were read.
fn load_with_tree(
    path: &str,
    files: &dyn FileSource,
    options: &Options,
) -> (Loaded, Vec<tree::Node>) {
    if path.ends_with(".toml") || starts_with_a_table(path, files) {
        return load_toml(path, files, options);
    }
    let read = reader::read(path, files, options.config_id.as_deref());
    let mut diagnostics = read.diagnostics;
    diagnostics.extend(says_nothing(path, &read.nodes, &diagnostics));
    let mut left_out = Vec::new();
    let mut model = None;
    let template = diagnostics.iter().any(|d| d.code == Code::Placeholder);
    if template {
        // Nothing else that could be said about a template is worth saying.
        diagnostics.retain(|d| d.code == Code::Placeholder);
    } else {
        let rules = lower::Rules {
            skip_unsupported: options.skip_unsupported,
            toml: false,
        };
        let lowered = lower::lower(&read.nodes, rules);
        diagnostics.extend(unfit::all(&lowered, files, options));
        diagnostics.extend(lowered.diagnostics);
        left_out = lowered.left_out;
        model = Some(lowered.model);
        if read.broken {
            // A brace is missing somewhere: what would be said about the rest may be wrong.
            diagnostics.retain(|d| d.severity == Severity::Error);
        }
    }
    let loaded = finish(model, diagnostics, left_out, read.sources);
    (loaded, read.nodes)
}

/// No line of keepalived.conf starts with `[`.
fn starts_with_a_table(path: &str, files: &dyn FileSource) -> bool {
    let Ok(bytes) = files.read(path) else {
        return false;
    };
    bytes
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|l| !l.is_empty() && !l.starts_with(b"#"))
        .is_some_and(|l| l.starts_with(b"["))
}

fn load_toml(path: &str, files: &dyn FileSource, options: &Options) -> (Loaded, Vec<tree::Node>) {
    let mut sources = Sources::default();
    let text = match files.read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            return (unreadable(path, "it is not UTF-8", sources), Vec::new());
        }
        Err(e) => return (unreadable(path, &e, sources), Vec::new()),
    };
    let id = sources.add(path, text);
    let (nodes, mut diagnostics) =
        toml_file::parse(sources.get(id).map_or("", |s| s.text.as_str()), id);
    let rules = lower::Rules {
        skip_unsupported: options.skip_unsupported,
        toml: true,
    };
    let lowered = lower::lower(&nodes, rules);
    diagnostics.extend(unfit::all(&lowered, files, options));
    diagnostics.extend(lowered.diagnostics);
    diagnostics.extend(says_nothing(path, &nodes, &diagnostics));
    let loaded = finish(Some(lowered.model), diagnostics, lowered.left_out, sources);
    (loaded, nodes)
}

/// A file without a statement: empty, cut off, or all of it for another `@id`.
fn says_nothing(path: &str, nodes: &[tree::Node], said: &[Diagnostic]) -> Option<Diagnostic> {
    let message = || format!("`{path}` says nothing: no address and no service comes of it");
    let warning = || {
        Diagnostic::new(Code::Incomplete, Severity::Warning, message())
            .at(Span::default(), "no statement follows")
    };
    (nodes.is_empty() && said.is_empty()).then(warning)
}

fn unreadable(path: &str, why: &str, sources: Sources) -> Loaded {
    let d = Diagnostic::new(
        Code::CannotRead,
        Severity::Error,
        format!("cannot read `{path}`: {why}"),
    );
    finish(None, vec![d], Vec::new(), sources)
}

fn finish(
    model: Option<Model>,
    mut diagnostics: Vec<Diagnostic>,
    left_out: Vec<String>,
    sources: Sources,
) -> Loaded {
    diagnostics.sort_by_key(|d| d.primary.as_ref().map(|l| (l.span.source, l.span.start)));
    let refused = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Loaded {
        model: model.filter(|_| !refused),
        diagnostics,
        left_out,
        sources,
    }
}
