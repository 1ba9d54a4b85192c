//! All instances of the host: events in, actions out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Policy, Resume};
use super::debounce::Debounce;
use super::event::{Action, Address, Applied, Event, Followed, InstanceId, LinkState, Reason};
use super::follow::Following;
use super::forwarding::Forwarding;
use super::hold::HoldState;
use super::instance::{Ctx, Instance, Proto, Vip};
use super::net::Net;
use super::numbers::Limit;
use super::pace::Pace;
use super::packet::Counters;
use super::report::Report;
use super::status::InstanceStatus;
use super::track::Standing;
use super::transport::Listen;
use crate::model::Model;
use crate::time::Time;

mod claims;
mod group;
mod heard;
mod reload;

/// `vrrp_sync_group`, by indices that live as long as the instances do.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    members: Vec<InstanceId>,
}

/// All VRRP instances and sync groups of this host.
///
/// The caller's loop: read everything that is there (sockets, netlink) and give it to
/// [`handle`](Self::handle); when [`next_deadline`](Self::next_deadline) has passed, *first drain
/// the receive queues*, then call [`tick`](Self::tick), so that a master is never declared dead
/// while its adverts wait to be read; after each of them carry out
/// [`poll_action`](Self::poll_action) until it gives nothing more, answering address operations at
/// once with [`Event::Applied`].
#[derive(Debug)]
pub struct Router {
    pub(super) policy: Policy,
    log_unknown_vrids: bool,
    /// When the last line about them was written, and how many came since.
    unknown_vrids: Limit,
    /// `vrrp_startup_delay`: until then instances stay in INIT.
    starts_at: Option<Time>,
    pub(super) instances: Vec<Instance>,
    groups: Vec<Group>,
    following: Following,
    pub(super) net: Net,
    pub(super) pace: Pace,
    debounce: Debounce,
    pub(super) forwarding: Forwarding,
    stopping: bool,
    next_id: u32,
    pub(super) actions: VecDeque<Action>,
    pub(super) releases: Vec<(InstanceId, Address)>,
    peers: BTreeSet<(Arc<str>, [u8; 6], IpAddr)>,
    /// Packets that belong to no instance.
    unclaimed: Counters,
    /// Addresses may have come or gone since they were told.
    pub(super) addresses_stale: bool,
    pub(super) addresses_told: BTreeMap<IpAddr, bool>,
    /// A new configuration was taken over, which is to be told.
    pub(super) configured: bool,
    pub(super) stop_told: bool,
}

/// Splits the borrow: an instance beside what its methods need.
macro_rules! ctx {
    ($router:ident, $now:expr) => {
        $crate::vrrp::instance::Ctx {
            now: $now,
            policy: &$router.policy,
            net: &$router.net,
            pace: &mut $router.pace,
            out: &mut $router.actions,
            releases: &mut $router.releases,
        }
    };
}
pub(super) use ctx;

impl Router {
    /// A router whose instances are all in INIT. `ready` as in [`Event::Ready`]; `resume`: what a
    /// killed predecessor left, by the instance's name.
    #[must_use]
    pub fn new(
        model: &Model,
        policy: Policy,
        ready: impl Into<Forwarding>,
        resume: &BTreeMap<String, Resume>,
        now: Time,
    ) -> Self {
        let mut router = Router {
            policy,
            log_unknown_vrids: false,
            unknown_vrids: Limit::default(),
            starts_at: (!model.global.startup_delay.is_zero())
                .then(|| now + model.global.startup_delay),
            instances: Vec::new(),
            groups: Vec::new(),
            following: Following::default(),
            net: Net::default(),
            pace: Pace::default(),
            debounce: Debounce::default(),
            forwarding: ready.into(),
            stopping: false,
            next_id: 0,
            actions: VecDeque::new(),
            releases: Vec::new(),
            peers: BTreeSet::new(),
            unclaimed: Counters::default(),
            addresses_stale: true,
            addresses_told: BTreeMap::new(),
            configured: false,
            stop_told: false,
        };
        router.set_model(model, resume, now);
        router
    }

    /// Takes over a new configuration. What did not change is not touched; an instance is the same
    /// when interface, VRID and family are, and its name or one to whom adverts go. Removed instances hand
    /// over and go.
    pub fn reconfigure(&mut self, model: &Model, now: Time) {
        if self.stopping {
            return;
        }
        self.addresses_stale = true;
        self.set_model(model, &BTreeMap::new(), now);
        self.settle();
    }

