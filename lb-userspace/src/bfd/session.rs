//! One session: its state, its timers, what it sends.

use std::net::IpAddr;
use std::time::Duration;

use super::packet::{Diag, Packet, State};
use crate::model::Bfd;
use crate::time::Time;

/// This side's state (bfd.SessionState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Down,
    Init,
    Up,
}

impl Own {
    pub(super) const fn state(self) -> State {
        match self {
            Own::Down => State::Down,
            Own::Init => State::Init,
            Own::Up => State::Up,
        }
    }
}

/// The state machine of RFC 5880, 6.8.6: the state after a packet that says `theirs`.
pub(super) const fn after(own: Own, theirs: State) -> Own {
    match (own, theirs) {
        (Own::Down, State::Down) => Own::Init,
        (Own::Down, State::Init) => Own::Up,
        // It does not know yet that this side has begun anew.
        (Own::Down, State::Up) => Own::Down,
        (Own::Init, State::Down) => Own::Init,
        (Own::Init, State::Init | State::Up) => Own::Up,
        (Own::Up, State::Init | State::Up) => Own::Up,
        (Own::Up, State::Down) => Own::Down,
        (Own::Down | Own::Init | Own::Up, State::AdminDown) => Own::Down,
    }
}

/// Whether a session counts as up to those who follow it, told when that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// Name of the session.
    pub name: String,
    /// Whether it does.
    pub up: bool,
}

/// A change of state, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the session.
    pub name: String,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why this side left its state.
    pub diag: Diag,
    /// The neighbour's state, and why it left its own.
    pub remote: (State, Diag),
}

/// What a session says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its name.
    pub name: String,
    /// The neighbour.
    pub neighbor: IpAddr,
    /// `source_ip`.
    pub source: Option<IpAddr>,
    /// This side's state.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Why it is in it.
    pub diag: Diag,
    /// This side's discriminator.
    pub discriminator: u32,
    /// The neighbour's state.
    pub remote_state: State,
    /// Why it is in it.
    pub remote_diag: Diag,
    /// Its discriminator; 0 while it is not heard.
    pub remote_discriminator: u32,
    /// At which interval packets are sent, before they are spread; none: none are.
    pub interval: Option<Duration>,
    /// After how long without a packet the session goes down.
    pub detection: Duration,
    /// When the last packet was accepted.
    pub heard: Option<Time>,
    /// How those who follow it see it; none: not decided yet.
    pub counts_as_up: Option<bool>,
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that were accepted.
    pub received: u64,
    /// How often it came up.
    pub came_up: u64,
    /// How often it went down after it was up.
    pub went_down: u64,
}

/// Intervals that both sides have to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Intervals {
    /// bfd.DesiredMinTxInterval.
    tx: Duration,
    /// bfd.RequiredMinRxInterval.
    rx: Duration,
}

/// What the neighbour said last.
#[derive(Clone, Copy, Debug)]
struct Remote {
    state: State,
    diag: Diag,
    /// 0: it is not known.
    discriminator: u32,
    min_tx: Duration,
    /// Zero: it wants no periodic packets.
    min_rx: Duration,
    multiplier: u8,
    demand: bool,
}

impl Remote {
    /// Before anything was heard (RFC 5880, 6.8.1).
    const UNHEARD: Remote = Remote {
        state: State::Down,
        diag: Diag::NONE,
        discriminator: 0,
        min_tx: Duration::ZERO,
        min_rx: Duration::from_micros(1),
        multiplier: 1,
        demand: false,
    };
}

/// What came of a packet or of time.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// A packet is to be sent now.
    pub(super) send: Option<Packet>,
    pub(super) change: Option<Change>,
    pub(super) told: Option<Up>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: Bfd,
    /// bfd.LocalDiscr, not 0 and unlike that of any other session.
    pub(super) discriminator: u32,
    own: Own,
    since: Time,
    diag: Diag,
    remote: Remote,
    /// When the last packet was accepted; none since the detection time has passed without one.
    heard: Option<Time>,
    /// What is said in packets.
    offered: Intervals,
    /// What timers go by: where the neighbour has to know first, not yet what is offered.
    used: Intervals,
    /// A poll sequence is under way: what is offered waits for its end.
    poll: bool,
    last_sent: Option<Time>,
    /// When the next packet goes out by itself, and the interval that this follows from.
    next: Option<(Time, Duration)>,
    /// How those who follow the session see it.
    told: Option<bool>,
    /// From when on it counts as down if it has not come up: it had time enough.
    overdue: Option<Time>,
    sent: u64,
    received: u64,
    came_up: u64,
    went_down: u64,
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

impl Session {
    /// One that begins now.
    pub(super) fn new(config: Bfd, discriminator: u32, now: Time) -> Session {
        let offered = Intervals {
            tx: config.idle_tx,
            rx: config.min_rx,
        };
        let mut session = Session {
            discriminator,
            own: Own::Down,
            since: now,
            diag: Diag::NONE,
            remote: Remote::UNHEARD,
            heard: None,
            offered,
            used: offered,
            poll: false,
            last_sent: None,
            next: (!config.passive).then_some((now, offered.tx)),
            told: None,
            overdue: None,
            sent: 0,
            received: 0,
            came_up: 0,
            went_down: 0,
            config,
        };
        session.overdue = Some(now + session.patience());
        session
    }

