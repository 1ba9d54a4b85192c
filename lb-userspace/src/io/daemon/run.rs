//! Start, the loop, reload, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::errands::{self, Signals};
use super::program::{self, Loading};
use super::routing::Routes;
use super::sweep::Sweeping;
use super::vmac::Vmacs;
use super::{load, report, strays};
use crate::config::FileSource as _;
use crate::control::protocol::SOCKET_GROUP;
use crate::control::status::{ConfigStatus, LeftOut};
use crate::engine::{Alarm, Engine, Event, Start};
use crate::io::appointment::Appointment;
use crate::io::bfd::BfdThread;
use crate::io::bpf::{self, DataPlane, PinLock};
use crate::io::check::{Finished, Prober};
use crate::io::clock::now;
use crate::io::control::{Limits, Server};
use crate::io::files::RealFiles;
use crate::io::log::Log;
use crate::io::mail::Mailer;
use crate::io::neigh::Resolver;
use crate::io::netlink::{Change, Control, LinkTable, Watch};
use crate::io::notify::Notifier;
use crate::io::options::Options;
use crate::io::privileges;
use crate::io::processes::Processes;
use crate::io::script::{Ended, Runner, Scripts};
use crate::io::service::{Environment, ServiceManager};
use crate::io::speaker::{self, Heard, Speaker};
use crate::io::state::{Changed, HeldFile, Record, Running, StateFile, by_hand};
use crate::io::trackfile::Files;
use crate::model::Model;
use crate::plan::{Dump, Refs};
use crate::time::Time;
use crate::vrrp::{Forwarding, LinkState, Order};

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

/// The state file, and what a predecessor left in it.
type Left = (StateFile, BTreeMap<String, Record>);

/// A run of a tracked script, and what came of it.
pub(super) type Ran = (u64, Option<(Ended, Duration)>);

/// Everything that the loop owns.
pub(super) struct Daemon<'o> {
    pub(super) options: &'o Options,
    pub(super) log: &'o Log,
    /// Who started this process.
    pub(super) manager: ServiceManager,
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
    pub(super) speaker: Speaker,
    pub(super) prober: Prober,
    pub(super) notifier: Notifier,
    pub(super) mailer: Mailer,
    pub(super) files: Files,
    pub(super) processes: Processes,
    pub(super) appointment: Appointment,
    pub(super) bfd: BfdThread,
    pub(super) scripts: Scripts,
    /// Takes what came of tracked scripts.
    pub(super) ended: mpsc::Sender<Ran>,
    /// Takes what the flows refer to from the task that has looked.
    pub(super) refs: mpsc::Sender<Refs>,
    /// Errors that were said and are not repeated while they last.
    pub(super) said: BTreeSet<String>,
    /// Interfaces on which the program ran when they were last looked at.
    pub(super) running: BTreeSet<String>,
    pub(super) vmacs: Vmacs,
    pub(super) routes: Routes,
    /// What is set in the kernel while the daemon runs, or was by a killed predecessor.
    pub(super) changed: Changed,
    pub(super) config: ConfigStatus,
    /// What is not understood of the configuration that is in force.
    pub(super) doubts: Vec<String>,
    pub(super) started: Time,
    /// The data plane is still to come.
    pub(super) loading: bool,
    /// Why it ends, when nobody asked it to.
    pub(super) failed: Option<anyhow::Error>,
    pub(super) stopped: bool,
}

/// Runs until it is asked to stop.
pub(super) fn run(options: &Options, log: &Log) -> Result<(), Exit> {
    let read = load::read(options);
    say_diagnostics(&read, log);
    let Some(model) = read.model.clone() else {
        return Err(Exit::Refused);
    };
    if model.needs_program() {
        // It takes more than is kept. Where it fails, so does opening the data plane, and says why.
        let _ = bpf::mount_bpffs(&options.pin);
    }
    privileges::drop_rights(&model).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    runtime.block_on(serve(options, log, model, &read))?;
    // What still reads the flow table must not hold up the exit.
    runtime.shutdown_background();
    Ok(())
}

pub(super) fn say_diagnostics(read: &load::Read, log: &Log) {
    for line in read.text.lines() {
        if log.is_stderr() {
            eprintln!("{line}");
        } else {
            tracing::warn!("{line}");
        }
    }
    for what in &read.left_out {
        tracing::warn!("left out: {what}");
    }
    if read.model.is_none() {
        tracing::error!("the configuration is refused: {} error(s)", read.errors);
    }
}

async fn serve(
    options: &Options,
    log: &Log,
    model: Arc<Model>,
    read: &load::Read,
) -> anyhow::Result<()> {
    // First of all: two daemons never share it.
    let state = StateFile::open(&options.state_dir)?;
    let mut signals = Signals::new()?;
    let running = Running::of(&options.state_dir);
    let last = match errands::startup(&model, &mut signals, running.is_noted()).await? {
        // One that fails is to be started again, not to be held up.
        true => live(options, log, model, read, (state, signals, &running)).await?,
        false => model,
    };
    errands::shutdown(&last).await?;
    Ok(())
}

