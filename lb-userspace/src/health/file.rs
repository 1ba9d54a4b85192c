//! `FILE_CHECK`: what the value of a file says of a server.

use super::Health;
use super::checker::{Failure, Verdict, Weighs};
use crate::model::{CheckKind, FileCheck};
use crate::time::Time;

/// What a value means to a check.
fn verdict(check: &FileCheck, value: i64) -> Verdict {
    let bad = || Verdict::Failed(Failure::Answer(format!("its value is {value}")));
    if check.weight == 0 {
        return match (value == 0) == check.reverse {
            true => bad(),
            false => Verdict::Ok,
        };
    }
    let product = value.saturating_mul(check.weight.into());
    let more = if check.reverse { -product } else { product };
    match more {
        ..=FileCheck::FAULT => bad(),
        0 => Verdict::Ok,
        more => Verdict::Weighs(Weighs::More(more)),
    }
}

impl Health {
    /// A file was read, by its name in the configuration.
    pub fn file(&mut self, name: &str, value: i64, now: Time) {
        if self.files.insert(name.to_owned(), value) != Some(value) {
            self.take_file(name, value, now, false);
        }
    }

    /// Gives a value to the checks that follow it, or to the new among them; whether there are any.
    pub(super) fn take_file(&mut self, name: &str, value: i64, now: Time, new: bool) -> bool {
        let follows = |kind: &CheckKind| match kind {
            CheckKind::File(file) if file.file == name => Some(verdict(file, value)),
            _ => None,
        };
        self.hear(&follows, now, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_times_its_weight_is_added_or_fails() {
        let bad = |value: i64| Verdict::Failed(Failure::Answer(format!("its value is {value}")));
        let more = |m| Verdict::Weighs(Weighs::More(m));
        for (value, weight, reverse, want) in [
            (0, 1, false, Verdict::Ok),
            (5, 1, false, more(5)),
            (5, -2, false, more(-10)),
            (5, 2, true, more(-10)),
            (0, 0, false, Verdict::Ok),
            (5, 0, false, bad(5)),
            (5, 0, true, Verdict::Ok),
            (0, 0, true, bad(0)),
            (-2_147_483_647, 1, false, more(-2_147_483_647)),
            (-2_147_483_648, 1, false, bad(-2_147_483_648)),
            (2_147_483_648, 1, true, bad(2_147_483_648)),
            (2_147_483_648, i32::MIN, false, bad(2_147_483_648)),
        ] {
            let check = FileCheck {
                file: "f".to_owned(),
                weight,
                reverse,
            };
            assert_eq!(verdict(&check, value), want, "{value} {weight} {reverse}");
        }
    }
}
