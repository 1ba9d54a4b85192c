//! Rules of this repository that the compiler does not know, checked over its files.
//!
//! A check is a function from files to problems, so that its tests can show it files that break
//! the rule.

mod codes;
mod files;
mod layers;
mod links;
mod source;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::sh;

/// A text file of the repository.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    path: String,
    text: String,
}

/// A rule that is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    path: String,
    /// 1-based; 0: the whole file.
    line: usize,
    what: String,
}

impl Problem {
    fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Problem {
            path: file.path.clone(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// The task.
pub(crate) fn main() -> Result<()> {
    let problems = check(&repository()?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{} rule(s) broken", problems.len())
}

fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = layers::check(files);
    problems.extend(files::check(files));
    problems.extend(links::check(files));
    problems.extend(codes::check(files));
    problems
}

/// All text files below the root, but for what is built and what git keeps.
fn repository() -> Result<Vec<File>> {
    let mut found = Vec::new();
    walk(sh::root(), "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, found: &mut Vec<File>) -> Result<()> {
    for entry in dir
        .read_dir()
        .with_context(|| format!("cannot read {}", dir.display()))?
    {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("{}: a name that is not UTF-8", entry.path().display());
        };
        if name == ".git" || (prefix.is_empty() && name == "target") {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found)?;
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            found.push(File { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_keeps_its_rules() {
        let files = repository().unwrap();
        assert!(
            files.iter().any(|f| f.path == "lb-userspace/src/model.rs"),
            "the walk found the sources"
        );
        let problems: Vec<String> = check(&files).iter().map(Problem::to_string).collect();
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }

    /// For the tests of the checks.
    pub(super) fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }
}
