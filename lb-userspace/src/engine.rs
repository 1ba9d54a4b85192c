//! The one owner of the daemon's state.
//!
//! Pure: [`Engine::handle`] takes what happened and the time, [`Engine::poll_action`] gives what is
//! to be done, [`Engine::next_deadline`] says when [`Engine::tick`] is wanted. It joins the health
//! checks and the books of the data plane, and says to the VRRP router, which lives on a thread of its own,
//! what it must know:
//!
//! ```text
//! model ─┬─> vrrp::Order ······ vrrp::Router ─────────> adverts, addresses, gratuitous ARPs
//!        └─> health::Health ─ targets ─┐
//!            neighbours ───────────────┴─> plan::Tables ─> operations on the maps
//! ```
//!
//! The caller drains everything that has happened before it calls [`Engine::tick`], so that no
//! timer fires while the message that would have stopped it waits to be read.

mod alarm;
mod by_hand;
mod desired;
pub mod diff;
mod event;
mod mail;
mod meter;
mod notify;
mod peers;
mod status;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::control::status::Counts;
use crate::health::{Health, Kept, NotRun, Probe, ProbeId, Verdict};
use crate::model::{Model, RealServer, ServiceKey};
use crate::plan::{Dump, Link, Op, Refs, Refusal, Tables};
use crate::time::Time;
use crate::vrrp::{self, Order, Report};

use desired::{Due, Index, View};
use notify::Notifier;
use ways::{Known, Waiting};

pub use crate::vrrp::mac_text;
pub use alarm::{Alarm, Watched};
pub use event::{Action, Event};
pub use mail::Message;
pub use meter::{Meter, Sample};
pub use notify::{Notification, Side};
pub use status::Surroundings;

/// How many probes are started at a time; the next ones follow in the same turn of the loop, after
/// what has arrived meanwhile.
const PROBES_AT_ONCE: usize = 256;

/// What the engine starts from.
#[derive(Debug)]
pub struct Start<'a> {
    /// The configuration.
    pub model: Arc<Model>,
    /// What the maps hold: empty for fresh ones.
    pub dump: &'a Dump,
    /// What a predecessor's operators had set by hand for real servers.
    pub by_hand: &'a [Kept],
    /// The addresses of this host, as in [`Event::HostAddresses`]: the first plan must not take a
    /// real server that is this host for another one.
    pub own: BTreeSet<IpAddr>,
    /// As in [`Event::Attached`].
    pub attached: vrrp::Forwarding,
}

/// The one owner of the daemon's state.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    health: Health,
    tables: Tables,
    index: Index,
    due: Due,
    neighbours: BTreeMap<IpAddr, Link>,
    own: BTreeSet<IpAddr>,
    /// Interfaces that are up; not told yet at the start.
    links_up: Option<BTreeSet<u32>>,
    /// Where the probes that are under way go, and whether that was cut off meanwhile.
    under_way: BTreeMap<ProbeId, (IpAddr, bool)>,
    /// Probes that wait to know where to go.
    waiting: Waiting,
    peers: BTreeSet<[u8; 6]>,
    /// Peers that advertise with the MAC of the virtual router: what they forward has their own.
    hidden_peers: BTreeSet<IpAddr>,
    /// As in [`Action::Fellows`]; what an earlier process told is not known.
    fellows: Option<BTreeSet<([u8; 6], u16)>>,
    attached: vrrp::Forwarding,
    meter: Meter,
    refused: Vec<Refusal>,
    /// As in [`Action::RefuseFor`]; what an earlier process told is not known.
    refused_addresses: Option<BTreeSet<IpAddr>>,
    /// The services whose quorum instances follow: their names to VRRP, the services, and what was
    /// told.
    quorums: Vec<(String, ServiceKey, Option<bool>)>,
    /// The real servers of which [`Action::Routed`] was told.
    routed: BTreeMap<IpAddr, [u8; 6]>,
    /// As the router told last.
    addresses: BTreeMap<IpAddr, bool>,
    /// Configurations that the router has still to take over: until then nothing leaves the maps that
    /// only the one before had.
    configuring: u32,
    /// The last transition of each instance, by its name.
    transitions: BTreeMap<String, (vrrp::Transition, Time)>,
    notifier: Notifier,
    actions: VecDeque<Action>,
    stopping: bool,
}

