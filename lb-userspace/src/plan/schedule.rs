//! Scheduling tables from real servers, with the semantics of IPVS.

use lb_common::maps::Sched;
use lb_common::sched;

use crate::model::Scheduler;

/// A real server as the scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) index: u16,
    pub(super) weight: u16,
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

/// The scheduling table: backend indices; [`NOBODY`](lb_common::sched::NOBODY) refuses. Empty when
/// nobody is available.
///
/// `rr` and `wrr` have only servers that can take a connection now. `sh` also has those whose MAC
/// is not known yet: both directors of a pair must map alike, whatever their neighbour tables say.
/// It has them in reverse order of configuration, as IPVS does, so that a pair of which one is
/// keepalived with IPVS maps alike too.
pub(super) fn table(scheduler: Scheduler, candidates: &[Candidate]) -> Vec<u16> {
    let mut servers: Vec<(u16, u16)> = candidates
        .iter()
        .filter(|c| c.up && (c.reachable || scheduler == Scheduler::Sh))
        .map(|c| (c.index, c.weight))
        .collect();
    let mut table = Vec::new();
    let len = match scheduler {
        Scheduler::Mh | Scheduler::Dh => 0,
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
            table.resize(servers.len(), 0);
            sched::fill_rr(&servers, &mut table)
        }
        Scheduler::Wrr => {
            table.resize(sched::wrr_len(&servers), 0);
            sched::fill_wrr(&servers, &mut table)
        }
        Scheduler::Sh => {
            servers.reverse();
            let mut slots = [0; sched::SH_SIZE];
            let len = sched::fill_sh(&servers, &mut slots);
            table.extend_from_slice(&slots);
            len
        }
    };
    table.truncate(len);
    table
}
