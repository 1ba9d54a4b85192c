//! What the router and the rest of the daemon say to each other: they live on threads of their own, so
//! that adverts keep their time whatever the rest is busy with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Followed, InstanceId, Notice, Transition};
use super::forwarding::Forwarding;
use super::router::Router;
use crate::model::{Model, Script};
use crate::time::Time;

/// What the rest of the daemon asks of the router.
#[derive(Clone, Debug)]
pub enum Order {
    /// As [`Event::Ready`].
    Ready(Forwarding),
    /// Take over this configuration, then give [`Report::Configured`].
    Configure(Arc<Model>),
    /// The outcome of a [`Report::RunScript`].
    ScriptEnded {
        /// Which run.
        run: u64,
        /// Whether it succeeded; none: it was not run, and says nothing.
        good: Option<bool>,
        /// What came of it, for people.
        words: String,
    },
    /// As [`Event::FileRead`].
    FileRead {
        /// Its name in the configuration.
        name: String,
        /// The number in it.
        value: i64,
    },
    /// As [`Event::Followed`].
    Followed {
        /// Its kind.
        what: Followed,
        /// Its name.
        name: String,
        /// As good.
        good: bool,
    },
    /// As [`Event::Shutdown`]; [`Report::Stopped`] follows in the end.
    Shutdown,
}

/// What the router tells the rest of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Run a script that instances track, then give [`Order::ScriptEnded`].
    RunScript {
        /// Identifies the run.
        run: u64,
        /// What to run.
        script: Script,
        /// How long it may take; one that takes longer has failed.
        limit: Duration,
    },
    /// A tracked script counts as something else now, to be told.
    ScriptChanged {
        /// Its name.
        name: String,
        /// As good.
        good: bool,
        /// What came of its last run.
        words: String,
    },
    /// Something else that instances follow changed, to be told.
    FollowedChanged {
        /// Its kind.
        what: Followed,
        /// Its name.
        name: String,
        /// How it is now.
        words: String,
    },
    /// The effective priority of an instance changed, to be told.
    PriorityChanged {
        /// Name of the instance.
        name: Arc<str>,
        /// The priority before.
        from: u8,
        /// The priority now.
        to: u8,
    },
    /// A change of the reported state: the one source of log line, notify script, status and
    /// metric.
    Transition(Transition),
    /// A director that speaks this VRID was heard from this MAC for the first time: frames of
    /// its MAC must not be scheduled again.
    LearnedPeer {
        /// Interface on which it was heard.
        iface: Arc<str>,
        /// Its MAC.
        mac: [u8; 6],
        /// Its address.
        addr: IpAddr,
    },
    /// A master heard an advert of lower priority (`notify_master_rx_lower_pri`): limited in rate, but
    /// not as notices are.
    HeardLower {
        /// Name of the instance.
        name: Arc<str>,
        /// Its own priority.
        priority: u8,
    },
    /// `log_unknown_vrids`: adverts of virtual routers that are not configured; one a second at most.
    UnknownVrid {
        /// Where it was heard.
        iface: Arc<str>,
        /// The virtual router of the last one.
        vrid: u8,
        /// Who sent the last one.
        from: IpAddr,
        /// How many since the last of these actions.
        count: u64,
    },
    /// Something that an operator wants to read; already limited in rate.
    Notice {
        /// Name of the instance.
        name: Arc<str>,
        /// What.
        notice: Notice,
    },
    /// An instance has its addresses now, or is about to let them go: its routes and rules come and go
    /// with them, before the change of state that goes with it is told.
    Holding {
        /// The instance: one that is no longer configured may have the name of another.
        instance: InstanceId,
        /// Its name; told again when that changed.
        name: Arc<str>,
        /// Whether it has them.
        holds: bool,
    },
    /// Which of the virtual addresses are on this host; told when that changed.
    Addresses(BTreeMap<IpAddr, bool>),
    /// Everything that [`Order::Configure`] led to at once was carried out.
    Configured {
        /// The priority of each instance, by its name.
        priorities: BTreeMap<String, u8>,
    },
    /// After [`Order::Shutdown`]: everything was handed over and let go.
    Stopped,
}

impl Router {
    /// Does what is asked at `now`.
    pub fn obey(&mut self, order: &Order, now: Time) {
        match order {
            Order::Ready(ready) => self.handle(Event::Ready(ready), now),
            Order::Configure(model) => {
                self.reconfigure(model, now);
                self.configured = true;
            }
            Order::ScriptEnded { run, good, words } => {
                let (run, good) = (*run, *good);
                self.handle(Event::ScriptEnded { run, good, words }, now);
            }
            Order::FileRead { name, value } => {
                let value = *value;
                self.handle(Event::FileRead { name, value }, now);
            }
            Order::Followed { what, name, good } => {
                let (what, good) = (*what, *good);
                self.handle(Event::Followed { what, name, good }, now);
            }
            Order::Shutdown => self.handle(Event::Shutdown, now),
        }
    }

    /// What is only known when everything else was carried out.
    pub(super) fn news(&mut self) -> Option<Report> {
        if std::mem::take(&mut self.addresses_stale) {
            let mut addresses: BTreeMap<IpAddr, bool> = BTreeMap::new();
            for (addr, here) in self.addresses() {
                *addresses.entry(addr).or_default() |= here;
            }
            if addresses != self.addresses_told {
                self.addresses_told.clone_from(&addresses);
                return Some(Report::Addresses(addresses));
            }
        }
        if std::mem::take(&mut self.configured) {
            let priorities = self.priorities();
            return Some(Report::Configured { priorities });
        }
        (self.is_stopped() && !std::mem::replace(&mut self.stop_told, true))
            .then_some(Report::Stopped)
    }
}