impl Engine {
    /// An engine that has taken over what is there. `random` gives uniform 64-bit numbers, for the
    /// checks' `warmup`.
    #[must_use]
    pub fn new(start: Start<'_>, now: Time, random: &mut dyn FnMut() -> u64) -> Self {
        let Start {
            model,
            dump,
            by_hand,
            own,
            attached,
        } = start;
        let tables = Tables::adopt(dump, now);
        let mut health = Health::with_by_hand(by_hand);
        let missing = desired::missing(&model, &tables).into_iter();
        health.leave_out(missing.map(|(s, r)| (s.key, (r.addr, r.port))));
        health.apply(&model.services, now, random);
        let neighbours = desired::known_links(&tables);
        let mut engine = Engine {
            health,
            tables,
            index: Index::of(&model),
            due: Due::All,
            neighbours,
            own,
            links_up: None,
            under_way: BTreeMap::new(),
            waiting: Waiting::default(),
            peers: BTreeSet::new(),
            hidden_peers: BTreeSet::new(),
            fellows: None,
            attached,
            meter: Meter::default(),
            refused: Vec::new(),
            refused_addresses: None,
            quorums: tracked_services(&model),
            routed: BTreeMap::new(),
            addresses: BTreeMap::new(),
            configuring: 0,
            transitions: BTreeMap::new(),
            notifier: Notifier::default(),
            actions: VecDeque::new(),
            stopping: false,
            model,
        };
        engine.notifier.add(&engine.model);
        engine.notify(notify::begun(
            &Model::default(),
            &engine.model,
            &engine.health,
        ));
        engine.configure();
        engine.tell_quorums();
        engine.follow();
        if engine.health.kept() != by_hand {
            engine.keep();
        }
        engine
    }

    /// The configuration in force.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Where this host can forward, as [`Order::Ready`] says it to the router. A director without
    /// services has nothing to forward and may be MASTER without the program.
    #[must_use]
    pub fn forwarding(&self) -> vrrp::Forwarding {
        use vrrp::Forwarding::{Everywhere, Loading, On};
        match (&self.attached, self.model.services.is_empty()) {
            (Loading, _) => Loading,
            (Everywhere, _) | (On(_), true) => Everywhere,
            (On(interfaces), false) => On(interfaces.clone()),
        }
    }

    /// The books of the data plane.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Takes over a new configuration; what did not change is not touched.
    pub fn reload(&mut self, model: Arc<Model>, now: Time, random: &mut dyn FnMut() -> u64) {
        self.notify(notify::removed(&self.model, &model, &self.health));
        self.notifier.add(&model);
        let old = std::mem::replace(&mut self.model, model);
        self.health.apply(&self.model.services, now, random);
        self.notify(notify::begun(&old, &self.model, &self.health));
        self.keep();
        self.index = Index::of(&self.model);
        self.quorums = tracked_services(&self.model);
        self.configure();
        // What is new is in the maps before its address comes, what goes leaves after its address.
        let places = (0..self.model.services.len()).collect();
        self.due = Due::Some(places);
        self.plan(now);
        self.tell_ready();
        self.configuring += 1;
        let order = Order::Configure(Arc::clone(&self.model));
        self.actions.push_back(Action::Vrrp(order));
        self.tell_quorums();
        for (addr, here) in &self.addresses {
            self.health.address(*addr, *here, now);
        }
        self.follow();
        self.due = Due::All;
        self.tell_routed();
    }

