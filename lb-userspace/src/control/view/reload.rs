//! `lbctl reload`.

use std::fmt::Write;

use super::{Color, Tone, count};
use crate::control::protocol::{ReloadOutcome, ReloadReport};

/// What came of a reload: diagnostics, plan, and one line that sums up.
#[must_use]
pub fn reload(report: &ReloadReport, color: Color) -> String {
    let mut out = report.diagnostics.clone();
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    for line in &report.plan {
        let _ = writeln!(out, "  {line}");
    }
    let (tone, what) = match report.outcome {
        ReloadOutcome::Applied => (Tone::Good, "applied"),
        ReloadOutcome::Unchanged => (Tone::Good, "means the same as before: nothing to do"),
        ReloadOutcome::WouldApply => (Tone::Good, "would be applied"),
        ReloadOutcome::Refused => (
            Tone::Bad,
            "refused: the running configuration stays as it is",
        ),
    };
    let _ = write!(out, "{}: {}", report.path, color.paint(tone, what));
    let steps = report.plan.len() as u64;
    let mut found = Vec::new();
    if steps > 0 {
        found.push(count(steps, "change", "changes"));
    }
    if report.errors > 0 {
        found.push(count(report.errors.into(), "error", "errors"));
    }
    if report.warnings > 0 {
        found.push(count(report.warnings.into(), "warning", "warnings"));
    }
    if !found.is_empty() {
        let _ = write!(out, " ({})", found.join(", "));
    }
    out.push('\n');
    out
}
