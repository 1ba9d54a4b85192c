//! The events of a walk, one after the other.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Cost, Done, Row, Step, Walk, Wire, wire};
use crate::clock::{Instant, pause};
use crate::director::Kind;
use crate::events::Event;
use crate::lab::{Lab, advertises};
use crate::prober::{Prober, let_answers_in};

/// Held by the walk whose daemons start for the first time.
static STARTS: Mutex<()> = Mutex::new(());

/// A lab on its way.
pub(super) struct Stage {
    /// Before the lab, so that it ends first.
    pub(super) ping: Prober,
    pub(super) lab: Lab,
    pub(super) walk: Walk,
    pub(super) vip: IpAddr,
    pub(super) advert: Duration,
    /// Whose daemon runs.
    pub(super) lives: [bool; 2],
    /// Who has power.
    pub(super) powered: [bool; 2],
}

/// Goes through the steps.
pub(super) fn all(done: &mut Done, steps: &[Step]) -> Result<()> {
    let walk = done.walk;
    let lab = walk.wire.lab(walk.advert(), walk.pairing.kinds())?;
    let vip = walk.wire.vip(&lab);
    let mut stage = Stage {
        ping: lab.ping(vip, walk.question())?,
        lab,
        walk,
        vip,
        advert: walk.advert(),
        lives: [true; 2],
        powered: [true; 2],
    };
    let begin = Instant::now();
    let mut gone = stage.election(done);
    for step in steps {
        gone = gone.and_then(|()| stage.step(*step, done).with_context(|| format!("{step:?}")));
    }
    let gone = gone.and_then(|()| stage.one_mac(begin));
    let Stage { ping, lab, .. } = stage;
    drop(ping);
    let finished = lab.finish();
    gone.and(finished)
}

impl Stage {
    /// Longer than any of this may take.
    pub(super) fn limit(&self) -> Duration {
        self.advert * 10 + Duration::from_secs(20)
    }

    fn step(&mut self, step: Step, done: &mut Done) -> Result<()> {
        match step {
            // With it every walk begins.
            Step::Election => Ok(()),
            Step::Kill => self.kill(done),
            Step::Power => {
                self.there_and_back(Event::PowerLoss, [Row::PowerLoss, Row::PowerReturn], done)
            }
            Step::Stop => self.there_and_back(Event::CleanStop, [Row::Stop, Row::StopReturn], done),
            Step::Link => {
                self.there_and_back(Event::LinkDownSwitch, [Row::LinkDown, Row::LinkUp], done)
            }
            Step::LinkLocal => {
                self.there_and_back(Event::LinkDownLocal, [Row::LocalDown, Row::LocalUp], done)
            }
            Step::Partition => self.partition(done),
            Step::Priority => self.priority(done),
            Step::Order => self.orders(done),
            Step::Alone => self.alone(done),
        }
    }

    /// Waits for the moment of a master's interval at which this walk meets its events.
    fn moment(&self, master: usize) -> Result<()> {
        let start = Instant::now();
        let what = format!("an advert of {}", self.lab.directors[master].name());
        let last = self
            .lab
            .recorder
            .wait(&what, start, self.limit(), |frames| {
                let own = |f: &&_| advertises(f, None) && self.lab.sender(f) == Some(master);
                frames.iter().rev().find(own).map(|f| f.at)
            })?;
        let phase = (f64::from(self.walk.run) + 0.5) / f64::from(self.walk.runs.max(1));
        last.plus(self.advert.mul_f64(phase)).sleep();
        Ok(())
    }

    /// What it cost the client from `from` until now.
    fn cost(&self, row: Row, from: Instant, done: &mut Done) -> Result<()> {
        let to = Instant::now();
        let_answers_in()?;
        let outage = self.ping.outage(&self.lab.recorder, from, to);
        let ms = outage.longest.as_secs_f64() * 1e3;
        done.costs.push(Cost { row, ms });
        Ok(())
    }

    fn election(&mut self, done: &mut Done) -> Result<()> {
        // A dozen programs that are loaded at once take half a minute each.
        let turn = STARTS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.start_both()?;
        drop(turn);
        self.elected(at, [Row::Start, Row::Election], done)
    }

    /// Both, either of them the first by a little; when that was.
    fn start_both(&mut self) -> Result<Instant> {
        let at = Instant::now();
        let first = (self.walk.run as usize + self.walk.wire as usize) % 2;
        for d in [first, 1 - first] {
            self.lab.directors[d].start()?;
        }
        for d in &self.lab.directors {
            d.wait_ready(self.limit())?;
        }
        Ok(at)
    }

    fn elected(&self, at: Instant, rows: [Row; 2], done: &mut Done) -> Result<()> {
        self.holds(0).context("at the start")?;
        let answers = self.lab.recorder.since(at);
        let first = self.ping.answers(&answers).next().context("no answer")?.at;
        let ms = first.since(at).as_secs_f64() * 1e3;
        done.costs.push(Cost { row: rows[0], ms });
        self.cost(rows[1], first, done)
    }

