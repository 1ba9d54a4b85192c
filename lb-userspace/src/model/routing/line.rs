//! Routes and rules as the lines of a configuration.

use std::fmt;

use super::{Fate, Prefix, Route, Routing, Rule};

fn prefix(p: Prefix) -> String {
    format!("{}/{}", p.addr, p.len)
}

const fn fate(fate: Fate) -> Option<&'static str> {
    match fate {
        Fate::Forward => None,
        Fate::Blackhole => Some("blackhole"),
        Fate::Unreachable => Some("unreachable"),
        Fate::Prohibit => Some("prohibit"),
    }
}

fn put(line: &mut String, word: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        *line += &format!(" {word} {}", value.to_string());
    }
}

/// How it is followed.
fn followed(line: &mut String, no_track: bool, group: Option<&String>) {
    if no_track {
        *line += " no_track";
    }
    put(line, "track_group", group);
}

fn route(r: &Route) -> String {
    let mut line = fate(r.fate).map_or_else(String::new, |fate| format!("{fate} "));
    line += &format!("to {}", prefix(r.to));
    put(&mut line, "src", r.source);
    put(
        &mut line,
        "table",
        (r.table != Route::MAIN).then_some(r.table),
    );
    put(&mut line, "metric", r.metric);
    put(&mut line, "scope", r.scope);
    put(&mut line, "tos", (r.tos != 0).then_some(r.tos));
    put(&mut line, "mtu", r.mtu);
    put(&mut line, "advmss", r.advmss);
    if r.to.addr.is_ipv6() {
        line += " inet6";
    }
    if r.append {
        line += " append";
    }
    followed(&mut line, r.no_track, r.track_group.as_ref());
    for hop in &r.hops {
        if r.hops.len() > 1 {
            line += " nexthop";
        }
        put(&mut line, "via", hop.via);
        put(&mut line, "dev", hop.dev.as_ref());
        put(&mut line, "weight", (hop.weight != 1).then_some(hop.weight));
        if hop.on_link {
            line += " onlink";
        }
    }
    line
}

fn rule(r: &Rule) -> String {
    let mut line = String::from(if r.is_ipv6 { "inet6" } else { "inet" });
    if r.not {
        line += " not";
    }
    put(&mut line, "from", r.from.map(prefix));
    put(&mut line, "to", r.to.map(prefix));
    put(&mut line, "iif", r.iif.as_ref());
    put(&mut line, "oif", r.oif.as_ref());
    put(
        &mut line,
        "fwmark",
        r.mark.map(|(mark, mask)| format!("{mark:#x}/{mask:#x}")),
    );
    put(&mut line, "tos", (r.tos != 0).then_some(r.tos));
    put(&mut line, "preference", Some(r.preference));
    put(&mut line, "table", (r.table != 0).then_some(r.table));
    if let Some(fate) = fate(r.fate) {
        line += &format!(" {fate}");
    }
    followed(&mut line, r.no_track, r.track_group.as_ref());
    line
}

/// A line of `virtual_routes`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&route(self))
    }
}

/// A line of `virtual_rules`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rule(self))
    }
}

/// Its line, and what it is.
impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Routing::Address(a) => {
                let dev = a.dev.as_deref().unwrap_or_default();
                write!(f, "address {}/{} dev {dev}", a.addr, a.prefix_len)
            }
            Routing::Route(route) => write!(f, "route {route}"),
            Routing::Rule(rule) => write!(f, "rule {rule}"),
        }
    }
}
