//! `regex` of a URL: a pattern in PCRE's notation, as far as matching takes linear time.
//!
//! What is not here (look-around, references back, possessive quantifiers) is refused when the
//! configuration is read. Where the notations differ, PCRE's meaning holds.

use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Memory that a compiled pattern may take.
const SIZE: usize = 4 << 20;

/// `regex`, `regex_no_match`, `regex_options`, `regex_min_offset`, `regex_max_offset`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRegexText {
    /// The pattern.
    pub text: String,
    /// Each at most once, in their order.
    #[serde(default)]
    pub options: Vec<RegexOption>,
    /// A match is a failure.
    #[serde(default)]
    pub no_match: bool,
    /// Where, in bytes, a match may start at the earliest.
    #[serde(default)]
    pub min_offset: u64,
    /// Where it may start at the latest.
    #[serde(default)]
    pub max_offset: Option<u64>,
}

/// `regex_options`, those that change what matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegexOption {
    /// Letters match in both cases.
    Caseless,
    /// `$` matches only at the very end, not before a last newline.
    DollarEndonly,
    /// `.` matches newlines too.
    Dotall,
    /// White space and comments in the pattern mean nothing.
    Extended,
    /// A match must start in the first line.
    Firstline,
    /// `^` and `$` match at each line.
    Multiline,
    /// Classes and cases are Unicode's.
    Ucp,
    /// Quantifiers are lazy by default.
    Ungreedy,
    /// HttpRegex and answer are UTF-8.
    Utf,
}

impl RegexOption {
    /// All of them, in their order.
    pub const ALL: [RegexOption; 9] = [
        RegexOption::Caseless,
        RegexOption::DollarEndonly,
        RegexOption::Dotall,
        RegexOption::Extended,
        RegexOption::Firstline,
        RegexOption::Multiline,
        RegexOption::Ucp,
        RegexOption::Ungreedy,
        RegexOption::Utf,
    ];

    /// `regex_options`' word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RegexOption::Caseless => "caseless",
            RegexOption::DollarEndonly => "dollar_endonly",
            RegexOption::Dotall => "dotall",
            RegexOption::Extended => "extended",
            RegexOption::Firstline => "firstline",
            RegexOption::Multiline => "multiline",
            RegexOption::Ucp => "ucp",
            RegexOption::Ungreedy => "ungreedy",
            RegexOption::Utf => "utf",
        }
    }
}

/// A pattern that can be matched; equal when its text is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "HttpRegexText", into = "HttpRegexText")]
pub struct HttpRegex {
    text: HttpRegexText,
    /// Shared by all clones, and with it the memory that matching needs.
    compiled: Arc<Regex>,
}

impl HttpRegex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Gives the reason, in words, when it cannot be had.
    pub fn new(text: HttpRegexText) -> Result<HttpRegex, String> {
        let on = |option| text.options.contains(&option);
        let compiled = RegexBuilder::new(&translate(&text.text)?)
            .unicode(on(RegexOption::Utf) || on(RegexOption::Ucp))
            .case_insensitive(on(RegexOption::Caseless))
            .dot_matches_new_line(on(RegexOption::Dotall))
            .ignore_whitespace(on(RegexOption::Extended))
            .multi_line(on(RegexOption::Multiline))
            .swap_greed(on(RegexOption::Ungreedy))
            .size_limit(SIZE)
            .dfa_size_limit(SIZE)
            .build()
            .map_err(|e| {
                let words = e.to_string();
                let last = words.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            })?;
        Ok(HttpRegex {
            text,
            compiled: Arc::new(compiled),
        })
    }

    /// What it was made from.
    #[must_use]
    pub fn text(&self) -> &HttpRegexText {
        &self.text
    }

    /// Whether an answer is as it should be: it matches, or with `regex_no_match` it does not.
    #[must_use]
    pub fn accepts(&self, answer: &[u8]) -> bool {
        self.found(answer) != self.text.no_match
    }

    fn found(&self, answer: &[u8]) -> bool {
        let on = |option| self.text.options.contains(&option);
        let from = usize::try_from(self.text.min_offset).unwrap_or(usize::MAX);
        let at = |answer: &[u8]| {
            (from <= answer.len())
                .then(|| self.compiled.find_at(answer, from))
                .flatten()
                .map(|m| m.start())
        };
        // PCRE's `$` also matches before a newline that ends everything.
        let before_last = || match answer.split_last() {
            Some((b'\n', rest))
                if !on(RegexOption::DollarEndonly) && self.text.text.contains('$') =>
            {
                at(rest)
            }
            Some(_) | None => None,
        };
        at(answer).or_else(before_last).is_some_and(|at| {
            self.text.max_offset.is_none_or(|most| at as u64 <= most)
                && !(on(RegexOption::Firstline) && answer[from..at].contains(&b'\n'))
        })
    }
}

