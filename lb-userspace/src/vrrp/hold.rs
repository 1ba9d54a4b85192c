//! Who has the virtual addresses: apart from the election, so that a client always has a living
//! MAC while they change hands.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::event::{Action, Applied, LinkState, Notice, State};
use super::garp::Block;
use super::instance::{Ctx, Instance, Proto};
use super::net::Net;
use super::report::Report;
use super::status::Hold;
use crate::time::Time;

/// How often a yielding instance sends its last advert when it does not hear the winner's answer.
const LAST_ADVERTS: u8 = 3;

/// [`Hold`] with its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldState {
    Absent,
    Owned,
    Kept,
    Offered {
        /// When nobody seems to want them.
        deadline: Time,
        /// Priority 0 was sent a second time.
        retried: bool,
    },
    Lingering {
        /// When they are let go.
        until: Time,
        /// The winner was heard after our last advert, so it has sent its gratuitous ARPs.
        confirmed: bool,
        /// Last adverts still to send.
        left: u8,
    },
}

impl HoldState {
    pub(super) const fn kind(self) -> Hold {
        match self {
            HoldState::Absent => Hold::Absent,
            HoldState::Owned => Hold::Owned,
            HoldState::Kept => Hold::Kept,
            HoldState::Offered { .. } => Hold::Offered,
            HoldState::Lingering { .. } => Hold::Lingering,
        }
    }

    pub(super) const fn deadline(self) -> Option<Time> {
        match self {
            HoldState::Absent | HoldState::Owned | HoldState::Kept => None,
            HoldState::Offered { deadline, .. } => Some(deadline),
            HoldState::Lingering { until, .. } => Some(until),
        }
    }

    /// Whether the addresses are to be here.
    pub(super) const fn is_wanted(self) -> bool {
        !matches!(self, HoldState::Absent)
    }
}

impl Instance {
    /// Takes the addresses: adds those that are missing; those that are there are announced.
    pub(super) fn take_addresses(&mut self, ctx: &mut Ctx<'_>) {
        self.hold = HoldState::Owned;
        for at in 0..self.vips.len() {
            if ctx.net.is_present(&self.vips[at].address) {
                self.announce(at, self.config.garp_master_repeat.max(1), ctx);
            } else {
                self.ask_for(at, ctx);
            }
        }
        self.report_when_ready(ctx);
    }

    /// Asks for an address that is missing.
    pub(super) fn ask_for(&mut self, at: usize, ctx: &mut Ctx<'_>) {
        let vip = &mut self.vips[at];
        if !vip.asked {
            vip.asked = true;
            vip.retry_at = None;
            let action = Action::AddAddress {
                instance: self.id,
                address: vip.address.clone(),
            };
            ctx.out.push_back(action);
        }
    }

    /// Gratuitous ARPs or neighbour advertisements for one address.
    fn announce(&mut self, at: usize, repeat: u32, ctx: &mut Ctx<'_>) {
        let address = &self.vips[at].address;
        let addr = address.addr;
        let most = self.config.garp_master_repeat;
        for _ in 0..repeat {
            if ctx.pace.pass(self.id, &address.iface, addr, most, ctx.now) {
                self.numbers.garps_sent += 1;
                ctx.out.push_back(Action::Announce {
                    instance: self.id,
                    iface: Arc::clone(&address.iface),
                    addr,
                });
            }
        }
    }

    /// A block of gratuitous ARPs for all addresses that are there, in rounds as keepalived does.
    pub(super) fn announce_all(&mut self, block: Block, ctx: &mut Ctx<'_>) {
        for _ in 0..block.repeat(&self.config) {
            for at in 0..self.vips.len() {
                if ctx.net.is_present(&self.vips[at].address) {
                    self.announce(at, 1, ctx);
                }
            }
        }
    }

