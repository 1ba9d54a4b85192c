//! One instance: its configuration, where it stands, its times.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::by_hand::Raised;
use super::claim::Claims;
use super::config::{Policy, Resume};
use super::event::{Action, Address, InstanceId, LinkState, Reason, State, Transition};
use super::follow::{Following, must_be_up};
use super::forwarding::Forwarding;
use super::garp::Schedule;
use super::hold::HoldState;
use super::net::Net;
use super::numbers::{Limits, Numbers};
use super::pace::Pace;
use super::packet::{Advert, Envelope};
use super::report::Report;
use super::rival::Rival;
use crate::model::{Family, Tracks, VirtualAddress, VrrpInstance, VrrpVersion};
use crate::time::Time;

/// What the methods of an instance work with.
pub(super) struct Ctx<'a> {
    pub(super) now: Time,
    pub(super) policy: &'a Policy,
    pub(super) net: &'a Net,
    pub(super) pace: &'a mut Pace,
    pub(super) out: &'a mut VecDeque<Action>,
    /// Addresses that an instance no longer needs; the router removes those that none needs.
    pub(super) releases: &'a mut Vec<(InstanceId, Address)>,
}

/// The protocol's state (RFC 5798 section 6.3, plus FAULT as keepalived has it).
#[derive(Clone, Debug)]
pub(super) enum Proto {
    /// Nothing is known of the interface yet.
    Init,
    /// It cannot take part.
    Fault,
    /// It listens.
    Backup(Backup),
    /// It advertises.
    Master(Master),
    /// It was told to stop.
    Stopped,
}

/// BACKUP.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    /// Master_Down_Timer.
    pub(super) down_at: Time,
    /// `preempt_delay`: until then a master of lower priority keeps the role. From its first advert.
    pub(super) preempt_at: Option<Time>,
    /// The timer ran out once but the sync group could not move.
    pub(super) wants_master: bool,
    /// The master said that it resigns.
    pub(super) resigned: bool,
    /// It would be MASTER, for this reason, if the program were loaded.
    pub(super) awaits_program: Option<Reason>,
}

/// MASTER.
#[derive(Clone, Debug)]
pub(super) struct Master {
    /// Adver_Timer.
    pub(super) advert_at: Time,
    /// Why it became master; told once the addresses are there.
    pub(super) reason: Reason,
    /// When an advert of another router was last answered.
    pub(super) answered: Option<Time>,
    pub(super) garps: Schedule,
}

/// The interval that a master announces (version 3).
#[derive(Clone, Copy, Debug)]
struct Learned {
    source: IpAddr,
    interval: Duration,
    adverts: u32,
}

/// One virtual address and what is under way with it.
#[derive(Clone, Debug)]
pub(super) struct Vip {
    pub(super) address: Address,
    /// Not `no_track`.
    pub(super) is_kept: bool,
    /// An addition was asked for and its outcome is not known yet.
    pub(super) asked: bool,
    /// When a refused operation is tried again.
    pub(super) retry_at: Option<Time>,
    /// That it was refused was told, and since then it always was.
    pub(super) told: bool,
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) name: Arc<str>,
    pub(super) config: VrrpInstance,
    pub(super) iface: Arc<str>,
    /// What it follows, with what its group follows.
    pub(super) tracks: Tracks,
    /// The effective priority.
    pub(super) priority: u8,
    pub(super) vips: Vec<Vip>,
    /// What goes into the advert, in the order of the file.
    advertised: Vec<IpAddr>,
    /// The same, sorted.
    pub(super) sorted: Vec<IpAddr>,
    pub(super) proto: Proto,
    pub(super) hold: HoldState,
    /// The name under which it was told to have its addresses.
    pub(super) holding: Option<Arc<str>>,
    pub(super) reported: State,
    pub(super) reason: Reason,
    pub(super) since: Time,
    pub(super) resume: Option<Resume>,
    /// Released by hand: it takes nothing from a living master.
    pub(super) released: bool,
    /// It was made master by hand.
    pub(super) raised: Option<Raised>,
    /// The last source address that was known, for the advert that says good-bye.
    pub(super) source: Option<IpAddr>,
    /// The last master heard.
    pub(super) master: Option<(IpAddr, u8)>,
    pub(super) last_advert: Option<Time>,
    learned: Option<Learned>,
    /// A unicast peer was heard that computes version 3's checksum in the old way.
    pub(super) old_checksum: bool,
    ip_id: u16,
    /// AH: the greatest sequence number heard or sent; one sequence for all senders.
    pub(super) sequence: u32,
    pub(super) numbers: Numbers,
    pub(super) limits: Limits,
    /// Another master, whose adverts are refused.
    pub(super) rival: Option<Rival>,
    /// Who else claims its addresses.
    pub(super) claims: Claims,
    /// It is no longer configured and goes away when its addresses are gone.
    pub(super) removed: bool,
}

