//! Checks that are not run, but hear of something that changes.

use std::time::Duration;

use super::checker::Verdict;
use super::{Health, Place};
use crate::model::CheckKind;
use crate::time::Time;

impl Health {
    /// Gives checks that are new what is known.
    pub(super) fn hear_again(&mut self, now: Time) {
        for (name, value) in std::mem::take(&mut self.files) {
            if self.take_file(&name, value, now, true) {
                self.files.insert(name, value);
            }
        }
        for (name, up) in std::mem::take(&mut self.sessions) {
            if self.take_session(&name, up, now, true) {
                self.sessions.insert(name, up);
            }
        }
    }

    /// Gives each check its verdict, or (`new`) only those that had none yet; whether anybody `follows`.
    pub(super) fn hear(
        &mut self,
        follows: &dyn Fn(&CheckKind) -> Option<Verdict>,
        now: Time,
        new: bool,
    ) -> bool {
        let mut followed = false;
        for (pool, p) in self.pools.iter_mut().enumerate() {
            let mut due = Vec::new();
            for (server, s) in p.servers.iter().enumerate() {
                for (check, (_, c)) in s.checkers.iter().enumerate() {
                    if let Some(verdict) = follows(&c.check.kind) {
                        followed = true;
                        let place = Place {
                            pool,
                            server,
                            check,
                        };
                        if !(new && c.has_run) {
                            due.push((place, verdict));
                        }
                    }
                }
            }
            for (place, verdict) in due {
                let (took, out) = (Duration::ZERO, &mut self.transitions);
                if p.verdict(place.server, place.check, &verdict, took, now, out) {
                    self.dirty.insert(p.key);
                }
            }
        }
        followed
    }
}
