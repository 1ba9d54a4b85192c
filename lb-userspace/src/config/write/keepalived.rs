//! keepalived.conf.

use std::fmt::Write;
use std::time::Duration;

use super::http::{http_get, ssl, url};
use super::probes::{Value, keywords, own_statements};
use super::scripts::{self, Statement};
use super::tracks;
use super::{
    Keyword, address, address_options, affinities, broadcast, granularity, groups, link_delay,
    method, peer, scope, seconds, shared, static_groups, timeouts,
};
use crate::model::{
    Auth, Check, CheckKind, ExtraGarp, Family, Global, Model, OldChecksum, Protocol, RealServer,
    Service, ServiceKey, Timeouts, Tracks, Transport, VirtualAddress, VrrpInstance, VrrpVersion,
};

/// Writes a model as keepalived.conf. keepalived 2.2.7 reads it too, except for lbd's own words
/// (`track_service`, `sloppy`, `timeouts`, `expire_nodest_conn`, `expire_quiescent_template`, `flood_rate`,
/// `DR_PATH_CHECK`, `verify_certificate`).
#[must_use]
pub fn to_keepalived(model: &Model) -> String {
    let mut w = Writer::default();
    let g = &model.global;
    if *g != Global::default() {
        w.open("global_defs");
        if let Some(id) = &g.router_id {
            w.line(&format!("router_id {}", word(id.as_bytes())));
        }
        w.time("vrrp_startup_delay", g.startup_delay, Duration::ZERO);
        if let Some(priority) = g.vrrp_rt_priority {
            w.line(&format!("vrrp_rt_priority {priority}"));
        }
        if let Some(priority) = g.bfd_rt_priority {
            w.line(&format!("bfd_rt_priority {priority}"));
        }
        w.lines(affinities(g));
        w.time("vrrp_garp_interval", g.garp_interval, Duration::ZERO);
        w.time("vrrp_gna_interval", g.gna_interval, Duration::ZERO);
        w.flag("log_unknown_vrids", g.log_unknown_vrids);
        w.flag("disable_local_igmp", g.disable_local_igmp);
        // What keepalived has a word for is written in its words.
        let common = [
            ("tcp", g.timeouts.established),
            ("tcpfin", g.timeouts.fin_wait),
            ("udp", g.timeouts.udp),
        ];
        let mut line = String::new();
        for (name, v) in common {
            if let Some(v) = v {
                let _ = write!(line, " {name} {v}");
            }
        }
        if !line.is_empty() {
            w.line(&format!("lvs_timeouts{line}"));
        }
        w.timeouts(&Timeouts {
            established: None,
            fin_wait: None,
            udp: None,
            ..g.timeouts
        });
        if let Some(rate) = g.flood_rate {
            w.line(&format!("flood_rate {rate}"));
        }
        if let Some(prefix) = &g.vmac_addr_prefix {
            w.line(&format!("vmac_addr_prefix {}", word(prefix.as_bytes())));
        }
        w.statements(scripts::of_global(g));
        if !g.mail.to.is_empty() {
            w.open("notification_email");
            for to in &g.mail.to {
                w.line(&word(to.as_bytes()));
            }
            w.close();
        }
        w.close();
    }
    for group in &g.garp_groups {
        w.open("garp_group");
        w.line(&format!("garp_interval {}", seconds(group.garp_interval)));
        w.time("gna_interval", group.gna_interval, Duration::ZERO);
        w.open("interfaces");
        for name in &group.interfaces {
            w.line(&word(name.as_bytes()));
        }
        w.close();
        w.close();
    }
    w.block(
        "interface_up_down_delays",
        g.link_delays.iter().map(link_delay),
    );
    for s in &model.vrrp_scripts {
        w.open(&format!("vrrp_script {}", word(s.name.as_bytes())));
        w.statements(scripts::of_tracked(s, g));
        w.close();
    }
    for f in &model.track_files {
        w.open(&format!("track_file {}", word(f.name.as_bytes())));
        w.statements(tracks::of_file(f));
        w.close();
    }
    for p in &model.track_processes {
        w.open(&format!("vrrp_track_process {}", word(p.name.as_bytes())));
        w.statements(tracks::of_process(p));
        w.close();
    }
    for b in &model.bfd_instances {
        w.open(&format!("bfd_instance {}", word(b.name.as_bytes())));
        w.statements(tracks::of_bfd(b));
        w.close();
    }
    for s in &model.sync_groups {
        w.open(&format!("vrrp_sync_group {}", word(s.name.as_bytes())));
        w.open("group");
        for m in &s.members {
            w.line(&word(m.as_bytes()));
        }
        w.close();
        w.tracks(&s.tracks);
        w.flag("sync_group_tracking_weight", s.tracking_weight);
        w.statements(scripts::of_vrrp(&s.notify, g));
        w.close();
    }
    for i in &model.instances {
        instance(&mut w, i, g);
    }
    let tls = ssl(&model.services);
    if !tls.is_empty() {
        w.open("SSL");
        w.lines(tls);
        w.close();
    }
    for (name, members) in static_groups(model) {
        w.open(&format!("track_group {}", word(name.as_bytes())));
        w.open("group");
        for m in members {
            w.line(&word(m.as_bytes()));
        }
        w.close();
        w.close();
    }
    addresses(&mut w, "static_ipaddress", &model.statics.addresses);
    w.block(
        "static_routes",
        model.statics.routes.iter().map(ToString::to_string),
    );
    w.block(
        "static_rules",
        model.statics.rules.iter().map(ToString::to_string),
    );
    for (name, lines) in groups(&model.services) {
        w.open(&format!("virtual_server_group {}", word(name.as_bytes())));
        for line in lines {
            w.line(&line);
        }
        w.close();
    }
    for s in &model.services {
        service(&mut w, s, g);
    }
    w.text
}

