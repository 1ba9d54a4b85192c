//! Tracked scripts: when they run, and whether they count as good.

use std::collections::BTreeMap;

use super::event::Action;
use super::report::Report;
use crate::model::VrrpScript;
use crate::time::Time;

/// What something that is followed counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing was heard of it yet.
    Unknown,
    Good,
    Bad,
}

/// Successes and failures in a row (keepalived's `vscript->result`).
#[derive(Clone, Copy, Debug)]
struct Counter {
    /// Good from `rise` on, at most `rise + fall - 1`.
    result: u64,
    known: bool,
}

impl Counter {
    fn new(config: &VrrpScript) -> Counter {
        match config.init_fail {
            true => Counter {
                result: 0,
                known: true,
            },
            // One run is enough.
            false => Counter {
                result: u64::from(config.rise) - 1,
                known: false,
            },
        }
    }

    fn standing(&self, rise: u32) -> Standing {
        match (self.known, self.result >= u64::from(rise)) {
            (false, true | false) => Standing::Unknown,
            (true, true) => Standing::Good,
            (true, false) => Standing::Bad,
        }
    }

    fn take(&mut self, good: bool, config: &VrrpScript) {
        let (rise, fall) = (u64::from(config.rise), u64::from(config.fall));
        self.result = match good {
            true if self.result + 1 < rise => self.result + 1,
            true => rise + fall - 1,
            false if self.result > rise => self.result - 1,
            false => 0,
        };
        self.known = true;
    }
}

/// One `vrrp_script`.
#[derive(Debug)]
struct Tracked {
    config: VrrpScript,
    counter: Counter,
    /// When it is to be started next.
    due: Time,
    /// The run that is under way.
    run: Option<u64>,
}

/// All scripts that instances track.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    by_name: BTreeMap<String, Tracked>,
    last_run: u64,
}

