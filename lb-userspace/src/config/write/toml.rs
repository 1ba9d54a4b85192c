//! TOML.

use std::fmt::Write;
use std::time::Duration;

use super::http::{http_get, ssl, url};
use super::probes::{Value, keywords, own_statements};
use super::scripts::{self, Statement};
use super::tracks;
use super::{
    Keyword, address, address_options, affinities, broadcast, granularity, groups, link_delay,
    method, peer, scope, seconds, shared, static_groups,
};
use crate::model::{
    Auth, Check, CheckKind, ExtraGarp, Family, Global, Model, OldChecksum, Service, Timeouts,
    Tracks, Transport, VirtualAddress, VrrpInstance, VrrpVersion,
};

/// Writes a model as lbd's TOML.
#[must_use]
pub fn to_toml(model: &Model) -> String {
    let mut w = String::new();
    let (g, statics) = (&model.global, &model.statics);
    // Before the first table.
    addresses(&mut w, "static_ipaddress", &statics.addresses);
    list(
        &mut w,
        "static_routes",
        statics.routes.iter().map(ToString::to_string),
    );
    list(
        &mut w,
        "static_rules",
        statics.rules.iter().map(ToString::to_string),
    );
    list(
        &mut w,
        "interface_up_down_delays",
        g.link_delays.iter().map(link_delay),
    );
    if *g != Global::default() {
        head(&mut w, "[global]");
        if let Some(id) = &g.router_id {
            key(&mut w, "router_id", &string(id));
        }
        let none = Some(Duration::ZERO);
        time(&mut w, "vrrp_startup_delay", g.startup_delay, none);
        if let Some(priority) = g.vrrp_rt_priority {
            key(&mut w, "vrrp_rt_priority", &priority.to_string());
        }
        if let Some(priority) = g.bfd_rt_priority {
            key(&mut w, "bfd_rt_priority", &priority.to_string());
        }
        for (name, cpus) in affinities(g) {
            key(&mut w, name, &format!("[{}]", cpus.join(", ")));
        }
        time(&mut w, "vrrp_garp_interval", g.garp_interval, none);
        time(&mut w, "vrrp_gna_interval", g.gna_interval, none);
        flag(&mut w, "log_unknown_vrids", g.log_unknown_vrids);
        flag(&mut w, "disable_local_igmp", g.disable_local_igmp);
        timeouts(&mut w, &g.timeouts);
        if let Some(rate) = g.flood_rate {
            key(&mut w, "flood_rate", &rate.to_string());
        }
        if let Some(prefix) = &g.vmac_addr_prefix {
            key(&mut w, "vmac_addr_prefix", &string(prefix));
        }
        statements(&mut w, scripts::of_global(g));
        if !g.mail.to.is_empty() {
            key(&mut w, "notification_email", &strings(&g.mail.to));
        }
    }
    for group in &g.garp_groups {
        head(&mut w, "[[garp_group]]");
        time(&mut w, "garp_interval", group.garp_interval, None);
        let none = Some(Duration::ZERO);
        time(&mut w, "gna_interval", group.gna_interval, none);
        key(&mut w, "interfaces", &strings(&group.interfaces));
    }
    for s in &model.vrrp_scripts {
        head(&mut w, "[[vrrp_script]]");
        key(&mut w, "name", &string(&s.name));
        statements(&mut w, scripts::of_tracked(s, g));
    }
    for f in &model.track_files {
        head(&mut w, "[[track_file]]");
        key(&mut w, "name", &string(&f.name));
        statements(&mut w, tracks::of_file(f));
    }
    for p in &model.track_processes {
        head(&mut w, "[[vrrp_track_process]]");
        key(&mut w, "name", &string(&p.name));
        statements(&mut w, tracks::of_process(p));
    }
    for b in &model.bfd_instances {
        head(&mut w, "[[bfd_instance]]");
        key(&mut w, "name", &string(&b.name));
        statements(&mut w, tracks::of_bfd(b));
    }
    for s in &model.sync_groups {
        head(&mut w, "[[vrrp_sync_group]]");
        key(&mut w, "name", &string(&s.name));
        key(&mut w, "members", &strings(&s.members));
        tracks(&mut w, &s.tracks);
        flag(&mut w, "sync_group_tracking_weight", s.tracking_weight);
        statements(&mut w, scripts::of_vrrp(&s.notify, g));
    }
    for i in &model.instances {
        instance(&mut w, i, g);
    }
    for (name, members) in static_groups(model) {
        head(&mut w, "[[track_group]]");
        key(&mut w, "name", &string(&name));
        key(&mut w, "group", &strings(&members));
    }
    let tls = ssl(&model.services);
    if !tls.is_empty() {
        head(&mut w, "[ssl]");
        lines(&mut w, tls);
    }
    for (name, lines) in groups(&model.services) {
        head(&mut w, "[[virtual_server_group]]");
        key(&mut w, "name", &string(name));
        key(&mut w, "addresses", &strings(&lines));
    }
    for s in &model.services {
        service(&mut w, s, g);
    }
    w
}

