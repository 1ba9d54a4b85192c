//! The pure layers stay pure: they are given what they need to know and say what should be done.

use super::{File, Problem, source};

/// Directories and files below `lb-userspace/src` that hold no input or output.
const PURE: &[&str] = &[
    "config",
    "model",
    "vrrp",
    "bfd",
    "health",
    "plan",
    "realserver",
    "engine",
    "time",
];

/// What a pure layer may not name, and what it does instead.
const BANNED: &[(&str, &str)] = &[
    (
        "std::time::Instant",
        "`now` is an argument: crate::time::Time",
    ),
    (
        "std::time::SystemTime",
        "`now` is an argument: crate::time::Time",
    ),
    ("Instant::now", "`now` is an argument: crate::time::Time"),
    ("SystemTime::now", "`now` is an argument: crate::time::Time"),
    ("std::fs", "files are read in io/"),
    ("std::env", "the environment is read in io/"),
    ("std::process", "processes are started in io/"),
    ("std::thread", "a pure layer is called, it does not run"),
    ("std::os", "system calls belong to io/"),
    ("std::io::stdin", "input belongs to io/"),
    ("std::io::stdout", "output belongs to io/"),
    ("std::io::stderr", "output belongs to io/"),
    ("std::net::TcpStream", "sockets belong to io/"),
    ("std::net::TcpListener", "sockets belong to io/"),
    ("std::net::UdpSocket", "sockets belong to io/"),
    ("std::net::ToSocketAddrs", "names are resolved in io/"),
    ("tokio", "a pure layer is not async"),
    ("aya", "maps are written in io/"),
    ("nix", "system calls belong to io/"),
    ("libc", "system calls belong to io/"),
    ("rtnetlink", "netlink belongs to io/"),
    ("socket2", "sockets belong to io/"),
    ("rand", "randomness is an argument"),
    (
        "crate::io",
        "io/ depends on the pure layers, not they on it",
    ),
    ("println", "what is printed is returned"),
    ("eprintln", "what is printed is returned"),
];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| is_pure(&f.path)) {
        for path in source::paths(&file.text) {
            // `fs` of `use std::fs` stands as `fs::read` later; the import is what is reported.
            if let Some((name, instead)) = BANNED
                .iter()
                .find(|(name, _)| begins_with(&path.segments, name))
            {
                problems.push(Problem::new(
                    file,
                    path.line,
                    format!("`{name}` in a pure layer: {instead}"),
                ));
            }
        }
    }
    problems
}

fn is_pure(path: &str) -> bool {
    let Some(below) = path
        .strip_prefix("lb-userspace/src/")
        .and_then(|p| p.strip_suffix(".rs"))
    else {
        return false;
    };
    let mut parts = below.split('/');
    let layer = parts.next().unwrap_or_default();
    PURE.contains(&layer) && !parts.any(|part| part == "tests" || part.ends_with("_tests"))
}

fn begins_with(segments: &[String], banned: &str) -> bool {
    let mut wanted = banned.split("::");
    let mut own = segments.iter();
    // `core::time` and `std::time` are the same.
    wanted.all(|w| {
        own.next()
            .is_some_and(|s| s == w || (w == "std" && s == "core"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        check(&[file(path, text)]).len()
    }

    #[test]
    fn every_ban_is_noticed_in_every_pure_layer() {
        for layer in PURE {
            for (name, _) in BANNED {
                let text = format!("fn f() {{ {name}(); }}");
                assert_eq!(
                    problems(&format!("lb-userspace/src/{layer}.rs"), &text),
                    1,
                    "{name} in {layer}"
                );
                assert_eq!(
                    problems(&format!("lb-userspace/src/{layer}/deep/er.rs"), &text),
                    1,
                    "{name} in {layer}"
                );
            }
        }
    }

    #[test]
    fn an_import_is_noticed_however_it_is_written() {
        for text in [
            "use std::fs;",
            "use std::{fmt, fs::File};",
            "use std::net::{IpAddr, TcpStream};",
            "use tokio::sync::mpsc;",
            "pub use libc::c_int as int;",
        ] {
            assert_eq!(problems("lb-userspace/src/engine.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn what_is_pure_or_a_test_or_elsewhere_is_left_alone() {
        let impure = "use std::fs;";
        assert_eq!(problems("lb-userspace/src/io/files.rs", impure), 0);
        assert_eq!(problems("lb-userspace/src/engine/tests.rs", impure), 0);
        assert_eq!(
            problems(
                "lb-userspace/src/engine.rs",
                "#[cfg(test)] mod t { use std::fs; }"
            ),
            0
        );
        let pure =
            "use std::net::{IpAddr, SocketAddr}; use std::time::Duration; use crate::time::Time;";
        assert_eq!(problems("lb-userspace/src/engine.rs", pure), 0);
    }
}
