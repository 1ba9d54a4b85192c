//! One check: its verdicts, its retries, when it runs next.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::health::ProbeId;
use crate::health::round::Round;
use crate::model::{Check, CheckKind};
use crate::time::Time;

/// What one probe gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server answered as it should.
    Ok,
    /// It did, and said what it should weigh.
    Weighs(Weighs),
    /// It did not.
    Failed(Failure),
    /// The probe could not be made, which says nothing about the server: nothing changes, and it is
    /// tried again after `delay_loop` (keepalived's "Rescheduling").
    NotRun(NotRun),
}

/// What a check says of its server's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighs {
    /// `misc_dynamic`: it is this.
    Exactly(u16),
    /// `FILE_CHECK`: this is added to it.
    More(i64),
}

impl fmt::Display for Weighs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weighs::Exactly(weight) => write!(f, "weight {weight}"),
            Weighs::More(more) => write!(f, "weight {more:+}"),
        }
    }
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens on the port.
    Refused,
    /// No answer within `connect_timeout`.
    TimedOut,
    /// The connection was reset while it was being made.
    Reset,
    /// No such host on the link, or ICMP says so.
    HostUnreachable,
    /// No route, or ICMP says so.
    NetworkUnreachable,
    /// Nothing came back in time.
    NoAnswer,
    /// What came back is not what it should be.
    Answer(String),
    /// Nothing comes back from a virtual address at the server (`DR_PATH_CHECK`).
    VirtualAddress(IpAddr),
    /// Anything else, in the kernel's words.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Refused => "connection refused",
            Failure::TimedOut => "connection timed out",
            Failure::Reset => "connection reset",
            Failure::HostUnreachable => "host unreachable",
            Failure::NetworkUnreachable => "network unreachable",
            Failure::NoAnswer => "no answer in time",
            Failure::VirtualAddress(vip) => {
                return write!(f, "{vip} is not answered: is it on the server's lo?");
            }
            Failure::Answer(words) | Failure::Other(words) => words,
        })
    }
}

/// Why a probe could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRun {
    /// In the kernel's words, with what was tried: `bind to 10.0.0.9: address not available`.
    pub why: String,
}

/// What changed for the check with a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Same,
    /// It passes now; `first` when it had not run before.
    Up { first: bool },
    /// It fails now, after so many retries.
    Down {
        why: Failure,
        retries: u32,
        first: bool,
    },
    /// It failed, which is forgiven but is to be told (`log_all_failures`).
    Forgiven { why: Failure, retry: u32 },
    /// It could not be run, for the first time since it last could.
    Stuck(String),
}

/// A check and its state.
#[derive(Clone, Debug)]
pub(super) struct Checker {
    pub(super) check: Check,
    pub(super) up: bool,
    pub(super) has_run: bool,
    /// Failures in a row that were forgiven. It starts at `retry`: the first failure counts.
    pub(super) retries: u32,
    /// Where it is with its URLs; of no meaning for other kinds.
    pub(super) round: Round,
    /// When it is to run next; of no meaning while it runs.
    pub(super) due: Time,
    /// The run that is under way.
    pub(super) run: Option<ProbeId>,
    pub(super) since: Time,
    pub(super) last: Option<Last>,
    pub(super) runs: u64,
    pub(super) failures: u64,
    /// What its server should weigh, as it said when it last passed.
    pub(super) weight: Option<Weighs>,
}

/// The last run.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
    pub(super) at: Time,
}

