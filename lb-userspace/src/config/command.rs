//! A command line in one word of the configuration: cut into its words as keepalived cuts it.

use std::fmt::Write as _;

use super::lexer::{escape, is_space};

/// A quote that is never closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unterminated;

/// The words: white space parts them, quotes and backslashes hold them together.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Unterminated> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut i = 0;
    while i < bytes.len() {
        match (quote, bytes[i]) {
            (None, b) if is_space(b) => {
                words.extend(word.take());
                i += 1;
            }
            (Some(q), b) if q == b => {
                quote = None;
                i += 1;
            }
            (None, q @ (b'"' | b'\'')) => {
                quote = Some(q);
                word.get_or_insert_default();
                i += 1;
            }
            (Some(_) | None, b'\\') => i = escape(bytes, i, word.get_or_insert_default()),
            (Some(_) | None, b) => {
                word.get_or_insert_default().push(b);
                i += 1;
            }
        }
    }
    if quote.is_some() {
        return Err(Unterminated);
    }
    words.extend(word);
    let text = |w: Vec<u8>| String::from_utf8_lossy(&w).into_owned();
    Ok(words.into_iter().map(text).collect())
}

/// The text that [`split`] cuts into these words.
pub(crate) fn join(words: &[String]) -> String {
    let mut out = String::new();
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        let plain = |c: char| !c.is_ascii_whitespace() && !matches!(c, '"' | '\'' | '\\' | '\x0b');
        if !word.is_empty() && word.chars().all(plain) {
            out.push_str(word);
            continue;
        }
        out.push('"');
        for c in word.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if c.is_ascii_control() => {
                    let _ = write!(out, "\\{:03o}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_cut_as_keepalived_cuts_them() {
        for (text, want) in [
            ("/bin/true", vec!["/bin/true"]),
            ("  /bin/a  b\tc ", vec!["/bin/a", "b", "c"]),
            ("/bin/a 'b c' \"d e\"", vec!["/bin/a", "b c", "d e"]),
            ("/bin/a b' c 'd", vec!["/bin/a", "b c d"]),
            ("/bin/a '' \"\"", vec!["/bin/a", "", ""]),
            ("/bin/a\\ b \\\"c \\x41\\102", vec!["/bin/a b", "\"c", "AB"]),
            ("'a\"b' \"c'd\"", vec!["a\"b", "c'd"]),
            (
                "/bin/a $HOME * ; | > x",
                vec!["/bin/a", "$HOME", "*", ";", "|", ">", "x"],
            ),
            ("", vec![]),
        ] {
            assert_eq!(
                split(text),
                Ok(want.into_iter().map(str::to_owned).collect()),
                "{text}"
            );
        }
        assert_eq!(split("/bin/a 'b"), Err(Unterminated));
        assert_eq!(split("/bin/a \"b\\\""), Err(Unterminated));
    }

    proptest! {
        #[test]
        fn what_is_joined_is_cut_into_the_same_words(words in prop::collection::vec(".{0,9}", 1..5)) {
            prop_assert_eq!(split(&join(&words)), Ok(words));
        }
    }
}