fn head(w: &mut String, name: &str) {
    if !w.is_empty() {
        w.push('\n');
    }
    let _ = writeln!(w, "{name}");
}

fn key(w: &mut String, name: &str, value: &str) {
    let _ = writeln!(w, "{name} = {value}");
}

fn flag(w: &mut String, name: &str, on: bool) {
    if on {
        key(w, name, "true");
    }
}

fn tracks(w: &mut String, all: &Tracks) {
    for (name, lines) in tracks::blocks(all) {
        let one = |line: &tracks::Line| {
            let words: Vec<String> = line.iter().map(|w| string(w)).collect();
            format!("[{}]", words.join(", "))
        };
        let all: Vec<String> = lines.iter().map(one).collect();
        key(w, name, &format!("[{}]", all.join(", ")));
    }
}

/// A keyword alone is `true`; several words are an array.
fn statements(w: &mut String, statements: Vec<Statement>) {
    for (name, words) in statements {
        let value = match words.as_slice() {
            [] => "true".to_owned(),
            [one] => string(one),
            several => strings(several),
        };
        key(w, name, &value);
    }
}

/// `timeouts = { established = 900, udp = 300 }`.
fn timeouts(w: &mut String, t: &Timeouts) {
    let set: Vec<String> = super::timeouts(t)
        .into_iter()
        .map(|(name, v)| format!("{name} = {v}"))
        .collect();
    if !set.is_empty() {
        key(w, "timeouts", &format!("{{ {} }}", set.join(", ")));
    }
}

fn string(s: &str) -> String {
    ::toml::Value::String(s.to_owned()).to_string()
}