impl Scripts {
    /// Takes over a configuration; a script that runs the same command keeps what is known of it.
    pub(super) fn configure<'a>(
        &mut self,
        scripts: impl Iterator<Item = &'a VrrpScript>,
        now: Time,
    ) {
        let mut old = std::mem::take(&mut self.by_name);
        for config in scripts {
            let before = old.remove(&config.name);
            let tracked = match before.filter(|t| t.config.script == config.script) {
                Some(before) => {
                    let (rise, fall) = (u64::from(config.rise), u64::from(config.fall));
                    let mut counter = before.counter;
                    if (before.config.rise, before.config.fall) != (config.rise, config.fall) {
                        counter.result = match counter.standing(before.config.rise) {
                            Standing::Good => rise + fall - 1,
                            Standing::Bad => 0,
                            Standing::Unknown => rise - 1,
                        };
                    }
                    Tracked {
                        counter,
                        due: before.due.min(now + config.interval),
                        run: before.run,
                        config: config.clone(),
                    }
                }
                None => Tracked {
                    config: config.clone(),
                    counter: Counter::new(config),
                    due: now,
                    run: None,
                },
            };
            self.by_name.insert(config.name.clone(), tracked);
        }
    }

    /// What a script counts as; one that is not there is bad.
    pub(super) fn standing(&self, name: &str) -> Standing {
        let tracked = self.by_name.get(name);
        tracked.map_or(Standing::Bad, |t| t.counter.standing(t.config.rise))
    }

    /// When a script is to be started next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let idle = self.by_name.values().filter(|t| t.run.is_none());
        idle.map(|t| t.due).min()
    }

    /// Starts what is due. One that still runs is not started again; it comes with its end.
    pub(super) fn tick(&mut self, now: Time, out: &mut impl Extend<Action>) {
        for tracked in self.by_name.values_mut() {
            if tracked.run.is_some() || tracked.due > now {
                continue;
            }
            self.last_run += 1;
            tracked.run = Some(self.last_run);
            // Keeps its rhythm, except after a pause.
            let next = tracked.due + tracked.config.interval;
            tracked.due = if next > now {
                next
            } else {
                now + tracked.config.interval
            };
            out.extend([Action::Report(Report::RunScript {
                run: self.last_run,
                script: tracked.config.script.clone(),
                limit: tracked.config.timeout,
            })]);
        }
    }

    /// A run has ended: good or not, or nothing was learnt. The script's name if it now counts as
    /// something else.
    pub(super) fn ended(&mut self, run: u64, good: Option<bool>) -> Option<(String, Standing)> {
        let mut all = self.by_name.values_mut();
        let tracked = all.find(|t| t.run == Some(run))?;
        tracked.run = None;
        let rise = tracked.config.rise;
        let before = tracked.counter.standing(rise);
        tracked.counter.take(good?, &tracked.config);
        let after = tracked.counter.standing(rise);
        (after != before).then(|| (tracked.config.name.clone(), after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Script;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn script(name: &str, rise: u32, fall: u32, init_fail: bool) -> VrrpScript {
        VrrpScript {
            name: name.to_owned(),
            script: Script {
                command: vec!["/s".to_owned()],
                user: None,
            },
            interval: SECOND,
            timeout: SECOND,
            rise,
            fall,
            init_fail,
        }
    }

    /// The standings after each result: `+` and `-` for the results, `?`, `u` and `d` for unknown,
    /// up and down.
    fn life(rise: u32, fall: u32, init_fail: bool, results: &str) -> String {
        let config = script("s", rise, fall, init_fail);
        let mut counter = Counter::new(&config);
        let word = |c: &Counter| match c.standing(rise) {
            Standing::Unknown => '?',
            Standing::Good => 'u',
            Standing::Bad => 'd',
        };
        let mut out = String::from(word(&counter));
        for r in results.chars() {
            counter.take(r == '+', &config);
            out.push(word(&counter));
        }
        out
    }

    #[test]
    fn rise_and_fall_count_as_in_keepalived() {
        for (rise, fall, init_fail, results, want) in [
            // The first run decides.
            (1, 1, false, "+-+-", "?udud"),
            (3, 3, false, "+", "?u"),
            (3, 3, false, "-", "?d"),
            (1, 1, true, "+", "du"),
            (3, 2, true, "++-+++", "ddddddu"),
            (3, 2, true, "+++", "dddu"),
            // So many in a row, and one of the other kind starts the count anew.
            (2, 3, false, "+--+---", "?uuuuuud"),
            (2, 3, false, "+---+-++", "?uuuddddu"),
            (3, 1, false, "+-++-+++", "?uddddddu"),
        ] {
            let got = life(rise, fall, init_fail, results);
            assert_eq!(got, want, "rise {rise} fall {fall} {init_fail} {results}");
        }
    }

    /// The numbers of the runs that are started at a time.
    fn started(scripts: &mut Scripts, now: Time) -> Vec<u64> {
        let mut actions = Vec::new();
        scripts.tick(now, &mut actions);
        actions
            .iter()
            .map(|a| match a {
                Action::Report(Report::RunScript { run, .. }) => *run,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_script_runs_at_its_own_interval_and_as_long_as_it_may() {
        let config = VrrpScript {
            interval: 5 * SECOND,
            timeout: 2 * SECOND,
            ..script("s", 1, 1, false)
        };
        let begin = Time::from_nanos(1_000_000_000);
        let mut scripts = Scripts::default();
        scripts.configure([&config].into_iter(), begin);
        let mut actions = Vec::new();
        scripts.tick(begin, &mut actions);
        let run = Report::RunScript {
            run: 1,
            script: config.script.clone(),
            limit: 2 * SECOND,
        };
        assert_eq!(actions, [Action::Report(run)]);
        scripts.ended(1, Some(true));
        assert_eq!(scripts.deadline(), Some(begin + 5 * SECOND));
    }

    #[test]
    fn a_script_starts_at_once_and_then_every_interval_but_never_twice_at_a_time() {
        let begin = Time::from_nanos(1_000_000_000);
        let after = |ms| begin + Duration::from_millis(ms);
        let mut scripts = Scripts::default();
        let config = script("s", 1, 2, false);
        scripts.configure([&config].into_iter(), begin);
        assert_eq!(scripts.deadline(), Some(begin));
        assert_eq!(started(&mut scripts, begin), [1]);
        assert_eq!(scripts.deadline(), None);
        assert_eq!(started(&mut scripts, after(1500)), [0u64; 0]);
        assert_eq!(
            scripts.ended(1, Some(true)),
            Some(("s".to_owned(), Standing::Good))
        );
        // It was late: at once, and from now on anew.
        assert_eq!(started(&mut scripts, after(1600)), [2]);
        assert_eq!(scripts.ended(1, Some(false)), None);
        assert_eq!(scripts.ended(2, Some(false)), None);
        assert_eq!(scripts.deadline(), Some(after(2000)));
        assert_eq!(started(&mut scripts, after(2000)), [3]);
        // Nothing was learnt.
        assert_eq!(scripts.ended(3, None), None);
        assert_eq!(started(&mut scripts, after(3000)), [4]);
        assert_eq!(
            scripts.ended(4, Some(false)),
            Some(("s".to_owned(), Standing::Bad))
        );
        // A reload keeps what is known, unless the command is another one.
        let slower = VrrpScript {
            interval: Duration::from_secs(60),
            rise: 3,
            ..config.clone()
        };
        scripts.configure([&slower].into_iter(), after(3100));
        assert_eq!(scripts.standing("s"), Standing::Bad);
        assert_eq!(scripts.deadline(), Some(after(4000)));
        let mut other = slower;
        other.script.command.push("more".to_owned());
        scripts.configure([&other].into_iter(), after(3200));
        assert_eq!(scripts.standing("s"), Standing::Unknown);
        scripts.configure([].into_iter(), after(3300));
        assert_eq!(scripts.standing("s"), Standing::Bad);
        assert_eq!(scripts.deadline(), None);
    }
}