#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{:1$}{text}", "", self.depth * 2);
    }

    fn open(&mut self, head: &str) {
        if self.depth == 0 && !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(&format!("{head} {{"));
        self.depth += 1;
    }

    /// A block of lines; none without a line.
    fn block(&mut self, head: &str, lines: impl Iterator<Item = String>) {
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            self.open(head);
            lines.for_each(|line| self.line(&line));
            self.close();
        }
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.line("}");
    }

    fn statements(&mut self, statements: Vec<Statement>) {
        for (name, words) in statements {
            let words: String = words
                .iter()
                .map(|w| format!(" {}", word(w.as_bytes())))
                .collect();
            self.line(&format!("{name}{words}"));
        }
    }

    fn tracks(&mut self, all: &Tracks) {
        for (name, lines) in tracks::blocks(all) {
            self.open(name);
            for line in lines {
                let words: Vec<String> = line.iter().map(|w| word(w.as_bytes())).collect();
                self.line(&words.join(" "));
            }
            self.close();
        }
    }

    fn flag(&mut self, name: &str, on: bool) {
        if on {
            self.line(name);
        }
    }

    fn lines(&mut self, lines: Vec<Keyword>) {
        for (name, values) in lines {
            let mut line = name.to_owned();
            for value in values {
                let _ = write!(line, " {}", word(value.as_bytes()));
            }
            self.line(&line);
        }
    }

    fn timeouts(&mut self, t: &Timeouts) {
        let set = timeouts(t);
        if set.is_empty() {
            return;
        }
        self.open("timeouts");
        for (name, v) in set {
            self.line(&format!("{name} {v}"));
        }
        self.close();
    }

    fn time(&mut self, name: &str, value: Duration, default: Duration) {
        if value != default {
            self.line(&format!("{name} {}", seconds(value)));
        }
    }

    fn number(&mut self, name: &str, value: u32, default: u32) {
        if value != default {
            self.line(&format!("{name} {value}"));
        }
    }
}

