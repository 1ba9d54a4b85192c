//! `global_defs`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::Lower;
use super::service::MAX_TIMEOUT;
use super::vmac::Prefixes;
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::{self, Block};
use crate::config::tree::Node;
use crate::model::{Election, ExtraGarp, Family, Global, Timeouts, VrrpVersion};

/// The greatest number of a CPU that the kernel's interface has room for.
const MAX_CPU: u64 = 1023;

/// What instances inherit.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) version: Option<VrrpVersion>,
    pub(super) garp_delay: Option<Duration>,
    pub(super) garp_repeat: Option<u32>,
    pub(super) refresh: Option<Duration>,
    pub(super) refresh_repeat: Option<u32>,
    pub(super) lower_delay: Option<Duration>,
    pub(super) lower_repeat: Option<u32>,
    pub(super) min_garp: bool,
    /// `vrrp_garp_extra_if`.
    pub(super) extra_garp: Option<ExtraGarp>,
    /// What instances elect by.
    pub(super) election: Election,
    /// `vrrp_mcast_group4`.
    pub(super) group4: Option<IpAddr>,
    /// `vrrp_mcast_group6`.
    pub(super) group6: Option<IpAddr>,
    /// `vrrp_strict`.
    pub(super) strict: bool,
    /// `vrrp_check_unicast_src`.
    pub(super) check_unicast_src: bool,
    /// Settings that every instance would need: each is unsupported for that reason.
    pub(super) unsupported: Vec<Diagnostic>,
    /// `default_interface`.
    pub(super) interface: Option<String>,
    /// `vmac_prefix` and the like.
    pub(super) vmac_prefixes: Prefixes,
}

impl Lower {
    pub(super) fn global(&mut self, node: &Node, global: &mut Global, defaults: &mut Defaults) {
        let walked = self.walk(node.children(), Block::Global);
        for d in &walked.unsupported {
            if !self.harmless(node, d) {
                defaults.unsupported.push(d.clone());
            }
        }
        let group4 = self.group(&walked, "vrrp_mcast_group4", Family::V4);
        defaults.group4 = group4.or(defaults.group4);
        let group6 = self.group(&walked, "vrrp_mcast_group6", Family::V6);
        defaults.group6 = group6.or(defaults.group6);
        self.election_defaults(&walked, defaults);
        defaults.vmac_prefixes = self.vmac_prefixes(&walked, global);
        global.garp_interval = self
            .garp_interval(&walked, "vrrp_garp_interval")
            .unwrap_or(global.garp_interval);
        global.gna_interval = self
            .garp_interval(&walked, "vrrp_gna_interval")
            .unwrap_or(global.gna_interval);
        for &(name, n) in &walked.acted {
            let word = n.args().first();
            match (name, word) {
                ("router_id", Some(w)) => {
                    if let Some(old) = global.router_id.replace(w.text.clone())
                        && old != w.text
                    {
                        self.push(
                            Diagnostic::new(
                                Code::Duplicate,
                                Severity::Warning,
                                "`router_id` is set twice",
                            )
                            .at(n.whole(), "this one counts"),
                        );
                    }
                }
                ("default_interface", Some(w)) => defaults.interface = Some(w.text.clone()),
                ("vrrp_version", Some(w)) => match w.text.as_str() {
                    "2" => defaults.version = Some(VrrpVersion::V2),
                    "3" => defaults.version = Some(VrrpVersion::V3),
                    _ => self.invalid(n, w, "2 or 3", "keepalived ignores this line: 2 holds"),
                },
                ("vrrp_garp_master_delay", Some(w)) => {
                    defaults.garp_delay = self
                        .whole_seconds(n, w, "keepalived ignores this line: 5 holds")
                        .or(defaults.garp_delay);
                }
                ("vrrp_garp_master_repeat", Some(w)) => {
                    defaults.garp_repeat = self
                        .repeat(n, w, 1, "keepalived sends at least one")
                        .or(defaults.garp_repeat);
                }
                ("vrrp_garp_master_refresh", Some(w)) => {
                    defaults.refresh = self
                        .whole_seconds(n, w, "keepalived ignores this line: 0 holds")
                        .or(defaults.refresh);
                }
                ("vrrp_garp_master_refresh_repeat", Some(w)) => {
                    defaults.refresh_repeat = self
                        .repeat(n, w, 1, "keepalived sends at least one")
                        .or(defaults.refresh_repeat);
                }
                ("vrrp_garp_lower_prio_delay", Some(w)) => {
                    defaults.lower_delay = self
                        .whole_seconds(n, w, "keepalived ignores this line")
                        .or(defaults.lower_delay);
                }
                ("vrrp_garp_lower_prio_repeat", Some(w)) => {
                    defaults.lower_repeat = self
                        .repeat(n, w, 0, "keepalived ignores this line")
                        .or(defaults.lower_repeat);
                }
                ("vrrp_garp_extra_if", _) => {
                    defaults.extra_garp = self.extra_garp(n, 1).unwrap_or(defaults.extra_garp);
                }
                ("rs_init_notifies", _) => {
                    global.rs_init_notifies = self.switch(n).unwrap_or(global.rs_init_notifies);
                }
                ("disable_local_igmp", _) => global.disable_local_igmp = true,
                ("vrrp_check_unicast_src", _) => {
                    defaults.check_unicast_src =
                        self.switch(n).unwrap_or(defaults.check_unicast_src);
                }
                ("vrrp_strict", _) => {
                    defaults.strict = self.switch(n).unwrap_or(defaults.strict);
                }
                ("vrrp_min_garp", _) => {
                    defaults.min_garp = self.switch(n).unwrap_or(defaults.min_garp)
                }
                ("vrrp_startup_delay", Some(w)) => {
                    let max = Duration::from_secs(u64::from(u32::MAX / 1_000_000));
                    let instead = "keepalived ignores this line";
                    global.startup_delay = self
                        .timer(n, w, Duration::ZERO, max, instead)
                        .unwrap_or(global.startup_delay);
                }
                ("vrrp_rt_priority", Some(w)) => {
                    let given = self.number(n, w, 1, 99, "keepalived ignores this line");
                    global.vrrp_rt_priority = given
                        .and_then(|p| u8::try_from(p).ok())
                        .or(global.vrrp_rt_priority);
                }
                ("bfd_rt_priority", Some(w)) => {
                    let given = self.number(n, w, 1, 99, "keepalived ignores this line");
                    global.bfd_rt_priority = given
                        .and_then(|p| u8::try_from(p).ok())
                        .or(global.bfd_rt_priority);
                }
                ("vrrp_cpu_affinity", _) => self.cpus(name, n, &mut global.vrrp_cpu_affinity),
                ("checker_cpu_affinity", _) => {
                    self.cpus(name, n, &mut global.checker_cpu_affinity);
                }
                ("bfd_cpu_affinity", _) => self.cpus(name, n, &mut global.bfd_cpu_affinity),
                ("checker_log_all_failures", _) => {
                    self.log_all_failures = self.switch(n).unwrap_or(self.log_all_failures);
                }
                ("verify_certificate", _) => {
                    self.trust.verify = self.switch(n).unwrap_or(self.trust.verify);
                }
                ("check_dr_path", _) => {
                    self.check_dr_path = self.switch(n).unwrap_or(self.check_dr_path);
                }
                ("reload_time_file", Some(w)) => {
                    global.reload_time_file = Some(w.text.clone());
                }
                ("reload_repeat", _) => global.reload_repeat = true,
                ("log_unknown_vrids", _) => global.log_unknown_vrids = true,
                ("lvs_timeouts", _) => self.lvs_timeouts(n, &mut global.timeouts),
                ("flood_rate", Some(w)) => {
                    global.flood_rate = self
                        .own_number(n, w, 0, u64::from(u32::MAX))
                        .or(global.flood_rate);
                }
                _ => {}
            }
        }
        self.global_scripts(&walked, global);
        self.mail(&walked, &mut global.mail);
        // What is said in more detail counts.
        let own = self.timeouts(&walked);
        let t = &mut global.timeouts;
        *t = Timeouts {
            established: own.established.or(t.established),
            syn_recv: own.syn_recv.or(t.syn_recv),
            fin_wait: own.fin_wait.or(t.fin_wait),
            time_wait: own.time_wait.or(t.time_wait),
            close: own.close.or(t.close),
            close_wait: own.close_wait.or(t.close_wait),
            last_ack: own.last_ack.or(t.last_ack),
            udp: own.udp.or(t.udp),
            sctp: own.sctp.or(t.sctp),
        };
    }

