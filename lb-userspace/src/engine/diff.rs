//! The difference of two configurations, a line for each change: what `reload` prints.
//!
//! Works on the serialised form, so that a field added to the model shows up here by itself.

mod lists;
mod loss;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

pub use loss::lost;

use crate::model::{Model, RealServer, Service, ServiceKey, SyncGroup, VrrpInstance, VrrpScript};

/// What a line of the plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something comes.
    Add,
    /// Something goes.
    Remove,
    /// Something changes in place.
    Change,
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Line {
    /// What it does.
    pub kind: Kind,
    /// To what, in the words of keepalived.conf.
    pub what: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.kind {
            Kind::Add => '+',
            Kind::Remove => '-',
            Kind::Change => '~',
        };
        write!(f, "{sign} {}", self.what)
    }
}

/// What leads from `old` to `new`; empty when they mean the same.
#[must_use]
pub fn diff(old: &Model, new: &Model) -> Vec<Line> {
    let mut lines = Vec::new();
    fields("global_defs", &old.global, &new.global, &[], &mut lines);
    lists::statics(old, new, &mut lines);
    blocks(
        &old.vrrp_scripts,
        &new.vrrp_scripts,
        |s: &VrrpScript| format!("vrrp_script {}", s.name),
        &["name"],
        &mut lines,
    );
    blocks(
        &old.instances,
        &new.instances,
        instance_name,
        &["name", "addresses", "excluded", "routes", "rules"],
        &mut lines,
    );
    for instance in &new.instances {
        if let Some(before) = old.instances.iter().find(|o| o.name == instance.name) {
            lists::instance(&instance_name(instance), before, instance, &mut lines);
        }
    }
    blocks(
        &old.track_files,
        &new.track_files,
        |f| format!("track_file {}", f.name),
        &["name"],
        &mut lines,
    );
    blocks(
        &old.track_processes,
        &new.track_processes,
        |p| format!("vrrp_track_process {}", p.name),
        &["name"],
        &mut lines,
    );
    blocks(
        &old.bfd_instances,
        &new.bfd_instances,
        |b| format!("bfd_instance {}", b.name),
        &["name"],
        &mut lines,
    );
    blocks(
        &old.sync_groups,
        &new.sync_groups,
        group_name,
        &["name"],
        &mut lines,
    );
    blocks(
        &old.services,
        &new.services,
        service_name,
        &["key", "group", "real_servers"],
        &mut lines,
    );
    let before: BTreeMap<String, &Service> =
        old.services.iter().map(|s| (service_name(s), s)).collect();
    for service in &new.services {
        let name = service_name(service);
        if let Some(before) = before.get(&name) {
            members(before, service, &name, &mut lines);
            // With the port of the service; those of a group have several.
            let port = match service.group {
                Some(_) => String::new(),
                None => format!(" {}", service.key.port),
            };
            let label = |rs: &RealServer| format!("real_server {}{port} of {name}", rs.addr);
            blocks(
                &before.real_servers,
                &service.real_servers,
                label,
                &["addr", "port", "checks"],
                &mut lines,
            );
            for server in &service.real_servers {
                let was = |o: &&RealServer| label(o) == label(server);
                if let Some(was) = before.real_servers.iter().find(was) {
                    lists::checks(&label(server), was, server, &mut lines);
                }
            }
            if moved(&before.real_servers, &service.real_servers) {
                lines.push(Line {
                    kind: Kind::Change,
                    what: format!("{name}: order of the real servers"),
                });
            }
        }
    }
    lines
}

/// Whether `new` does nothing at all while `old` does something: a file that was truncated or is
/// half written, which must not end the service. (keepalived takes every address away.)
#[must_use]
pub fn empties(old: &Model, new: &Model) -> bool {
    let idle = |m: &Model| m.instances.is_empty() && m.services.is_empty();
    idle(new) && !idle(old)
}

fn instance_name(i: &VrrpInstance) -> String {
    format!("vrrp_instance {}", i.name)
}

fn group_name(g: &SyncGroup) -> String {
    format!("vrrp_sync_group {}", g.name)
}

/// A service as the plan names it.
pub(crate) fn service_name(s: &Service) -> String {
    let protocol = s.key.protocol.name();
    match &s.group {
        Some(g) => format!("virtual_server group {} {protocol}", g.name),
        None => format!("virtual_server {} {} {protocol}", s.key.addr, s.key.port),
    }
}

/// Addresses that come to a group or leave it.
fn members(old: &Service, new: &Service, name: &str, lines: &mut Vec<Line>) {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (old.keys().collect(), new.keys().collect());
    let mut say = |kind, key: &ServiceKey| {
        lines.push(Line {
            kind,
            what: format!("{} {} of {name}", key.addr, key.port),
        });
    };
    for key in before.difference(&after) {
        say(Kind::Remove, key);
    }
    for key in after.difference(&before) {
        say(Kind::Add, key);
    }
}

