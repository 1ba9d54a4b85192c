//! Scheduling tables from real servers, with the semantics of IPVS.

use lb_common::maps::Sched;

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
    }
}

/// The scheduling table: backend indices; 0 refuses. Empty when nobody is available.
///
/// `rr` and `wrr` have only servers that can take a connection now. `sh` also has those whose MAC
/// is not known yet: both directors of a pair must map alike, whatever their neighbour tables say.
pub(super) fn table(scheduler: Scheduler, candidates: &[Candidate]) -> Vec<u16> {
    let able = |c: &&Candidate| c.up && c.reachable && c.weight > 0;
    match scheduler {
        Scheduler::Rr => candidates.iter().filter(able).map(|c| c.index).collect(),
        Scheduler::Wrr => {
            let servers: Vec<(u16, u32)> =
                candidates.iter().filter(able).map(|c| (c.index, u32::from(c.weight))).collect();
            interleave(&servers)
        }
        Scheduler::Sh => hash_slots(candidates),
    }
}

/// The longest table of a turn scheduler, in entries.
const MAX_TURN: u64 = 1 << 16;

fn interleave(servers: &[(u16, u32)]) -> Vec<u16> {
    let sum: u64 = servers.iter().map(|(_, w)| u64::from(*w)).sum();
    let gcd = servers.iter().fold(0, |a, (_, w)| gcd(a, *w)).max(1);
    let scaled: Vec<(u16, u32)> = servers
        .iter()
        .map(|(i, w)| {
            let unit = w / gcd;
            let fit = if sum / u64::from(gcd) > MAX_TURN { (u64::from(*w) * MAX_TURN / sum).max(1) as u32 } else { unit };
            (*i, fit)
        })
        .collect();
    let top = scaled.iter().map(|(_, w)| *w).max().unwrap_or(0);
    (1..=top).rev().flat_map(|cw| scaled.iter().filter(move |(_, w)| *w >= cw).map(|(i, _)| *i)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn hash_slots(candidates: &[Candidate]) -> Vec<u16> {
    let mut round = candidates.iter().filter(|c| c.up).cycle();
    let mut table = Vec::with_capacity(256);
    while table.len() < 256 {
        let Some(c) = round.next() else { break };
        let entry = if c.weight == 0 { 0 } else { c.index };
        let count = usize::from(c.weight.max(1)).min(256 - table.len());
        table.extend(std::iter::repeat_n(entry, count));
    }
    table
}
