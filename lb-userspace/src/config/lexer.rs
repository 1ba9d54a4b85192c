//! One logical line: comments, quotes, escapes, braces, placeholders of templates.

use super::diag::{Code, Diagnostic, Severity};
use super::source::{Line, Sources};
use super::tree::{Builder, Word};

/// White space as keepalived counts it.
pub(crate) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | 0x0c | b'\n' | b'\r' | 0x0b)
}

/// Where a comment starts: the first `#` or `!` outside of quotes; otherwise the end.
pub(crate) fn comment_start(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (quote, b) {
            (_, b'\\') => escaped = true,
            (Some(q), _) if q == b => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(b),
            (None, b'#' | b'!') => return i,
            (None, _) => {}
        }
    }
    // A quote that is never closed ends nothing: `! don't` must still be a comment.
    if quote.is_some() {
        return text
            .find(['#', '!'])
            .filter(|&i| !text[..i].contains(['"', '\'']))
            .unwrap_or(text.len());
    }
    text.len()
}

/// A placeholder that a template engine should have replaced: its bytes.
pub(crate) fn placeholder(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut i = 0;
    while i < bytes.len() {
        let rest = &bytes[i..];
        for (open, close) in [("{{", "}}"), ("{%", "%}"), ("<%", "%>")] {
            if rest.starts_with(open.as_bytes()) {
                let end = text[i..]
                    .find(close)
                    .map_or(text.trim_end().len(), |n| i + n + close.len());
                return Some((i, end.max(i + 2)));
            }
        }
        if rest.starts_with(b"${") {
            // `${NAME:-default}` is for a shell or envsubst; keepalived has no such thing.
            let inner = &text[i + 2..];
            let name = inner
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .count();
            if name > 0
                && [":-", ":=", ":?", ":+"]
                    .iter()
                    .any(|o| inner[name..].starts_with(o))
            {
                let end = inner
                    .bytes()
                    .take(256)
                    .position(|b| b == b'}')
                    .map_or(i + 2 + name, |n| i + 2 + n + 1);
                return Some((i, end));
            }
        }
        match (quote, bytes[i]) {
            (Some(q), b) if q == b => quote = None,
            (None, b @ (b'"' | b'\'')) => quote = Some(b),
            (None, b'<') if bytes.get(i + 1).is_some_and(u8::is_ascii_alphabetic) => {
                if let Some(n) = text[i + 1..]
                    .find(['<', '>'])
                    .filter(|n| bytes[i + 1 + n] == b'>')
                {
                    return Some((i, i + n + 2));
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// Cuts a logical line into words and braces.
pub(crate) fn cut(
    line: &Line,
    builder: &mut Builder,
    sources: &Sources,
    out: &mut Vec<Diagnostic>,
) {
    let text = line.text.as_str();
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b if is_space(b) => i += 1,
            b'{' => {
                builder.open(line.place(i, i + 1).0, out);
                i += 1;
            }
            b'}' => {
                builder.close(line.place(i, i + 1).0, sources, out);
                i += 1;
            }
            _ => i = word(line, i, builder, out),
        }
    }
    builder.end_of_line();
}

/// Reads the word that starts at `start`; returns where it ends.
fn word(line: &Line, start: usize, builder: &mut Builder, out: &mut Vec<Diagnostic>) -> usize {
    let bytes = line.text.as_bytes();
    let mut text: Vec<u8> = Vec::new();
    let mut quoted = false;
    let mut i = start;
    while i < bytes.len() {
        match bytes[i] {
            b if is_space(b) => break,
            b'$' if bytes.get(i + 1) == Some(&b'{') => {
                // An undefined `${NAME}` stays as it is, braces and all.
                let end = line.text[i..].find('}').map_or(bytes.len(), |n| i + n + 1);
                text.extend_from_slice(&bytes[i..end]);
                i = end;
            }
            b'{' | b'}' => break,
            q @ (b'"' | b'\'') => {
                quoted = true;
                let open = i;
                i += 1;
                loop {
                    match bytes.get(i) {
                        None => {
                            out.push(
                                Diagnostic::new(
                                    Code::UnterminatedQuote,
                                    Severity::Error,
                                    "this quote is never closed",
                                )
                                .at(
                                    line.place(open, open + 1).0,
                                    "opened here, and the line ends before it is closed",
                                ),
                            );
                            break;
                        }
                        Some(&b) if b == q => {
                            i += 1;
                            break;
                        }
                        Some(b'\\') => i = escape(bytes, i, &mut text),
                        Some(&b) => {
                            text.push(b);
                            i += 1;
                        }
                    }
                }
            }
            b'\\' => i = escape(bytes, i, &mut text),
            b => {
                text.push(b);
                i += 1;
            }
        }
    }
    let i = i.max(start + 1).min(bytes.len());
    let (span, _) = line.place(start, i);
    let (text, raw) = match String::from_utf8(text) {
        Ok(text) => (text, None),
        Err(e) => (
            String::from_utf8_lossy(e.as_bytes()).into_owned(),
            Some(e.into_bytes()),
        ),
    };
    builder.word(Word {
        text,
        span,
        quoted,
        raw,
    });
    i
}

/// Resolves the escape at `i`; returns where it ends. Only where the line has more after the `\`.
pub(crate) fn escape(bytes: &[u8], i: usize, text: &mut Vec<u8>) -> usize {
    let Some(&c) = bytes.get(i + 1) else {
        text.push(b'\\');
        return i + 1;
    };
    let digits = |from: usize, max: usize, ok: fn(&u8) -> bool| {
        bytes[from..].iter().take(max).take_while(|b| ok(b)).count()
    };
    let simple = match c {
        b'a' => Some(7),
        b'b' => Some(8),
        b'E' => Some(0x1b),
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(0x0b),
        _ => None,
    };
    if let Some(b) = simple {
        text.push(b);
        return i + 2;
    }
    match c {
        b'0'..=b'7' => {
            let n = digits(i + 1, 3, |b| (b'0'..=b'7').contains(b));
            let v = bytes[i + 1..i + 1 + n]
                .iter()
                .fold(0u32, |v, b| v * 8 + u32::from(b - b'0'));
            text.push((v & 0xff) as u8);
            i + 1 + n
        }
        b'x' => {
            let n = digits(i + 2, 2, u8::is_ascii_hexdigit);
            let v = bytes[i + 2..i + 2 + n].iter().fold(0u32, |v, &b| {
                v * 16 + char::from(b).to_digit(16).unwrap_or(0)
            });
            if n > 0 {
                text.push((v & 0xff) as u8);
            }
            i + 2 + n
        }
        b'c' => {
            if let Some(&b) = bytes.get(i + 2) {
                text.push(b & 0x1f);
            }
            (i + 3).min(bytes.len())
        }
        other => {
            text.push(other);
            i + 2
        }
    }
}
