//! Rules for single files: length, names, nothing of the machine it was written on.

use super::{File, Problem};

/// Lines that a source file may have.
const MOST_LINES: usize = 600;

/// Lines that a file of tests may have: one story after the other, read one at a time.
const MOST_LINES_OF_TESTS: usize = 900;

const TABLE: &str = "a table with one entry a keyword";

/// Longer files, each with the reason why it is one.
const LONG: &[(&str, &str)] = &[
    ("lb-userspace/src/config/keywords/global.rs", TABLE),
    ("lb-userspace/src/config/keywords/vrrp.rs", TABLE),
];

/// Beginnings of paths that mean one person's machine.
const MACHINE_PATHS: &[&str] = &["/home/", "/root/", "/work/", "/Users/", "/tmp/w/"];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = lengths(files, LONG);
    problems.extend(files.iter().flat_map(single));
    problems
}

/// The rules that look at one file.
fn single(file: &File) -> Vec<Problem> {
    let mut problems = machine_paths(file);
    if file.path.ends_with("/mod.rs") {
        let what = "a module is `foo.rs` beside `foo/`, not `foo/mod.rs`";
        problems.push(Problem::new(file, 0, what));
    }
    problems
}

fn lengths(files: &[File], long: &[(&str, &str)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        let listed = long.iter().any(|(path, _)| *path == file.path);
        let most = if is_tests(&file.path) {
            MOST_LINES_OF_TESTS
        } else {
            MOST_LINES
        };
        if lines > most && !listed {
            let what = format!(
                "{lines} lines: cut it in two, or list it in xtask's tidy/files.rs with a reason"
            );
            problems.push(Problem::new(file, 0, what));
        }
        if lines <= most && listed {
            problems.push(Problem::new(
                file,
                0,
                "listed as long in xtask's tidy/files.rs, but it is not",
            ));
        }
    }
    for (path, reason) in long {
        if reason.is_empty() || !files.iter().any(|f| f.path == *path) {
            let what = "listed as long in xtask's tidy/files.rs: it must exist, and have a reason"
                .to_owned();
            problems.push(Problem {
                path: (*path).to_owned(),
                line: 0,
                what,
            });
        }
    }
    problems
}

fn is_tests(path: &str) -> bool {
    path.split('/')
        .skip(1)
        .any(|part| part == "tests" || part == "tests.rs")
}

fn machine_paths(file: &File) -> Vec<Problem> {
    // This file has to name them.
    if file.path == "xtask/src/tidy/files.rs" {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| contains_path(line, path)) {
            problems.push(Problem::new(
                file,
                number + 1,
                format!("a path of one machine: {path}..."),
            ));
        }
    }
    problems
}

/// Whether an absolute path beginning with `path` stands in `line`; `a/home/b` is not one.
fn contains_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at].ends_with(|c: char| {
            c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '~')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = file("lb-userspace/src/x.rs", &"\n".repeat(MOST_LINES + 1));
        let short = file("lb-userspace/src/y.rs", "\n");
        assert_eq!(lengths(&[long], &[]).len(), 1);
        let tests = [file(
            "lb-userspace/src/x/tests.rs",
            &"\n".repeat(MOST_LINES + 1),
        )];
        assert_eq!(lengths(&tests, &[]).len(), 0);
        let tests = [file(
            "lb-userspace/src/x/tests.rs",
            &"\n".repeat(MOST_LINES_OF_TESTS + 1),
        )];
        assert_eq!(lengths(&tests, &[]).len(), 1);
        assert_eq!(
            lengths(
                &[file("a.rs", &"\n".repeat(MOST_LINES + 1))],
                &[("a.rs", "a table")]
            )
            .len(),
            0
        );
        assert_eq!(
            lengths(
                &[file("a.rs", &"\n".repeat(MOST_LINES + 1))],
                &[("a.rs", "")]
            )
            .len(),
            1
        );
        assert_eq!(
            lengths(&[short], &[("lb-userspace/src/y.rs", "was long once")]).len(),
            1,
            "no longer needed"
        );
        assert_eq!(
            lengths(&[], &[("gone.rs", "a table")]).len(),
            1,
            "no longer there"
        );
    }

    #[test]
    fn a_mod_rs_is_noticed() {
        assert_eq!(single(&file("lb-userspace/src/io/mod.rs", "")).len(), 1);
    }

    #[test]
    fn a_path_of_one_machine_is_noticed() {
        for path in MACHINE_PATHS {
            assert_eq!(
                single(&file("docs/a.md", &format!("see {path}x"))).len(),
                1,
                "{path}"
            );
        }
        assert_eq!(
            single(&file(
                "docs/a.md",
                "https://example.org/home/page, ./work/x"
            ))
            .len(),
            0
        );
    }
}
