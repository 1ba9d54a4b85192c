//! The lab's story: a pair starts, balances, loses a real server and gets it back, loses its
//! master and gets it back. Every line is only said when it was seen.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Protocol;

use crate::clock::{Instant, pause, wait_for};
use crate::director::Director;
use crate::events::Event;
use crate::lab::Lab;
use crate::load::{self, Report, Running};
use crate::outage::Outage;
use crate::pair::{Expected, Pair, Router};
use crate::prober::{Prober, let_answers_in};
use crate::screen::{Light, Screen};

const PROBE_INTERVAL: Duration = Duration::from_millis(2);
const REQUESTS: u32 = 300;
const PER_SECOND: u32 = 200;
const REQUEST_LIMIT: Duration = Duration::from_millis(500);

/// Tells the story of a pair; fails where it did not go as it should.
///
/// # Errors
/// The first thing that was not seen, and what went wrong while cleaning up.
pub fn tell(pair: &Pair, screen: &Screen) -> Result<()> {
    screen.now("building the network: a switch, a client, two directors, the real servers");
    let mut lab = Lab::new(&pair.spec)?;
    let told = Story::new(pair, screen, &mut lab).and_then(|mut s| s.tell());
    screen.now("cleaning up");
    let cleaned = lab.finish();
    told?;
    cleaned?;
    screen.seen("cleaned up: no process, no namespace, no pin is left");
    Ok(())
}

struct Story<'a> {
    pair: &'a Pair,
    screen: &'a Screen,
    /// One for each virtual router.
    probers: Vec<Prober>,
    lab: &'a mut Lab,
}

impl<'a> Story<'a> {
    fn new(pair: &'a Pair, screen: &'a Screen, lab: &'a mut Lab) -> Result<Self> {
        screen.change(|v| {
            let state = |d: &Director| (d.name().to_owned(), d.kind.to_string(), Light::Backup);
            v.directors = lab.directors.iter().map(state).collect();
            v.reals = lab
                .reals
                .iter()
                .map(|r| (r.name().to_owned(), 0, true))
                .collect();
        });
        let probers = pair
            .routers
            .iter()
            .map(|r| lab.ping(r.vip, PROBE_INTERVAL))
            .collect::<Result<Vec<_>>>()?;
        Ok(Story {
            pair,
            screen,
            probers,
            lab,
        })
    }

    fn tell(&mut self) -> Result<()> {
        self.starts()?;
        for service in &self.pair.services {
            self.balances(service)?;
        }
        if let Some(service) = self
            .pair
            .services
            .iter()
            .find(|s| s.protocol == Protocol::Tcp && s.weights.len() > 1)
        {
            self.server_leaves_and_returns(service)?;
        }
        let service = self
            .pair
            .services
            .iter()
            .find(|s| s.protocol == Protocol::Tcp);
        self.master_dies_and_returns(service)
    }

    fn starts(&mut self) -> Result<()> {
        let start = Instant::now();
        self.lab.start_directors()?;
        self.screen
            .now("both directors start; the one with the higher priority is to become master");
        self.all_at_home(Instant(0))?;
        for (router, prober) in self.pair.routers.iter().zip(&self.probers) {
            let owner = &self.lab.directors[router.owner];
            let limit = Duration::from_secs(1);
            let first = prober.wait_first(&self.lab.recorder, owner.host.mac, start, limit)?;
            self.screen.seen(format!(
                "{} is master of {} (virtual router {}): it answered {:.1} s after the start",
                owner.name(),
                router.vip,
                router.vrid,
                first.since(start).as_secs_f64()
            ));
        }
        Ok(())
    }

    /// Waits until every router's owner is its only master.
    fn all_at_home(&self, since: Instant) -> Result<()> {
        let limit = self.pair.election() + Duration::from_secs(15);
        for (router, prober) in self.pair.routers.iter().zip(&self.probers) {
            self.lab.wait_sole_advertiser(
                router.owner,
                Some(router.vrid),
                router.advert,
                since,
                limit,
            )?;
            self.lab.settle(
                router.owner,
                Some(router.vrid),
                router.advert,
                prober,
                limit,
            )?;
            self.light(router, router.owner);
        }
        Ok(())
    }

