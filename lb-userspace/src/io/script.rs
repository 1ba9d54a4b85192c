//! Runs the commands that the configuration names, on a thread of its own: neither the engine nor
//! the probes wait for them.
//!
//! Each runs in a process group of its own, as its user, without a shell, with standard input and all
//! other descriptors closed; what it writes goes into the log. When its time is up the group gets
//! SIGTERM, and SIGKILL two seconds later. Notifications are started in their order and run beside
//! each other.

mod output;
#[cfg(test)]
mod tests;
mod vet;

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid};
use tokio::process::Command;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::clock::now;
use crate::model::{Model, Script};
use output::Output;
use vet::{Account, Vetted};

pub(super) use vet::{account, unfit};

/// Scripts of one kind that may wait for their start.
const QUEUE: usize = 1024;
/// Scripts of one kind that run at a time.
const AT_ONCE: usize = 64;
/// How long a notification may run. keepalived sets no limit; without one, scripts that hang would
/// pile up until nothing is notified any more.
const NOTIFY_LIMIT: Duration = Duration::from_secs(300);
/// How long a script may run that is to run all the time.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long a killed process may take to go; one that hangs in the kernel is left.
const REAPING: Duration = Duration::from_secs(10);
/// How long notifications may still run when the daemon ends; then they are left alone.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a script's last words may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ended with this status.
    Exited(i32),
    /// It was ended by this signal, which others sent.
    Signalled(i32),
    /// It took too long and was ended.
    TimedOut,
    /// It could not be started.
    NotRun(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exited(status) => write!(f, "exit status {status}"),
            Ended::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Ended::TimedOut => f.write_str("timed out"),
            Ended::NotRun(why) => write!(f, "not run: {why}"),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Ended {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, Some(signal)) => Ended::Signalled(signal),
            (None, None) => Ended::NotRun("it neither ended nor was killed".to_owned()),
        }
    }
}

/// A run and where its outcome goes.
struct Job {
    script: Script,
    limit: Duration,
    done: Option<oneshot::Sender<(Ended, Duration)>>,
}

/// What holds for all scripts.
#[derive(Debug)]
struct Rules {
    security: AtomicBool,
    /// The limits of open files that this process was started with: it raises its own.
    files: Option<(u64, u64)>,
}

/// Hands scripts to the thread that runs them.
#[derive(Clone, Debug)]
pub struct Scripts {
    notifications: mpsc::Sender<Job>,
    checks: mpsc::Sender<Job>,
    /// For what gets time to end when the runner is dropped: readers of FIFOs, errands.
    readers: mpsc::Sender<Job>,
    rules: Arc<Rules>,
}

/// The thread that runs scripts. Dropping it waits a little for notifications and ends checks.
#[derive(Debug)]
pub struct Runner {
    scripts: Scripts,
    /// Of the notifications and of the readers of FIFOs.
    stop: (Arc<Notify>, Arc<Notify>),
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread, in the network namespace of the caller's.
    ///
    /// # Errors
    /// When the runtime or its thread cannot be made.
    pub fn spawn() -> std::io::Result<Runner> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (notifications, notices) = mpsc::channel(QUEUE);
        let (checks, probes) = mpsc::channel(QUEUE);
        let (readers, reading) = mpsc::channel(QUEUE);
        let rules = Arc::new(Rules {
            security: AtomicBool::new(false),
            files: getrlimit(Resource::RLIMIT_NOFILE).ok(),
        });
        let scripts = Scripts {
            notifications,
            checks,
            readers,
            rules: Arc::clone(&rules),
        };
        let stop = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stopped = stop.clone();
        let work = async move {
            let checks = Arc::new(Notify::new());
            let probing = tokio::spawn(serve(probes, Arc::clone(&rules), checks));
            let (mut notices, mut readers) = tokio::join!(
                serve(notices, Arc::clone(&rules), stopped.0),
                serve(reading, rules, stopped.1)
            );
            probing.abort();
            let all = async {
                while notices.join_next().await.is_some() {}
                while readers.join_next().await.is_some() {}
            };
            if timeout(FAREWELL, all).await.is_err() {
                tracing::warn!("scripts still run; those of notifications are left alone");
            }
        };
        let thread = std::thread::Builder::new()
            .name("lbd-scripts".to_owned())
            .spawn(move || {
                runtime.block_on(work);
                runtime.shutdown_background();
            })?;
        Ok(Runner {
            scripts,
            stop,
            thread: Some(thread),
        })
    }

    /// What scripts are handed to.
    #[must_use]
    pub fn scripts(&self) -> Scripts {
        self.scripts.clone()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.0.notify_one();
        self.stop.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed already.
            let _ = thread.join();
        }
    }
}

impl Scripts {
    /// Takes over what a configuration says of all scripts.
    pub fn configure(&self, model: &Model) {
        let security = model.global.script_security;
        self.rules.security.store(security, Ordering::Relaxed);
    }

    /// Starts a notification; never blocks. False when too many wait: it is not run.
    #[must_use]
    pub fn notify(&self, script: Script) -> bool {
        let job = Job {
            script,
            limit: NOTIFY_LIMIT,
            done: None,
        };
        self.notifications.try_send(job).is_ok()
    }

    /// Starts a script that says something by its exit status. Its outcome and how long it took
    /// come from the receiver, or nothing when too many wait or the daemon ends. A script whose receiver is dropped is
    /// ended.
    #[must_use]
    pub fn check(&self, script: Script, limit: Duration) -> Outcome {
        hand_over(&self.checks, script, limit)
    }

