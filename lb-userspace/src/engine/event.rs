//! What goes into the engine and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::mail::Message;
use super::notify::Notification;
use crate::health::{Probe, ProbeId, Verdict};
use crate::plan::{Dump, Link, Op, Refs};
use crate::{health, plan, vrrp};

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// What the VRRP router tells.
    Vrrp(vrrp::Report),
    /// On which interfaces the program runs. Told from time to time, and when that changes.
    Attached(vrrp::Forwarding),
    /// How real servers are reached now. One that is absent is reached as before: whether it is
    /// dead is for its checks to say.
    Neighbours(BTreeMap<IpAddr, Link>),
    /// The addresses of this host, to know a real server that is the director itself.
    HostAddresses(BTreeSet<IpAddr>),
    /// The interfaces that are up, by index. A check that fails while the way to its server is down
    /// says nothing about the server.
    LinksUp(BTreeSet<u32>),
    /// What a probe gave.
    Verdict {
        /// Which probe.
        id: ProbeId,
        /// What it gave.
        verdict: Verdict,
        /// How long it took.
        took: Duration,
    },
    /// A tracked file was read.
    FileRead {
        /// Its name in the configuration.
        name: String,
        /// The number in it; 0 when it is not there.
        value: i64,
    },
    /// A BFD session counts as up or as down from now on. VRRP hears of it from elsewhere.
    Session {
        /// Its name in the configuration.
        name: String,
        /// As up.
        up: bool,
    },
    /// Tracked processes are as they should be, or not.
    Processes {
        /// Their name in the configuration.
        name: String,
        /// As good.
        good: bool,
    },
    /// What the flows refer to, from a scan of the table.
    Refs(Refs),
    /// An operation on the maps failed: the books are made anew from what the maps hold.
    Observed(&'a Dump),
    /// The process is to stop.
    Shutdown,
}

/// Something to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// For the VRRP router; what it makes of it comes as [`Event::Vrrp`].
    Vrrp(vrrp::Order),
    /// What the VRRP router told, for people, and scripts that it wants run.
    Report(vrrp::Report),
    /// Apply these operations to the maps; on failure give [`Event::Observed`].
    Write(Vec<Op>),
    /// Start these probes; each answers with [`Event::Verdict`].
    Probe(Vec<Probe>),
    /// Find out, and keep finding out, how these are reached.
    Follow(BTreeSet<IpAddr>),
    /// Frames of these MACs come from other directors.
    Peers(BTreeSet<[u8; 6]>),
    /// Frames of these MACs for the services of these ids come from real servers to which directors
    /// forward as they do to this host: they were scheduled there.
    Fellows(BTreeSet<([u8; 6], u16)>),
    /// These virtual addresses are here, but what is for them and for no service is refused.
    RefuseFor(BTreeSet<IpAddr>),
    /// A change of a service or a real server, to be told.
    Health(health::Transition),
    /// Keep for the daemon after this one what is set by hand: all of it.
    Keep(Vec<health::Kept>),
    /// Run scripts and write a line into the FIFOs; behind the action that tells of the same.
    Notify(Notification),
    /// Send a mail.
    Mail(Message),
    /// A service could not be brought into the maps, to be told (once until it changes).
    Refused(plan::Refusal),
    /// A real server of direct routing is behind a router, to be told (once while it is): its address
    /// and the router's MAC.
    Routed(IpAddr, [u8; 6]),
    /// Everything was handed over: exit.
    Stopped,
}
