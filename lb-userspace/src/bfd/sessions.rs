//! All sessions of the host: which one a packet belongs to.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::packet::{LENGTH, Packet};
use super::reject::{Counters, Reject};
use super::session::{Change, Outcome, Session, SessionStatus, Up};
use crate::model::Bfd;
use crate::time::Time;

/// A UDP datagram that came to [`super::PORT`].
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: IpAddr,
    /// To which of this host's addresses.
    pub to: IpAddr,
    /// The TTL or hop limit that it arrived with.
    pub ttl: u8,
    /// What is in it.
    pub payload: &'a [u8],
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to the neighbour of a session, at its [`super::PORT`].
    Send {
        /// The session's name.
        name: String,
        /// The datagram's payload.
        packet: [u8; LENGTH],
    },
    /// A session changed its state: for the log.
    Changed(Change),
    /// A session counts as up or as down from now on: for those who follow it.
    Told(Up),
}

/// All sessions of a configuration.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: Vec<Session>,
    refused: Counters,
    actions: VecDeque<Action>,
}

impl Sessions {
    /// Takes over a configuration, the first or that of a reload: a session with the same name,
    /// addresses and TTL goes on, others end without a word. `random` gives uniform 64-bit numbers.
    pub fn configure(&mut self, wanted: &[Bfd], now: Time, random: &mut dyn FnMut() -> u64) {
        let mut old = std::mem::take(&mut self.sessions);
        for config in wanted {
            let session = match old.iter().position(|s| s.is_of(config)) {
                Some(at) => {
                    let mut session = old.swap_remove(at);
                    session.reconfigure(config.clone(), now, random());
                    session
                }
                None => {
                    let taken = |d: u32| {
                        let mut all = old.iter().chain(&self.sessions);
                        d == 0 || all.any(|s| s.discriminator == d)
                    };
                    let mut discriminator = random() as u32;
                    while taken(discriminator) {
                        discriminator = discriminator.wrapping_add(1);
                    }
                    Session::new(config.clone(), discriminator, now)
                }
            };
            self.sessions.push(session);
        }
    }

    /// Something arrived.
    pub fn receive(&mut self, datagram: Datagram<'_>, now: Time, random: u64) {
        match self.accept(datagram) {
            Err(reject) => self.refused.count(reject),
            Ok((at, packet)) => {
                let outcome = self.sessions[at].receive(&packet, now, random);
                self.take(at, outcome);
            }
        }
    }

    /// The session that a datagram is for, and what it says.
    fn accept(&self, datagram: Datagram<'_>) -> Result<(usize, Packet), Reject> {
        let (packet, authenticated) = Packet::parse(datagram.payload)?;
        let mut sessions = self.sessions.iter();
        let at = match packet.your_discriminator {
            0 => sessions.position(|s| {
                let source = s.config.source;
                s.config.neighbor == datagram.from && source.is_none_or(|s| s == datagram.to)
            }),
            yours => sessions.position(|s| s.discriminator == yours),
        };
        let at = at.ok_or(Reject::UnknownSession)?;
        if !self.sessions[at].config.takes_ttl(datagram.ttl) {
            return Err(Reject::Ttl);
        }
        match authenticated.0 {
            true => Err(Reject::Authentication),
            false => Ok((at, packet)),
        }
    }

    /// Timers that are due at `now`. What had arrived at `heard` must have been given before: whoever was
    /// put aside between reading and this, or reads behind a flood, takes nobody for dead.
    pub fn tick(&mut self, now: Time, heard: Time, random: &mut dyn FnMut() -> u64) {
        for at in 0..self.sessions.len() {
            if self.sessions[at].deadline().is_some_and(|d| d <= now) {
                let outcome = self.sessions[at].tick(now, heard, random());
                self.take(at, outcome);
            }
        }
    }

    fn take(&mut self, at: usize, outcome: Outcome) {
        let Outcome { send, change, told } = outcome;
        let name = &self.sessions[at].config.name;
        let send = send.map(|packet| Action::Send {
            name: name.clone(),
            packet: packet.emit(),
        });
        self.actions.extend(send);
        // Those who follow it hear of it before it is written down.
        self.actions.extend(told.map(Action::Told));
        self.actions.extend(change.map(Action::Changed));
    }

    /// When [`Sessions::tick`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.sessions.iter().filter_map(Session::deadline).min()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How each session counts to those who follow it; none: that is not decided yet.
    pub fn standings(&self) -> impl Iterator<Item = (&Bfd, Option<bool>)> + '_ {
        self.sessions.iter().map(|s| (&s.config, s.is_up()))
    }

    /// A snapshot, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<SessionStatus> {
        self.sessions.iter().map(Session::status).collect()
    }

    /// Packets that were refused.
    #[must_use]
    pub fn refused(&self) -> &Counters {
        &self.refused
    }
}
