//! Scripts and FIFOs hear of the same as under keepalived, word by word.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use nix::sys::stat::Mode;

const LIMIT: Duration = Duration::from_secs(20);
const VIPS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 77, 0, 100),
    Ipv4Addr::new(10, 77, 0, 101),
    Ipv4Addr::new(10, 77, 0, 102),
];

/// What one director's scripts and FIFOs were told.
struct Ear {
    dir: tempfile::TempDir,
    fifos: BTreeMap<&'static str, File>,
}

impl Ear {
    fn new() -> Result<Ear> {
        let dir = tempfile::tempdir()?;
        let script = dir.path().join("tell");
        // One write for each line: several scripts run at a time.
        std::fs::write(
            &script,
            "#!/bin/sh\nout=$1\nshift\necho \"$*\" >> \"$out\"\n",
        )?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let mut fifos = BTreeMap::new();
        for name in ["all", "vrrp"] {
            let path = dir.path().join(name);
            nix::unistd::mkfifo(&path, Mode::S_IRWXU)?;
            let mut open = OpenOptions::new();
            let fifo = open.read(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
            fifos.insert(name, fifo);
        }
        Ok(Ear { dir, fifos })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// One instance that follows the file `flag` in a way.
    fn tracking(&self, priority: u8, way: &Way) -> String {
        let path = self.path("flag");
        let (define, track) = match way.by {
            By::Script => (
                format!(
                    "vrrp_script flag {{\n  script \"/usr/bin/test -e {path}\"\n  interval 1\n  fall 1\n  rise 1\n}}\n"
                ),
                "track_script",
            ),
            By::File => (
                format!("track_file flag {{\n  file {path}\n  weight 2\n}}\n"),
                "track_file",
            ),
        };
        let line = way.line;
        format!(
            "global_defs {{\n  script_user root\n  notify_fifo {}\n  vrrp_notify_fifo {}\n}}\n\
             {define}vrrp_instance alone {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 9\n  \
             priority {priority}\n  version 3\n  advert_int 0.1\n  {track} {{\n    flag {line}\n  }}\n  \
             virtual_ipaddress {{\n    {}\n  }}\n}}\n",
            self.path("all"),
            self.path("vrrp"),
            VIPS[0]
        )
    }

    /// The file of a director: two instances in a group and one alone.
    fn conf(&self, priority: u8) -> String {
        let tell = |name: &str| {
            let words = format!("{} '{}' {name}", self.path("tell"), self.path("out"));
            format!("  {name} \"{words}\" root\n")
        };
        let notify: String = [
            "notify_master",
            "notify_backup",
            "notify_fault",
            "notify_stop",
            "notify",
        ]
        .map(tell)
        .concat();
        let once = ["startup_script", "shutdown_script"].map(tell).concat();
        let mut t = format!(
            "global_defs {{\n  script_user root\n{once}  notify_fifo {}\n  vrrp_notify_fifo {}\n}}\n\
             vrrp_sync_group \"the group\" {{\n  group {{\n    A\n    B\n  }}\n{notify}}}\n",
            self.path("all"),
            self.path("vrrp")
        );
        for (name, vip) in ["A", "B", "alone"].iter().zip(VIPS) {
            t += &format!(
                "vrrp_instance {name} {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {}\n  \
                 priority {priority}\n  version 3\n  advert_int 0.1\n{notify}{}\
                 virtual_ipaddress {{\n    {vip}\n  }}\n}}\n",
                vip.octets()[3],
                tell("notify_master_rx_lower_pri"),
            );
        }
        t
    }

    /// What the scripts wrote, and the lines of each FIFO.
    fn heard(&mut self) -> Result<Heard> {
        let mut scripts: Vec<String> = std::fs::read_to_string(self.dir.path().join("out"))?
            .lines()
            .map(str::to_owned)
            .collect();
        // They run beside each other.
        scripts.sort();
        let mut fifos = BTreeMap::new();
        for (name, fifo) in &mut self.fifos {
            let mut text = Vec::new();
            match fifo.read_to_end(&mut text) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e.into()),
                Ok(_) | Err(_) => {}
            }
            let text = String::from_utf8(text)?;
            let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for line in text.lines() {
                let (who, what) = line.rsplit_once("\" ").context("a line of the FIFO")?;
                of.entry(who.to_owned()).or_default().push(what.to_owned());
            }
            fifos.insert(*name, of);
        }
        Ok(Heard { scripts, fifos })
    }
}

/// Scripts sorted; of each FIFO the lines of each instance and group in their order (with keepalived
/// it is left to chance which instance comes first).
#[derive(Debug, PartialEq)]
struct Heard {
    scripts: Vec<String>,
    fifos: BTreeMap<&'static str, BTreeMap<String, Vec<String>>>,
}

