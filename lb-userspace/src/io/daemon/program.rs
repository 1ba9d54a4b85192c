//! The data plane on its way into the kernel. At a start that finds none to adopt, making the maps and
//! having the program verified takes a good part of a second, in which VRRP listens already, and scripts
//! and checks run.

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::run::Daemon;
use super::sweep::Sweeping;
use crate::engine::Event;
use crate::io::bpf::{self, BpfError, Config, DataPlane, PinLock};
use crate::io::clock::now;
use crate::io::options::Options;
use crate::plan::Dump;

/// The data plane, and the lock on its pins.
type Plane = (PinLock, DataPlane);

/// What comes from the thread that loads it.
pub(super) type Loading = oneshot::Receiver<Result<Plane, BpfError>>;

/// Where and how large it is to be.
pub(super) fn config(options: &Options) -> Config {
    Config {
        pin: options.pin.clone(),
        flow_buckets: bpf::buckets_for(options.flows),
        ..Config::default()
    }
}

/// Adopts it, or loads it.
pub(super) fn open((lock, config): (PinLock, Config)) -> Result<Plane, BpfError> {
    let plane = DataPlane::open(&config)?;
    if plane.adopted() {
        tracing::info!("adopted the tables in {}", config.pin.display());
        let (places, ways) = (plane.flow_slots(), lb_common::maps::FLOW_WAYS as u64);
        if places != u64::from(config.flow_buckets) * ways {
            tracing::warn!(
                "the flow table that is there has {places} places and keeps them: another --flows holds \
                 after lbd --unload, which ends all connections"
            );
        }
    }
    Ok((lock, plane))
}

/// As [`open`], on a thread of its own.
pub(super) fn load(what: (PinLock, Config)) -> std::io::Result<Loading> {
    let (tell, loading) = oneshot::channel();
    std::thread::Builder::new()
        .name("lbd-load".to_owned())
        // Nobody listens any more when the daemon ends meanwhile.
        .spawn(move || drop(tell.send(open(what))))?;
    Ok(loading)
}

/// What came of it, once; never when nothing is being loaded.
pub(super) async fn loaded(loading: &mut Option<Loading>) -> anyhow::Result<Plane> {
    let Some(under_way) = loading else {
        return std::future::pending().await;
    };
    let outcome = under_way.await;
    *loading = None;
    Ok(outcome.context("the thread that loads the program is gone")??)
}

impl Daemon<'_> {
    /// Takes it over.
    pub(super) fn take(&mut self, (lock, plane): Plane) -> anyhow::Result<()> {
        self.pins = Some(lock);
        self.sweeping = Some(Sweeping::start(plane.sweeper())?);
        self.plane = Some(plane);
        Ok(())
    }

    /// As [`Daemon::take`]; what its maps hold.
    pub(super) fn take_anew(&mut self, plane: Plane) -> anyhow::Result<Dump> {
        let dump = plane.1.dump()?;
        self.take(plane)?;
        Ok(dump)
    }

    /// It is there: the maps are filled, then the program goes on its interfaces. Or the kernel does not
    /// take it, and the daemon ends.
    pub(super) fn plane_loaded(&mut self, loaded: anyhow::Result<Plane>) {
        self.loading = false;
        match loaded.and_then(|plane| self.take_anew(plane)) {
            Ok(dump) => {
                self.engine.handle(Event::Observed(&dump), now());
                self.tell_virtual_macs();
                self.turn();
                self.check_attached();
                self.say_ready();
            }
            Err(error) => {
                self.failed = Some(error);
                self.engine.handle(Event::Shutdown, now());
            }
        }
    }
}
