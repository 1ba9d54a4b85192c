//! The election of one instance: RFC 5798 section 6.4 and keepalived's extensions.

use std::net::IpAddr;

use super::event::{Notice, Reason, State};
use super::garp::{Block, Schedule};
use super::hold::HoldState;
use super::instance::{Backup, Ctx, Instance, Master, Proto};
use super::packet::{Expect, Reject, View, check};
use crate::model::Family;
use crate::time::Time;

/// What a step of one instance means for its sync group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The master down timer ran out: it would become master.
    WantsMaster,
    /// It yielded to a better master.
    Yielded {
        /// Who.
        from: IpAddr,
        /// Its priority.
        priority: u8,
    },
}

/// How a received advert compares with our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Resigns,
    Lower,
    Better,
}

impl Instance {
    /// An advert for this VRID arrived on this interface.
    pub(super) fn on_advert(&mut self, view: &View<'_>, ctx: &mut Ctx<'_>) -> Effect {
        if let Err(reject) = self.accept(view, ctx) {
            self.reject(reject, view.source(), ctx);
            return Effect::None;
        }
        self.numbers.adverts_received += 1;
        self.numbers.zero_received += u64::from(view.priority() == 0);
        self.last_advert = Some(ctx.now);
        // Who becomes master goes on from here.
        self.sequence = view.sequence().unwrap_or(self.sequence);
        self.note_checksum(view, ctx);
        let rank = self.rank(view);
        match (&self.proto, rank) {
            (Proto::Init | Proto::Fault | Proto::Stopped, Rank::Resigns) => Effect::None,
            (Proto::Init | Proto::Fault | Proto::Stopped, Rank::Lower | Rank::Better) => {
                self.on_successor(true, ctx);
                Effect::None
            }
            (Proto::Backup(_), Rank::Resigns) => {
                let skewed = ctx.now + self.skew();
                if let Proto::Backup(backup) = &mut self.proto {
                    // Said twice, it must not start the skew anew.
                    backup.down_at = backup.down_at.min(skewed);
                    backup.resigned = true;
                }
                Effect::None
            }
            (Proto::Backup(_), Rank::Lower) => {
                let follows =
                    self.config.nopreempt || self.released || self.delays_preemption(ctx.now);
                // Beside a master that is better than this host it is none.
                let another = |(known, priority): (IpAddr, u8)| {
                    known != view.source() && priority >= self.priority
                };
                if follows || !self.master.is_some_and(another) {
                    self.note_master(view, ctx);
                }
                self.on_successor(false, ctx);
                if follows {
                    self.follow(view, ctx);
                }
                Effect::None
            }
            (Proto::Backup(_), Rank::Better) => {
                self.note_master(view, ctx);
                self.on_successor(true, ctx);
                self.stop_preempt_delay();
                self.follow(view, ctx);
                Effect::None
            }
            (Proto::Master(_), Rank::Resigns) => {
                self.answer(true, ctx);
                Effect::None
            }
            (Proto::Master(_), Rank::Lower) => {
                self.note_lower(view.source(), view.priority(), ctx);
                self.answer(!self.config.election.lower_prio_no_advert, ctx);
                Effect::None
            }
            (Proto::Master(_), Rank::Better) => {
                let (from, priority) = (view.source(), view.priority());
                self.yield_to(
                    from,
                    priority,
                    Reason::HigherPriority { from, priority },
                    ctx,
                );
                self.follow(view, ctx);
                Effect::Yielded { from, priority }
            }
        }
    }

    /// RFC 5798 section 7.1, as far as it needs the instance.
    fn accept(&self, view: &View<'_>, ctx: &Ctx<'_>) -> Result<(), Reject> {
        let source = view.source();
        if self.current_source(ctx.net) == Some(source) || ctx.net.is_own(source) {
            return Err(Reject::OwnSource);
        }
        if !self.is_possible_source(source, ctx.net) {
            return Err(Reject::OffSubnet);
        }
        // A master has no master before: it compares always.
        let skip = self.config.election.skip_check_adv_addr
            && matches!(self.proto, Proto::Backup(_))
            && self.master.is_some_and(|(addr, _)| addr == source);
        check(
            view,
            &Expect {
                transport: &self.config.transport,
                version: self.config.version,
                auth: &self.config.auth,
                sequence: self.sequence,
                interval: self.config.advert_int,
                addresses: (!skip).then_some(&self.sorted),
            },
        )?;
        match (&self.proto, self.hold) {
            (Proto::Backup(_) | Proto::Master(_), _) => Ok(()),
            // Waiting for a successor.
            (
                Proto::Init | Proto::Fault | Proto::Stopped,
                HoldState::Kept | HoldState::Offered { .. } | HoldState::Lingering { .. },
            ) => Ok(()),
            (Proto::Init | Proto::Fault | Proto::Stopped, HoldState::Absent | HoldState::Owned) => {
                Err(Reject::NotListening)
            }
        }
    }