fn strings(list: &[String]) -> String {
    format!(
        "[{}]",
        list.iter()
            .map(|s| string(s))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

fn time(w: &mut String, name: &str, value: Duration, default: Option<Duration>) {
    if Some(value) != default {
        key(w, name, &format!("\"{}s\"", seconds(value)));
    }
}

fn number(w: &mut String, name: &str, value: u32, default: u32) {
    if value != default {
        key(w, name, &value.to_string());
    }
}

/// A list of lines as they stand in keepalived.conf; nothing without a line.
fn list(w: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        key(w, name, &strings(&lines));
    }
}

fn transport(w: &mut String, transport: &Transport, family: Family) {
    let unicast = match transport {
        Transport::Multicast(group) => {
            if *group != family.group() {
                key(w, "mcast_dst_ip", &string(&group.to_string()));
            }
            return;
        }
        Transport::Unicast(unicast) => unicast,
    };
    flag(w, "unicast_fault_no_peer", unicast.peers.is_empty());
    number(w, "unicast_ttl", unicast.ttl.into(), 255);
    flag(w, "check_unicast_src", unicast.check_source);
    match unicast.old_checksum {
        OldChecksum::Auto => {}
        OldChecksum::Always => key(w, "old_unicast_checksum", "true"),
        OldChecksum::Never => key(w, "old_unicast_checksum", "\"never\""),
    }
    if !unicast.peers.is_empty() {
        let lines: Vec<String> = unicast.peers.iter().map(peer).collect();
        key(w, "unicast_peer", &strings(&lines));
    }
}

fn instance(w: &mut String, i: &VrrpInstance, global: &Global) {
    head(w, "[[vrrp_instance]]");
    key(w, "name", &string(&i.name));
    key(
        w,
        "state",
        if i.initial_master {
            "\"MASTER\""
        } else {
            "\"BACKUP\""
        },
    );
    key(w, "interface", &string(&i.interface));
    key(w, "virtual_router_id", &i.virtual_router_id.to_string());
    key(w, "priority", &i.priority.to_string());
    if i.version == VrrpVersion::V3 {
        key(w, "version", "3");
    }
    time(w, "advert_int", i.advert_int, None);
    if let Auth::Ah(_) = &i.auth {
        key(w, "auth_type", "\"AH\"");
    }
    if let Auth::Pass(pass) | Auth::Ah(pass) = &i.auth {
        match std::str::from_utf8(pass) {
            Ok(text) => key(w, "auth_pass", &string(text)),
            Err(_) => key(w, "auth_pass", &format!("{pass:?}")),
        }
    }
    flag(w, "nopreempt", i.nopreempt);
    flag(w, "v3_checksum_as_v2", i.v3_checksum_as_v2);
    let e = &i.election;
    number(w, "down_timer_adverts", e.down_timer_adverts, 3);
    time(w, "preempt_delay", e.preempt_delay, Some(Duration::ZERO));
    flag(w, "lower_prio_no_advert", e.lower_prio_no_advert);
    if !e.higher_prio_send_advert {
        key(w, "higher_prio_send_advert", "false");
    }
    flag(w, "skip_check_adv_addr", e.skip_check_adv_addr);
    flag(w, "no_accept", !i.accept);
    flag(w, "dont_track_primary", i.dont_track_primary);
    flag(w, "promote_secondaries", i.promote_secondaries);
    if let Some(vmac) = &i.vmac {
        key(w, "use_vmac", &string(&vmac.name));
        flag(w, "vmac_xmit_base", vmac.xmit_base);
    }
    if let Some(ip) = i.mcast_src_ip {
        key(w, "mcast_src_ip", &string(&ip.to_string()));
    }
    flag(w, "track_src_ip", i.track_src_ip);
    transport(w, &i.transport, i.family());
    time(
        w,
        "garp_master_delay",
        i.garp_master_delay,
        Some(Duration::from_secs(5)),
    );
    number(w, "garp_master_repeat", i.garp_master_repeat, 5);
    time(
        w,
        "garp_master_refresh",
        i.garp_master_refresh,
        Some(Duration::ZERO),
    );
    number(
        w,
        "garp_master_refresh_repeat",
        i.garp_master_refresh_repeat,
        1,
    );
    time(
        w,
        "garp_lower_prio_delay",
        i.garp_lower_prio_delay,
        Some(Duration::from_secs(5)),
    );
    number(w, "garp_lower_prio_repeat", i.garp_lower_prio_repeat, 5);
    if let Some(ExtraGarp { every, all }) = i.garp_extra_if {
        let seconds = every.as_secs().to_string();
        let value = match all {
            true => strings(&["all".to_owned(), seconds]),
            false => seconds,
        };
        key(w, "garp_extra_if", &value);
    }
    addresses(w, "virtual_ipaddress", &i.addresses);
    addresses(w, "virtual_ipaddress_excluded", &i.excluded);
    list(
        w,
        "virtual_routes",
        i.routes.iter().map(ToString::to_string),
    );
    list(w, "virtual_rules", i.rules.iter().map(ToString::to_string));
    tracks(w, &i.tracks);
    statements(w, scripts::of_vrrp(&i.notify, global));
}

fn addresses(w: &mut String, name: &str, list: &[VirtualAddress]) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(w, "{name} = [");
    for a in list {
        let mut fields = vec![format!("address = {}", string(&address(a)))];
        if let Some(d) = &a.dev {
            fields.push(format!("dev = {}", string(d)));
        }
        if let Some(l) = &a.label {
            fields.push(format!("label = {}", string(l)));
        }
        if let Some(b) = a.broadcast {
            fields.push(format!("brd = {}", string(&broadcast(b))));
        }
        if a.scope != 0 {
            fields.push(format!("scope = {}", string(&scope(a.scope))));
        }
        let (values, flags) = address_options(a);
        for (name, value) in values {
            fields.push(format!("{name} = {}", string(&value)));
        }
        fields.extend(flags.iter().map(|flag| format!("{flag} = true")));
        let _ = match fields.as_slice() {
            [_] => writeln!(w, "  {},", string(&address(a))),
            fields => writeln!(w, "  {{ {} }},", fields.join(", ")),
        };
    }
    let _ = writeln!(w, "]");
}