    /// Starts a script that is done once, as [`Scripts::check`] does; one that is not to run any more
    /// has a little time to end by itself.
    #[must_use]
    pub fn errand(&self, script: Script, limit: Duration) -> Outcome {
        hand_over(&self.readers, script, limit)
    }

    /// Starts a script that runs as long as the daemon, as [`Scripts::check`] does. When the daemon
    /// ends it has a little time to end by itself.
    #[must_use]
    pub fn keep(&self, script: Script) -> Outcome {
        hand_over(&self.readers, script, FOREVER)
    }
}

/// Gives what came of a script and how long it took.
pub type Outcome = oneshot::Receiver<(Ended, Duration)>;

fn hand_over(queue: &mpsc::Sender<Job>, script: Script, limit: Duration) -> Outcome {
    let (done, outcome) = oneshot::channel();
    let job = Job {
        script,
        limit,
        done: Some(done),
    };
    // When there is no room, the sending end is dropped with it.
    drop(queue.try_send(job));
    outcome
}

/// Runs what comes, in its order, until it is to stop; gives what still runs.
async fn serve(
    mut queue: mpsc::Receiver<Job>,
    rules: Arc<Rules>,
    stop: Arc<Notify>,
) -> JoinSet<()> {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let mut stopping = false;
    loop {
        let job = tokio::select! {
            job = queue.recv() => job,
            Some(_) = running.join_next() => continue,
            () = stop.notified(), if !stopping => {
                // What is in the queue is run all the same.
                stopping = true;
                queue.close();
                continue;
            }
        };
        let Some(job) = job else { return running };
        let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else {
            return running;
        };
        // Started here and not in its task, so that they start in their order.
        let begun = now();
        let started = start(&job, &rules);
        running.spawn(async move {
            let Job {
                script,
                limit,
                mut done,
            } = job;
            let ended = match started {
                Ok(started) => started.end(&script, limit, done.as_mut()).await,
                Err(why) => Ended::NotRun(why),
            };
            drop(permit);
            match done {
                // Nobody waits any more when this fails.
                Some(done) => drop(done.send((ended, now().since(begun)))),
                None if ended == Ended::Exited(0) => {}
                None => tracing::warn!("script {script}: {ended}"),
            }
        });
    }
}

/// A script that runs, and its process group. Dropped while it runs, it is killed.
struct Started {
    child: tokio::process::Child,
    group: Group,
    output: tokio::task::JoinHandle<()>,
}

/// A process group.
struct Group {
    id: Option<Pid>,
    /// What is in it is killed when this is dropped: it is a check, and the daemon ends.
    kill: bool,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // Those who have gone need none.
            let _ = killpg(id, signal);
        }
    }

    fn let_go(&mut self) {
        self.id = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.kill {
            self.signal(Signal::SIGKILL);
        }
    }
}

fn start(job: &Job, rules: &Rules) -> Result<Started, String> {
    let script = &job.script;
    let Vetted {
        program,
        account: Account { uid, gid },
        ..
    } = vet::vet(script, rules.security.load(Ordering::Relaxed))?;
    let words = |e: std::io::Error| super::files::reason(&e);
    let (output, input) = Output::pipe(uid, gid).map_err(words)?;
    let mut command = std::process::Command::new(program);
    command
        .args(script.command.get(1..).unwrap_or(&[]))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(input.try_clone().map_err(words)?)
        .stderr(input);
    if (uid, gid) != (Uid::effective(), Gid::effective()) {
        // Which takes rights that are not kept where nobody needs them.
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    for name in [
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_PID",
        "JOURNAL_STREAM",
    ] {
        command.env_remove(name);
    }
    let files = rules.files;
    // SAFETY: close_range(2) and setrlimit(2) are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if let Some((soft, hard)) = files {
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            }
            // Whatever library opened one without FD_CLOEXEC.
            let (first, last) = (3u32, u32::MAX);
            libc::close_range(first, last, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
            Ok(())
        });
    }
    let child = Command::from(command).spawn().map_err(words)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    Ok(Started {
        child,
        group: Group {
            id: pid.map(Pid::from_raw),
            kill: job.done.is_some(),
        },
        output: output.follow(script.to_string()).map_err(words)?,
    })
}

impl Started {
    /// Waits for its end, and ends it when its time is up or nobody waits for its outcome.
    async fn end(
        mut self,
        script: &Script,
        limit: Duration,
        done: Option<&mut oneshot::Sender<(Ended, Duration)>>,
    ) -> Ended {
        let unwanted = async {
            match done {
                Some(done) => done.closed().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = self.child.wait() => Some(ended),
            () = tokio::time::sleep(limit) => None,
            () = unwanted => None,
        };
        let ended = match ended {
            // What it left running in the background is no business of ours.
            Some(Ok(status)) => Ended::from(status),
            Some(Err(e)) => Ended::NotRun(super::files::reason(&e)),
            None => {
                self.group.signal(Signal::SIGTERM);
                let _ = timeout(GRACE, self.child.wait()).await;
                self.group.signal(Signal::SIGKILL);
                if timeout(REAPING, self.child.wait()).await.is_err() {
                    tracing::warn!("script {script} does not end even by SIGKILL");
                }
                Ended::TimedOut
            }
        };
        self.group.let_go();
        let _ = timeout(LAST_WORDS, &mut self.output).await;
        ended
    }
}
