//! Files to tree: `include`, `@id` conditions, `$NAME=` definitions, `~SEQ` and `~LST`.
//!
//! All of these work on lines of text before any word is looked at (keepalived.conf(5), "Advanced
//! configuration"), so this module works on lines too, and carries for every byte where it came from.

mod sequence;
mod syntax;

use std::collections::HashMap;

use super::FileSource;
use super::diag::{Code, Diagnostic, Severity};
use super::lexer;
use super::source::{Expansion, Line, SourceId, Sources, Span};
use super::tree::{Builder, Node};
use syntax::{continued, definition, reference};

/// Text that expansions may make, in bytes: enough for thousands of services.
const MAX_EXPANDED: usize = 4 << 20;
/// Lines that expansions may make.
const MAX_LINES: usize = 64_000;
/// Replacements in one line.
const MAX_REPLACEMENTS: usize = 1000;
/// Definitions that use definitions.
const MAX_DEPTH: usize = 32;
/// Files that may be read.
const MAX_FILES: usize = 1000;
/// Characters of a file that is read.
const MAX_FILE: usize = 16 << 20;

/// A `$NAME=` definition.
#[derive(Clone)]
struct Definition {
    /// One line, or several of a definition that was continued with `\`.
    lines: Vec<Line>,
    multiline: bool,
    span: Span,
}

/// What reading gives.
pub(crate) struct Read {
    pub(crate) nodes: Vec<Node>,
    pub(crate) sources: Sources,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Errors of structure were found.
    pub(crate) broken: bool,
}

/// Reads a file and all that it includes.
pub(crate) fn read(path: &str, files: &dyn FileSource, config_id: Option<&str>) -> Read {
    let config_id = config_id.map_or_else(
        || {
            files
                .hostname()
                .split('.')
                .next()
                .unwrap_or_default()
                .to_owned()
        },
        str::to_owned,
    );
    let mut r = Reader {
        files,
        config_id,
        sources: Sources::default(),
        out: Vec::new(),
        builder: Builder::default(),
        definitions: HashMap::new(),
        expansions: vec![Expansion {
            used: Span::default(),
            defined: Span::default(),
            outer: 0,
        }],
        open_files: Vec::new(),
        opened: 0,
        expanded: 0,
        lines: 0,
        stopped: false,
        placeholders: 0,
        pending: None,
    };
    r.file(path, None);
    let Reader {
        sources,
        mut out,
        builder,
        stopped,
        ..
    } = r;
    let known = out.len();
    let (nodes, broken) = builder.finish(&mut out);
    if stopped {
        // The rest of the file was not read, so what it would have closed is not known.
        out.truncate(known);
    }
    Read {
        nodes,
        sources,
        diagnostics: out,
        broken,
    }
}

