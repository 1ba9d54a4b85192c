//! The tree of statements and blocks, built from words and braces with recovery from lost ones.

use super::diag::{Code, Diagnostic, Severity};
use super::keywords;
use super::source::{Sources, Span};

/// Blocks may be nested this deep; keepalived's own nest five deep.
const MAX_DEPTH: usize = 32;

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its text, quotes and escapes resolved.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) span: Span,
    /// Part of it was quoted.
    pub(crate) quoted: bool,
    /// Its bytes when they are no UTF-8; `text` has replacements for them.
    pub(crate) raw: Option<Vec<u8>>,
}

/// A word that was not quoted.
pub(crate) fn word(text: String, span: Span) -> Word {
    Word {
        text,
        span,
        quoted: false,
        raw: None,
    }
}

/// A keyword with its parameters and, perhaps, a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The keyword and its parameters; empty for a block without a keyword.
    pub(crate) words: Vec<Word>,
    /// The block.
    pub(crate) block: Option<Block>,
}

/// What stands between braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// `{`.
    pub(crate) open: Span,
    /// What is inside.
    pub(crate) nodes: Vec<Node>,
}

impl Node {
    pub(crate) fn keyword(&self) -> &str {
        self.words.first().map_or("", |w| w.text.as_str())
    }

    /// The keyword's place, or that of the block's brace.
    pub(crate) fn span(&self) -> Span {
        self.words
            .first()
            .map(|w| w.span)
            .or(self.block.as_ref().map(|b| b.open))
            .unwrap_or_default()
    }

    /// The place of the keyword with all its parameters.
    pub(crate) fn whole(&self) -> Span {
        let first = self.span();
        self.words.last().map_or(first, |w| first.to(w.span))
    }

    /// The parameters.
    pub(crate) fn args(&self) -> &[Word] {
        self.words.get(1..).unwrap_or(&[])
    }

    /// The statements of the block; none without a block.
    pub(crate) fn children(&self) -> &[Node] {
        self.block.as_ref().map_or(&[], |b| b.nodes.as_slice())
    }

