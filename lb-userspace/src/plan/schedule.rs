//! Scheduling tables from real servers, with the semantics of IPVS.

use std::net::IpAddr;

use lb_common::maps::Sched;
use lb_common::sched::{self, MhServer};

use super::desired::DesiredService;
use super::values::words;
use crate::model::Scheduler;

/// A real server as the scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) index: u16,
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    pub(super) weight: u16,
    /// The last one that was not 0.
    pub(super) last_weight: u16,
    pub(super) up: bool,
    /// Its MAC is known or it is this host.
    pub(super) reachable: bool,
}

/// How the program walks the table of a scheduler.
pub(super) fn sched_of(scheduler: Scheduler) -> Sched {
    match scheduler {
        Scheduler::Rr | Scheduler::Wrr => Sched::Turn,
        Scheduler::Sh => Sched::SourceHash,
        Scheduler::Mh => Sched::Maglev,
        Scheduler::Dh => Sched::DestHash,
        Scheduler::Lc => Sched::LeastConn,
        Scheduler::Wlc => Sched::WeightedLeastConn,
        Scheduler::Lblc => Sched::Lblc,
        Scheduler::Lblcr => Sched::Lblcr,
        Scheduler::Fo => Sched::Failover,
        Scheduler::Ovf => Sched::Overflow,
        Scheduler::Sed => Sched::ShortestDelay,
        Scheduler::Nq => Sched::NeverQueue,
        Scheduler::Twos => Sched::PowerOfTwo,
    }
}

/// Whether a scheduler goes by connection counts.
pub(super) const fn reads_counts(scheduler: Scheduler) -> bool {
    match scheduler {
        // `fo` asks only whether a server is overloaded, which takes a threshold.
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Sh
        | Scheduler::Mh
        | Scheduler::Dh
        | Scheduler::Fo => false,
        Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Ovf
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => true,
    }
}

/// Whether a scheduler must give the same answer on every director.
const fn is_hash(scheduler: Scheduler) -> bool {
    match scheduler {
        Scheduler::Sh | Scheduler::Mh | Scheduler::Dh => true,
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => false,
    }
}

/// The scheduling table: backend indices; [`NOBODY`](lb_common::sched::NOBODY) refuses. Empty when
/// nobody is available.
///
/// Only servers that can take a connection now stand in it, but hashes also have those whose MAC is
/// not known yet: both directors of a pair must map alike, whatever their neighbour tables say.
///
/// The order is IPVS's, the reverse of the configuration (but for `rr` and `wrr`, where it only says
/// who is first), so that a pair of which one is keepalived with IPVS maps alike too.
pub(super) fn table(desired: &DesiredService, candidates: &[Candidate]) -> Vec<u16> {
    let scheduler = desired.scheduler;
    let available = candidates
        .iter()
        .filter(|c| c.up && (c.reachable || is_hash(scheduler)));
    let in_order = || available.clone().map(|c| (c.index, c.weight));
    let listed: Vec<(u16, u16)> = match scheduler {
        Scheduler::Rr | Scheduler::Wrr => in_order().collect(),
        Scheduler::Mh => Vec::new(),
        Scheduler::Sh
        | Scheduler::Dh
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => in_order().rev().collect(),
    };
    let mut table = Vec::new();
    let len = match scheduler {
        Scheduler::Rr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => {
            table.resize(listed.len(), 0);
            sched::fill_rr(&listed, &mut table)
        }
        Scheduler::Wrr => {
            table.resize(sched::wrr_len(&listed), 0);
            sched::fill_wrr(&listed, &mut table)
        }
        Scheduler::Sh => {
            let mut slots = [0; sched::SH_SIZE];
            let len = sched::fill_sh(&listed, &mut slots);
            table.extend_from_slice(&slots);
            len
        }
        Scheduler::Mh => {
            let servers: Vec<MhServer> = available.rev().map(mh_server).collect();
            let mut slots = [0; sched::MH_SIZE];
            let len = sched::fill_mh(&servers, &mut slots);
            table.extend_from_slice(&slots);
            len
        }
        Scheduler::Dh => {
            table.extend(sched::fill_dh(words(desired.key.addr), &listed));
            table.len()
        }
    };
    table.truncate(len);
    table
}

fn mh_server(candidate: &Candidate) -> MhServer {
    MhServer {
        backend: candidate.index,
        weight: candidate.weight,
        last_weight: candidate.last_weight,
        addr: words(candidate.addr),
        port_be: candidate.port.to_be(),
    }
}
