//! The way of a probe that is sent to a server's MAC, as the data plane sends to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::health::{Failure, NotRun, Probe, ProbeId, Verdict, Way};
use crate::model::CheckKind;
use crate::plan::Link;
use crate::time::Time;

/// Probes that wait for a server's MAC, and until when.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<ProbeId, (Probe, Time)>);

/// What becomes of probes that are to start.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// They can.
    pub(super) ready: Vec<Probe>,
    /// They need not: this host can say it by itself.
    pub(super) judged: Vec<(ProbeId, Verdict)>,
}

/// What is known of the network.
pub(super) struct Known<'a> {
    pub(super) neighbours: &'a BTreeMap<IpAddr, Link>,
    pub(super) own: &'a BTreeSet<IpAddr>,
}

impl Waiting {
    /// Sorts probes that are due, and those that waited.
    pub(super) fn sort(&mut self, due: Vec<Probe>, known: &Known<'_>, now: Time) -> Sorted {
        let mut out = Sorted::default();
        let waited = std::mem::take(&mut self.0).into_values();
        let due = due.into_iter().map(|p| {
            let until = now + p.check.timeout;
            (p, until)
        });
        for (mut probe, until) in waited.chain(due) {
            if probe.check.kind != CheckKind::DrPath {
                out.ready.push(probe);
                continue;
            }
            match way(&probe, known) {
                Some(Ok(way)) => {
                    probe.way = Some(way);
                    out.ready.push(probe);
                }
                Some(Err(verdict)) => out.judged.push((probe.id, verdict)),
                None if until <= now => {
                    let verdict = Verdict::Failed(Failure::HostUnreachable);
                    out.judged.push((probe.id, verdict));
                }
                None => {
                    self.0.insert(probe.id, (probe, until));
                }
            }
        }
        out
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the first of them has waited long enough.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.values().map(|(_, until)| *until).min()
    }
}

/// The way, or what is known without asking; none: not known yet.
fn way(probe: &Probe, known: &Known<'_>) -> Option<Result<Way, Verdict>> {
    let check = &probe.check;
    let virtuals = || probe.services.iter().map(|s| s.addr);
    if known.own.contains(&check.addr) {
        // The server is this host. What it forwards to itself it passes to its own stack.
        return Some(Err(match virtuals().find(|v| !known.own.contains(v)) {
            Some(missing) => Verdict::Failed(Failure::VirtualAddress(missing)),
            None => Verdict::Ok,
        }));
    }
    let link = known.neighbours.get(&check.addr)?;
    let source = check.bind_addr.or(link.source)?;
    if virtuals().any(|v| v == source) {
        // The answer would stay at the server.
        let why =
            format!("it would ask from {source}: `bindto` names another address of this host");
        return Some(Err(Verdict::NotRun(NotRun { why })));
    }
    Some(Ok(Way {
        ifindex: link.ifindex,
        mac: link.dmac,
        source,
        on_link: link.on_link,
    }))
}
