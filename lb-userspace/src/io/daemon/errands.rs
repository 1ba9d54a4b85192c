//! `startup_script` and `shutdown_script`, and the signals that may come while they run.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::io::script::{Ended, Runner};
use crate::io::service::{Environment, ServiceManager};
use crate::model::{Errand, Model};

/// How much longer than its timeout a script may take: it has a little time to end by itself.
const MARGIN: Duration = Duration::from_secs(5);

/// What others say by signals; none that comes after this was made is lost.
pub(super) struct Signals {
    pub(super) hup: Signal,
    pub(super) term: Signal,
    pub(super) int: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
}

/// Runs `startup_script` and waits for it; whatever comes of it, the daemon starts then. False when
/// it was asked to stop meanwhile, which ends the script.
///
/// `goes_on`: the daemon before this one was killed. The addresses are still here, with nobody who
/// defends them or gives them back, so nothing is waited for; what the script did is still done.
pub(super) async fn startup(
    model: &Model,
    signals: &mut Signals,
    goes_on: bool,
) -> std::io::Result<bool> {
    let Some(errand) = &model.global.startup_script else {
        return Ok(true);
    };
    if goes_on {
        let script = &errand.script;
        tracing::info!("startup_script {script}: not run, the daemon before was killed");
        return Ok(true);
    }
    let done = run("startup_script", errand, model);
    let signal = tokio::select! {
        done = done => return done.map(|()| true),
        _ = signals.term.recv() => "SIGTERM",
        _ = signals.int.recv() => "SIGINT",
    };
    tracing::info!("{signal}: startup_script is ended");
    Ok(false)
}

/// Runs `shutdown_script` and waits for it.
pub(super) async fn shutdown(model: &Model) -> std::io::Result<()> {
    match &model.global.shutdown_script {
        Some(errand) => run("shutdown_script", errand, model).await,
        None => Ok(()),
    }
}

/// Runs a script while nothing else does. Dropped, it ends the script.
async fn run(name: &str, errand: &Errand, model: &Model) -> std::io::Result<()> {
    let Errand { script, timeout } = errand;
    // It may take longer than the unit allows for the start or the stop.
    ServiceManager::of(&Environment::own()).wait_for(name, *timeout + MARGIN);
    let runner = Runner::spawn()?;
    runner.scripts().configure(model);
    match runner.scripts().errand(script.clone(), *timeout).await {
        Ok((Ended::Exited(0), took)) => {
            tracing::info!("{name} {script}: done in {:.1} s", took.as_secs_f64());
        }
        Ok((ended, _)) => tracing::warn!("{name} {script}: {ended}"),
        Err(_) => tracing::warn!("{name} {script}: not run"),
    }
    Ok(())
}