    /// CPUs beside those of lines before.
    fn cpus(&mut self, name: &'static str, n: &Node, cpus: &mut BTreeSet<u16>) {
        for w in n.args() {
            let given = self.strict_number(n, w, 0, MAX_CPU, "keepalived ignores this CPU");
            if let Some(cpu) = given.and_then(|cpu| u16::try_from(cpu).ok()) {
                self.places.cpus.push((cpu, name, w.span));
                cpus.insert(cpu);
            }
        }
    }

    /// `lvs_timeouts [tcp N] [tcpfin N] [udp N]`; 0 leaves a timeout as it is.
    fn lvs_timeouts(&mut self, n: &Node, timeouts: &mut Timeouts) {
        let mut words = n.args().iter();
        while let Some(w) = words.next() {
            let field = match w.text.as_str() {
                "tcp" => &mut timeouts.established,
                "tcpfin" => &mut timeouts.fin_wait,
                "udp" => &mut timeouts.udp,
                _ => {
                    self.invalid_word(w, "tcp, tcpfin or udp", "ignored, as by keepalived");
                    continue;
                }
            };
            let Some(value) = words.next() else {
                self.invalid_word(w, "of use without a number", "ignored, as by keepalived");
                return;
            };
            let instead = "keepalived ignores this one";
            if let Some(v) = self.strict_number(n, value, 0, MAX_TIMEOUT, instead) {
                *field = (v != 0).then_some(v as u32).or(*field);
            }
        }
    }

    /// A setting that is not built but has its default here, so that nothing is missed.
    fn harmless(&self, node: &Node, d: &Diagnostic) -> bool {
        let Some(place) = d.primary.as_ref() else {
            return false;
        };
        node.children()
            .iter()
            .filter(|n| n.whole() == place.span)
            .any(|n| {
                let value = n.args().first().map(|w| w.text.as_str());
                value.is_some()
                    && keywords::find(Block::Global, n.keyword())
                        .is_some_and(|k| Some(k.default) == value)
            })
    }

    pub(super) fn whole_seconds(
        &mut self,
        n: &Node,
        w: &crate::config::tree::Word,
        instead: &str,
    ) -> Option<Duration> {
        self.number(n, w, 0, u64::from(u32::MAX), instead)
            .map(Duration::from_secs)
    }

    /// How many gratuitous ARPs; 0 becomes `min`, as in keepalived.
    pub(super) fn repeat(
        &mut self,
        n: &Node,
        w: &crate::config::tree::Word,
        min: u32,
        instead: &str,
    ) -> Option<u32> {
        let v = self.number(n, w, 0, u64::from(u32::MAX), instead)?;
        let v = u32::try_from(v).unwrap_or(u32::MAX);
        if v < min {
            self.adjusted(
                n,
                format!("`{}` must be at least {min}", n.keyword()),
                &format!("{min} is taken"),
            );
            return Some(min);
        }
        Some(v)
    }
}
