//! lbd as a service: what it keeps of root's power, and what it tells the service manager.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_userspace::control::status::VrrpState;
use lb_userspace::io::clock::unix_now;
use lb_userspace::model::Protocol;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);

/// `linux/capability.h`.
const CHOWN: u64 = 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const KILL: u64 = 1 << 5;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_NICE: u64 = 1 << 23;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
const ALWAYS: u64 = NET_ADMIN | NET_RAW | SYS_NICE | PERFMON | BPF;

/// A field of all threads' `/proc/PID/task/TID/status`, which must be the same for all.
fn of_all_threads(director: &Director, field: &str) -> Result<u64> {
    let pid = director.pid().context("it does not run")?;
    let mut seen = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix(field));
        let value = line
            .with_context(|| format!("no {field}"))?
            .trim()
            .to_owned();
        seen.push(u64::from_str_radix(&value, 16)?);
    }
    assert!(seen.len() >= 4, "{} threads", seen.len());
    assert!(seen.iter().all(|v| *v == seen[0]), "{field} {seen:x?}");
    Ok(seen[0])
}

/// Checks of all servers pass, the address is there, and clients are served.
fn works(lab: &Lab) -> Result<()> {
    lab.directors[0].wait_status("a master whose checks pass", LIMIT, |s| {
        let master = s.vrrp.iter().all(|v| v.state == VrrpState::Master);
        let ran = s
            .checks
            .iter()
            .all(|c| c.runs > 0 && c.last_result.as_deref() == Some("ok"));
        let mut servers = s.services.iter().flat_map(|s| &s.backends);
        let known = servers.all(|b| b.mac.is_some());
        (master && ran && known && !s.checks.is_empty()).then_some(())
    })?;
    assert!(lab.directors[0].has_address(lab.vip())?);
    let to = lab.service(Protocol::Tcp)?;
    let report = load::requests(&lab.client.ns, to, 30, LIMIT);
    assert_eq!(report.failed(), 0, "{report:?}\n{}", lab.logs());
    Ok(())
}

/// A data plane that cannot be loaded ends the daemon, though in good order: VRRP has begun by then.
fn cannot_load(director: &mut Director) -> Result<()> {
    let in_the_way = director.pins().join("SERVICES");
    fs::create_dir(&in_the_way)?;
    director.start()?;
    let status = director.wait_stopped(LIMIT)?;
    let log = director.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        !log.contains("MASTER") && log.contains("ERROR remove"),
        "{log}"
    );
    assert!(log.contains("-> STOPPED: shutdown"), "{log}");
    fs::remove_dir(&in_the_way)?;
    Ok(())
}

fn conf() -> String {
    PairConf::http(2, ADVERT).text(0)
}

#[test]
fn without_scripts_little_is_left_and_cannot_come_back() -> Result<()> {
    let mut lab = Lab::new(&Spec::pair(&PairConf::http(2, ADVERT), [Kind::Lbd; 2]))?;
    cannot_load(&mut lab.directors[0])?;
    lab.directors[0].start()?;
    works(&lab)?;
    let director = &lab.directors[0];
    let kept = of_all_threads(director, "CapEff:")?;
    // The group of the control socket may exist on this host.
    assert_eq!(kept & !CHOWN, ALWAYS, "{kept:x}");
    for field in ["CapPrm:", "CapBnd:"] {
        assert_eq!(of_all_threads(director, field)?, kept, "{field}");
    }
    for field in ["CapInh:", "CapAmb:"] {
        assert_eq!(of_all_threads(director, field)?, 0, "{field}");
    }
    assert_eq!(of_all_threads(director, "NoNewPrivs:")?, 1);
    // All that a reload asks of the kernel is still allowed, and a successor's start.
    let when = std::env::temp_dir().join(format!("lb-lab-{}-when", std::process::id()));
    let with = |addresses: &str| {
        let addresses = format!("virtual_ipaddress {{\n{addresses}");
        let file = format!("global_defs {{\n  reload_time_file {}\n", when.display());
        let conf = conf().replace("virtual_ipaddress {", &addresses);
        conf.replacen("global_defs {", &file, 1)
    };
    let has = |all: usize| {
        director.wait_status("its addresses", LIMIT, |s| {
            let here = |v: &lb_userspace::control::status::VrrpStatus| {
                v.addresses.len() == all && v.addresses.iter().all(|a| a.present)
            };
            s.vrrp.iter().all(here).then_some(())
        })
    };
    director.write_conf(&with("10.77.0.101\n"))?;
    director.signal(Signal::SIGHUP)?;
    has(2)?;
    // At a time that a file says.
    director.write_conf(&with("10.77.0.101\n10.77.0.102\n"))?;
    let begun = unix_now();
    let at = (begun + 3) % 86_400;
    let [hour, minute, second] = [at / 3600, at / 60 % 60, at % 60];
    fs::write(&when, format!("{hour:02}:{minute:02}:{second:02}Z\n"))?;
    has(3)?;
    assert!(!when.exists());
    let took = unix_now() - begun;
    assert!((3..=6).contains(&took), "{took}\n{}", director.log());
    lab.directors[0].kill()?;
    lab.directors[0].start()?;
    works(&lab)?;
    lab.finish()
}