/// Both start, the first loses its link and gets it back, the first stops, the second stops.
fn story(kind: Kind) -> Result<[Heard; 2]> {
    let mut ears = [Ear::new()?, Ear::new()?];
    let mut pair = PairConf::http(3, Duration::from_millis(100));
    pair.services.clear();
    pair.vips = VIPS.to_vec();
    let mut spec = Spec::pair(&pair, [kind; 2]);
    spec.confs = [ears[0].conf(100), ears[1].conf(90)];
    let mut lab = Lab::new(&spec)?;
    let masters = |lab: &Lab, first: bool, second: bool| {
        wait_for("the masters", LIMIT, || {
            let here = |d: usize, vip| lab.directors[d].has_address(vip).unwrap_or(false);
            let right = |vip| here(0, vip) == first && here(1, vip) == second;
            VIPS.iter().all(|vip| right(*vip)).then_some(())
        })
        .with_context(|| lab.logs())
    };
    // What was told last, so that nothing is cut off by what comes next.
    let told = |ear: &Ear, line: &str, times: usize| {
        wait_for(line, LIMIT, || {
            let text = std::fs::read_to_string(ear.dir.path().join("out")).unwrap_or_default();
            (text.matches(line).count() == times).then_some(())
        })
    };
    let all_told = |lab: &Lab, ear: &Ear, state: &str, times: usize| {
        for who in [
            "INSTANCE A",
            "INSTANCE B",
            "INSTANCE alone",
            "GROUP the group",
        ] {
            told(ear, &format!("notify {who} {state} "), times).with_context(|| lab.logs())?;
        }
        anyhow::Ok(())
    };
    lab.directors[0].start()?;
    masters(&lab, true, false)?;
    all_told(&lab, &ears[0], "MASTER", 1)?;
    lab.directors[1].start()?;
    all_told(&lab, &ears[1], "BACKUP", 1)?;
    lab.strike(Event::LinkDownLocal, 0)?;
    masters(&lab, false, true)?;
    all_told(&lab, &ears[0], "FAULT", 1)?;
    all_told(&lab, &ears[1], "MASTER", 1)?;
    lab.recover(Event::LinkDownLocal, 0)?;
    masters(&lab, true, false)?;
    all_told(&lab, &ears[0], "MASTER", 2)?;
    all_told(&lab, &ears[1], "BACKUP", 2)?;
    lab.directors[0].terminate()?;
    lab.directors[0].wait_stopped(LIMIT)?;
    masters(&lab, false, true)?;
    all_told(&lab, &ears[1], "MASTER", 2)?;
    lab.directors[1].terminate()?;
    lab.directors[1].wait_stopped(LIMIT)?;
    for ear in &ears {
        all_told(&lab, ear, "STOP", 1)?;
        let out = std::fs::read_to_string(ear.path("out"))?;
        let lines: Vec<&str> = out.lines().collect();
        let once = (lines.first().copied(), lines.last().copied());
        let want = (Some("startup_script"), Some("shutdown_script"));
        anyhow::ensure!(once == want, "{out}");
    }
    let heard = [ears[0].heard()?, ears[1].heard()?];
    lab.finish()?;
    Ok(heard)
}

#[test]
fn scripts_and_fifos_hear_the_same_as_under_keepalived() -> Result<()> {
    let theirs = story(Kind::Keepalived)?;
    let ours = story(Kind::Lbd)?;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        println!("{theirs:#?}");
        assert_eq!(ours, theirs);
        assert_eq!(ours.fifos["all"], ours.fifos["vrrp"]);
    }
    let alone = &ours[0].fifos["all"]["INSTANCE \"alone"];
    let want = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"];
    assert_eq!(*alone, want.map(|state| format!("{state} 100")));
    Ok(())
}

/// What the file `flag` is followed by.
enum By {
    Script,
    File,
}

/// How the file `flag` is followed.
struct Way {
    by: By,
    /// What stands behind its name.
    line: &'static str,
    /// What is in it while it is bad; none: it is not there.
    bad: Option<&'static str>,
    /// What the FIFO is told when it becomes bad.
    told: &'static str,
}

const WAYS: [Way; 5] = [
    Way {
        by: By::Script,
        line: "",
        bad: None,
        told: "FAULT 100",
    },
    Way {
        by: By::Script,
        line: "weight -30",
        bad: None,
        told: "BACKUP 70",
    },
    Way {
        by: By::File,
        line: "weight 0",
        bad: Some("1"),
        told: "FAULT 100",
    },
    // Twice what is in it.
    Way {
        by: By::File,
        line: "",
        bad: Some("-15"),
        told: "BACKUP 70",
    },
    Way {
        by: By::File,
        line: "",
        bad: Some("-127"),
        told: "FAULT 100",
    },
];