fn instance(w: &mut Writer, i: &VrrpInstance, global: &Global) {
    w.open(&format!("vrrp_instance {}", word(i.name.as_bytes())));
    w.line(if i.initial_master {
        "state MASTER"
    } else {
        "state BACKUP"
    });
    w.line(&format!("interface {}", word(i.interface.as_bytes())));
    w.line(&format!("virtual_router_id {}", i.virtual_router_id));
    w.line(&format!("priority {}", i.priority));
    if i.version == VrrpVersion::V3 {
        w.line("version 3");
    }
    w.line(&format!("advert_int {}", seconds(i.advert_int)));
    let auth = match &i.auth {
        Auth::None => None,
        Auth::Pass(pass) => Some(("PASS", pass)),
        Auth::Ah(pass) => Some(("AH", pass)),
    };
    if let Some((kind, pass)) = auth {
        w.open("authentication");
        w.line(&format!("auth_type {kind}"));
        w.line(&format!("auth_pass {}", word(pass)));
        w.close();
    }
    w.flag("nopreempt", i.nopreempt);
    w.flag("v3_checksum_as_v2", i.v3_checksum_as_v2);
    let e = &i.election;
    w.number("down_timer_adverts", e.down_timer_adverts, 3);
    w.time("preempt_delay", e.preempt_delay, Duration::ZERO);
    w.flag("lower_prio_no_advert", e.lower_prio_no_advert);
    w.flag("higher_prio_send_advert off", !e.higher_prio_send_advert);
    w.flag("skip_check_adv_addr", e.skip_check_adv_addr);
    w.flag("no_accept", !i.accept);
    w.flag("dont_track_primary", i.dont_track_primary);
    w.flag("promote_secondaries", i.promote_secondaries);
    if let Some(vmac) = &i.vmac {
        w.line(&format!("use_vmac {}", word(vmac.name.as_bytes())));
        w.flag("vmac_xmit_base", vmac.xmit_base);
    }
    if let Some(ip) = i.mcast_src_ip {
        w.line(&format!("mcast_src_ip {ip}"));
    }
    w.flag("track_src_ip", i.track_src_ip);
    transport(w, &i.transport, i.family());
    w.time(
        "garp_master_delay",
        i.garp_master_delay,
        Duration::from_secs(5),
    );
    w.number("garp_master_repeat", i.garp_master_repeat, 5);
    w.time("garp_master_refresh", i.garp_master_refresh, Duration::ZERO);
    w.number(
        "garp_master_refresh_repeat",
        i.garp_master_refresh_repeat,
        1,
    );
    w.time(
        "garp_lower_prio_delay",
        i.garp_lower_prio_delay,
        Duration::from_secs(5),
    );
    w.number("garp_lower_prio_repeat", i.garp_lower_prio_repeat, 5);
    if let Some(ExtraGarp { every, all }) = i.garp_extra_if {
        let all = if all { "all " } else { "" };
        w.line(&format!("garp_extra_if {all}{}", every.as_secs()));
    }
    addresses(w, "virtual_ipaddress", &i.addresses);
    addresses(w, "virtual_ipaddress_excluded", &i.excluded);
    w.block("virtual_routes", i.routes.iter().map(ToString::to_string));
    w.block("virtual_rules", i.rules.iter().map(ToString::to_string));
    w.tracks(&i.tracks);
    w.statements(scripts::of_vrrp(&i.notify, global));
    w.close();
}

fn transport(w: &mut Writer, transport: &Transport, family: Family) {
    let unicast = match transport {
        Transport::Multicast(group) => {
            if *group != family.group() {
                w.line(&format!("mcast_dst_ip {group}"));
            }
            return;
        }
        Transport::Unicast(unicast) => unicast,
    };
    w.flag("unicast_fault_no_peer", unicast.peers.is_empty());
    w.number("unicast_ttl", unicast.ttl.into(), 255);
    w.flag("check_unicast_src", unicast.check_source);
    match unicast.old_checksum {
        OldChecksum::Auto => {}
        OldChecksum::Always => w.line("old_unicast_checksum"),
        OldChecksum::Never => w.line("old_unicast_checksum never"),
    }
    if !unicast.peers.is_empty() {
        w.open("unicast_peer");
        for p in &unicast.peers {
            w.line(&peer(p));
        }
        w.close();
    }
}

