//! Runs the probes of the health checks: thousands at a time on one thread.
//!
//! The thread has a runtime of its own, so that neither the engine nor VRRP waits for it, nor it
//! for them. A probe's time counts from its own `connect`; when there is more to do than sockets or
//! the machine allow, probes start later, they do not fail for it.

mod datagram;
mod dns;
mod dr_path;
mod http;
mod misc;
mod ping;
mod smtp;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::gettid;
use tokio::sync::{Semaphore, mpsc};

use crate::config::FileSource as _;
use crate::health::{NotRun, Probe, ProbeId, Verdict};
use crate::io::affinity::Binding;
use crate::io::files::RealFiles;
use crate::io::script::Scripts;
use crate::model::CheckKind;

/// Probes that may wait for their start.
const QUEUE: usize = 4096;
/// Verdicts that may wait for the engine; beyond them the prober waits.
const RESULTS: usize = 4096;
/// File descriptors that are left for the rest of the process.
const RESERVED_FDS: u64 = 512;
/// Probes that are under way at a time, if there are file descriptors for so many.
const MOST_PROBES: u64 = 16_384;
/// Probes that are under way at a time, however few file descriptors there are.
const FEWEST_PROBES: u64 = 16;

pub(super) use tls::vet as vet_tls;

/// Why the prober cannot run.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No runtime for its thread.
    #[error("cannot start the health checks' runtime: {0}")]
    Runtime(#[source] std::io::Error),
    /// No thread.
    #[error("cannot start the health checks' thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub id: ProbeId,
    /// What it gave.
    pub verdict: Verdict,
    /// How long it took, from the start of the connection.
    pub took: Duration,
}

/// The thread that runs probes. Dropping it abandons those that are under way.
#[derive(Debug)]
pub struct Prober {
    probes: Option<mpsc::Sender<Probe>>,
    thread: Option<JoinHandle<()>>,
    cpus: Binding,
}

impl Prober {
    /// Starts the thread, in the network namespace of the caller's; `scripts` runs those of
    /// `MISC_CHECK`. The receiver gives one
    /// [`Finished`] for every probe that was accepted; when it ends, the thread is gone, and the
    /// daemon has no health checks any more.
    ///
    /// # Errors
    /// When the runtime or its thread cannot be made.
    pub fn spawn(scripts: Scripts) -> Result<(Prober, mpsc::Receiver<Finished>), CheckError> {
        let at_once = Arc::new(Semaphore::new(sockets_at_once()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(CheckError::Runtime)?;
        let (probes, queue) = mpsc::channel(QUEUE);
        let (done, results) = mpsc::channel(RESULTS);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("lbd-checks".to_owned())
            .spawn(move || {
                // The receiver waits for it.
                let _ = tell.send(gettid());
                runtime.block_on(serve(queue, done, at_once, scripts));
            })
            .map_err(CheckError::Thread)?;
        let ended = |_| CheckError::Thread(std::io::Error::other("it has ended"));
        let id = told.recv().map_err(ended)?;
        Ok((
            Prober {
                probes: Some(probes),
                thread: Some(thread),
                cpus: Binding::of(id, "the thread of the checks"),
            },
            results,
        ))
    }

    /// How many probes [`Prober::start`] would accept now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.probes.as_ref().map_or(0, mpsc::Sender::capacity)
    }

    /// Has the thread run on CPUs, as `checker_cpu_affinity` says.
    ///
    /// # Errors
    /// In words, once for the same CPUs: it runs on any then.
    pub fn bind(&mut self, cpus: &BTreeSet<u16>) -> Result<(), String> {
        self.cpus.keep(cpus)
    }

    /// Starts a probe; never blocks.
    ///
    /// # Errors
    /// Gives its id when there is no [`Prober::room`]: it was not started.
    pub fn start(&self, probe: Probe) -> Result<(), ProbeId> {
        let id = probe.id;
        let queue = self.probes.as_ref().ok_or(id)?;
        queue.try_send(probe).map_err(|_| id)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.probes = None;
        if let Some(thread) = self.thread.take() {
            // It ends as soon as its queue is closed; a panic in it was printed already.
            let _ = thread.join();
        }
    }
}

/// Raises the limit of open files as far as it goes and says how many probes it allows at a time.
fn sockets_at_once() -> usize {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let want = hard.min(MOST_PROBES + RESERVED_FDS).max(soft);
            match setrlimit(Resource::RLIMIT_NOFILE, want, hard) {
                Ok(()) => want,
                Err(_) => soft,
            }
        }
        Err(_) => 1024,
    };
    let n = limit
        .saturating_sub(RESERVED_FDS)
        .clamp(FEWEST_PROBES, MOST_PROBES);
    usize::try_from(n).unwrap_or(FEWEST_PROBES as usize)
}

async fn serve(
    mut queue: mpsc::Receiver<Probe>,
    done: mpsc::Sender<Finished>,
    at_once: Arc<Semaphore>,
    scripts: Scripts,
) {
    let taps = dr_path::Taps::new(RealFiles.random());
    while let Some(probe) = queue.recv().await {
        let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else {
            return;
        };
        let (done, scripts) = (done.clone(), scripts.clone());
        let taps = Arc::clone(&taps);
        tokio::spawn(async move {
            let check = &probe.check;
            let (verdict, took) = match &check.kind {
                CheckKind::Tcp => tcp::probe(check).await,
                CheckKind::Udp(udp) => udp::probe(check, udp).await,
                CheckKind::Http(http) => http::probe(check, http, probe.url).await,
                CheckKind::Dns(dns) => dns::probe(check, dns).await,
                CheckKind::Ping => ping::probe(check).await,
                CheckKind::Smtp(smtp) => smtp::probe(check, smtp).await,
                CheckKind::Misc(misc) => misc::probe(check, misc, &scripts).await,
                CheckKind::DrPath => dr_path::probe(&taps, &probe).await,
                // Those speak when something changes.
                CheckKind::Bfd(_) | CheckKind::File(_) => {
                    let why = "it is not run".to_owned();
                    (Verdict::NotRun(NotRun { why }), Duration::ZERO)
                }
            };
            drop(permit);
            // The engine is gone when this fails, and so is all that waits for the verdict.
            let _ = done
                .send(Finished {
                    id: probe.id,
                    verdict,
                    took,
                })
                .await;
        });
    }
}
