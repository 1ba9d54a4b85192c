//! The counts of connections beside what is in the table, while connections come and go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use lb_tests::frame::{self, Kind};
use lb_tests::scan;
use lb_userspace::io::bpf::{ConnCount, FlowScanner, Sweeper};
use lb_userspace::model::{Scheduler, Timeouts};
use lb_userspace::plan::DesiredService;

use crate::fixture::{Bench, Client, service, vip};

const SERVERS: u16 = 16;
/// Connections that are open at a time.
const OPEN: u32 = 100_000;
/// Seconds that an ended connection stays in the table.
const LINGER: u32 = 2;
/// Seconds that one may be silent: much longer than any that is still used is.
const SILENT: u32 = 8;
/// How often the counts are looked at, and how long that may take.
const LOOKS: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

type Counts = BTreeMap<u16, ConnCount>;

/// A client that keeps its share of the connections open, each by a port of its own.
struct Churn {
    /// The connections that it uses; `None`: it waits for the first.
    open: Vec<Option<Client>>,
    /// The first of its clients' addresses.
    base: u32,
    next: Vec<u32>,
    random: u64,
    opened: u64,
}

impl Churn {
    fn new(base: u32, count: u32) -> Churn {
        Churn {
            open: vec![None; count as usize],
            base,
            next: vec![0; count as usize],
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(base),
            opened: 0,
        }
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn open(&mut self, bench: &Bench, slot: usize) -> Result<()> {
        let client = Client((self.base + slot as u32) | self.next[slot] << 17);
        self.next[slot] = (self.next[slot] + 1) % 30_000;
        // Not taken when the other CPU is at the same place: tried again when its turn comes.
        self.open[slot] = None;
        if bench.send(client, vip(0), frame::SYN)?.is_some() {
            bench.send(client, vip(0), frame::ACK)?;
            self.open[slot] = Some(client);
            self.opened += 1;
        }
        Ok(())
    }

    /// A packet of some connection; one in twelve ends it, and another takes its place.
    fn step(&mut self, bench: &Bench) -> Result<()> {
        let draw = self.draw();
        let slot = (draw >> 32) as usize % self.open.len();
        let Some(client) = self.open[slot] else {
            return self.open(bench, slot);
        };
        let end: Option<Kind> = match draw % 36 {
            0 => Some(frame::FIN),
            1 => Some(frame::RST),
            // In silence: the client is never heard again.
            2 => None,
            _ => {
                let is_there = bench.send(client, vip(0), frame::ACK)?.is_some();
                // On a slow machine its turn may come too late.
                return if is_there {
                    Ok(())
                } else {
                    self.open(bench, slot)
                };
            }
        };
        if let Some(kind) = end {
            bench.send(client, vip(0), kind)?;
        }
        self.open(bench, slot)
    }
}

/// By how much a count is off at most, in parts of what is right: what the table holds lies between
/// two readings of the loads, or that near to one of them. Of fewer than a thousand it is the part of a
/// thousand.
fn off(before: u32, table: u32, after: u32) -> f64 {
    let (low, high) = (before.min(after), before.max(after));
    let off = low.saturating_sub(table).max(table.saturating_sub(high));
    f64::from(off) / f64::from(table.max(1000))
}

/// What one look at all counts found.
#[derive(Clone, Copy, Debug, Default)]
struct Off {
    /// Of all active, all inactive connections.
    sum: f64,
    /// Of one backend's.
    one: f64,
}

impl Off {
    fn of(before: &Counts, table: &Counts, after: &Counts) -> Off {
        let pick: [fn(&ConnCount) -> u32; 2] = [|c| c.active, |c| c.inactive];
        let mut most = Off::default();
        for pick in pick {
            let sum = |counts: &Counts| counts.values().map(pick).sum();
            most.sum = most.sum.max(off(sum(before), sum(table), sum(after)));
            for index in table.keys() {
                let one = |counts: &Counts| counts.get(index).map_or(0, pick);
                most.one = most.one.max(off(one(before), one(table), one(after)));
            }
        }
        most
    }
}

/// What several looks found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    looks: u32,
    worst: Off,
}

