//! Tracked processes: which of them run.
//!
//! On a thread of its own. The kernel tells it of processes that begin, change their names or end (the
//! process connector of netlink); where it does not, as in a network namespace, `/proc` is read twice a
//! second.

mod connector;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use self::connector::{Connector, News};
use super::clock::now;
use crate::model::{Model, TrackProcess};
use crate::vrrp::presence::Presence;

/// Changes that may wait for the engine; beyond them the thread waits.
const QUEUE: usize = 64;
/// How often `/proc` is read when the kernel tells nothing.
const PERIOD: Duration = Duration::from_millis(500);
/// How often it is read all the same: what was missed is found.
const SWEEP: Duration = Duration::from_secs(60);

/// The name of tracked processes in the configuration, and whether they are as they should be.
pub type Told = (String, bool);

/// Watches the processes that the configuration in force follows.
#[derive(Debug)]
pub struct Processes {
    told: mpsc::Sender<Told>,
    /// Dropped to end the thread.
    watching: Option<OwnedFd>,
}

fn followed(model: &Model) -> Vec<TrackProcess> {
    let instances = model.instances.iter().map(|i| &i.tracks);
    let tracks = instances.chain(model.sync_groups.iter().map(|g| &g.tracks));
    let names: BTreeSet<&str> = tracks
        .flat_map(|t| &t.processes)
        .map(|t| t.name.as_str())
        .collect();
    let all = model.track_processes.iter();
    all.filter(|p| names.contains(p.name.as_str()))
        .cloned()
        .collect()
}

impl Processes {
    /// Watches nothing yet. The receiver gives what is known at first, and then whenever it changes.
    #[must_use]
    pub fn new() -> (Processes, mpsc::Receiver<Told>) {
        let (told, changes) = mpsc::channel(QUEUE);
        let watching = None;
        (Processes { told, watching }, changes)
    }

    /// Takes over a configuration: everything is told anew.
    pub fn configure(&mut self, model: &Model) {
        self.watching = None;
        let wanted = followed(model);
        if wanted.is_empty() {
            return;
        }
        let told = self.told.clone();
        let begun = io::pipe().and_then(|(ended, watching)| {
            let ended = OwnedFd::from(ended);
            std::thread::Builder::new()
                .name("lbd-processes".to_owned())
                .spawn(move || Watcher::new(wanted, told).run(&ended))?;
            Ok(OwnedFd::from(watching))
        });
        match begun {
            Ok(watching) => self.watching = Some(watching),
            Err(e) => tracing::error!("tracked processes are not watched: {e}"),
        }
    }
}

struct Watcher {
    wanted: Vec<(TrackProcess, Presence)>,
    told: mpsc::Sender<Told>,
    /// Which of the wanted each process is, by its number; others are not kept.
    running: BTreeMap<i32, Vec<usize>>,
}

impl Watcher {
    fn new(wanted: Vec<TrackProcess>, told: mpsc::Sender<Told>) -> Watcher {
        let presence = |p: TrackProcess| (p.clone(), Presence::new(p));
        Watcher {
            wanted: wanted.into_iter().map(presence).collect(),
            told,
            running: BTreeMap::new(),
        }
    }

    /// Until the other end of `ended` is closed, or nobody listens any more.
    fn run(mut self, ended: &OwnedFd) {
        // First, so that nothing is missed in between.
        let connector = Connector::open();
        if let Err(e) = &connector {
            tracing::info!("tracked processes are looked for twice a second: {e}");
        }
        let connector = connector.ok();
        let period = if connector.is_some() { SWEEP } else { PERIOD };
        let mut sweep = now();
        loop {
            if now() >= sweep {
                self.read_all();
                sweep = now() + period;
            }
            if !self.tell() {
                return;
            }
            let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                connector
                    .iter()
                    .map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)),
            );
            let turns = self.wanted.iter().filter_map(|(_, p)| p.deadline()).min();
            let next = turns.map_or(sweep, |t| t.min(sweep)).since(now());
            // Not before it.
            let millis = u16::try_from(next.as_millis() + 1).unwrap_or(u16::MAX);
            let waited = poll(&mut fds, PollTimeout::from(millis));
            if waited.is_err_and(|e| e != nix::errno::Errno::EINTR) || fds[0].any().unwrap_or(true)
            {
                return;
            }
            let Some(connector) = &connector else {
                continue;
            };
            while let Some(news) = connector.next() {
                match news {
                    News::Began { parent, process } => {
                        // It has the names of its parent until it says otherwise.
                        if let Some(as_parent) = self.running.get(&parent).cloned() {
                            self.running.insert(process, as_parent);
                        }
                    }
                    News::Changed(process) => self.read(process),
                    News::Ended(process) => drop(self.running.remove(&process)),
                    News::Missed => sweep = now(),
                }
            }
        }
    }

    fn read_all(&mut self) {
        self.running.clear();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if let Some(process) = name.to_str().and_then(|n| n.parse().ok()) {
                self.read(process);
            }
        }
    }

    /// Looks at one process; one that has gone or only waits to be reaped is none.
    fn read(&mut self, process: i32) {
        let file = |name: &str| std::fs::read(format!("/proc/{process}/{name}"));
        let is = file("stat").ok().and_then(|stat| {
            let open = stat.iter().position(|b| *b == b'(')?;
            let close = stat.iter().rposition(|b| *b == b')')?;
            let state = stat.get(close + 2)?;
            let name = stat.get(open + 1..close)?;
            (!matches!(state, b'Z' | b'X')).then(|| name.to_owned())
        });
        let mut line: Option<Vec<u8>> = None;
        let mut found = Vec::new();
        if let Some(kept) = is {
            for (at, (wanted, _)) in self.wanted.iter().enumerate() {
                let line: &[u8] = match wanted.wants_command() {
                    true => line.get_or_insert_with(|| file("cmdline").unwrap_or_default()),
                    false => &[],
                };
                if wanted.means(&kept, line) {
                    found.push(at);
                }
            }
        }
        match found.is_empty() {
            true => drop(self.running.remove(&process)),
            false => drop(self.running.insert(process, found)),
        }
    }

    /// Tells what is new; false when nobody listens.
    fn tell(&mut self) -> bool {
        let now = now();
        for (at, (wanted, presence)) in self.wanted.iter_mut().enumerate() {
            let running = self.running.values().filter(|is| is.contains(&at)).count();
            let running = u32::try_from(running).unwrap_or(u32::MAX);
            if let Some(good) = presence.count(running, now)
                && self
                    .told
                    .blocking_send((wanted.name.clone(), good))
                    .is_err()
            {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