/// Waits until the first address is at the first director alone, or at the second alone.
fn first_is_master(lab: &Lab, first: bool) -> Result<()> {
    wait_for("the master", LIMIT, || {
        let here = |d: usize| lab.directors[d].has_address(VIPS[0]).unwrap_or(false);
        (here(0) == first && here(1) != first).then_some(())
    })
    .with_context(|| lab.logs())
}

/// What the first director follows becomes bad and good again: what the FIFOs of both were told.
fn tracked(kind: Kind, way: &Way) -> Result<[Vec<String>; 2]> {
    let mut ears = [Ear::new()?, Ear::new()?];
    for ear in &ears {
        std::fs::write(ear.path("flag"), "")?;
        std::fs::write(ear.path("out"), "")?;
    }
    let mut pair = PairConf::http(3, Duration::from_millis(100));
    pair.services.clear();
    pair.vips = vec![VIPS[0]];
    let mut spec = Spec::pair(&pair, [kind; 2]);
    spec.confs = [ears[0].tracking(100, way), ears[1].tracking(90, way)];
    let mut lab = Lab::new(&spec)?;
    lab.directors[0].start()?;
    first_is_master(&lab, true)?;
    lab.directors[1].start()?;
    lab.directors[1].wait_ready(LIMIT)?;
    match way.bad {
        Some(text) => std::fs::write(ears[0].path("flag"), text)?,
        None => std::fs::remove_file(ears[0].path("flag"))?,
    }
    first_is_master(&lab, false)?;
    std::fs::write(ears[0].path("flag"), "")?;
    first_is_master(&lab, true)?;
    for director in 0..2 {
        lab.directors[director].terminate()?;
        lab.directors[director].wait_stopped(LIMIT)?;
        if director == 0 {
            first_is_master(&lab, false)?;
        }
    }
    let mut lines = [Vec::new(), Vec::new()];
    for (lines, ear) in lines.iter_mut().zip(&mut ears) {
        let all = ear.heard()?.fifos.remove("all").unwrap_or_default();
        *lines = all.into_values().flatten().collect();
    }
    lab.finish()?;
    Ok(lines)
}

#[test]
fn what_is_followed_moves_the_address_as_under_keepalived() -> Result<()> {
    for way in &WAYS {
        let theirs = tracked(Kind::Keepalived, way)?;
        let ours = tracked(Kind::Lbd, way)?;
        println!("{theirs:#?}");
        assert_eq!(ours, theirs, "{}", way.told);
        assert!(ours[0].iter().any(|l| l == way.told), "{ours:?}");
    }
    Ok(())
}

/// A director whose servers are all dead gives its address to one whose servers live.
#[test]
fn a_director_without_living_servers_yields() -> Result<()> {
    let mut pair = PairConf::http(3, Duration::from_millis(100));
    pair.vips = vec![VIPS[0]];
    let dir = tempfile::tempdir()?;
    let file = |director: usize| dir.path().join(director.to_string());
    let mut spec = Spec::pair(&pair, [Kind::Lbd; 2]);
    for (director, conf) in spec.confs.iter_mut().enumerate() {
        *conf = format!(
            "track_file servers {{\n  file {}\n  weight 0\n}}\n\
             vrrp_instance V {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 9\n  priority {}\n  \
             version 3\n  advert_int 0.1\n  track_service {{\n    {vip} 80 tcp weight -30\n  }}\n  \
             virtual_ipaddress {{\n    {vip}\n  }}\n}}\n\
             virtual_server {vip} 80 {{\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  \
             real_server 10.77.0.21 80 {{\n    FILE_CHECK {{\n      track_file servers\n    }}\n  }}\n}}\n",
            file(director).display(),
            100 - 10 * director,
            vip = VIPS[0],
        );
        std::fs::write(file(director), "0")?;
    }
    let mut lab = Lab::new(&spec)?;
    lab.directors[0].start()?;
    first_is_master(&lab, true)?;
    lab.directors[1].start()?;
    lab.directors[1].wait_ready(LIMIT)?;
    std::fs::write(file(0), "1")?;
    first_is_master(&lab, false)?;
    std::fs::write(file(0), "0")?;
    first_is_master(&lab, true)?;
    // When nobody has any, the better one keeps the address.
    std::fs::write(file(1), "1")?;
    wait_for("the second one's servers to be dead", LIMIT, || {
        lab.directors[1]
            .log()
            .contains("priority 90 -> 60")
            .then_some(())
    })
    .with_context(|| lab.logs())?;
    std::fs::write(file(0), "1")?;
    wait_for("the first one's servers to be dead", LIMIT, || {
        let log = lab.directors[0].log();
        (log.matches("priority 100 -> 70").count() == 2).then_some(())
    })
    .with_context(|| lab.logs())?;
    anyhow::ensure!(lab.directors[0].has_address(VIPS[0])?, "{}", lab.logs());
    lab.finish()
}

