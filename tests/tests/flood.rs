//! A hundred thousand SYNs a second from random sources, beside connections that are in use and
//! others that are opened.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::{Instant, spell, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::flood::{Flood, Sent};
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_tests::random::Random;
use lb_userspace::io::bpf::{Config, DataPlane};
use lb_userspace::model::Protocol;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
const RATE: u32 = 100_000;
/// A `flood_rate` that the flood exceeds at once.
const LOW_RATE: u32 = 1000;
const CONNECTIONS: u32 = 1000;
/// Connections opened each second beside them.
const OPENED: u32 = 50;
/// A small table, so that the flood fills it many times over.
const FLOW_BUCKETS: u32 = 1 << 14;

/// Memory of a director's daemon in KiB: its own, and all that it has touched of the maps as well.
fn memory(director: &Director) -> Result<(u64, u64)> {
    let pid = director.pid().context("no daemon")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    field("RssAnon:")
        .zip(field("VmRSS:"))
        .context("memory of the daemon")
}

fn counted(director: &Director, reason: &str) -> Result<u64> {
    let status = director.status()?;
    let found = status.reasons.iter().find(|r| r.name == reason);
    found.map(|r| r.count).context("counter")
}

#[test]
fn a_flood_of_syns_costs_no_connection_and_no_memory() -> Result<()> {
    let done = run(&PairConf::http(2, ADVERT))?;
    assert!(done.half_open > 0, "the table was never full: {done:?}");
    Ok(())
}

#[test]
fn above_the_flood_rate_connections_go_by_hash_and_lose_nothing() -> Result<()> {
    let mut conf = PairConf::http(2, ADVERT);
    let _ = writeln!(conf.global_lines, "  flood_rate {LOW_RATE}");
    let done = run(&conf)?;
    assert_eq!(done.no_flow, 0, "{done:?}");
    // Each window begins with some that get an entry.
    assert!(done.hashed * 10 >= done.sent.frames * 9, "{done:?}");
    assert!(
        done.log.contains("a flood of new connections"),
        "{}",
        done.log
    );
    Ok(())
}

/// What became of a flood that did no harm.
#[derive(Debug)]
struct Done {
    sent: Sent,
    /// `flood_hashed`.
    hashed: u64,
    /// `evicted_half_open`.
    half_open: u64,
    /// `tcp_no_flow`.
    no_flow: u64,
    log: String,
}

fn run(conf: &PairConf) -> Result<Done> {
    let seconds = spell(Duration::from_secs(5), Duration::from_secs(30)).as_secs();
    let seed = Random::any_seed();
    println!("seed {seed}");
    let mut spec = Spec::pair(conf, [Kind::Lbd; 2]);
    spec.spare = true;
    let mut lab = Lab::new(&spec)?;
    // The daemon takes over the table that it finds.
    drop(DataPlane::open(&Config {
        pin: lab.directors[0].pins().to_owned(),
        flow_buckets: FLOW_BUCKETS,
        ..Config::default()
    })?);
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    lab.wait_services(LIMIT)?;
    let director = &lab.directors[0];
    let slots = director.status()?.data_plane.flow_slots;
    assert_eq!(slots, u64::from(4 * FLOW_BUCKETS));

    let begin = Instant::now();
    let to = lab.service(Protocol::Tcp)?;
    let every = Duration::from_millis(200);
    let held = load::long_lived(&lab.client.ns, to, CONNECTIONS, every, LIMIT);
    wait_for("all connections to be answered twice", LIMIT, || {
        (held.answered() >= u64::from(2 * CONNECTIONS)).then_some(())
    })?;
    // The daemon has read the whole table once before its memory is looked at.
    director.wait_status("the connections to be counted", LIMIT, |status| {
        (status.data_plane.flows_used >= u64::from(CONNECTIONS)).then_some(())
    })?;
    let before = memory(director)?;
    let attacker = lab.spare.as_ref().context("the spare host")?;
    let flood = Flood::start(
        attacker,
        director.host.mac,
        to,
        seconds * u64::from(RATE),
        RATE,
        seed,
    )?;
    let opened = load::steady(&lab.client.ns, &[], to, OPENED, LIMIT);
    wait_for("the flood to end", LIMIT * 3, || {
        flood.is_over().then_some(())
    })?;
    let sent = flood.join()?;
    let opened = opened.stop()?;
    let answered = held.answered();
    // What the flood has left in the table is no harm either.
    wait_for("all connections to be answered after it", LIMIT, || {
        (held.answered() >= answered + u64::from(2 * CONNECTIONS)).then_some(())
    })?;
    let report = held.stop()?;
    let after = memory(director)?;
    println!(
        "{} SYNs, {:.0} a second; memory (own, all) {before:?} KiB before, {after:?} after\n{report:?}\n{opened:?}",
        sent.frames,
        sent.rate()
    );
    let said = lab.logs();
    assert_eq!(report.failed(), 0, "{report:?}\n{said}");
    assert_eq!(opened.failed(), 0, "{opened:?}\n{said}");
    assert_eq!(
        report.opened,
        u64::from(CONNECTIONS),
        "one was opened again"
    );

    let status = director.status()?;
    let scheduled: u64 = status.services.iter().map(|s| s.counts.conns).sum();
    let done = Done {
        sent,
        hashed: counted(director, "flood_hashed")?,
        half_open: counted(director, "evicted_half_open")?,
        no_flow: counted(director, "tcp_no_flow")?,
        log: said,
    };
    println!(
        "{scheduled} scheduled, {} by hash, {} half-open ones evicted",
        done.hashed, done.half_open
    );
    let forwarded = scheduled + done.hashed;
    assert!(forwarded * 10 >= sent.frames * 9, "{forwarded} of {sent:?}");
    for never in ["evicted_live", "internal"] {
        assert_eq!(counted(director, never)?, 0, "{never}");
    }
    assert!(after.0 <= before.0 + 1024, "{before:?} KiB, then {after:?}");
    assert_eq!(status.data_plane.flow_slots, slots);
    assert_eq!(lab.director_resets(begin), [], "a RST from a director");
    drop(ping);
    lab.finish()?;
    Ok(done)
}