/// Whether those in both lists stand in another order, which schedulers go by.
fn moved(old: &[RealServer], new: &[RealServer]) -> bool {
    let rest = |these: &[RealServer], others: &[RealServer]| -> Vec<_> {
        let others: BTreeSet<_> = others.iter().map(|s| s.addr).collect();
        let addrs = these.iter().map(|s| s.addr);
        addrs.filter(|a| others.contains(a)).collect()
    };
    rest(old, new) != rest(new, old)
}

/// Compares two lists of named blocks: removed, added, changed.
fn blocks<T: Serialize>(
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    skip: &[&str],
    lines: &mut Vec<Line>,
) {
    let before: BTreeMap<String, &T> = old.iter().map(|b| (name(b), b)).collect();
    let after: BTreeMap<String, &T> = new.iter().map(|b| (name(b), b)).collect();
    for block in old {
        let what = name(block);
        if !after.contains_key(&what) {
            lines.push(Line {
                kind: Kind::Remove,
                what,
            });
        }
    }
    for block in new {
        let what = name(block);
        match before.get(&what) {
            None => lines.push(Line {
                kind: Kind::Add,
                what,
            }),
            Some(b) => fields(&what, *b, block, skip, lines),
        }
    }
}

/// Compares two values field by field.
fn fields<T: Serialize>(what: &str, old: &T, new: &T, skip: &[&str], lines: &mut Vec<Line>) {
    let (Some(old), Some(new)) = (object(old), object(new)) else {
        return;
    };
    for (key, after) in &new {
        if skip.contains(&key.as_str()) {
            continue;
        }
        let before = old.get(key).unwrap_or(&Value::Null);
        if before == after {
            continue;
        }
        let change = if key == "auth" {
            "auth changed".to_owned() // a password has no place in a terminal or a log
        } else {
            format!("{} {} -> {}", word(key), show(before), show(after))
        };
        lines.push(Line {
            kind: Kind::Change,
            what: format!("{what}: {change}"),
        });
    }
}

fn object<T: Serialize>(value: &T) -> Option<serde_json::Map<String, Value>> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// The word of keepalived.conf for a field of the model.
fn word(field: &str) -> &str {
    match field {
        "startup_delay" => "vrrp_startup_delay",
        "garp_interval" => "vrrp_garp_interval",
        "gna_interval" => "vrrp_gna_interval",
        "garp_groups" => "garp_group",
        "link_delays" => "interface_up_down_delays",
        "script_security" => "enable_script_security",
        "fifo_states_on_reload" => "fifo_write_vrrp_states_on_reload",
        "initial_master" => "state MASTER",
        "vmac" => "use_vmac",
        "scheduler" => "lb_algo",
        "sched_flags" => "flags of lb_algo",
        "method" => "lb_kind",
        other => other,
    }
}

