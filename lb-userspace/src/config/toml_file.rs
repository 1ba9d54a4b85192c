//! The TOML front end: tables become the same tree that keepalived.conf gives, so that defaults,
//! inheritance and checks are the same.
//!
//! Names are keepalived's. A block that has a name or an address in keepalived.conf has them as keys
//! (`name`; `address` and `port`); times may have a unit (`"1.5s"`, `"200ms"`); a keyword without a
//! parameter is a boolean; a checker is a table in small letters (`tcp_check`). Nothing unknown is let
//! pass.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diag::{Code, Diagnostic, Severity};
use super::keywords::{self, Block, Body, Keyword, Status};
use super::source::{SourceId, Span};
use super::tree::{self, Node, Word};

/// Reads TOML text.
pub(crate) fn parse(text: &str, source: SourceId) -> (Vec<Node>, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut t = Toml {
        source,
        out: Vec::new(),
    };
    for e in errors {
        let span = e.span().map_or(Span::new(source, 0, 0), |s| {
            Span::new(source, s.start, s.end)
        });
        t.out.push(
            Diagnostic::new(
                Code::TomlSyntax,
                Severity::Error,
                e.message().replace('\n', ", "),
            )
            .at(span, ""),
        );
    }
    if !t.out.is_empty() {
        return (Vec::new(), t.out);
    }
    let nodes = t.table(table.get_ref(), Block::Top);
    (nodes, t.out)
}

struct Toml {
    source: SourceId,
    out: Vec<Diagnostic>,
}

type Value<'i> = Spanned<DeValue<'i>>;

/// Names for blocks that read better than keepalived's.
const ALIASES: &[(Block, &str, &str)] = &[
    (Block::Top, "global", "global_defs"),
    (Block::Top, "ssl", "SSL"),
    (Block::SyncGroup, "members", "group"),
];

