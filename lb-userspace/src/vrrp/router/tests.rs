use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::model::{
    Auth, Election, Family, Global, SyncGroup, Transport, VirtualAddress, VrrpInstance, VrrpVersion,
};
use crate::vrrp::packet::{Advert, Envelope, Reject};
use crate::vrrp::{Hold, Notice, State, Transition};

mod by_hand;
mod claims;
mod election;
mod forwarding;
mod garps;
mod groups;
mod holding;
mod links;
mod pace;
mod reloads;
mod rivals;
mod rules;
mod source;
mod table;
mod tracks;
mod unicast;
mod v6;
mod vmac;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 5));
const LOWER_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 4));
const HIGHER_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 6));

fn vip(last: u8) -> VirtualAddress {
    VirtualAddress {
        addr: IpAddr::V4(Ipv4Addr::new(10, 77, 0, last)),
        prefix_len: 32,
        dev: None,
        label: None,
        broadcast: None,
        scope: 0,
        vmac: None,
        options: crate::model::AddressOptions::default(),
        no_track: false,
        track_group: None,
    }
}

fn instance(name: &str, iface: &str, vrid: u8) -> VrrpInstance {
    VrrpInstance {
        name: name.into(),
        interface: iface.into(),
        virtual_router_id: vrid,
        priority: 100,
        initial_master: false,
        version: VrrpVersion::V2,
        advert_int: Duration::from_secs(1),
        auth: Auth::None,
        nopreempt: false,
        addresses: vec![vip(100)],
        excluded: Vec::new(),
        garp_master_delay: Duration::from_secs(5),
        garp_master_repeat: 5,
        garp_master_refresh: Duration::ZERO,
        garp_master_refresh_repeat: 1,
        garp_lower_prio_delay: Duration::from_secs(5),
        garp_lower_prio_repeat: 5,
        garp_extra_if: None,
        mcast_src_ip: None,
        track_src_ip: false,
        v3_checksum_as_v2: false,
        election: Election::default(),
        accept: true,
        transport: Transport::default(),
        dont_track_primary: false,
        vmac: None,
        promote_secondaries: false,
        routes: Vec::new(),
        rules: Vec::new(),
        tracks: crate::model::Tracks::default(),
        notify: crate::model::VrrpNotify::default(),
    }
}

fn v3(millis: u64) -> VrrpInstance {
    VrrpInstance {
        version: VrrpVersion::V3,
        advert_int: Duration::from_millis(millis),
        ..instance("VI_1", "eth0", 62)
    }
}

/// A router with a kernel that does what it is told.
struct Host {
    router: Router,
    now: Time,
    /// What the kernel has on `eth0` and `eth1`.
    present: BTreeSet<(String, IpAddr, u8)>,
    /// The kernel refuses additions.
    refuse: bool,
    /// Interfaces that it does not have.
    gone: BTreeSet<String>,
    /// Everything since the last [`Host::take`].
    actions: Vec<Action>,
    states: BTreeMap<String, State>,
}

impl Host {
    fn of(instances: &[VrrpInstance], groups: &[SyncGroup]) -> Self {
        Self::resumed(instances, groups, &BTreeMap::new(), &[])
    }

    fn resumed(
        instances: &[VrrpInstance],
        groups: &[SyncGroup],
        resume: &BTreeMap<String, Resume>,
        left: &[u8],
    ) -> Self {
        let host = Self::unknown(instances, groups, &Global::default(), resume);
        host.told(left)
    }

    fn with_global(
        instances: &[VrrpInstance],
        global: &Global,
        resume: &BTreeMap<String, Resume>,
    ) -> Self {
        Self::unknown(instances, &[], global, resume).told(&[])
    }

    /// Its interfaces are up and have their addresses, and those that were left.
    fn told(mut self, left: &[u8]) -> Self {
        let host = &mut self;
        host.present
            .extend(left.iter().map(|l| ("eth0".to_owned(), vip(*l).addr, 32)));
        for (iface, own) in [
            ("eth0", OWN),
            ("eth1", IpAddr::V4(Ipv4Addr::new(10, 78, 0, 5))),
        ] {
            host.present.insert((iface.to_owned(), own, 24));
            host.link(iface, LinkState::Up);
            host.snapshot(iface);
        }
        self
    }

    /// Nothing is told of the interfaces yet.
    fn unknown(
        instances: &[VrrpInstance],
        groups: &[SyncGroup],
        global: &Global,
        resume: &BTreeMap<String, Resume>,
    ) -> Self {
        let now = Time::ZERO + Duration::from_secs(1000);
        let router = Router::new(
            &model(instances, groups, global),
            Policy::default(),
            true,
            resume,
            now,
        );
        let mut host = Host {
            router,
            now,
            present: BTreeSet::new(),
            refuse: false,
            gone: BTreeSet::new(),
            actions: Vec::new(),
            states: BTreeMap::new(),
        };
        host.work();
        host
    }

    fn one(config: VrrpInstance) -> Self {
        Self::of(&[config], &[])
    }

    fn handle(&mut self, event: Event<'_>) {
        self.router.handle(event, self.now);
        self.work();
    }

    fn link(&mut self, iface: &str, state: LinkState) {
        match state {
            LinkState::Gone => self.gone.insert(iface.to_owned()),
            LinkState::Up | LinkState::Down => self.gone.remove(iface),
        };
        self.handle(Event::Link { iface, state });
    }

    fn snapshot(&mut self, iface: &str) {
        // The own address first, as the kernel has it.
        let mut list: Vec<(IpAddr, u8)> = self
            .present
            .iter()
            .filter(|(i, ..)| i == iface)
            .map(|(_, a, p)| (*a, *p))
            .collect();
        list.sort_by_key(|(_, prefix)| *prefix);
        self.handle(Event::AddressSnapshot {
            iface,
            addresses: &list,
        });
    }

