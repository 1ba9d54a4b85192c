//! Single measurements of a pair: each leaves the lab as it found it, with the first director
//! master and the second its backup.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::clock::{Instant, pause};
use crate::conf::PairConf;
use crate::director::Kind;
use crate::events::Event;
use crate::lab::{Lab, Spec};
use crate::outage::Outage;
use crate::prober::{Prober, let_answers_in};
use crate::random::Random;

/// How often the probers ask.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(2);

/// A pair in its lab, with its probers.
#[derive(Debug)]
pub struct Bench {
    /// Asks the virtual address. Before the lab, so that it ends first.
    pub ping: Prober,
    /// Asks the UDP service, when both directors forward.
    pub udp: Option<Prober>,
    /// The network.
    pub lab: Lab,
    /// `advert_int`.
    pub advert: Duration,
    random: Random,
    resets: usize,
}

/// What one event cost the client.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Of pings of the virtual address.
    pub ping: Outage,
    /// Of datagrams to the service.
    pub udp: Option<Outage>,
}

impl Bench {
    /// Builds the lab and starts the directors. `advert` of whole seconds is version 2 with PASS,
    /// anything else version 3.
    ///
    /// # Errors
    /// When the pair does not come to serve.
    pub fn new(kinds: [Kind; 2], advert: Duration, seed: u64) -> Result<Self> {
        let version = if advert.subsec_nanos() == 0 { 2 } else { 3 };
        let conf = PairConf::http(version, advert);
        let mut lab = Lab::new(&Spec::pair(&conf, kinds))?;
        lab.start_directors()?;
        let ping = lab.ping(lab.vip(), PROBE_INTERVAL)?;
        let udp = if kinds == [Kind::Lbd; 2] {
            Some(lab.ask_udp(PROBE_INTERVAL)?)
        } else {
            None
        };
        let mut bench = Bench {
            ping,
            udp,
            lab,
            advert,
            random: Random::new(seed),
            resets: 0,
        };
        bench.settle()?;
        if kinds[0] == Kind::Lbd {
            bench
                .lab
                .wait_services(bench.limit())
                .context("at the start")?;
        }
        Ok(bench)
    }

    /// Longer than any of this may take.
    fn limit(&self) -> Duration {
        self.advert * 10 + Duration::from_secs(15)
    }

    /// Waits until the first director is the only master.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn settle(&mut self) -> Result<()> {
        let limit = self.limit();
        self.lab.settle(0, None, self.advert, &self.ping, limit)
    }

    /// Lets a random part of an advertisement interval pass, after a whole one.
    fn random_phase(&mut self) -> Result<()> {
        pause(self.advert + self.random.below(self.advert))
    }

    /// What it cost from `from` until now; a little later, so that the last answers are in.
    fn cost(&self, from: Instant) -> Result<Cost> {
        let to = Instant::now();
        let_answers_in()?;
        Ok(Cost {
            ping: self.ping.outage(&self.lab.recorder, from, to),
            udp: self
                .udp
                .as_ref()
                .map(|p| p.outage(&self.lab.recorder, from, to)),
        })
    }

    /// Forgets what was recorded, so that a long run does not grow; resets are counted before.
    fn forget(&mut self) {
        let before = Instant::now().minus(self.advert * 4);
        self.resets += self
            .lab
            .director_resets(Instant(0))
            .iter()
            .filter(|f| f.at < before)
            .count();
        self.lab.recorder.forget_before(before);
    }

    /// RSTs that came from a director since the start.
    #[must_use]
    pub fn director_resets(&self) -> usize {
        self.resets + self.lab.director_resets(Instant(0)).len()
    }

    /// One event on the master, and its return: the cost of each.
    ///
    /// # Errors
    /// When nobody takes over, or the master does not come back.
    pub fn event(&mut self, event: Event) -> Result<(Cost, Cost)> {
        self.forget();
        self.random_phase()?;
        let limit = self.limit();
        let at = self.lab.strike(event, 0)?;
        if event == Event::KillRestart {
            // Either nothing moves or it moves away and back; both end with the first as master,
            // after the time in which the second would have given it up.
            pause(self.advert * 4 + Duration::from_millis(200))?;
            self.settle()?;
            let cost = self.cost(at)?;
            return Ok((cost.clone(), cost));
        }
        let second = self.lab.directors[1].host.mac;
        self.ping
            .wait_answer(&self.lab.recorder, Some(second), 20, at, limit)
            .with_context(|| format!("{}: {}", event.words(), self.lab.logs()))?;
        if event == Event::CleanStop {
            // Until it has ended it may still let something go.
            self.lab.directors[0].wait_ended(limit)?;
        }
        pause(Duration::from_millis(200))?;
        let lost = self.cost(at)?;
        self.random_phase()?;
        let at = self.lab.recover(event, 0)?;
        self.settle()
            .with_context(|| format!("return after {}", event.words()))?;
        pause(Duration::from_millis(200))?;
        Ok((lost, self.cost(at)?))
    }

    /// The directors are cut from each other until both are master, then hear each other again: the
    /// cost of the healing.
    ///
    /// # Errors
    /// When not both become master, or the first does not stay it alone.
    pub fn heal(&mut self) -> Result<Cost> {
        self.forget();
        self.random_phase()?;
        let at = self.lab.partition(true)?;
        let limit = self.limit();
        self.lab.wait_both_advertise(at, limit)?;
        self.random_phase()?;
        let at = self.lab.partition(false)?;
        self.settle().context("after healing")?;
        pause(Duration::from_millis(200))?;
        self.cost(at)
    }

    /// Both directors start at once on hosts that remember nothing: whether the client's ARP entry
    /// is the master's once it alone advertises.
    ///
    /// # Errors
    /// When the first does not become the only master.
    pub fn cold_start(&mut self) -> Result<bool> {
        let limit = self.limit();
        for d in &mut self.lab.directors {
            d.kill()?;
            d.forget()?;
        }
        self.lab.client.ns.forget_neighbour(self.lab.vip())?;
        self.forget();
        let at = Instant::now();
        // Which of the two is first is a matter of chance.
        let first = usize::from(self.random.figure() & 1 == 1);
        for d in [first, 1 - first] {
            self.lab.directors[d].start()?;
        }
        self.lab
            .wait_sole_advertiser(0, None, self.advert, at, limit)?;
        Ok(self.lab.client.ns.neighbour(self.lab.vip())? == Some(self.lab.directors[0].host.mac))
    }

    /// Takes the lab down.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub fn finish(self) -> Result<()> {
        let Bench { ping, udp, lab, .. } = self;
        drop((ping, udp));
        lab.finish()
    }
}