struct Reader<'a> {
    files: &'a dyn FileSource,
    config_id: String,
    sources: Sources,
    out: Vec<Diagnostic>,
    builder: Builder,
    definitions: HashMap<String, Definition>,
    expansions: Vec<Expansion>,
    /// Names of the files being read, the outermost first.
    open_files: Vec<String>,
    opened: usize,
    expanded: usize,
    lines: usize,
    stopped: bool,
    placeholders: usize,
    /// A definition that goes on with the next line.
    pending: Option<(String, Definition)>,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, from: Option<Span>) {
        let at = |d: Diagnostic| match from {
            Some(s) => d.at(s, "included here"),
            None => d,
        };
        if self.open_files.iter().any(|f| f == path) {
            self.out.push(at(Diagnostic::new(
                Code::IncludeLoop,
                Severity::Error,
                format!("`{path}` includes itself"),
            )));
            return;
        }
        self.opened += 1;
        if self.opened > MAX_FILES {
            if self.opened == MAX_FILES + 1 {
                self.out.push(at(Diagnostic::new(
                    Code::IncludeLoop,
                    Severity::Error,
                    format!("more than {MAX_FILES} files are included"),
                )));
            }
            return;
        }
        let bytes = match self.files.read(path) {
            Ok(b) => b,
            Err(e) => {
                self.out.push(at(Diagnostic::new(
                    Code::CannotRead,
                    Severity::Error,
                    format!("cannot read `{path}`: {e}"),
                )));
                return;
            }
        };
        if bytes.len() > MAX_FILE {
            self.out.push(at(Diagnostic::new(
                Code::CannotRead,
                Severity::Error,
                format!("`{path}` is larger than {MAX_FILE} bytes"),
            )));
            return;
        }
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        let id = self.sources.add(path, text);
        self.open_files.push(path.to_owned());
        // The text is needed while `self` changes; files are small.
        let text = self
            .sources
            .get(id)
            .map(|s| s.text.clone())
            .unwrap_or_default();
        let mut start = 0;
        for raw in text.split_inclusive('\n') {
            if self.stopped {
                break;
            }
            let mut from = start;
            let mut line = raw.trim_end_matches(['\n', '\r']);
            start += raw.len();
            if from == 0 && line.starts_with('\u{feff}') {
                from += '\u{feff}'.len_utf8();
                line = &line['\u{feff}'.len_utf8()..];
            }
            self.physical(line, id, from);
        }
        if let Some((name, def)) = self.pending.take() {
            self.definitions.insert(name, def);
        }
        self.open_files.pop();
    }

    /// A line as it stands in a file.
    fn physical(&mut self, text: &str, id: SourceId, from: usize) {
        let text = &text[..lexer::comment_start(text)];
        let text = text.trim_end_matches(|c: char| c.is_ascii() && lexer::is_space(c as u8));
        let lead = text.bytes().take_while(|b| lexer::is_space(*b)).count();
        let text = &text[lead..];
        if let Some((name, mut def)) = self.pending.take() {
            // A blank line between continued ones is skipped, as in the manual's own example.
            if text.is_empty() {
                self.pending = Some((name, def));
                return;
            }
            let (body, goes_on) = continued(text);
            def.lines.push(Line::verbatim(
                body,
                Span::new(id, from + lead, from + lead + body.len()),
            ));
            if goes_on {
                self.pending = Some((name, def));
            } else {
                self.definitions.insert(name, def);
            }
            return;
        }
        if text.is_empty() {
            return;
        }
        let line = Line::verbatim(text, Span::new(id, from + lead, from + lead + text.len()));
        if let Some((a, b)) = lexer::placeholder(text) {
            self.placeholder(&line, a, b);
            return;
        }
        self.line(line, 0);
    }

    fn placeholder(&mut self, line: &Line, a: usize, b: usize) {
        self.placeholders += 1;
        self.builder.broken = true;
        if self.placeholders <= 20 {
            self.out.push(
                Diagnostic::new(Code::Placeholder, Severity::Error, format!("`{}` is a placeholder that was not filled in", &line.text[a..b]))
                    .at(line.place(a, b).0, "left by a template")
                    .help("this file is a template: run it through its template engine and use what comes out"),
            );
        }
    }

    /// Counts what expansions make; false when it is too much.
    fn spend(&mut self, bytes: usize, span: Span) -> bool {
        self.expanded = self.expanded.saturating_add(bytes);
        self.lines += 1;
        if self.expanded > MAX_EXPANDED || self.lines > MAX_LINES {
            if !self.stopped {
                self.stopped = true;
                self.builder.broken = true;
                self.out.push(
                    Diagnostic::new(Code::ExpansionTooLarge, Severity::Error, "definitions and sequences make too much text")
                        .at(span, "reading stops here")
                        .help(format!("at most {MAX_EXPANDED} bytes and {MAX_LINES} lines may come out of `$NAME`, `~SEQ` and `~LST`")),
                );
            }
            return false;
        }
        !self.stopped
    }

    /// A logical line, at any level of expansion: conditions, definitions, sequences, replacement.
    fn line(&mut self, mut line: Line, depth: usize) {
        for _ in 0..MAX_REPLACEMENTS {
            if self.stopped {
                return;
            }
            let lead = line
                .text
                .bytes()
                .take_while(|b| lexer::is_space(*b))
                .count();
            if lead > 0 {
                line = line.slice(lead, line.text.len());
            }
            match line.text.as_bytes().first() {
                None => return,
                Some(b'@') => match self.condition(&line) {
                    Some(rest) => {
                        line = rest;
                        continue;
                    }
                    None => return,
                },
                Some(b'$') => {
                    if let Some((name, value)) = definition(&line.text) {
                        self.define(name.to_owned(), &line, value);
                        return;
                    }
                }
                Some(b'~') if line.text.starts_with("~SEQ") || line.text.starts_with("~LST") => {
                    self.sequence(&line, depth);
                    return;
                }
                _ => {}
            }
            match self.replace(&line, depth) {
                Replaced::Nothing => {
                    self.statement(&line);
                    return;
                }
                Replaced::Line(l) => line = l,
                Replaced::Done => return,
            }
        }
        self.too_deep(&line);
    }

    fn too_deep(&mut self, line: &Line) {
        if !self.stopped {
            self.stopped = true;
            self.builder.broken = true;
            self.out.push(
                Diagnostic::new(
                    Code::ExpansionTooLarge,
                    Severity::Error,
                    "this definition never comes to an end",
                )
                .at(
                    line.place(0, line.text.len()).0,
                    "a definition that uses itself, or too many in one another",
                ),
            );
        }
    }

    /// The rest of an `@id` line whose condition holds.
    fn condition(&self, line: &Line) -> Option<Line> {
        let word = line
            .text
            .bytes()
            .position(lexer::is_space)
            .unwrap_or(line.text.len());
        let id = &line.text[1..word];
        let holds = match id.strip_prefix('^') {
            Some(id) => id != self.config_id,
            None => id == self.config_id,
        };
        holds.then(|| line.slice(word, line.text.len()))
    }

    fn define(&mut self, name: String, line: &Line, value: usize) {
        let (body, goes_on) = continued(&line.text[value..]);
        let first = line.slice(value, value + body.len());
        let span = line.place(0, line.text.len()).0;
        let lines = if goes_on && body.is_empty() {
            Vec::new()
        } else {
            vec![first]
        };
        let def = Definition {
            lines,
            multiline: goes_on,
            span,
        };
        if goes_on {
            self.pending = Some((name, def));
        } else {
            self.definitions.insert(name, def);
        }
    }

    /// Replaces the first `$NAME` or `${NAME}` that is defined.
    fn replace(&mut self, line: &Line, depth: usize) -> Replaced {
        let text = line.text.as_str();
        let mut i = 0;
        while let Some(n) = text[i..].find('$') {
            let at = i + n;
            let Some((name, params, end)) = reference(text, at) else {
                i = at + 1;
                continue;
            };
            let (span, outer) = line.place(at, end);
            if let Some(value) = self.predefined(name, params, span) {
                let with = Line::synthetic(&value, span, outer);
                return self.substitute(line, at, end, &with, 0, span);
            }
            let Some(def) = self.definitions.get(name).cloned() else {
                i = end;
                continue;
            };
            if depth > MAX_DEPTH {
                self.too_deep(line);
                return Replaced::Done;
            }
            if !def.multiline {
                let value = def.lines.first().map_or("", |l| l.text.as_str()).to_owned();
                // The value stands for `$NAME` where it is used; the definition is one step away.
                self.expansions.push(Expansion {
                    used: span,
                    defined: def.span,
                    outer,
                });
                let expansion = u32::try_from(self.expansions.len() - 1).unwrap_or(0);
                return self.substitute(
                    line,
                    at,
                    end,
                    &Line::synthetic(&value, span, expansion),
                    0,
                    span,
                );
            }
            self.expansions.push(Expansion {
                used: span,
                defined: def.span,
                outer,
            });
            let expansion = u32::try_from(self.expansions.len() - 1).unwrap_or(0);
            // Text before and after stands on lines of its own with the first and the last line.
            let last = def.lines.len().saturating_sub(1);
            for (k, body) in def.lines.iter().enumerate() {
                let mut l = Line::default();
                if k == 0 {
                    l.push_slice(line, 0, at);
                }
                l.push(body, expansion);
                if k == last {
                    l.push_slice(line, end, text.len());
                }
                if !self.spend(l.text.len(), span) {
                    return Replaced::Done;
                }
                self.line(l, depth + 1);
            }
            return Replaced::Done;
        }
        Replaced::Nothing
    }

    fn substitute(
        &mut self,
        line: &Line,
        at: usize,
        end: usize,
        with: &Line,
        expansion: u32,
        span: Span,
    ) -> Replaced {
        let mut l = Line::default();
        l.push_slice(line, 0, at);
        l.push(with, expansion);
        l.push_slice(line, end, line.text.len());
        if self.spend(l.text.len(), span) {
            Replaced::Line(l)
        } else {
            Replaced::Done
        }
    }

    fn predefined(&self, name: &str, params: &str, span: Span) -> Option<String> {
        match name {
            "_PWD" => {
                let file = self.sources.get(span.source)?.name.clone();
                Some(match file.rfind('/') {
                    Some(0) => "/".to_owned(),
                    Some(i) => file[..i].to_owned(),
                    None => self.files.current_dir(),
                })
            }
            "_INSTANCE" => Some(self.config_id.clone()),
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            "_ENV" => self.files.env(params.trim()),
            "_RANDOM" => {
                let mut bounds = params.split_ascii_whitespace().map(str::parse::<u64>);
                let min = bounds.next().and_then(Result::ok).unwrap_or(0);
                let max = bounds.next().and_then(Result::ok).unwrap_or(32767).max(min);
                let width = (max - min).saturating_add(1);
                Some((min + self.files.random() % width).to_string())
            }
            _ => None,
        }
    }

    /// A line with nothing left to expand: an `include`, or words and braces.
    fn statement(&mut self, line: &Line) {
        let text = line.text.as_str();
        let word = text.bytes().position(lexer::is_space).unwrap_or(text.len());
        if matches!(
            &text[..word],
            "include" | "includer" | "includem" | "includew" | "includeb" | "includea"
        ) {
            self.include(line, word);
            return;
        }
        let before = self.out.len();
        lexer::cut(line, &mut self.builder, &self.sources, &mut self.out);
        // A finding inside an expansion says where the definition was used.
        let (_, expansion) = line.place(0, 1);
        if let Some(e) = self
            .expansions
            .get(expansion as usize)
            .filter(|_| expansion != 0)
            .copied()
        {
            for d in &mut self.out[before..] {
                d.secondary.push(super::diag::Label {
                    span: e.used,
                    text: "expanded from here".to_owned(),
                });
            }
        }
    }

    fn include(&mut self, line: &Line, word: usize) {
        self.builder.end_of_line();
        let strict = &line.text[..word] != "include";
        let start = word
            + line.text[word..]
                .bytes()
                .take_while(|b| lexer::is_space(*b))
                .count();
        let pattern = line.text[start..].trim_matches(['"', '\'']).to_owned();
        let (span, _) = line.place(start.min(line.text.len()), line.text.len());
        if pattern.is_empty() {
            self.out.push(
                Diagnostic::new(
                    Code::MissingParameter,
                    Severity::Error,
                    "`include` needs the name of a file",
                )
                .at(line.place(0, word).0, "no file is named"),
            );
            return;
        }
        let includer = self
            .sources
            .get(span.source)
            .map(|s| s.name.clone())
            .unwrap_or_default();
        let path = match includer.rfind('/') {
            Some(i) if !pattern.starts_with('/') => format!("{}/{pattern}", &includer[..i]),
            _ => pattern.clone(),
        };
        let found = self.files.glob(&path);
        match found {
            Ok(found) if !found.is_empty() => {
                let pending = self.pending.take();
                for f in found {
                    self.file(&f, Some(span));
                }
                self.pending = pending;
            }
            other => {
                let severity = if strict {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                let mut d = Diagnostic::new(
                    Code::IncludeNothing,
                    severity,
                    format!("no file matches `{path}`"),
                )
                .at(span, "nothing is included");
                if let Err(e) = other {
                    d = d.help(e);
                }
                self.out.push(d);
            }
        }
    }
}

enum Replaced {
    /// There is nothing to replace.
    Nothing,
    /// The line with one reference replaced.
    Line(Line),
    /// It was a definition of several lines: all of them are read.
    Done,
}
