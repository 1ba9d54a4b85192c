//! The VRRP router on a thread of its own: adverts are sent, heard and acted on in their time whatever
//! the rest of the daemon is busy with.
//!
//! The thread has real-time priority where that is allowed, its own sockets for adverts and gratuitous
//! ARPs, and its own netlink sockets for links and virtual addresses. It never waits for anything but
//! the next event or timer: what it has to say goes into a bounded queue, and what does not fit is
//! counted.

mod perform;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use super::affinity::Binding;
use super::arp::ArpSocket;
use super::claims::Claims;
use super::clock::now;
use super::ndisc::NdiscSocket;
use super::netlink::{Change, Changes, Control, LinkTable};
use super::priority;
use super::state::{Held, HeldFile, Record, StateFile};
use super::vrrp::VrrpSockets;
use crate::model::{Global, Model};
use crate::time::Time;
use crate::vrrp::{
    Command, Event, Forwarding, Limit, LinkState, Order, Policy, Report, Resume, Router,
    RouterStatus,
};

/// Reports that may wait for the engine: minutes of the worst flapping.
const REPORTS: usize = 16_384;
/// Orders that may wait for the thread.
const ORDERS: usize = 1024;
/// Packets taken from one socket before timers get a turn.
const DRAIN: usize = 256;
/// How often links and addresses are read again, whatever events say.
const RESYNC: Duration = Duration::from_secs(30);
/// How often it is looked who else claims an address, at most, and only when the thread is awake anyway.
const CLAIMS: Duration = Duration::from_secs(1);
/// How often it is said that adverts are late, at most.
const LATE_GAP: Duration = Duration::from_secs(10);
/// How long an answer of the thread may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What the thread starts from.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub model: Arc<Model>,
    /// As in [`crate::vrrp::Event::Ready`].
    pub ready: Forwarding,
    /// The state file, and what the predecessor left in it.
    pub state: (StateFile, BTreeMap<String, Record>),
    /// The addresses that the daemon put on interfaces.
    pub held: HeldFile,
}

/// What comes from the thread.
#[derive(Debug)]
pub enum Heard {
    /// What the router told, and when.
    Report(Report, Time),
    /// Something went wrong that an operator should know; said once.
    Trouble(String),
}

/// The thread is gone, or does not answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the thread of VRRP is gone")]
pub struct Gone;

#[derive(Debug)]
enum Message {
    Order(Order),
    Command {
        name: String,
        command: Command,
        answer: std_mpsc::SyncSender<Result<Vec<String>, String>>,
    },
    Status(std_mpsc::SyncSender<RouterStatus>),
}

/// The way to the thread. It ends with the process, or after [`Order::Shutdown`].
#[derive(Clone, Debug)]
pub struct Speaker {
    messages: std_mpsc::SyncSender<Message>,
    wake: Arc<EventFd>,
}

/// What the thread listens to; orders may be given before it starts.
#[derive(Debug)]
pub struct Seat {
    inbox: std_mpsc::Receiver<Message>,
    wake: Arc<EventFd>,
    reports: mpsc::Sender<Heard>,
}

impl Seat {
    /// Starts the thread in the current network namespace.
    ///
    /// # Errors
    /// When its sockets cannot be made.
    pub fn spawn(self, start: Start) -> anyhow::Result<()> {
        let model = Arc::clone(&start.model);
        let desk = Desk::open(start, self.reports)?;
        std::thread::Builder::new()
            .name("vrrp".to_owned())
            .spawn(move || desk.run(&model.global, &self.inbox, &self.wake))?;
        Ok(())
    }
}

