//! One host of the simulated LAN: a daemon, a kernel with addresses, a clock of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::keepalived::{Keepalived, Wish};
use crate::model::{
    Auth, Election, Family, Model, Transport, VirtualAddress, VrrpInstance, VrrpVersion,
};
use crate::time::Time;
use crate::vrrp::{
    Action, Applied, Command, Event, LinkState, Policy, Report, Resume, Router, State, Transition,
};

pub(super) const IFACE: &str = "eth0";

/// The address of the host of this number.
pub(super) fn host(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// What a host puts on the wire.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Advert(Vec<u8>),
    Garp,
}

#[derive(Debug)]
pub(super) enum Daemon {
    Ours(Box<Router>),
    Keepalived(Box<Keepalived>),
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Keepalived,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) daemon: Daemon,
    pub(super) config: VrrpInstance,
    pub(super) source: IpAddr,
    /// The kernel has the virtual address; it outlives the daemon.
    pub(super) has_vip: bool,
    /// Switched off, or its cable is cut.
    pub(super) off: bool,
    pub(super) link: LinkState,
    /// Parts per million that its clock is fast, and where it started.
    drift_ppm: i64,
    offset: Duration,
    /// What the daemon left on disk.
    was_master: bool,
    last_advert: Time,
    pub(super) reported: State,
    pub(super) transitions: Vec<Transition>,
    pub(super) sent: Vec<Frame>,
}

