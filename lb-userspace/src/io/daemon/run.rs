//! Start, the loop, reload, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::sweep::Sweeping;
use super::{load, reload, report, strays};
use crate::config::FileSource as _;
use crate::control::protocol::SOCKET_GROUP;
use crate::control::status::{ConfigStatus, LeftOut};
use crate::engine::{Alarm, Engine, Event, Start};
use crate::io::arp::ArpSocket;
use crate::io::bpf::{self, DataPlane, PinLock};
use crate::io::check::{Finished, Prober};
use crate::io::clock::now;
use crate::io::control::{Limits, Server};
use crate::io::files::RealFiles;
use crate::io::neigh::Resolver;
use crate::io::netlink::{Change, Control, LinkTable, Watch};
use crate::io::notify::Notifier;
use crate::io::options::Options;
use crate::io::script::{Ended, Runner, Scripts};
use crate::io::state::{HeldFile, Record, StateFile, by_hand};
use crate::io::vrrp::VrrpSockets;
use crate::model::Model;
use crate::plan::{Dump, Refs};
use crate::time::Time;
use crate::vrrp::{self, Resume};

/// Packets taken from one VRRP socket before the engine gets a turn.
const DRAIN: usize = 256;
/// Calls from the control socket that may wait.
const CALLS: usize = 64;
/// How often attachments and what the kernel holds are looked at, whatever events say.
pub(super) const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Outcomes of tracked scripts that may wait for the engine.
const SCRIPTS: usize = 64;

/// The least time between two tellings of how real servers are reached.
const TELL_GAP: Duration = Duration::from_millis(20);

/// Why the daemon ends other than as asked.
#[derive(Debug)]
pub(super) enum Exit {
    /// The configuration is refused; everything was said.
    Refused,
    /// It cannot run here.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Exit {
    fn from(error: anyhow::Error) -> Self {
        Exit::Failed(error)
    }
}

/// A run of a tracked script, and what came of it.
pub(super) type Ran = (u64, Option<(Ended, Duration)>);

/// Everything that the loop owns.
pub(super) struct Daemon<'o> {
    pub(super) options: &'o Options,
    pub(super) engine: Engine,
    pub(super) plane: Option<DataPlane>,
    /// Taken with the plane: the pins are this daemon's alone.
    pub(super) pins: Option<PinLock>,
    /// Taken with the plane too.
    pub(super) sweeping: Option<Sweeping>,
    pub(super) alarm: Alarm,
    pub(super) control: Control,
    pub(super) links: LinkTable,
    pub(super) host: BTreeSet<(u32, IpAddr, u8)>,
    pub(super) resolver: Resolver,
    /// The resolver knows something that the engine was not told.
    pub(super) untold: bool,
    /// When the engine was last told of neighbours.
    pub(super) told: Option<Time>,
    pub(super) sockets: VrrpSockets,
    pub(super) arp: ArpSocket,
    pub(super) prober: Prober,
    pub(super) notifier: Notifier,
    pub(super) scripts: Scripts,
    /// Takes what came of tracked scripts.
    pub(super) ended: mpsc::Sender<Ran>,
    pub(super) state: StateFile,
    /// The addresses that this daemon put on interfaces.
    pub(super) held: HeldFile,
    /// Takes what the flows refer to from the task that has looked.
    pub(super) refs: mpsc::Sender<Refs>,
    /// Errors that were said and are not repeated while they last.
    pub(super) said: BTreeSet<String>,
    /// Interfaces on which the program ran when they were last looked at.
    pub(super) running: BTreeSet<String>,
    /// Instances whose last advert was not taken by the kernel.
    pub(super) mute: BTreeSet<Arc<str>>,
    pub(super) config: ConfigStatus,
    pub(super) started: Time,
    pub(super) stopped: bool,
}

