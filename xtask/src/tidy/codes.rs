//! What a program can say is explained in a document, and nothing else is.

use super::{File, Problem};

/// Names of one kind: where they are defined, how a definition looks, where they are explained.
struct Kind {
    source: &'static str,
    /// The names defined in a line.
    defined: fn(&str) -> Option<&str>,
    document: &'static str,
    /// The names explained in a line.
    explained: fn(&str) -> Option<&str>,
}

const KINDS: &[Kind] = &[
    Kind {
        source: "lb-common/src/reason.rs",
        defined: reason,
        document: "docs/counters.md",
        explained: frame_row,
    },
    Kind {
        source: "lb-userspace/src/vrrp/packet/reject.rs",
        defined: reject,
        document: "docs/counters.md",
        explained: advert_row,
    },
    Kind {
        source: "lb-userspace/src/bfd/reject.rs",
        defined: refused,
        document: "docs/counters.md",
        explained: bfd_row,
    },
    Kind {
        source: "lb-userspace/src/config/codes.rs",
        defined: code,
        document: "docs/diagnostics.md",
        explained: code_heading,
    },
];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    KINDS
        .iter()
        .flat_map(|kind| check_kind(kind, files))
        .collect()
}

fn check_kind(kind: &Kind, files: &[File]) -> Vec<Problem> {
    let missing = |path: &str| Problem {
        path: path.to_owned(),
        line: 0,
        what: "is missing: it defines or explains what a program can say".to_owned(),
    };
    let Some(source) = files.iter().find(|f| f.path == kind.source) else {
        return vec![missing(kind.source)];
    };
    let Some(document) = files.iter().find(|f| f.path == kind.document) else {
        return vec![missing(kind.document)];
    };
    let defined = names(source, kind.defined);
    let explained = names(document, kind.explained);
    let mut problems = Vec::new();
    if defined.is_empty() {
        problems.push(Problem::new(
            source,
            0,
            "no names found: has the way of defining them changed?",
        ));
    }
    for (line, name) in &defined {
        if !explained.iter().any(|(_, e)| e == name) {
            problems.push(Problem::new(
                source,
                *line,
                format!("`{name}` is not explained in {}", kind.document),
            ));
        }
    }
    for (line, name) in &explained {
        if !defined.iter().any(|(_, d)| d == name) {
            problems.push(Problem::new(
                document,
                *line,
                format!("`{name}` is not defined in {}", kind.source),
            ));
        }
    }
    problems
}

fn names(file: &File, find: fn(&str) -> Option<&str>) -> Vec<(usize, &str)> {
    file.text
        .lines()
        .enumerate()
        .filter_map(|(i, line)| Some((i + 1, find(line)?)))
        .collect()
}

/// `NotIp "not_ip" Pass,`
fn reason(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" \"")?;
    let (name, kind) = rest.split_once("\" ")?;
    ["Pass,", "Drop,", "Note,"].contains(&kind).then_some(name)
}

/// `Ttl = "ttl", "TTL is not 255";`
fn reject(line: &str) -> Option<&str> {
    line.ends_with("\";").then_some(())?;
    line.split_once(" = \"")?
        .1
        .split_once("\", \"")
        .map(|(name, _)| name)
}

/// `Length = "length";`
fn refused(line: &str) -> Option<&str> {
    let name = line.trim().split_once(" = \"")?.1.strip_suffix("\";")?;
    (!name.contains('"')).then_some(name)
}

/// `Code::CannotRead => "LB0001",`
fn code(line: &str) -> Option<&str> {
    let name = line
        .trim()
        .strip_prefix("Code::")?
        .split_once(" => \"")?
        .1
        .strip_suffix("\",")?;
    name.starts_with("LB").then_some(name)
}

/// ``| `not_ip` | pass | ... |``
fn frame_row(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    ["pass |", "drop |", "note |"]
        .iter()
        .any(|kind| rest.starts_with(kind))
        .then_some(name)
}

/// ``| `ttl` | ... |``
fn advert_row(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("| `")?.split_once("` | ")?;
    frame_row(line).is_none().then_some(name)
}

/// ``| BFD `length` | ... |``
fn bfd_row(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("| BFD `")?.split_once("` | ")?;
    Some(name)
}

/// `## LB0001: a file cannot be read`
fn code_heading(line: &str) -> Option<&str> {
    let name = line
        .trim_start_matches('#')
        .trim_start()
        .split([':', ' '])
        .next()?;
    (line.starts_with('#') && name.starts_with("LB")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn problems(source: &str, document: &str) -> usize {
        let kind = Kind {
            source: "a.rs",
            defined: code,
            document: "a.md",
            explained: code_heading,
        };
        check_kind(&kind, &[file("a.rs", source), file("a.md", document)]).len()
    }

    #[test]
    fn what_is_defined_must_be_explained_and_the_reverse() {
        let one = "Code::A => \"LB0001\",\n";
        assert_eq!(problems(one, "## LB0001: a\n"), 0);
        assert_eq!(problems(one, ""), 1);
        assert_eq!(problems(one, "## LB0001: a\n## LB0002: b\n"), 1);
        assert_eq!(
            problems("", ""),
            1,
            "a definition that is no longer recognised"
        );
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        assert!(check(&[]).len() == KINDS.len());
    }

    #[test]
    fn definitions_and_explanations_are_recognised() {
        assert_eq!(reason("    NotIp \"not_ip\" Pass,"), Some("not_ip"));
        assert_eq!(reason("    /// \"quoted\" words"), None);
        assert_eq!(
            reject("    Ttl = \"ttl\", \"TTL is not 255\";"),
            Some("ttl")
        );
        assert_eq!(
            frame_row("| `not_ip` | pass | neither IPv4 nor IPv6 |"),
            Some("not_ip")
        );
        assert_eq!(
            advert_row("| `not_ip` | pass | neither IPv4 nor IPv6 |"),
            None
        );
        assert_eq!(advert_row("| `ttl` | TTL is not 255 |"), Some("ttl"));
        assert_eq!(refused("    Length = \"length\";"), Some("length"));
        assert_eq!(refused("    Ttl = \"ttl\", \"TTL is not 255\";"), None);
        assert_eq!(advert_row("| BFD `ttl` | too many hops |"), None);
        assert_eq!(bfd_row("| BFD `ttl` | too many hops |"), Some("ttl"));
        assert_eq!(
            code_heading("### LB0010 an unknown keyword"),
            Some("LB0010")
        );
    }
}