pub(super) fn instance(
    family: Family,
    version: VrrpVersion,
    millis: u64,
    priority: u8,
) -> VrrpInstance {
    let auth = match version {
        VrrpVersion::V2 => Auth::Pass(b"1111".to_vec()),
        VrrpVersion::V3 => Auth::None,
    };
    VrrpInstance {
        name: "VI_1".into(),
        interface: IFACE.into(),
        virtual_router_id: 62,
        priority,
        initial_master: false,
        version,
        advert_int: Duration::from_millis(millis),
        auth,
        nopreempt: false,
        addresses: vec![VirtualAddress {
            addr: host(family, 100),
            prefix_len: family.bits(),
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
        transport: Transport::Multicast(family.group()),
        dont_track_primary: false,
        vmac: None,
        promote_secondaries: false,
        routes: Vec::new(),
        rules: Vec::new(),
        tracks: crate::model::Tracks::default(),
        notify: crate::model::VrrpNotify::default(),
    }
}

impl Node {
    pub(super) fn new(
        kind: Kind,
        config: VrrpInstance,
        number: u8,
        drift_ppm: i64,
        offset: Duration,
    ) -> Self {
        Node {
            kind,
            daemon: Daemon::Dead,
            source: host(config.family(), number),
            config,
            has_vip: false,
            off: false,
            link: LinkState::Up,
            drift_ppm,
            offset,
            was_master: false,
            last_advert: Time::ZERO,
            reported: State::Init,
            transitions: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// The host's own clock at the world's time.
    pub(super) fn clock(&self, world: Time) -> Time {
        let nanos = i128::from(world.as_nanos());
        let drifted = nanos + nanos * i128::from(self.drift_ppm) / 1_000_000;
        Time::from_nanos(u64::try_from(drifted).unwrap_or(0)) + self.offset
    }

    /// How long until the host's clock shows `at`.
    fn until(&self, at: Time, world: Time) -> Duration {
        let local = at.since(self.clock(world));
        let nanos = local.as_nanos() as i128;
        // A nanosecond more, so that rounding never makes it early.
        Duration::from_nanos(
            (nanos * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm)) + 2) as u64,
        )
    }

    pub(super) fn wait(&self, world: Time) -> Option<Duration> {
        let at = match &self.daemon {
            Daemon::Ours(router) => router.next_deadline(),
            Daemon::Keepalived(keepalived) => keepalived.deadline(),
            Daemon::Dead => None,
        };
        at.map(|at| self.until(at, world))
    }

    pub(super) fn is_master(&self) -> bool {
        match &self.daemon {
            Daemon::Ours(_) => self.reported == State::Master,
            Daemon::Keepalived(keepalived) => keepalived.is_master(),
            Daemon::Dead => false,
        }
    }

    fn vip(&self) -> (IpAddr, u8) {
        let vip = &self.config.addresses[0];
        (vip.addr, vip.prefix_len)
    }

    fn addresses(&self) -> Vec<(IpAddr, u8)> {
        // A link-local network has 64 bits.
        let own = (self.source, 64.min(self.config.family().bits() - 8));
        if self.has_vip {
            vec![own, self.vip()]
        } else {
            vec![own]
        }
    }

    pub(super) fn start(&mut self, world: Time) {
        let now = self.clock(world);
        match self.kind {
            Kind::Keepalived => {
                self.daemon = Daemon::Keepalived(Box::new(Keepalived::start(
                    self.config.clone(),
                    self.source,
                    now,
                )));
            }
            Kind::Ours => {
                let resume = Resume {
                    was_master: self.was_master,
                    last_advert_sent: self.last_advert,
                    sequence: 0,
                };
                let router = Router::new(
                    &Model {
                        instances: vec![self.config.clone()],
                        ..Model::default()
                    },
                    Policy::default(),
                    true,
                    &BTreeMap::from([(self.config.name.clone(), resume)]),
                    now,
                );
                self.reported = State::Init;
                self.daemon = Daemon::Ours(Box::new(router));
                let (link, addresses) = (self.link, self.addresses());
                self.give(
                    &Event::Link {
                        iface: IFACE,
                        state: link,
                    },
                    world,
                );
                self.give(
                    &Event::AddressSnapshot {
                        iface: IFACE,
                        addresses: &addresses,
                    },
                    world,
                );
            }
        }
        self.work(world);
    }

    /// An event for our router; nothing for a keepalived or dead one.
    pub(super) fn give(&mut self, event: &Event<'_>, world: Time) {
        let now = self.clock(world);
        if let Daemon::Ours(router) = &mut self.daemon {
            router.handle(event.clone(), now);
        }
        self.work(world);
    }

    pub(super) fn tick(&mut self, world: Time) {
        let now = self.clock(world);
        match &mut self.daemon {
            Daemon::Ours(router) => router.tick(now),
            Daemon::Keepalived(keepalived) => keepalived.tick(now),
            Daemon::Dead => {}
        }
        self.work(world);
    }

    pub(super) fn receive(&mut self, packet: &[u8], from: u8, world: Time) {
        let now = self.clock(world);
        if let Daemon::Keepalived(keepalived) = &mut self.daemon {
            keepalived.receive(packet, now);
            self.work(world);
        } else {
            let src_mac = [2, 0, 0, 0, 0, from];
            self.give(
                &Event::Advert {
                    iface: IFACE,
                    packet,
                    src_mac,
                },
                world,
            );
        }
    }

    pub(super) fn stop(&mut self, world: Time) {
        if let Daemon::Keepalived(keepalived) = &mut self.daemon {
            keepalived.stop();
            self.work(world);
        } else {
            self.give(&Event::Shutdown, world);
        }
    }

    /// A command by hand; of ours alone.
    pub(super) fn command(&mut self, command: Command, world: Time) {
        let now = self.clock(world);
        let Daemon::Ours(router) = &mut self.daemon else {
            panic!("nobody to order");
        };
        router
            .command("VI_1", command, now)
            .expect("it can be done");
        self.work(world);
    }

    /// `kill -9`: addresses and what is on disk stay.
    pub(super) fn kill(&mut self) {
        self.daemon = Daemon::Dead;
        self.reported = State::Init;
    }

    /// Does what the daemon wants, as the kernel would.
    fn work(&mut self, world: Time) {
        let now = self.clock(world);
        loop {
            match &mut self.daemon {
                Daemon::Ours(router) => {
                    let Some(action) = router.poll_action() else {
                        break;
                    };
                    self.act(action, now);
                }
                Daemon::Keepalived(keepalived) => {
                    if keepalived.wishes.is_empty() {
                        break;
                    }
                    match keepalived.wishes.remove(0) {
                        Wish::Advert(packet) => self.sent.push(Frame::Advert(packet)),
                        Wish::Garp => self.sent.push(Frame::Garp),
                        Wish::Add => self.has_vip = true,
                        Wish::Remove => self.has_vip = false,
                    }
                }
                Daemon::Dead => break,
            }
        }
        if let Daemon::Ours(router) = &self.daemon {
            if router.is_stopped() {
                self.was_master = false;
                self.kill();
            }
        }
    }

    fn act(&mut self, action: Action, now: Time) {
        let applied = match action {
            Action::SendAdvert {
                packet, priority, ..
            } => {
                if priority != 0 {
                    self.last_advert = now;
                }
                self.sent.push(Frame::Advert(packet));
                None
            }
            // Nobody there answers.
            Action::AskFor { .. } => None,
            Action::Announce { .. } => {
                assert!(
                    self.has_vip,
                    "a gratuitous ARP for an address that is not there"
                );
                self.sent.push(Frame::Garp);
                None
            }
            Action::AddAddress { .. } => {
                self.has_vip = true;
                Some(Applied::Present)
            }
            Action::DelAddress { .. } => {
                let was = std::mem::replace(&mut self.has_vip, false);
                Some(if was {
                    Applied::Removed
                } else {
                    Applied::NotThere
                })
            }
            Action::Report(Report::Transition(transition)) => {
                assert_eq!(transition.from, self.reported);
                assert_ne!(transition.from, transition.to);
                self.reported = transition.to;
                self.was_master = transition.to == State::Master;
                if transition.to == State::Master {
                    assert!(self.has_vip, "MASTER without the address");
                }
                self.transitions.push(transition);
                None
            }
            Action::Report(_) => None,
        };
        let Some(outcome) = applied else { return };
        let (addr, prefix_len) = self.vip();
        let Daemon::Ours(router) = &mut self.daemon else {
            return;
        };
        router.handle(
            Event::Applied {
                iface: IFACE,
                addr,
                prefix_len,
                outcome,
            },
            now,
        );
        // Netlink tells of it as well.
        match outcome {
            Applied::Present => router.handle(
                Event::AddressAdded {
                    iface: IFACE,
                    addr,
                    prefix_len,
                },
                now,
            ),
            Applied::Removed => router.handle(
                Event::AddressRemoved {
                    iface: IFACE,
                    addr,
                    prefix_len,
                },
                now,
            ),
            Applied::NotThere | Applied::Failed => {}
        }
    }
}