    fn alone(&mut self, done: &mut Done) -> Result<()> {
        if !self.walk.wire.loads(self.advert) {
            return Ok(());
        }
        let limit = self.limit();
        for director in &mut self.lab.directors {
            director.terminate()?;
            director.wait_stopped(limit)?;
            director.forget()?;
            director.drop_services()?;
        }
        let at = self.start_both()?;
        self.elected(at, [Row::StartAlone, Row::ElectionAlone], done)
    }

    fn kill(&mut self, done: &mut Done) -> Result<()> {
        self.moment(0)?;
        let at = self.lab.strike(Event::KillRestart, 0)?;
        // In this time the second would have given the first one up.
        pause(self.advert * 4 + Duration::from_millis(200))?;
        self.holds(0)?;
        self.cost(Row::Kill, at, done)?;
        // A daemon may be slower to start than it takes at short intervals.
        let slow = self.advert >= Duration::from_secs(1);
        if slow && self.lab.directors[0].kind == Kind::Lbd {
            self.role_stayed(at)?;
        }
        Ok(())
    }

    /// Something that makes the second one master, and is undone.
    fn there_and_back(&mut self, event: Event, rows: [Row; 2], done: &mut Done) -> Result<()> {
        let limit = self.limit();
        let second = self.lab.directors[1].host.mac;
        self.moment(0)?;
        let at = self.lab.strike(event, 0)?;
        let ends = matches!(event, Event::PowerLoss | Event::CleanStop);
        self.lives[0] = !ends;
        self.powered[0] = event != Event::PowerLoss;
        self.ping
            .wait_answer(&self.lab.recorder, Some(second), 20, at, limit)
            .with_context(|| self.lab.logs())?;
        if event == Event::CleanStop {
            self.lab.directors[0].wait_stopped(limit)?;
        }
        self.holds(1)?;
        self.cost(rows[0], at, done)?;
        if self.walk.wire == Wire::V3Unicast && self.lab.directors[0].kind == Kind::Keepalived {
            // A keepalived without carrier has still sent an advert, and its kernel asks for its peer once
            // a second, three times: returning in between costs what is left of that second.
            at.plus(Duration::from_millis(3500)).sleep();
        }
        self.moment(1)?;
        let at = if event == Event::CleanStop {
            let at = Instant::now();
            self.lab.directors[0].start()?;
            at
        } else {
            self.lab.recover(event, 0)?
        };
        (self.lives[0], self.powered[0]) = (true, true);
        self.holds(0).context("the return")?;
        pause(Duration::from_millis(100))?;
        self.cost(rows[1], at, done)
    }

    fn partition(&mut self, done: &mut Done) -> Result<()> {
        self.moment(0)?;
        let at = self.lab.partition(true)?;
        self.lab.wait_both_advertise(at, self.limit())?;
        self.cost(Row::Partition, at, done)?;
        self.moment(0)?;
        let at = self.lab.partition(false)?;
        self.holds(0).context("after healing")?;
        pause(Duration::from_millis(100))?;
        self.cost(Row::Heal, at, done)
    }

    fn priority(&mut self, done: &mut Done) -> Result<()> {
        for (unwell, master, row) in [(true, 1, Row::Lowered), (false, 0, Row::Restored)] {
            let at = Instant::now();
            wire::make_unwell(&self.lab.directors[0], unwell)?;
            self.wait_master(master, at)?;
            self.holds(master).with_context(|| row.words())?;
            self.cost(row, at, done)?;
        }
        Ok(())
    }

    /// Each of ours is asked to give the role away and to take it, as its place allows.
    fn orders(&mut self, done: &mut Done) -> Result<()> {
        let all = [
            (0, "release", 1, Row::Release),
            (0, "takeover", 0, Row::Takeover),
            (1, "takeover", 1, Row::Takeover),
            (1, "release", 0, Row::Release),
        ];
        for (asked, order, master, row) in all {
            if self.lab.directors[asked].kind != Kind::Lbd {
                continue;
            }
            let at = Instant::now();
            let out = self.lab.directors[asked].lbctl(&["vrrp", order, "VI_1"])?;
            ensure!(out.status.success(), "{order}: {out:?}");
            self.wait_master(master, at)?;
            // Nobody takes it back.
            pause(self.advert * 4)?;
            self.holds(master).with_context(|| row.words())?;
            self.cost(row, at, done)?;
        }
        Ok(())
    }

    fn wait_master(&self, master: usize, since: Instant) -> Result<()> {
        let mac = self.lab.directors[master].host.mac;
        let limit = self.limit();
        self.ping
            .wait_answer(&self.lab.recorder, Some(mac), 20, since, limit)
            .map(drop)
            .with_context(|| self.lab.logs())
    }
}