fn service(w: &mut String, s: &Service, global: &Global) {
    head(w, "[[virtual_server]]");
    match &s.group {
        Some(g) => key(w, "group", &string(&g.name)),
        None => {
            key(w, "address", &string(&s.key.addr.to_string()));
            port(w, s.key.port);
        }
    }
    key(w, "protocol", &string(s.key.protocol.name()));
    key(w, "lb_algo", &string(s.scheduler.name()));
    for name in s.sched_flags.names(s.scheduler) {
        key(w, name, "true");
    }
    flag(w, "ops", s.ops);
    key(w, "lb_kind", &string(&method(s.method)));
    let interval = shared(s, |c| c.interval);
    if let Some(i) = interval {
        time(w, "delay_loop", i, Some(Duration::from_secs(60)));
    }
    if let Some(p) = &s.persistence {
        time(w, "persistence_timeout", p.timeout, None);
        if let Some(mask) = granularity(p.prefix_len, s.key.addr) {
            key(w, "persistence_granularity", &string(&mask));
        }
    }
    timeouts(w, &s.timeouts);
    flag(w, "expire_nodest_conn", s.expire_nodest_conn);
    flag(w, "expire_quiescent_template", s.expire_quiescent_template);
    flag(w, "sloppy", s.sloppy);
    flag(w, "alpha", s.alpha);
    flag(w, "omega", s.omega);
    flag(w, "ha_suspend", s.ha_suspend);
    number(w, "quorum", s.quorum, 1);
    number(w, "hysteresis", s.hysteresis, 0);
    statements(w, scripts::of_service(s, global));
    if let Some(sorry) = &s.sorry_server {
        key(
            w,
            "sorry_server",
            &format!("[\"{}\", {}]", sorry.addr, sorry.port),
        );
        if sorry.method != s.method {
            key(w, "sorry_server_lvs_method", &string(&method(sorry.method)));
        }
        flag(w, "sorry_server_inhibit", sorry.inhibit);
    }
    for r in &s.real_servers {
        head(w, "[[virtual_server.real_server]]");
        key(w, "address", &string(&r.addr.to_string()));
        port(w, r.port);
        key(w, "weight", &r.weight.to_string());
        if r.method != s.method {
            key(w, "lvs_method", &string(&method(r.method)));
        }
        number(w, "uthreshold", r.uthreshold, 0);
        number(w, "lthreshold", r.lthreshold, 0);
        flag(w, "inhibit_on_failure", r.inhibit_on_failure);
        statements(w, scripts::of_server(r, global));
        for c in &r.checks {
            check(w, c, s, r.addr, r.port, interval.is_some());
        }
    }
}

/// Port 0 is written as none.
fn port(w: &mut String, port: u16) {
    number(w, "port", u32::from(port), 0);
}

fn check(w: &mut String, c: &Check, s: &Service, addr: std::net::IpAddr, port: u16, hoisted: bool) {
    let name = c.kind.name().to_ascii_lowercase();
    head(w, &format!("[[virtual_server.real_server.{name}]]"));
    if let Some(all) = own_statements(c, s.alpha) {
        statements(w, all);
        return;
    }
    if c.kind.connects() {
        connection(w, c, addr, port);
    } else {
        time(w, "misc_timeout", c.timeout, Some(c.interval));
    }
    if !hoisted {
        time(w, "delay_loop", c.interval, Some(Check::INTERVAL));
    }
    number(w, "retry", c.retry, c.kind.retry());
    let retry_delay = c.kind.retry_delay(c.interval);
    time(w, "delay_before_retry", c.retry_delay, Some(retry_delay));
    time(w, "warmup", c.warmup, Some(c.interval));
    flag(w, "log_all_failures", c.log_all_failures);
    for (name, value) in keywords(&c.kind) {
        match value {
            Value::Flag => flag(w, name, true),
            Value::Number(n) => key(w, name, &n.to_string()),
            Value::Words(words) => statements(w, vec![(name, words)]),
            Value::Text(text) => key(w, name, &string(&text)),
        }
    }
    if c.alpha != s.alpha {
        key(w, "alpha", if c.alpha { "true" } else { "false" });
    }
    if let CheckKind::Http(http) = &c.kind {
        lines(w, http_get(http));
        for u in &http.urls {
            head(w, &format!("[[virtual_server.real_server.{name}.url]]"));
            lines(w, url(u));
        }
    }
}

/// Where a check connects to and from.
fn connection(w: &mut String, c: &Check, addr: std::net::IpAddr, port: u16) {
    if c.addr != addr {
        key(w, "connect_ip", &string(&c.addr.to_string()));
    }
    if c.port != port {
        key(w, "connect_port", &c.port.to_string());
    }
    if let Some(b) = c.bind_addr {
        key(w, "bindto", &string(&b.to_string()));
    }
    number(w, "bind_port", u32::from(c.bind_port), 0);
    if let Some(b) = &c.bind_if {
        key(w, "bind_if", &string(b));
    }
    number(w, "fwmark", c.fwmark, 0);
    time(w, "connect_timeout", c.timeout, Some(Check::TIMEOUT));
}

/// None is a flag, one a string, more are a list.
fn lines(w: &mut String, lines: Vec<Keyword>) {
    for (name, values) in lines {
        match values.as_slice() {
            [] => flag(w, name, true),
            [one] => key(w, name, &string(one)),
            more => key(w, name, &strings(more)),
        }
    }
}
