//! `~SEQ`, `~SEQx` and `~LST`.

use super::syntax::name_length;
use super::{Definition, MAX_DEPTH, MAX_LINES, MAX_REPLACEMENTS, Reader, Replaced};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::source::Line;

impl Reader<'_> {
    /// `~SEQ(var, [[start, [step,]] end) rest`, `~SEQx(...)`, `~LST(var, a, b ...) rest`.
    pub(super) fn sequence(&mut self, line: &Line, depth: usize) {
        let text = line.text.clone();
        let bad = |r: &mut Self, why: &str| {
            let end = text.find(')').map_or(text.len(), |i| i + 1);
            r.builder.broken = true;
            r.out.push(
                Diagnostic::new(
                    Code::BadSequence,
                    Severity::Error,
                    format!("this sequence cannot be read: {why}"),
                )
                .at(line.place(0, end).0, "")
                .help("write `~SEQ(NAME, START, STEP, END) TEXT` or `~LST(NAME, A, B ...) TEXT`"),
            );
        };
        if depth > MAX_DEPTH {
            self.too_deep(line);
            return;
        }
        let Some(open) = text.find('(') else {
            return bad(self, "no `(`");
        };
        let kind = text[..open].trim_end();
        if !matches!(kind, "~SEQ" | "~SEQx" | "~LST") {
            return bad(self, "it is neither ~SEQ, ~SEQx nor ~LST");
        }
        let Some(close) = text[open..].find(')').map(|n| open + n) else {
            return bad(self, "no `)`");
        };
        let mut inner = line.slice(open + 1, close);
        for _ in 0..MAX_REPLACEMENTS {
            match self.replace(&inner, depth) {
                Replaced::Nothing => break,
                Replaced::Line(l) => inner = l,
                Replaced::Done => {
                    return bad(self, "a definition of several lines cannot stand in it");
                }
            }
        }
        let rest = line.slice(close + 1, text.len());
        let steps = if kind == "~LST" {
            list(&inner.text)
        } else {
            numbers(&inner.text, kind == "~SEQx")
        };
        let steps = match steps {
            Ok(s) => s,
            Err(why) => return bad(self, why),
        };
        let span = line.place(0, close + 1).0;
        let mut saved: Vec<(String, Option<Definition>)> = Vec::new();
        for values in steps {
            if !self.spend(rest.text.len(), span) {
                break;
            }
            for (name, value) in values {
                let def = Definition {
                    lines: vec![Line::synthetic(&value, span, 0)],
                    multiline: false,
                    span,
                };
                let old = self.definitions.insert(name.clone(), def);
                if !saved.iter().any(|(n, _)| *n == name) {
                    saved.push((name, old));
                }
            }
            self.line(rest.clone(), depth + 1);
            if self.stopped {
                break;
            }
        }
        for (name, old) in saved {
            match old {
                Some(d) => self.definitions.insert(name, d),
                None => self.definitions.remove(&name),
            };
        }
    }
}

type Steps = Box<dyn Iterator<Item = Vec<(String, String)>>>;

/// The values of a `~SEQ`.
fn numbers(text: &str, hex: bool) -> Result<Steps, &'static str> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let Some((&name, rest)) = parts.split_first() else {
        return Err("it is empty");
    };
    if name_length(name) != name.len() || name.is_empty() {
        return Err("its name is not made of letters, digits and `_`");
    }
    let number = |s: &str| -> Result<i64, &'static str> {
        let (neg, digits) = s.strip_prefix('-').map_or((false, s), |d| (true, d));
        let v = match digits
            .strip_prefix("0x")
            .or_else(|| digits.strip_prefix("0X"))
        {
            Some(h) => i64::from_str_radix(h, 16),
            None => digits.parse(),
        };
        v.map(|v| if neg { -v } else { v })
            .map_err(|_| "a bound is not a number")
    };
    let n = rest
        .iter()
        .map(|s| number(s))
        .collect::<Result<Vec<_>, _>>()?;
    let (start, step, end) = match n[..] {
        [end] => (if end < 0 { -1 } else { 1 }, None, end),
        [start, end] => (start, None, end),
        [start, step, end] => (start, Some(step), end),
        _ => return Err("it takes a name and one to three numbers"),
    };
    let step = step.unwrap_or(if end < start { -1 } else { 1 });
    if step == 0 {
        return Err("its step is 0");
    }
    if hex && (start < 0 || end < 0) {
        return Err("~SEQx takes no negative numbers");
    }
    // Said at once, instead of after that many lines.
    let steps = (i128::from(end) - i128::from(start)) / i128::from(step);
    if steps > MAX_LINES as i128 {
        return Err("it has too many steps");
    }
    let name = name.to_owned();
    let mut next = Some(start);
    Ok(Box::new(std::iter::from_fn(move || {
        let v = next.filter(|&v| if step > 0 { v <= end } else { v >= end })?;
        next = v.checked_add(step);
        Some(vec![(
            name.clone(),
            if hex { format!("{v:x}") } else { v.to_string() },
        )])
    })))
}

/// The values of a `~LST`: `NAME, a, b` or `{A, B}, {1, 2}, {3, 4}`.
fn list(text: &str) -> Result<Steps, &'static str> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (group, after) = if let Some(inner) = rest.strip_prefix('{') {
            let close = inner.find('}').ok_or("a `{` is not closed")?;
            (
                inner[..close]
                    .split(',')
                    .map(|s| s.trim().to_owned())
                    .collect(),
                &inner[close + 1..],
            )
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (vec![rest[..end].trim().to_owned()], &rest[end..])
        };
        groups.push(group);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(r) => r.trim_start(),
            None if after.is_empty() => after,
            None => return Err("a `,` is missing"),
        };
    }
    let mut groups = groups.into_iter();
    let names = groups.next().ok_or("it is empty")?;
    if names
        .iter()
        .any(|n| n.is_empty() || name_length(n) != n.len())
    {
        return Err("its name is not made of letters, digits and `_`");
    }
    let values: Vec<Vec<String>> = groups.collect();
    if values.is_empty() {
        return Err("it has no values");
    }
    if values.iter().any(|v| v.len() != names.len()) {
        return Err("a group has more or fewer values than there are names");
    }
    Ok(Box::new(
        values
            .into_iter()
            .map(move |v| names.iter().cloned().zip(v).collect()),
    ))
}
