//! What an instance counts, and how often it tells of it.

use std::net::IpAddr;
use std::time::Duration;

use super::event::{Action, Notice, State};
use super::instance::{Ctx, Instance};
use super::packet::{Counters, Reject};
use super::report::Report;
use crate::time::Time;

/// Numbers for the status.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub(super) became_master: u64,
    pub(super) adverts_sent: u64,
    pub(super) adverts_received: u64,
    pub(super) zero_sent: u64,
    pub(super) zero_received: u64,
    pub(super) garps_sent: u64,
    pub(super) rejected: Counters,
}

/// When a kind of notice was last given and how many came since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    last: Option<Time>,
    since: u64,
}

impl Limit {
    /// As [`pass`](Self::pass), but only when `all` passes as well.
    fn pass_with(
        &mut self,
        gap: Duration,
        all: &mut Limit,
        all_gap: Duration,
        now: Time,
    ) -> Option<u64> {
        let within = |limit: &Limit, gap| limit.last.is_some_and(|last| now.since(last) < gap);
        if within(all, all_gap) {
            self.since += 1;
            return None;
        }
        let count = self.pass(gap, now)?;
        all.last = Some(now);
        Some(count)
    }

    /// Counts one; the number since the last notice when one may be given now.
    pub fn pass(&mut self, gap: Duration, now: Time) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now.since(last) < gap) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

/// The limits of the notices that others can cause.
#[derive(Debug, Default)]
pub(super) struct Limits {
    rejects: [Limit; Reject::ALL.len()],
    /// Whatever was rejected.
    any: Limit,
    pub(super) new_master: Limit,
    lower: Limit,
    heard_lower: Limit,
}

impl Instance {
    pub(super) fn notice(&self, notice: Notice, ctx: &mut Ctx<'_>) {
        let name = std::sync::Arc::clone(&self.name);
        ctx.out
            .push_back(Action::Report(Report::Notice { name, notice }));
    }

    /// Counts a rejected packet and tells of it now and then.
    pub(super) fn reject(&mut self, reject: Reject, from: IpAddr, ctx: &mut Ctx<'_>) {
        self.numbers.rejected.count(reject);
        if reject == Reject::NotListening || self.note_rival(reject, from, ctx) {
            return;
        }
        let gap = ctx.policy.notice_gap;
        let Limits { rejects, any, .. } = &mut self.limits;
        if let Some(count) =
            rejects[reject as usize].pass_with(gap, any, ctx.policy.line_gap, ctx.now)
        {
            self.notice(
                Notice::AdvertRejected {
                    reason: reject,
                    from,
                    count,
                },
                ctx,
            );
        }
    }

    /// Tells of an advert of lower priority now and then.
    pub(super) fn note_lower(&mut self, from: IpAddr, priority: u8, ctx: &mut Ctx<'_>) {
        // Whom we have just taken over from says good-bye once.
        let fresh =
            self.reported != State::Master || ctx.now.since(self.since) < self.config.advert_int;
        let loser = self.master.is_some_and(|(known, _)| known == from);
        let heard = &mut self.limits.heard_lower;
        if !(fresh && loser) && heard.pass(ctx.policy.heard_gap, ctx.now).is_some() {
            ctx.out.push_back(Action::Report(Report::HeardLower {
                name: std::sync::Arc::clone(&self.name),
                priority: self.priority,
            }));
        }
        if self
            .limits
            .lower
            .pass(ctx.policy.notice_gap, ctx.now)
            .is_some()
        {
            self.notice(Notice::LowerPriority { from, priority }, ctx);
        }
    }
}