    fn light(&self, router: &Router, master: usize) {
        if self
            .pair
            .routers
            .first()
            .is_some_and(|r| r.vrid == router.vrid)
        {
            self.screen.change(|v| {
                for (i, d) in v.directors.iter_mut().enumerate() {
                    d.2 = if i == master {
                        Light::Master
                    } else {
                        Light::Backup
                    };
                }
            });
        }
    }

    fn add(&self, report: &Report) {
        self.screen.change(|v| {
            for (name, n) in &report.tally {
                v.reals
                    .iter_mut()
                    .filter(|r| r.0 == *name)
                    .for_each(|r| r.1 += n);
            }
            v.requests.0 += report.answered();
            v.requests.1 += report.failed();
        });
    }

    fn ask(&self, service: &Expected, n: u32) -> Report {
        let ns = &self.lab.client.ns;
        let report = match service.protocol {
            Protocol::Tcp => load::requests(ns, service.to, n, REQUEST_LIMIT),
            Protocol::Udp => load::datagrams(ns, service.to, n, REQUEST_LIMIT),
            Protocol::Sctp => Report::default(),
        };
        self.add(&report);
        report
    }

    fn balances(&mut self, service: &Expected) -> Result<()> {
        self.screen.now(format!(
            "{REQUESTS} requests to {} by {}",
            service.to,
            service.protocol.name()
        ));
        self.lab
            .wait_services(service.notice + Duration::from_secs(10))?;
        let report = self.ask(service, REQUESTS);
        let shown = service.check(&report)?;
        self.screen.seen(format!(
            "{REQUESTS} {:?} requests to {}, {:?}: {shown}",
            service.protocol, service.to, service.scheduler
        ));
        Ok(())
    }

    fn server_leaves_and_returns(&mut self, service: &Expected) -> Result<()> {
        // The one that answers now; with persistence no other would be missed.
        let report = self.ask(service, 1);
        let name = report.tally.keys().next().context("no answer")?.clone();
        let at = self
            .lab
            .reals
            .iter()
            .position(|r| r.name() == name)
            .context("an unknown server")?;
        self.lab.reals[at].stop();
        let stopped = Instant::now();
        self.serves(&name, false);
        self.screen
            .now(format!("{name} is stopped; its check has to notice"));
        let turns = u32::try_from(service.weights.len() * 4)?;
        let mut refused = 0;
        wait_for(
            &format!("{name} to get no more requests"),
            service.notice + Duration::from_secs(10),
            || {
                // Not as fast as it can: most of the time nothing changes.
                Instant::now().plus(Duration::from_millis(100)).sleep();
                let report = self.ask(service, turns);
                refused += report.failed();
                (report.failed() == 0 && !report.tally.contains_key(&name)).then_some(())
            },
        )
        .with_context(|| self.lab.logs())?;
        self.screen.seen(format!(
            "{name} was stopped; {:.1} s later it is out of service, the others answer ({refused} requests were refused in between)",
            Instant::now().since(stopped).as_secs_f64()
        ));
        let report = self.ask(service, REQUESTS / 2);
        ensure!(
            report.failed() == 0 && !report.tally.contains_key(&name),
            "{name} is out, but: {report:?}"
        );

        self.lab.reals[at].start()?;
        let started = Instant::now();
        self.serves(&name, true);
        self.screen.now(format!("{name} is started again"));
        // A client that persistence keeps elsewhere does not come back to it.
        let back = |r: &Report| service.persistent || r.tally.contains_key(&name);
        wait_for(
            &format!("{name} to be back"),
            service.notice + Duration::from_secs(10),
            || {
                let report = self.ask(service, turns);
                (report.failed() == 0 && back(&report)).then_some(())
            },
        )
        .with_context(|| self.lab.logs())?;
        if !service.persistent {
            self.screen.seen(format!(
                "{name} was started again; {:.1} s later it gets its share",
                Instant::now().since(started).as_secs_f64()
            ));
        }
        Ok(())
    }