    /// Something happened at `now`.
    pub fn handle(&mut self, event: Event<'_>, now: Time) {
        match event {
            Event::Vrrp(report) => self.hear(report, now),
            Event::Attached(attached) => {
                self.attached = attached;
                self.tell_ready();
            }
            Event::Neighbours(neighbours) => {
                let ops = self.tables.relink(&neighbours);
                self.write(ops);
                self.find_hidden_peers(&neighbours);
                for (addr, link) in neighbours {
                    if self.neighbours.insert(addr, link) != Some(link) {
                        self.due.add(self.index.at(&addr));
                    }
                }
                self.tell_routed();
            }
            Event::HostAddresses(own) => {
                for addr in self.own.symmetric_difference(&own) {
                    self.due.add(self.index.at(addr));
                }
                self.own = own;
            }
            Event::LinksUp(up) => {
                self.links_up = Some(up);
                self.void_probes();
            }
            Event::Verdict { id, verdict, took } => {
                let verdict = self.in_view_of_links(id, verdict);
                self.health.verdict(id, &verdict, took, now);
            }
            Event::FileRead { name, value } => {
                self.health.file(&name, value, now);
                let order = Order::FileRead { name, value };
                self.actions.push_back(Action::Vrrp(order));
            }
            Event::Session { name, up } => self.health.session(&name, up, now),
            Event::Processes { name, good } => {
                let what = vrrp::Followed::Process;
                let order = Order::Followed { what, name, good };
                self.actions.push_back(Action::Vrrp(order));
            }
            Event::Refs(refs) => {
                let ops = self.tables.release(&refs);
                if !ops.is_empty() && !self.refused.is_empty() {
                    // There may be room for them now.
                    self.due = Due::All;
                }
                if !ops.is_empty() {
                    self.follow();
                }
                self.write(ops);
            }
            Event::Observed(dump) => {
                self.tables = Tables::adopt(dump, now);
                self.configure();
                self.due = Due::All;
                self.tell_again();
            }
            Event::Shutdown => {
                if !self.stopping {
                    self.notify(notify::stop(&self.model, &self.health));
                }
                self.stopping = true;
                self.actions.push_back(Action::Vrrp(Order::Shutdown));
            }
        }
    }

    /// Timers that are due at `now`. What has arrived by then must have been handled before. At
    /// most `room` probes are started; the others stay due.
    pub fn tick(&mut self, now: Time, room: usize) {
        if !self.stopping {
            let mut probes = Vec::new();
            self.health
                .start(now, room.min(PROBES_AT_ONCE), &mut probes);
            if !probes.is_empty() || !self.waiting.is_empty() {
                self.begin(probes, now);
            }
        }
        for key in self.health.take_changed() {
            self.due.add(self.index.service(&key).as_slice());
        }
        self.tell_health();
        if self.due != Due::Nothing {
            self.plan(now);
        }
        self.tell_quorums();
    }