    fn rank(&self, view: &View<'_>) -> Rank {
        if view.priority() == 0 {
            return Rank::Resigns;
        }
        match &self.proto {
            // RFC 5798 section 6.4.2 (420): greater than or equal.
            Proto::Init | Proto::Fault | Proto::Backup(_) | Proto::Stopped => {
                if view.priority() >= self.priority {
                    Rank::Better
                } else {
                    Rank::Lower
                }
            }
            // Section 6.4.3 (720): greater, or equal from a greater address.
            Proto::Master(_) => {
                let theirs = (view.priority(), Some(view.source()));
                if theirs > (self.priority, self.source) {
                    Rank::Better
                } else {
                    Rank::Lower
                }
            }
        }
    }

    /// Restarts the master down timer by the master's interval.
    fn follow(&mut self, view: &View<'_>, ctx: &Ctx<'_>) {
        self.learn_interval(view.source(), view.interval(), ctx.policy);
        self.listen(ctx);
    }

    /// Whether `preempt_delay` still leaves the role to a living master of lower priority. It starts
    /// with the first of its adverts.
    fn delays_preemption(&mut self, now: Time) -> bool {
        let delay = self.config.election.preempt_delay;
        match &mut self.proto {
            Proto::Backup(backup) if !delay.is_zero() => {
                *backup.preempt_at.get_or_insert(now + delay) > now
            }
            Proto::Backup(_) | Proto::Init | Proto::Fault | Proto::Master(_) | Proto::Stopped => {
                false
            }
        }
    }

    /// The master is as good as this one: there is nothing to preempt.
    fn stop_preempt_delay(&mut self) {
        if let Proto::Backup(backup) = &mut self.proto {
            backup.preempt_at = None;
        }
    }

    /// BACKUP with the timer started anew.
    fn listen(&mut self, ctx: &Ctx<'_>) {
        let down_at = ctx.now + self.down_interval();
        self.listen_until(down_at);
    }

    /// BACKUP with the timer set.
    pub(super) fn listen_until(&mut self, down_at: Time) {
        let preempt_at = match &self.proto {
            Proto::Backup(backup) => backup.preempt_at,
            Proto::Init | Proto::Fault | Proto::Master(_) | Proto::Stopped => None,
        };
        self.proto = Proto::Backup(Backup {
            down_at,
            preempt_at,
            wants_master: false,
            resigned: false,
            awaits_program: None,
        });
    }

    fn note_master(&mut self, view: &View<'_>, ctx: &mut Ctx<'_>) {
        let (from, priority) = (view.source(), view.priority());
        let gap = ctx.policy.master_gap;
        if self.master.is_none_or(|(known, _)| known != from)
            && self.limits.new_master.pass(gap, ctx.now).is_some()
        {
            self.notice(Notice::NewMaster { from, priority }, ctx);
        }
        self.master = Some((from, priority));
    }

    /// A master that hears another router says at once that it is there (RFC 9568 section 6.4.3)
    /// and announces its addresses again: the other one may have announced them as its own.
    /// `advert`: without `lower_prio_no_advert`.
    fn answer(&mut self, advert: bool, ctx: &mut Ctx<'_>) {
        let Proto::Master(master) = &mut self.proto else {
            return;
        };
        master
            .garps
            .answer(&self.config, ctx.policy.garp_gap, ctx.now);
        let earliest = master
            .answered
            .map_or(ctx.now, |at| at + ctx.policy.answer_gap);
        if !advert {
            // The next one of the timer must do.
        } else if earliest <= ctx.now {
            master.answered = Some(ctx.now);
            master.advert_at = ctx.now + self.config.advert_int;
            self.send_advert(self.priority, ctx);
        } else {
            master.advert_at = master.advert_at.min(earliest);
        }
        self.send_garps(ctx);
    }

