//! Sync groups: all members are master, or none is.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::election::Effect;
use super::super::event::{InstanceId, Reason};
use super::super::instance::{Instance, Proto};
use super::{Ctx, Router, ctx};
use crate::time::Time;

impl Router {
    /// The indices of the instances that move together with `at`, itself included, and their
    /// group's name.
    fn fellows(&self, at: usize) -> (Option<Arc<str>>, Vec<usize>) {
        let id = self.instances[at].id;
        let group = self.groups.iter().find(|g| g.members.contains(&id));
        match group {
            None => (None, vec![at]),
            Some(group) => (Some(Arc::clone(&group.name)), self.indices(&group.members)),
        }
    }

    /// The instance of this name and its fellows, or the members of the group of this name.
    pub(in super::super) fn named(&self, name: &str) -> Vec<usize> {
        let mut instances = self.instances.iter();
        match instances.position(|i| *i.name == *name && !i.removed) {
            Some(at) => self.fellows(at).1,
            None => {
                let group = self.groups.iter().find(|g| *g.name == *name);
                group.map_or_else(Vec::new, |g| self.indices(&g.members))
            }
        }
    }

    fn indices(&self, members: &[InstanceId]) -> Vec<usize> {
        members
            .iter()
            .filter_map(|m| self.instances.iter().position(|i| i.id == *m && !i.removed))
            .collect()
    }

    pub(super) fn apply_effect(&mut self, at: usize, effect: Effect, now: Time) {
        match effect {
            Effect::None => {}
            Effect::WantsMaster => self.try_master(at, now),
            Effect::Yielded { from, priority } => self.yield_group(at, from, priority, now),
        }
    }

    fn try_master(&mut self, at: usize, now: Time) {
        let reason = self.instances[at].down_reason();
        self.make_master(at, reason, now);
    }

    /// What waited for the program need wait no longer.
    pub(super) fn end_waiting_for_program(&mut self, now: Time) {
        if self.forwarding.is_loading() {
            return;
        }
        for at in 0..self.instances.len() {
            if let Some(reason) = self.instances[at].has_awaited_program() {
                self.make_master(at, reason, now);
            }
        }
    }

    /// Once the program is there and its sync group agrees.
    fn make_master(&mut self, at: usize, reason: Reason, now: Time) {
        if self.forwarding.is_loading() {
            self.instances[at].await_program(reason);
            return;
        }
        let (name, fellows) = self.fellows(at);
        let Some(name) = name else {
            self.instances[at].become_master(reason, &mut ctx!(self, now));
            return;
        };
        self.instances[at].wait_for_group(&ctx!(self, now));
        let leads = fellows
            .iter()
            .any(|f| matches!(self.instances[*f].proto, Proto::Master(_)));
        if !leads
            && !fellows
                .iter()
                .all(|f| self.instances[*f].agrees_to_master())
        {
            return;
        }
        for fellow in fellows {
            match self.instances[fellow].proto {
                Proto::Backup(_) => {
                    let reason = if fellow == at {
                        reason.clone()
                    } else {
                        group_reason(&name)
                    };
                    self.instances[fellow].become_master(reason, &mut ctx!(self, now));
                }
                Proto::Init | Proto::Fault | Proto::Master(_) | Proto::Stopped => {}
            }
        }
    }

    fn yield_group(&mut self, at: usize, from: IpAddr, priority: u8, now: Time) {
        let (name, fellows) = self.fellows(at);
        let Some(name) = name else { return };
        for fellow in fellows {
            match self.instances[fellow].proto {
                Proto::Master(_) => {
                    let reason = group_reason(&name);
                    self.instances[fellow].yield_to(from, priority, reason, &mut ctx!(self, now));
                }
                Proto::Init | Proto::Fault | Proto::Backup(_) | Proto::Stopped => {}
            }
        }
    }

    /// Looks at interfaces and readiness: who can take part, who cannot any more.
    pub(super) fn evaluate(&mut self, now: Time) {
        let mut done = vec![false; self.instances.len()];
        for at in 0..self.instances.len() {
            if done[at] || self.instances[at].removed {
                continue;
            }
            let (name, fellows) = self.fellows(at);
            for fellow in &fellows {
                done[*fellow] = true;
            }
            self.evaluate_group(name.as_ref(), &fellows, now);
        }
    }

    fn evaluate_group(&mut self, name: Option<&Arc<str>>, fellows: &[usize], now: Time) {
        let causes: Vec<Option<Reason>> = fellows
            .iter()
            .map(|f| self.instances[*f].cause(&self.net, &self.following, &self.forwarding))
            .collect();
        let known = fellows
            .iter()
            .all(|f| self.instances[*f].is_known(&self.net));
        if causes.iter().any(Option::is_some) {
            for (fellow, own) in fellows.iter().zip(causes) {
                self.fail_one(*fellow, own, name, known, now);
            }
            return;
        }
        let waiting = |i: &Instance| match i.proto {
            Proto::Init | Proto::Fault => true,
            Proto::Backup(_) | Proto::Master(_) | Proto::Stopped => false,
        };
        let waits = |f: &usize| self.following.waits(&self.instances[*f].tracks, &self.net);
        if !known
            || fellows.iter().any(waits)
            || !fellows.iter().any(|f| waiting(&self.instances[*f]))
        {
            return;
        }
        let resume = fellows.iter().all(|f| self.instances[*f].can_resume(now));
        // Who goes on as master has nothing to wait for: its links were up a moment ago.
        let first = |i: &Instance| matches!(i.proto, Proto::Init);
        if self.starts_at.is_some() && !resume && fellows.iter().all(|f| first(&self.instances[*f]))
        {
            return;
        }
        for fellow in fellows {
            if waiting(&self.instances[*fellow]) {
                self.start_one(*fellow, resume, now);
            }
        }
    }

    fn fail_one(
        &mut self,
        at: usize,
        own: Option<Reason>,
        group: Option<&Arc<str>>,
        known: bool,
        now: Time,
    ) {
        let instance = &mut self.instances[at];
        if !known && matches!(instance.proto, Proto::Init) {
            return;
        }
        // The addresses can wait for a successor unless the link that carries them is gone or
        // nothing behind them forwards.
        let hand_over = match &own {
            Some(Reason::LinkDown { iface } | Reason::LinkGone { iface }) => {
                *iface != *instance.iface
            }
            Some(Reason::NotReady) => false,
            Some(_) | None => true,
        };
        let reason = match (own, group) {
            (Some(reason), _) => reason,
            (None, Some(name)) => group_reason(name),
            (None, None) => return,
        };
        let mut ctx: Ctx<'_> = ctx!(self, now);
        instance.fail(reason, hand_over, &mut ctx);
    }

    fn start_one(&mut self, at: usize, resume: bool, now: Time) {
        let loading = self.forwarding.is_loading();
        let instance = &mut self.instances[at];
        let mut ctx: Ctx<'_> = ctx!(self, now);
        instance.resume = None;
        let first = matches!(instance.proto, Proto::Init);
        instance.start(&mut ctx);
        if first {
            instance.keep_found_addresses(&ctx);
        }
        let at_once = match (resume, instance.priority) {
            (true, _) => Some(Reason::Resumed),
            (false, 255) => Some(Reason::Owner),
            (false, _) => None,
        };
        match at_once {
            Some(reason) if loading => instance.await_program(reason),
            Some(reason) => instance.become_master(reason, &mut ctx),
            None => {}
        }
    }
}

/// Why a member moves that has no reason of its own.
fn group_reason(name: &Arc<str>) -> Reason {
    Reason::Group {
        name: name.to_string(),
    }
}