impl Speaker {
    /// The way to the thread, its place, and what it will tell.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn new() -> io::Result<(Speaker, Seat, mpsc::Receiver<Heard>)> {
        let (reports, heard) = mpsc::channel(REPORTS);
        let (messages, inbox) = std_mpsc::sync_channel(ORDERS);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let seat = Seat {
            inbox,
            wake: Arc::clone(&wake),
            reports,
        };
        Ok((Speaker { messages, wake }, seat, heard))
    }

    /// Gives an order.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn order(&self, order: Order) -> Result<(), Gone> {
        self.send(Message::Order(order))
    }

    /// A snapshot of the router.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn status(&self) -> Result<RouterStatus, Gone> {
        let (answer, answered) = std_mpsc::sync_channel(1);
        self.send(Message::Status(answer))?;
        answered.recv_timeout(ANSWER).map_err(|_| Gone)
    }

    /// Carries out a command by hand, as [`Router::command`].
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn command(
        &self,
        name: &str,
        command: Command,
    ) -> Result<Result<Vec<String>, String>, Gone> {
        let (answer, answered) = std_mpsc::sync_channel(1);
        let name = name.to_owned();
        self.send(Message::Command {
            name,
            command,
            answer,
        })?;
        answered.recv_timeout(ANSWER).map_err(|_| Gone)
    }

    fn send(&self, message: Message) -> Result<(), Gone> {
        self.messages.try_send(message).map_err(|_| Gone)?;
        // At its limit it is readable all the same.
        self.wake.write(1).map(drop).or_else(|error| match error {
            nix::Error::EAGAIN => Ok(()),
            _ => Err(Gone),
        })
    }
}

/// Everything that the thread owns.
struct Desk {
    router: Router,
    sockets: VrrpSockets,
    arp: ArpSocket,
    ndisc: NdiscSocket,
    claims: Claims,
    control: Control,
    changes: Changes,
    links: LinkTable,
    state: StateFile,
    held: HeldFile,
    /// Addresses that are gone and still noted as held.
    gone: BTreeSet<Held>,
    /// Instances whose last advert was not taken by the kernel.
    mute: BTreeSet<Arc<str>>,
    /// Errors that were said and are not repeated.
    said: BTreeSet<String>,
    reports: mpsc::Sender<Heard>,
    /// Reports that found no room.
    lost: u64,
    /// What was asked for, once it was.
    priority: Option<Option<u8>>,
    cpus: Binding,
    /// How often adverts were late, and how much at the worst.
    late: Limit,
    latest: Duration,
    stopped: bool,
}

impl Desk {
    fn open(start: Start, reports: mpsc::Sender<Heard>) -> anyhow::Result<Self> {
        let (mut state, left) = start.state;
        let resume: BTreeMap<String, Resume> = left
            .iter()
            .map(|(name, record)| {
                let resume = Resume {
                    was_master: record.master,
                    last_advert_sent: record.last_advert,
                    sequence: record.sequence,
                };
                (name.clone(), resume)
            })
            .collect();
        for (name, record) in left {
            state.note(&name, record)?;
        }
        let model = &start.model;
        // Before the first dump.
        let changes = Changes::of_addresses()?;
        Ok(Desk {
            router: Router::new(model, Policy::default(), start.ready, &resume, now()),
            sockets: VrrpSockets::new()?,
            arp: ArpSocket::open()?,
            ndisc: NdiscSocket::open()?,
            claims: Claims::default(),
            control: Control::open()?,
            changes,
            links: LinkTable::default(),
            state,
            held: start.held,
            gone: BTreeSet::new(),
            mute: BTreeSet::new(),
            said: BTreeSet::new(),
            reports,
            lost: 0,
            priority: None,
            cpus: Binding::of(Pid::from_raw(0), "VRRP"),
            late: Limit::default(),
            latest: Duration::ZERO,
            stopped: false,
        })
    }

    /// As much of the CPUs that are configured as is allowed.
    fn claim_cpus(&mut self, global: &Global) {
        let wanted = global.vrrp_rt_priority;
        if self.priority.replace(wanted) != Some(wanted)
            && let Err(words) = priority::take(wanted, "VRRP", "its adverts")
        {
            self.trouble(words);
        }
        if let Err(words) = self.cpus.keep(&global.vrrp_cpu_affinity) {
            self.trouble(words);
        }
    }

    fn run(mut self, global: &Global, inbox: &std_mpsc::Receiver<Message>, rung: &EventFd) {
        self.claim_cpus(global);
        if let Err(error) = self.serve(inbox, rung) {
            self.trouble(format!("{error:#}"));
        }
        // The engine sees the end of the queue.
    }

