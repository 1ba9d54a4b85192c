//! Health checks: from what single probes give to which real servers a service uses.
//!
//! The rules are those of keepalived 2.2.7 (`check_api.c`, `check_tcp.c`, `ipwrapper.c`):
//!
//! - [`checker`]: a check that passes is up. One that fails is tried again `retry` times,
//!   `delay_before_retry` apart, before it is down; the very first run has no retries. `delay_loop`
//!   counts from the end of one run to the start of the next.
//! - [`pool`]: a real server is up while all of its checks are; one without checks always is. The
//!   service has its quorum from `quorum + hysteresis` living weight on, and loses it below
//!   `quorum - hysteresis` or at 0. Without a quorum the sorry server stands in for all others.
//!
//! It differs where keepalived's behaviour costs connections: the first run comes at once, not a
//! second after the start; checks that rested (`ha_suspend`) run at once when the address arrives;
//! what a dead daemon had taken out stays out until its check has passed ([`Health::leave_out`]).
//!
//! [`Health`] is told the configuration, verdicts and the time; it says which probes to start and
//! which backends each service should have. It does no input or output.

mod bfd;
pub mod by_hand;
pub mod checker;
pub mod dns;
pub mod dr_path;
pub mod event;
mod file;
mod heard;
pub mod http;
pub mod ping;
pub mod pool;
mod report;
mod round;
pub mod smtp;
#[cfg(test)]
mod tests;
pub mod udp;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Check, Service, ServiceKey};
use crate::time::Time;

pub use by_hand::{ByHand, Kept, SetServer};
pub use checker::{Failure, NotRun, Verdict, Weighs};
pub use dr_path::Way;
pub use event::{Change, Transition};
pub use pool::Target;

use checker::Checker;
use pool::{Name, Pool};

/// Identifies one run of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub u64);

/// A probe that is to be started now; exactly one [`Verdict`] must come back for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// To be given back with the verdict.
    pub id: ProbeId,
    /// What to try.
    pub check: Check,
    /// Which URL of it to ask for; 0 where there are none.
    pub url: usize,
    /// The addresses of the service: more than one for a group.
    pub services: Arc<[ServiceKey]>,
    /// How frames get to the server, for `DR_PATH_CHECK`; to be filled in.
    pub way: Option<Way>,
}

impl Probe {
    /// Of a check that needs to know nothing more.
    #[must_use]
    pub fn new(id: ProbeId, check: Check) -> Self {
        Probe {
            id,
            check,
            url: 0,
            services: Arc::default(),
            way: None,
        }
    }
}

/// Identifies a check for as long as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct CheckerId(u64);

/// Where a check stands: indices of pool, server and check.
#[derive(Clone, Copy, Debug)]
struct Place {
    pool: usize,
    server: usize,
    check: usize,
}

/// All health checks of a configuration.
#[derive(Debug, Default)]
pub struct Health {
    pools: Vec<Pool>,
    by_key: HashMap<ServiceKey, usize>,
    places: HashMap<CheckerId, Place>,
    running: HashMap<ProbeId, CheckerId>,
    due: BTreeSet<(Time, CheckerId)>,
    next_id: u64,
    dirty: BTreeSet<ServiceKey>,
    transitions: Vec<Transition>,
    /// What a predecessor had set by hand; the first configuration takes it up.
    left: by_hand::Left,
    /// What it had out of use; likewise.
    left_out: BTreeSet<(ServiceKey, (IpAddr, u16))>,
    /// Values of the files that checks follow.
    files: BTreeMap<String, i64>,
    /// Whether the BFD sessions that checks follow are up.
    sessions: BTreeMap<String, bool>,
}

impl Health {
    /// Nothing to check.
    #[must_use]
    pub fn new() -> Self {
        Health::default()
    }

    /// Takes over a configuration, the first or the one of a reload. `random` gives uniform 64-bit
    /// numbers for `warmup`.
    ///
    /// A check keeps its state when its service, its real server and what it connects to are as
    /// before; its timings may change.
    pub fn apply(&mut self, services: &[Service], now: Time, random: &mut dyn FnMut() -> u64) {
        let before = self.kept();
        let mut old: BTreeMap<Name, Pool> = std::mem::take(&mut self.pools)
            .into_iter()
            .map(|p| (p.name.clone(), p))
            .collect();
        for service in services {
            let before = old.remove(&Name::of(service));
            let mut make = |check: &Check| {
                self.next_id += 1;
                let checker = Checker::new(check, now, random());
                (CheckerId(self.next_id), checker)
            };
            let mut pool = Pool::build(service, before, now, &mut make);
            pool.take_up(&self.left, &mut self.transitions);
            let as_before = pool.leave_out(&self.left_out, now, &mut self.transitions);
            pool.settle(!as_before, &mut self.transitions);
            self.dirty.insert(service.key);
            self.pools.push(pool);
        }
        self.left.clear();
        self.left_out.clear();
        self.by_key = self
            .pools
            .iter()
            .enumerate()
            .map(|(i, p)| (p.key, i))
            .collect();
        self.dirty.retain(|key| self.by_key.contains_key(key));
        self.say_ended(&before);
        self.index();
        self.hear_again(now);
    }

