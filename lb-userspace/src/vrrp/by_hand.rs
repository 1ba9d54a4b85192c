//! What an operator orders: give the role away, or take it.
//!
//! - Released: the instance resigns as at a clean stop (priority 0, its addresses stay until the
//!   successor was heard) and is BACKUP, which takes nothing from a living master as with `nopreempt`. If
//!   nobody takes over it is master again before it would let go. It ends when the instance becomes
//!   master.
//! - Taken over: a BACKUP becomes master at once, with a priority just above the master's, so that
//!   any implementation yields to it; `nopreempt` of either side does not matter. The priority stays
//!   raised while it is master, else a better peer would take the role back.
//!
//! Members of a sync group do either together. A restart of the daemon ends both.

use serde::{Deserialize, Serialize};

use super::event::{Reason, State};
use super::instance::{Ctx, Instance, Proto};
use super::router::{Router, ctx};
use crate::time::Time;

/// The highest priority that does not mean an owner of the addresses.
const HIGHEST: u8 = 254;

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Give the role of master away.
    Release,
    /// Take the role of master.
    Takeover,
}

/// A priority that was raised by hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised {
    to: u8,
    /// What it would be.
    without: u8,
}

impl Instance {
    /// The effective priority, when configuration and tracks give `priority`.
    pub(super) fn with_raise(&mut self, priority: u8) -> u8 {
        match &mut self.raised {
            Some(raised) => {
                raised.without = priority;
                priority.max(raised.to)
            }
            None => priority,
        }
    }

    /// It is no longer master.
    pub(super) fn end_raise(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(raised) = self.raised.take() {
            self.set_priority(raised.without, ctx);
        }
    }

    fn release_by_hand(&mut self, ctx: &mut Ctx<'_>) -> String {
        self.released = true;
        match &self.proto {
            Proto::Master(_) => {
                self.end_raise(ctx);
                self.offer(ctx);
                // After the last who can take over, before the addresses would go.
                let down_at = ctx.now + self.longest_skew() + ctx.policy.handover_margin / 2;
                self.listen_until(down_at);
                self.report(State::Backup, Reason::Released, ctx);
                format!("{} hands over", self.name)
            }
            Proto::Backup(_) | Proto::Init | Proto::Fault | Proto::Stopped => format!(
                "{} is {} and takes nothing from a living master",
                self.name, self.reported
            ),
        }
    }

    /// The priority with which it can take over.
    fn priority_to_win(&self) -> Result<u8, String> {
        let name = &self.name;
        match &self.proto {
            Proto::Backup(_) | Proto::Master(_) => {}
            Proto::Init | Proto::Fault | Proto::Stopped => {
                return Err(format!("{name} is {}: {}", self.reported, self.reason));
            }
        }
        let Some((from, theirs)) = self.master else {
            return Ok(self.priority);
        };
        let wanted = theirs.saturating_add(1).min(HIGHEST).max(self.priority);
        if (wanted, self.source) > (theirs, Some(from)) {
            Ok(wanted)
        } else {
            Err(format!(
                "{name}: the master {from} has priority {theirs}, which this host cannot exceed: release it \
                 there"
            ))
        }
    }

    fn take_over_by_hand(&mut self, priority: u8, ctx: &mut Ctx<'_>) -> String {
        match &self.proto {
            Proto::Backup(_) => {}
            Proto::Master(_) | Proto::Init | Proto::Fault | Proto::Stopped => {
                return format!("{} is {} already", self.name, self.reported);
            }
        }
        if priority > self.priority {
            self.raised = Some(Raised {
                to: priority,
                without: self.priority,
            });
            self.set_priority(self.priority, ctx);
        }
        self.become_master(Reason::TakenOver, ctx);
        format!("{} takes over with priority {priority}", self.name)
    }
}

impl Router {
    /// Carries out a command for an instance, and with it its sync group, or for a group. A sentence
    /// for each instance.
    ///
    /// # Errors
    /// When there is no such instance or group, or it cannot be carried out; nothing is done
    /// then.
    pub fn command(
        &mut self,
        name: &str,
        command: Command,
        now: Time,
    ) -> Result<Vec<String>, String> {
        if self.is_stopping() {
            return Err("lbd is stopping".to_owned());
        }
        let members = self.named(name);
        if members.is_empty() {
            return Err(format!("there is no VRRP instance or sync group {name}"));
        }
        if command == Command::Takeover && self.forwarding.is_loading() {
            return Err("the program is still being loaded".to_owned());
        }
        let mut said = Vec::new();
        match command {
            Command::Release => {
                for at in members {
                    said.push(self.instances[at].release_by_hand(&mut ctx!(self, now)));
                }
            }
            Command::Takeover => {
                let wins = members.iter().map(|at| {
                    let priority = self.instances[*at].priority_to_win()?;
                    Ok((*at, priority))
                });
                let wins: Vec<(usize, u8)> = wins.collect::<Result<_, String>>()?;
                for (at, priority) in wins {
                    let instance = &mut self.instances[at];
                    said.push(instance.take_over_by_hand(priority, &mut ctx!(self, now)));
                }
            }
        }
        self.settle();
        Ok(said)
    }
}
