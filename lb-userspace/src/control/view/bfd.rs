//! `lbctl show bfd`.

use super::table::Table;
use super::{Color, Tone, span};
use crate::bfd::State;
use crate::control::status::{BfdStatus, Status};

const fn tone(session: &BfdStatus) -> Tone {
    match (session.state, session.counts_as_up) {
        (State::Up, Some(_) | None) => Tone::Good,
        (State::AdminDown | State::Down | State::Init, Some(false)) => Tone::Bad,
        (State::AdminDown | State::Down | State::Init, Some(true) | None) => Tone::Fair,
    }
}

/// `lbctl show bfd`.
#[must_use]
pub fn bfd(status: &Status, color: Color) -> String {
    if status.bfd.is_empty() {
        return "no BFD sessions\n".to_owned();
    }
    let mut table = Table::new(&[
        "SESSION",
        "STATE",
        "SINCE",
        "NEIGHBOR",
        "ITS STATE",
        "INTERVAL",
        "DETECTION",
        "HEARD",
        "SENT",
        "RECEIVED",
    ]);
    for s in &status.bfd {
        let plain = |text: String| (text, Tone::Plain);
        let none = || "-".to_owned();
        table.row([
            plain(s.name.clone()),
            (s.state.name().to_owned(), tone(s)),
            plain(span(s.since_ms)),
            plain(s.neighbor.to_string()),
            plain(s.remote_state.name().to_owned()),
            plain(s.interval_us.map_or_else(none, millis)),
            plain(millis(s.detection_us)),
            plain(s.last_packet_ms.map_or_else(none, span)),
            plain(s.sent.to_string()),
            plain(s.received.to_string()),
        ]);
        if s.state != State::Up && s.went_down > 0 {
            table.note(format!("it went down: {}", s.diagnostic), Tone::Plain);
        }
        if s.state != State::Up && s.counts_as_up == Some(true) {
            let text = "taken down by the neighbor's operator, counts as up".to_owned();
            table.note(text, Tone::Fair);
        }
    }
    let mut out = table.render(color);
    if !status.bfd_refused.is_empty() {
        let each = status.bfd_refused.iter();
        let each: Vec<String> = each.map(|d| format!("{} {}", d.reason, d.count)).collect();
        out += &format!("\npackets that were refused: {}\n", each.join(", "));
    }
    out
}

/// Microseconds as milliseconds, as the configuration has them.
fn millis(micros: u64) -> String {
    match micros % 1000 {
        0 => format!("{}ms", micros / 1000),
        part => format!("{}.{part:03}ms", micros / 1000),
    }
}