/// PCRE's notation in that of the `regex` crate, where both read the same text differently: `\<` and
/// `\>` are letters, not borders of words, and a class has no classes or operators in it.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut class: Option<usize> = None;
    let mut chars = pattern.chars().enumerate().peekable();
    while let Some((i, c)) = chars.next() {
        match (class, c) {
            (Some(_) | None, '\\') => match chars.next() {
                Some((_, c @ ('<' | '>'))) => out.push(c),
                Some((_, c)) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            (None, '[') => {
                out.push('[');
                if let Some((_, '^')) = chars.peek() {
                    out.push('^');
                    chars.next();
                }
                // A `]` that comes first is a letter.
                if let Some((_, ']')) = chars.peek() {
                    out.push_str("\\]");
                    chars.next();
                }
                class = Some(i);
            }
            (Some(_), ']') => {
                out.push(']');
                class = None;
            }
            (Some(_), '[') => match chars.peek() {
                Some((_, ':')) => {
                    out.push('[');
                    // To its own `]`.
                    for (_, c) in chars.by_ref() {
                        out.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                }
                Some((_, '.' | '=')) => {
                    return Err("collating elements in a class are not supported".to_owned());
                }
                Some(_) | None => out.push_str("\\["),
            },
            (Some(_), c @ ('&' | '~')) => out.extend(['\\', c]),
            (Some(_), '-') if matches!(chars.peek(), Some((_, '-'))) => {
                return Err("`--` in a class is not supported: write `\\-`".to_owned());
            }
            (Some(_) | None, c) => out.push(c),
        }
    }
    Ok(out)
}

impl PartialEq for HttpRegex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HttpRegex {}

impl fmt::Debug for HttpRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl TryFrom<HttpRegexText> for HttpRegex {
    type Error = String;

    fn try_from(text: HttpRegexText) -> Result<Self, Self::Error> {
        HttpRegex::new(text)
    }
}

impl From<HttpRegex> for HttpRegexText {
    fn from(pattern: HttpRegex) -> HttpRegexText {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::RegexOption::*;
    use super::*;

    fn pattern(text: &str, options: &[RegexOption]) -> HttpRegex {
        HttpRegex::new(HttpRegexText {
            text: text.to_owned(),
            options: options.to_vec(),
            ..HttpRegexText::default()
        })
        .unwrap()
    }

    #[test]
    fn it_matches_as_pcre_does() {
        for (text, options, answer, want) in [
            ("OK", &[][..], "is OK.", true),
            ("OK", &[], "ok", false),
            ("OK", &[Caseless], "ok", true),
            ("a.b", &[], "a\nb", false),
            ("a.b", &[Dotall], "a\nb", true),
            ("^b", &[], "a\nb", false),
            ("^b", &[Multiline], "a\nb", true),
            ("OK$", &[], "OK\n", true),
            ("OK$", &[], "OK\n\n", false),
            ("OK$", &[DollarEndonly], "OK\n", false),
            ("b", &[Firstline], "a\nb", false),
            ("b", &[Firstline], "ab\nb", true),
            ("a b", &[Extended], "ab", true),
            (r"\<p\>", &[], "a p b", false),
            (r"\<p\>", &[], "a<p>b", true),
            ("[a&&b]", &[], "&", true),
            ("[[a]", &[], "[", true),
            ("[]a]", &[], "]", true),
            ("[^]a]", &[], "]", false),
            ("[[:digit:]x]+y", &[], "1x2y", true),
            (r"\w", &[], "\u{e4}", false),
            (r"\w", &[Utf, Ucp], "\u{e4}", true),
            ("^\u{e4}$", &[], "\u{e4}", true),
        ] {
            assert_eq!(
                pattern(text, options).accepts(answer.as_bytes()),
                want,
                "{text} {options:?} {answer:?}"
            );
        }
    }

    #[test]
    fn offsets_are_those_of_the_start_of_a_match() {
        let from = |min_offset, max_offset| {
            HttpRegex::new(HttpRegexText {
                text: "b+".into(),
                min_offset,
                max_offset,
                ..HttpRegexText::default()
            })
            .unwrap()
        };
        let answer = b"aabba";
        assert!(from(0, None).accepts(answer) && from(3, None).accepts(answer));
        assert!(!from(4, None).accepts(answer) && !from(6, None).accepts(answer));
        assert!(from(0, Some(2)).accepts(answer) && !from(0, Some(1)).accepts(answer));
        assert!(!from(u64::MAX, None).accepts(answer));
    }

    #[test]
    fn what_must_not_match() {
        let never = HttpRegex::new(HttpRegexText {
            text: "error".into(),
            no_match: true,
            ..HttpRegexText::default()
        })
        .unwrap();
        assert!(never.accepts(b"fine") && !never.accepts(b"an error"));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_a_reason() {
        for (text, reason) in [
            ("(?=a)b", "look-around"),
            (r"(a)\1", "backreferences"),
            ("a++b(", "unclosed group"),
            ("[+--]", "`--` in a class"),
            ("[[.a.]]", "collating"),
            (r"a\Kb", "unrecognized escape"),
            ("(a{500}){500}{500}", "size limit"),
        ] {
            let text = HttpRegexText {
                text: text.to_owned(),
                ..HttpRegexText::default()
            };
            let why = HttpRegex::new(text).unwrap_err();
            assert!(why.contains(reason), "{why}");
        }
    }
}