    /// Something happened at `now`.
    pub fn handle(&mut self, event: Event<'_>, now: Time) {
        match event {
            Event::Advert {
                iface,
                packet,
                src_mac,
            } => self.on_packet(iface, packet, src_mac, now),
            Event::Link {
                iface,
                state: LinkState::Gone,
            } if !self.interfaces().contains(iface) => {
                self.net.forget(iface);
                self.evaluate(now);
            }
            Event::Link { iface, state } => {
                let was = self.net.link(iface);
                let using = self.instances.iter().filter(|i| i.uses_link(iface));
                let longest = using.map(Instance::patience).min();
                // All links are told again and again.
                if self.debounce.told(iface, was, state, longest, now) && was != Some(state) {
                    self.link(iface, state, now);
                }
            }
            Event::AddressSnapshot { iface, addresses } => {
                let is_new = self.net.snapshot(iface, addresses);
                self.restore_missing(iface, now);
                if is_new {
                    self.addresses_stale = true;
                    self.evaluate(now);
                }
            }
            Event::AddressAdded {
                iface,
                addr,
                prefix_len,
            } => {
                // Most are our own, known since we added them.
                if self.net.reported_added(iface, (addr, prefix_len)) {
                    self.addresses_stale = true;
                    self.evaluate(now);
                }
            }
            Event::AddressRemoved {
                iface,
                addr,
                prefix_len,
            } => {
                self.addresses_stale = true;
                if self.net.reported_removed(iface, (addr, prefix_len)) {
                    self.each_holder(iface, (addr, prefix_len), now, Instance::on_taken_away);
                }
                self.evaluate(now);
            }
            Event::Applied {
                iface,
                addr,
                prefix_len,
                outcome,
            } => {
                let key = (addr, prefix_len);
                self.addresses_stale = true;
                match outcome {
                    Applied::Present => {
                        self.net.set_present(iface, key);
                    }
                    Applied::Removed => self.net.set_removed(iface, key, true),
                    Applied::NotThere => self.net.set_removed(iface, key, false),
                    Applied::Failed => {}
                }
                self.each_holder(iface, key, now, |i, at, ctx| i.on_applied(at, outcome, ctx));
            }
            Event::ScriptEnded { run, good, words } => {
                if let Some((name, standing)) = self.following.scripts.ended(run, good) {
                    self.actions
                        .push_back(Action::Report(Report::ScriptChanged {
                            name,
                            good: standing == Standing::Good,
                            words: words.to_owned(),
                        }));
                    self.follow(now);
                }
            }
            Event::FileRead { name, value } => {
                if self.following.file(name, value) {
                    self.tell_followed(Followed::File, name, value.to_string());
                    self.follow(now);
                }
            }
            Event::Followed { what, name, good } => {
                if self.following.told(what, name, good) {
                    let words = if good { "good" } else { "bad" };
                    self.tell_followed(what, name, words.to_owned());
                    self.follow(now);
                }
            }
            Event::Claimed { iface, addr, mac } => self.on_claimed(iface, addr, mac, now),
            Event::Ready(forwarding) => {
                self.forwarding.clone_from(forwarding);
                self.evaluate(now);
                self.end_waiting_for_program(now);
            }
            Event::Shutdown => {
                self.stopping = true;
                for instance in &mut self.instances {
                    instance.stop(Reason::Shutdown, &mut ctx!(self, now));
                }
            }
        }
        self.settle();
    }

    /// Timers that are due at `now`. Drain the receive queues first.
    pub fn tick(&mut self, now: Time) {
        self.tick_heard(now, now);
    }

    /// As [`tick`](Self::tick), when what arrived after `heard` still waits to be read: a BACKUP's
    /// patience ends only by then, while a MASTER's adverts are not held up.
    pub fn tick_heard(&mut self, now: Time, heard: Time) {
        if self.starts_at.is_some_and(|at| at <= now) {
            self.starts_at = None;
            self.evaluate(now);
        }
        while let Some((iface, state)) = self.debounce.take_due(now) {
            self.link(&iface, state, now);
        }
        if !self.stopping {
            self.following.scripts.tick(now, &mut self.actions);
        }
        for at in 0..self.instances.len() {
            let effect = self.instances[at].tick_proto(heard, &mut ctx!(self, now));
            self.instances[at].tick_hold(&mut ctx!(self, now));
            self.instances[at].tick_rival(&mut ctx!(self, now));
            self.instances[at].tick_claims(&mut ctx!(self, now));
            self.apply_effect(at, effect, now);
        }
        self.send_paced(now);
        self.settle();
    }

