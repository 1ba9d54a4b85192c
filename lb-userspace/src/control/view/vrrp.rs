//! `lbctl show vrrp`.

use std::net::IpAddr;

use super::table::Table;
use super::{Color, Tone, count, span};
use crate::control::status::{RoutingStatus, Status, VrrpState, VrrpStatus};
use crate::model::Family;

pub(super) const fn tone(state: VrrpState) -> Tone {
    match state {
        VrrpState::Master => Tone::Good,
        VrrpState::Backup => Tone::Plain,
        VrrpState::Init => Tone::Fair,
        VrrpState::Fault => Tone::Bad,
    }
}

/// `lbctl show vrrp`.
#[must_use]
pub fn vrrp(status: &Status, color: Color) -> String {
    if status.vrrp.is_empty() && status.statics.is_empty() {
        return "no VRRP instances\n".to_owned();
    }
    let mut table = Table::new(&[
        "INSTANCE",
        "STATE",
        "SINCE",
        "PRIORITY",
        "VRID",
        "INTERFACE",
        "ADVERT",
        "MASTER",
    ]);
    for v in &status.vrrp {
        let plain = |text: String| (text, Tone::Plain);
        let priority = match v.effective_priority == v.priority {
            true => v.priority.to_string(),
            false => format!("{} (of {})", v.effective_priority, v.priority),
        };
        table.row([
            plain(v.name.clone()),
            (v.state.name().to_owned(), tone(v.state)),
            plain(
                v.last_transition
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |t| span(t.ago_ms)),
            ),
            plain(priority),
            plain(v.vrid.to_string()),
            plain(v.interface.clone()),
            plain(format!("v{} {}", v.version, span(v.advert_ms))),
            plain(master(v)),
        ]);
        notes(v, &mut table);
    }
    let mut out = match status.vrrp.is_empty() {
        true => "no VRRP instances\n".to_owned(),
        false => table.render(color),
    };
    if !status.sync_groups.is_empty() {
        let mut table = Table::new(&["SYNC GROUP", "STATE", "MEMBERS"]);
        for g in &status.sync_groups {
            table.row([
                (g.name.clone(), Tone::Plain),
                (g.state.name().to_owned(), tone(g.state)),
                (g.members.join(" "), Tone::Plain),
            ]);
        }
        out.push('\n');
        out += &table.render(color);
    }
    if !status.statics.is_empty() {
        let mut table = Table::new(&["STATIC"]);
        for r in &status.statics {
            table.row([routing(r)]);
        }
        out.push('\n');
        out += &table.render(color);
    }
    if !status.vrrp_unclaimed.is_empty() {
        let each = status.vrrp_unclaimed.iter();
        let each: Vec<String> = each.map(|d| format!("{} {}", d.reason, d.count)).collect();
        out += &format!("\npackets of no instance: {}\n", each.join(", "));
    }
    out
}

pub(super) fn master(v: &VrrpStatus) -> String {
    match (v.state, v.master, v.master_priority) {
        (VrrpState::Master, _, _) => "this host".to_owned(),
        (_, Some(a), Some(p)) => format!("{a} (priority {p})"),
        (_, Some(a), None) => a.to_string(),
        (_, None, _) => "-".to_owned(),
    }
}

/// An address, route or rule, and whether it is there.
fn routing(r: &RoutingStatus) -> (String, Tone) {
    match (&r.failure, r.set) {
        (Some(_), _) => (cannot_be_set(r), Tone::Bad),
        (None, true) => (r.line.clone(), Tone::Plain),
        (None, false) => (format!("{} (not here)", r.line), Tone::Plain),
    }
}

/// What is said of one that is not there though it should be.
pub(super) fn cannot_be_set(r: &RoutingStatus) -> String {
    let why = r.failure.as_deref().unwrap_or_default();
    format!("{} CANNOT BE SET: {why}", r.line)
}

fn notes(v: &VrrpStatus, table: &mut Table) {
    for a in &v.addresses {
        // Addresses belong to the master: only one that is missing there, or left over elsewhere,
        // is worth a colour.
        let (word, tone) = match (a.present, v.state == VrrpState::Master) {
            (true, true) => ("", Tone::Plain),
            (false, true) => (" MISSING", Tone::Bad),
            (true, false) => (" LEFT OVER", Tone::Bad),
            (false, false) => (" (not here)", Tone::Plain),
        };
        let kind = if a.advertised { "" } else { " excluded" };
        table.note(format!("{} dev {}{kind}{word}", a.address, a.dev), tone);
    }
    for r in &v.routing {
        let (text, tone) = routing(r);
        table.note(text, tone);
    }
    if let Some(r) = &v.rival {
        table.note(
            format!(
                "TWO MASTERS: {} too, refused ({}): compare {} of both",
                r.address, r.reason, r.compare
            ),
            Tone::Bad,
        );
    }
    for c in &v.claims {
        let (address, mac) = (c.address, &c.mac);
        let text = match c.server {
            Some(server) => format!(
                "real server {server} ({mac}) answers for {address}: set arp_ignore 1, arp_announce 2"
            ),
            None => format!(
                "TWO MASTERS or a duplicate address: {mac} answers for {address}, its adverts are not heard"
            ),
        };
        table.note(text, Tone::Bad);
    }
    if let Some(t) = &v.last_transition {
        table.note(
            format!("{} to {}: {}", t.from.name(), t.to.name(), t.reason),
            Tone::Plain,
        );
    }
    if v.released {
        let text = "by hand: released, takes nothing from a living master";
        table.note(text.to_owned(), Tone::Fair);
    }
    if v.raised {
        let (sent, own) = (v.effective_priority, v.priority);
        let text = format!("by hand: taken over, priority {sent} (of {own}) while it is master");
        table.note(text, Tone::Fair);
    }
    // The group that everybody uses is worth no line.
    let usual = |to: &IpAddr| *to == Family::of(*to).group();
    if !v.sent_to.iter().all(usual) {
        let to: Vec<String> = v.sent_to.iter().map(IpAddr::to_string).collect();
        table.note(format!("adverts to {}", to.join(", ")), Tone::Plain);
    }
    table.note(
        format!(
            "{} sent, {} received, MASTER {}{}",
            count(v.adverts_sent, "advert", "adverts"),
            v.adverts_received,
            count(v.became_master, "time", "times"),
            if v.nopreempt { ", nopreempt" } else { "" }
        ),
        Tone::Plain,
    );
    for d in v.discarded.iter().filter(|d| d.count > 0) {
        table.note(format!("discarded: {}: {}", d.reason, d.count), Tone::Fair);
    }
}
