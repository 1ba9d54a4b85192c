//! Lists in the plan: what comes and goes, in the words of keepalived.conf.

use std::collections::BTreeSet;

use super::{Kind, Line};
use crate::config::words;
use crate::model::{Model, RealServer, Route, Rule, VirtualAddress, VrrpInstance};

/// What of `static_ipaddress` and the like comes and goes.
pub(super) fn statics(old: &Model, new: &Model, lines: &mut Vec<Line>) {
    let (a, b) = (&old.statics, &new.statics);
    let all = [
        (
            "static_ipaddress",
            [&a.addresses, &b.addresses].map(|l| addresses(l)),
        ),
        ("static_routes", [&a.routes, &b.routes].map(|l| routes(l))),
        ("static_rules", [&a.rules, &b.rules].map(|l| rules(l))),
    ];
    for (keyword, both) in all {
        list("", keyword, both, lines);
    }
}

/// What of an instance's `virtual_ipaddress` and the like comes and goes.
pub(super) fn instance(what: &str, a: &VrrpInstance, b: &VrrpInstance, lines: &mut Vec<Line>) {
    let all = [
        (
            "virtual_ipaddress",
            [&a.addresses, &b.addresses].map(|l| addresses(l)),
        ),
        (
            "virtual_ipaddress_excluded",
            [&a.excluded, &b.excluded].map(|l| addresses(l)),
        ),
        ("virtual_routes", [&a.routes, &b.routes].map(|l| routes(l))),
        ("virtual_rules", [&a.rules, &b.rules].map(|l| rules(l))),
    ];
    for (keyword, both) in all {
        list(&format!(" of {what}"), keyword, both, lines);
    }
}

fn addresses(list: &[VirtualAddress]) -> Vec<String> {
    list.iter().map(words::address_line).collect()
}