#[test]
fn a_script_of_another_user_runs_as_that_user_and_one_of_root_as_root() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
    let script = dir.path().join("tell");
    fs::write(
        &script,
        "#!/bin/sh\n{ id -un; grep CapEff /proc/self/status; } > \"$1.new\"\nmv \"$1.new\" \"$1\"\n",
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let out = |name: &str| dir.path().join(name);
    let notify = |user: &str| format!("\"{} {}\" {user}", script.display(), out(user).display());
    let lines = format!(
        "  notify_master {}\n  notify_backup {}\n",
        notify("nobody"),
        notify("root")
    );
    let mut spec = Spec::pair(&PairConf::http(2, ADVERT), [Kind::Lbd; 2]);
    spec.confs[0] = conf().replacen(
        "vrrp_instance VI_1 {\n",
        &format!("vrrp_instance VI_1 {{\n{lines}"),
        1,
    );
    let mut lab = Lab::new(&spec)?;
    lab.directors[0].start()?;
    works(&lab)?;
    let director = &lab.directors[0];
    let kept = of_all_threads(director, "CapEff:")?;
    assert_eq!(
        kept,
        ALWAYS | CHOWN | DAC_READ_SEARCH | KILL | SETGID | SETUID
    );
    assert_eq!(of_all_threads(director, "NoNewPrivs:")?, 0);
    // Root's script has what root has, as its operator expects; nobody's has nothing.
    let own = fs::read_to_string("/proc/self/status")?;
    let full = own
        .lines()
        .find(|l| l.starts_with("CapBnd"))
        .context("CapBnd")?;
    let full = full.replace("CapBnd", "CapEff");
    for (user, want) in [
        ("nobody", "CapEff:\t0000000000000000"),
        ("root", full.as_str()),
    ] {
        let said = wait_for(user, LIMIT, || fs::read_to_string(out(user)).ok())?;
        assert_eq!(said, format!("{user}\n{want}\n"));
    }
    lab.finish()
}

#[test]
fn the_service_manager_is_told_and_the_watchdog_fed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let heard = std::cell::RefCell::new(Vec::new());
    let hear = |what: &str, times: usize| {
        wait_for(what, LIMIT, || {
            let mut buf = [0; 512];
            while let Ok(n) = socket.recv(&mut buf) {
                heard
                    .borrow_mut()
                    .push(String::from_utf8_lossy(&buf[..n]).into_owned());
            }
            let all = heard.borrow();
            let count = all.iter().filter(|m| m.starts_with(what)).count();
            (count >= times).then_some(())
        })
        .with_context(|| format!("{:?}", heard.borrow()))
    };
    // One script that hangs, one that leaves something.
    let down = dir.path().join("down");
    let conf = |limit: u32| {
        let mut conf = PairConf::http(2, ADVERT);
        conf.global_lines = format!(
            "  script_user root\n  startup_script \"/bin/sleep 600\"\n  startup_script_timeout {limit}\n  \
             shutdown_script \"/bin/mkdir {}\"\n",
            down.display()
        );
        conf
    };
    let mut lab = Lab::new(&Spec::pair(&conf(1000), [Kind::Lbd; 2]))?;
    let path = path.display().to_string();
    lab.directors[0].environment([
        ("NOTIFY_SOCKET", path.as_str()),
        ("WATCHDOG_USEC", "400000"),
    ]);
    // Stopped while it waits for the script: that ends, and the other one runs.
    lab.directors[0].start()?;
    hear(
        "STATUS=waiting for startup_script\nEXTEND_TIMEOUT_USEC=1005000000",
        1,
    )?;
    lab.directors[0].terminate()?;
    let status = lab.directors[0].wait_stopped(LIMIT)?;
    assert!(
        status.success() && down.exists(),
        "{status}\n{}",
        lab.logs()
    );
    fs::remove_dir(&down)?;
    hear("STATUS=waiting for shutdown_script", 1)?;
    assert!(!heard.borrow().iter().any(|m| m == "READY=1"));
    // One that takes too long holds nothing up for longer.
    lab.directors[0].write_conf(&conf(1).text(0))?;
    lab.directors[0].start()?;
    hear("READY=1", 1)?;
    let log = lab.directors[0].log();
    assert!(
        log.contains("startup_script /bin/sleep 600: timed out"),
        "{log}"
    );
    hear("STATUS=1 MASTER, 2 service(s)", 1)?;
    hear("WATCHDOG=1", 10)?;
    lab.directors[0].signal(Signal::SIGHUP)?;
    hear("RELOADING=1\nMONOTONIC_USEC=", 1)?;
    hear("READY=1", 2)?;
    // The log's level changes while it runs.
    let out = lab.directors[0].lbctl(&["log", "debug"])?;
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "logging by debug, info before\n"
    );
    assert!(
        lab.directors[0]
            .log()
            .contains("logging by debug now, info before")
    );
    let out = lab.directors[0].lbctl(&["log", "no=such=level"])?;
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    // Killed, it goes on with the addresses that it left, and waits for no script.
    lab.directors[0].write_conf(&conf(1000).text(0))?;
    lab.directors[0].kill()?;
    lab.directors[0].start()?;
    hear("READY=1", 3)?;
    let log = lab.directors[0].log();
    let words = "startup_script /bin/sleep 600: not run, the daemon before was killed";
    assert!(log.contains(words), "{log}");
    lab.directors[0].terminate()?;
    hear("STOPPING=1", 1)?;
    hear("STATUS=waiting for shutdown_script", 2)?;
    let status = lab.directors[0].wait_stopped(LIMIT)?;
    assert!(
        status.success() && down.exists(),
        "{status}\n{}",
        lab.logs()
    );
    // Nothing is left, so the next one begins anew.
    lab.directors[0].start()?;
    hear("STATUS=waiting for startup_script", 3)?;
    lab.directors[0].terminate()?;
    lab.directors[0].wait_stopped(LIMIT)?;
    lab.finish()
}
