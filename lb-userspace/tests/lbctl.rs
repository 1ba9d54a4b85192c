//! `lbctl` as it is run, beside a server that answers as `lbd` does.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use lb_userspace::control::protocol::{
    Connection, ConnectionsPage, ErrorKind, ErrorReply, ReloadOutcome, ReloadReport, Request,
    Response,
};
use lb_userspace::control::status::{ReasonStatus, Status, VrrpState, VrrpStatus};
use lb_userspace::io::control::{Limits, Server};
use lb_userspace::model::Protocol;

struct Daemon {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    server: Option<Server>,
    engine: Option<std::thread::JoinHandle<()>>,
}

/// A daemon whose reloads come out as `outcome`, or which fails when there is none.
fn daemon(outcome: Option<ReloadOutcome>) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("lbd.sock");
    let (server, mut calls) =
        Server::spawn(&socket, "no such group", 8, Limits::default()).unwrap();
    let engine = std::thread::spawn(move || {
        while let Some(call) = calls.blocking_recv() {
            let response = match call.request {
                Request::Status => {
                    let vrrp = VrrpStatus {
                        name: "VI_1".into(),
                        state: VrrpState::Master,
                        ..VrrpStatus::default()
                    };
                    let reason = ReasonStatus {
                        name: "never".into(),
                        ..ReasonStatus::default()
                    };
                    Response::Status(Box::new(Status {
                        vrrp: vec![vrrp],
                        reasons: vec![reason],
                        ..Status::default()
                    }))
                }
                Request::Connections(r) => {
                    let connection = |port| Connection {
                        protocol: Protocol::Tcp,
                        expires_ms: 61_000,
                        state: "ESTABLISHED".into(),
                        client: [10, 0, 0, 9].into(),
                        client_port: port,
                        vip: [192, 0, 2, 1].into(),
                        vip_port: 80,
                        server: [10, 0, 0, 1].into(),
                        server_port: 80,
                    };
                    let all = (1..=50_000u64)
                        .skip(r.cursor as usize)
                        .take(r.limit as usize);
                    let connections: Vec<_> = all
                        .map(|p| connection(p as u16))
                        .filter(|c| r.filter.matches(c))
                        .collect();
                    let end = r.cursor + u64::from(r.limit);
                    Response::Connections(ConnectionsPage {
                        connections,
                        next: (end < 50_000).then_some(end),
                    })
                }
                Request::Server { .. } | Request::Vrrp { .. } | Request::Log { .. } => {
                    Response::Error(ErrorReply {
                        kind: ErrorKind::Failed,
                        message: "there is no such service".into(),
                    })
                }
                Request::Reload { dry_run } => match outcome {
                    Some(outcome) => Response::Reload(ReloadReport {
                        outcome,
                        path: "x.conf".into(),
                        plan: vec![format!("dry run: {dry_run}")],
                        diagnostics: String::new(),
                        errors: 0,
                        warnings: 0,
                    }),
                    None => Response::Error(ErrorReply {
                        kind: ErrorKind::Failed,
                        message: "no such file".into(),
                    }),
                },
            };
            let _ = call.reply.send(response);
        }
    });
    Daemon {
        _dir: dir,
        socket,
        server: Some(server),
        engine: Some(engine),
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server = None;
        self.engine.take().map(std::thread::JoinHandle::join);
    }
}

fn command(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_lbctl"));
    c.args(args).env_remove("NO_COLOR").stdin(Stdio::null());
    c
}