/// A fraction of `d` that `random`, uniform over all of `u64`, picks.
fn fraction(d: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

impl Checker {
    /// One that has not run; its first run comes at random within `warmup`.
    pub(super) fn new(check: &Check, now: Time, random: u64) -> Self {
        Checker {
            up: !check.alpha,
            has_run: false,
            retries: check.retry,
            round: Round::default(),
            due: now + fraction(check.warmup, random),
            run: None,
            since: now,
            last: None,
            runs: 0,
            failures: 0,
            weight: None,
            check: check.clone(),
        }
    }

    /// Whether `check` tries the same thing, so that what was learnt still holds.
    pub(super) fn same_target(&self, check: &Check) -> bool {
        let (a, b) = (&self.check, check);
        (a.addr, a.port, a.bind_addr, a.bind_port) == (b.addr, b.port, b.bind_addr, b.bind_port)
            && (&a.bind_if, a.fwmark) == (&b.bind_if, b.fwmark)
            && (a.timeout == b.timeout || !a.kind.connects())
            && match (&a.kind, &b.kind) {
                (CheckKind::Http(a), CheckKind::Http(b)) => a.same_target(b),
                // As in keepalived, whoever runs it and whatever else its status says.
                (CheckKind::Misc(a), CheckKind::Misc(b)) => a.script.command == b.script.command,
                (a, b) => a == b,
            }
    }

    /// Whether it is run when it is due; a file or a session is heard of when it changes.
    pub(super) fn runs_by_itself(&self) -> bool {
        !matches!(self.check.kind, CheckKind::File(_) | CheckKind::Bfd(_))
    }

    /// Takes over other timings of the same check (keepalived's `migrate_checkers`).
    pub(super) fn retime(&mut self, check: &Check, now: Time) {
        if self.check == *check {
            return;
        }
        self.retries = if self.up {
            self.retries.min(check.retry)
        } else {
            0
        };
        self.due = self.due.min(now + check.interval);
        self.check = check.clone();
    }

    /// Takes in a verdict (`tcp_epilog`).
    pub(super) fn verdict(&mut self, verdict: &Verdict, took: Duration, now: Time) -> Step {
        self.run = None;
        match verdict {
            Verdict::Ok => self.weight = None,
            Verdict::Weighs(weight) => self.weight = Some(*weight),
            Verdict::Failed(_) | Verdict::NotRun(_) => {}
        }
        let was_stuck = matches!(
            &self.last,
            Some(Last {
                verdict: Verdict::NotRun(_),
                ..
            })
        );
        self.last = Some(Last {
            verdict: verdict.clone(),
            took,
            at: now,
        });
        let (delay, step) = match verdict {
            Verdict::NotRun(NotRun { why }) => (
                self.check.interval,
                if was_stuck {
                    Step::Same
                } else {
                    Step::Stuck(why.clone())
                },
            ),
            Verdict::Ok | Verdict::Weighs(_) => {
                self.runs += 1;
                if let CheckKind::Http(http) = &self.check.kind {
                    let (urls, fast) = (http.urls.len(), http.fast_recovery);
                    self.url_good(urls, fast)
                } else {
                    self.passed()
                }
            }
            Verdict::Failed(why) => {
                self.runs += 1;
                self.failures += 1;
                if let CheckKind::Http(_) = &self.check.kind {
                    self.url_bad(why)
                } else {
                    self.failed(why)
                }
            }
        };
        let up = match &step {
            Step::Up { .. } => true,
            Step::Down { .. } => false,
            Step::Same | Step::Forgiven { .. } | Step::Stuck(_) => self.up,
        };
        if up != self.up {
            self.up = up;
            self.since = now;
        }
        // keepalived counts `delay_loop` of a script from its start.
        let delay = match self.check.kind {
            CheckKind::Misc(_) => delay.saturating_sub(took),
            _ => delay,
        };
        // A check without any pause between its runs would take the whole machine.
        self.due = now + delay.max(Duration::from_millis(1));
        step
    }

    /// It passed.
    fn passed(&mut self) -> (Duration, Step) {
        self.retries = 0;
        let first = !std::mem::replace(&mut self.has_run, true);
        let step = if self.up && !first {
            Step::Same
        } else {
            Step::Up { first }
        };
        (self.check.interval, step)
    }

    /// It failed.
    fn failed(&mut self, why: &Failure) -> (Duration, Step) {
        let first = !std::mem::replace(&mut self.has_run, true);
        if self.retries >= self.check.retry {
            self.retries = 0;
            let step = if self.up || first {
                let retries = if first { 0 } else { self.check.retry };
                Step::Down {
                    why: why.clone(),
                    retries,
                    first,
                }
            } else {
                Step::Same
            };
            (self.check.interval, step)
        } else {
            self.retries += 1;
            let step = if self.up && self.check.log_all_failures {
                Step::Forgiven {
                    why: why.clone(),
                    retry: self.retries,
                }
            } else {
                Step::Same
            };
            (self.check.retry_delay, step)
        }
    }
}