    fn pool(&self, service: &ServiceKey) -> Option<&Pool> {
        self.by_key.get(service).map(|&i| &self.pools[i])
    }

    /// Makes the tables that follow from `pools`.
    fn index(&mut self) {
        self.places.clear();
        self.running.clear();
        self.due.clear();
        for (pool, p) in self.pools.iter().enumerate() {
            for (server, s) in p.servers.iter().enumerate() {
                for (check, (id, checker)) in s.checkers.iter().enumerate() {
                    self.places.insert(
                        *id,
                        Place {
                            pool,
                            server,
                            check,
                        },
                    );
                    match checker.run {
                        Some(run) => {
                            self.running.insert(run, *id);
                        }
                        None if checker.runs_by_itself() => {
                            self.due.insert((checker.due, *id));
                        }
                        None => {}
                    }
                }
            }
        }
    }

    /// Real servers, by their service's key, that a predecessor of this process had out of use: the
    /// first configuration leaves them out until their checks have passed, which run at once. That is
    /// no change, so nobody is notified. Servers without checks are in use all the same.
    pub fn leave_out(&mut self, servers: impl IntoIterator<Item = (ServiceKey, (IpAddr, u16))>) {
        self.left_out.extend(servers);
    }

    /// Says whether the virtual address `addr` is on this host: services with `ha_suspend` are
    /// checked only while one of theirs is, and not before the first such call.
    pub fn address(&mut self, addr: IpAddr, present: bool, now: Time) {
        let mut changed = false;
        for pool in &mut self.pools {
            changed |= pool.address(addr, present, now);
        }
        if changed {
            self.index();
        }
    }

    /// When [`Health::start`] has something to do next.
    #[must_use]
    pub fn next_probe(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Appends to `out` up to `limit` probes that are due at `now`; they count as under way.
    pub fn start(&mut self, now: Time, limit: usize, out: &mut Vec<Probe>) {
        let mut started = 0;
        while let Some(&(at, id)) = self.due.first() {
            if at > now || started == limit {
                return;
            }
            self.due.pop_first();
            let Some(place) = self.places.get(&id) else {
                continue;
            };
            let pool = &mut self.pools[place.pool];
            let suspended = pool.suspended();
            let checker = &mut pool.servers[place.server].checkers[place.check].1;
            if suspended {
                // A rest shorter than this would spin: `delay_loop` may be as small as it likes.
                checker.due = now + checker.check.interval.max(Duration::from_millis(10));
                self.due.insert((checker.due, id));
                continue;
            }
            self.next_id += 1;
            let run = ProbeId(self.next_id);
            checker.run = Some(run);
            self.running.insert(run, id);
            out.push(Probe {
                url: checker.round.url,
                services: Arc::clone(&pool.keys),
                ..Probe::new(run, checker.check.clone())
            });
            started += 1;
        }
    }

    /// Takes in what a probe gave and how long it took. A probe that is not under way any more (its
    /// check is no longer configured) is let pass.
    pub fn verdict(&mut self, probe: ProbeId, verdict: &Verdict, took: Duration, now: Time) {
        let Some(id) = self.running.remove(&probe) else {
            return;
        };
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        let pool = &mut self.pools[place.pool];
        if pool.verdict(
            place.server,
            place.check,
            verdict,
            took,
            now,
            &mut self.transitions,
        ) {
            self.dirty.insert(pool.key);
        }
        self.due
            .insert((pool.servers[place.server].checkers[place.check].1.due, id));
    }

    /// Services whose [`Health::targets`] may have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<ServiceKey> {
        std::mem::take(&mut self.dirty).into_iter().collect()
    }

    /// What happened since the last call, in order.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// The real servers of a service and its sorry server, in the order of the configuration; none
    /// when there is no such service.
    #[must_use]
    pub fn targets(&self, service: &ServiceKey) -> Option<Vec<Target>> {
        self.pool(service).map(Pool::targets)
    }

    /// [`Health::targets`] of all services, in the order of the configuration.
    pub fn all_targets(&self) -> impl Iterator<Item = (ServiceKey, Vec<Target>)> + '_ {
        self.pools.iter().map(|p| (p.key, p.targets()))
    }

    /// Whether a real server is up; false when there is none such.
    #[must_use]
    pub fn is_up(&self, service: &ServiceKey, addr: IpAddr, port: u16) -> bool {
        let mut servers = self.pool(service).into_iter().flat_map(|p| &p.servers);
        servers.any(|s| (s.addr, s.port) == (addr, port) && s.up)
    }

    /// Whether a service has its quorum, and the weight of its living servers.
    #[must_use]
    pub fn quorum(&self, service: &ServiceKey) -> Option<(bool, u64)> {
        self.pool(service).map(|p| (p.quorum_up, p.live_weight()))
    }
}
