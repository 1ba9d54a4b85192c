//! How an instance's adverts travel and how it elects, beside keepalived's dump of it.

use lb_userspace::model::{Family, OldChecksum, Transport, VrrpInstance};

use super::{list, value};

/// What follows a label that has no `=`.
fn after<'a>(lines: &[&'a str], label: &str) -> Option<&'a str> {
    let rest = lines
        .iter()
        .find_map(|l| l.trim_start().strip_prefix(label))?;
    Some(rest.trim())
}

pub(super) fn transport(i: &VrrpInstance, lines: &[&str], diff: &mut Vec<String>) {
    let mut same = |what: &str, theirs: Option<&str>, ours: Option<&str>| {
        if theirs != ours {
            diff.push(format!(
                "{}: {what}: keepalived {theirs:?}, lbd {ours:?}",
                i.name
            ));
        }
    };
    let unicast = match &i.transport {
        Transport::Multicast(group) => {
            let group = group.to_string();
            let theirs = after(lines, "Multicast address");
            let theirs = theirs.and_then(|t| t.split(", ifindex").next());
            same("group", theirs, Some(&group));
            return;
        }
        // keepalived prints the group that it does not use.
        Transport::Unicast(unicast) if unicast.peers.is_empty() => {
            let flag = after(lines, "If unicast go to fault state if no peers");
            same("fault", flag, Some(""));
            return;
        }
        Transport::Unicast(unicast) => unicast,
    };
    same("group", after(lines, "Multicast address"), None);
    let ttl = unicast.ttl.to_string();
    same(
        "ttl",
        Some(value(lines, "Unicast TTL").unwrap_or("255")),
        Some(&ttl),
    );
    let check = after(lines, "Check unicast src :").unwrap_or("no");
    let ours = if unicast.check_source { "yes" } else { "no" };
    same("check", Some(check), Some(ours));
    if i.family() == Family::V4 {
        let old = value(lines, "Unicast checksum compatibility").unwrap_or("no");
        let ours = match unicast.old_checksum {
            OldChecksum::Auto => "no",
            OldChecksum::Always => "config",
            OldChecksum::Never => "never",
        };
        same("checksum", Some(old), Some(ours));
    }
    let theirs = list(lines, "Unicast Peer").join(", ");
    let ours: Vec<String> = unicast
        .peers
        .iter()
        .map(|p| format!("{} min_ttl {} max_ttl {}", p.addr, p.min_ttl, p.max_ttl))
        .collect();
    same("peers", Some(&theirs), Some(&ours.join(", ")));
}

pub(super) fn election(i: &VrrpInstance, lines: &[&str], diff: &mut Vec<String>) {
    let e = &i.election;
    let skipped = after(lines, "Skip checking advert IP addresses").is_some();
    let delay = match e.preempt_delay.is_zero() {
        true => None,
        false => Some(format!("{} secs", e.preempt_delay.as_secs_f64())),
    };
    let answers = !e.lower_prio_no_advert;
    let pairs = [
        (
            "down timer",
            value(lines, "Down timer adverts").map(str::to_owned),
            Some(e.down_timer_adverts.to_string()),
        ),
        (
            "preempt delay",
            value(lines, "Preempt delay").map(str::to_owned),
            delay,
        ),
        (
            "answer to a lower advert",
            value(lines, "Send advert after receive lower priority advert").map(str::to_owned),
            Some(answers.to_string()),
        ),
        (
            "accept",
            value(lines, "Accept").map(|v| v.starts_with("enabled").to_string()),
            Some(i.accept.to_string()),
        ),
        (
            "skip check",
            Some(skipped.to_string()),
            Some(e.skip_check_adv_addr.to_string()),
        ),
    ];
    for (what, theirs, ours) in pairs {
        if theirs != ours {
            diff.push(format!(
                "{}: {what}: keepalived {theirs:?}, lbd {ours:?}",
                i.name
            ));
        }
    }
}
