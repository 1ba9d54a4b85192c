//! The order in which things happen, and what a predecessor leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lb_common::maps::BACKEND_REMOVED;

use super::{Action, Engine, Event, Start};
use crate::health::{Failure, Verdict};
use crate::model::{
    Auth, Check, CheckKind, Election, Model, Protocol, RealServer, Scheduler, Service, ServiceKey,
    ServiceTrack, Transport, VirtualAddress, VrrpInstance, VrrpVersion,
};
use crate::plan::{Dump, GRACE, Link, Op, Refs};
use crate::time::Time;
use crate::vrrp::{self, Applied, LinkState, Policy, Report, Router, State};

mod by_hand;
mod large;
mod loading;
mod notices;
mod paths;
mod refused;
mod words;

const ROOM: usize = 1000;

fn vip() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn server(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn check(last: u8) -> Check {
    Check {
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(2),
        retry: 0,
        warmup: Duration::ZERO,
        ..Check::new(CheckKind::Tcp, server(last).into(), 80)
    }
}

fn service(port: u16, servers: &[u8]) -> Service {
    Service {
        scheduler: Scheduler::Rr,
        real_servers: servers
            .iter()
            .map(|&last| RealServer {
                checks: vec![check(last)],
                ..RealServer::new(server(last).into(), port, 1)
            })
            .collect(),
        ..Service::new(ServiceKey {
            addr: vip(),
            port,
            protocol: Protocol::Tcp,
        })
    }
}

pub(super) fn model(services: Vec<Service>) -> Arc<Model> {
    Arc::new(Model {
        instances: vec![VrrpInstance {
            name: "VI_1".into(),
            interface: "eth0".into(),
            virtual_router_id: 1,
            priority: 100,
            initial_master: false,
            version: VrrpVersion::V2,
            advert_int: Duration::from_secs(1),
            auth: Auth::None,
            nopreempt: false,
            addresses: vec![VirtualAddress {
                addr: vip(),
                prefix_len: 32,
                dev: None,
                label: None,
                broadcast: None,
                scope: 0,
                vmac: None,
                options: crate::model::AddressOptions::default(),
                no_track: false,
                track_group: None,
            }],
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
        }],
        services,
        ..Model::default()
    })
}

/// An engine, its clock, and what it did, a word for each action.
struct Host {
    engine: Engine,
    router: Router,
    now: Time,
    did: Vec<String>,
    probes: Vec<crate::health::Probe>,
    states: Vec<State>,
    told: Vec<super::Notification>,
    mails: Vec<super::Message>,
    kept: Vec<crate::health::Kept>,
    /// As told last.
    refused: Option<BTreeSet<IpAddr>>,
}

impl Host {
    fn start(model: Arc<Model>, attached: impl Into<vrrp::Forwarding>) -> Self {
        let dump = Dump {
            hz: 250,
            ..Dump::default()
        };
        let start = Start {
            model: Arc::clone(&model),
            dump: &dump,
            by_hand: &[],
            own: BTreeSet::new(),
            attached: attached.into(),
        };
        let now = Time::from_nanos(1_000_000_000);
        let engine = Engine::new(start, now, &mut || 0);
        let ready = engine.forwarding();
        let router = Router::new(&model, Policy::default(), ready, &BTreeMap::new(), now);
        let mut host = Host {
            engine,
            router,
            now,
            did: Vec::new(),
            probes: Vec::new(),
            states: Vec::new(),
            told: Vec::new(),
            mails: Vec::new(),
            kept: Vec::new(),
            refused: None,
        };
        host.turn();
        host
    }

    /// One turn of both loops: tick and carry out, until nothing is left.
    fn turn(&mut self) {
        self.engine.tick(self.now, ROOM);
        self.router.tick(self.now);
        loop {
            let action = self.engine.poll_action();
            let next = self.router.poll_action();
            if action.is_none() && next.is_none() {
                return;
            }
            if let Some(action) = action {
                self.perform(action);
            }
            match next {
                None | Some(vrrp::Action::Announce { .. } | vrrp::Action::AskFor { .. }) => {}
                Some(vrrp::Action::AddAddress { address, .. }) => {
                    self.did.push("address+".into());
                    self.applied(&address, Applied::Present);
                }
                Some(vrrp::Action::DelAddress { address, .. }) => {
                    self.did.push("address-".into());
                    self.applied(&address, Applied::Removed);
                }
                Some(vrrp::Action::SendAdvert { priority, .. }) => {
                    self.did.push(format!("advert {priority}"));
                }
                Some(vrrp::Action::Report(report)) => {
                    let configured = matches!(report, Report::Configured { .. });
                    self.engine.handle(Event::Vrrp(report), self.now);
                    if configured {
                        self.engine.tick(self.now, ROOM);
                    }
                }
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Vrrp(order) => self.router.obey(&order, self.now),
            Action::Report(Report::Transition(t)) => {
                self.did.push(t.to.to_string());
                self.states.push(t.to);
            }
            Action::Report(_) => {}
            Action::Write(ops) => {
                let opens = ops.iter().any(|o| matches!(o, Op::OpenSlot { .. }));
                let closes = ops.iter().any(|o| matches!(o, Op::CloseSlot { .. }));
                self.did.push(
                    match (opens, closes) {
                        (true, true) => "open+close",
                        (true, false) => "open",
                        (false, true) => "close",
                        (false, false) => "write",
                    }
                    .into(),
                );
            }
            Action::Probe(probes) => self.probes.extend(probes),
            Action::Follow(_) => {}
            Action::Peers(_) => self.did.push("peers".into()),
            Action::Fellows(_) => self.did.push("fellows".into()),
            Action::Health(t) => self.did.push(t.to_string()),
            Action::Keep(kept) => self.kept = kept,
            Action::RefuseFor(addresses) => self.refused = Some(addresses),
            Action::Notify(n) => self.told.push(n),
            Action::Mail(m) => self.mails.push(m),
            Action::Refused(r) => self.did.push(r.to_string()),
            Action::Routed(addr, _) => self.did.push(format!("routed {addr}")),
            Action::Stopped => self.did.push("stopped".into()),
        }
    }

    fn applied(&mut self, address: &vrrp::Address, outcome: Applied) {
        let event = vrrp::Event::Applied {
            iface: &address.iface,
            addr: address.addr,
            prefix_len: address.prefix_len,
            outcome,
        };
        self.router.handle(event, self.now);
    }

    fn link_up(&mut self) {
        let own = [(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 24)];
        let link = vrrp::Event::Link {
            iface: "eth0",
            state: LinkState::Up,
        };
        self.router.handle(link, self.now);
        let addresses = vrrp::Event::AddressSnapshot {
            iface: "eth0",
            addresses: &own,
        };
        self.router.handle(addresses, self.now);
        self.turn();
    }

    /// When anything is to come.
    fn next_deadline(&self) -> Option<Time> {
        let both = [self.engine.next_deadline(), self.router.next_deadline()];
        both.into_iter().flatten().min()
    }

    fn verdicts(&mut self, verdict: &Verdict) {
        for probe in std::mem::take(&mut self.probes) {
            let took = Duration::from_millis(1);
            self.engine.handle(
                Event::Verdict {
                    id: probe.id,
                    verdict: verdict.clone(),
                    took,
                },
                self.now,
            );
        }
        self.turn();
    }

    /// Lets time pass until the next probes are under way.
    fn run_probes(&mut self) {
        while self.probes.is_empty() {
            let next = self.next_deadline().expect("probes are to come");
            self.now = self.now.max(next);
            self.turn();
        }
    }

    /// Lets time pass to each deadline until `until` is done, at most a minute.
    fn run_until(&mut self, until: &str) {
        let end = self.now + Duration::from_secs(60);
        self.turn();
        while !self.did.iter().any(|d| d == until) {
            let next = self.next_deadline().expect("something is to come");
            assert!(next <= end, "{until} did not come: {:?}", self.did);
            self.now = self.now.max(next);
            self.turn();
        }
    }

    fn place(&self, what: &str) -> usize {
        self.did
            .iter()
            .position(|d| d == what)
            .unwrap_or_else(|| panic!("no {what} in {:?}", self.did))
    }
}

fn neighbours(lasts: &[u8]) -> BTreeMap<IpAddr, Link> {
    lasts
        .iter()
        .map(|&l| {
            let link = Link::new([2, 0, 0, 0, 0, l], [2, 1, 1, 1, 1, 1], 7);
            (server(l).into(), link)
        })
        .collect()
}

#[test]
fn the_tables_are_filled_before_the_address_comes() {
    let mut host = Host::start(model(vec![service(80, &[1, 2])]), true);
    host.engine
        .handle(Event::Neighbours(neighbours(&[1, 2])), host.now);
    host.link_up();
    host.run_until("MASTER");
    assert!(host.place("open") < host.place("advert 100"));
    assert!(host.place("advert 100") < host.place("address+"));
    assert!(host.place("address+") < host.place("MASTER"));
}

#[test]
fn without_the_program_nobody_is_master_unless_there_is_nothing_to_forward() {
    let mut host = Host::start(model(vec![service(80, &[1])]), false);
    host.link_up();
    for _ in 0..100 {
        host.now = host.now + Duration::from_millis(100);
        host.turn();
    }
    assert!(!host.states.contains(&State::Master), "{:?}", host.states);
    host.engine.handle(Event::Attached(true.into()), host.now);
    host.run_until("MASTER");

    let mut host = Host::start(model(Vec::new()), false);
    host.link_up();
    host.run_until("MASTER");
}

#[test]
fn a_new_service_is_there_before_its_address_and_an_old_one_leaves_after_it() {
    let mut host = Host::start(model(vec![service(80, &[1])]), true);
    host.link_up();
    host.run_until("MASTER");
    host.did.clear();
    let mut new = (*model(vec![service(443, &[1])])).clone();
    let mut second = new.instances[0].addresses[0].clone();
    second.addr = "192.0.2.2".parse().unwrap();
    new.instances[0].addresses.push(second);
    host.engine.reload(Arc::new(new), host.now, &mut || 0);
    host.turn();
    assert!(
        host.place("open") < host.place("address+"),
        "{:?}",
        host.did
    );
    assert!(
        host.place("address+") < host.place("close"),
        "{:?}",
        host.did
    );
}

#[test]
fn a_reload_that_changes_nothing_writes_nothing() {
    let conf = model(vec![service(80, &[1, 2])]);
    let mut host = Host::start(Arc::clone(&conf), true);
    host.link_up();
    host.run_until("MASTER");
    host.verdicts(&Verdict::Ok);
    host.did.clear();
    host.engine.reload(conf, host.now, &mut || 0);
    host.turn();
    assert_eq!(host.did, Vec::<String>::new());
}

#[test]
fn an_instance_follows_the_quorum_of_a_service() {
    let track = ServiceTrack {
        key: service(80, &[]).key,
        weight: -30,
        reverse: false,
    };
    let mut conf = (*model(vec![service(80, &[1])])).clone();
    conf.instances[0].tracks.services.push(track.clone());
    let mut host = Host::start(Arc::new(conf.clone()), true);
    host.link_up();
    host.verdicts(&Verdict::Ok);
    host.run_until("MASTER");
    let priority = |host: &Host| host.router.status()[0].priority;
    assert_eq!(priority(&host), 100);
    while host.probes.is_empty() {
        host.now = host.engine.next_deadline().unwrap().max(host.now);
        host.turn();
    }
    host.verdicts(&Verdict::Failed(Failure::Refused));
    assert_eq!(priority(&host), 70);
    // A reload knows it.
    conf.instances[0].tracks.services[0].weight = -40;
    host.engine.reload(Arc::new(conf), host.now, &mut || 0);
    host.turn();
    assert_eq!(priority(&host), 60);
    while host.probes.is_empty() {
        host.now = host.engine.next_deadline().unwrap().max(host.now);
        host.turn();
    }
    host.verdicts(&Verdict::Ok);
    assert_eq!(priority(&host), 100);
}

#[test]
fn a_dead_real_server_leaves_the_maps_and_comes_back() {
    let mut host = Host::start(model(vec![service(80, &[1, 2])]), true);
    host.link_up();
    host.verdicts(&Verdict::Ok);
    host.run_until("MASTER");
    host.did.clear();
    while host.probes.is_empty() {
        host.now = host.next_deadline().unwrap().max(host.now);
        host.turn();
    }
    host.verdicts(&Verdict::Failed(Failure::Refused));
    assert!(host.did.iter().any(|d| d == "write"), "{:?}", host.did);
    assert!(
        host.did
            .iter()
            .any(|d| d.starts_with("removing 10.0.0.1:80")),
        "{:?}",
        host.did
    );
    host.did.clear();
    while host.probes.is_empty() {
        host.now = host.next_deadline().unwrap().max(host.now);
        host.turn();
    }
    host.verdicts(&Verdict::Ok);
    assert!(
        host.did.iter().any(|d| d.starts_with("adding 10.0.0.1:80")),
        "{:?}",
        host.did
    );
}

#[test]
fn a_server_behind_a_router_is_told_of_once_while_it_is() {
    let mut host = Host::start(model(vec![service(80, &[1, 2])]), true);
    let mut tell = |on_link| {
        let mut links = neighbours(&[1, 2]);
        links.get_mut(&server(2).into()).unwrap().on_link = on_link;
        host.did.clear();
        host.engine.handle(Event::Neighbours(links), host.now);
        host.turn();
        host.did.retain(|d| d.starts_with("routed"));
        host.did.clone()
    };
    let none: [&str; 0] = [];
    assert_eq!(tell(true), none);
    assert_eq!(tell(false), ["routed 10.0.0.2"]);
    assert_eq!(tell(false), none);
    assert_eq!(tell(true), none);
    assert_eq!(tell(false), ["routed 10.0.0.2"]);
}

#[test]
fn a_server_that_is_out_is_followed_as_long_as_it_may_have_connections() {
    let mut host = Host::start(model(vec![service(80, &[1, 2])]), true);
    let mut links = neighbours(&[1, 2]);
    host.engine
        .handle(Event::Neighbours(links.clone()), host.now);
    host.turn();
    let conf = model(vec![service(80, &[1])]);
    host.engine.reload(conf, host.now, &mut || 0);
    let mut followed = BTreeSet::new();
    while let Some(action) = host.engine.poll_action() {
        if let Action::Follow(wanted) = action {
            followed = wanted;
        }
    }
    assert_eq!(followed, [1, 2].map(|n| server(n).into()).into());

    // Its MAC changes.
    links.insert(
        server(2).into(),
        Link::new([2, 9, 9, 9, 9, 9], [2, 1, 1, 1, 1, 1], 7),
    );
    host.engine.handle(Event::Neighbours(links), host.now);
    let mut written = Vec::new();
    while let Some(action) = host.engine.poll_action() {
        if let Action::Write(ops) = action {
            written.extend(ops);
        }
    }
    let [Op::Backend { value, .. }] = &written[..] else {
        panic!("{written:?}");
    };
    assert_eq!(value.dmac, [2, 9, 9, 9, 9, 9]);

    // It has no connections any more.
    let refs = Refs {
        taken_at: host.now + GRACE,
        ..Refs::default()
    };
    host.engine.handle(Event::Refs(refs), host.now + GRACE);
    while let Some(action) = host.engine.poll_action() {
        if let Action::Follow(wanted) = action {
            followed = wanted;
        }
    }
    assert_eq!(followed, [server(1).into()].into());
}

#[test]
fn a_server_that_moves_and_is_removed_in_one_moment_is_followed() {
    let mut host = Host::start(model(vec![service(80, &[1, 2])]), true);
    let mut links = neighbours(&[1, 2]);
    host.engine
        .handle(Event::Neighbours(links.clone()), host.now);
    host.turn();
    let moved = Link::new([2, 9, 9, 9, 9, 9], [2, 1, 1, 1, 1, 1], 7);
    links.insert(server(2).into(), moved);
    host.engine.handle(Event::Neighbours(links), host.now);
    let conf = model(vec![service(80, &[1])]);
    host.engine.reload(conf, host.now, &mut || 0);
    let mut last = None;
    while let Some(action) = host.engine.poll_action() {
        let Action::Write(ops) = action else { continue };
        for op in ops {
            if let Op::Backend { value, .. } = op
                && value.flags & BACKEND_REMOVED != 0
            {
                last = Some(value.dmac);
            }
        }
    }
    assert_eq!(last, Some(moved.dmac));
}

#[test]
fn a_check_that_fails_while_the_way_is_down_says_nothing_of_the_server() {
    let mut host = Host::start(model(vec![service(80, &[1])]), true);
    host.engine
        .handle(Event::Neighbours(neighbours(&[1])), host.now);
    host.engine.handle(Event::LinksUp([1, 7].into()), host.now);
    host.link_up();
    host.verdicts(&Verdict::Ok);
    host.did.clear();
    while host.probes.is_empty() {
        host.now = host.next_deadline().unwrap().max(host.now);
        host.turn();
    }
    // The link goes and returns while the probe is under way.
    host.engine.handle(Event::LinksUp([1].into()), host.now);
    host.engine.handle(Event::LinksUp([1, 7].into()), host.now);
    host.verdicts(&Verdict::Failed(Failure::Refused));
    assert!(
        !host.did.iter().any(|d| d.starts_with("removing")),
        "{:?}",
        host.did
    );
    // The next one fails with the link up.
    while host.probes.is_empty() {
        host.now = host.next_deadline().unwrap().max(host.now);
        host.turn();
    }
    host.verdicts(&Verdict::Failed(Failure::Refused));
    assert!(
        host.did.iter().any(|d| d.starts_with("removing")),
        "{:?}",
        host.did
    );
}

#[test]
fn a_stop_gives_the_address_back_and_then_says_so() {
    let mut host = Host::start(model(vec![service(80, &[1])]), true);
    host.link_up();
    host.run_until("MASTER");
    host.did.clear();
    host.engine.handle(Event::Shutdown, host.now);
    host.run_until("stopped");
    assert!(host.place("advert 0") < host.place("address-"));
    assert!(host.place("address-") < host.place("stopped"));
    assert!(
        !host.did.iter().any(|d| d == "close"),
        "the services stay in the maps: {:?}",
        host.did
    );
}