    fn work(&mut self) {
        while let Some(action) = self.router.poll_action() {
            if matches!(action, Action::Report(Report::Addresses(_))) {
                continue;
            }
            self.actions.push(action.clone());
            let (iface, addr, prefix_len, outcome) = match action {
                Action::AddAddress { address: a, .. } => {
                    let outcome = if self.refuse || self.gone.contains(&*a.iface) {
                        Applied::Failed
                    } else {
                        self.present
                            .insert((a.iface.to_string(), a.addr, a.prefix_len));
                        Applied::Present
                    };
                    (a.iface, a.addr, a.prefix_len, outcome)
                }
                Action::DelAddress { address: a, .. } => {
                    let key = (a.iface.to_string(), a.addr, a.prefix_len);
                    let outcome = if self.present.remove(&key) {
                        Applied::Removed
                    } else {
                        Applied::NotThere
                    };
                    (a.iface, a.addr, a.prefix_len, outcome)
                }
                Action::Report(Report::Transition(t)) => {
                    let known = self.states.insert(t.name.to_string(), t.to);
                    assert_eq!(known.unwrap_or(State::Init), t.from, "{t:?}");
                    continue;
                }
                Action::SendAdvert { .. }
                | Action::Announce { .. }
                | Action::AskFor { .. }
                | Action::Report(_) => continue,
            };
            let event = Event::Applied {
                iface: &iface,
                addr,
                prefix_len,
                outcome,
            };
            self.router.handle(event, self.now);
            let iface = &*iface;
            match outcome {
                Applied::Present => self.router.handle(
                    Event::AddressAdded {
                        iface,
                        addr,
                        prefix_len,
                    },
                    self.now,
                ),
                Applied::Removed => self.router.handle(
                    Event::AddressRemoved {
                        iface,
                        addr,
                        prefix_len,
                    },
                    self.now,
                ),
                Applied::NotThere | Applied::Failed => {}
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.router.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.router.tick(self.now);
            self.work();
            let next = self.router.next_deadline();
            assert!(
                next.is_none_or(|n| n > self.now),
                "the deadline {next:?} stays due at {:?}",
                self.now
            );
        }
        self.now = end;
    }

    fn advert_of(&self, config: &VrrpInstance, source: impl Into<IpAddr>, priority: u8) -> Vec<u8> {
        let source = source.into();
        Advert {
            source,
            envelope: Envelope {
                destination: Family::of(source).group(),
                ..Envelope::MULTICAST
            },
            version: config.version,
            vrid: config.virtual_router_id,
            priority,
            interval: config.advert_int,
            auth: config.auth.clone(),
            addresses: config.addresses.iter().map(|a| a.addr).collect(),
        }
        .emit(1)
    }

    fn hear(&mut self, config: &VrrpInstance, source: impl Into<IpAddr>, priority: u8) {
        let packet = self.advert_of(config, source, priority);
        self.hear_packet(&config.interface, &packet);
    }

    fn hear_packet(&mut self, iface: &str, packet: &[u8]) {
        self.handle(Event::Advert {
            iface,
            packet,
            src_mac: [2, 0, 0, 0, 0, 9],
        });
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn status(&self, at: usize) -> InstanceStatus {
        self.router.status().swap_remove(at)
    }

    fn state(&self) -> State {
        self.status(0).state
    }

    fn hold(&self) -> Hold {
        self.status(0).hold
    }

    fn has(&self, last: u8) -> bool {
        self.present.iter().any(|(_, a, _)| *a == vip(last).addr)
    }

    /// Priorities of the adverts among `actions`.
    fn priorities(actions: &[Action]) -> Vec<u8> {
        actions
            .iter()
            .filter_map(|a| match a {
                Action::SendAdvert { priority, .. } => Some(*priority),
                _ => None,
            })
            .collect()
    }

    fn garps(actions: &[Action]) -> usize {
        actions
            .iter()
            .filter(|a| matches!(a, Action::Announce { .. }))
            .count()
    }

    /// Takes over these instances.
    fn reconfigure(&mut self, instances: &[VrrpInstance]) {
        let model = model(instances, &[], &Global::default());
        self.router.reconfigure(&model, self.now);
    }

    fn notices(actions: &[Action]) -> Vec<Notice> {
        actions
            .iter()
            .filter_map(|a| match a {
                Action::Report(Report::Notice { notice, .. }) => Some(notice.clone()),
                _ => None,
            })
            .collect()
    }

    fn transitions(actions: &[Action]) -> Vec<Transition> {
        actions
            .iter()
            .filter_map(|a| match a {
                Action::Report(Report::Transition(t)) => Some(t.clone()),
                _ => None,
            })
            .collect()
    }
}

/// A configuration of these parts.
fn model(instances: &[VrrpInstance], groups: &[SyncGroup], global: &Global) -> Model {
    Model {
        global: global.clone(),
        instances: instances.to_vec(),
        sync_groups: groups.to_vec(),
        ..Model::default()
    }
}

/// The master down interval of version 2 with priority 100.
const DOWN: Duration = Duration::from_nanos(3_000_000_000 + 1_000_000_000 / 256 * 156 + 39);

/// A single instance that has become master.
fn master(config: &VrrpInstance) -> Host {
    let mut host = Host::one(config.clone());
    host.run(config.advert_int * 4 + Duration::from_secs(1));
    assert_eq!(host.state(), State::Master);
    host.take();
    host
}
