//! Every kind of advert, with every pair of daemons, through everything that can happen to a director.
//!
//! A walk is one lab in which a pair goes through its events once, and in which after each of them is
//! looked at who is master, where the virtual address is, and whom a third host takes for its owner.
//! Each pair meets its events at the same moments of the advertisement interval as the others, so that
//! what they cost can be compared after few walks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::director::Kind;

mod bound;
mod holds;
mod steps;
mod table;
mod wire;

pub use bound::bound;
pub use table::{Judged, Table};
pub use wire::Wire;

/// What runs on the two directors; the first has the higher priority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// Ours, then keepalived.
    OursKeepalived,
    /// keepalived, then ours.
    KeepalivedOurs,
    /// Ours on both.
    OursOurs,
    /// keepalived on both: what the others are compared with.
    KeepalivedKeepalived,
}

impl Pairing {
    /// Those with ours.
    pub const OURS: [Pairing; 3] = [
        Pairing::OursKeepalived,
        Pairing::KeepalivedOurs,
        Pairing::OursOurs,
    ];

    /// The daemons.
    #[must_use]
    pub fn kinds(self) -> [Kind; 2] {
        match self {
            Pairing::OursKeepalived => [Kind::Lbd, Kind::Keepalived],
            Pairing::KeepalivedOurs => [Kind::Keepalived, Kind::Lbd],
            Pairing::OursOurs => [Kind::Lbd; 2],
            Pairing::KeepalivedKeepalived => [Kind::Keepalived; 2],
        }
    }
}

/// What is done to a pair. Each begins and ends with the first director as the only master.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Both start at once on hosts that remember nothing.
    Election,
    /// `kill -9` of the master's daemon, which is started again at once.
    Kill,
    /// The master loses its power (`kill -9` and no frame passes its cable), and returns.
    Power,
    /// SIGTERM, and a start after it.
    Stop,
    /// The switch's port goes down, and up.
    Link,
    /// `ip link set down` on the master, and up.
    LinkLocal,
    /// The directors do not hear each other until both are master; then they do.
    Partition,
    /// A script lowers the master's priority below the other's, and lets it be again.
    Priority,
    /// `lbctl vrrp release` and `takeover`, where ours is asked.
    Order,
    /// Both start at once with VRRP alone, as keepalived runs here: where the election is over before
    /// the program of the services is loaded.
    Alone,
}

/// One line of the table: what is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// Both start: until the first answer.
    Start,
    /// From then until one is master.
    Election,
    /// `kill -9` and a start at once.
    Kill,
    /// Power loss.
    PowerLoss,
    /// The return after it.
    PowerReturn,
    /// Clean stop.
    Stop,
    /// The return after it.
    StopReturn,
    /// The switch's port goes down.
    LinkDown,
    /// It comes up.
    LinkUp,
    /// The link is set down.
    LocalDown,
    /// It is set up.
    LocalUp,
    /// The directors lose sight of each other.
    Partition,
    /// They see each other again.
    Heal,
    /// A script lowers the priority.
    Lowered,
    /// It is as it was.
    Restored,
    /// An operator gives the role away.
    Release,
    /// An operator takes it.
    Takeover,
    /// Both start with VRRP alone: until the first answer.
    StartAlone,
    /// From then until one is master.
    ElectionAlone,
}

impl Row {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Row::Start => "first election: until an answer",
            Row::Election => "first election: after it",
            Row::Kill => "kill -9 and restart",
            Row::PowerLoss => "power loss",
            Row::PowerReturn => "return after it",
            Row::Stop => "clean stop",
            Row::StopReturn => "return after it",
            Row::LinkDown => "link down, switch",
            Row::LinkUp => "link up",
            Row::LocalDown => "link down, local",
            Row::LocalUp => "link up",
            Row::Partition => "partition",
            Row::Heal => "partition heals",
            Row::Lowered => "priority lowered by script",
            Row::Restored => "priority restored",
            Row::Release => "lbctl vrrp release",
            Row::Takeover => "lbctl vrrp takeover",
            Row::StartAlone => "first election, VRRP alone: until an answer",
            Row::ElectionAlone => "first election, VRRP alone: after it",
        }
    }
}

/// One walk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Walk {
    /// The kind of advert.
    pub wire: Wire,
    /// `advert_int` in milliseconds.
    pub advert_ms: u32,
    /// The daemons.
    pub pairing: Pairing,
    /// Which of several, from 0.
    pub run: u32,
    /// How many there are: run `i` of `n` meets its events at `(i + 1/2) / n` of the interval.
    pub runs: u32,
}

impl Walk {
    /// `advert_int`.
    #[must_use]
    pub fn advert(&self) -> Duration {
        Duration::from_millis(self.advert_ms.into())
    }

    /// How often the client asks: a small part of the interval, and not so often that many walks
    /// beside each other cost much.
    #[must_use]
    pub fn question(&self) -> Duration {
        (self.advert() / 100).clamp(Duration::from_millis(2), Duration::from_millis(10))
    }
}

impl std::fmt::Display for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.advert().as_secs_f64();
        let (wire, pairing) = (name(self.wire), name(self.pairing));
        write!(
            f,
            "{wire}, {pairing}, {seconds} s, run {} of {}",
            self.run + 1,
            self.runs
        )
    }
}

/// The name of a value on the command line.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

/// What one event cost the client.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// What happened.
    pub row: Row,
    /// The longest time without an answer, in milliseconds.
    pub ms: f64,
}

/// What came of a walk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Which one.
    pub walk: Walk,
    /// What was measured before it failed, if it did.
    pub costs: Vec<Cost>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long it took, in seconds.
    pub took: f64,
}

/// Goes through `steps` once, in a lab of its own.
#[must_use]
pub fn walk(walk: Walk, steps: &[Step]) -> Done {
    let begin = crate::clock::Instant::now();
    let mut done = Done {
        walk,
        costs: Vec::new(),
        error: None,
        took: 0.0,
    };
    if let Err(e) = steps::all(&mut done, steps) {
        done.error = Some(format!("{e:#}"));
    }
    done.took = crate::clock::Instant::now().since(begin).as_secs_f64();
    done
}

/// Goes through walks, `jobs` at a time, in their order; `each` is told of every one as it ends.
///
/// # Errors
/// When the run was cancelled.
pub fn all(walks: &[Walk], steps: &[Step], jobs: usize, each: impl Fn(Done) + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let one_at_a_time = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, walks.len().max(1)) {
            scope.spawn(|| {
                while let Some(this) = walks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if crate::scratch::check_cancelled().is_err() {
                        return;
                    }
                    let done = walk(*this, steps);
                    let _turn = one_at_a_time
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    each(done);
                }
            });
        }
    });
    crate::scratch::check_cancelled()
}