impl Found {
    fn add(&mut self, off: Off) {
        self.looks += 1;
        self.worst.sum = self.worst.sum.max(off.sum);
        self.worst.one = self.worst.one.max(off.one);
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (looks, sum, one) = (self.looks, 100.0 * self.worst.sum, 100.0 * self.worst.one);
        write!(
            f,
            "{looks} looks, off by at most {sum:.3} % in all, {one:.3} % of a server's"
        )
    }
}

/// The daemon's sweeper, and what it says after each walk.
struct Walks {
    /// The tick of which the last walk has taken out what expired.
    tick: AtomicU32,
    repaired: AtomicU64,
    stop: AtomicBool,
}

impl Walks {
    fn run(
        &self,
        scanner: &FlowScanner,
        mut sweeper: Sweeper,
        done: &SyncSender<()>,
    ) -> Result<()> {
        let mut rest = Duration::ZERO;
        let (_never, wait) = sync_channel::<()>(0);
        while !self.stop.load(Ordering::Relaxed) {
            let _ = wait.recv_timeout(sweeper.pause(rest)?);
            let (begun, tick) = (Instant::now(), scanner.tick()?);
            let swept = sweeper.sweep()?;
            rest = begun.elapsed();
            self.repaired
                .fetch_add(swept.repaired.into(), Ordering::Relaxed);
            self.tick.store(tick, Ordering::Release);
            let _ = done.try_send(());
        }
        Ok(())
    }
}

