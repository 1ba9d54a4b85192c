//! A host with more work than CPUs, and a daemon with more work than it likes: adverts keep their time.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, long, pause, spell};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::recorder::What;
use nix::sys::signal::Signal;

const ADVERT: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(20);
/// Hogs for each CPU.
const HOGS: usize = 4;

/// Processes that do nothing, with all their might; they end with this.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Result<Self> {
        let cpus = std::thread::available_parallelism()?.get();
        let hog = |_| {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
        };
        let all: std::io::Result<_> = (0..HOGS * cpus).map(hog).collect();
        Ok(Hogs(all.context("starting hogs")?))
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

fn conf() -> PairConf {
    PairConf {
        state_master: false,
        ..PairConf::http(3, ADVERT)
    }
}

fn pair(kinds: [Kind; 2]) -> Result<Lab> {
    let mut lab = Lab::new(&Spec::pair(&conf(), kinds))?;
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(2))?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    Ok(lab)
}

/// How often the directors became master, by their logs.
fn elections(lab: &Lab) -> usize {
    let count = |log: String| {
        log.lines()
            .filter(|l| l.contains("-> MASTER") || l.contains("Entering MASTER STATE"))
            .count()
    };
    lab.directors.iter().map(|d| count(d.log())).sum()
}

/// The longest time between two adverts of the first director since `start`.
fn longest_gap(lab: &Lab, start: Instant) -> Duration {
    let first = lab.directors[0].host.mac;
    let sent: Vec<Instant> = lab
        .recorder
        .since(start)
        .iter()
        .filter(|f| f.src == first && matches!(f.what, What::Advert { .. }))
        .map(|f| f.at)
        .collect();
    let gaps = sent.windows(2).map(|w| w[1].since(w[0]));
    gaps.max().unwrap_or(Duration::MAX)
}

/// Elections while hogs have the CPUs.
fn under_hogs(kinds: [Kind; 2], time: Duration) -> Result<usize> {
    let lab = pair(kinds)?;
    let before = elections(&lab);
    let start = Instant::now();
    let hogs = Hogs::start()?;
    pause(time)?;
    let gap = longest_gap(&lab, start);
    drop(hogs);
    let during = elections(&lab) - before;
    println!(
        "{kinds:?}: {during} elections in {time:?}, longest time between adverts {gap:?}\n{}",
        lab.logs()
    );
    lab.finish()?;
    Ok(during)
}

#[test]
fn hogs_on_every_cpu_cause_no_election_at_10_ms() -> Result<()> {
    let time = spell(Duration::from_secs(10), Duration::from_secs(60));
    assert_eq!(under_hogs([Kind::Lbd; 2], time)?, 0);
    Ok(())
}

#[test]
#[ignore = "a comparison, run by hand: keepalived's pair under the same hogs"]
fn keepalived_under_the_same_hogs() -> Result<()> {
    under_hogs([Kind::Keepalived; 2], Duration::from_secs(15)).map(drop)
}

/// More services than can be read and planned between two adverts.
fn many_services(port: u16) -> String {
    let mut text = String::new();
    for n in 0..2000 {
        let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 99, 0, 0)) + n);
        let _ = writeln!(
            text,
            "virtual_server {vip} {port} {{\n  lb_algo rr\n  lb_kind DR\n  protocol TCP"
        );
        for last in 21..24 {
            let _ = writeln!(text, "  real_server 10.77.0.{last} {port} {{\n  }}");
        }
        text.push_str("}\n");
    }
    text
}

#[test]
fn a_daemon_that_is_busy_with_itself_is_never_late() -> Result<()> {
    let lab = pair([Kind::Lbd; 2])?;
    let plain = conf().text(0);
    let before = elections(&lab);
    let start = Instant::now();
    let mut busiest = Duration::ZERO;
    for port in [80, 81, 82] {
        lab.directors[0].write_conf(&format!("{plain}\n{}", many_services(port)))?;
        let asked = Instant::now();
        let done = lab.directors[0].lbctl(&["reload"])?;
        busiest = busiest.max(Instant::now().since(asked));
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        ensure!(lab.directors[0].status()?.services.len() > 2000);
    }
    let gap = longest_gap(&lab, start);
    println!("a reload took up to {busiest:?}, longest time between adverts {gap:?}");
    assert!(
        busiest > ADVERT * 3,
        "{busiest:?} is too short to show anything"
    );
    assert_eq!(elections(&lab), before, "{}", lab.logs());
    lab.finish()
}

#[test]
fn a_backup_that_was_stopped_does_not_take_over_from_a_master_that_went_on() -> Result<()> {
    let lab = pair([Kind::Lbd; 2])?;
    let before = elections(&lab);
    // Often, to meet it wherever it is; each time longer than its patience.
    for _ in 0..if long() { 1000 } else { 60 } {
        lab.directors[1].signal(Signal::SIGSTOP)?;
        pause(ADVERT * 8)?;
        lab.directors[1].signal(Signal::SIGCONT)?;
        // It has read what arrived when it answers, and would have taken over by then.
        lab.directors[1].status()?;
    }
    assert_eq!(elections(&lab), before, "{}", lab.logs());
    lab.finish()
}
