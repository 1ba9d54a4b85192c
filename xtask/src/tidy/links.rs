//! Links between documents lead somewhere.

use std::path::Path;

use super::{File, Problem};
use crate::sh;

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        for (line, link) in links(&file.text) {
            if let Some(what) = broken(files, file, &link) {
                problems.push(Problem::new(file, line, what));
            }
        }
    }
    problems
}

/// The targets of `[text](target)` outside of code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number, target.to_owned()));
            rest = &rest[end..];
        }
    }
    found
}

/// The lines outside of fenced code, without what stands in backticks.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.push((number + 1, line.split('`').step_by(2).collect()));
        }
    }
    found
}

fn broken(files: &[File], from: &File, link: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
    {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        from.path.clone()
    } else {
        resolve(&from.path, path)?
    };
    let document = files.iter().find(|f| f.path == target);
    if document.is_none() && !is_directory(files, &target) && !exists(&target) {
        return Some(format!("link to {link}: there is no {target}"));
    }
    if anchor.is_empty() {
        return None;
    }
    let known = document.is_some_and(|d| anchors(&d.text).iter().any(|a| a == anchor));
    (!known).then(|| format!("link to {link}: {target} has no heading #{anchor}"))
}

/// `path` as seen from the document `from`; `None` when it leaves the repository.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn is_directory(files: &[File], path: &str) -> bool {
    files
        .iter()
        .any(|f| f.path.starts_with(&format!("{path}/")))
}

/// Files that are not text (a picture) are not among those that were read.
fn exists(path: &str) -> bool {
    !cfg!(test) && Path::new(sh::root()).join(path).exists()
}

/// The anchors that the headings of a document get: lower case, spaces as hyphens, no punctuation.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if let (false, Some(heading)) = (fenced, line.strip_prefix('#')) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            found.push(
                heading
                    .chars()
                    .filter_map(|c| match c {
                        ' ' => Some('-'),
                        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                        _ => None,
                    })
                    .collect(),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn problems(text: &str) -> usize {
        let files = [
            file("README.md", "# Title\n"),
            file("docs/a.md", text),
            file(
                "docs/b.md",
                "# The `first` part, of two\n\n```\n# not a heading\n```\n",
            ),
        ];
        check(&files).len()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_noticed() {
        assert_eq!(problems("[b](c.md)"), 1);
        assert_eq!(problems("[b](b.md) and [c](c.md) and [d](d.md)"), 2);
        assert_eq!(problems("[b](b.md#no-such-part)"), 1);
        assert_eq!(problems("[b](b.md#not-a-heading)"), 1);
        assert_eq!(problems("[b](#nowhere)"), 1);
        assert_eq!(problems("[b](../docs/README.md)"), 1);
    }

    #[test]
    fn a_link_that_leads_somewhere_is_not() {
        assert_eq!(
            problems(
                "# Here\n[b](b.md), [top](../README.md#title), [c](b.md#the-first-part-of-two), [h](#here)"
            ),
            0
        );
        assert_eq!(
            problems(
                "[site](https://example.org/x.md), `[code](gone.md)`\n```\n[x](gone.md)\n```\n"
            ),
            0
        );
        assert_eq!(problems("[dir](../docs)"), 0);
    }
}
