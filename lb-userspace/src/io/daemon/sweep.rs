//! The thread that takes expired connections away.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::io::bpf::Sweeper;
use crate::io::clock::now;

/// The time from one walk to the next when the kernel's clock cannot be read.
const PERIOD: Duration = Duration::from_secs(1);
/// The time from one walk to the next is at least so many times what one takes, so that it never takes
/// more than this part of one CPU.
const SHARE: u32 = 20;

/// Walks until it is dropped.
pub(super) struct Sweeping {
    _stop: mpsc::SyncSender<()>,
}

impl Sweeping {
    /// Starts the thread.
    pub(super) fn start(mut sweeper: Sweeper) -> std::io::Result<Sweeping> {
        let (stop, stopped) = mpsc::sync_channel::<()>(1);
        let work = move || {
            // The first walk at once: what the program does not count is as the last daemon left it.
            loop {
                let begun = now();
                let mut rest = Duration::ZERO;
                match sweeper.sweep() {
                    Ok(swept) => {
                        if swept.repaired > 0 {
                            tracing::info!(
                                "connection counts of {} real server(s) were wrong and are right again",
                                swept.repaired
                            );
                        }
                        let took = now().since(begun);
                        tracing::trace!(
                            "{} connections, {} expired, {took:?}",
                            swept.living,
                            swept.expired
                        );
                        rest = took * SHARE;
                    }
                    Err(error) => tracing::warn!("{error}"),
                }
                let pause = sweeper.pause(rest).unwrap_or(PERIOD);
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        };
        std::thread::Builder::new()
            .name("lbd-sweep".to_owned())
            .spawn(work)?;
        Ok(Sweeping { _stop: stop })
    }
}