    /// One gratuitous ARP on each other interface than the one that sends the adverts: a switch forgets
    /// where a silent MAC is. On macvlans with a virtual MAC, or on `all`.
    pub(super) fn announce_extra(&mut self, all: bool, ctx: &mut Ctx<'_>) {
        let mut done = BTreeSet::from([self.advert_iface()]);
        for at in 0..self.vips.len() {
            let address = &self.vips[at].address;
            if (all || self.is_macvlan(&address.iface))
                && ctx.net.is_present(address)
                && done.insert(Arc::clone(&address.iface))
            {
                self.announce(at, 1, ctx);
            }
        }
    }

    /// One gratuitous ARP for the next few addresses; where to go on is returned.
    pub(super) fn announce_some(&mut self, from: usize, ctx: &mut Ctx<'_>) -> usize {
        let len = self.vips.len();
        let some = len.min(ctx.policy.refresh_addresses);
        for at in (from..from + some).map(|at| at % len.max(1)) {
            if ctx.net.is_present(&self.vips[at].address) {
                self.announce(at, 1, ctx);
            }
        }
        (from + some) % len.max(1)
    }

    /// Whether all addresses are here but for those of `no_track`.
    fn is_complete(&self, net: &Net) -> bool {
        let mut kept = self.vips.iter().filter(|v| v.is_kept);
        kept.all(|v| net.is_present(&v.address))
    }

    /// Says whether the addresses are here. Once they all were (but for those of `no_track`) they are
    /// until they are let go.
    pub(super) fn tell_holding(&mut self, net: &Net, out: &mut VecDeque<Action>) {
        let holds = match self.hold {
            HoldState::Absent => false,
            HoldState::Kept => true,
            HoldState::Owned | HoldState::Offered { .. } | HoldState::Lingering { .. } => {
                self.holding.is_some() || self.is_complete(net)
            }
        };
        // One that is renamed keeps what it has, and tells its name.
        if self.holding.as_ref() == holds.then_some(&self.name) {
            return;
        }
        self.holding = holds.then(|| Arc::clone(&self.name));
        out.push_back(Action::Report(Report::Holding {
            instance: self.id,
            name: Arc::clone(&self.name),
            holds,
        }));
    }

    /// MASTER is reported when every address is there.
    pub(super) fn report_when_ready(&mut self, ctx: &mut Ctx<'_>) {
        self.tell_holding(ctx.net, ctx.out);
        let reason = match &self.proto {
            Proto::Master(master) => master.reason.clone(),
            Proto::Init | Proto::Fault | Proto::Backup(_) | Proto::Stopped => return,
        };
        if self.reported != State::Master && self.is_complete(ctx.net) {
            self.report(State::Master, reason, ctx);
        }
    }

    /// An operation on the address at `at` was carried out; the table of addresses knows already.
    pub(super) fn on_applied(&mut self, at: usize, outcome: Applied, ctx: &mut Ctx<'_>) {
        self.vips[at].asked = false;
        self.vips[at].retry_at = None;
        self.vips[at].told &= outcome == Applied::Failed;
        match (outcome, self.hold) {
            (Applied::Present, HoldState::Owned) => {
                self.announce(at, self.config.garp_master_repeat.max(1), ctx);
                self.report_when_ready(ctx);
            }
            (Applied::Removed | Applied::NotThere, HoldState::Owned) => self.ask_for(at, ctx),
            (Applied::Failed, _) => {
                let vip = &mut self.vips[at];
                vip.retry_at = Some(ctx.now + ctx.policy.retry);
                if !std::mem::replace(&mut vip.told, true) {
                    let iface = Arc::clone(&vip.address.iface);
                    let notice = Notice::AddressFailed {
                        missing: ctx.net.link(&iface) == Some(LinkState::Gone),
                        iface,
                        addr: vip.address.addr,
                    };
                    self.notice(notice, ctx);
                }
            }
            (
                Applied::Present | Applied::Removed | Applied::NotThere,
                HoldState::Absent
                | HoldState::Kept
                | HoldState::Offered { .. }
                | HoldState::Lingering { .. },
            ) => {}
        }
    }