    /// The blocks of gratuitous ARPs that are due.
    fn send_garps(&mut self, ctx: &mut Ctx<'_>) {
        loop {
            let Proto::Master(master) = &mut self.proto else {
                return;
            };
            let Some(block) = master.garps.take_due(&self.config, ctx.now) else {
                return;
            };
            match (block, self.config.garp_extra_if) {
                (Block::Extra, Some(extra)) => self.announce_extra(extra.all, ctx),
                (Block::Extra, None) => {}
                (
                    Block::Delay
                    | Block::Answer
                    | Block::Settle
                    | Block::AnswerDelay
                    | Block::Refresh,
                    _,
                ) => self.announce_all(block, ctx),
            }
        }
    }

    /// Becomes master: the first advert goes out before the addresses are taken.
    pub(super) fn become_master(&mut self, reason: Reason, ctx: &mut Ctx<'_>) {
        self.forget_interval();
        self.released = false;
        let mut garps = Schedule::new(&self.config, ctx.now);
        // A master of lower priority that was heard just before may announce the addresses after this one,
        // and says nothing more once it hears our advert.
        let is_recent = |at| ctx.now.since(at) < self.config.advert_int;
        if self.last_advert.is_some_and(is_recent) {
            garps.settle(ctx.now);
        }
        self.proto = Proto::Master(Master {
            advert_at: ctx.now + self.config.advert_int,
            reason,
            answered: None,
            garps,
        });
        self.send_advert(self.priority, ctx);
        self.take_addresses(ctx);
    }

    /// Steps down for a better master: one last advert, which makes the winner announce the
    /// addresses again (unless `higher_prio_send_advert` is off), then BACKUP; the addresses linger.
    pub(super) fn yield_to(
        &mut self,
        from: IpAddr,
        priority: u8,
        reason: Reason,
        ctx: &mut Ctx<'_>,
    ) {
        self.master = Some((from, priority));
        let was_told = matches!(reason, Reason::HigherPriority { .. });
        let silent = was_told && !self.config.election.higher_prio_send_advert;
        if !silent {
            self.send_last_advert(ctx);
        }
        self.end_raise(ctx);
        self.linger(silent, ctx);
        self.listen(ctx);
        self.report(State::Backup, reason, ctx);
    }

    /// An advert that cannot win: our priority when the known master is better, else a resignation.
    pub(super) fn send_last_advert(&mut self, ctx: &mut Ctx<'_>) {
        let own = (self.priority, self.source);
        // The master of a fellow in a sync group may be one of the other family, which says nothing.
        let loses = self.master.is_some_and(|(addr, priority)| {
            Family::of(addr) == self.config.family() && (priority, Some(addr)) > own
        });
        self.send_advert(if loses { self.priority } else { 0 }, ctx);
    }

    /// Enters BACKUP from INIT or FAULT.
    pub(super) fn start(&mut self, ctx: &mut Ctx<'_>) {
        self.source = self.current_source(ctx.net);
        self.forget_interval();
        self.listen(ctx);
        let reason = match self.reported {
            State::Fault => Reason::Recovered {
                from: Box::new(self.reason.clone()),
            },
            State::Init | State::Backup | State::Master | State::Stopped => Reason::Started,
        };
        self.report(State::Backup, reason, ctx);
    }

    /// Addresses that were here before we did anything are kept until another master is heard.
    pub(super) fn keep_found_addresses(&mut self, ctx: &Ctx<'_>) {
        match self.hold {
            HoldState::Absent => {
                if self.vips.iter().any(|v| ctx.net.is_present(&v.address)) {
                    self.hold = HoldState::Kept;
                }
            }
            HoldState::Owned
            | HoldState::Kept
            | HoldState::Offered { .. }
            | HoldState::Lingering { .. } => {}
        }
    }

    /// Whether the daemon's predecessor was master so recently that no peer can have taken over.
    pub(super) fn can_resume(&self, now: Time) -> bool {
        self.resume.is_some_and(|r| {
            // Who has fewer `down_timer_adverts` than this host takes over sooner.
            let adverts = self.config.election.down_timer_adverts.min(3);
            r.was_master && now.since(r.last_advert_sent) < adverts * self.config.advert_int
        })
    }