fn addresses(w: &mut Writer, head: &str, list: &[VirtualAddress]) {
    w.block(head, list.iter().map(address_line));
}

/// A line of `virtual_ipaddress`.
#[must_use]
pub(crate) fn address_line(a: &VirtualAddress) -> String {
    let mut line = address(a);
    if let Some(b) = a.broadcast {
        let _ = write!(line, " brd {}", broadcast(b));
    }
    if let Some(d) = &a.dev {
        let _ = write!(line, " dev {}", word(d.as_bytes()));
    }
    if a.scope != 0 {
        let _ = write!(line, " scope {}", scope(a.scope));
    }
    if let Some(l) = &a.label {
        let _ = write!(line, " label {}", word(l.as_bytes()));
    }
    let (values, flags) = address_options(a);
    for (name, value) in values {
        let _ = write!(line, " {name} {value}");
    }
    for flag in flags {
        let _ = write!(line, " {flag}");
    }
    line
}

/// The lines of a check of the server at this address, without its own braces.
#[must_use]
pub(crate) fn check_lines(c: &Check, server: &RealServer) -> Vec<String> {
    let mut w = Writer::default();
    let key = ServiceKey {
        addr: server.addr,
        port: server.port,
        protocol: Protocol::Tcp,
    };
    check(
        &mut w,
        c,
        &Service::new(key),
        server.addr,
        server.port,
        false,
    );
    let lines: Vec<String> = w.text.lines().map(|l| l.trim().to_owned()).collect();
    match lines.as_slice() {
        [_, inner @ .., _] => inner.to_vec(),
        [] | [_] => Vec::new(),
    }
}

fn service(w: &mut Writer, s: &Service, global: &Global) {
    w.open(&match (&s.group, s.key.port) {
        (Some(g), _) => format!("virtual_server group {}", word(g.name.as_bytes())),
        (None, 0) => format!("virtual_server {}", s.key.addr),
        (None, port) => format!("virtual_server {} {port}", s.key.addr),
    });
    let interval = shared(s, |c| c.interval);
    if let Some(i) = interval {
        w.time("delay_loop", i, Duration::from_secs(60));
    }
    w.line(&format!("lb_algo {}", s.scheduler.name()));
    for flag in s.sched_flags.names(s.scheduler) {
        w.line(flag);
    }
    w.flag("ops", s.ops);
    w.line(&format!("lb_kind {}", method(s.method)));
    w.line(&format!("protocol {}", s.key.protocol.name()));
    if let Some(p) = &s.persistence {
        w.line(&format!("persistence_timeout {}", p.timeout.as_secs()));
        if let Some(mask) = granularity(p.prefix_len, s.key.addr) {
            w.line(&format!("persistence_granularity {mask}"));
        }
    }
    w.timeouts(&s.timeouts);
    w.flag("expire_nodest_conn", s.expire_nodest_conn);
    w.flag("expire_quiescent_template", s.expire_quiescent_template);
    w.flag("sloppy", s.sloppy);
    w.flag("alpha", s.alpha);
    w.flag("omega", s.omega);
    w.flag("ha_suspend", s.ha_suspend);
    w.number("quorum", s.quorum, 1);
    w.number("hysteresis", s.hysteresis, 0);
    w.statements(scripts::of_service(s, global));
    // In a group of several ports keepalived wants none at the servers, and checks need their own.
    let port_of = |port| match s.keys().all(|k| k.port == s.key.port) {
        true => port,
        false => 0,
    };
    if let Some(sorry) = &s.sorry_server {
        w.line(&format!(
            "sorry_server {}",
            server(sorry.addr, port_of(sorry.port))
        ));
        if sorry.method != s.method {
            w.line(&format!("sorry_server_lvs_method {}", method(sorry.method)));
        }
        w.flag("sorry_server_inhibit", sorry.inhibit);
    }
    for r in &s.real_servers {
        let port = port_of(r.port);
        w.open(&format!("real_server {}", server(r.addr, port)));
        w.line(&format!("weight {}", r.weight));
        if r.method != s.method {
            w.line(&format!("lvs_method {}", method(r.method)));
        }
        w.number("uthreshold", r.uthreshold, 0);
        w.number("lthreshold", r.lthreshold, 0);
        w.flag("inhibit_on_failure", r.inhibit_on_failure);
        w.statements(scripts::of_server(r, global));
        for c in &r.checks {
            check(w, c, s, r.addr, port, interval.is_some());
        }
        w.close();
    }
    w.close();
}