    fn serves(&self, name: &str, serves: bool) {
        self.screen.change(|v| {
            v.reals
                .iter_mut()
                .filter(|r| r.0 == name)
                .for_each(|r| r.2 = serves)
        });
    }

    fn master_dies_and_returns(&mut self, service: Option<&Expected>) -> Result<()> {
        let dead = self.pair.routers[0].owner;
        let other = 1 - dead;
        let names = [dead, other].map(|d| self.lab.directors[d].name().to_owned());
        // A lost SYN is sent again after 1, 3, 7, 15, 31 s: twice the outage, which is less than this.
        let patience = self.pair.election();
        let load =
            service.map(|s| load::steady(&self.lab.client.ns, &[], s.to, PER_SECOND, patience));
        pause(Duration::from_millis(500))?;

        self.screen
            .now(format!("{} is killed and its cable pulled", names[0]));
        let at = self.lab.strike(Event::PowerLoss, dead)?;
        self.screen.change(|v| v.directors[dead].2 = Light::Off);
        let mac = self.lab.directors[other].host.mac;
        let limit = self.pair.election() + Duration::from_secs(10);
        for (router, prober) in self.pair.routers.iter().zip(&self.probers) {
            prober
                .wait_answer(&self.lab.recorder, Some(mac), 10, at, limit)
                .with_context(|| self.lab.logs())?;
            if router.owner == dead {
                self.screen.change(|v| v.directors[other].2 = Light::Master);
            }
        }
        self.sure_of(load.as_ref())?;
        for (router, outage) in self.outages(at)? {
            if router.owner == dead {
                ensure!(!outage.open, "{} did not come back: {outage:?}", router.vip);
                self.screen.seen(format!(
                    "{} was killed and cut off; {} answers for {}: outage {} ms",
                    names[0],
                    names[1],
                    router.vip,
                    outage.longest.as_millis()
                ));
            } else {
                ensure!(
                    outage.lost == 0,
                    "{} is not {}'s, but: {outage:?}",
                    router.vip,
                    names[0]
                );
            }
        }

        self.screen.now(format!(
            "{} gets its power back and takes over again",
            names[0]
        ));
        let at = self.lab.recover(Event::PowerLoss, dead)?;
        if self.pair.routers.iter().all(|r| r.preempts) {
            self.all_at_home(at)?;
            self.sure_of(load.as_ref())?;
            for (router, outage) in self.outages(at)? {
                if router.owner == dead {
                    self.screen.seen(format!(
                        "{} is back and master of {} again: outage {} ms",
                        names[0],
                        router.vip,
                        outage.longest.as_millis()
                    ));
                }
            }
        }
        if let Some(load) = load {
            let report = load.stop()?;
            self.add(&report);
            let slow = report.slowest.as_millis();
            // A request that was under way in the very millisecond of the power loss hangs: which
            // server it had was known to the dead master alone. More must not fail.
            ensure!(
                report.answered() > 0 && report.failed() <= u64::from(PER_SECOND / 50),
                "{report:?}"
            );
            self.screen.seen(format!(
                "{PER_SECOND} new connections a second through all of that: {} answered, {} failed, the slowest after {slow} ms",
                report.answered(),
                report.failed(),
            ));
        }
        Ok(())
    }

    /// Waits until the load gets answers again.
    fn sure_of(&self, load: Option<&Running>) -> Result<()> {
        let Some(load) = load else { return Ok(()) };
        let before = load.answered();
        wait_for(
            "requests to be answered again",
            Duration::from_secs(10),
            || (load.answered() > before + u64::from(PER_SECOND / 2)).then_some(()),
        )
        .with_context(|| self.lab.logs())
    }

    fn outages(&self, from: Instant) -> Result<Vec<(&'a Router, Outage)>> {
        let to = Instant::now();
        let_answers_in()?;
        let pairs = self.pair.routers.iter().zip(&self.probers);
        Ok(pairs
            .map(|(r, p)| (r, p.outage(&self.lab.recorder, from, to)))
            .collect())
    }
}
