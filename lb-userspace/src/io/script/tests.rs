//! Scripts that behave, and those that do not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

/// Waits for a condition, as there is nothing else to wait for.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = now();
    while !done() {
        assert!(
            now().since(begun) < Duration::from_secs(20),
            "{what} did not come"
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "between two looks at a condition"
        )]
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        let dir = tempfile::tempdir().unwrap();
        // Scripts of other users must get at what is inside.
        chmod(dir.path(), 0o755);
        Dir(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A shell script.
    fn script(&self, name: &str, text: &str) -> Script {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        chmod(&path, 0o755);
        command(&[path.to_str().unwrap()])
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn command(words: &[&str]) -> Script {
    Script {
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        user: None,
    }
}

const LONG: Duration = Duration::from_secs(60);

fn run(runner: &Runner, script: Script, limit: Duration) -> (Ended, Duration) {
    runner
        .scripts()
        .check(script, limit)
        .blocking_recv()
        .unwrap()
}

fn alive(pid: &str) -> bool {
    // A zombie that its new parent has not looked after yet is not alive.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| {
        let state = rest.trim_start().chars().next();
        state.is_some_and(|s| s != 'Z' && s != 'X')
    })
}

#[test]
fn the_exit_status_is_told_and_arguments_arrive_as_they_are() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let mut script = dir.script("s", "for a; do echo \"<$a>\" >> $1; done; exit 7");
    let out = dir.path("out");
    let arguments = [out.to_str().unwrap(), "a b", "", "$HOME *", "\"q\"", "ä"];
    script.command.extend(arguments.map(str::to_owned));
    assert_eq!(run(&runner, script, LONG).0, Ended::Exited(7));
    let want: String = arguments.iter().map(|a| format!("<{a}>\n")).collect();
    assert_eq!(dir.read("out"), want);
    assert_eq!(
        run(&runner, dir.script("k", "kill -9 $$"), LONG).0,
        Ended::Signalled(9)
    );
    assert_eq!(run(&runner, command(&["true"]), LONG).0, Ended::Exited(0));
}

#[test]
fn what_cannot_be_run_says_why() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let why = |script: Script| match run(&runner, script, LONG).0 {
        Ended::NotRun(why) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        why(command(&[dir.path("none").to_str().unwrap()])),
        "no such file"
    );
    assert_eq!(
        why(command(&[dir.0.path().to_str().unwrap()])),
        "it is no file"
    );
    let plain = dir.script("plain", "exit 0");
    chmod(&dir.path("plain"), 0o644);
    assert!(why(plain).contains("not executable"));
    assert!(why(command(&["no-such-program-anywhere"])).contains("PATH"));
    let stranger = Script {
        user: Some(crate::model::User {
            name: "no such user".into(),
            group: None,
        }),
        ..command(&["true"])
    };
    assert_eq!(why(stranger), "there is no user no such user");
}

#[test]
fn one_that_hangs_goes_with_all_that_it_started() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let text = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {0}.part; mv {0}.part {0}; while :; do sleep 1; done' &\n\
         while ! test -e {0}; do sleep 0.01; done; echo $$ > {1}; sleep 1000",
        dir.path("child").display(),
        dir.path("leader").display(),
    );
    let outcome = runner
        .scripts()
        .check(dir.script("s", &text), Duration::from_millis(700));
    let (ended, took) = outcome.blocking_recv().unwrap();
    assert_eq!(ended, Ended::TimedOut);
    assert!(
        took >= Duration::from_millis(700) && took < Duration::from_secs(10),
        "{took:?}"
    );
    for name in ["child", "leader"] {
        let pid = dir.read(name);
        assert_ne!(pid, "", "{name} was never there");
        wait_for("its end", || !alive(&pid));
    }
}

#[test]
fn a_flood_of_output_costs_little_and_does_not_hold_others_up() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let flood = runner
        .scripts()
        .check(dir.script("s", "yes"), Duration::from_secs(1));
    let begun = now();
    assert_eq!(run(&runner, command(&["true"]), LONG).0, Ended::Exited(0));
    assert!(
        now().since(begun) < Duration::from_millis(900),
        "it waited for the flood"
    );
    assert_eq!(flood.blocking_recv().unwrap().0, Ended::TimedOut);
}

#[test]
fn what_runs_on_in_the_background_is_left_alone_and_its_output_finds_a_reader() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let text = format!(
        "(sleep 0.3; echo still here; echo done > {}) &",
        dir.path("out").display()
    );
    let (ended, took) = run(&runner, dir.script("s", &text), LONG);
    assert_eq!(ended, Ended::Exited(0));
    assert!(took < Duration::from_millis(300), "{took:?}");
    wait_for("what it does in the background", || {
        dir.read("out") == "done\n"
    });
}

