//! A service beside keepalived's dump of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_userspace::model::*;

use crate::value;

fn seconds(text: Option<&str>) -> Option<Duration> {
    text?
        .parse::<f64>()
        .ok()
        .map(|s| Duration::from_micros((s * 1e6).round() as u64))
}

fn micros(text: Option<&str>) -> Option<Duration> {
    text?
        .strip_suffix(" us")?
        .parse()
        .ok()
        .map(Duration::from_micros)
}

/// A forwarding method in keepalived's words.
fn kind(method: ForwardMethod) -> String {
    let csum = |csum| if csum { "checksum" } else { "no checksum" };
    match method {
        ForwardMethod::Dr => "DR".to_owned(),
        ForwardMethod::Tun(Tunnel::Ipip) => "TUN, type = IPIP".to_owned(),
        ForwardMethod::Tun(Tunnel::Gue { port, csum: on }) => {
            format!("TUN, type = GUE, port = {port}, {}", csum(on))
        }
        ForwardMethod::Tun(Tunnel::Gre { csum: on }) => {
            format!("TUN, type = GRE, {}", csum(on))
        }
    }
}

/// The lines of a group in keepalived's dump, as addresses and ports.
pub(crate) fn group(lines: &[&str]) -> Vec<(IpAddr, u16)> {
    let mut out = Vec::new();
    for l in lines {
        let Some((range, port)) = l
            .trim()
            .strip_prefix("VIP ")
            .and_then(|l| l.strip_prefix("Range ").unwrap_or(l).strip_prefix("= "))
            .and_then(|l| l.split_once(", VPORT = "))
        else {
            continue;
        };
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let parse = |a: &str| a.parse::<IpAddr>().expect("an address");
        let port = port.parse().expect("a port");
        let mut at = parse(from);
        loop {
            out.push((at, port));
            if at == parse(to) {
                break;
            }
            at = match at {
                IpAddr::V4(a) => IpAddr::V4((u32::from(a) + 1).into()),
                IpAddr::V6(a) => IpAddr::V6((u128::from(a) + 1).into()),
            };
        }
    }
    out
}

/// What keepalived's dump says of a check's URLs; a `virtualhost` stands where it was given.
fn urls(lines: &[&str]) -> Vec<String> {
    let known = |l: &str| {
        let codes = l.starts_with(|c: char| c.is_ascii_digit());
        let words = [
            "Enable SNI",
            "Fast recovery",
            "Checked url",
            "digest",
            "Regex",
        ];
        codes || words.iter().any(|w| l.starts_with(w))
    };
    let never = ["Regex ref", "Regex options", "Regex stack"];
    let lines = lines.iter().map(|l| l.trim());
    lines
        .filter(|l| known(l) && !never.iter().any(|w| l.starts_with(w)))
        .map(str::to_owned)
        .collect()
}

/// The same of ours.
fn http(http: &Http) -> Vec<String> {
    let set = |on| if on { "set" } else { "unset" };
    let mut out = vec![
        format!("Enable SNI {}", set(http.sni)),
        format!("Fast recovery {}", set(http.fast_recovery)),
    ];
    for url in &http.urls {
        out.push(format!("Checked url = {}", url.path));
        out.extend(url.digest.map(|d| format!("digest = {d}")));
        out.extend(url.status.to_string().split(' ').map(str::to_owned));
        if let Some(regex) = url.regex.as_ref().map(HttpRegex::text) {
            out.push(format!("Regex = \"{}\"", regex.text));
            out.extend(regex.no_match.then(|| "Regex no match".to_owned()));
            match (regex.min_offset, regex.max_offset) {
                (0, None) => {}
                (min, None) => out.push(format!("Regex min offset = {min}")),
                (min, Some(max)) => {
                    out.push(format!("Regex min offset = {min}, max_offset = {max}"));
                }
            }
        }
    }
    out
}

