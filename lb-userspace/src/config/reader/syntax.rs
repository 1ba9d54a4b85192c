//! What a line means before its words are looked at: definitions and references.

use crate::config::lexer;

/// The text without the `\` at its end, and whether there was one.
pub(super) fn continued(text: &str) -> (&str, bool) {
    match text.strip_suffix('\\') {
        Some(t) => (t.trim_end(), true),
        None => (text, false),
    }
}

pub(super) fn name_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    if bytes.first().is_none_or(u8::is_ascii_digit) {
        return 0;
    }
    bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count()
}

/// `$NAME=value`: the name and where the value starts.
pub(super) fn definition(text: &str) -> Option<(&str, usize)> {
    let n = name_length(text.get(1..)?);
    if n == 0 || text.as_bytes().get(1 + n) != Some(&b'=') {
        return None;
    }
    let value = 2 + n;
    Some((
        &text[1..=n],
        value
            + text[value..]
                .bytes()
                .take_while(|b| lexer::is_space(*b))
                .count(),
    ))
}

/// The reference at `at`: its name, its parameters, and where it ends.
pub(super) fn reference(text: &str, at: usize) -> Option<(&str, &str, usize)> {
    let rest = &text[at + 1..];
    if let Some(inner) = rest.strip_prefix('{') {
        let n = name_length(inner);
        // Bounded, so that a line full of `${` costs no more than its length.
        let close = inner.bytes().take(256).position(|b| b == b'}')?;
        let params = inner.get(n..close)?;
        if n == 0
            || !params
                .bytes()
                .next()
                .is_none_or(|b| lexer::is_space(b) || b == b':')
        {
            return None;
        }
        return Some((
            &inner[..n],
            params.trim_start_matches(':'),
            at + 2 + close + 1,
        ));
    }
    let n = name_length(rest);
    let after = rest.as_bytes().get(n).copied();
    (n > 0 && after.is_none_or(lexer::is_space)).then(|| (&rest[..n], "", at + 1 + n))
}