impl Toml {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(self.source, range.start, range.end)
    }

    fn error(&mut self, code: Code, span: Span, message: String, label: &str) -> &mut Diagnostic {
        self.out
            .push(Diagnostic::new(code, Severity::Error, message).at(span, label));
        let last = self.out.len() - 1;
        &mut self.out[last]
    }

    /// The statements of a table.
    fn table(&mut self, table: &DeTable<'_>, block: Block) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (key, value) in table {
            let span = self.span(key.span());
            let name = key.get_ref().as_ref();
            if matches!(block, Block::Instance) && name == "auth_pass" {
                let kind = table.iter().find(|(k, _)| k.get_ref() == "auth_type");
                nodes.extend(self.password(span, value, kind.map(|(_, kind)| kind)));
                continue;
            }
            if matches!(block, Block::Instance) && name == "auth_type" {
                let with_pass = table.iter().any(|(k, _)| k.get_ref() == "auth_pass");
                if !with_pass {
                    let text = "`auth_type` without `auth_pass`".to_owned();
                    self.error(Code::Incomplete, span, text, "there is no password");
                }
                continue;
            }
            let Some(keyword) = lookup(block, name) else {
                self.unknown(block, name, span);
                continue;
            };
            match keyword.body {
                Body::None => self.plain(keyword, span, value, &mut nodes),
                Body::Lines if keyword.name == "virtual_server_group" => {
                    self.groups(keyword, span, value, &mut nodes);
                }
                Body::Lines => nodes.extend(self.lines(keyword, span, value)),
                Body::Block(inner) => self.blocks(keyword, inner, span, value, &mut nodes),
            }
        }
        nodes
    }

    fn unknown(&mut self, block: Block, name: &str, span: Span) {
        let suggestions = super::lower::did_you_mean(name, block);
        let place = if block == Block::Top {
            "a configuration".to_owned()
        } else {
            format!("`{}`", block.name())
        };
        let d = self.error(
            Code::TomlField,
            span,
            format!("{place} has no field `{name}`"),
            "unknown field",
        );
        d.help.extend(suggestions);
    }

    fn expected(&mut self, span: Span, what: &str, found: &DeValue<'_>) {
        self.error(
            Code::TomlType,
            span,
            format!("expected {what}, found {}", kind(found)),
            "",
        );
    }

    /// `auth_pass = "..."` in an instance: the block `authentication`, with PASS unless `auth_type` says
    /// otherwise.
    fn password(&mut self, key: Span, value: &Value<'_>, kind: Option<&Value<'_>>) -> Option<Node> {
        let span = self.span(value.span());
        let kind = match kind {
            None => tree::word("PASS".to_owned(), span),
            Some(kind) => {
                let at = self.span(kind.span());
                match scalar(kind.get_ref()) {
                    Some(text) => tree::word(text, at),
                    None => {
                        self.expected(at, "a string", kind.get_ref());
                        return None;
                    }
                }
            }
        };
        let mut pass = match value.get_ref() {
            DeValue::Array(bytes) => {
                let bytes: Option<Vec<u8>> = bytes
                    .iter()
                    .map(|b| {
                        b.get_ref()
                            .as_integer()
                            .and_then(integer)
                            .and_then(|v| u8::try_from(v).ok())
                    })
                    .collect();
                let Some(bytes) = bytes else {
                    self.error(
                        Code::TomlType,
                        span,
                        "expected bytes from 0 to 255".to_owned(),
                        "",
                    );
                    return None;
                };
                let mut w = tree::word(String::from_utf8_lossy(&bytes).into_owned(), span);
                w.raw = Some(bytes);
                w
            }
            v => match scalar(v) {
                Some(text) => tree::word(text, span),
                None => {
                    self.expected(span, "a string", v);
                    return None;
                }
            },
        };
        pass.quoted = true;
        let node = |k: &str, w: Word| Node {
            words: vec![tree::word(k.to_owned(), key), w],
            block: None,
        };
        let nodes = vec![node("auth_type", kind), node("auth_pass", pass)];
        Some(Node {
            words: vec![tree::word("authentication".to_owned(), key)],
            block: Some(tree::Block { open: key, nodes }),
        })
    }

    fn plain(&mut self, k: &'static Keyword, key: Span, value: &Value<'_>, nodes: &mut Vec<Node>) {
        let span = self.span(value.span());
        let mut words = vec![tree::word(k.name.to_owned(), key)];
        match value.get_ref() {
            DeValue::Boolean(on) => {
                if k.args.starts_with("[BOOL]") || k.args.starts_with("BOOL") {
                    words.push(tree::word(if *on { "on" } else { "off" }.to_owned(), span));
                } else if k.min > 0 {
                    self.expected(span, k.args, value.get_ref());
                    return;
                } else if !on {
                    return;
                }
            }
            DeValue::Array(items) => {
                for item in items {
                    let span = self.span(item.span());
                    match scalar(item.get_ref()) {
                        Some(text) => words.push(tree::word(text, span)),
                        None => self.expected(span, "a string or a number", item.get_ref()),
                    }
                }
            }
            DeValue::Table(_) | DeValue::Datetime(_) => {
                self.expected(
                    span,
                    if k.args.is_empty() {
                        "a boolean"
                    } else {
                        k.args
                    },
                    value.get_ref(),
                );
                return;
            }
            v => {
                let text = scalar(v).unwrap_or_default();
                if k.args.is_empty() {
                    self.expected(span, "a boolean", v);
                    return;
                }
                let text = if timed(k) {
                    seconds(&text).unwrap_or(text)
                } else {
                    text
                };
                if k.args.starts_with("DR|NAT|TUN") {
                    // As it stands in keepalived.conf: "TUN type gue port 6080".
                    let all = text.split_ascii_whitespace();
                    words.extend(all.map(|w| tree::word(w.to_owned(), span)));
                } else {
                    words.push(tree::word(text, span));
                }
            }
        }
        nodes.push(Node { words, block: None });
    }

    /// `[[virtual_server_group]]`: `name` and `addresses`, lines as they stand in keepalived.conf.
    fn groups(&mut self, k: &'static Keyword, key: Span, value: &Value<'_>, nodes: &mut Vec<Node>) {
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            DeValue::Table(_) => vec![value],
            v => {
                let span = self.span(value.span());
                self.expected(span, "a table", v);
                return;
            }
        };
        for item in items {
            let at = self.span(item.span());
            let DeValue::Table(t) = item.get_ref() else {
                self.expected(at, "a table", item.get_ref());
                continue;
            };
            let mut words = vec![tree::word(k.name.to_owned(), key)];
            let mut block = None;
            for (name, v) in t {
                match name.get_ref().as_ref() {
                    "name" => {
                        let span = self.span(v.span());
                        match scalar(v.get_ref()) {
                            Some(text) => words.push(tree::word(text, span)),
                            None => self.expected(span, "a string", v.get_ref()),
                        }
                    }
                    "addresses" => block = self.lines(k, at, v).and_then(|n| n.block),
                    other => {
                        let span = self.span(name.span());
                        self.error(
                            Code::TomlField,
                            span,
                            format!("`{}` has no field `{other}`", k.name),
                            "unknown field",
                        )
                        .help
                        .push("it has `name` and `addresses`".to_owned());
                    }
                }
            }
            let fields = [("name", words.len() > 1), ("addresses", block.is_some())];
            for (field, _) in fields.iter().filter(|(_, there)| !there) {
                let message = format!("`{}` needs a field `{field}`", k.name);
                self.error(Code::MissingParameter, at, message, "it is missing here");
            }
            if fields.iter().all(|(_, there)| *there) {
                nodes.push(Node { words, block });
            }
        }
    }

    /// A list of lines: strings as they stand in keepalived.conf, lists of words, or tables of options.
    fn lines(&mut self, k: &'static Keyword, key: Span, value: &Value<'_>) -> Option<Node> {
        let span = self.span(value.span());
        let DeValue::Array(items) = value.get_ref() else {
            self.expected(span, "an array", value.get_ref());
            return None;
        };
        let mut nodes = Vec::new();
        for item in items {
            let span = self.span(item.span());
            let mut words = Vec::new();
            match item.get_ref() {
                // A name is one word; a line of options is several.
                DeValue::String(s) if matches!(k.name, "group" | "interfaces") => {
                    words.push(tree::word(s.to_string(), span))
                }
                DeValue::String(s) => words.extend(
                    s.split_ascii_whitespace()
                        .map(|w| tree::word(w.to_owned(), span)),
                ),
                DeValue::Array(items) => {
                    for item in items {
                        let span = self.span(item.span());
                        match scalar(item.get_ref()) {
                            Some(text) => words.push(tree::word(text, span)),
                            None => self.expected(span, "a string or a number", item.get_ref()),
                        }
                    }
                }
                DeValue::Table(t) => {
                    let switches = t.iter().filter(|(k, _)| is_switch(k.get_ref()));
                    let field = |n: &str| t.iter().find(|(k, _)| k.get_ref() == n);
                    for (name, lead) in [("address", true), ("interface", true), ("name", true)] {
                        if let Some((_, v)) = field(name).filter(|_| lead)
                            && let Some(text) = scalar(v.get_ref())
                        {
                            let span = self.span(v.span());
                            words.push(tree::word(text, span));
                        }
                    }
                    for (name, v) in t.iter().filter(|(n, _)| {
                        !matches!(n.get_ref().as_ref(), "address" | "interface" | "name")
                            && !is_switch(n.get_ref())
                    }) {
                        let (at, name) = (self.span(name.span()), name.get_ref().as_ref());
                        if !matches!(
                            name,
                            "dev"
                                | "label"
                                | "brd"
                                | "scope"
                                | "peer"
                                | "weight"
                                | "preferred_lft"
                                | "track_group"
                        ) {
                            self.error(
                                Code::TomlField,
                                at,
                                format!("an entry of `{}` has no field `{name}`", k.name),
                                "unknown field",
                            );
                            continue;
                        }
                        match scalar(v.get_ref()) {
                            Some(text) => {
                                words.push(tree::word(name.to_owned(), at));
                                let span = self.span(v.span());
                                words.push(tree::word(text, span));
                            }
                            None => {
                                let span = self.span(v.span());
                                self.expected(span, "a string or a number", v.get_ref());
                            }
                        }
                    }
                    // Behind the weight, wherever it stands.
                    for (name, v) in switches {
                        let at = self.span(name.span());
                        match v.get_ref() {
                            DeValue::Boolean(true) => {
                                words.push(tree::word(name.get_ref().to_string(), at));
                            }
                            DeValue::Boolean(false) => {}
                            v => self.expected(at, "a boolean", v),
                        }
                    }
                }
                v => self.expected(span, "a string or a table", v),
            }
            if !words.is_empty() {
                nodes.push(Node { words, block: None });
            }
        }
        Some(Node {
            words: vec![tree::word(k.name.to_owned(), key)],
            block: Some(tree::Block { open: key, nodes }),
        })
    }

    /// A table, or an array of tables: one block each.
    fn blocks(
        &mut self,
        k: &'static Keyword,
        inner: Block,
        key: Span,
        value: &Value<'_>,
        nodes: &mut Vec<Node>,
    ) {
        match value.get_ref() {
            DeValue::Table(t) => {
                nodes.extend(self.block(k, inner, key, self.span(value.span()), t))
            }
            DeValue::Array(items) => {
                for item in items {
                    let span = self.span(item.span());
                    match item.get_ref() {
                        DeValue::Table(t) => nodes.extend(self.block(k, inner, span, span, t)),
                        v => self.expected(span, "a table", v),
                    }
                }
            }
            v => {
                let span = self.span(value.span());
                self.expected(span, "a table", v);
            }
        }
    }

    fn block(
        &mut self,
        k: &'static Keyword,
        inner: Block,
        key: Span,
        at: Span,
        table: &DeTable<'_>,
    ) -> Option<Node> {
        let mut words = vec![tree::word(k.name.to_owned(), key)];
        // What stands before the brace in keepalived.conf.
        let lead: &[(&str, bool)] = match k.name {
            "vrrp_instance" | "vrrp_sync_group" | "vrrp_script" | "track_file"
            | "vrrp_track_process" | "bfd_instance" | "track_group" => &[("name", true)],
            "virtual_server" if table.iter().any(|(k, _)| k.get_ref() == "fwmark") => {
                words.push(tree::word("fwmark".to_owned(), at));
                &[("fwmark", true)]
            }
            "virtual_server" if table.iter().any(|(k, _)| k.get_ref() == "group") => {
                words.push(tree::word("group".to_owned(), at));
                &[("group", true)]
            }
            "virtual_server" | "real_server" => &[("address", true), ("port", false)],
            _ => &[],
        };
        for (name, needed) in lead {
            match table.iter().find(|(k, _)| k.get_ref() == *name) {
                Some((_, v)) => {
                    let span = self.span(v.span());
                    match scalar(v.get_ref()) {
                        Some(text) => words.push(tree::word(text, span)),
                        None => self.expected(span, "a string or a number", v.get_ref()),
                    }
                }
                None if *needed => {
                    self.error(
                        Code::MissingParameter,
                        at,
                        format!("`{}` needs a field `{name}`", k.name),
                        "it is missing here",
                    );
                    return None;
                }
                None => {}
            }
        }
        let rest: DeTable<'_> = table
            .iter()
            .filter(|(k, _)| !lead.iter().any(|(n, _)| k.get_ref() == n))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let nodes = self.table(&rest, inner);
        Some(Node {
            words,
            block: Some(tree::Block { open: at, nodes }),
        })
    }
}