    /// How long a session may take to come up before it counts as down.
    fn patience(&self) -> Duration {
        self.config.idle_tx * u32::from(self.config.multiplier)
    }

    /// Whether it is the same session under another configuration.
    pub(super) fn is_of(&self, config: &Bfd) -> bool {
        let is = &self.config;
        (&is.name, is.neighbor, is.source) == (&config.name, config.neighbor, config.source)
    }

    /// Goes on with other parameters.
    pub(super) fn reconfigure(&mut self, config: Bfd, now: Time, random: u64) {
        self.config = config;
        self.offer();
        self.schedule(now, random);
    }

    pub(super) fn is_up(&self) -> Option<bool> {
        self.told
    }

    /// The interval between packets, before it is spread (6.8.7); none: nothing is sent by itself.
    fn interval(&self) -> Option<Duration> {
        let remote = &self.remote;
        let silent = remote.min_rx.is_zero()
            || (self.config.passive && remote.discriminator == 0)
            || (remote.demand && self.own == Own::Up && remote.state == State::Up && !self.poll);
        (!silent).then(|| self.used.tx.max(remote.min_rx))
    }

    /// bfd.DetectionTime (6.8.4).
    fn detection(&self) -> Duration {
        self.used.rx.max(self.remote.min_tx) * u32::from(self.remote.multiplier)
    }

    /// When the neighbour counts as gone if it is not heard again.
    fn expires(&self) -> Option<Time> {
        self.heard.map(|heard| heard + self.detection())
    }

    /// The next moment at which [`Session::tick`] does something.
    pub(super) fn deadline(&self) -> Option<Time> {
        let next = self.next.map(|(at, _)| at);
        let due = [next, self.expires(), self.overdue];
        due.into_iter().flatten().min()
    }

    /// Brings what is offered to the neighbour in line with state and configuration (6.8.3).
    fn offer(&mut self) {
        let idle = Intervals {
            tx: self.config.idle_tx,
            rx: self.config.min_rx,
        };
        match self.own {
            Own::Down | Own::Init => {
                (self.offered, self.used) = (idle, idle);
                self.poll = false;
            }
            // A sequence ends before the next one begins.
            Own::Up if self.poll => {}
            Own::Up => {
                let wanted = Intervals {
                    tx: self.config.min_tx,
                    ..idle
                };
                if wanted != self.offered {
                    self.offered = wanted;
                    self.poll = true;
                }
                // Sooner is always right; later only when the neighbour knows.
                self.used.tx = self.used.tx.min(wanted.tx);
                self.used.rx = self.used.rx.max(wanted.rx);
            }
        }
    }

    /// The next packet comes a spread interval after the last one; a longer interval begins behind it.
    fn schedule(&mut self, now: Time, random: u64) {
        let Some(interval) = self.interval() else {
            self.next = None;
            return;
        };
        if self.next.is_some_and(|(_, of)| of <= interval) {
            return;
        }
        let spread = spread(interval, self.config.multiplier, random);
        let at = self.last_sent.map_or(now, |last| last + spread).max(now);
        let at = self.next.map_or(at, |(next, _)| next.min(at));
        self.next = Some((at, interval));
    }

    /// A packet that goes out now. One that answers a poll has nothing to do with the timer (6.8.7).
    fn packet(&mut self, last: bool, now: Time) -> Packet {
        self.sent += 1;
        if !last {
            self.last_sent = Some(now);
            self.next = None;
        }
        Packet {
            diag: self.diag,
            state: self.own.state(),
            poll: self.poll && !last,
            last,
            demand: false,
            multiplier: self.config.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            min_tx: micros(self.offered.tx),
            min_rx: micros(self.offered.rx),
        }
    }

    fn enter(&mut self, own: Own, diag: Diag, now: Time, out: &mut Outcome) {
        if own == self.own {
            return;
        }
        out.change = Some(Change {
            name: self.config.name.clone(),
            from: self.own.state(),
            to: own.state(),
            diag,
            remote: (self.remote.state, self.remote.diag),
        });
        let before = std::mem::replace(&mut self.own, own);
        self.since = now;
        self.diag = diag;
        self.offer();
        match (before, own) {
            (_, Own::Up) => {
                self.came_up += 1;
                self.overdue = None;
                self.tell(true, out);
            }
            (Own::Up, Own::Down | Own::Init) => {
                self.went_down += 1;
                // Its operator took it down: that says nothing of the neighbour (RFC 5882, 3.2).
                if self.remote.state != State::AdminDown {
                    self.tell(false, out);
                }
            }
            (Own::Down | Own::Init, Own::Down | Own::Init) => {}
        }
    }

