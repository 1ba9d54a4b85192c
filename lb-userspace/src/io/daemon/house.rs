//! What is looked at from time to time, whatever events say.

use std::collections::BTreeSet;

use super::interfaces;
use super::run::{Daemon, HOUSEKEEPING};
use crate::engine::{Event, Watched};
use crate::io::bpf::{Attachment, DataPlane, XdpMode};
use crate::io::clock::now;

/// Every so many of them, routes, neighbours and addresses are read again.
const RESYNC_EVERY: u64 = 30;
/// Every so many of them, the counters are read for the rates.
const SAMPLE_EVERY: u64 = crate::control::rate::PERIOD.as_secs() / HOUSEKEEPING.as_secs();
/// Every so many of them, removed real servers are looked for in the flow table.
const SCAN_EVERY: u64 = 5;

impl Daemon<'_> {
    /// Asks the kernel whether the program still runs everywhere, and puts it back where not.
    pub(super) fn check_attached(&mut self) {
        let wanted =
            interfaces::wanted(self.engine.model(), &self.options.iface, &mut self.control);
        let Some(plane) = &mut self.plane else { return };
        for name in &wanted {
            if plane.is_attached(name) {
                if let Err(error) = plane.refresh_iface(name) {
                    tracing::warn!("{error}");
                }
                continue;
            }
            if self.running.contains(name) && plane.was_taken_off(name) {
                tracing::warn!("the XDP program was taken off {name}, putting it back");
            }
        }
        // Put back before the router hears of it: only an interface without the program is a fault.
        let all = interfaces::attach(plane, &wanted, &mut self.said);
        let attached = interfaces::forwarding(plane, &wanted, &self.options.iface, all);
        let ports = self
            .links
            .iter()
            .filter_map(|l| Some((l.index, l.controller?)));
        if let Err(error) = plane.set_ports(ports) {
            tracing::warn!("{error}");
        }
        let running: BTreeSet<String> = wanted
            .into_iter()
            .filter(|name| plane.is_attached(name))
            .collect();
        // How it runs has a part in how servers are reached.
        self.untold |= running != self.running;
        self.running = running;
        self.engine.handle(Event::Attached(attached), now());
    }

    /// [`Link::joined_above`](crate::plan::Link::joined_above) of all real servers.
    pub(super) fn joined_above(&self) -> u16 {
        let attached = self.plane.iter().flat_map(DataPlane::attachments);
        let attached: Vec<_> = attached.collect();
        if attached.iter().all(|a| a.mode == XdpMode::Native) {
            return 0;
        }
        let mtu = |a: &Attachment| self.links.get(a.ifindex).map(|l| l.mtu);
        let longest = attached.iter().filter_map(mtu).max().unwrap_or(0);
        u16::try_from(longest).unwrap_or(u16::MAX)
    }

    /// What is looked at every [`HOUSEKEEPING`].
    pub(super) fn housekeeping(&mut self, turns: u64) {
        self.check_attached();
        self.remove_vmacs();
        self.make_vmacs();
        self.tell_virtual_macs();
        let summary = self.engine.summary();
        self.manager.status(&summary);
        self.look_after_routes();
        self.notifier.look_after_readers();
        self.appointment.look();
        if turns.is_multiple_of(RESYNC_EVERY) {
            self.resync();
        } else {
            self.resolver.retry_unknown();
        }
        if turns.is_multiple_of(SAMPLE_EVERY) {
            self.sample();
        }
        self.watch_counters();
        let scan = turns.is_multiple_of(SCAN_EVERY) && self.engine.wants_refs();
        if let (true, Some(plane)) = (scan, &self.plane) {
            let (scanner, found, begun) = (plane.scanner(), self.refs.clone(), now());
            tokio::task::spawn_blocking(move || match scanner.refs(begun) {
                Ok(refs) => drop(found.try_send(refs)),
                Err(error) => tracing::warn!("{error}"),
            });
        }
    }

    /// Says what the counters of the data plane say while it happens.
    fn watch_counters(&mut self) {
        let Some(plane) = &self.plane else { return };
        let reasons = match plane.reasons() {
            Ok(reasons) => reasons,
            Err(error) => {
                tracing::warn!("{error}");
                return;
            }
        };
        let count = |reason| reasons.get(&reason).copied().unwrap_or(0);
        let seen = Watched::of(count, plane.flow_slots());
        for line in self.alarm.watch(&seen, now()) {
            tracing::warn!("{line}");
        }
    }
}
