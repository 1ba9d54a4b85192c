//! `lbctl show reasons`.

use super::table::Table;
use super::{Color, Tone};
use crate::control::status::{ReasonAction, Status};

/// `lbctl show reasons`: why frames were passed to the stack or dropped; `all`: also the reasons
/// that never occurred.
#[must_use]
pub fn reasons(status: &Status, all: bool, color: Color) -> String {
    let mut table = Table::new(&["REASON", "ACTION", "FRAMES", "MEANING"]);
    for r in status.reasons.iter().filter(|r| all || r.count > 0) {
        let (action, tone) = match r.action {
            ReasonAction::Pass => ("pass", Tone::Plain),
            ReasonAction::Drop => ("drop", Tone::Fair),
            ReasonAction::Note => ("note", Tone::Plain),
        };
        table.row([
            (r.name.clone(), Tone::Plain),
            (action.to_owned(), tone),
            (r.count.to_string(), Tone::Plain),
            (r.help.clone(), Tone::Plain),
        ]);
    }
    if table.is_empty() {
        return "no frame was passed to the stack or dropped\n".to_owned();
    }
    table.render(color)
}