impl Daemon {
    fn lbctl(&self, args: &[&str]) -> Output {
        command(args)
            .arg("--socket")
            .arg(&self.socket)
            .output()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn shows() {
    let d = daemon(None);
    let o = d.lbctl(&["show", "vrrp"]);
    assert_eq!((o.status.code(), text(&o.stderr).as_str()), (Some(0), ""));
    assert!(text(&o.stdout).contains("VI_1") && !text(&o.stdout).contains('\x1b'));
    assert!(text(&d.lbctl(&["show", "vrrp", "--color", "always"]).stdout).contains('\x1b'));
    assert!(text(&d.lbctl(&["show"]).stdout).starts_with("IP Virtual Server version"));
    assert!(text(&d.lbctl(&["show", "--stats"]).stdout).contains("InBytes"));
    assert!(text(&d.lbctl(&["show", "--rate"]).stdout).contains("InBPS"));
    assert!(!text(&d.lbctl(&["show", "reasons"]).stdout).contains("never"));
    assert!(text(&d.lbctl(&["show", "reasons", "--all"]).stdout).contains("never"));
    for what in [
        "services",
        "vrrp",
        "health",
        "reasons",
        "status",
        "connections",
    ] {
        let o = d.lbctl(&["show", what, "--json"]);
        assert_eq!(o.status.code(), Some(0), "{what}");
        serde_json::from_slice::<serde_json::Value>(&o.stdout).unwrap();
    }
}

#[test]
fn connections_are_filtered_and_limited() {
    let d = daemon(None);
    let lines = |args: &[&str]| text(&d.lbctl(args).stdout).lines().count();
    assert_eq!(lines(&["show", "--connections"]), 50_002);
    assert_eq!(lines(&["show", "connections", "--limit", "5000"]), 5002);
    assert_eq!(lines(&["show", "connections", "--client", "10.0.0.8"]), 2);
    assert_eq!(
        lines(&[
            "show",
            "connections",
            "--service",
            "192.0.2.1:80",
            "--limit",
            "3"
        ]),
        5
    );
    assert_eq!(
        lines(&["show", "connections", "--service", "192.0.2.1:80/udp"]),
        2
    );
    let none = d.lbctl(&["show", "connections", "--json", "--server", "10.0.0.2"]);
    assert_eq!(text(&none.stdout), "[]\n");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let d = daemon(None);
    let mut child = command(&["show", "connections", "--socket"])
        .arg(&d.socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let o = child.wait_with_output().unwrap();
    assert_eq!((o.status.code(), text(&o.stderr).as_str()), (Some(0), ""));
}

#[test]
fn watches_in_a_pipe() {
    let d = daemon(None);
    let o = d.lbctl(&["watch", "vrrp", "-n", "0.05", "--count", "3"]);
    assert_eq!(o.status.code(), Some(0));
    assert_eq!(text(&o.stdout).matches("VI_1").count(), 3);
    let o = d.lbctl(&["watch", "--json", "-n", "0.05", "-c", "2"]);
    let documents: Vec<Status> = text(&o.stdout)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(documents.len(), 2);
}

#[test]
fn reload_tells_by_its_exit_status() {
    let code = |outcome, args: &[&str]| daemon(outcome).lbctl(args).status.code();
    assert_eq!(code(Some(ReloadOutcome::Applied), &["reload"]), Some(0));
    assert_eq!(code(Some(ReloadOutcome::Unchanged), &["reload"]), Some(0));
    assert_eq!(code(Some(ReloadOutcome::Refused), &["reload"]), Some(2));
    assert_eq!(code(None, &["reload"]), Some(1));
    let o = daemon(Some(ReloadOutcome::WouldApply)).lbctl(&["reload", "--dry-run"]);
    assert_eq!(o.status.code(), Some(0));
    assert!(
        text(&o.stdout).contains("dry run: true"),
        "{}",
        text(&o.stdout)
    );
}

#[test]
fn no_daemon_is_exit_status_3_in_plain_words() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none");
    for args in [&["show"][..], &["watch", "-c", "1"], &["reload"]] {
        let o = command(args).arg("--socket").arg(&socket).output().unwrap();
        assert_eq!(o.status.code(), Some(3), "{args:?}");
        assert!(
            text(&o.stderr).starts_with("lbctl: lbd is not running: "),
            "{}",
            text(&o.stderr)
        );
        assert_eq!(text(&o.stderr).lines().count(), 1);
    }
}

#[test]
fn wrong_usage_is_exit_status_2() {
    for args in [
        &[][..],
        &["shew"],
        &["show", "everything"],
        &["show", "vrrp", "--stats"],
        &["show", "--service", "192.0.2.1:80"],
        &["show", "vrrp", "--limit", "3"],
        &["watch", "-n", "0"],
    ] {
        assert_eq!(
            command(args).output().unwrap().status.code(),
            Some(2),
            "{args:?}"
        );
    }
}

#[test]
fn check_and_lbd_t_tell_by_their_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.conf");
    let path = file.to_str().unwrap();
    let good = "vrrp_instance V {\n interface none0\n virtual_router_id 1\n priority 100\n \
                virtual_ipaddress {\n 192.0.2.1\n }\n}\n";
    let code = |program: &str, args: &[&str]| {
        let run = Command::new(program).args(args).output().unwrap();
        run.status.code().unwrap()
    };
    let (lbctl, lbd) = (env!("CARGO_BIN_EXE_lbctl"), env!("CARGO_BIN_EXE_lbd"));
    let codes = || {
        [
            code(lbctl, &["check", path]),
            code(lbd, &["-t", "--config", path]),
            code(lbctl, &["check", "--strict", path]),
        ]
    };
    assert_eq!(codes(), [2, 2, 2], "there is no file");
    for (text, wanted) in [
        (good.to_owned(), [0, 0, 0]),
        (good.replace("priority", "priorty"), [0, 0, 1]),
        (good.replace("100", "300"), [0, 0, 1]),
        (String::new(), [0, 0, 1]),
        (format!("include /none/a.conf\n{good}"), [0, 0, 1]),
        (format!("{good}}}\n"), [2, 2, 2]),
        (good.replace(" interface none0\n", ""), [2, 2, 2]),
    ] {
        std::fs::write(&file, &text).unwrap();
        assert_eq!(codes(), wanted, "{text}");
    }
}

#[test]
fn what_is_said_of_a_file_has_the_colour_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.conf");
    std::fs::write(&file, "global_defs {\n  nonsense\n}\n").unwrap();
    let file = file.to_str().unwrap();
    for args in [&["check", file][..], &["convert", file, "--to", "toml"]] {
        for (when, coloured) in [("always", true), ("auto", false), ("never", false)] {
            let o = command(args).args(["--color", when]).output().unwrap();
            let said = text(&o.stdout) + &text(&o.stderr);
            assert!(said.contains("nonsense"), "{said}");
            assert_eq!(said.contains('\x1b'), coloured, "{args:?} {when}");
        }
    }
}