/// Everything between the two scripts; gives the configuration that was in force at last.
async fn live(
    options: &Options,
    log: &Log,
    model: Arc<Model>,
    read: &load::Read,
    (state, mut signals, running): (Left, Signals, &Running),
) -> anyhow::Result<Arc<Model>> {
    let (refs, mut found_refs) = mpsc::channel(1);
    let (ended, mut ran) = mpsc::channel(SCRIPTS);
    // Ends last: it runs the scripts of the end.
    let runner = Runner::spawn()?;
    let (files, mut read_files) = Files::new();
    let (processes, mut seen) = Processes::new();
    let (prober, mut verdicts) = Prober::spawn(runner.scripts())?;
    let (server, mut calls) =
        Server::spawn(&options.control, SOCKET_GROUP, CALLS, Limits::default())?;
    let mut watch = Watch::open()?;
    let mut held = HeldFile::open(&options.state_dir);
    let (speaker, seat, mut heard) = Speaker::new()?;
    let (bfd, mut sessions) = BfdThread::new(speaker.clone());
    let (mut daemon, mut loading) = Daemon::start(
        (options, log),
        Arc::clone(&model),
        read,
        (refs, prober, speaker),
        (runner.scripts(), ended),
        (&mut held, files, processes, bfd),
    )?;
    if let Err(error) = running.note(true) {
        tracing::warn!("{error}");
    }
    // The tables are true before the program runs, and it runs before an address may come.
    daemon.turn();
    daemon.check_attached();
    daemon.resync();
    daemon.turn();
    seat.spawn(speaker::Start {
        model,
        ready: daemon.engine.forwarding(),
        state,
        held,
    })?;
    let mut house = interval(HOUSEKEEPING);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turns: u64 = 0;
    if !daemon.loading {
        daemon.say_ready();
    }
    while !daemon.stopped {
        let wake = wake(daemon.next_deadline());
        tokio::select! {
            told = heard.recv() => match told {
                Some(told) => daemon.hear(told),
                // Nobody would take the addresses over, or give them away; a restart mends it.
                None => anyhow::bail!("the thread of VRRP is gone"),
            },
            change = watch.next() => daemon.network(&change?),
            done = verdicts.recv() => match done {
                Some(done) => daemon.verdict(done),
                // Without checks dead servers would be used for ever; a restart mends it.
                None => anyhow::bail!("the thread of the health checks is gone"),
            },
            loaded = program::loaded(&mut loading) => daemon.plane_loaded(loaded),
            Some(refs) = found_refs.recv() => daemon.engine.handle(Event::Refs(refs), now()),
            Some(call) = calls.recv() => daemon.call(call),
            Some(done) = ran.recv() => daemon.script_ended(done),
            Some((name, good)) = seen.recv() => {
                daemon.engine.handle(Event::Processes { name, good }, now());
            }
            news = sessions.recv() => match news {
                Some(news) => daemon.hear_session(news),
                // Whoever follows a session would believe it for ever; a restart mends it.
                None => anyhow::bail!("the thread of BFD is gone"),
            },
            Some((name, value)) = read_files.recv() => {
                daemon.engine.handle(Event::FileRead { name, value }, now());
            }
            _ = signals.hup.recv() => daemon.reload_as_told(),
            _ = signals.term.recv() => daemon.shut_down("SIGTERM"),
            _ = signals.int.recv() => daemon.shut_down("SIGINT"),
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
        while let Ok(told) = heard.try_recv() {
            daemon.hear(told);
        }
        while let Ok(news) = sessions.try_recv() {
            daemon.hear_session(news);
        }
        daemon.keep_appointment();
        daemon.follow_servers();
        daemon.turn();
        daemon.manager.turned(now());
    }
    daemon.remove_routes();
    daemon.set_back();
    daemon.remove_all_vmacs();
    if let Err(error) = running.note(false) {
        tracing::warn!("{error}");
    }
    drop(server);
    let readers = daemon.notifier.close();
    drop(runner);
    drop(readers);
    if let Some(error) = daemon.failed {
        return Err(error);
    }
    if daemon.plane.is_some() {
        tracing::info!("stopped; the program stays attached (lbd --unload takes it off)");
    } else {
        tracing::info!("stopped");
    }
    Ok(Arc::clone(daemon.engine.model()))
}

/// When to wake up for the engine's deadline; far away when it has none.
fn wake(deadline: Option<Time>) -> Instant {
    let after = deadline.map_or(Duration::from_secs(3600), |t| t.since(now()));
    Instant::now() + after
}

impl<'o> Daemon<'o> {
    fn start(
        (options, log): (&'o Options, &'o Log),
        model: Arc<Model>,
        read: &load::Read,
        (refs, prober, speaker): (mpsc::Sender<Refs>, Prober, Speaker),
        (scripts, ended): (Scripts, mpsc::Sender<Ran>),
        (held, mut files, mut processes, bfd): (&mut HeldFile, Files, Processes, BfdThread),
    ) -> anyhow::Result<(Self, Option<Loading>)> {
        let mut control = Control::open()?;
        let mut adopted = None;
        let mut loading = None;
        let mut dump = Dump {
            hz: 250,
            ..Dump::default()
        };
        let needs_program = model.needs_program();
        if needs_program || bpf::has_pins(&options.pin) {
            let lock = PinLock::take(&options.pin)?;
            let config = program::config(options);
            if DataPlane::can_adopt(&config) {
                let plane = program::open((lock, config))?;
                dump = plane.1.dump()?;
                adopted = Some(plane);
            } else {
                loading = Some(program::load((lock, config))?);
            }
        }
        let links = LinkTable::new(control.links()?);
        // Before their services go: an address without its service answers with RST.
        strays::take_away(held, &model, &links, &mut control);
        let addresses = control.addresses()?;
        let by_hand = by_hand::read(&options.state_dir);
        let mut notifier = Notifier::new(scripts.clone());
        notifier.configure(&model);
        files.configure(&model, true);
        processes.configure(&model);
        let mut mailer = Mailer::spawn()?;
        mailer.configure(&model, &RealFiles.hostname());
        let start = Start {
            model,
            dump: &dump,
            by_hand: &by_hand,
            own: addresses.iter().map(|a| a.addr).collect(),
            attached: match loading {
                Some(_) if needs_program => Forwarding::Loading,
                Some(_) | None => false.into(),
            },
        };
        let begun = now();
        let engine = Engine::new(start, begun, &mut || RealFiles.random());
        let mut daemon = Daemon {
            options,
            log,
            manager: ServiceManager::of(&Environment::own()),
            engine,
            plane: None,
            pins: None,
            sweeping: None,
            alarm: Alarm::default(),
            control,
            links,
            host: BTreeSet::new(),
            resolver: Resolver::default(),
            untold: false,
            told: None,
            speaker,
            prober,
            notifier,
            mailer,
            files,
            processes,
            appointment: Appointment::default(),
            bfd,
            scripts,
            ended,
            refs,
            said: BTreeSet::new(),
            running: BTreeSet::new(),
            vmacs: Vmacs::new(),
            routes: Routes::default(),
            changed: Changed::read(&options.state_dir),
            config: ConfigStatus::default(),
            doubts: Vec::new(),
            started: begun,
            loading: loading.is_some(),
            failed: None,
            stopped: false,
        };
        if let Some(plane) = adopted {
            daemon.take(plane)?;
        }
        daemon.configure_bfd();
        daemon.in_force(read);
        Ok((daemon, loading))
    }

    /// Everything is as it is to be.
    pub(super) fn say_ready(&mut self) {
        let (version, file) = (env!("CARGO_PKG_VERSION"), self.options.config.display());
        tracing::info!("lbd {version} runs, {file}");
        self.manager.ready();
    }

    /// Notes which configuration is in force.
    pub(super) fn in_force(&mut self, read: &load::Read) {
        self.doubts.clone_from(&read.doubts);
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

    /// The router told something.
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Report(report, at) => self.engine.handle(Event::Vrrp(report), at),
            Heard::Trouble(text) => tracing::warn!("{text}"),
        }
    }

    /// Asks something of the router. That its thread is gone is noticed where its reports are read.
    pub(super) fn order(&self, order: Order) {
        if let Err(gone) = self.speaker.order(order) {
            tracing::error!("{gone}");
        }
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
        self.order(Order::ScriptEnded { run, good, words });
    }

    fn shut_down(&mut self, signal: &str) {
        tracing::info!("{signal}: handing over");
        self.manager.stopping();
        self.engine.handle(Event::Shutdown, now());
    }

    /// A change of the host's network.
    fn network(&mut self, change: &Change) {
        let told = self.links.apply(change);
        if !told.is_empty() {
            self.make_vmacs();
            self.keep_settings();
            self.tell_links();
        }
        if !told.is_empty() {
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
                self.follow_virtual_mac(a.index);
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
        self.make_vmacs();
        self.tell_links();
        if let Err(error) = self.read_host() {
            tracing::error!("{error}");
            return;
        }
        self.tell_host();
        self.tell_virtual_macs();
        self.keep_routes();
        self.keep_settings();
        self.resolver.refresh();
        self.untold = true;
    }

    fn tell_links(&mut self) {
        let up = self.links.iter().filter(|l| l.state == LinkState::Up);
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
        [
            self.engine.next_deadline(),
            self.resolver.due(at),
            telling,
            self.manager.next_feed(),
            self.appointment.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
