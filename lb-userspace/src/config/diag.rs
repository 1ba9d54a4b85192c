//! Diagnostics: what they hold and how they are shown.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::source::{Sources, Span};

pub use super::codes::Code;

/// How serious a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Something written has no effect or another one than it seems.
    Warning,
    /// The configuration is refused.
    Error,
}

/// A place with a word about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to say there; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// How serious it is.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// The place it is about, with its label.
    pub primary: Option<Label>,
    /// Other places that help to understand it.
    pub secondary: Vec<Label>,
    /// What to do about it.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity,
            message: message.into(),
            primary: None,
            secondary: Vec::new(),
            help: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.primary = Some(Label {
            span,
            text: text.into(),
        });
        self
    }

    #[must_use]
    pub(crate) fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    #[must_use]
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// A diagnostic with its places resolved, for `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonDiagnostic {
    /// The stable code.
    pub code: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// The message.
    pub message: String,
    /// Where, if it has a place.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<JsonPlace>,
    /// The label at that place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Other places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<JsonRelated>,
    /// What to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub help: Vec<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonPlace {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// A further place with its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonRelated {
    /// Where.
    #[serde(flatten)]
    pub place: JsonPlace,
    /// What about it.
    pub label: String,
}

fn place(span: Span, sources: &Sources) -> JsonPlace {
    let p = sources.position(span);
    let file = sources
        .get(span.source)
        .map(|f| f.name.clone())
        .unwrap_or_default();
    JsonPlace {
        file,
        line: p.line,
        column: p.column,
    }
}

/// Resolves the places of a diagnostic.
#[must_use]
pub fn to_json(d: &Diagnostic, sources: &Sources) -> JsonDiagnostic {
    JsonDiagnostic {
        code: d.code.name(),
        severity: d.severity,
        message: d.message.clone(),
        place: d.primary.as_ref().map(|l| place(l.span, sources)),
        label: d
            .primary
            .as_ref()
            .map(|l| l.text.clone())
            .unwrap_or_default(),
        related: d
            .secondary
            .iter()
            .map(|l| JsonRelated {
                place: place(l.span, sources),
                label: l.text.clone(),
            })
            .collect(),
        help: d.help.clone(),
    }
}

/// Renders diagnostics as rustc does, one after the other.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for d in diagnostics {
        out.push_str(&render_one(d, sources, &renderer));
        out.push_str("\n\n");
    }
    out
}

/// The lines around a span (one before, one after), so that the renderer need not walk a long file
/// for each diagnostic: the text, its offset in the file, and the number of its first line.
fn window(
    text: &str,
    from: usize,
    to: usize,
    sources: &Sources,
    span: Span,
) -> (usize, usize, usize) {
    let line = sources
        .position(Span {
            start: span.start.min(u32::try_from(from).unwrap_or(u32::MAX)),
            ..span
        })
        .line;
    let start = text[..from].rfind('\n').map_or(0, |i| i + 1);
    let end = text[to..].find('\n').map_or(text.len(), |i| to + i);
    (start, end, line)
}

fn render_one(d: &Diagnostic, sources: &Sources, renderer: &Renderer) -> String {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group: Group<'_> =
        Group::with_title(level.primary_title(d.message.as_str()).id(d.code.name()));
    let mut done: Vec<bool> = vec![false; d.secondary.len()];
    if let Some(primary) = &d.primary {
        group = group.element(snippet(Some(primary), d, &mut done, sources));
    }
    while let Some(i) = done.iter().position(|d| !d) {
        let source = d.secondary[i].span.source;
        group = group.element(snippet_of(source, None, d, &mut done, sources));
    }
    for h in &d.help {
        group = group.element(Level::HELP.message(h.as_str()));
    }
    renderer.render(&[group])
}

fn snippet<'a>(
    primary: Option<&'a Label>,
    d: &'a Diagnostic,
    done: &mut [bool],
    sources: &'a Sources,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let source = primary.map(|l| l.span.source).unwrap_or_default();
    snippet_of(source, primary, d, done, sources)
}

/// One file's part of a diagnostic: the primary label and all secondary ones of the same file.
fn snippet_of<'a>(
    source: super::source::SourceId,
    primary: Option<&'a Label>,
    d: &'a Diagnostic,
    done: &mut [bool],
    sources: &'a Sources,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let mut labels: Vec<(&Label, AnnotationKind)> = Vec::new();
    if let Some(l) = primary {
        labels.push((l, AnnotationKind::Primary));
    }
    for (l, done) in d.secondary.iter().zip(done.iter_mut()) {
        if l.span.source == source && !*done {
            *done = true;
            labels.push((l, AnnotationKind::Context));
        }
    }
    let (name, text) = sources
        .get(source)
        .map_or(("", ""), |f| (f.name.as_str(), f.text.as_str()));
    let at = |n: u32| {
        let mut n = (n as usize).min(text.len());
        while !text.is_char_boundary(n) {
            n -= 1;
        }
        n
    };
    let from = labels
        .iter()
        .map(|(l, _)| at(l.span.start))
        .min()
        .unwrap_or(0);
    let to = labels
        .iter()
        .map(|(l, _)| at(l.span.end))
        .max()
        .unwrap_or(0)
        .max(from);
    let (start, end, line) = window(
        text,
        from,
        to,
        sources,
        Span {
            source,
            start: u32::try_from(from).unwrap_or(0),
            end: 0,
        },
    );
    let mut s = Snippet::source(&text[start..end])
        .line_start(line)
        .path(name)
        .fold(true);
    for (l, kind) in labels {
        let (a, b) = (
            at(l.span.start) - start,
            at(l.span.end).max(at(l.span.start)) - start,
        );
        // A label may not run over the end of its line: the first line says enough.
        let b = text[start..end]
            .get(a..b)
            .and_then(|t| t.find('\n'))
            .map_or(b, |n| a + n);
        let mut ann = kind.span(a..b);
        if !l.text.is_empty() {
            ann = ann.label(l.text.as_str());
        }
        s = s.annotation(ann);
    }
    s
}
