//! Reading Rust source as far as the checks need: without comments, strings and test code, as
//! paths such as `std::time::Instant::now` with the line where each stands.

/// A path in the source: the segments of `a::b::c`; of a `use` tree each branch is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathUse {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Ident(String),
    /// `::`
    Sep,
    Other(char),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    line: usize,
}

/// Every path of `text` outside of tests.
pub(super) fn paths(text: &str) -> Vec<PathUse> {
    let tokens = without_tests(&tokens(text));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].kind == Kind::Ident("use".into()) {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if matches!(tokens[at].kind, Kind::Ident(_)) {
            let (path, next) = path_at(&tokens, at);
            found.push(PathUse {
                segments: path,
                line: tokens[at].line,
            });
            at = next;
        } else {
            at += 1;
        }
    }
    found
}

/// The path that begins at `at`, and where it ends.
fn path_at(tokens: &[Token], mut at: usize) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    while let Some(Token {
        kind: Kind::Ident(name),
        ..
    }) = tokens.get(at)
    {
        segments.push(name.clone());
        at += 1;
        let more = tokens.get(at).is_some_and(|t| t.kind == Kind::Sep)
            && matches!(
                tokens.get(at + 1),
                Some(Token {
                    kind: Kind::Ident(_),
                    ..
                })
            );
        if !more {
            break;
        }
        at += 1;
    }
    (segments, at)
}

/// Reads one branch of a `use` tree and returns where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<PathUse>) -> usize {
    if tokens.get(at).is_some_and(|t| t.kind == Kind::Sep) {
        at += 1;
    }
    let line = tokens.get(at).map_or(0, |t| t.line);
    let (own, next) = path_at(tokens, at);
    at = next;
    let mut full = prefix.to_vec();
    full.extend(own.into_iter().filter(|s| s != "self" || prefix.is_empty()));
    let grouped = tokens.get(at).is_some_and(|t| t.kind == Kind::Sep)
        && tokens
            .get(at + 1)
            .is_some_and(|t| t.kind == Kind::Other('{'));
    let leading_group =
        full.len() == prefix.len() && tokens.get(at).is_some_and(|t| t.kind == Kind::Other('{'));
    if grouped || leading_group {
        at += if grouped { 2 } else { 1 };
        while at < tokens.len() && tokens[at].kind != Kind::Other('}') {
            at = use_tree(tokens, at, &full, found);
            if tokens.get(at).is_some_and(|t| t.kind == Kind::Other(',')) {
                at += 1;
            }
        }
        return at + 1;
    }
    found.push(PathUse {
        segments: full,
        line,
    });
    // What follows is `as name` or `::*`; neither hides what is imported.
    while at < tokens.len() && !matches!(tokens[at].kind, Kind::Other(',' | '}' | ';')) {
        at += 1;
    }
    at
}

/// Drops `#[cfg(test)] mod name { ... }`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let attribute = [
        Kind::Other('#'),
        Kind::Other('['),
        Kind::Ident("cfg".into()),
        Kind::Other('('),
        Kind::Ident("test".into()),
        Kind::Other(')'),
        Kind::Other(']'),
    ];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = tokens[at..].len() > attribute.len()
            && tokens[at..]
                .iter()
                .zip(&attribute)
                .all(|(token, kind)| token.kind == *kind);
        if !is_test {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // The item ends at its closing brace, or at the semicolon of `mod tests;`.
        let mut depth = 0;
        at += attribute.len();
        while at < tokens.len() {
            match tokens[at].kind {
                Kind::Other('{') => depth += 1,
                Kind::Other('}') => depth -= 1,
                Kind::Other(';') if depth == 0 => break,
                Kind::Ident(_) | Kind::Sep | Kind::Other(_) => {}
            }
            if depth == 0 && tokens[at].kind == Kind::Other('}') {
                break;
            }
            at += 1;
        }
        at += 1;
    }
    kept
}

