//! A lab leaves nothing behind, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::scratch::{BPFFS, sweep};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(30);

/// A program with a lab of two keepalived that would run for minutes, once its daemons run.
fn running_lab() -> Result<Child> {
    let child = Command::new(env!("CARGO_BIN_EXE_lab-failover"))
        .args([
            "--impl",
            "keepalived",
            "--kinds",
            "heal",
            "--advert",
            "0.05",
            "--heal-runs",
            "1000",
        ])
        .args(["--per-lab", "1000", "--jobs", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start lab-failover")?;
    // keepalived's child outlives a parent that dies before it has asked to be told of that, which it
    // does before it writes its number.
    wait_for("its daemons", LIMIT, || {
        (numbers(child.id()) == 2).then_some(())
    })?;
    Ok(child)
}

/// How many VRRP processes of keepalived have written their numbers in the lab of a process.
fn numbers(pid: u32) -> usize {
    let dirs = left(pid).into_iter().filter_map(|d| d.read_dir().ok());
    dirs.flatten()
        .filter(|e| e.as_ref().is_ok_and(|e| e.path().join("vrrp.pid").exists()))
        .count()
}

/// What the lab of a process has in the file system.
fn left(pid: u32) -> Vec<PathBuf> {
    let mine = format!("lb-lab-{pid}-");
    [std::env::temp_dir(), PathBuf::from(BPFFS)]
        .iter()
        .filter_map(|d| std::fs::read_dir(d).ok())
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with(&mine))
        })
        .collect()
}

/// The daemons of the lab of a process: their command lines name its directory.
fn daemons(pid: u32) -> Vec<u32> {
    let mine = format!("/lb-lab-{pid}-");
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter(|p: &u32| {
            let line = std::fs::read(Path::new("/proc").join(p.to_string()).join("cmdline"));
            String::from_utf8_lossy(&line.unwrap_or_default()).contains(&mine)
        })
        .collect()
}

fn end(mut child: Child, signal: Signal) -> Result<std::process::ExitStatus> {
    kill(Pid::from_raw(child.id().cast_signed()), signal)?;
    wait_for("the lab's end", LIMIT, || child.try_wait().ok().flatten())
}

#[test]
fn ctrl_c_takes_everything_down() -> Result<()> {
    let child = running_lab()?;
    let pid = child.id();
    assert_eq!(left(pid).len(), 2);
    let status = end(child, Signal::SIGINT)?;
    assert!(!status.success(), "{status}");
    assert_eq!(left(pid), Vec::<PathBuf>::new());
    wait_for("the daemons to be gone", LIMIT, || {
        daemons(pid).is_empty().then_some(())
    })
}

#[test]
fn after_a_kill_9_the_daemons_are_gone_and_the_next_lab_removes_the_files() -> Result<()> {
    let child = running_lab()?;
    let pid = child.id();
    end(child, Signal::SIGKILL)?;
    wait_for("the daemons to be gone", LIMIT, || {
        daemons(pid).is_empty().then_some(())
    })?;
    // Another lab that starts at this moment may be the one that sweeps.
    sweep();
    assert_eq!(left(pid), Vec::<PathBuf>::new());
    Ok(())
}
