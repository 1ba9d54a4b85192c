//! `vrrp_instance` and `vrrp_sync_group`.

use std::collections::HashMap;
use std::time::Duration;

use super::global::Defaults;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{Auth, Model, SyncGroup, VrrpInstance, VrrpVersion};

/// An advert carries at most this many addresses.
const MAX_ADDRESSES: usize = 255;

impl Lower {
    pub(super) fn instances(
        &mut self,
        top: &[(&'static str, &Node)],
        defaults: &Defaults,
        model: &mut Model,
    ) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut routers: HashMap<(String, u8), Span> = HashMap::new();
        for (_, n) in top.iter().filter(|(k, _)| *k == "vrrp_instance") {
            let Some(name) = n.args().first() else {
                continue;
            };
            if let Some(first) = names.get(name.text.as_str()) {
                let severity = self.replaced();
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        severity,
                        format!("`vrrp_instance {}` is defined twice", name.text),
                    )
                    .at(name.span, "this one is ignored, as by keepalived")
                    .also(*first, "this one counts"),
                );
                continue;
            }
            names.insert(&name.text, name.span);
            let Some(i) = self.instance(n, &name.text, defaults) else {
                continue;
            };
            let key = (i.interface.clone(), i.virtual_router_id);
            if let Some(first) = routers.get(&key) {
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        Severity::Error,
                        format!("virtual_router_id {} is used twice on `{}`", key.1, key.0),
                    )
                    .at(name.span, "this instance and")
                    .also(*first, "this one would take each other's adverts")
                    .help("give each virtual router of an interface a number of its own"),
                );
                continue;
            }
            routers.insert(key, name.span);
            model.instances.push(i);
        }
    }

    fn instance(&mut self, node: &Node, name: &str, defaults: &Defaults) -> Option<VrrpInstance> {
        let mut walked = self.walk(node.children(), Block::Instance);
        let mut unsupported = std::mem::take(&mut walked.unsupported);
        self.default_values(node, &mut unsupported);
        let strict_off = node.children().iter().any(|n| {
            n.keyword() == "strict_mode"
                && n.args()
                    .first()
                    .is_some_and(|w| super::values::boolean(&w.text) == Some(false))
        });
        for d in &defaults.unsupported {
            if !(strict_off && d.message.contains("vrrp_strict")) {
                unsupported.push(d.clone());
            }
        }

        let state = self.state(&walked);
        let priority = self.priority(node, &walked, state);
        let initial_master = state.unwrap_or(priority == 255);
        let interface = self
            .last(&walked, "interface")
            .and_then(|n| n.args().first().cloned());
        let vrid = self.last(&walked, "virtual_router_id").and_then(|n| {
            let w = n.args().first()?;
            self.strict_number(n, w, 1, 255, "keepalived would not run without one")
                .map(|v| v as u8)
        });
        let mut addresses = Vec::new();
        let mut excluded = Vec::new();
        for (list, into) in [
            ("virtual_ipaddress", &mut addresses),
            ("virtual_ipaddress_excluded", &mut excluded),
        ] {
            for (_, n) in walked.acted.iter().filter(|(k, _)| *k == list) {
                let mut seen: HashMap<std::net::IpAddr, Span> = HashMap::new();
                for line in n.children() {
                    let Some(a) = self.address(line, &mut unsupported) else {
                        continue;
                    };
                    if let Some(first) = seen.insert(a.addr, line.span()) {
                        self.push(
                            Diagnostic::new(
                                Code::Duplicate,
                                Severity::Warning,
                                format!("`{}` is listed twice", a.addr),
                            )
                            .at(line.span(), "again here")
                            .also(first, "first here"),
                        );
                    }
                    if a.addr.is_ipv6() && list == "virtual_ipaddress" {
                        unsupported.push(
                            Diagnostic::new(
                                Code::Unsupported,
                                Severity::Error,
                                "IPv6 virtual routers are not supported yet",
                            )
                            .at(line.span(), "an IPv6 address"),
                        );
                    }
                    into.push(a);
                }
            }
        }
        if addresses.len() > MAX_ADDRESSES {
            self.push(
                Diagnostic::new(
                    Code::OutOfRange,
                    Severity::Error,
                    format!("`{name}` has {} virtual addresses", addresses.len()),
                )
                .at(
                    node.whole(),
                    format!("an advert carries at most {MAX_ADDRESSES}"),
                )
                .help("put the others into `virtual_ipaddress_excluded`"),
            );
            return None;
        }
        let version = self.version(&walked, defaults);
        if addresses.is_empty() && unsupported.is_empty() && version == VrrpVersion::V2 {
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
        if addresses.is_empty() && unsupported.is_empty() && version == VrrpVersion::V3 {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    format!("`vrrp_instance {name}` has no virtual address"),
                )
                .at(node.whole(), "version 3 needs at least one")
                .help("add `virtual_ipaddress { ... }`"),
            );
            return None;
        }
        let advert_int = self.advert_int(&walked, version);
        let auth = self.auth(&walked, version, &mut unsupported);
        let nopreempt = self.nopreempt(&walked, initial_master, priority);
        let mcast_src_ip = self.source(&walked);
        let track_interfaces = self.track_interfaces(
            &walked,
            interface.as_ref().map(|w| w.text.as_str()),
            &mut unsupported,
        );

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
        Some(VrrpInstance {
            name: name.to_owned(),
            interface: interface.text,
            virtual_router_id,
            priority,
            initial_master,
            version,
            advert_int,
            auth,
            nopreempt,
            addresses,
            excluded,
            garp_master_delay: garp.delay,
            garp_master_repeat: garp.repeat,
            garp_master_refresh: garp.refresh,
            garp_master_refresh_repeat: garp.refresh_repeat,
            garp_lower_prio_delay: garp.lower_delay,
            garp_lower_prio_repeat: garp.lower_repeat,
            mcast_src_ip,
            track_interfaces,
            dont_track_primary: walked.acted.iter().any(|(k, _)| *k == "dont_track_primary"),
        })
    }

    /// Unsupported settings that hold their default anyway, or an empty list, change nothing.
    fn default_values(&mut self, node: &Node, unsupported: &mut Vec<Diagnostic>) {
        unsupported.retain(|d| {
            let Some(at) = &d.primary else { return true };
            !node
                .children()
                .iter()
                .filter(|n| n.whole() == at.span)
                .any(|n| {
                    let value = n.args().first().map(|w| w.text.as_str());
                    match n.keyword() {
                        "strict_mode" => value.and_then(super::values::boolean) == Some(false),
                        "down_timer_adverts" => value == Some("3"),
                        "unicast_peer" | "track_script" | "track_file" | "track_process"
                        | "track_bfd" | "virtual_routes" => n.children().is_empty(),
                        _ => false,
                    }
                })
        });
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

    fn version(&mut self, walked: &Walked<'_>, defaults: &Defaults) -> VrrpVersion {
        let inherited = defaults.version.unwrap_or(VrrpVersion::V2);
        let Some(n) = self.last(walked, "version") else {
            return inherited;
        };
        match n.args().first().map(|w| w.text.as_str()) {
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

    fn auth(
        &mut self,
        walked: &Walked<'_>,
        version: VrrpVersion,
        unsupported: &mut Vec<Diagnostic>,
    ) -> Auth {
        let Some(node) = self.last(walked, "authentication") else {
            return Auth::None;
        };
        let inner = self.walk(node.children(), Block::Authentication);
        let kind = self.last(&inner, "auth_type");
        let pass = self.last(&inner, "auth_pass");
        let mut is_pass = false;
        if let Some((n, w)) = kind.and_then(|n| n.args().first().map(|w| (n, w))) {
            match w.text.as_str() {
                "PASS" => is_pass = true,
                "AH" => {
                    unsupported.push(
                        Diagnostic::new(
                            Code::Unsupported,
                            Severity::Error,
                            "`auth_type AH` is not supported",
                        )
                        .at(n.whole(), "IPsec AH, which RFC 3768 removed")
                        .help("use PASS, or none, on all hosts of the virtual router"),
                    );
                    return Auth::None;
                }
                t if t.eq_ignore_ascii_case("PASS") => {
                    self.push(
                        Diagnostic::new(
                            Code::OldSpelling,
                            Severity::Note,
                            format!("`auth_type {t}` is taken as PASS"),
                        )
                        .at(
                            w.span,
                            "keepalived 2.2.7 knows only PASS, and would run without a password",
                        )
                        .help("write `PASS`"),
                    );
                    is_pass = true;
                }
                _ => self.invalid(
                    n,
                    w,
                    "PASS or AH",
                    "keepalived ignores this line: there is no authentication",
                ),
            }
        }
        if version == VrrpVersion::V3 {
            if is_pass {
                self.push(
                    Diagnostic::new(
                        Code::Conflict,
                        self.replaced(),
                        "version 3 has no authentication",
                    )
                    .at(
                        node.whole(),
                        "ignored, as by keepalived (RFC 5798, section 9)",
                    ),
                );
            }
            return Auth::None;
        }
        match (is_pass, pass.and_then(|n| n.args().first().map(|w| (n, w)))) {
            (true, Some((n, w))) => {
                let mut bytes = w.raw.clone().unwrap_or_else(|| w.text.clone().into_bytes());
                if bytes.len() > 8 {
                    bytes.truncate(8);
                    self.push(
                        Diagnostic::new(
                            Code::Adjusted,
                            Severity::Note,
                            "only the first 8 bytes of `auth_pass` count",
                        )
                        .at(n.whole(), "longer than 8 bytes"),
                    );
                }
                Auth::Pass(bytes)
            }
            (true, None) => {
                self.push(
                    Diagnostic::new(
                        Code::Incomplete,
                        self.replaced(),
                        "`auth_type PASS` without `auth_pass`",
                    )
                    .at(node.whole(), "there is no authentication, as in keepalived"),
                );
                Auth::None
            }
            (false, Some((n, _))) => {
                self.push(
                    Diagnostic::new(
                        Code::Incomplete,
                        self.replaced(),
                        "`auth_pass` without a valid `auth_type`",
                    )
                    .at(n.whole(), "there is no authentication, as in keepalived")
                    .help("add `auth_type PASS`"),
                );
                Auth::None
            }
            (false, None) => Auth::None,
        }
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

    fn source(&mut self, walked: &Walked<'_>) -> Option<std::net::IpAddr> {
        let (_, n) = *walked
            .acted
            .iter()
            .rev()
            .find(|(k, _)| matches!(*k, "mcast_src_ip" | "unicast_src_ip"))?;
        let w = n.args().first()?;
        self.ip(n, w)
    }

    fn track_interfaces(
        &mut self,
        walked: &Walked<'_>,
        own: Option<&str>,
        unsupported: &mut Vec<Diagnostic>,
    ) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "track_interface") {
            for line in n.children() {
                let Some(name) = line.words.first() else {
                    continue;
                };
                let weight = line
                    .words
                    .iter()
                    .position(|w| w.text == "weight")
                    .and_then(|i| line.words.get(i + 1));
                if weight.is_some_and(|w| w.text != "0") {
                    unsupported.push(
                        Diagnostic::new(
                            Code::Unsupported,
                            Severity::Error,
                            "`weight` of a tracked interface is not supported yet",
                        )
                        .at(line.whole(), "it changes the priority"),
                    );
                    continue;
                }
                for w in &line.words[1..] {
                    if !matches!(w.text.as_str(), "weight" | "0") {
                        self.push(
                            Diagnostic::new(
                                Code::ExtraParameter,
                                Severity::Warning,
                                format!("`{}` means nothing after a tracked interface", w.text),
                            )
                            .at(w.span, "ignored")
                            .help("write one interface a line"),
                        );
                    }
                }
                if Some(name.text.as_str()) == own || out.contains(&name.text) {
                    self.push(
                        Diagnostic::new(
                            Code::Duplicate,
                            Severity::Note,
                            format!("`{}` is tracked already", name.text),
                        )
                        .at(name.span, "this line changes nothing"),
                    );
                    continue;
                }
                out.push(name.text.clone());
            }
        }
        out
    }

    fn garp(&mut self, walked: &Walked<'_>, d: &Defaults) -> Garp {
        let seconds = |l: &mut Self, name: &str| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.whole_seconds(n, w, "keepalived ignores this line")
        };
        let delay = seconds(self, "garp_master_delay").or(d.garp_delay);
        let refresh = seconds(self, "garp_master_refresh").or(d.refresh);
        let lower_delay = seconds(self, "garp_lower_prio_delay").or(d.lower_delay);
        let count = |l: &mut Self, name: &str, min: u32| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            l.repeat(n, w, min, "keepalived ignores this line")
        };
        let repeat = count(self, "garp_master_repeat", 1).or(d.garp_repeat);
        let refresh_repeat = count(self, "garp_master_refresh_repeat", 1).or(d.refresh_repeat);
        let lower_repeat = count(self, "garp_lower_prio_repeat", 0).or(d.lower_repeat);
        let (default_delay, default_repeat) = if d.min_garp { (0, 1) } else { (5, 5) };
        // After a lower advert it is the global setting that holds, not the instance's own.
        let global_delay = d.garp_delay.unwrap_or(Duration::from_secs(default_delay));
        let global_repeat = d.garp_repeat.unwrap_or(default_repeat);
        let delay = delay.unwrap_or(Duration::from_secs(default_delay));
        let repeat = repeat.unwrap_or(default_repeat);
        Garp {
            delay,
            repeat,
            refresh: refresh.unwrap_or_default(),
            refresh_repeat: refresh_repeat.unwrap_or(1),
            lower_delay: lower_delay.unwrap_or(global_delay),
            lower_repeat: lower_repeat.unwrap_or(global_repeat),
        }
    }

    pub(super) fn sync_groups(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut owner: HashMap<String, String> = HashMap::new();
        for (_, node) in top.iter().filter(|(k, _)| *k == "vrrp_sync_group") {
            let Some(name) = node.args().first() else {
                continue;
            };
            if let Some(first) = names.insert(&name.text, name.span) {
                self.push(
                    Diagnostic::new(
                        Code::Duplicate,
                        self.replaced(),
                        format!("`vrrp_sync_group {}` is defined twice", name.text),
                    )
                    .at(name.span, "this one is ignored, as by keepalived")
                    .also(first, "this one counts"),
                );
                continue;
            }
            let mut walked = self.walk(node.children(), Block::SyncGroup);
            let unsupported = std::mem::take(&mut walked.unsupported);
            let mut members: Vec<String> = Vec::new();
            let mut left_out_member = None;
            for (_, group) in walked.acted.iter().filter(|(k, _)| *k == "group").take(1) {
                for w in group.children().iter().flat_map(|line| line.words.iter()) {
                    let left_out = self
                        .left_out
                        .iter()
                        .any(|l| l.strip_prefix("vrrp_instance ") == Some(&w.text));
                    if left_out {
                        left_out_member = Some(w);
                        continue;
                    }
                    if !model.instances.iter().any(|i| i.name == w.text) {
                        let defined = top.iter().any(|(k, n)| {
                            *k == "vrrp_instance"
                                && n.args().first().is_some_and(|a| a.text == w.text)
                        });
                        if !defined {
                            self.push(
                                Diagnostic::new(
                                    Code::UnknownName,
                                    self.replaced(),
                                    format!("there is no `vrrp_instance {}`", w.text),
                                )
                                .at(w.span, "ignored, as by keepalived"),
                            );
                        }
                        continue;
                    }
                    if let Some(other) = owner.get(&w.text) {
                        let d = Diagnostic::new(
                            Code::Duplicate,
                            self.replaced(),
                            format!("`{}` is already in `vrrp_sync_group {other}`", w.text),
                        )
                        .at(w.span, "ignored, as by keepalived");
                        self.push(d);
                        continue;
                    }
                    owner.insert(w.text.clone(), name.text.clone());
                    members.push(w.text.clone());
                }
            }
            let what = format!("vrrp_sync_group {}", name.text);
            if !unsupported.is_empty() {
                // Its members would follow what the group tracks, so they cannot run without it.
                self.leave_out(&what, unsupported);
                for m in &members {
                    model.instances.retain(|i| i.name != *m);
                    self.left_out.push(format!("vrrp_instance {m}"));
                }
                continue;
            }
            if let Some(w) = left_out_member {
                let d = Diagnostic::new(
                    Code::Unsupported,
                    Severity::Warning,
                    format!("`{}` is left out, so it is not in this group", w.text),
                )
                .at(w.span, "left out");
                self.push(d);
            }
            if members.is_empty() {
                if left_out_member.is_none() {
                    self.push(
                        Diagnostic::new(
                            Code::Incomplete,
                            Severity::Warning,
                            format!("`{what}` has no members"),
                        )
                        .at(node.whole(), "ignored, as by keepalived"),
                    );
                }
                continue;
            }
            // Only owners of their addresses start as masters in a group.
            for i in model.instances.iter_mut().filter(|i| i.priority != 255) {
                i.initial_master &= !members.contains(&i.name);
            }
            model.sync_groups.push(SyncGroup {
                name: name.text.clone(),
                members,
            });
        }
    }
}

struct Garp {
    delay: Duration,
    repeat: u32,
    refresh: Duration,
    refresh_repeat: u32,
    lower_delay: Duration,
    lower_repeat: u32,
}