/// A server; port 0 is written as none.
fn server(addr: std::net::IpAddr, port: u16) -> String {
    match port {
        0 => addr.to_string(),
        port => format!("{addr} {port}"),
    }
}

fn check(w: &mut Writer, c: &Check, s: &Service, addr: std::net::IpAddr, port: u16, hoisted: bool) {
    w.open(c.kind.name());
    if let Some(all) = own_statements(c, s.alpha) {
        w.statements(all);
        w.close();
        return;
    }
    if c.kind.connects() {
        connection(w, c, addr, port);
    } else {
        w.time("misc_timeout", c.timeout, c.interval);
    }
    if !hoisted {
        w.time("delay_loop", c.interval, Check::INTERVAL);
    }
    w.number("retry", c.retry, c.kind.retry());
    let retry_delay = c.kind.retry_delay(c.interval);
    w.time("delay_before_retry", c.retry_delay, retry_delay);
    w.time("warmup", c.warmup, c.interval);
    w.flag("log_all_failures", c.log_all_failures);
    for (name, value) in keywords(&c.kind) {
        match value {
            Value::Flag => w.line(name),
            Value::Number(n) => w.line(&format!("{name} {n}")),
            Value::Words(words) => w.statements(vec![(name, words)]),
            Value::Text(text) => w.line(&format!("{name} {}", word(text.as_bytes()))),
        }
    }
    if c.alpha != s.alpha {
        w.line(if c.alpha { "alpha on" } else { "alpha off" });
    }
    if let CheckKind::Http(http) = &c.kind {
        w.lines(http_get(http));
        for u in &http.urls {
            w.open("url");
            w.lines(url(u));
            w.close();
        }
    }
    w.close();
}

/// Where a check connects to and from.
fn connection(w: &mut Writer, c: &Check, addr: std::net::IpAddr, port: u16) {
    if c.addr != addr {
        w.line(&format!("connect_ip {}", c.addr));
    }
    if c.port != port {
        w.line(&format!("connect_port {}", c.port));
    }
    if let Some(b) = c.bind_addr {
        w.line(&format!("bindto {b}"));
    }
    w.number("bind_port", u32::from(c.bind_port), 0);
    if let Some(b) = &c.bind_if {
        w.line(&format!("bind_if {}", word(b.as_bytes())));
    }
    w.number("fwmark", c.fwmark, 0);
    w.time("connect_timeout", c.timeout, Check::TIMEOUT);
}

/// A word as it must be written to be read as these bytes.
fn word(bytes: &[u8]) -> String {
    let plain = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b':' | b'+' | b',' | b'-')
    };
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut out = String::from("\"");
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().for_each(|c| match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Written as numbers, so that they can be taken neither for a comment nor for a parameter.
            '#' | '!' | '$' | '{' | '}' | '<' | '>' | '%' => {
                let _ = write!(out, "\\{:03o}", u32::from(c));
            }
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\{:03o}", u32::from(c));
            }
            c => out.push(c),
        }),
        Err(_) => bytes.iter().for_each(|b| {
            let _ = write!(out, "\\{b:03o}");
        }),
    }
    out.push('"');
    out
}