#[test]
fn a_mistyped_word_is_explained_by_the_nearest() {
    let o = command(&["explain", "lthresold"]).output().unwrap();
    assert_eq!(o.status.code(), Some(1));
    let said = text(&o.stderr);
    assert!(said.contains("did you mean `lthreshold`?"), "{said}");
}

#[test]
fn the_words_of_a_line_are_no_unknown_keywords() {
    let docs = include_str!("../../docs/vrrp.md");
    let (_, table) = docs.split_once("\n## Words behind an address\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|row| row.starts_with("| `"));
    let first = rows.filter_map(|row| row.split("` |").next());
    let words = first.flat_map(|cell| cell.split("`, `"));
    let words: Vec<&str> = words
        .map(|word| word.trim_start_matches("| `"))
        .filter_map(|word| word.split(' ').next())
        .chain(["via", "nexthop", "iif"])
        .collect();
    assert!(words.len() > 12, "{words:?}");
    for word in words {
        let o = command(&["explain", word]).output().unwrap();
        assert_eq!(o.status.code(), Some(0), "{word}: {}", text(&o.stderr));
    }
    let said = command(&["explain", "no_track"]).output().unwrap().stdout;
    assert_eq!(
        text(&said),
        "no_track\n    a word in the line of an address or a route or a rule: docs/vrrp.md\n"
    );
}

#[test]
fn all_keywords_are_counted_by_what_becomes_of_them() {
    let o = command(&["explain", "--all"]).output().unwrap();
    let text = String::from_utf8(o.stdout).unwrap();
    let last = text.lines().last().unwrap();
    let numbers: Vec<usize> = last
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    let [all, acted, without, refused] = numbers[..] else {
        panic!("{last}");
    };
    assert_eq!(all, acted + without + refused, "{last}");
    let lines = |words: &[&str]| {
        let has = |l: &&str| words.iter().any(|w| l.trim_start().starts_with(w));
        text.lines().filter(has).count()
    };
    assert_eq!(text.lines().filter(|l| l.contains("   (in ")).count(), all);
    assert_eq!(lines(&["not supported yet"]), refused);
    assert_eq!(
        lines(&[
            "known, no effect",
            "known, has no meaning",
            "no effect any more"
        ]),
        without
    );
}