    /// Enters FAULT. `hand_over`: the addresses can be offered to a successor.
    pub(super) fn fail(&mut self, reason: Reason, hand_over: bool, ctx: &mut Ctx<'_>) {
        let was = std::mem::replace(&mut self.proto, Proto::Fault);
        match was {
            Proto::Stopped => {
                self.proto = was;
                return;
            }
            Proto::Master(_) if hand_over => self.offer(ctx),
            Proto::Master(_) => {
                if !matches!(reason, Reason::LinkDown { .. } | Reason::LinkGone { .. }) {
                    self.send_advert(0, ctx);
                }
                self.release(ctx);
            }
            Proto::Init => self.keep_found_addresses(ctx),
            Proto::Backup(_) | Proto::Fault => {
                if !hand_over && !matches!(self.hold, HoldState::Kept) {
                    self.release(ctx);
                }
            }
        }
        self.end_raise(ctx);
        self.report(State::Fault, reason, ctx);
    }

    /// Stops for good: hands over what it has.
    pub(super) fn stop(&mut self, reason: Reason, ctx: &mut Ctx<'_>) {
        let was = std::mem::replace(&mut self.proto, Proto::Stopped);
        match (was, self.hold) {
            (Proto::Stopped, _) => return,
            (Proto::Master(_), _)
            | (Proto::Init | Proto::Backup(_) | Proto::Fault, HoldState::Kept) => {
                self.offer(ctx);
            }
            (
                Proto::Init | Proto::Backup(_) | Proto::Fault,
                HoldState::Absent
                | HoldState::Owned
                | HoldState::Offered { .. }
                | HoldState::Lingering { .. },
            ) => {}
        }
        self.report(State::Stopped, reason, ctx);
    }

    /// The protocol's timers.
    pub(super) fn tick_proto(&mut self, heard: Time, ctx: &mut Ctx<'_>) -> Effect {
        match &mut self.proto {
            Proto::Init | Proto::Fault | Proto::Stopped => Effect::None,
            Proto::Backup(backup) => {
                if backup.down_at <= heard && backup.awaits_program.is_none() {
                    Effect::WantsMaster
                } else {
                    Effect::None
                }
            }
            Proto::Master(master) => {
                if master.advert_at <= ctx.now {
                    // Keeps its rhythm, except after a pause.
                    let next = master.advert_at + self.config.advert_int;
                    master.advert_at = if next > ctx.now {
                        next
                    } else {
                        ctx.now + self.config.advert_int
                    };
                    let refresh =
                        master
                            .garps
                            .refresh_with_advert(&self.config, ctx.policy.refresh, ctx.now);
                    let cursor = master.garps.cursor;
                    self.send_advert(self.priority, ctx);
                    if refresh {
                        let cursor = self.announce_some(cursor, ctx);
                        if let Proto::Master(master) = &mut self.proto {
                            master.garps.cursor = cursor;
                        }
                    }
                }
                self.send_garps(ctx);
                Effect::None
            }
        }
    }

    /// The timer ran out but the sync group cannot move: waits another round.
    pub(super) fn wait_for_group(&mut self, ctx: &Ctx<'_>) {
        let down_at = ctx.now + self.down_interval();
        if let Proto::Backup(backup) = &mut self.proto {
            backup.wants_master = true;
            backup.down_at = down_at;
        }
    }

    /// A BACKUP that would be MASTER waits for the program.
    pub(super) fn await_program(&mut self, reason: Reason) {
        if let Proto::Backup(backup) = &mut self.proto {
            backup.awaits_program = Some(reason);
        }
    }

    /// Why it would be MASTER, if it has waited for the program.
    pub(super) fn has_awaited_program(&mut self) -> Option<Reason> {
        match &mut self.proto {
            Proto::Backup(backup) => backup.awaits_program.take(),
            Proto::Init | Proto::Fault | Proto::Master(_) | Proto::Stopped => None,
        }
    }

    /// Whether the sync group need not wait for this one.
    pub(super) fn agrees_to_master(&self) -> bool {
        match &self.proto {
            Proto::Master(_) => true,
            Proto::Backup(backup) => backup.wants_master || backup.awaits_program.is_some(),
            Proto::Init | Proto::Fault | Proto::Stopped => false,
        }
    }

    /// Why the timer of a BACKUP ran out.
    pub(super) fn down_reason(&self) -> Reason {
        match &self.proto {
            Proto::Backup(backup) if backup.resigned => Reason::MasterResigned,
            Proto::Backup(_) if self.released && matches!(self.hold, HoldState::Offered { .. }) => {
                Reason::NoSuccessor
            }
            Proto::Backup(_) | Proto::Init | Proto::Fault | Proto::Master(_) | Proto::Stopped => {
                Reason::MasterDown
            }
        }
    }
}
