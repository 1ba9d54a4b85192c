//! `lbctl show health`.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use super::table::Table;
use super::{Color, Tone, count, endpoint, span};
use crate::control::status::{CheckState, CheckStatus, ServiceStatus, Status};
use crate::model::ServiceKey;

/// `lbctl show health`: every service with its quorum, every real server with its checks. The
/// addresses of a `virtual_server_group` share them, so the group is one entry.
#[must_use]
pub fn health(status: &Status, color: Color) -> String {
    if status.services.is_empty() {
        return "no services\n".to_owned();
    }
    let mut checks: HashMap<(ServiceKey, IpAddr, u16), Vec<&CheckStatus>> = HashMap::new();
    for c in &status.checks {
        checks
            .entry((c.service, c.server, c.server_port))
            .or_default()
            .push(c);
    }
    let mut out = String::new();
    for s in status.services.iter().filter(|s| !s.shares_checks) {
        out += &headline(s, status, color);
        let mut table = Table::new(&[
            "  SERVER", "WEIGHT", "CHECK", "STATE", "SINCE", "LAST RUN", "TOOK", "AGO", "NEXT",
        ]);
        for b in &s.backends {
            let plain = |text: String| (text, Tone::Plain);
            let mut name = format!("  {}", endpoint(b.addr, b.port));
            let mut weight = match b.weight == b.effective_weight {
                true => b.weight.to_string(),
                false => format!("{} (of {})", b.effective_weight, b.weight),
            };
            let of = checks
                .get(&(s.key, b.addr, b.port))
                .map_or(&[][..], Vec::as_slice);
            if of.is_empty() {
                let (state, tone) = match (b.sorry, b.listed && b.effective_weight > 0) {
                    (true, true) => ("in service", Tone::Fair),
                    (true, false) => ("waiting", Tone::Plain),
                    (false, true | false) => ("no check", Tone::Plain),
                };
                let kind = if b.sorry { "sorry_server" } else { "-" };
                let dash = || plain("-".to_owned());
                table.row([
                    plain(std::mem::take(&mut name)),
                    plain(std::mem::take(&mut weight)),
                    plain(kind.to_owned()),
                    (state.to_owned(), tone),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                ]);
            }
            for c in of {
                let kind = match (c.target == c.server, c.target_port) {
                    (true, port) if port == c.server_port => c.kind.clone(),
                    // Scripts, files, BFD sessions and pings have no port.
                    (true, 0) => c.kind.clone(),
                    (false, 0) => format!("{} {}", c.kind, c.target),
                    (_, port) => format!("{} {}", c.kind, endpoint(c.target, port)),
                };
                let (state, tone) = state(c.state);
                let ago = |ms: Option<u64>| plain(ms.map_or_else(|| "-".to_owned(), span));
                let mut last = c.last_result.clone().unwrap_or_else(|| "-".to_owned());
                if c.retries_used > 0 {
                    last += &format!(" (retry {} of {})", c.retries_used, c.retry);
                }
                table.row([
                    plain(std::mem::take(&mut name)),
                    plain(std::mem::take(&mut weight)),
                    plain(kind),
                    (state.to_owned(), tone),
                    plain(span(c.since_ms)),
                    plain(last),
                    plain(c.last_duration_us.map_or_else(|| "-".to_owned(), took)),
                    ago(c.last_ago_ms),
                    match c.running && c.state != CheckState::Suspended {
                        true => plain("running".to_owned()),
                        false => ago(c.next_in_ms),
                    },
                ]);
            }
            if let Some(text) = super::by_hand(b) {
                table.note(text, Tone::Fair);
            }
        }
        out += &table.render(color);
    }
    out
}

fn headline(s: &ServiceStatus, status: &Status, color: Color) -> String {
    let servers = s.backends.iter().filter(|b| !b.sorry);
    let (up, all) = servers.fold((0, 0), |(up, all), b| (up + usize::from(b.up), all + 1));
    let hysteresis = if s.hysteresis > 0 {
        format!("±{}", s.hysteresis)
    } else {
        String::new()
    };
    let quorum = match s.quorum_up {
        true => color.paint(Tone::Good, "held"),
        false => color.paint(Tone::Bad, "LOST"),
    };
    let mut name = color.paint(Tone::Title, &s.key.to_string());
    if let Some(group) = &s.group {
        let same = |o: &&ServiceStatus| {
            o.group.as_ref() == Some(group) && o.key.protocol == s.key.protocol
        };
        let all = status.services.iter().filter(same).count();
        let _ = write!(
            name,
            " (group {group}, {})",
            count(all as u64, "address", "addresses")
        );
    }
    let (live, needed) = (s.live_weight, s.quorum);
    format!(
        "{name}  {up} of {all} servers up, living weight {live}, quorum {needed}{hysteresis} {quorum}\n"
    )
}

const fn state(s: CheckState) -> (&'static str, Tone) {
    match s {
        CheckState::Up => ("up", Tone::Good),
        CheckState::Down => ("DOWN", Tone::Bad),
        CheckState::AssumedUp => ("up?", Tone::Fair),
        CheckState::AssumedDown => ("down?", Tone::Fair),
        CheckState::Suspended => ("suspended", Tone::Plain),
    }
}

fn took(us: u64) -> String {
    match us {
        0..1000 => format!("{us}µs"),
        1000..10_000 => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        10_000.. => span(us / 1000),
    }
}