/// keepalived cannot be compared: in a network namespace of its own it hears of no process.
#[test]
fn a_process_that_ends_moves_the_address() -> Result<()> {
    let mut pair = PairConf::http(3, Duration::from_millis(100));
    pair.services.clear();
    pair.vips = vec![VIPS[0]];
    let word = |director: usize| format!("{}{director}", std::process::id());
    let start = |director| {
        std::process::Command::new("sleep")
            .arg(word(director))
            .spawn()
    };
    let mut spec = Spec::pair(&pair, [Kind::Lbd; 2]);
    for (director, conf) in spec.confs.iter_mut().enumerate() {
        *conf = format!(
            "vrrp_track_process p {{\n  process sleep {}\n  weight -30\n}}\n\
             vrrp_instance V {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 9\n  priority {}\n  \
             version 3\n  advert_int 0.1\n  track_process {{\n    p\n  }}\n  \
             virtual_ipaddress {{\n    {}\n  }}\n}}\n",
            word(director),
            100 - 10 * director,
            VIPS[0],
        );
    }
    let mut processes = [start(0)?, start(1)?];
    let mut lab = Lab::new(&spec)?;
    lab.directors[0].start()?;
    first_is_master(&lab, true)?;
    lab.directors[1].start()?;
    lab.directors[1].wait_ready(LIMIT)?;
    processes[0].kill()?;
    processes[0].wait()?;
    first_is_master(&lab, false)?;
    processes[0] = start(0)?;
    first_is_master(&lab, true)?;
    for mut process in processes {
        process.kill()?;
        process.wait()?;
    }
    lab.finish()
}

#[test]
fn a_daemon_that_nobody_listens_to_and_whose_scripts_are_missing_works_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut pair = PairConf::http(3, Duration::from_millis(100));
    pair.services.clear();
    // Made by the daemon, and nobody opens it; a script that is not there, one that hangs, one that
    // is no script, and one that floods.
    let fifo = dir.path().join("fifo");
    pair.global_lines = format!("  script_user root\n  notify_fifo {}\n", fifo.display());
    let script = |name: &str, text: &str, mode| -> Result<String> {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(path.display().to_string())
    };
    pair.instance_lines = format!(
        "  notify_master {}\n  notify_backup {}\n  notify_fault {}\n  notify {}\n  notify_stop {}\n",
        script("hangs", "trap '' TERM; sleep 600", 0o755)?,
        script("floods", "echo first words; exec yes", 0o755)?,
        script("plain", "exit 0", 0o644)?,
        dir.path().join("none").display(),
        script("fails", "exit 3", 0o755)?,
    );
    let mut lab = Lab::new(&Spec::pair(&pair, [Kind::Lbd; 2]))?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, pair.advert, &ping, LIMIT)?;
    for event in [Event::LinkDownLocal, Event::CleanStop] {
        lab.strike(event, 0)?;
        wait_for("the second director to take over", LIMIT, || {
            lab.directors[1]
                .has_address(lab.vip())
                .ok()
                .filter(|here| *here)
        })
        .with_context(|| lab.logs())?;
        let log = lab.directors[0].log();
        if event == Event::CleanStop {
            let status = lab.directors[0].wait_stopped(LIMIT)?;
            anyhow::ensure!(status.success(), "{status}: {}", lab.directors[0].log());
        } else {
            for words in ["plain cannot be run", "none cannot be run", "first words"] {
                anyhow::ensure!(log.contains(words), "no `{words}` in {log}");
            }
            lab.recover(event, 0)?;
            lab.settle(0, None, pair.advert, &ping, LIMIT)?;
        }
    }
    anyhow::ensure!(
        lab.directors[0].log().contains("exit status 3"),
        "{}",
        lab.directors[0].log()
    );
    anyhow::ensure!(
        !Path::new(&fifo).exists() || lab.directors[1].running(),
        "the FIFO is left"
    );
    // Scripts of notifications are nobody's children any more: end those that hang.
    drop(ping);
    end_those_of(dir.path())?;
    lab.finish()
}

/// Ends what still runs from a directory.
fn end_those_of(dir: &Path) -> Result<()> {
    let dir = dir.display().to_string();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else {
            continue;
        };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&dir) {
            let group = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
    }
    Ok(())
}