    /// When [`tick`](Self::tick) is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let scripts = self.following.scripts.deadline().filter(|_| !self.stopping);
        let instances = self.instances.iter().filter_map(Instance::deadline);
        instances
            .chain(self.starts_at)
            .chain(self.pace.deadline())
            .chain(self.debounce.deadline())
            .chain(scripts)
            .min()
    }

    /// What is to be done as far as it is known, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter()
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        let next = self.actions.pop_front();
        next.or_else(|| self.news().map(Action::Report))
    }

    /// After [`Event::Shutdown`]: everything was handed over and let go.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopping
            && self.actions.is_empty()
            && self
                .instances
                .iter()
                .all(|i| !i.hold.is_wanted() && !i.vips.iter().any(|v| v.retry_at.is_some()))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Name of an instance that exists.
    #[must_use]
    pub fn name(&self, id: InstanceId) -> Option<&Arc<str>> {
        self.instances.iter().find(|i| i.id == id).map(|i| &i.name)
    }

    /// A snapshot of every instance, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<InstanceStatus> {
        self.instances
            .iter()
            .filter(|i| !i.removed)
            .map(|i| i.status(&self.net))
            .collect()
    }

    /// The priority of each instance, by its name.
    #[must_use]
    pub fn priorities(&self) -> BTreeMap<String, u8> {
        let there = self.instances.iter().filter(|i| !i.removed);
        there.map(|i| (i.name.to_string(), i.priority)).collect()
    }

    /// Packets that belong to no instance, by reason.
    #[must_use]
    pub const fn unclaimed(&self) -> &Counters {
        &self.unclaimed
    }

    /// The shortest interval between adverts that is in force; none without instances.
    #[must_use]
    pub fn shortest_interval(&self) -> Option<Duration> {
        self.instances.iter().map(Instance::master_interval).min()
    }

    /// All virtual addresses, and whether each is there.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, bool)> + '_ {
        let there = self.instances.iter().filter(|i| !i.removed);
        there
            .flat_map(|i| &i.vips)
            .map(|v| (v.address.addr, self.net.is_present(&v.address)))
    }

    /// Interfaces whose links must be told: the instances' own, tracked ones and those of addresses,
    /// routes and rules. On the first kind adverts are received. The addresses of all others are told
    /// before these, since a source address may be anywhere (`track_src_ip`), and when they are gone.
    #[must_use]
    pub fn interfaces(&self) -> BTreeSet<Arc<str>> {
        self.instances
            .iter()
            .flat_map(|i| {
                let tracked = i
                    .tracks
                    .interfaces
                    .iter()
                    .map(|t| Arc::from(t.name.as_str()));
                let devs = i.vips.iter().map(|v| Arc::clone(&v.address.iface));
                let vmac = i.vmac().map(Arc::from);
                tracked
                    .chain(i.config.routed().map(Arc::from))
                    .chain(devs)
                    .chain(vmac)
                    .chain([Arc::clone(&i.iface)])
            })
            .collect()
    }

    /// Interfaces on which adverts are received, and which ones.
    #[must_use]
    pub fn advert_interfaces(&self) -> BTreeMap<Arc<str>, Listen> {
        let mut all: BTreeMap<Arc<str>, Listen> = BTreeMap::new();
        for i in &self.instances {
            let listen = all.entry(Arc::clone(&i.iface)).or_default();
            listen.add(&i.config.transport, i.config.family());
            if let (Some(name), None) = (i.vmac(), i.config.transport.unicast()) {
                let listen = all.entry(name.into()).or_default();
                listen.add(&i.config.transport, i.config.family());
                listen.is_vmac = true;
            }
        }
        all
    }

    /// The addresses that this host is to have now, whoever put them there.
    #[must_use]
    pub fn wanted_addresses(&self) -> Vec<Address> {
        self.instances
            .iter()
            .filter(|i| i.hold.is_wanted())
            .flat_map(|i| i.vips.iter().map(|v| v.address.clone()))
            .collect()
    }

    /// A link changed, and that counts.
    fn link(&mut self, iface: &str, state: LinkState, now: Time) {
        self.net.set_link(iface, state);
        match state {
            LinkState::Up | LinkState::Down => {}
            LinkState::Gone => self.forwarding.forget(iface),
        }
        self.addresses_stale = true;
        self.follow(now);
    }

    /// Something that instances may follow changed.
    fn follow(&mut self, now: Time) {
        for at in 0..self.instances.len() {
            let i = &self.instances[at];
            let base = i.config.priority;
            let priority = self.following.priority(base, &i.tracks, &self.net);
            self.instances[at].set_priority(priority, &mut ctx!(self, now));
        }
        self.evaluate(now);
    }

    fn tell_followed(&mut self, what: Followed, name: &str, words: String) {
        self.actions
            .push_back(Action::Report(Report::FollowedChanged {
                what,
                name: name.to_owned(),
                words,
            }));
    }

    /// Announcements that had to wait for others.
    fn send_paced(&mut self, now: Time) {
        let net = &self.net;
        while let Some(due) = self.pace.take_due(now, |w| {
            let address = |v: &Vip| {
                v.address.iface == w.iface && v.address.addr == w.addr && net.is_present(&v.address)
            };
            self.instances.iter().any(|i| {
                i.id == w.instance
                    && matches!(i.hold, HoldState::Owned)
                    && i.vips.iter().any(address)
            })
        }) {
            if let Some(i) = self.instances.iter_mut().find(|i| i.id == due.instance) {
                i.numbers.garps_sent += 1;
            }
            self.actions.push_back(Action::Announce {
                instance: due.instance,
                iface: due.iface,
                addr: due.addr,
            });
        }
    }

    /// Calls `f` for each instance that has this address, with the address's index.
    fn each_holder(
        &mut self,
        iface: &str,
        key: (IpAddr, u8),
        now: Time,
        f: impl Fn(&mut Instance, usize, &mut Ctx<'_>),
    ) {
        for instance in &mut self.instances {
            let at = instance.vips.iter().position(|v| {
                *v.address.iface == *iface && (v.address.addr, v.address.prefix_len) == key
            });
            if let Some(at) = at {
                f(instance, at, &mut ctx!(self, now));
            }
        }
    }

    /// After a snapshot: addresses that should be there and are not.
    fn restore_missing(&mut self, iface: &str, now: Time) {
        for instance in &mut self.instances {
            for at in 0..instance.vips.len() {
                let address = &instance.vips[at].address;
                if *address.iface != *iface || self.net.is_present(address) {
                    continue;
                }
                match instance.proto {
                    Proto::Master(_) => {
                        instance.vips[at].asked = false;
                        instance.on_taken_away(at, &mut ctx!(self, now));
                    }
                    Proto::Init | Proto::Fault | Proto::Backup(_) | Proto::Stopped => {}
                }
            }
        }
    }

    /// What every step ends with: addresses that nobody needs are removed, instances that are done
    /// go away.
    pub(super) fn settle(&mut self) {
        for instance in &mut self.instances {
            instance.tell_holding(&self.net, &mut self.actions);
        }
        for (id, address) in std::mem::take(&mut self.releases) {
            // One that is wanted in another form comes back when it is gone.
            let needed = self
                .instances
                .iter()
                .any(|i| i.hold.is_wanted() && i.vips.iter().any(|v| v.address == address));
            let gone = self.net.link(&address.iface) == Some(LinkState::Gone);
            if !needed && !gone {
                self.actions.push_back(Action::DelAddress {
                    instance: id,
                    address,
                });
            }
        }
        let (net, actions) = (&self.net, &self.actions);
        self.instances.retain(|i| {
            let waits = |v: &Vip| {
                net.is_present(&v.address)
                    && actions.iter().any(|a| matches!(a, Action::DelAddress { address, .. } if *address == v.address))
            };
            !i.removed
                || i.hold.is_wanted()
                || i.vips.iter().any(|v| v.retry_at.is_some() || waits(v))
        });
    }
}

#[cfg(test)]
mod tests;
