//! `vrrp_instance`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::family::family;
use super::global::Defaults;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{Auth, Family, Model, VrrpInstance, VrrpVersion};

impl Lower {
    pub(super) fn instances(
        &mut self,
        top: &[(&'static str, &Node)],
        defaults: &Defaults,
        model: &mut Model,
    ) {
        let mut routers: HashMap<(String, u8, Family), Vec<usize>> = HashMap::new();
        let mut spans: BTreeMap<String, Span> = BTreeMap::new();
        for (name, n) in self.named(top, "vrrp_instance", true) {
            let Some(i) = self.instance(n, &name.text, defaults) else {
                continue;
            };
            let key = (i.interface.clone(), i.virtual_router_id, i.family());
            let same = routers.entry(key.clone()).or_default();
            let mut others = same.iter().map(|at| &model.instances[*at]);
            if let Some(first) = others.find(|o| o.meets(&i)) {
                let first = spans[&first.name];
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        Severity::Error,
                        format!(
                            "virtual_router_id {} of {} is used twice on `{}`",
                            key.1, key.2, key.0
                        ),
                    )
                    .at(name.span, "this instance and")
                    .also(first, "this one would take each other's adverts")
                    .help(
                        "give each virtual router of an interface a number of its own, or unicast \
                         peers of its own",
                    ),
                );
                continue;
            }
            same.push(model.instances.len());
            spans.insert(i.name.clone(), name.span);
            model.instances.push(i);
        }
        self.name_vmacs(&mut model.instances, &defaults.vmac_prefixes, &spans);
    }