/// Splits `text`, leaving out comments and what stands in quotes.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let end = match c {
            '/' if chars.get(at + 1) == Some(&'/') => skip_until_newline(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => skip_block_comment(&chars, at),
            '"' => skip_string(&chars, at),
            '\'' => skip_char_or_lifetime(&chars, at),
            'r' | 'b' | 'c' if raw_string(&chars, at).is_some() => {
                raw_string(&chars, at).unwrap_or(at + 1)
            }
            _ if c == '_' || c.is_alphabetic() => {
                let end =
                    (at..chars.len()).find(|&i| !(chars[i] == '_' || chars[i].is_alphanumeric()));
                let end = end.unwrap_or(chars.len());
                found.push(Token {
                    kind: Kind::Ident(chars[at..end].iter().collect()),
                    line,
                });
                end
            }
            ':' if chars.get(at + 1) == Some(&':') => {
                found.push(Token {
                    kind: Kind::Sep,
                    line,
                });
                at + 2
            }
            _ => {
                if !c.is_whitespace() {
                    found.push(Token {
                        kind: Kind::Other(c),
                        line,
                    });
                }
                at + 1
            }
        };
        line += chars[at..end.min(chars.len())]
            .iter()
            .filter(|&&c| c == '\n')
            .count();
        at = end;
    }
    found
}

fn skip_until_newline(chars: &[char], at: usize) -> usize {
    (at..chars.len())
        .find(|&i| chars[i] == '\n')
        .unwrap_or(chars.len())
}

fn skip_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn skip_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `'a'`, `'\n'` or the lifetime `'a`.
fn skip_char_or_lifetime(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (at + 3..chars.len())
            .find(|&i| chars[i] == '\'')
            .map_or(chars.len(), |i| i + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// The end of `r"..."`, `r#"..."#`, `br"..."`, `b"..."` that begins at `at`, if one does.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    if at > 0 && (chars[at - 1] == '_' || chars[at - 1].is_alphanumeric()) {
        return None;
    }
    let mut i = at;
    if matches!(chars.get(i), Some('b' | 'c')) {
        i += 1;
    }
    if chars.get(i) == Some(&'"') {
        return Some(skip_string(chars, i));
    }
    if chars.get(i) != Some(&'r') {
        return None;
    }
    i += 1;
    let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
    i += hashes;
    if chars.get(i) != Some(&'"') {
        return None;
    }
    i += 1;
    while i < chars.len() {
        if chars[i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
        {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Vec<String> {
        paths(text)
            .into_iter()
            .map(|p| p.segments.join("::"))
            .collect()
    }

    #[test]
    fn a_use_tree_is_spread_out() {
        assert_eq!(
            joined("use std::{fs, net::{self, TcpStream as S}, time::*};"),
            ["std::fs", "std::net", "std::net::TcpStream", "std::time"]
        );
        assert_eq!(
            joined("use ::libc; use {nix, aya::maps};"),
            ["libc", "nix", "aya::maps"]
        );
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = r##"
            // std::fs
            /* a /* nested */ tokio */
            const A: &str = "std::fs \" tokio";
            const B: &str = r#"rand " libc"#;
            const C: char = '"';
            fn keep<'a>(x: &'a str) { aya::load(x) }
            #[cfg(test)]
            mod tests { use std::fs; fn f() { if true { tokio() } } }
            #[cfg(test)] mod more;
            fn end() {}
        "##;
        let found = joined(text);
        for name in ["std::fs", "tokio", "rand", "libc", "more"] {
            assert!(!found.iter().any(|p| p == name), "{name} in {found:?}");
        }
        assert!(
            found.iter().any(|p| p == "aya::load") && found.iter().any(|p| p == "end"),
            "{found:?}"
        );
    }

    #[test]
    fn a_path_knows_its_line() {
        let found = paths("\n\"two\nlines\";\nstd::fs::read(x)");
        assert_eq!(
            found[0],
            PathUse {
                segments: vec!["std".into(), "fs".into(), "read".into()],
                line: 4
            }
        );
    }
}