    /// `vrrp_instance VI_1`.
    pub(crate) fn title(&self) -> String {
        self.words
            .iter()
            .map(|w| w.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

struct Frame {
    node: Node,
    open: Span,
    children: Vec<Node>,
}

/// A closing brace that stands under another block than the one it closes.
struct Suspect {
    opened: Span,
    title: String,
    closed: Span,
}

/// Builds the tree.
#[derive(Default)]
pub(crate) struct Builder {
    stack: Vec<Frame>,
    root: Vec<Node>,
    /// The statement that the current line adds words to.
    current: Option<Node>,
    /// A brace may follow on the next line: the last statement of the current list is still open.
    glue: bool,
    suspect: Option<Suspect>,
    too_deep: usize,
    /// Errors of structure were found: notes about the rest would only confuse.
    pub(crate) broken: bool,
}

impl Builder {
    pub(crate) fn word(&mut self, word: Word) {
        match &mut self.current {
            Some(n) => n.words.push(word),
            None => {
                self.current = Some(Node {
                    words: vec![word],
                    block: None,
                })
            }
        }
        self.glue = false;
    }

    pub(crate) fn end_of_line(&mut self) {
        if let Some(n) = self.current.take() {
            self.list().push(n);
            self.glue = true;
        }
    }

    fn list(&mut self) -> &mut Vec<Node> {
        match self.stack.last_mut() {
            Some(f) => &mut f.children,
            None => &mut self.root,
        }
    }

    pub(crate) fn open(&mut self, brace: Span, out: &mut Vec<Diagnostic>) {
        if self.too_deep > 0 || self.stack.len() >= MAX_DEPTH {
            if self.too_deep == 0 {
                self.broken = true;
                out.push(
                    Diagnostic::new(
                        Code::UnexpectedBrace,
                        Severity::Error,
                        format!("blocks are nested more than {MAX_DEPTH} deep"),
                    )
                    .at(brace, "this one is left out"),
                );
            }
            self.too_deep += 1;
            self.current = None;
            return;
        }
        let node = match self.current.take() {
            Some(n) => n,
            None if self.glue => self.list().pop().unwrap_or(Node {
                words: Vec::new(),
                block: None,
            }),
            None => {
                self.broken = true;
                out.push(
                    Diagnostic::new(
                        Code::UnexpectedBrace,
                        Severity::Error,
                        "a block without a keyword before it",
                    )
                    .at(brace, "nothing says what this block is"),
                );
                Node {
                    words: Vec::new(),
                    block: None,
                }
            }
        };
        self.glue = false;
        if !self.stack.is_empty() && keywords::only_at_top(node.keyword()) {
            self.close_all(Some(&node), out);
        }
        self.stack.push(Frame {
            node,
            open: brace,
            children: Vec::new(),
        });
    }

    pub(crate) fn close(&mut self, brace: Span, sources: &Sources, out: &mut Vec<Diagnostic>) {
        self.end_of_line();
        self.glue = false;
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        let Some(mut f) = self.stack.pop() else {
            self.broken = true;
            out.push(
                Diagnostic::new(Code::UnexpectedBrace, Severity::Error, "unexpected `}`")
                    .at(brace, "no block is open here")
                    .help("remove it, or look for a block above that was closed too early"),
            );
            return;
        };
        if self.suspect.is_none()
            && sources.text(brace) == "}"
            && first_of_line(brace, sources)
            && sources.indent(brace) < sources.indent(f.node.span())
        {
            self.suspect = Some(Suspect {
                opened: f.node.whole(),
                title: f.node.title(),
                closed: brace,
            });
        }
        f.node.block = Some(Block {
            open: f.open,
            nodes: f.children,
        });
        self.list().push(f.node);
        if self.stack.is_empty() {
            self.suspect = None;
        }
    }

    /// Closes every open block because `next`, which stands only at the top, begins (or the file
    /// ends): says which block was left open.
    fn close_all(&mut self, next: Option<&Node>, out: &mut Vec<Diagnostic>) {
        self.broken = true;
        self.glue = false;
        let Some(outer) = self.stack.first() else {
            return;
        };
        let (opened, title) = match &self.suspect {
            Some(s) => (s.opened, s.title.clone()),
            None => (outer.node.whole(), outer.node.title()),
        };
        let name = if title.is_empty() {
            "this block".to_owned()
        } else {
            format!("block `{title}`")
        };
        let mut d = Diagnostic::new(
            Code::UnclosedBlock,
            Severity::Error,
            format!("{name} is not closed"),
        )
        .at(opened, "opened here");
        if let Some(s) = &self.suspect {
            d = d.also(
                s.closed,
                "this `}` closes it, though it stands under an outer block",
            );
        }
        if let Some(n) = next {
            d = d.also(
                n.span(),
                format!("`{}` can only stand outside of any block", n.keyword()),
            );
        }
        out.push(d.help("add the missing `}`"));
        while let Some(mut f) = self.stack.pop() {
            f.node.block = Some(Block {
                open: f.open,
                nodes: f.children,
            });
            self.list().push(f.node);
        }
        self.suspect = None;
    }

    pub(crate) fn finish(mut self, out: &mut Vec<Diagnostic>) -> (Vec<Node>, bool) {
        self.end_of_line();
        if !self.stack.is_empty() {
            self.close_all(None, out);
        }
        (self.root, self.broken)
    }
}

fn first_of_line(span: Span, sources: &Sources) -> bool {
    let Some(f) = sources.get(span.source) else {
        return false;
    };
    f.text.get(..span.start as usize).is_some_and(|t| {
        t.bytes()
            .rev()
            .take_while(|b| *b != b'\n')
            .all(|b| b.is_ascii_whitespace())
    })
}