#[test]
fn it_has_a_group_of_its_own_and_no_descriptors_of_ours() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    // One that a library forgot to mark.
    let stray = std::fs::File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(
        &stray,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let text = format!(
        "ls -l /proc/$$/fd > {0}.fds; cut -d' ' -f1,5 /proc/$$/stat > {0}; echo words > /dev/stderr",
        dir.path("out").display()
    );
    assert_eq!(
        run(&runner, dir.script("s", &text), LONG).0,
        Ended::Exited(0)
    );
    let out = dir.read("out");
    let (pid, group) = out.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
    let listing = dir.read("out.fds");
    let open: Vec<&str> = listing.lines().filter(|l| l.contains(" -> ")).collect();
    // 0 to 2, the script itself, and the file that the listing goes to.
    let known = |l: &str| {
        let own = l.contains("pipe:") || l.contains(dir.0.path().to_str().unwrap());
        own || (l.contains("/dev/null") && l.contains(" 0 ->"))
    };
    let strange = open.iter().filter(|l| !known(l));
    assert_eq!(strange.collect::<Vec<_>>(), [&""; 0], "{listing}");
    drop(stray);
}

#[test]
fn notifications_that_wait_are_run_before_the_end() {
    let dir = Dir::new();
    let runner = Runner::spawn().unwrap();
    let script = dir.script("s", &format!("echo $1 >> {}", dir.path("out").display()));
    for n in 0..200 {
        let mut script = script.clone();
        script.command.push(n.to_string());
        assert!(runner.scripts().notify(script));
    }
    drop(runner);
    let out = dir.read("out");
    let mut got: Vec<u32> = out.lines().map(|l| l.parse().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
}

#[test]
fn a_check_that_nobody_waits_for_is_ended() {
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let text = format!(
        "echo $$ > {0}.part; mv {0}.part {0}; sleep 1000",
        dir.path("pid").display()
    );
    let outcome = runner.scripts().check(dir.script("s", &text), LONG);
    wait_for("its start", || !dir.read("pid").is_empty());
    drop(outcome);
    let pid = dir.read("pid");
    wait_for("its end", || !alive(&pid));
}

#[test]
fn a_check_that_runs_when_the_daemon_ends_is_ended() {
    let dir = Dir::new();
    let runner = Runner::spawn().unwrap();
    let text = format!(
        "echo $$ > {0}.part; mv {0}.part {0}; sleep 1000",
        dir.path("pid").display()
    );
    let outcome = runner.scripts().check(dir.script("s", &text), LONG);
    wait_for("its start", || !dir.read("pid").is_empty());
    drop(runner);
    let pid = dir.read("pid");
    wait_for("its end", || !alive(&pid));
    drop(outcome);
}

#[test]
fn a_script_of_root_that_others_may_write_is_refused_where_that_is_asked_for() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    // Not in a directory that others may write.
    let dir = tempfile::tempdir_in("/root").unwrap();
    let (path, link) = (dir.path().join("s"), dir.path().join("link"));
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let root = Some(crate::model::User {
        name: "root".into(),
        group: None,
    });
    let nobody = Some(crate::model::User {
        name: "nobody".into(),
        group: None,
    });
    let script = |path: &Path, user: &Option<crate::model::User>| Script {
        command: vec![path.to_str().unwrap().to_owned()],
        user: user.clone(),
    };
    for (mode, of_dir, safe) in [
        (0o755, 0o755, true),
        (0o775, 0o755, true),
        (0o757, 0o755, false),
        (0o755, 0o757, false),
        (0o755, 0o1777, true),
    ] {
        chmod(&path, mode);
        chmod(dir.path(), of_dir);
        for named in [&path, &link] {
            let vetted = vet::vet(&script(named, &root), true);
            assert_eq!(vetted.is_ok(), safe, "{mode:o} in {of_dir:o}: {vetted:?}");
            let warned = vet::vet(&script(named, &root), false).unwrap();
            assert_eq!(warned.unsafe_path.is_none(), safe);
        }
        // Whoever runs it without root's rights is not protected from others.
        let other = vet::vet(&script(&path, &nobody), true);
        if dir.path().starts_with("/root")
            && std::fs::metadata("/root").unwrap().permissions().mode() & 1 == 1
        {
            assert!(other.is_ok(), "{other:?}");
        }
    }
    // The group of root may write, another group may not.
    chmod(dir.path(), 0o755);
    chmod(&path, 0o775);
    nix::unistd::chown(&path, None, Some(nix::unistd::Gid::from_raw(12345))).unwrap();
    assert!(vet::vet(&script(&path, &root), true).is_err());
    nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(12345)), None).unwrap();
    chmod(&path, 0o755);
    assert!(vet::vet(&script(&path, &root), true).is_err());
}

#[test]
fn it_runs_as_its_user_and_without_other_groups() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let (runner, dir) = (Runner::spawn().unwrap(), Dir::new());
    let out = dir.path("out");
    std::fs::write(&out, "").unwrap();
    chmod(&out, 0o666);
    let text = format!(
        "echo words > /dev/stderr && id -u >> {0}; id -G >> {0}",
        out.display()
    );
    let mut script = dir.script("s", &text);
    script.user = Some(crate::model::User {
        name: "nobody".into(),
        group: Some("daemon".into()),
    });
    assert_eq!(run(&runner, script, LONG).0, Ended::Exited(0));
    let daemon = nix::unistd::Group::from_name("daemon")
        .unwrap()
        .unwrap()
        .gid;
    assert_eq!(dir.read("out"), format!("65534\n{daemon}\n"));
}
