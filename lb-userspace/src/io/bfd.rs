//! BFD on a thread of its own: packets are sent, heard and missed in their time whatever the rest of the
//! daemon is busy with, and VRRP hears of a session from here directly.
//!
//! The thread begins with the first session. It has real-time priority where that is allowed, and never
//! waits for anything but the next packet, message or timer: what finds no room is kept and told later.

mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use self::sockets::Sockets;
use super::affinity::Binding;
use super::clock::now;
use super::files::RealFiles;
use super::priority;
use super::speaker::Speaker;
use crate::bfd::{Action, Change, Counters, Datagram, SessionStatus, Sessions, Up};
use crate::config::FileSource as _;
use crate::model::Model;
use crate::time::Time;
use crate::vrrp::{Followed, Order};

/// What may wait for the rest of the daemon.
const HEARD: usize = 1024;
/// Messages that may wait for the thread.
const MESSAGES: usize = 64;
/// Datagrams taken before timers get a turn.
const DRAIN: usize = 1024;
/// How soon a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How soon what found no room is told again.
const OWED: Duration = Duration::from_millis(10);
/// How long an answer of the thread may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What comes from the thread.
#[derive(Debug)]
pub enum Heard {
    /// A session counts as up or as down from now on.
    Told(Up),
    /// A session changed its state.
    Changed(Change),
    /// Something went wrong that an operator should know; said once.
    Trouble(String),
}

/// A snapshot of the thread's sessions.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// In the order of the configuration.
    pub sessions: Vec<SessionStatus>,
    /// Packets that were refused.
    pub refused: Counters,
}

#[derive(Debug)]
enum Message {
    Configure(Arc<Model>),
    Status(std_mpsc::SyncSender<Snapshot>),
}

/// The way to the thread. It ends with the process.
#[derive(Debug)]
pub struct BfdThread {
    /// Until the thread begins.
    desk: Option<Desk>,
    way: Option<Way>,
}

#[derive(Debug)]
struct Way {
    messages: std_mpsc::SyncSender<Message>,
    wake: Arc<EventFd>,
}

impl BfdThread {
    /// No sessions yet; `speaker` hears of those that instances follow. The receiver gives what the
    /// rest of the daemon is to know; it ends with the thread.
    #[must_use]
    pub fn new(speaker: Speaker) -> (BfdThread, mpsc::Receiver<Heard>) {
        let (heard, news) = mpsc::channel(HEARD);
        let desk = Some(Desk::new(speaker, heard));
        (BfdThread { desk, way: None }, news)
    }

    /// Takes over a configuration, in the current network namespace at first.
    ///
    /// # Errors
    /// When the thread cannot be started, or is gone.
    pub fn configure(&mut self, model: &Arc<Model>) -> io::Result<()> {
        if model.bfd_instances.is_empty() && self.way.is_none() {
            return Ok(());
        }
        if let Some(desk) = self.desk.take() {
            let (messages, inbox) = std_mpsc::sync_channel(MESSAGES);
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
            let rung = Arc::clone(&wake);
            std::thread::Builder::new()
                .name("bfd".to_owned())
                .spawn(move || desk.run(&inbox, &rung))?;
            self.way = Some(Way { messages, wake });
        }
        self.send(Message::Configure(Arc::clone(model)))
    }

    /// A snapshot of all sessions; none when there are none, or no answer.
    #[must_use]
    pub fn status(&self) -> Snapshot {
        if self.way.is_none() {
            return Snapshot::default();
        }
        let (answer, answered) = std_mpsc::sync_channel(1);
        match self.send(Message::Status(answer)) {
            Ok(()) => answered.recv_timeout(ANSWER).unwrap_or_default(),
            Err(_) => Snapshot::default(),
        }
    }