/// The address with its interface filled in.
fn address(virtual_address: &VirtualAddress, config: &VrrpInstance) -> Address {
    Address {
        iface: config.iface_of(virtual_address).into(),
        addr: virtual_address.addr,
        prefix_len: virtual_address.prefix_len,
        label: virtual_address.label.clone(),
        broadcast: virtual_address.broadcast,
        scope: virtual_address.scope,
        options: virtual_address.options.clone(),
    }
}

fn advertised(config: &VrrpInstance) -> Vec<IpAddr> {
    config.addresses.iter().map(|a| a.addr).collect()
}

impl Instance {
    pub(super) fn new(
        id: InstanceId,
        config: &VrrpInstance,
        resume: Option<Resume>,
        now: Time,
    ) -> Self {
        let iface: Arc<str> = config.interface.as_str().into();
        let mut instance = Instance {
            id,
            name: config.name.as_str().into(),
            config: config.clone(),
            iface,
            tracks: Tracks::default(),
            priority: config.priority,
            vips: Vec::new(),
            advertised: Vec::new(),
            sorted: Vec::new(),
            proto: Proto::Init,
            hold: HoldState::Absent,
            holding: None,
            reported: State::Init,
            reason: Reason::Started,
            since: now,
            resume,
            released: false,
            raised: None,
            source: None,
            master: None,
            last_advert: None,
            learned: None,
            old_checksum: false,
            ip_id: 0,
            sequence: resume.map_or(0, |r| r.sequence),
            numbers: Numbers::default(),
            limits: Limits::default(),
            rival: None,
            claims: Claims::default(),
            removed: false,
        };
        instance.set_config(config);
        instance
    }

    /// Takes over a configuration; addresses that are in both keep what is under way with them.
    /// The addresses that are no longer there are returned.
    pub(super) fn set_config(&mut self, config: &VrrpInstance) -> Vec<Address> {
        self.config = config.clone();
        self.name = config.name.as_str().into();
        self.advertised = advertised(config);
        self.sorted.clone_from(&self.advertised);
        self.sorted.sort_unstable();
        let mut old = std::mem::take(&mut self.vips);
        self.vips = config
            .addresses
            .iter()
            .chain(&config.excluded)
            .map(|a| {
                let (address, is_kept) = (address(a, config), !a.no_track);
                let new = Vip {
                    address,
                    is_kept,
                    asked: false,
                    retry_at: None,
                    told: false,
                };
                match old.iter().position(|v| v.address == new.address) {
                    Some(at) => Vip {
                        is_kept,
                        ..old.swap_remove(at)
                    },
                    None => new,
                }
            })
            .collect();
        old.into_iter().map(|v| v.address).collect()
    }

    /// Interfaces that must be up.
    fn tracked(&self) -> impl Iterator<Item = &str> {
        let own = (!self.config.dont_track_primary).then_some(&*self.iface);
        let devs = self
            .vips
            .iter()
            .filter(|v| v.is_kept)
            .map(|v| &*v.address.iface)
            .filter(|dev| **dev != *self.iface);
        let must_be_up = self.tracks.interfaces.iter().filter(|t| must_be_up(t));
        own.into_iter()
            .chain(must_be_up.map(|t| t.name.as_str()))
            .chain(self.vmac())
            .chain(devs)
            .chain(self.config.routed().filter(|dev| **dev != *self.iface))
    }