    fn serve(&mut self, inbox: &std_mpsc::Receiver<Message>, rung: &EventFd) -> anyhow::Result<()> {
        self.resync();
        let mut resync_at = now() + RESYNC;
        let mut claims_at = now();
        let mut behind = false;
        // What is read arrived after everything had been read, whatever its stamp says.
        let mut floor = now();
        while !self.stopped {
            let next = self.router.next_deadline();
            let wake = next.map_or(resync_at, |next| next.min(resync_at));
            let limit = if behind {
                Duration::ZERO
            } else {
                wake.since(now())
            };
            let [messages, network] = self.wait(limit, rung)?;
            if network {
                self.hear_network()?;
            }
            if messages {
                // Quiet again before the queue is read: what comes later rings again.
                let _ = rung.read();
                while let Ok(message) = inbox.try_recv() {
                    self.read(message)?;
                }
            }
            if resync_at <= now() {
                self.resync();
                resync_at = now() + RESYNC;
            }
            let router = &mut self.router;
            let heard = self.sockets.drain(DRAIN, |r| {
                let advert = Event::Advert {
                    iface: r.iface,
                    packet: r.packet,
                    src_mac: r.src_mac,
                };
                router.handle(advert, r.at.max(floor));
            });
            behind = heard.until.is_some();
            let at = now();
            self.watch_lateness(next, at);
            // Not until now: this thread may have been put aside since it looked.
            let until = heard.until.map_or(heard.called, |until| until.max(floor));
            if !behind {
                floor = heard.called;
            }
            self.router.tick_heard(at, until);
            self.perform();
            if claims_at <= at {
                self.hear_claims();
                claims_at = at + CLAIMS;
            }
            self.tell_lost();
        }
        Ok(())
    }

    /// Waits for messages, changes of the network (which of them there are is returned), adverts, or
    /// until `limit` is over.
    fn wait(&self, limit: Duration, rung: &EventFd) -> io::Result<[bool; 2]> {
        let wanted = PollFlags::POLLIN;
        let mut fds = [
            PollFd::new(rung.as_fd(), wanted),
            PollFd::new(self.changes.as_fd(), wanted),
            PollFd::new(self.sockets.as_fd(), wanted),
        ];
        let limit = TimeSpec::nanoseconds(i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX));
        match ppoll(&mut fds, Some(limit), None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let there = |fd: &PollFd<'_>| fd.any() == Some(true);
        Ok([there(&fds[0]), there(&fds[1])])
    }

    fn read(&mut self, message: Message) -> anyhow::Result<()> {
        match message {
            Message::Order(order) => {
                let configured = match &order {
                    Order::Configure(model) => Some(Arc::clone(model)),
                    Order::Ready(_)
                    | Order::ScriptEnded { .. }
                    | Order::FileRead { .. }
                    | Order::Followed { .. }
                    | Order::Shutdown => None,
                };
                self.router.obey(&order, now());
                if let Some(model) = configured {
                    self.claim_cpus(&model.global);
                    // There may be interfaces that were of no interest. What is removed here is heard of
                    // first: after everything was read anew it would be another's doing.
                    self.perform();
                    self.hear_network()?;
                    self.resync();
                }
            }
            Message::Command {
                name,
                command,
                answer,
            } => drop(answer.try_send(self.router.command(&name, command, now()))),
            // Who asked may have given up.
            Message::Status(answer) => drop(answer.try_send(RouterStatus {
                instances: self.router.status(),
                unclaimed: *self.router.unclaimed(),
            })),
        }
        self.perform();
        Ok(())
    }

    /// Changes of the network that have been told.
    fn hear_network(&mut self) -> anyhow::Result<()> {
        while let Some(change) = self.changes.try_next()? {
            self.network(&change);
        }
        Ok(())
    }

    /// Whether the router wants to know of a link.
    fn is_wanted(&self, iface: &str) -> bool {
        self.router.interfaces().contains(iface)
    }

