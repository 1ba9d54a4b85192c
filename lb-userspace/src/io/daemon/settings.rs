//! `promote_secondaries`, `disable_local_igmp`, `checker_cpu_affinity`: what is set in the kernel while
//! the daemon runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::run::Daemon;
use super::vmac::{IPV4, read, write};
use crate::io::netlink::Setting;
use crate::io::state::Changed;

/// The kernel's word for [`Global::disable_local_igmp`](crate::model::Global::disable_local_igmp).
const IGMP: [&str; 3] = ["/proc/sys/net", "ipv4", "igmp_link_local_mcast_reports"];

impl Daemon<'_> {
    /// Sets what the configuration wants set.
    pub(super) fn keep_settings(&mut self) {
        self.promote_secondaries();
        let global = &self.engine.model().global;
        if let Err(words) = self.prober.bind(&global.checker_cpu_affinity) {
            tracing::warn!("{words}");
        }
        self.appointment.configure(global);
        self.local_igmp(global.disable_local_igmp);
    }

    /// Has the kernel send no reports for groups of the local network, or as before again.
    fn local_igmp(&mut self, off: bool) {
        let [family, iface, word] = IGMP;
        if off && !self.changed.no_igmp && read(family, iface, word) == Some(1) {
            self.note(|changed| changed.no_igmp = true);
            write(family, iface, word, "0");
        } else if !off && self.changed.no_igmp {
            write(family, iface, word, "1");
            self.note(|changed| changed.no_igmp = false);
        }
    }

    /// Notes what is about to be changed, or was set back.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Changed)) {
        change(&mut self.changed);
        if let Err(error) = self.changed.write(&self.options.state_dir) {
            self.say_once(error.to_string());
        }
    }

    /// Has the kernel keep the other addresses of a network when the first one is removed; where it
    /// does not already.
    fn promote_secondaries(&mut self) {
        let model = Arc::clone(self.engine.model());
        let asking = model.instances.iter().filter(|i| i.promote_secondaries);
        let names: BTreeSet<&str> = asking.map(|i| i.interface.as_str()).collect();
        let links = names.iter().filter_map(|name| self.links.by_name(name));
        let wanted: BTreeSet<(u32, String)> = links.map(|l| (l.index, l.name.clone())).collect();
        let gone: Vec<u32> = self
            .changed
            .promoting
            .iter()
            .filter(|index| !wanted.iter().any(|(wanted, _)| wanted == *index))
            .copied()
            .collect();
        for index in gone {
            self.set_promotion(index, false);
        }
        for (index, name) in wanted {
            if read(IPV4, &name, "promote_secondaries") == Some(0) {
                self.set_promotion(index, true);
            }
        }
    }

    /// Sets everything back, as the daemon ends.
    pub(super) fn set_back(&mut self) {
        self.local_igmp(false);
        for index in self.changed.promoting.clone() {
            self.set_promotion(index, false);
        }
    }

    fn set_promotion(&mut self, index: u32, on: bool) {
        if on {
            self.note(|changed| changed.promoting.extend([index]));
        }
        let setting = (Setting::PROMOTE_SECONDARIES, u32::from(on));
        // One that is off because its interface is gone needs nothing.
        if let Err(error) = self.control.set_ipv4(index, &[setting])
            && on
        {
            self.say_once(format!("promote_secondaries: {error}"));
        }
        if !on {
            self.note(|changed| changed.promoting.retain(|i| *i != index));
        }
    }
}