fn routes(list: &[Route]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn rules(list: &[Rule]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn list(of: &str, keyword: &str, [old, new]: [Vec<String>; 2], lines: &mut Vec<Line>) {
    if old == new {
        return;
    }
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) =
        (old.iter().collect(), new.iter().collect());
    let gone = old.iter().filter(|l| !after.contains(l));
    let come = new.iter().filter(|l| !before.contains(l));
    let all = gone
        .map(|l| (Kind::Remove, l))
        .chain(come.map(|l| (Kind::Add, l)));
    lines.extend(all.map(|(kind, l)| Line {
        kind,
        what: format!("{keyword} {l}{of}"),
    }));
    if before == after {
        lines.push(Line {
            kind: Kind::Change,
            what: format!("order of {keyword}{of}"),
        });
    }
}

/// The checks of a real server.
pub(super) fn checks(what: &str, old: &RealServer, new: &RealServer, lines: &mut Vec<Line>) {
    let all = |server: &RealServer| -> Vec<(&'static str, Vec<String>)> {
        let checks = server.checks.iter();
        checks
            .map(|c| (c.kind.name(), statements(words::check_lines(c, server))))
            .collect()
    };
    let mut before = all(old);
    let mut others = Vec::new();
    for check in all(new) {
        match before.iter().position(|b| *b == check) {
            Some(same) => drop(before.remove(same)),
            None => others.push(check),
        }
    }
    let mut say = |kind, what| lines.push(Line { kind, what });
    for (name, after) in others {
        let Some(at) = before.iter().position(|(n, _)| *n == name) else {
            say(Kind::Add, format!("{name} of {what}"));
            continue;
        };
        let (_, was) = before.remove(at);
        let only = |these: &[String], others: &[String]| {
            let only: Vec<&str> = these
                .iter()
                .filter(|s| !others.contains(s))
                .map(String::as_str)
                .collect();
            match only.is_empty() {
                true => "the default".to_owned(),
                false => only.join(", "),
            }
        };
        let change = format!("{} -> {}", only(&was, &after), only(&after, &was));
        say(Kind::Change, format!("{what}: {name} {change}"));
    }
    for (name, _) in before {
        say(Kind::Remove, format!("{name} of {what}"));
    }
}

/// Lines with those of a block in one.
fn statements(lines: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut depth = 0usize;
    for line in lines {
        let closes = usize::from(line == "}");
        match out.last_mut() {
            Some(last) if depth > 0 => *last += &format!(" {line}"),
            Some(_) | None => out.push(line.clone()),
        }
        depth = depth + usize::from(line.ends_with('{')) - closes;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::diff;
    use super::*;
    use crate::config::{self, MemoryFiles, Options};

    /// An instance with further lines, and a service with the checks of its server.
    fn model(top: &str, instance: &str, checks: &str) -> Model {
        let text = format!(
            "{top}\nvrrp_script s {{\n  script /s\n}}\n\
             vrrp_instance V {{\n  interface eth0\n  virtual_router_id 1\n  {instance}\n  \
             virtual_ipaddress {{\n    192.0.2.1/24\n    192.0.2.2/24\n  }}\n}}\n\
             virtual_server 192.0.2.1 80 {{\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  \
             real_server 10.0.0.1 80 {{\n{checks}\n}}\n}}\n"
        );
        let files = MemoryFiles::one("k.conf", &text);
        let loaded = config::load("k.conf", &files, &Options::default());
        let said = loaded.render(false);
        loaded.model.expect(&said)
    }

    fn told(old: &Model, new: &Model) -> Vec<String> {
        diff(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn checks_read_as_in_the_file() {
        let check = |text: &str| model("", "", text);
        let old = check("TCP_CHECK {\n delay_loop 7\n}\nPING_CHECK {\n}");
        let new = check(
            "HTTP_GET {\n url {\n path /\n status_code 200\n }\n}\n\
             TCP_CHECK {\n delay_loop 7\n connect_port 8080\n warmup 0\n}",
        );
        let of = "real_server 10.0.0.1 80 of virtual_server 192.0.2.1 80 TCP";
        assert_eq!(
            told(&old, &new),
            [
                format!("+ HTTP_GET of {of}"),
                format!("~ {of}: TCP_CHECK the default -> connect_port 8080, warmup 0"),
                format!("- PING_CHECK of {of}"),
            ]
        );
        let other = check(
            "HTTP_GET {\n url {\n path /x\n status_code 200\n }\n}\n\
             TCP_CHECK {\n delay_loop 7\n connect_port 8080\n warmup 0\n}",
        );
        assert_eq!(
            told(&new, &other),
            [format!(
                "~ {of}: HTTP_GET url {{ path / status_code 200 }} -> url {{ path /x status_code 200 }}"
            )]
        );
    }

    #[test]
    fn what_comes_and_goes_of_an_instance_reads_as_in_the_file() {
        let old = model("", "", "");
        let new = model(
            "static_routes {\n  10.9.0.0/16 via 10.0.0.254\n}\n\
             global_defs {\n  shutdown_script \"/e x\" joe\n}",
            "notify_master \"/n x\"\n  track_script {\n    s weight -5\n  }\n  \
             virtual_routes {\n    10.9.0.0/16 dev eth0\n  }",
            "",
        );
        let mut new = new;
        new.instances[0].addresses.remove(0);
        assert_eq!(
            told(&old, &new),
            [
                "~ global_defs: shutdown_script none -> script /e x as joe timeout 10s",
                "+ static_routes to 10.9.0.0/16 via 10.0.0.254",
                "~ vrrp_instance V: notify none -> master /n x",
                "~ vrrp_instance V: tracks none -> scripts [s weight -5]",
                "- virtual_ipaddress 192.0.2.1/24 of vrrp_instance V",
                "+ virtual_routes to 10.9.0.0/16 dev eth0 of vrrp_instance V",
            ]
        );
        let mut turned = old.clone();
        turned.instances[0].addresses.reverse();
        assert_eq!(
            told(&old, &turned),
            ["~ order of virtual_ipaddress of vrrp_instance V"]
        );
    }
}