    /// When [`Engine::tick`] is wanted next; call it also after every turn in which something was
    /// handled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        if self.stopping {
            return None;
        }
        let due = [self.health.next_probe(), self.waiting.deadline()];
        due.into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether there is anything that a scan of the flow table would help to give free.
    #[must_use]
    pub fn wants_refs(&self) -> bool {
        self.tables.has_retired()
    }

    /// Takes in the counters, every [`crate::control::rate::PERIOD`].
    pub fn sample(&mut self, sample: &Sample, now: Time) {
        self.meter.tick(sample, &self.tables, now);
    }

    /// What backends had counted whose index was given free: (index, service id, counts).
    pub fn freed(&mut self, freed: &[(u16, u16, Counts)]) {
        for (index, service, counts) in freed {
            self.meter
                .freed(*index, self.tables.service_of(*service), *counts);
        }
    }

    /// Starts probes, and those that waited to know where to go.
    fn begin(&mut self, due: Vec<Probe>, now: Time) {
        let known = Known {
            neighbours: &self.neighbours,
            own: &self.own,
        };
        let sorted = self.waiting.sort(due, &known, now);
        for (id, verdict) in sorted.judged {
            self.health.verdict(id, &verdict, Duration::ZERO, now);
        }
        if sorted.ready.is_empty() {
            return;
        }
        for probe in &sorted.ready {
            let addr = probe.check.addr;
            self.under_way
                .insert(probe.id, (addr, self.is_cut_off(addr)));
        }
        self.actions.push_back(Action::Probe(sorted.ready));
    }

    /// Whether the way to a server is down.
    fn is_cut_off(&self, addr: IpAddr) -> bool {
        let link = self.neighbours.get(&addr);
        let up = self.links_up.as_ref();
        link.zip(up).is_some_and(|(l, up)| !up.contains(&l.ifindex))
    }

    /// Marks the probes whose way is down.
    fn void_probes(&mut self) {
        let mut under_way = std::mem::take(&mut self.under_way);
        for (addr, void) in under_way.values_mut() {
            *void |= self.is_cut_off(*addr);
        }
        self.under_way = under_way;
    }

    /// A failure is none of the server's when this host was cut off from it: otherwise a director
    /// whose link returns would take over with no server left until the next checks have passed.
    fn in_view_of_links(&mut self, id: ProbeId, verdict: Verdict) -> Verdict {
        let void = self.under_way.remove(&id).is_some_and(|(_, void)| void);
        match verdict {
            Verdict::Failed(_) if void => Verdict::NotRun(NotRun {
                why: "the interface to it is down".to_owned(),
            }),
            Verdict::Ok | Verdict::Weighs(_) | Verdict::Failed(_) | Verdict::NotRun(_) => verdict,
        }
    }

    /// Says to the router where this host can forward. Also when nothing changed here: it forgets
    /// what it knows of an interface that was gone for a moment.
    fn tell_ready(&mut self) {
        let order = Order::Ready(self.forwarding());
        self.actions.push_back(Action::Vrrp(order));
    }

    /// What the router tells.
    fn hear(&mut self, report: Report, now: Time) {
        let report = self.with_server(report);
        let mut told = Vec::new();
        match &report {
            Report::LearnedPeer { mac, addr, .. } => {
                self.learn_peer(*mac, *addr);
            }
            Report::Transition(t) => {
                let last = (t.clone(), now);
                self.transitions.insert(t.name.to_string(), last);
                told = self.notifier.transition(t);
            }
            Report::PriorityChanged { name, to, .. } => {
                told.extend(self.notifier.priority(name, *to));
            }
            Report::HeardLower { name, priority } => {
                told.push(self.notifier.lower_priority(name, *priority));
            }
            Report::Addresses(addresses) => {
                for (addr, here) in addresses {
                    self.health.address(*addr, *here, now);
                }
                self.addresses.clone_from(addresses);
                self.tell_refused();
            }
            Report::Configured { priorities } => {
                self.configuring = self.configuring.saturating_sub(1);
                self.tell_refused();
                self.notifier.retain(&self.model);
                if self.model.global.fifo_states_on_reload {
                    told = self.notifier.states(|name| priorities.get(name).copied());
                }
            }
            Report::Stopped => self.actions.push_back(Action::Stopped),
            Report::RunScript { .. }
            | Report::ScriptChanged { .. }
            | Report::FollowedChanged { .. }
            | Report::Holding { .. }
            | Report::UnknownVrid { .. }
            | Report::Notice { .. } => {}
        }
        self.actions.push_back(Action::Report(report));
        self.notify(told);
    }

    fn tell_health(&mut self) {
        let all = self.health.take_transitions();
        for (at, t) in all.iter().enumerate() {
            let place = self.index.service(&t.service);
            let service = place.and_then(|p| self.model.services.get(p));
            let next = all.get(at + 1).filter(|n| n.service == t.service);
            let next = next.map(|n| &n.change);
            let told = service.and_then(|s| notify::health(s, &t.change, next));
            let no_checkers = self.model.global.mail.no_checkers;
            let mail = service.and_then(|s| {
                let alive = |r: &RealServer| self.health.is_up(&s.key, r.addr, r.port);
                mail::check(s, &t.change, all.get(at + 1), no_checkers, alive)
            });
            self.actions.push_back(Action::Health(t.clone()));
            self.actions.extend(mail.map(Action::Mail));
            self.notify(told);
        }
    }

    fn notify(&mut self, told: impl IntoIterator<Item = Notification>) {
        for mut notification in told {
            let mail = notification.mail.take();
            self.actions.push_back(Action::Notify(notification));
            self.actions.extend(mail.map(Action::Mail));
        }
    }

    /// Says to VRRP which of the services that it follows have their quorum.
    fn tell_quorums(&mut self) {
        for (name, key, told) in &mut self.quorums {
            let now = self.health.quorum(key).map(|(good, _)| good);
            let Some(good) = now.filter(|_| now != *told) else {
                continue;
            };
            *told = now;
            let (what, name) = (vrrp::Followed::Service, name.clone());
            let order = Order::Followed { what, name, good };
            self.actions.push_back(Action::Vrrp(order));
        }
    }

    /// Brings the maps to what should be, as far as that is due.
    fn plan(&mut self, now: Time) {
        let due = match std::mem::take(&mut self.due) {
            // What leaves does so after its address.
            Due::All if self.configuring > 0 => {
                self.due = Due::All;
                Due::Some((0..self.model.services.len()).collect())
            }
            due @ (Due::Nothing | Due::Some(_) | Due::All) => due,
        };
        let view = View {
            health: &self.health,
            neighbours: &self.neighbours,
            own: &self.own,
        };
        let desired = |place: &usize| {
            let service = self.model.services.get(*place);
            service.map_or_else(Vec::new, |s| desired::service(s, &view))
        };
        let (desired, plan) = match due {
            Due::Nothing => return,
            Due::Some(places) => {
                let desired: Vec<_> = places.iter().flat_map(desired).collect();
                let plan = self.tables.update(&desired, now);
                (desired, plan)
            }
            Due::All => {
                let places: Vec<usize> = (0..self.model.services.len()).collect();
                let desired: Vec<_> = places.iter().flat_map(desired).collect();
                let plan = self.tables.plan(&desired, &Refs::default(), now);
                (desired, plan)
            }
        };
        let before = std::mem::take(&mut self.refused);
        for refusal in plan.refused.iter().filter(|r| !before.contains(r)) {
            self.actions.push_back(Action::Refused(*refusal));
        }
        self.refused = plan.refused;
        if !before.is_empty() {
            let planned: BTreeSet<_> = desired.iter().map(|d| d.key).collect();
            let others = before.into_iter().filter(|r| !planned.contains(&r.service));
            self.refused.extend(others);
        }
        self.write(plan.ops);
        // What this plan removed may have moved since the last one.
        let ops = self.tables.relink(&self.neighbours);
        self.write(ops);
        self.tell_fellows();
    }

    /// Says for which of the addresses that are here nothing is accepted (`no_accept`).
    pub(super) fn tell_refused(&mut self) {
        let refused = desired::refused(&self.model, &self.addresses);
        if self.refused_addresses.as_ref() != Some(&refused) {
            self.actions.push_back(Action::RefuseFor(refused.clone()));
            self.refused_addresses = Some(refused);
        }
    }

    fn tell_routed(&mut self) {
        let routed = desired::routed(&self.model, &self.neighbours);
        for (addr, mac) in routed.iter().filter(|(a, _)| !self.routed.contains_key(*a)) {
            self.actions.push_back(Action::Routed(*addr, *mac));
        }
        self.routed = routed;
    }

    /// Takes over what holds for all services.
    fn configure(&mut self) {
        let ops = self.tables.configure(&desired::defaults(&self.model));
        self.write(ops);
    }

    fn write(&mut self, ops: Vec<Op>) {
        if !ops.is_empty() {
            self.actions.push_back(Action::Write(ops));
        }
    }
}

/// The services that instances follow.
fn tracked_services(model: &Model) -> Vec<(String, ServiceKey, Option<bool>)> {
    let instances = model.instances.iter().map(|i| &i.tracks);
    let all = instances.chain(model.sync_groups.iter().map(|g| &g.tracks));
    let keys: BTreeSet<ServiceKey> = all.flat_map(|t| &t.services).map(|t| t.key).collect();
    keys.into_iter()
        .filter_map(|key| Some((key.to_string(), model.service_at(&key)?.key, None)))
        .collect()
}