/// Words of a line that have no value.
fn is_switch(word: &str) -> bool {
    matches!(
        word,
        "reverse"
            | "use_vmac"
            | "home"
            | "-nodad"
            | "mngtmpaddr"
            | "noprefixroute"
            | "autojoin"
            | "no_track"
    )
}

fn lookup(block: Block, name: &str) -> Option<&'static Keyword> {
    let name = ALIASES
        .iter()
        .find(|(b, a, _)| *b == block && *a == name)
        .map_or(name, |(_, _, k)| *k);
    let k = keywords::find(block, name).or_else(|| {
        let upper = name.to_ascii_uppercase();
        (upper != name && block == Block::RealServer)
            .then(|| keywords::find(block, &upper))
            .flatten()
    })?;
    // A new format has no old spellings.
    (!matches!(k.status, Status::Old(_) | Status::Removed(_))).then_some(k)
}

fn kind(v: &DeValue<'_>) -> &'static str {
    match v {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn integer(i: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(i.as_str(), i.radix()).ok()
}

/// A string or a number as a word.
fn scalar(v: &DeValue<'_>) -> Option<String> {
    match v {
        DeValue::String(s) => Some(s.to_string()),
        DeValue::Integer(i) => {
            Some(integer(i).map_or_else(|| i.as_str().to_owned(), |v| v.to_string()))
        }
        DeValue::Float(f) => Some(f.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Keywords whose value is a time.
fn timed(k: &Keyword) -> bool {
    k.args.contains("SECONDS") || matches!(k.name, "persistence_timeout" | "preempt_delay")
}

/// `1.5s`, `200ms`, `2m`, `1h` in seconds.
fn seconds(text: &str) -> Option<String> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let factor: u64 = match unit.trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    let value = super::lower::seconds(number)?;
    // `value` is the number as if it were seconds, in microseconds.
    let micros = u128::from(factor) * value.as_micros() / 1_000_000;
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    Some(if part == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{part:06}")
            .trim_end_matches('0')
            .to_owned()
    })
}