    /// Whether the instance cannot take part without this link.
    pub(super) fn uses_link(&self, iface: &str) -> bool {
        *self.iface == *iface || self.tracked().any(|name| name == iface)
    }

    /// How long a link may seem up that is down, before a BACKUP takes silence for a dead master.
    pub(super) fn patience(&self) -> Duration {
        self.config.election.patience(self.master_interval())
    }

    /// Whether enough is known to leave INIT.
    pub(super) fn is_known(&self, net: &Net) -> bool {
        net.link(&self.iface).is_some()
            && net.addresses_known(&self.iface)
            && self.tracked().all(|i| net.link(i).is_some())
            && self
                .vips
                .iter()
                .all(|v| net.addresses_known(&v.address.iface))
    }

    /// Why this instance itself cannot take part.
    pub(super) fn cause(
        &self,
        net: &Net,
        following: &Following,
        forwarding: &Forwarding,
    ) -> Option<Reason> {
        if let Some(reason) = self.without_peers() {
            return Some(reason);
        }
        if net.link(&self.iface) == Some(LinkState::Gone) {
            return Some(Reason::LinkGone {
                iface: self.iface.to_string(),
            });
        }
        for iface in self.tracked() {
            match net.link(iface) {
                Some(LinkState::Up) | None => {}
                Some(LinkState::Down) => {
                    return Some(Reason::LinkDown {
                        iface: iface.to_owned(),
                    });
                }
                Some(LinkState::Gone) => {
                    return Some(Reason::LinkGone {
                        iface: iface.to_owned(),
                    });
                }
            }
        }
        if self.current_source(net).is_none() {
            let iface = self.iface.to_string();
            return Some(match self.config.family() {
                Family::V4 => Reason::NoAddress { iface },
                Family::V6 => Reason::NoLinkLocal { iface },
            });
        }
        let tracked = self
            .config
            .mcast_src_ip
            .filter(|_| self.config.track_src_ip);
        if let Some(addr) = tracked.filter(|addr| !net.is_own(*addr)) {
            return Some(Reason::NoSource { addr });
        }
        if let Some(reason) = following.fault(&self.tracks, net) {
            return Some(reason);
        }
        let forwards = |iface: &str| forwarding.is_loading() || forwarding.has(iface);
        if !self.config.ingress().all(forwards) {
            return Some(Reason::NotReady);
        }
        None
    }

    /// `mcast_src_ip`, or the interface's primary address.
    pub(super) fn current_source(&self, net: &Net) -> Option<IpAddr> {
        let primary = || net.primary(&self.iface, self.config.family());
        self.config.mcast_src_ip.or_else(primary)
    }

    /// Skew_Time: RFC 3768 section 5.3.1, RFC 5798 section 6.1. Not in whole seconds.
    pub(super) fn skew(&self) -> Duration {
        let rest = 256 - u32::from(self.priority);
        match self.config.version {
            VrrpVersion::V2 => Duration::from_secs(1) * rest / 256,
            VrrpVersion::V3 => self.master_interval() * rest / 256,
        }
    }

    /// Master_Adver_Interval: in version 2 always our own.
    pub(super) fn master_interval(&self) -> Duration {
        self.learned.map_or(self.config.advert_int, |l| l.interval)
    }

    /// Master_Down_Interval.
    pub(super) fn down_interval(&self) -> Duration {
        self.config.election.down_timer_adverts * self.master_interval() + self.skew()
    }

    /// The longest that a successor can wait after priority 0.
    pub(super) fn longest_skew(&self) -> Duration {
        match self.config.version {
            VrrpVersion::V2 => Duration::from_secs(1),
            VrrpVersion::V3 => self.config.advert_int,
        }
    }