    fn instance(&mut self, node: &Node, name: &str, defaults: &Defaults) -> Option<VrrpInstance> {
        let mut walked = self.walk(node.children(), Block::Instance);
        let mut unsupported = std::mem::take(&mut walked.unsupported);
        unsupported.extend(defaults.unsupported.iter().cloned());

        let strict = self.is_strict(&walked, defaults);
        let state = self.state(&walked);
        let priority = self.priority(node, &walked, state);
        let state = match strict {
            true => self.state_of_owner(&walked, state, priority),
            false => state,
        };
        let initial_master = state.unwrap_or(priority == 255);
        let interface = self
            .last(&walked, "interface")
            .and_then(|n| n.args().first().cloned());
        let vrid = self.last(&walked, "virtual_router_id").and_then(|n| {
            let w = n.args().first()?;
            self.strict_number(n, w, 1, 255, "keepalived would not run without one")
                .map(|v| v as u8)
        });
        let family = family(&walked);
        let (mut addresses, mut excluded) = self.address_lists(node, name, family, &walked);
        let version = self.version(&walked, defaults, family);
        let needs_address = strict || version == VrrpVersion::V3;
        if addresses.is_empty() && unsupported.is_empty() && !needs_address {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Warning,
                    format!("`vrrp_instance {name}` has no virtual address"),
                )
                .at(
                    node.whole(),
                    "it will elect a master, and nothing moves with it",
                ),
            );
        }
        if addresses.is_empty() && unsupported.is_empty() && needs_address {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    format!("`vrrp_instance {name}` has no virtual address"),
                )
                .at(
                    node.whole(),
                    match version {
                        VrrpVersion::V2 => "strict mode needs at least one",
                        VrrpVersion::V3 => "version 3 needs at least one",
                    },
                )
                .help("add `virtual_ipaddress { ... }`"),
            );
            return None;
        }
        let advert_int = self.advert_int(&walked, version);
        let auth = self.auth(&walked, version);
        let initial_master = initial_master && !self.listens_first(&walked, &auth, priority);
        let nopreempt = self.nopreempt(&walked, initial_master, priority);
        let election = self.election(&walked, defaults, initial_master, nopreempt);
        let mcast_src_ip = self.source(&walked, family);
        let track_src_ip = self.tracks_source(&walked, mcast_src_ip);
        let transport = self.transport(&walked, defaults, family);
        self.first_is_link_local(&walked, &addresses, &transport, strict);
        let vmac = self.vmac(&walked, &transport, &mut unsupported);
        let is_of_ipv6 = family == Family::V6;
        for list in [&mut addresses, &mut excluded] {
            let on = interface.as_ref().map(|w| w.text.as_str());
            Self::use_vmac_addr(&walked, on, list, is_of_ipv6);
        }

        if self.leave_out(&format!("vrrp_instance {name}"), unsupported) {
            return None;
        }
        let (Some(interface), Some(virtual_router_id)) = (interface, vrid) else {
            let missing = if walked.acted.iter().any(|(k, _)| *k == "interface") {
                "virtual_router_id"
            } else {
                "interface"
            };
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    format!("`vrrp_instance {name}` has no valid `{missing}`"),
                )
                .at(node.whole(), "it cannot run without one")
                .help(if missing == "interface" {
                    "name the interface that carries the adverts: `interface eth0`"
                } else {
                    "give it a number from 1 to 255 that no other virtual router of the network has"
                }),
            );
            return None;
        };
        let garp = self.garp(&walked, defaults);
        let notify = self.notify(&walked);
        let mut tracks = self.tracks(&walked, Some(interface.text.as_str()));
        if priority == 255 {
            self.without_weights(&mut tracks, node.whole(), "by the owner of the addresses");
        }
        let accept = self.accept(&walked, strict, priority, version);
        let (routes, rules) = self.virtual_routing(&walked);
        let mut instance = VrrpInstance {
            name: name.to_owned(),
            interface: interface.text,
            virtual_router_id,
            priority,
            initial_master,
            version,
            advert_int,
            auth,
            nopreempt,
            v3_checksum_as_v2: self.v3_checksum_as_v2(&walked),
            election,
            accept,
            addresses,
            excluded,
            garp_master_delay: garp.delay,
            garp_master_repeat: garp.repeat,
            garp_master_refresh: garp.refresh,
            garp_master_refresh_repeat: garp.refresh_repeat,
            garp_lower_prio_delay: garp.lower_delay,
            garp_lower_prio_repeat: garp.lower_repeat,
            garp_extra_if: self
                .last(&walked, "garp_extra_if")
                .and_then(|n| self.extra_garp(n, 0))
                .unwrap_or(defaults.extra_garp),
            mcast_src_ip,
            track_src_ip,
            transport,
            dont_track_primary: walked.acted.iter().any(|(k, _)| *k == "dont_track_primary"),
            tracks,
            vmac,
            promote_secondaries: walked
                .acted
                .iter()
                .any(|(k, _)| *k == "promote_secondaries"),
            routes,
            rules,
            notify,
        };
        if strict {
            self.be_strict(node, &walked, &mut instance);
        }
        Some(instance)
    }

    /// Without a `priority`, `state MASTER` makes an instance the owner of its addresses: 255.
    fn priority(&mut self, node: &Node, walked: &Walked<'_>, master: Option<bool>) -> u8 {
        let Some(n) = self.last(walked, "priority") else {
            if master != Some(true) {
                return 100;
            }
            self.defaulted(
                node,
                format!("`{}` has `state MASTER` and no priority", node.title()),
                "255 is taken, as by keepalived: the owner of the addresses",
                "add `priority`, unless that is what you want",
            );
            return 255;
        };
        n.args()
            .first()
            .and_then(|w| {
                self.strict_number(n, w, 1, 255, "keepalived takes 100, and so it is here")
            })
            .map_or(100, |v| v as u8)
    }

    fn state(&mut self, walked: &Walked<'_>) -> Option<bool> {
        let mut master: Option<bool> = None;
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "state") {
            let Some(w) = n.args().first() else { continue };
            match w.text.as_str() {
                "MASTER" => master = Some(true),
                "BACKUP" if master == Some(true) => self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        Severity::Warning,
                        "`state BACKUP` after `state MASTER`",
                    )
                    .at(n.whole(), "ignored, as by keepalived"),
                ),
                "BACKUP" => master = Some(false),
                other => {
                    let help = match other {
                        "master" | "Master" => "write `MASTER`: case matters",
                        "backup" | "Backup" => "write `BACKUP`: case matters",
                        "SLAVE" | "slave" => "write `BACKUP`",
                        _ => "write `MASTER` or `BACKUP`",
                    };
                    let severity = self.replaced();
                    self.push(
                        Diagnostic::new(
                            Code::InvalidValue,
                            severity,
                            format!("`{other}` is no state"),
                        )
                        .at(w.span, "taken as BACKUP, as by keepalived")
                        .help(help),
                    );
                    master = Some(false);
                }
            }
        }
        master
    }

    fn version(&mut self, walked: &Walked<'_>, defaults: &Defaults, family: Family) -> VrrpVersion {
        let inherited = match family {
            Family::V4 => defaults.version.unwrap_or(VrrpVersion::V2),
            Family::V6 => VrrpVersion::V3,
        };
        let Some(n) = self.last(walked, "version") else {
            return inherited;
        };
        match n.args().first().map(|w| w.text.as_str()) {
            Some("2") if family == Family::V6 => {
                self.adjusted(
                    n,
                    "version 2 is for IPv4".to_owned(),
                    "version 3 is taken; keepalived sends a form of its own then: give all hosts 3",
                );
                VrrpVersion::V3
            }
            Some("2") => VrrpVersion::V2,
            Some("3") => VrrpVersion::V3,
            _ => {
                if let Some(w) = n.args().first() {
                    self.invalid(n, w, "2 or 3", "keepalived ignores this line");
                }
                inherited
            }
        }
    }

    /// Version 2 counts whole seconds, version 3 centiseconds.
    fn advert_int(&mut self, walked: &Walked<'_>, version: VrrpVersion) -> Duration {
        let one = Duration::from_secs(1);
        let Some(n) = self.last(walked, "advert_int") else {
            return one;
        };
        let Some(w) = n.args().first() else {
            return one;
        };
        let instead = "keepalived ignores this line: 1 s holds";
        let Some(given) = self.timer(
            n,
            w,
            Duration::from_millis(10),
            Duration::from_secs(255),
            instead,
        ) else {
            return one;
        };
        let (step, max, what) = match version {
            VrrpVersion::V2 => (one, Duration::from_secs(255), "whole seconds"),
            VrrpVersion::V3 => (
                Duration::from_millis(10),
                Duration::from_millis(40_950),
                "centiseconds up to 40.95",
            ),
        };
        let (given_us, step_us) = (given.as_micros() as u64, step.as_micros() as u64);
        let rounded =
            Duration::from_micros(((given_us + step_us / 2) / step_us).max(1) * step_us).min(max);
        if rounded != given {
            let number = if version == VrrpVersion::V2 { 2 } else { 3 };
            self.adjusted(
                n,
                format!(
                    "version {number} counts {what}: {} is taken as {}",
                    w.text,
                    rounded.as_secs_f64()
                ),
                "rounded, as by keepalived",
            );
        }
        rounded
    }

    /// With AH a host must hear the others' sequence number before it speaks.
    fn listens_first(&mut self, walked: &Walked<'_>, auth: &Auth, priority: u8) -> bool {
        let ah = match auth {
            Auth::Ah(_) => priority != 255,
            Auth::None | Auth::Pass(_) => false,
        };
        if let Some(n) = self.last(walked, "state").filter(|_| ah) {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    "`state MASTER` does not go together with `auth_type AH`",
                )
                .at(n.whole(), "taken as BACKUP, as by keepalived"),
            );
        }
        ah
    }

    fn nopreempt(&mut self, walked: &Walked<'_>, initial_master: bool, priority: u8) -> bool {
        let last = walked
            .acted
            .iter()
            .rev()
            .find(|(k, _)| matches!(*k, "preempt" | "nopreempt"));
        let Some(("nopreempt", n)) = last else {
            return false;
        };
        if initial_master || priority == 255 {
            let with = if initial_master {
                "state MASTER"
            } else {
                "priority 255"
            };
            self.push(
                Diagnostic::new(Code::Conflict, self.replaced(), format!("`nopreempt` does not go together with `{with}`"))
                    .at(n.whole(), "ignored, as by keepalived")
                    .help("write `state BACKUP` on both hosts: the priority decides who becomes master first"),
            );
            return false;
        }
        true
    }
}
