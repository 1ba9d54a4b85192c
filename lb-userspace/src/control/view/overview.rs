//! `lbctl show status`, which is also what `lbctl watch` shows.

use std::fmt::Write;

use super::table::Table;
use super::vrrp::tone;
use super::{Color, Tone, count, span};
use crate::control::status::{Status, VrrpState, XdpMode};
use crate::model::ForwardMethod;

/// `lbctl show status`.
#[must_use]
pub fn overview(status: &Status, color: Color) -> String {
    let mut out = String::new();
    let d = &status.daemon;
    let _ = writeln!(
        out,
        "lbd {}  {}  pid {}  up {}",
        d.version,
        d.router_id,
        d.pid,
        span(d.uptime_ms)
    );
    config(status, color, &mut out);
    data_plane(status, color, &mut out);
    for r in status.statics.iter().filter(|r| r.failure.is_some()) {
        let text = format!("static {}", super::vrrp::cannot_be_set(r));
        let _ = writeln!(out, "{}", color.paint(Tone::Bad, &text));
    }
    if !status.vrrp.is_empty() {
        let mut table = Table::new(&[
            "INSTANCE",
            "STATE",
            "SINCE",
            "PRIORITY",
            "MASTER",
            "ADDRESSES",
        ]);
        for v in &status.vrrp {
            let plain = |text: String| (text, Tone::Plain);
            let here = v.addresses.iter().filter(|a| a.present).count();
            let want = if v.state == VrrpState::Master {
                v.addresses.len()
            } else {
                0
            };
            let mark = if here == want { Tone::Plain } else { Tone::Bad };
            table.row([
                plain(v.name.clone()),
                (v.state.name().to_owned(), tone(v.state)),
                plain(
                    v.last_transition
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), |t| span(t.ago_ms)),
                ),
                plain(v.effective_priority.to_string()),
                plain(super::vrrp::master(v)),
                (format!("{here} of {} here", v.addresses.len()), mark),
            ]);
            for r in v.routing.iter().filter(|r| r.failure.is_some()) {
                table.note(super::vrrp::cannot_be_set(r), Tone::Bad);
            }
        }
        out.push('\n');
        out += &table.render(color);
    }
    if !status.services.is_empty() {
        let mut table = Table::new(&[
            "SERVICE", "SERVERS", "QUORUM", "ACTIVE", "INACTIVE", "CONN/S", "PKT/S", "BYTE/S",
        ]);
        for s in &status.services {
            let plain = |text: String| (text, Tone::Plain);
            let servers: Vec<_> = s.backends.iter().filter(|b| !b.sorry).collect();
            let up = servers.iter().filter(|b| b.up).count();
            let sum = |f: fn(&crate::control::status::BackendStatus) -> u64| {
                s.backends.iter().map(f).sum::<u64>()
            };
            let sorry = s
                .backends
                .iter()
                .any(|b| b.sorry && b.listed && b.effective_weight > 0);
            let name = match &s.group {
                Some(group) => format!("{} ({group})", s.key),
                None => s.key.to_string(),
            };
            table.row([
                plain(name),
                (
                    format!(
                        "{up} of {} up{}",
                        servers.len(),
                        if sorry { ", sorry server" } else { "" }
                    ),
                    if up == servers.len() {
                        Tone::Plain
                    } else {
                        Tone::Fair
                    },
                ),
                match s.quorum_up {
                    true => ("held".to_owned(), Tone::Good),
                    false => ("LOST".to_owned(), Tone::Bad),
                },
                plain(sum(|b| b.active_conns).to_string()),
                plain(sum(|b| b.inactive_conns).to_string()),
                plain(s.rates.cps.to_string()),
                plain(s.rates.pps.to_string()),
                plain(s.rates.bps.to_string()),
            ]);
            for b in s.backends.iter().filter(|_| !s.shares_checks) {
                let at = super::endpoint(b.addr, b.port);
                if let Some(text) = super::by_hand(b) {
                    table.note(format!("{at} {text}"), Tone::Fair);
                }
                if let Some(why) = b.why.as_ref().filter(|_| !b.up && !b.by_hand.disabled) {
                    table.note(format!("{at} is down: {why}"), Tone::Fair);
                } else if b.listed && b.effective_weight > 0 && b.mac.is_none() {
                    table.note(
                        format!("{at} gets no connection: its MAC is not known"),
                        Tone::Bad,
                    );
                } else if b.routed && b.method == ForwardMethod::Dr {
                    table.note(
                        format!(
                            "{at} is behind a router, which must know the way to it for the virtual \
                             address (lb_kind TUN needs none, or the route is wrong)"
                        ),
                        Tone::Fair,
                    );
                }
            }
        }
        out.push('\n');
        out += &table.render(color);
    }
    out
}

fn config(status: &Status, color: Color, out: &mut String) {
    let c = &status.config;
    let _ = write!(out, "config {}", c.path);
    if c.reloads > 0 {
        let _ = write!(out, "  reloaded {}", count(c.reloads, "time", "times"));
    }
    if c.warnings > 0 {
        let text = count(c.warnings.into(), "warning", "warnings");
        let _ = write!(out, "  {}", color.paint(Tone::Fair, &text));
    }
    out.push('\n');
    if let Some(why) = &c.refused {
        let _ = writeln!(
            out,
            "  {}",
            color.paint(Tone::Bad, &format!("the last reload was refused: {why}"))
        );
    }
    for l in &c.left_out {
        let text = match l.place.is_empty() {
            true => format!("left out: {}: {}", l.what, l.why),
            false => format!("left out: {} ({}): {}", l.what, l.place, l.why),
        };
        let _ = writeln!(out, "  {}", color.paint(Tone::Fair, &text));
    }
}

fn data_plane(status: &Status, color: Color, out: &mut String) {
    if status.data_plane.loading {
        *out += &color.paint(Tone::Fair, "xdp: the program is being loaded");
        out.push('\n');
    }
    for i in &status.data_plane.interfaces {
        let _ = write!(out, "xdp on {}: ", i.name);
        *out += &match i.mode {
            Some(XdpMode::Native) => format!("native, program {}", i.program_id),
            Some(XdpMode::Generic) => format!(
                "{}, program {}",
                color.paint(Tone::Fair, "generic"),
                i.program_id
            ),
            None => color.paint(Tone::Bad, "NOT ATTACHED"),
        };
        if let Some(note) = &i.note {
            let _ = write!(out, " ({note})");
        }
        out.push('\n');
    }
    let d = &status.data_plane;
    if let Some(percent) = d.flows_used.saturating_mul(100).checked_div(d.flow_slots) {
        let _ = writeln!(
            out,
            "flows {} of {} ({percent}%)",
            d.flows_used, d.flow_slots
        );
    }
}
