//! Where text comes from: files, positions, and lines put together from pieces of them.

use serde::Serialize;

/// A file that was read, by its number in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceId(pub(crate) u32);

/// A piece of one file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The file.
    pub source: SourceId,
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(source: SourceId, start: usize, end: usize) -> Self {
        Span {
            source,
            start: clamp(start),
            end: clamp(end),
        }
    }

    /// From the start of `self` to the end of `other`, when both lie in one file.
    #[must_use]
    pub(crate) fn to(self, other: Span) -> Span {
        if self.source == other.source && other.end >= self.start {
            Span {
                end: other.end,
                ..self
            }
        } else {
            self
        }
    }
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One file's name and text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as it was given or found.
    pub name: String,
    /// Its text; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Offset of each line's first byte.
    lines: Vec<u32>,
}

/// All the files that a configuration was read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// A place as people count: from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Sources {
    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, text: String) -> SourceId {
        let mut lines = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(i, _)| clamp(i + 1)),
        );
        self.files.push(Source {
            name: name.to_owned(),
            text,
            lines,
        });
        SourceId(clamp(self.files.len() - 1))
    }

    /// Adds all files of others; by how much their numbers grow.
    pub(crate) fn absorb(&mut self, others: &Sources) -> u32 {
        let offset = clamp(self.files.len());
        self.files.extend(others.files.iter().cloned());
        offset
    }

    /// The files in the order in which they were opened.
    pub fn files(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// One file.
    #[must_use]
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.files.get(id.0 as usize)
    }

    /// Line and column of a span's first byte.
    #[must_use]
    pub fn position(&self, span: Span) -> Position {
        let Some(file) = self.get(span.source) else {
            return Position { line: 1, column: 1 };
        };
        let at = (span.start as usize).min(file.text.len());
        let line = file.lines.partition_point(|&l| l as usize <= at).max(1);
        let start = file.lines.get(line - 1).map_or(0, |&l| l as usize);
        let column = file
            .text
            .get(start..at)
            .map_or(1, |t| t.chars().count() + 1);
        Position { line, column }
    }

    /// The text of a span.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source)
            .and_then(|f| f.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// How far the line on which `span` starts is indented, in columns (a tab counts to the next
    /// multiple of 8).
    #[must_use]
    pub(crate) fn indent(&self, span: Span) -> usize {
        let Some(file) = self.get(span.source) else {
            return 0;
        };
        let line = file.lines.partition_point(|&l| l <= span.start).max(1);
        let start = file.lines.get(line - 1).map_or(0, |&l| l as usize);
        let mut n = 0;
        for b in file.text.as_bytes().iter().skip(start) {
            match b {
                b' ' => n += 1,
                b'\t' => n = (n / 8 + 1) * 8,
                _ => break,
            }
        }
        n
    }
}

/// One use of a definition, for "expanded from here".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// `$NAME` where it is used.
    pub(crate) used: Span,
    /// The definition's value.
    pub(crate) defined: Span,
    /// The expansion within which the use stands; 0: none.
    pub(crate) outer: u32,
}

/// A piece of a [`Line`].
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: u32,
    span: Span,
    /// The text is that of the span; otherwise it stands for the span as a whole.
    verbatim: bool,
    expansion: u32,
}

/// A logical line: text and, for each byte, where it was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    pieces: Vec<Piece>,
}

impl Line {
    /// A line as it stands in a file.
    pub(crate) fn verbatim(text: &str, span: Span) -> Self {
        Line {
            text: text.to_owned(),
            pieces: vec![Piece {
                at: 0,
                span,
                verbatim: true,
                expansion: 0,
            }],
        }
    }

    /// Text that was not written as such but stands for `span`.
    pub(crate) fn synthetic(text: &str, span: Span, expansion: u32) -> Self {
        Line {
            text: text.to_owned(),
            pieces: vec![Piece {
                at: 0,
                span,
                verbatim: false,
                expansion,
            }],
        }
    }

    /// The place of the bytes `start..end`, and the expansion they come from.
    pub(crate) fn place(&self, start: usize, end: usize) -> (Span, u32) {
        let Some((first, expansion)) = self.byte(start) else {
            return (Span::default(), 0);
        };
        let last = if end > start {
            self.byte(end - 1).map_or(first, |(s, _)| s)
        } else {
            Span {
                end: first.start,
                ..first
            }
        };
        (first.to(last), expansion)
    }

    fn byte(&self, at: usize) -> Option<(Span, u32)> {
        let i = self
            .pieces
            .partition_point(|p| p.at as usize <= at)
            .checked_sub(1)?;
        let p = self.pieces[i];
        let span = if p.verbatim {
            let start = p.span.start.saturating_add(clamp(at - p.at as usize));
            Span {
                start,
                end: start.saturating_add(1),
                ..p.span
            }
        } else {
            p.span
        };
        Some((span, p.expansion))
    }

    /// The bytes `start..end` as a line of their own.
    pub(crate) fn slice(&self, start: usize, end: usize) -> Line {
        let mut out = Line::default();
        out.push_slice(self, start, end);
        out
    }

    /// Appends the bytes `start..end` of another line.
    pub(crate) fn push_slice(&mut self, other: &Line, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let base = self.text.len();
        let first = other
            .pieces
            .partition_point(|p| p.at as usize <= start)
            .saturating_sub(1);
        for p in &other.pieces[first.min(other.pieces.len())..] {
            if p.at as usize >= end {
                break;
            }
            let skip = start.saturating_sub(p.at as usize);
            let mut piece = *p;
            piece.at = clamp(base + (p.at as usize + skip) - start);
            if p.verbatim {
                piece.span.start = piece.span.start.saturating_add(clamp(skip));
            }
            self.pieces.push(piece);
        }
        self.text.push_str(&other.text[start..end]);
    }

    /// Appends a whole line, marking what it brings as coming from `expansion`.
    pub(crate) fn push(&mut self, other: &Line, expansion: u32) {
        let from = self.pieces.len();
        self.push_slice(other, 0, other.text.len());
        if expansion != 0 {
            for p in &mut self.pieces[from..] {
                p.expansion = expansion;
            }
        }
    }
}
