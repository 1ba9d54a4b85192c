//! `interface_up_down_delays`: a link that goes down or up counts when it has stayed so for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::event::LinkState;
use crate::model::{LinkDelay, Model};
use crate::time::Time;

/// The delays, and the changes that wait.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    delays: BTreeMap<Arc<str>, LinkDelay>,
    waiting: BTreeMap<Arc<str>, (LinkState, Time)>,
}

impl Debounce {
    /// Takes over a configuration. What waits, waits on.
    pub(super) fn set(&mut self, model: &Model) {
        let delays = &model.global.link_delays;
        let own = delays.iter().map(|d| (d.interface.as_str(), d));
        let of = |base: &str| delays.iter().find(|d| d.interface == base);
        let macvlans = model.macvlans();
        let macvlans = macvlans.iter().filter_map(|(n, m)| Some((*n, of(m.base)?)));
        let all = own.chain(macvlans);
        self.delays = all.map(|(name, d)| (name.into(), d.clone())).collect();
    }

    /// A link was told: whether that counts now. If not, it comes out of [`take_due`](Self::take_due)
    /// unless it changes back before. `was`: what counts so far; `longest`: for how long an election
    /// can wait.
    pub(super) fn told(
        &mut self,
        iface: &str,
        was: Option<LinkState>,
        state: LinkState,
        longest: Option<Duration>,
        now: Time,
    ) -> bool {
        let delay = self
            .delays
            .get(iface)
            .and_then(|delay| match (was?, state) {
                (LinkState::Up, LinkState::Down) => Some(delay.down),
                (LinkState::Down, LinkState::Up) => Some(delay.up),
                (LinkState::Up, LinkState::Up)
                | (LinkState::Down, LinkState::Down)
                | (LinkState::Gone, _)
                | (_, LinkState::Gone) => None,
            });
        let delay = delay.map(|delay| longest.map_or(delay, |most| delay.min(most)));
        match delay.filter(|delay| !delay.is_zero()) {
            Some(delay) => {
                let due = (state, now + delay);
                self.waiting.entry(iface.into()).or_insert(due);
                false
            }
            None => {
                self.waiting.remove(iface);
                true
            }
        }
    }

    /// A change whose time has come.
    pub(super) fn take_due(&mut self, now: Time) -> Option<(Arc<str>, LinkState)> {
        let due = self.waiting.iter().find(|(_, (_, at))| *at <= now);
        let iface = due.map(|(iface, _)| Arc::clone(iface))?;
        let (state, _) = self.waiting.remove(&iface)?;
        Some((iface, state))
    }

    /// When [`take_due`](Self::take_due) is to be asked.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.values().map(|(_, at)| *at).min()
    }
}
