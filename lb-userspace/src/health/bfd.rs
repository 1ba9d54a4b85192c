//! `BFD_CHECK`: what a session says of a server.

use super::Health;
use super::checker::{Failure, Verdict};
use crate::model::CheckKind;
use crate::time::Time;

impl Health {
    /// A session counts as up or as down from now on.
    pub fn session(&mut self, name: &str, up: bool, now: Time) {
        if self.sessions.insert(name.to_owned(), up) != Some(up) {
            self.take_session(name, up, now, false);
        }
    }

    /// Tells the checks that follow a session, or the new among them; whether there are any.
    pub(super) fn take_session(&mut self, name: &str, up: bool, now: Time, new: bool) -> bool {
        let verdict = match up {
            true => Verdict::Ok,
            false => Verdict::Failed(Failure::Answer(format!("session {name} is down"))),
        };
        let follows = |kind: &CheckKind| match kind {
            CheckKind::Bfd(session) if session == name => Some(verdict.clone()),
            _ => None,
        };
        self.hear(&follows, now, new)
    }
}
