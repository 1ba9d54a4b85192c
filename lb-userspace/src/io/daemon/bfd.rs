//! The thread of BFD: what it is told and what it tells.

use super::run::Daemon;
use crate::bfd::{State, Up};
use crate::engine::Event;
use crate::io::bfd::Heard;
use crate::io::clock::now;

impl Daemon<'_> {
    /// Gives the sessions of the configuration in force to their thread.
    pub(super) fn configure_bfd(&mut self) {
        if let Err(error) = self.bfd.configure(self.engine.model()) {
            tracing::error!("{error}");
        }
    }

    /// The thread told something.
    pub(super) fn hear_session(&mut self, heard: Heard) {
        match heard {
            Heard::Told(Up { name, up }) => {
                self.engine.handle(Event::Session { name, up }, now());
            }
            Heard::Changed(c) => {
                let (name, from, to) = (&c.name, c.from.name(), c.to.name());
                let (state, why) = c.remote;
                let text = format!(
                    "({name}) BFD session {from} -> {to}: {}; neighbor is {}, {why}",
                    c.diag,
                    state.name()
                );
                match (c.from, c.to) {
                    (_, State::Up) => tracing::info!("{text}"),
                    (State::Up, _) => tracing::warn!("{text}"),
                    // A neighbour that hears nothing makes these for ever.
                    (
                        State::AdminDown | State::Down | State::Init,
                        State::AdminDown | State::Down | State::Init,
                    ) => tracing::debug!("{text}"),
                }
            }
            Heard::Trouble(text) => tracing::warn!("{text}"),
        }
    }
}
