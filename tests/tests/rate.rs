//! Thousands of checks a second in one process: what they cost, and whether they keep their time.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, long, pause};
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Spec};
use lb_tests::namespace::Namespace;
use lb_userspace::control::status::{CheckState, Status};
use nix::time::{ClockId, clock_gettime};

const LIMIT: Duration = Duration::from_secs(60);
/// Connections by which the price of one is known.
const CONNECTIONS: u32 = 2000;
/// What a check may cost, in plain connections: several times what an unoptimised build takes.
const MOST: f64 = 30.0;

/// A service whose servers, all at one host, are checked each second.
fn service(servers: u32) -> String {
    let mut text = String::from(
        "\nvirtual_server 10.77.0.100 8080 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  delay_loop 1\n  \
         connect_timeout 1\n  warmup 1\n  alpha\n",
    );
    for n in 0..servers {
        let (high, low) = (n / 250, n % 250 + 1);
        let _ = writeln!(
            text,
            "  real_server 10.90.{high}.{low} 8080 {{\n    TCP_CHECK {{\n      connect_port 80\n    }}\n  }}"
        );
    }
    text + "}\n"
}

/// Processor time of a process and all its threads.
fn cpu(director: &Director) -> Result<Duration> {
    let pid = director.pid().context("no daemon")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .context("stat")?
        .1
        .split(' ')
        .collect();
    let ticks: u64 = fields[12].parse::<u64>()? + fields[13].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Processor time that a connection to `to` costs by itself: what any check pays the kernel.
fn plain(ns: &Namespace, to: SocketAddr) -> Result<Duration> {
    ns.call(move || {
        let spent = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let before = spent()?;
        for _ in 0..CONNECTIONS {
            TcpStream::connect_timeout(&to, LIMIT)?;
        }
        Ok((spent()? - before) / CONNECTIONS)
    })
}

/// Runs of all checks so far, and how many of them failed.
fn runs(status: &Status) -> (u64, u64) {
    let add = |(runs, failures), c: &lb_userspace::control::status::CheckStatus| {
        (runs + c.runs, failures + c.failures)
    };
    status.checks.iter().fold((0, 0), add)
}

#[test]
fn thousands_of_checks_a_second() -> Result<()> {
    let servers = if long() { 5000 } else { 1000 };
    let mut conf = PairConf::http(2, Duration::from_secs(1));
    conf.services.clear();
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    // The servers' host has its address by a service's.
    spec.topology = PairConf::http(2, Duration::from_secs(1)).topology();
    spec.confs[0].push_str(&service(servers));
    let mut lab = Lab::new(&spec)?;
    let real = &lab.reals[0].host;
    real.ns.local_route([10, 90, 0, 0].into(), 16)?;
    let via = real.address();
    let director = &mut lab.directors[0];
    director.host.ns.route([10, 90, 0, 0].into(), 16, via)?;
    director.start()?;
    let begun = Instant::now();
    director.wait_status("all servers", LIMIT, |status| {
        let up = status.checks.iter().filter(|c| c.state == CheckState::Up);
        (up.count() == servers as usize).then_some(())
    })?;
    println!(
        "{servers} servers are up after {:?}",
        Instant::now().since(begun)
    );
    let (runs_before, cpu_before, at) = (runs(&director.status()?), cpu(director)?, Instant::now());
    pause(Duration::from_secs(10))?;
    let (cpu_after, runs_after) = (cpu(director)?, runs(&director.status()?));
    let took = Instant::now().since(at).as_secs_f64();
    let done = runs_after.0 - runs_before.0;
    let rate = done as f64 / took;
    let spent = cpu_after - cpu_before;
    let each = spent.div_f64(done.max(1) as f64);
    let connection = plain(&director.host.ns, ([10, 90, 0, 1], 80).into())?;
    let ratio = each.as_secs_f64() / connection.as_secs_f64();
    println!(
        "{rate:.0} checks a second with {:.2} of a core, {each:?} each, {ratio:.1} times a connection by itself ({connection:?})",
        spent.as_secs_f64() / took
    );
    let failed = runs_after.1 - runs_before.1;
    ensure!(failed == 0, "{failed} checks failed");
    ensure!(
        ratio < MOST,
        "a check costs {each:?}, {ratio:.1} times a connection"
    );
    if long() {
        // 5,000 a second within one core.
        ensure!(each < Duration::from_micros(200), "{each:?} a check");
        // A check begins a second after the last one ended, and a turn of the loop later.
        let least = f64::from(servers) * 0.9;
        ensure!(rate > least, "{rate:.0} checks a second of {servers}");
    }
    lab.finish()
}