/// Runs until it is asked to stop.
pub(super) fn run(options: &Options) -> Result<(), Exit> {
    let read = load::read(options);
    say_diagnostics(&read);
    let Some(model) = read.model.clone() else {
        return Err(Exit::Refused);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    runtime.block_on(serve(options, model, &read))?;
    // What still reads the flow table must not hold up the exit.
    runtime.shutdown_background();
    Ok(())
}

pub(super) fn say_diagnostics(read: &load::Read) {
    for line in read.text.lines() {
        eprintln!("{line}");
    }
    for what in &read.left_out {
        tracing::warn!("left out: {what}");
    }
    if read.model.is_none() {
        tracing::error!("the configuration is refused: {} error(s)", read.errors);
    }
}

async fn serve(options: &Options, model: Arc<Model>, read: &load::Read) -> anyhow::Result<()> {
    let (refs, mut found_refs) = mpsc::channel(1);
    let (ended, mut ran) = mpsc::channel(SCRIPTS);
    // Ends last: it runs the scripts of the end.
    let runner = Runner::spawn()?;
    let (prober, mut verdicts) = Prober::spawn(runner.scripts())?;
    let (server, mut calls) =
        Server::spawn(&options.control, SOCKET_GROUP, CALLS, Limits::default())?;
    let mut watch = Watch::open()?;
    let mut daemon = Daemon::start(
        options,
        model,
        read,
        refs,
        prober,
        (runner.scripts(), ended),
    )?;
    let mut hup = signal(SignalKind::hangup())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut house = interval(HOUSEKEEPING);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turns: u64 = 0;
    // The tables are true before the program runs, and it runs before an address may come.
    daemon.turn();
    daemon.check_attached();
    daemon.resync();
    daemon.turn();
    tracing::info!(
        "lbd {} runs, {}",
        env!("CARGO_PKG_VERSION"),
        options.config.display()
    );

    while !daemon.stopped {
        let wake = wake(daemon.next_deadline());
        tokio::select! {
            ready = daemon.sockets.ready() => ready?,
            change = watch.next() => daemon.network(&change?),
            done = verdicts.recv() => match done {
                Some(done) => daemon.verdict(done),
                // Without checks dead servers would be used for ever; a restart mends it.
                None => anyhow::bail!("the thread of the health checks is gone"),
            },
            Some(refs) = found_refs.recv() => daemon.engine.handle(Event::Refs(refs), now()),
            Some(call) = calls.recv() => daemon.call(call),
            Some(done) = ran.recv() => daemon.script_ended(done),
            _ = hup.recv() => {
                let report = daemon.reload(false);
                tracing::info!("reload: {}", reload::outcome_word(report.outcome));
            }
            _ = term.recv() => daemon.shut_down("SIGTERM"),
            _ = int.recv() => daemon.shut_down("SIGINT"),
            _ = house.tick() => {
                turns += 1;
                daemon.housekeeping(turns);
            }
            () = sleep_until(wake) => {}
        }
        // Whatever else has arrived comes before the timers.
        while let Some(change) = watch.try_next()? {
            daemon.network(&change);
        }
        while let Ok(done) = verdicts.try_recv() {
            daemon.verdict(done);
        }
        daemon.follow_servers();
        daemon.drain();
        daemon.turn();
    }
    drop(server);
    let readers = daemon.notifier.close();
    drop(runner);
    drop(readers);
    if daemon.plane.is_some() {
        tracing::info!("stopped; the program stays attached (lbd --unload takes it off)");
    } else {
        tracing::info!("stopped");
    }
    Ok(())
}

/// When to wake up for the engine's deadline; far away when it has none.
fn wake(deadline: Option<Time>) -> Instant {
    let after = deadline.map_or(Duration::from_secs(3600), |t| t.since(now()));
    Instant::now() + after
}

impl<'o> Daemon<'o> {
    fn start(
        options: &'o Options,
        model: Arc<Model>,
        read: &load::Read,
        refs: mpsc::Sender<Refs>,
        prober: Prober,
        (scripts, ended): (Scripts, mpsc::Sender<Ran>),
    ) -> anyhow::Result<Self> {
        let (state, left) = StateFile::open(&options.state_dir)?;
        let mut control = Control::open()?;
        let mut plane = None;
        let mut pins = None;
        let mut sweeping = None;
        let mut dump = Dump {
            hz: 250,
            ..Dump::default()
        };
        if !model.services.is_empty() || options.pin.exists() {
            let (lock, opened) = open_plane(options)?;
            dump = opened.dump()?;
            pins = Some(lock);
            sweeping = Some(Sweeping::start(opened.sweeper())?);
            plane = Some(opened);
        }
        let resume: BTreeMap<String, Resume> = left
            .iter()
            .map(|(name, r)| {
                let (was_master, last_advert_sent) = (r.master, r.last_advert);
                (
                    name.clone(),
                    Resume {
                        was_master,
                        last_advert_sent,
                    },
                )
            })
            .collect();
        let links = LinkTable::new(control.links()?);
        // Before their services go: an address without its service answers with RST.
        let mut held = HeldFile::open(&options.state_dir);
        strays::take_away(&mut held, &model, &links, &mut control);
        // Attached before any interface is told, so before it matters.
        let attached = true;
        let addresses = control.addresses()?;
        let by_hand = by_hand::read(&options.state_dir);
        let mut notifier = Notifier::new(scripts.clone());
        notifier.configure(&model);
        let start = Start {
            model,
            dump: &dump,
            resume: &resume,
            by_hand: &by_hand,
            own: addresses.iter().map(|a| a.addr).collect(),
            attached,
        };
        let begun = now();
        let engine = Engine::new(start, begun, &mut || RealFiles.random());
        let mut daemon = Daemon {
            options,
            engine,
            plane,
            pins,
            sweeping,
            alarm: Alarm::default(),
            control,
            links,
            host: BTreeSet::new(),
            resolver: Resolver::default(),
            untold: false,
            told: None,
            sockets: VrrpSockets::new()?,
            arp: ArpSocket::open()?,
            prober,
            notifier,
            scripts,
            ended,
            state,
            held,
            refs,
            said: BTreeSet::new(),
            running: BTreeSet::new(),
            mute: BTreeSet::new(),
            config: ConfigStatus::default(),
            started: begun,
            stopped: false,
        };
        for (name, record) in left {
            daemon.note(&name, record);
        }
        daemon.in_force(read);
        Ok(daemon)
    }

    /// Notes which configuration is in force.
    pub(super) fn in_force(&mut self, read: &load::Read) {
        self.config = ConfigStatus {
            path: self.options.config.display().to_string(),
            loaded_unix: report::unix_now(),
            warnings: read.warnings,
            reloads: self.config.reloads,
            refused: None,
            left_out: read
                .left_out
                .iter()
                .map(|what| LeftOut {
                    what: what.clone(),
                    place: String::new(),
                    why: "not built yet (--skip-unsupported)".to_owned(),
                })
                .collect(),
        };
    }

    /// The timers, then everything that is to be done.
    pub(super) fn turn(&mut self) {
        // An action may cause an event that makes more actions; a deadline that has passed
        // meanwhile waits for the next turn, after what has arrived.
        self.engine.tick(now(), self.prober.room());
        while let Some(action) = self.engine.poll_action() {
            self.perform(action);
        }
    }

    /// Gives the engine every advert that has arrived.
    pub(super) fn drain(&mut self) {
        let engine = &mut self.engine;
        self.sockets.drain(DRAIN, |iface, packet, src_mac| {
            engine.handle(
                Event::Vrrp(vrrp::Event::Advert {
                    iface,
                    packet,
                    src_mac,
                }),
                now(),
            );
        });
    }

    fn verdict(&mut self, done: Finished) {
        let Finished { id, verdict, took } = done;
        self.engine
            .handle(Event::Verdict { id, verdict, took }, now());
    }

    fn script_ended(&mut self, (run, outcome): Ran) {
        let (good, words) = match outcome {
            Some((ended, _)) => (Some(ended == Ended::Exited(0)), ended.to_string()),
            None => (None, String::new()),
        };
        let words = words.as_str();
        let event = vrrp::Event::ScriptEnded { run, good, words };
        self.engine.handle(Event::Vrrp(event), now());
    }

    fn shut_down(&mut self, signal: &str) {
        tracing::info!("{signal}: handing over");
        self.engine.handle(Event::Shutdown, now());
    }

    /// A change of the host's network.
    fn network(&mut self, change: &Change) {
        let told = self.links.apply(change);
        if !told.is_empty() {
            self.tell_links();
        }
        let interfaces = self.engine.router().interfaces();
        for (name, state) in told {
            if interfaces.contains(name.as_str()) {
                self.open_sockets();
                let event = vrrp::Event::Link {
                    iface: &name,
                    state,
                };
                self.engine.handle(Event::Vrrp(event), now());
            }
            self.check_attached();
            self.resolver.refresh();
            self.untold = true;
        }
        match change {
            Change::Link(_) | Change::LinkGone { .. } => {}
            Change::AddressAdded(a) | Change::AddressRemoved(a) => {
                let added = matches!(change, Change::AddressAdded(_));
                let entry = (a.index, a.addr, a.prefix_len);
                if added {
                    self.host.insert(entry);
                } else {
                    self.host.remove(&entry);
                }
                if let Some(name) = self.links.get(a.index).map(|l| l.name.clone()) {
                    let (iface, addr, prefix_len) = (name.as_str(), a.addr, a.prefix_len);
                    let event = if added {
                        vrrp::Event::AddressAdded {
                            iface,
                            addr,
                            prefix_len,
                        }
                    } else {
                        vrrp::Event::AddressRemoved {
                            iface,
                            addr,
                            prefix_len,
                        }
                    };
                    self.engine.handle(Event::Vrrp(event), now());
                }
                self.tell_host();
            }
            Change::Neighbour(entry) => {
                self.untold |= self.resolver.learn(entry);
            }
            Change::Routes => self.resolver.refresh(),
            Change::Overrun => {
                tracing::warn!("netlink messages were lost, reading everything again");
                self.resync();
            }
        }
    }

    /// Reads links, addresses, routes and neighbours anew and tells the engine.
    pub(super) fn resync(&mut self) {
        match self.control.links() {
            Ok(links) => self.links = LinkTable::new(links),
            Err(error) => tracing::error!("{error}"),
        }
        self.tell_links();
        self.open_sockets();
        let addresses = match self.control.addresses() {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::error!("{error}");
                return;
            }
        };
        self.host = addresses
            .iter()
            .map(|a| (a.index, a.addr, a.prefix_len))
            .collect();
        for name in self.engine.router().interfaces() {
            let own = self.links.addresses_of(&name, &addresses);
            let snapshot = vrrp::Event::AddressSnapshot {
                iface: &name,
                addresses: &own,
            };
            self.engine.handle(Event::Vrrp(snapshot), now());
            let link = vrrp::Event::Link {
                iface: &name,
                state: self.links.state(&name),
            };
            self.engine.handle(Event::Vrrp(link), now());
        }
        self.tell_host();
        self.resolver.refresh();
        self.untold = true;
    }

    fn tell_links(&mut self) {
        let up = self.links.iter().filter(|l| l.state == vrrp::LinkState::Up);
        let up = up.map(|l| l.index).collect();
        self.engine.handle(Event::LinksUp(up), now());
    }

    fn tell_host(&mut self) {
        let own = self.host.iter().map(|(_, addr, _)| *addr).collect();
        self.engine.handle(Event::HostAddresses(own), now());
    }

    /// Looks up a few real servers and tells the engine what is known. Each telling makes a plan of
    /// everything, so while many servers are found at once they are told together.
    fn follow_servers(&mut self) {
        let at = now();
        self.untold |= self.resolver.step(&mut self.control, at);
        if self.untold && self.told.is_none_or(|told| told + TELL_GAP <= at) {
            self.untold = false;
            self.told = Some(at);
            let links = self.resolver.links(&self.links, self.joined_above());
            self.engine.handle(Event::Neighbours(links), at);
        }
    }

    /// When the loop is wanted next.
    fn next_deadline(&self) -> Option<Time> {
        let at = now();
        let telling = self.untold.then(|| self.told.map_or(at, |t| t + TELL_GAP));
        [self.engine.next_deadline(), self.resolver.due(at), telling]
            .into_iter()
            .flatten()
            .min()
    }

    /// Opens the VRRP sockets of every interface that is there, closes those not needed any more.
    fn open_sockets(&mut self) {
        let wanted = self.engine.router().advert_interfaces();
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
                continue;
            };
            if let Err(error) = self.sockets.open(name, index, listen) {
                tracing::error!("{error}");
            }
        }
    }

    /// Writes a record for the daemon after this one.
    pub(super) fn note(&mut self, name: &str, record: Record) {
        if let Err(error) = self.state.note(name, record) {
            let text = error.to_string();
            if self.said.insert(text.clone()) {
                tracing::warn!("{text}");
            }
        }
    }
}

pub(super) fn open_plane(options: &Options) -> Result<(PinLock, DataPlane), bpf::BpfError> {
    let lock = PinLock::take(&options.pin)?;
    let config = bpf::Config {
        pin: options.pin.clone(),
        flow_buckets: bpf::buckets_for(options.flows),
        ..bpf::Config::default()
    };
    let plane = DataPlane::open(&config)?;
    if plane.adopted() {
        tracing::info!("adopted the tables in {}", options.pin.display());
        let places = plane.flow_slots();
        if places != u64::from(config.flow_buckets) * lb_common::maps::FLOW_WAYS as u64 {
            tracing::warn!(
                "the flow table that is there has {places} places and keeps them: --flows {} holds \
                 after lbd --unload, which ends all connections",
                options.flows
            );
        }
    }
    Ok((lock, plane))
}