/// A value for people: durations in seconds, flags as those that are set, nothing as "none".
fn show(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(s) => s.clone(),
        Value::Object(map) => {
            if let (Some(secs), Some(nanos), 2) = (
                map.get("secs").and_then(Value::as_u64),
                map.get("nanos").and_then(Value::as_u64),
                map.len(),
            ) {
                let d = std::time::Duration::new(secs, u32::try_from(nanos).unwrap_or(0));
                return format!("{}s", d.as_secs_f64());
            }
            if let Some(Value::Array(command)) = map.get("command") {
                let words: Vec<String> = command.iter().map(show).collect();
                let user = map.get("user").filter(|u| !u.is_null());
                let user = user.map(|u| format!(" as {}", show(u)));
                return words.join(" ") + &user.unwrap_or_default();
            }
            if let Some(name) = map.get("name") {
                let mut rest = map.clone();
                rest.remove("name");
                return match show(&Value::Object(rest)).as_str() {
                    "none" => show(name),
                    rest => format!("{} {rest}", show(name)),
                };
            }
            let inner: Vec<String> = map
                .iter()
                .filter(|(_, v)| {
                    let empty = v.as_array().is_some_and(Vec::is_empty);
                    !empty && !matches!(v, Value::Null | Value::Bool(false))
                })
                .map(|(k, v)| match v {
                    Value::Bool(true) => k.clone(),
                    _ => format!("{k} {}", show(v)),
                })
                .collect();
            match inner.is_empty() {
                true => "none".to_owned(),
                false => inner.join(" "),
            }
        }
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", inner.join(", "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Auth, Election, ForwardMethod, Protocol, Scheduler, ServiceKey, Transport, Tunnel,
        VrrpVersion,
    };
    use std::time::Duration;

    fn server(last: u8, weight: u16) -> RealServer {
        RealServer::new(std::net::Ipv4Addr::new(10, 0, 0, last).into(), 80, weight)
    }

    fn model() -> Model {
        Model {
            instances: vec![VrrpInstance {
                name: "VI_1".into(),
                interface: "eth0".into(),
                virtual_router_id: 1,
                priority: 100,
                initial_master: false,
                version: VrrpVersion::V2,
                advert_int: Duration::from_secs(1),
                auth: Auth::Pass(b"1111".to_vec()),
                nopreempt: false,
                addresses: Vec::new(),
                excluded: Vec::new(),
                garp_master_delay: Duration::from_secs(5),
                garp_master_repeat: 5,
                garp_master_refresh: Duration::ZERO,
                garp_master_refresh_repeat: 1,
                garp_lower_prio_delay: Duration::from_secs(5),
                garp_lower_prio_repeat: 5,
                garp_extra_if: None,
                mcast_src_ip: None,
                track_src_ip: false,
                v3_checksum_as_v2: false,
                election: Election::default(),
                accept: true,
                transport: Transport::default(),
                dont_track_primary: false,
                vmac: None,
                promote_secondaries: false,
                routes: Vec::new(),
                rules: Vec::new(),
                tracks: crate::model::Tracks::default(),
                notify: crate::model::VrrpNotify::default(),
            }],
            services: vec![Service {
                scheduler: Scheduler::Rr,
                real_servers: vec![server(1, 1), server(2, 1)],
                ..Service::new(ServiceKey {
                    addr: "192.0.2.1".parse().unwrap(),
                    port: 80,
                    protocol: Protocol::Tcp,
                })
            }],
            ..Model::default()
        }
    }

    #[test]
    fn equal_models_give_an_empty_plan() {
        assert_eq!(diff(&model(), &model()), []);
    }

    #[test]
    fn every_change_is_one_line_in_the_words_of_the_file() {
        let mut new = model();
        new.instances[0].priority = 150;
        new.instances[0].advert_int = Duration::from_millis(2500);
        new.services[0].scheduler = Scheduler::Wrr;
        new.services[0].real_servers = vec![server(2, 3), server(3, 1)];
        let lines: Vec<String> = diff(&model(), &new)
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut sorted = lines.clone();
        sorted.sort();
        assert_eq!(
            sorted,
            [
                "+ real_server 10.0.0.3 80 of virtual_server 192.0.2.1 80 TCP",
                "- real_server 10.0.0.1 80 of virtual_server 192.0.2.1 80 TCP",
                "~ real_server 10.0.0.2 80 of virtual_server 192.0.2.1 80 TCP: weight 1 -> 3",
                "~ virtual_server 192.0.2.1 80 TCP: lb_algo rr -> wrr",
                "~ vrrp_instance VI_1: advert_int 1s -> 2.5s",
                "~ vrrp_instance VI_1: priority 100 -> 150",
            ]
        );
    }

    #[test]
    fn flags_timeouts_and_tunnels_read_well_and_an_order_is_a_change() {
        let mut new = model();
        let s = &mut new.services[0];
        s.scheduler = Scheduler::Mh;
        s.sched_flags.port = true;
        s.timeouts.udp = Some(33);
        s.method = ForwardMethod::Tun(Tunnel::Gre { csum: true });
        s.real_servers.reverse();
        let mut lines: Vec<String> = diff(&model(), &new)
            .iter()
            .map(ToString::to_string)
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "~ virtual_server 192.0.2.1 80 TCP: flags of lb_algo none -> port",
                "~ virtual_server 192.0.2.1 80 TCP: lb_algo rr -> mh",
                "~ virtual_server 192.0.2.1 80 TCP: lb_kind DR -> TUN gre csum",
                "~ virtual_server 192.0.2.1 80 TCP: order of the real servers",
                "~ virtual_server 192.0.2.1 80 TCP: timeouts none -> udp 33",
            ]
        );
    }

    #[test]
    fn a_group_is_named_and_its_addresses_come_and_go() {
        let group = |ports: &[u16]| {
            let mut m = model();
            let key = |port| ServiceKey {
                port,
                ..m.services[0].key
            };
            let others = ports[1..].iter().map(|p| key(*p)).collect();
            let first = key(ports[0]);
            let s = &mut m.services[0];
            s.key = first;
            s.group = Some(crate::model::Group {
                name: "web".to_owned(),
                others,
            });
            m
        };
        let (old, mut new) = (group(&[80, 81]), group(&[79, 80]));
        new.services[0].real_servers[0].uthreshold = 9;
        let lines: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "- 192.0.2.1 81 of virtual_server group web TCP",
                "+ 192.0.2.1 79 of virtual_server group web TCP",
                "~ real_server 10.0.0.1 of virtual_server group web TCP: uthreshold 0 -> 9",
            ]
        );
    }

    #[test]
    fn a_file_that_lost_everything_is_told_from_one_that_changed() {
        let empty = Model::default();
        assert!(empties(&model(), &empty));
        assert!(!empties(&empty, &empty));
        assert!(!empties(&empty, &model()));
        let mut less = model();
        less.services.clear();
        assert!(!empties(&model(), &less));
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut new = model();
        new.instances[0].auth = Auth::Pass(b"secret".to_vec());
        let lines: Vec<String> = diff(&model(), &new)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(lines, ["~ vrrp_instance VI_1: auth changed"]);
    }
}