    fn tell(&mut self, up: bool, out: &mut Outcome) {
        if self.told.replace(up) != Some(up) {
            let name = self.config.name.clone();
            out.told = Some(Up { name, up });
        }
    }

    /// Takes in a packet that was found good and to be of this session.
    pub(super) fn receive(&mut self, packet: &Packet, now: Time, random: u64) -> Outcome {
        let mut out = Outcome::default();
        self.received += 1;
        self.remote = Remote {
            state: packet.state,
            diag: packet.diag,
            discriminator: packet.my_discriminator,
            min_tx: Duration::from_micros(packet.min_tx.into()),
            min_rx: Duration::from_micros(packet.min_rx.into()),
            multiplier: packet.multiplier,
            demand: packet.demand,
        };
        self.heard = Some(now);
        if packet.last && self.poll {
            self.poll = false;
            self.used = self.offered;
            // What was changed meanwhile.
            self.offer();
        }
        let own = after(self.own, packet.state);
        let diag = match own {
            Own::Down => Diag::SIGNALED,
            Own::Init | Own::Up => Diag::NONE,
        };
        self.enter(own, diag, now, &mut out);
        if packet.state == State::AdminDown {
            self.overdue = None;
        } else if self.own != Own::Up && self.told != Some(false) && self.overdue.is_none() {
            self.overdue = Some(now + self.patience());
        }
        // A change of state is told at once (6.8.7), if anything may be sent at all.
        let changed = out.change.is_some() && self.interval().is_some();
        if packet.poll || changed {
            out.send = Some(self.packet(packet.poll, now));
        }
        self.schedule(now, random);
        out
    }

    /// What is due at `now`. What had arrived at `heard` must have been taken in before: silence is
    /// judged up to there.
    pub(super) fn tick(&mut self, now: Time, heard: Time, random: u64) -> Outcome {
        let mut out = Outcome::default();
        if self.expires().is_some_and(|at| at <= heard) {
            self.heard = None;
            if self.own != Own::Down {
                self.enter(Own::Down, Diag::EXPIRED, now, &mut out);
            }
            self.remote = Remote {
                diag: self.remote.diag,
                ..Remote::UNHEARD
            };
            if out.change.is_some() && self.interval().is_some() {
                out.send = Some(self.packet(false, now));
            }
            self.schedule(now, random);
        }
        if self.overdue.is_some_and(|at| at <= heard) {
            self.overdue = None;
            self.tell(false, &mut out);
        }
        if self.next.is_some_and(|(at, _)| at <= now) {
            out.send = Some(self.packet(false, now));
            self.schedule(now, random);
        }
        out
    }

    pub(super) fn status(&self) -> SessionStatus {
        SessionStatus {
            name: self.config.name.clone(),
            neighbor: self.config.neighbor,
            source: self.config.source,
            state: self.own.state(),
            since: self.since,
            diag: self.diag,
            discriminator: self.discriminator,
            remote_state: self.remote.state,
            remote_diag: self.remote.diag,
            remote_discriminator: self.remote.discriminator,
            interval: self.interval(),
            detection: self.detection(),
            heard: self.heard,
            counts_as_up: self.told,
            sent: self.sent,
            received: self.received,
            came_up: self.came_up,
            went_down: self.went_down,
        }
    }
}

/// The interval to the next packet: less by up to a quarter at random, and by a tenth at least where one
/// missed packet takes the session down (6.8.7). `random` is uniform over all of `u64`.
fn spread(interval: Duration, multiplier: u8, random: u64) -> Duration {
    let most = if multiplier == 1 { 90 } else { 100 };
    let nanos = interval.as_nanos();
    let (least, most) = (nanos * 75 / 100, nanos * most / 100);
    let picked = least + (((most - least) * u128::from(random)) >> 64);
    Duration::from_nanos(u64::try_from(picked).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_spread() {
        let ms = |n| Duration::from_millis(n);
        for (multiplier, random, want) in [
            (5, 0, 750),
            (5, u64::MAX, 999),
            (1, 0, 750),
            (1, u64::MAX, 899),
            (2, 1 << 63, 875),
            (1, 1 << 63, 825),
        ] {
            let got = spread(ms(1000), multiplier, random);
            assert_eq!(got.as_millis(), want, "{multiplier} {random}");
        }
    }

    #[test]
    fn the_state_machine_is_that_of_the_rfc() {
        use State::{AdminDown, Down, Init, Up};
        let rows = [
            (Own::Down, [Own::Down, Own::Init, Own::Up, Own::Down]),
            (Own::Init, [Own::Down, Own::Init, Own::Up, Own::Up]),
            (Own::Up, [Own::Down, Own::Down, Own::Up, Own::Up]),
        ];
        for (own, wanted) in rows {
            for (theirs, want) in [AdminDown, Down, Init, Up].into_iter().zip(wanted) {
                assert_eq!(after(own, theirs), want, "{own:?} hears {theirs:?}");
            }
        }
    }
}
