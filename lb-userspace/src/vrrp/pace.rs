//! Pauses between gratuitous ARPs (`vrrp_garp_interval`, `garp_group`), and between neighbour
//! advertisements (`vrrp_gna_interval`).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::InstanceId;
use crate::model::{Family, GarpGroup, Global};
use crate::time::Time;

/// One announcement that waits, and how often it is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) instance: InstanceId,
    pub(super) iface: Arc<str>,
    pub(super) addr: IpAddr,
    left: u32,
}

/// Interfaces that share one pause, between announcements of one family.
#[derive(Debug)]
struct Lane {
    family: Family,
    interfaces: Vec<Arc<str>>,
    interval: Duration,
    /// When the next one may go.
    next: Option<Time>,
    queue: VecDeque<Waiting>,
}

/// The pauses of all interfaces.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Of interfaces in no group, by family.
    default: [Duration; 2],
    lanes: Vec<Lane>,
}

impl Pace {
    /// Takes over a configuration. What waits, waits on in its new lane.
    pub(super) fn set(&mut self, global: &Global) {
        let old = std::mem::take(&mut self.lanes);
        self.default = [global.garp_interval, global.gna_interval];
        let lanes = |g: &GarpGroup| {
            let interfaces: Vec<Arc<str>> =
                g.interfaces.iter().map(|i| i.as_str().into()).collect();
            let pauses = [(Family::V4, g.garp_interval), (Family::V6, g.gna_interval)];
            pauses.map(|(family, interval)| Lane {
                family,
                interfaces: interfaces.clone(),
                interval,
                next: None,
                queue: VecDeque::new(),
            })
        };
        self.lanes = global.garp_groups.iter().flat_map(lanes).collect();
        for lane in old {
            for name in &lane.interfaces {
                let at = self.lane(name, lane.family);
                self.lanes[at].next = self.lanes[at].next.max(lane.next);
            }
            for waiting in lane.queue {
                let at = self.lane(&waiting.iface, lane.family);
                self.lanes[at].queue.push_back(waiting);
            }
        }
    }

    /// The lane of an interface; made when it has none yet.
    fn lane(&mut self, iface: &Arc<str>, family: Family) -> usize {
        let of = |l: &Lane| l.family == family && l.interfaces.contains(iface);
        self.lanes.iter().position(of).unwrap_or_else(|| {
            let [garp, gna] = self.default;
            self.lanes.push(Lane {
                family,
                interfaces: vec![Arc::clone(iface)],
                interval: match family {
                    Family::V4 => garp,
                    Family::V6 => gna,
                },
                next: None,
                queue: VecDeque::new(),
            });
            self.lanes.len() - 1
        })
    }

    /// Whether one may be sent now. If not, it waits; an address waits for at most `most` of them.
    pub(super) fn pass(
        &mut self,
        instance: InstanceId,
        iface: &Arc<str>,
        addr: IpAddr,
        most: u32,
        now: Time,
    ) -> bool {
        if self.default.iter().all(Duration::is_zero) && self.lanes.is_empty() {
            return true;
        }
        let at = self.lane(iface, Family::of(addr));
        let lane = &mut self.lanes[at];
        if lane.interval.is_zero() {
            return true;
        }
        if lane.queue.is_empty() && lane.next.is_none_or(|next| next <= now) {
            lane.next = Some(now + lane.interval);
            return true;
        }
        let same =
            |w: &&mut Waiting| w.instance == instance && w.addr == addr && *w.iface == **iface;
        match lane.queue.iter_mut().find(same) {
            Some(waiting) => waiting.left = (waiting.left + 1).min(most.max(1)),
            None => lane.queue.push_back(Waiting {
                instance,
                iface: Arc::clone(iface),
                addr,
                left: 1,
            }),
        }
        false
    }

    /// The next one whose time has come. `wanted`: its address is still this host's to announce; what
    /// is not is forgotten.
    pub(super) fn take_due(
        &mut self,
        now: Time,
        wanted: impl Fn(&Waiting) -> bool,
    ) -> Option<Waiting> {
        for lane in &mut self.lanes {
            if lane.next.is_some_and(|next| next > now) {
                continue;
            }
            while let Some(mut waiting) = lane.queue.pop_front() {
                if !wanted(&waiting) {
                    continue;
                }
                // From now, not from when it was due: two must never be closer.
                lane.next = Some(now + lane.interval);
                let sent = waiting.clone();
                waiting.left -= 1;
                if waiting.left > 0 {
                    lane.queue.push_back(waiting);
                }
                return Some(sent);
            }
        }
        None
    }

    /// When [`take_due`](Self::take_due) is to be asked.
    pub(super) fn deadline(&self) -> Option<Time> {
        let waits = self.lanes.iter().filter(|l| !l.queue.is_empty());
        waits.filter_map(|l| l.next).min()
    }
}