#[test]
fn counts_are_right_while_two_cpus_open_and_end_connections() -> Result<()> {
    let mut bench = Bench::new(250_000)?;
    bench.to(&[DesiredService {
        timeouts: Timeouts {
            established: Some(SILENT),
            fin_wait: Some(LINGER),
            close: Some(LINGER),
            ..Timeouts::NONE
        },
        ..service(0, Scheduler::Lc, &(1..=SERVERS).collect::<Vec<_>>())
    }])?;
    let scanner = bench.dp.scanner();
    let walks = Walks {
        tick: AtomicU32::new(0),
        repaired: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let (done, walked) = sync_channel(1);
    let (filled, is_filled) = sync_channel(2);
    let is_over = AtomicBool::new(false);
    // Written to hold both CPUs for the time of a look.
    let world = RwLock::new(());
    let churn = |cpu: u32| -> Result<u64> {
        on_cpu(cpu as usize)?;
        let mut churn = Churn::new(cpu * OPEN / 2, OPEN / 2);
        for slot in 0..churn.open.len() {
            churn.open(&bench, slot)?;
        }
        filled.send(())?;
        while !is_over.load(Ordering::Relaxed) {
            let _runs = world.read().map_err(|_| anyhow!("a look failed"))?;
            for _ in 0..100 {
                churn.step(&bench)?;
            }
        }
        Ok(churn.opened)
    };
    // Whether a tick's expired connections are off the counts.
    let is_swept = |tick| walks.tick.load(Ordering::Acquire) == tick;
    let look = || -> Result<Option<(Off, Counts)>> {
        let tick = scanner.tick()?;
        let was_swept = is_swept(tick);
        let before = bench.dp.connections();
        let table = scan::connections(&scanner)?;
        let after = bench.dp.connections();
        let is_valid = was_swept && scanner.tick()? == tick;
        Ok(is_valid.then(|| (Off::of(&before, &table, &after), table)))
    };
    let watch = || -> Result<()> {
        is_filled.recv()?;
        is_filled.recv()?;
        let end = Instant::now() + PATIENCE;
        let (mut running, mut held, mut late) = (Found::default(), Found::default(), 0);
        let mut sizes = ConnCount::default();
        while running.looks.min(held.looks) < LOOKS {
            ensure!(
                Instant::now() < end,
                "running {running}; held {held}; {late} late"
            );
            walked.recv_timeout(PATIENCE)?;
            let while_running = look()?;
            let while_held = {
                let _stands = world.write().map_err(|_| anyhow!("a CPU failed"))?;
                look()?
            };
            for (found, look) in [(&mut running, while_running), (&mut held, while_held)] {
                let Some((off, table)) = look else {
                    late += 1;
                    continue;
                };
                found.add(off);
                sizes.active = table.values().map(|c| c.active).sum();
                sizes.inactive = table.values().map(|c| c.inactive).sum();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        println!(
            "running: {running}\nheld: {held}\n{late} looks that a tick's end overtook; at last {sizes:?}"
        );
        ensure!(
            sizes.active >= OPEN / 10 * 9 && sizes.inactive > OPEN / 20,
            "{sizes:?}"
        );
        for found in [running, held] {
            ensure!(
                found.worst.sum <= 0.01 && found.worst.one <= 0.01,
                "{found:?}"
            );
        }
        Ok(())
    };
    let opened = std::thread::scope(|scope| -> Result<u64> {
        let sweeper = bench.dp.sweeper();
        let (scanner, walks, done) = (&scanner, &walks, &done);
        let sweeping = scope.spawn(move || walks.run(scanner, sweeper, done));
        let churning = [0, 1].map(|cpu| scope.spawn(move || churn(cpu)));
        let watched = watch();
        is_over.store(true, Ordering::Relaxed);
        let mut opened = 0;
        for thread in churning {
            opened += join(thread)?;
        }
        let ended = watched.and_then(|()| all_end(&walked, &look));
        walks.stop.store(true, Ordering::Relaxed);
        join(sweeping)?;
        ended?;
        Ok(opened)
    })?;
    assert_eq!(bench.dp.connections(), Counts::new());
    let counts = bench.dp.counters()?.backends;
    let scheduled: u64 = counts.values().map(|c| c.conns).sum();
    println!("{opened} connections");
    assert_eq!(scheduled, opened);
    println!("{} counts put right", walks.repaired.into_inner());
    Ok(())
}

#[test]
fn where_no_scheduler_looks_a_walk_counts() -> Result<()> {
    let mut bench = Bench::new(10_000)?;
    let scanner = bench.dp.scanner();
    let mut next = (0..).map(Client);
    let mut more = |bench: &Bench| -> Result<Counts> {
        for client in next.by_ref().take(200) {
            let kinds: &[Kind] = match client.0 % 3 {
                0 => &[frame::SYN],
                1 => &[frame::SYN, frame::ACK],
                _ => &[frame::SYN, frame::ACK, frame::FIN],
            };
            for kind in kinds {
                bench.send(client, vip(0), *kind)?.context("a server")?;
            }
        }
        scan::connections(&scanner)
    };
    let by = |scheduler| [service(0, scheduler, &[1, 2, 3])];
    bench.to(&by(Scheduler::Rr))?;
    let mut sweeper = bench.dp.sweeper();
    let table = more(&bench)?;
    assert_eq!((table.len(), bench.dp.connections()), (3, Counts::new()));
    assert_eq!(sweeper.sweep()?.repaired, 0);
    assert_eq!(bench.dp.connections(), table);
    // A scheduler that looks begins with what the walk found; the next one adds what came since.
    let unseen = more(&bench)?;
    bench.to(&by(Scheduler::Lc))?;
    assert_eq!(bench.dp.connections(), table);
    assert_eq!(sweeper.sweep()?.repaired, 0);
    assert_eq!(bench.dp.connections(), unseen);
    let table = more(&bench)?;
    assert_eq!(bench.dp.connections(), table);
    bench.to(&by(Scheduler::Mh))?;
    let later = more(&bench)?;
    assert_eq!(bench.dp.connections(), table);
    assert_eq!(sweeper.sweep()?.repaired, 0);
    assert_eq!(bench.dp.connections(), later);
    Ok(())
}

/// Nothing is sent any more: the counts stay right until the last connection has expired.
fn all_end(walked: &Receiver<()>, look: &impl Fn() -> Result<Option<(Off, Counts)>>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(u64::from(SILENT) + 20);
    let mut seen = Vec::new();
    loop {
        ensure!(Instant::now() < end, "connections left: {seen:?}");
        walked.recv_timeout(Duration::from_secs(10))?;
        let Some((off, table)) = look()? else {
            continue;
        };
        ensure!(off.sum <= 0.01 && off.one <= 0.01, "{off:?}: {table:?}");
        seen.push(table.values().map(|c| c.active + c.inactive).sum::<u32>());
        if table.is_empty() && off.one == 0.0 {
            println!("then right too, with so many connections left: {seen:?}");
            ensure!(seen.iter().any(|left| *left > OPEN / 2), "{seen:?}");
            return Ok(());
        }
    }
}

fn on_cpu(cpu: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .context("this test needs two CPUs")
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