    fn send(&self, message: Message) -> io::Result<()> {
        let Some(way) = &self.way else {
            return Ok(());
        };
        let gone = |_| io::Error::other("the thread of BFD is gone");
        way.messages.try_send(message).map_err(gone)?;
        // At its limit it is readable all the same.
        match way.wake.write(1) {
            Ok(_) | Err(nix::Error::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Everything that the thread owns.
#[derive(Debug)]
struct Desk {
    sessions: Sessions,
    sockets: Sockets,
    speaker: Speaker,
    heard: mpsc::Sender<Heard>,
    /// Sessions that instances follow.
    followed: BTreeSet<String>,
    /// What VRRP, and what the rest of the daemon, have not been told yet.
    owed: [BTreeMap<String, bool>; 2],
    /// What was said and is not repeated while it lasts.
    said: BTreeSet<String>,
    priority: Option<Option<u8>>,
    cpus: Binding,
    /// When sockets that are missing are tried again.
    retry_at: Option<Time>,
}

const VRRP: usize = 0;
const ENGINE: usize = 1;

impl Desk {
    fn new(speaker: Speaker, heard: mpsc::Sender<Heard>) -> Desk {
        Desk {
            sessions: Sessions::default(),
            sockets: Sockets::default(),
            speaker,
            heard,
            followed: BTreeSet::new(),
            owed: [BTreeMap::new(), BTreeMap::new()],
            said: BTreeSet::new(),
            priority: None,
            cpus: Binding::of(Pid::from_raw(0), "BFD"),
            retry_at: None,
        }
    }

    fn run(mut self, inbox: &std_mpsc::Receiver<Message>, rung: &EventFd) {
        // Until when everything was read.
        let mut heard = now();
        loop {
            if let Err(error) = self.wait(rung) {
                // The engine sees the end of the queue.
                return self.trouble("wait", format!("waiting for BFD packets: {error}"));
            }
            let _ = rung.read();
            loop {
                match inbox.try_recv() {
                    Ok(message) => self.read(message),
                    Err(std_mpsc::TryRecvError::Empty) => break,
                    Err(std_mpsc::TryRecvError::Disconnected) => return,
                }
            }
            // What has arrived comes before the timers.
            let (sessions, called) = (&mut self.sessions, now());
            let is_empty = self.sockets.drain(DRAIN, |datagram: Datagram<'_>| {
                sessions.receive(datagram, now(), RealFiles.random());
            });
            if is_empty {
                heard = called;
            }
            if self.retry_at.is_some_and(|at| at <= now()) {
                self.open();
            }
            self.sessions.tick(now(), heard, &mut || RealFiles.random());
            self.perform();
            self.pay();
        }
    }

    /// Waits for packets or messages, or until something is due.
    fn wait(&self, rung: &EventFd) -> io::Result<()> {
        let at = now();
        let owes = self.owed.iter().any(|o| !o.is_empty());
        let due = [
            self.sessions.next_deadline(),
            self.retry_at,
            owes.then(|| at + OWED),
        ];
        let due = due.into_iter().flatten().min();
        let limit = due.map(|due| {
            let nanos = due.since(at).as_nanos();
            TimeSpec::nanoseconds(i64::try_from(nanos).unwrap_or(i64::MAX))
        });
        let wanted = PollFlags::POLLIN;
        let mut fds = vec![PollFd::new(rung.as_fd(), wanted)];
        fds.extend(self.sockets.receiving().map(|fd| PollFd::new(fd, wanted)));
        match ppoll(&mut fds, limit, None) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, message: Message) {
        match message {
            Message::Configure(model) => self.configure(&model),
            // Who asked may have given up.
            Message::Status(answer) => drop(answer.try_send(Snapshot {
                sessions: self.sessions.status(),
                refused: *self.sessions.refused(),
            })),
        }
    }

    fn configure(&mut self, model: &Model) {
        let wanted = Some(model.global.bfd_rt_priority);
        if self.priority != wanted {
            self.priority = wanted;
            let given = model.global.bfd_rt_priority;
            match priority::take(given, "BFD", "its packets") {
                Ok(()) => self.over("priority"),
                Err(words) => self.trouble("priority", words),
            }
        }
        match self.cpus.keep(&model.global.bfd_cpu_affinity) {
            Ok(()) => self.over("cpus"),
            Err(words) => self.trouble("cpus", words),
        }
        let all = &model.bfd_instances;
        self.sessions
            .configure(all, now(), &mut || RealFiles.random());
        self.sockets.configure(all);
        self.open();
        let instances = model.instances.iter().map(|i| &i.tracks);
        let tracks = instances.chain(model.sync_groups.iter().map(|g| &g.tracks));
        let followed = tracks.flat_map(|t| &t.bfds).map(|t| t.name.clone());
        self.followed = followed.collect();
        // Whoever is new has to hear how it stands. VRRP does not wait for a session to come up.
        self.owed = [BTreeMap::new(), BTreeMap::new()];
        for (config, up) in self.sessions.standings() {
            let name = || config.name.clone();
            if self.followed.contains(&config.name) {
                self.owed[VRRP].insert(name(), up.unwrap_or(false));
            }
            self.owed[ENGINE].extend(up.map(|up| (name(), up)));
        }
    }

    /// Opens what is missing to receive.
    fn open(&mut self) {
        match self.sockets.open() {
            Ok(()) => {
                self.retry_at = None;
                self.over("receive");
            }
            Err(error) => {
                self.retry_at = Some(now() + RETRY);
                let words = format!("BFD packets cannot be received: {error}; trying again");
                self.trouble("receive", words);
            }
        }
    }

    fn perform(&mut self) {
        while let Some(action) = self.sessions.poll_action() {
            match action {
                Action::Send { name, packet } => match self.sockets.send(&name, &packet) {
                    Ok(()) => self.over(&name),
                    Err(error) => {
                        let words = format!("({name}) a BFD packet cannot be sent: {error}");
                        self.trouble(&name, words);
                    }
                },
                Action::Told(Up { name, up }) => {
                    if self.followed.contains(&name) {
                        self.owed[VRRP].insert(name.clone(), up);
                    }
                    self.owed[ENGINE].insert(name, up);
                    self.pay();
                }
                // A line of the log that finds no room is not worth waiting for.
                Action::Changed(change) => drop(self.heard.try_send(Heard::Changed(change))),
            }
        }
    }

    /// Tells what is owed, as far as there is room.
    fn pay(&mut self) {
        let Desk { speaker, heard, .. } = self;
        self.owed[VRRP].retain(|name, good| {
            let (what, name, good) = (Followed::Bfd, name.clone(), *good);
            speaker.order(Order::Followed { what, name, good }).is_err()
        });
        self.owed[ENGINE].retain(|name, up| {
            let (name, up) = (name.clone(), *up);
            heard.try_send(Heard::Told(Up { name, up })).is_err()
        });
    }

    fn trouble(&mut self, about: &str, words: String) {
        if self.said.insert(about.to_owned()) {
            drop(self.heard.try_send(Heard::Trouble(words)));
        }
    }

    fn over(&mut self, about: &str) {
        if !self.said.is_empty() {
            self.said.remove(about);
        }
    }
}