    /// Version 3: follows the master's interval. A much longer one than ours is believed only when
    /// it is said repeatedly, so that one packet cannot stop the election for minutes.
    pub(super) fn learn_interval(&mut self, source: IpAddr, interval: Duration, policy: &Policy) {
        match self.config.version {
            VrrpVersion::V2 => self.learned = None,
            VrrpVersion::V3 => {
                let cap = (self.config.advert_int * policy.stretch).max(policy.stretch_floor);
                let adverts = match self.learned {
                    Some(l)
                        if l.source == source
                            && (l.interval == interval || l.interval == cap.min(interval)) =>
                    {
                        l.adverts.saturating_add(1)
                    }
                    Some(_) | None => 1,
                };
                let believed = if adverts >= policy.stretch_adverts {
                    interval
                } else {
                    interval.min(cap)
                };
                self.learned = Some(Learned {
                    source,
                    interval: believed,
                    adverts,
                });
            }
        }
    }

    /// A master uses its own interval.
    pub(super) fn forget_interval(&mut self) {
        self.learned = None;
    }

    /// Sends an advert with `priority`; nothing when no source address was ever known.
    pub(super) fn send_advert(&mut self, priority: u8, ctx: &mut Ctx<'_>) {
        self.source = self.current_source(ctx.net).or(self.source);
        let Some(source) = self.source else { return };
        let mut advert = Advert {
            source,
            envelope: Envelope::MULTICAST,
            version: self.config.version,
            vrid: self.config.virtual_router_id,
            priority,
            interval: self.config.advert_int,
            auth: self.config.auth.clone(),
            addresses: self.advertised.clone(),
        };
        self.numbers.adverts_sent += 1;
        // At its end (after 136 years of seconds) nobody accepts it any more, as in keepalived.
        self.sequence = self.sequence.saturating_add(1);
        self.numbers.zero_sent += u64::from(priority == 0);
        for envelope in self.envelopes(ctx.net) {
            self.ip_id = self.ip_id.wrapping_add(1).max(1);
            advert.envelope = envelope;
            ctx.out.push_back(Action::SendAdvert {
                instance: self.id,
                iface: self.advert_iface(),
                packet: advert.emit_with(self.ip_id, self.sequence),
                priority,
                sequence: self.sequence,
            });
        }
    }

    /// Reports a state, if it is another one than before.
    pub(super) fn report(&mut self, to: State, reason: Reason, ctx: &mut Ctx<'_>) {
        if self.reported == to {
            self.reason = reason;
            return;
        }
        let from = std::mem::replace(&mut self.reported, to);
        self.reason = reason.clone();
        self.since = ctx.now;
        self.numbers.became_master += u64::from(to == State::Master);
        let transition = Transition {
            instance: self.id,
            name: Arc::clone(&self.name),
            from,
            to,
            reason,
            priority: self.priority,
        };
        ctx.out
            .push_back(Action::Report(Report::Transition(transition)));
    }

    /// Takes over an effective priority. A BACKUP's timer runs out as much earlier or later as it
    /// would have been set.
    pub(super) fn set_priority(&mut self, priority: u8, ctx: &mut Ctx<'_>) {
        let priority = self.with_raise(priority);
        if priority == self.priority {
            return;
        }
        let before = self.down_interval();
        let from = std::mem::replace(&mut self.priority, priority);
        let after = self.down_interval();
        match &mut self.proto {
            Proto::Backup(backup) => backup.down_at = backup.down_at + after - before,
            Proto::Init | Proto::Fault | Proto::Master(_) | Proto::Stopped => {}
        }
        ctx.out.push_back(Action::Report(Report::PriorityChanged {
            name: Arc::clone(&self.name),
            from,
            to: priority,
        }));
    }

    /// When this instance next wants [`super::Router::tick`].
    pub(super) fn deadline(&self) -> Option<Time> {
        let proto = match &self.proto {
            Proto::Init | Proto::Fault | Proto::Stopped => None,
            Proto::Backup(backup) if backup.awaits_program.is_some() => None,
            Proto::Backup(backup) => Some(backup.down_at),
            Proto::Master(master) => Some(
                master
                    .garps
                    .next()
                    .map_or(master.advert_at, |at| at.min(master.advert_at)),
            ),
        };
        let retries = self.vips.iter().filter_map(|v| v.retry_at);
        proto
            .into_iter()
            .chain(self.hold.deadline())
            .chain(retries)
            .chain(self.rival_deadline())
            .chain(self.claims.deadline())
            .min()
    }
}