    /// A change of the host's network.
    fn network(&mut self, change: &Change) {
        let told = self.links.apply(change);
        // Of one that was renamed the addresses are not told again.
        let renamed = match told.as_slice() {
            [(old, _), _] => Some(self.is_wanted(old)),
            _ => None,
        };
        if renamed == Some(false) {
            // Before the old name goes: a source address stays on this host.
            self.resync();
        }
        for (iface, state) in told {
            let is_gone = state == LinkState::Gone;
            if !is_gone && !self.is_wanted(&iface) {
                continue;
            }
            if !is_gone {
                self.open_sockets();
            }
            let event = Event::Link {
                iface: &iface,
                state,
            };
            self.router.handle(event, now());
            if is_gone {
                // One that was renamed still carries the last words of its instances.
                self.perform();
                self.open_sockets();
                if let Change::Link(renamed) = change {
                    self.strip(&iface, renamed.index);
                }
            }
        }
        if renamed == Some(true) {
            self.resync();
        }
        match change {
            Change::Link(_) | Change::LinkGone { .. } | Change::Neighbour(_) | Change::Routes => {}
            Change::AddressAdded(a) | Change::AddressRemoved(a) => {
                let Some(link) = self.links.get(a.index) else {
                    return;
                };
                let (iface, addr, prefix_len) = (link.name.as_str(), a.addr, a.prefix_len);
                let event = match change {
                    Change::AddressAdded(_) => Event::AddressAdded {
                        iface,
                        addr,
                        prefix_len,
                    },
                    _ => Event::AddressRemoved {
                        iface,
                        addr,
                        prefix_len,
                    },
                };
                self.router.handle(event, now());
            }
            Change::Overrun => {
                self.trouble("netlink messages were lost, reading everything again".to_owned());
                self.resync();
            }
        }
        self.perform();
    }

    /// Reads links and addresses anew and tells the router.
    fn resync(&mut self) {
        match self.control.links() {
            Ok(links) => self.links = LinkTable::new(links),
            Err(error) => self.trouble(error.to_string()),
        }
        self.open_sockets();
        let addresses = match self.control.addresses() {
            Ok(addresses) => addresses,
            Err(error) => return self.trouble(error.to_string()),
        };
        let mut of: BTreeMap<u32, Vec<(IpAddr, u8)>> = BTreeMap::new();
        for a in addresses {
            of.entry(a.index).or_default().push((a.addr, a.prefix_len));
        }
        let wanted = self.router.interfaces();
        let others = self.links.iter().filter(|l| !wanted.contains(&*l.name));
        for link in others {
            let snapshot = Event::AddressSnapshot {
                iface: &link.name,
                addresses: of.get(&link.index).map_or(&[], Vec::as_slice),
            };
            self.router.handle(snapshot, now());
        }
        for name in wanted {
            let link = self.links.by_name(&name);
            let own = link.and_then(|l| of.get(&l.index));
            let snapshot = Event::AddressSnapshot {
                iface: &name,
                addresses: own.map_or(&[], Vec::as_slice),
            };
            self.router.handle(snapshot, now());
            let link = Event::Link {
                iface: &name,
                state: self.links.state(&name),
            };
            self.router.handle(link, now());
        }
        self.perform();
    }

    /// Opens the VRRP sockets of every interface that is there, closes those not needed any more.
    fn open_sockets(&mut self) {
        let wanted = self.router.advert_interfaces();
        let open: Vec<Arc<str>> = self
            .sockets
            .open_interfaces()
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in open.iter().filter(|n| !wanted.contains_key(*n)) {
            self.sockets.close(name);
        }
        for (name, listen) in &wanted {
            let Some(index) = self.links.by_name(name).map(|l| l.index) else {
                self.sockets.close(name);
                continue;
            };
            if let Err(error) = self.sockets.open(name, index, listen) {
                self.trouble(error.to_string());
            }
        }
    }

    /// Says that the thread was late for what was due at `next`, so much that adverts are missed.
    fn watch_lateness(&mut self, next: Option<Time>, at: Time) {
        let Some((late, shortest)) = next
            .map(|next| at.since(next))
            .zip(self.router.shortest_interval())
        else {
            return;
        };
        if late < shortest {
            return;
        }
        self.latest = self.latest.max(late);
        if let Some(count) = self.late.pass(LATE_GAP, at) {
            let latest = std::mem::take(&mut self.latest);
            self.tell(Heard::Trouble(format!(
                "adverts were late: {count} time(s) by {shortest:?} or more, {latest:?} at the worst; this host is too busy for its advert_int"
            )));
        }
    }

    fn tell(&mut self, heard: Heard) {
        if self.reports.try_send(heard).is_err() {
            self.lost += 1;
        }
    }

    /// Says something that went wrong, once.
    fn trouble(&mut self, text: String) {
        if self.said.insert(text.clone()) {
            self.tell(Heard::Trouble(text));
        }
    }

    fn tell_lost(&mut self) {
        if self.lost > 0 {
            let text = format!("{} reports of VRRP found no room and were lost", self.lost);
            if self.reports.try_send(Heard::Trouble(text)).is_ok() {
                self.lost = 0;
            }
        }
    }
}
