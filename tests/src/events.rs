//! What happens to directors.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::clock::Instant;
use crate::lab::Lab;

/// Something that happens to a director, seen from outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The daemons die and no frame passes the cable any more.
    PowerLoss,
    /// `ip link set down` on the director.
    LinkDownLocal,
    /// The switch's port goes down.
    LinkDownSwitch,
    /// SIGTERM.
    CleanStop,
    /// `kill -9` and a start after it.
    KillRestart,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 5] = [
        Event::PowerLoss,
        Event::LinkDownLocal,
        Event::LinkDownSwitch,
        Event::CleanStop,
        Event::KillRestart,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Event::PowerLoss => "power loss",
            Event::LinkDownLocal => "link down, local",
            Event::LinkDownSwitch => "link down, switch",
            Event::CleanStop => "clean stop (SIGTERM)",
            Event::KillRestart => "kill -9 and restart",
        }
    }
}

impl Lab {
    /// Makes it happen; the moment before it did.
    ///
    /// # Errors
    /// Those of netlink and processes.
    pub fn strike(&mut self, event: Event, director: usize) -> Result<Instant> {
        let at = Instant::now();
        let port = &self.directors[director].host.port;
        match event {
            Event::PowerLoss => {
                self.switch.cut(port)?;
                self.directors[director].kill()?;
            }
            Event::LinkDownLocal => {
                let host = &self.directors[director].host;
                host.ns.link_down(&host.link)?;
            }
            Event::LinkDownSwitch => self.switch.port_down(port)?,
            Event::CleanStop => self.directors[director].terminate()?,
            Event::KillRestart => {
                self.directors[director].kill()?;
                self.directors[director].start()?;
            }
        }
        Ok(at)
    }

    /// Undoes it: the director comes back. The moment before it did.
    ///
    /// # Errors
    /// Those of netlink and processes.
    pub fn recover(&mut self, event: Event, director: usize) -> Result<Instant> {
        match event {
            Event::PowerLoss => {
                self.directors[director].forget()?;
                let at = Instant::now();
                self.switch.plug(&self.directors[director].host.port)?;
                self.directors[director].start()?;
                Ok(at)
            }
            Event::LinkDownLocal => {
                let at = Instant::now();
                let host = &self.directors[director].host;
                host.ns.link_up(&host.link)?;
                Ok(at)
            }
            Event::LinkDownSwitch => {
                let at = Instant::now();
                self.switch.port_up(&self.directors[director].host.port)?;
                Ok(at)
            }
            Event::CleanStop => {
                self.directors[director].wait_stopped(Duration::from_secs(20))?;
                let at = Instant::now();
                self.directors[director].start()?;
                Ok(at)
            }
            Event::KillRestart => Ok(Instant::now()),
        }
    }

    /// The directors do not hear each other, all others hear both; `false` heals that.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn partition(&self, on: bool) -> Result<Instant> {
        let at = Instant::now();
        // One isolated port is not enough to part them, so the last of the two calls does it.
        for d in &self.directors {
            self.switch.isolate(&d.host.port, on)?;
        }
        Ok(at)
    }
}