    /// The address at `at` is gone though nobody here removed it.
    pub(super) fn on_taken_away(&mut self, at: usize, ctx: &mut Ctx<'_>) {
        if !self.vips[at].is_kept {
            return;
        }
        match self.hold {
            HoldState::Absent | HoldState::Lingering { .. } => {}
            HoldState::Owned | HoldState::Kept | HoldState::Offered { .. } => {
                let address = &self.vips[at].address;
                let notice = Notice::AddressTakenAway {
                    iface: Arc::clone(&address.iface),
                    addr: address.addr,
                };
                self.notice(notice, ctx);
                self.ask_for(at, ctx);
            }
        }
    }

    /// Resigns: priority 0 goes out, the addresses stay until the successor was heard.
    pub(super) fn offer(&mut self, ctx: &mut Ctx<'_>) {
        self.send_advert(0, ctx);
        let deadline = ctx.now + self.longest_skew() + ctx.policy.handover_margin;
        self.hold = HoldState::Offered {
            deadline,
            retried: false,
        };
    }

    /// Keeps the addresses until the winner certainly has them. `confirmed`: no last advert was
    /// sent, so no answer to it is waited for.
    pub(super) fn linger(&mut self, confirmed: bool, ctx: &Ctx<'_>) {
        let until = ctx.now + ctx.policy.linger;
        self.hold = HoldState::Lingering {
            until,
            confirmed,
            left: LAST_ADVERTS - 1,
        };
    }

    /// Lets the addresses go.
    pub(super) fn release(&mut self, ctx: &mut Ctx<'_>) {
        self.hold = HoldState::Absent;
        self.tell_holding(ctx.net, ctx.out);
        for vip in &mut self.vips {
            vip.asked = false;
            vip.retry_at = None;
            if ctx.net.is_present(&vip.address) {
                ctx.releases.push((self.id, vip.address.clone()));
            }
        }
    }

    /// Another master was heard while the addresses are still here. `better`: it beats us, so it
    /// is not somebody else's last advert.
    pub(super) fn on_successor(&mut self, better: bool, ctx: &Ctx<'_>) {
        match &mut self.hold {
            HoldState::Absent | HoldState::Owned => {}
            HoldState::Kept | HoldState::Offered { .. } => self.linger(true, ctx),
            HoldState::Lingering { confirmed, .. } => *confirmed |= better,
        }
    }

    /// Timers of the addresses.
    pub(super) fn tick_hold(&mut self, ctx: &mut Ctx<'_>) {
        match self.hold {
            HoldState::Absent | HoldState::Owned | HoldState::Kept => {}
            HoldState::Offered { deadline, retried } if deadline <= ctx.now => {
                if retried {
                    self.notice(Notice::NoSuccessor, ctx);
                    self.release(ctx);
                } else {
                    self.offer(ctx);
                    if let HoldState::Offered { retried, .. } = &mut self.hold {
                        *retried = true;
                    }
                }
            }
            HoldState::Lingering {
                until,
                confirmed,
                left,
            } if until <= ctx.now => {
                if confirmed || matches!(self.proto, Proto::Stopped) {
                    self.release(ctx);
                } else if left == 0 {
                    // The winner does not answer: perhaps it is gone again. Our own timer or the
                    // next advert decides.
                    self.hold = HoldState::Kept;
                } else {
                    self.send_last_advert(ctx);
                    let until = ctx.now + ctx.policy.linger;
                    self.hold = HoldState::Lingering {
                        until,
                        confirmed,
                        left: left - 1,
                    };
                }
            }
            HoldState::Offered { .. } | HoldState::Lingering { .. } => {}
        }
        for at in 0..self.vips.len() {
            if self.vips[at].retry_at.is_some_and(|due| due <= ctx.now) {
                self.vips[at].retry_at = None;
                let present = ctx.net.is_present(&self.vips[at].address);
                match (self.hold.is_wanted(), present) {
                    (true, false) => self.ask_for(at, ctx),
                    (false, true) => ctx.releases.push((self.id, self.vips[at].address.clone())),
                    (true, true) | (false, false) => {}
                }
            }
        }
    }
}
