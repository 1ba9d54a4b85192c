//! Aligned columns.

use super::{Color, Tone};

/// Rows of cells under a title; the last column is not padded.
#[derive(Debug)]
pub(super) struct Table {
    title: Vec<&'static str>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<(String, Tone)>),
    /// Written under the row before, indented.
    Note(String, Tone),
}

impl Table {
    pub(super) fn new(title: &[&'static str]) -> Self {
        Table {
            title: title.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [(String, Tone); N]) {
        self.rows.push(Row::Cells(cells.into()));
    }

    pub(super) fn note(&mut self, text: String, tone: Tone) {
        self.rows.push(Row::Note(text, tone));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn render(&self, color: Color) -> String {
        let mut widths: Vec<usize> = self.title.iter().map(|t| t.len()).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, (text, _)) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(text.chars().count());
                }
            }
        }
        let mut out = String::new();
        let line = |out: &mut String, cells: &mut dyn Iterator<Item = (&str, Tone)>| {
            let mut pad = 0;
            for ((text, tone), width) in cells.zip(&widths) {
                // Spaces are written only before the next text, so that no line ends with them.
                if !text.is_empty() {
                    out.extend(std::iter::repeat_n(' ', pad));
                    out.push_str(&color.paint(tone, text));
                    pad = 0;
                }
                pad += width + 2 - text.chars().count();
            }
            out.push('\n');
        };
        line(&mut out, &mut self.title.iter().map(|t| (*t, Tone::Title)));
        for row in &self.rows {
            match row {
                Row::Cells(cells) => line(
                    &mut out,
                    &mut cells.iter().map(|(text, tone)| (text.as_str(), *tone)),
                ),
                Row::Note(text, tone) => {
                    out.push_str("    ");
                    out.push_str(&color.paint(*tone, text));
                    out.push('\n');
                }
            }
        }
        out
    }
}