/// Compares one service with keepalived's dump of it.
pub(crate) fn service(
    s: &Service,
    lines: &[&str],
    checks: &[(&str, Vec<&str>)],
    text: &str,
    diff: &mut Vec<String>,
) {
    let title = s.key.to_string();
    let mut same = |what: &str, theirs: Option<String>, ours: Option<String>| {
        if theirs != ours {
            diff.push(format!(
                "{title}: {what}: keepalived {theirs:?}, lbd {ours:?}"
            ));
        }
    };
    // nb_get_retry means retry here; 2.2.7 ignores it in TCP_CHECK.
    let meant = text.contains("nb_get_retry");
    let text = |k: &str| value(lines, k).map(str::to_owned);
    let algo = s.scheduler.name();
    same("lb_algo", text("lvs_sched"), Some(algo.to_owned()));
    let flag = |name: &str| match text(name).as_deref() {
        Some("enabled") => Some(true),
        Some("disabled") => Some(false),
        Some(_) | None => None,
    };
    if matches!(algo, "sh" | "mh") {
        let (port, fallback) = (format!("{algo}-port"), format!("{algo}-fallback"));
        same(
            "flags",
            Some(format!("{:?}", (flag(&port), flag(&fallback)))),
            Some(format!(
                "{:?}",
                (Some(s.sched_flags.port), Some(s.sched_flags.fallback))
            )),
        );
    }
    same(
        "ops",
        flag("One packet scheduling").map(|on| on.to_string()),
        Some(s.ops.to_string()),
    );
    // It has none when each server has its own.
    if let Some(theirs) = text("default forwarding method") {
        same("lb_kind", Some(theirs), Some(kind(s.method)));
    }
    let methods: Vec<&str> = lines
        .iter()
        .skip_while(|l| !l.contains("Real server"))
        .filter_map(|l| l.trim().strip_prefix("forwarding method = "))
        .collect();
    let ours: Vec<String> = s.real_servers.iter().map(|r| kind(r.method)).collect();
    same(
        "lvs_method",
        Some(methods.join("; ")),
        Some(ours.join("; ")),
    );
    let limits: Vec<&str> = lines
        .iter()
        .filter_map(|l| l.trim().strip_prefix("connection limit range = "))
        .collect();
    let ours: Vec<String> = s
        .real_servers
        .iter()
        .map(|r| format!("{} -> {}", r.lthreshold, r.uthreshold))
        .collect();
    same("thresholds", Some(limits.join("; ")), Some(ours.join("; ")));
    same(
        "persistence_granularity",
        text("persistence granularity"),
        s.persistence.and_then(|p| match s.key.addr {
            IpAddr::V4(_) if p.prefix_len == 32 => None,
            IpAddr::V4(_) => Some(Ipv4Addr::from(u32::MAX << (32 - p.prefix_len)).to_string()),
            IpAddr::V6(_) if p.prefix_len == 128 => None,
            IpAddr::V6(_) => Some(p.prefix_len.to_string()),
        }),
    );
    same(
        "persistence",
        text("persistence timeout"),
        s.persistence
            .as_ref()
            .map(|p| p.timeout.as_secs().to_string()),
    );
    let quorum = format!("{}, hysteresis = {}", s.quorum, s.hysteresis);
    if s.real_servers.iter().any(|r| r.weight > 0) {
        same("quorum", text("quorum"), Some(quorum));
    }
    let on = |name: &str| lines.iter().any(|l| l.trim() == format!("{name} is ON"));
    same(
        "alpha",
        Some(on("alpha").to_string()),
        Some(s.alpha.to_string()),
    );
    same(
        "omega",
        Some(on("omega").to_string()),
        Some(s.omega.to_string()),
    );
    let sorry = lines
        .iter()
        .find_map(|l| l.trim().strip_prefix("sorry server = "))
        .map(str::to_owned);
    let proto = s.key.protocol.name().to_lowercase();
    let proto = proto.as_str();
    same(
        "sorry_server",
        sorry,
        s.sorry_server
            .as_ref()
            .map(|x| format!("[{}]:{proto}:{}", x.addr, x.port)),
    );
    if let Some(sorry) = &s.sorry_server {
        let of = |l: &&str| {
            l.trim()
                .strip_prefix("forwarding method = ")
                .map(str::to_owned)
        };
        let theirs = lines
            .iter()
            .skip_while(|l| !l.contains("sorry server"))
            .find_map(of);
        same("sorry_server_lvs_method", theirs, Some(kind(sorry.method)));
    }
    let theirs: Vec<String> = lines
        .iter()
        .filter_map(|l| l.trim().strip_prefix("RIP = "))
        .map(|l| l.split(" EFF").next().unwrap_or_default().to_owned())
        .map(|l| match (&s.group, l.split_once(", RPORT = ")) {
            // In a group the port of a server is each address's own, whatever is written.
            (Some(_), Some((addr, rest))) => {
                let weight = rest.split_once(',').map_or("", |(_, w)| w);
                format!("{addr}, RPORT = {},{weight}", s.key.port)
            }
            (Some(_) | None, _) => l,
        })
        .collect();
    let ours: Vec<String> = s
        .real_servers
        .iter()
        .map(|r| format!("{}, RPORT = {}, WEIGHT = {}", r.addr, r.port, r.weight))
        .collect();
    same(
        "real servers",
        Some(theirs.join("; ")),
        Some(ours.join("; ")),
    );
    let inhibit: Vec<bool> = lines
        .iter()
        .skip_while(|l| !l.contains("Real server"))
        .filter_map(|l| l.trim().strip_prefix("Inhibit on failure is "))
        .map(|v| v == "ON")
        .collect();
    same(
        "inhibit_on_failure",
        Some(format!("{inhibit:?}")),
        Some(format!(
            "{:?}",
            s.real_servers
                .iter()
                .map(|r| r.inhibit_on_failure)
                .collect::<Vec<_>>()
        )),
    );
    // A group has a number of no meaning behind its name, and for each protocol the same name.
    let (head, server) = match &s.group {
        Some(g) => (format!("[{}]:", g.name), format!("]:{proto}:")),
        None => (
            format!("[{}]:{proto}:{} -> ", s.key.addr, s.key.port),
            String::new(),
        ),
    };
    let mut theirs = checks
        .iter()
        .filter(|(n, _)| n.starts_with(&head) && n.contains(&server));
    for r in &s.real_servers {
        let mut of: Vec<_> = theirs.by_ref().take(r.checks.len()).collect();
        of.sort_by_key(|(_, lines)| {
            let method = value(lines, "Keepalive method").unwrap_or_default();
            method.split(',').next()
        });
        for (n, c) in r.checks.iter().enumerate() {
            let Some((name, lines)) = of.get(n) else {
                diff.push(format!("{title}: keepalived has fewer checks"));
                return;
            };
            let v = |k: &str| value(lines, k);
            let mut differs = |what: &str, same: bool, theirs: Option<&str>| {
                if !same {
                    diff.push(format!("{name}: {what}: keepalived {theirs:?}, lbd {c:?}"));
                }
            };
            let method = match &c.kind {
                CheckKind::Http(http) => {
                    let (theirs, ours) = (urls(lines), self::http(http));
                    differs("URLs", theirs == ours, Some(&theirs.join("; ")));
                    format!("{}, http protocol {}", http.name(), http.version.name())
                }
                kind => kind.name().to_owned(),
            };
            differs(
                "method",
                v("Keepalive method") == Some(method.as_str()),
                v("Keepalive method"),
            );
            differs(
                "alpha",
                v("Alpha") == Some(if c.alpha { "yes" } else { "no" }),
                v("Alpha"),
            );
            differs(
                "delay_loop",
                micros(v("Delay loop")) == Some(c.interval),
                v("Delay loop"),
            );
            differs("warmup", micros(v("Warmup")) == Some(c.warmup), v("Warmup"));
            differs(
                "retry",
                meant || v("Retries") == Some(c.retry.to_string().as_str()),
                v("Retries"),
            );
            differs(
                "connect_timeout",
                seconds(v("Timeout")) == Some(c.timeout),
                v("Timeout"),
            );
            if c.retry > 0 && v("Retries") != Some("0") {
                differs(
                    "delay_before_retry",
                    micros(v("Delay before retry")) == Some(c.retry_delay),
                    v("Delay before retry"),
                );
            }
            differs(
                "connect",
                v("Dest") == Some(format!("[{}]:{}", c.addr, c.port).as_str()),
                v("Dest"),
            );
            let bind = c.bind_addr.map(|b| format!("[{b}]:{}", c.bind_port));
            differs(
                "bindto",
                c.bind_addr.is_none() || v("Bind to") == bind.as_deref(),
                v("Bind to"),
            );
            differs(
                "bind_if",
                v("Bind i/f") == c.bind_if.as_deref(),
                v("Bind i/f"),
            );
        }
    }
    if theirs.next().is_some() {
        diff.push(format!("{title}: keepalived has more checks"));
    }
}
