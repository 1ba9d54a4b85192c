//! What all walks cost, beside each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::bound::DOWN;
use super::{Done, Pairing, Row, Walk, Wire, name};
use crate::outage::{Spread, spread};

/// The costs of many walks.
#[derive(Clone, Debug, Default)]
pub struct Table {
    costs: BTreeMap<(Wire, u32, Row, Pairing), Vec<f64>>,
    questions: BTreeMap<u32, Duration>,
    failures: Vec<(Walk, String)>,
}

/// A median that is not as it should be.
#[derive(Clone, PartialEq, Debug)]
pub struct Judged {
    /// Where.
    pub cell: String,
    /// What is wrong.
    pub what: String,
}

impl Table {
    /// Adds a walk.
    pub fn add(&mut self, done: &Done) {
        let walk = done.walk;
        self.questions.insert(walk.advert_ms, walk.question());
        for cost in &done.costs {
            let cell = (walk.wire, walk.advert_ms, cost.row, walk.pairing);
            self.costs.entry(cell).or_default().push(cost.ms);
        }
        if let Some(error) = &done.error {
            self.failures.push((walk, error.clone()));
        }
    }

    /// Walks that failed and have ours in them.
    #[must_use]
    pub fn failures(&self) -> Vec<&(Walk, String)> {
        let ours = |f: &&(Walk, String)| f.0.pairing != Pairing::KeepalivedKeepalived;
        self.failures.iter().filter(ours).collect()
    }

    fn spread(&self, cell: (Wire, u32, Row, Pairing)) -> Option<Spread> {
        spread(self.costs.get(&cell)?)
    }

    /// Every median of ours that is above keepalived's own, or, where both directors are ours and
    /// nothing has to be lost, above nothing; by more than the questions can tell.
    #[must_use]
    pub fn judge(&self) -> Vec<Judged> {
        let mut judged = Vec::new();
        let is_theirs = |p: &Pairing| *p == Pairing::KeepalivedKeepalived;
        let compared = self.costs.keys().any(|(.., pairing)| is_theirs(pairing));
        for &(wire, advert_ms, row, pairing) in self.costs.keys() {
            let Some(own) = self.spread((wire, advert_ms, row, pairing)) else {
                continue;
            };
            let theirs = self.spread((wire, advert_ms, row, Pairing::KeepalivedKeepalived));
            let question = self.questions.get(&advert_ms).copied().unwrap_or_default();
            let advert = Duration::from_millis(advert_ms.into());
            // Two probers, each of which may be off by one question, and what a host is late.
            let grain = (question * 2 + advert / 100).as_secs_f64() * 1e3;
            let mut wrong = |what: String| {
                let cell = format!(
                    "{}, {} s, {}, {}",
                    name(wire),
                    f64::from(advert_ms) / 1e3,
                    row.words(),
                    name(pairing)
                );
                judged.push(Judged { cell, what });
            };
            let loads = wire.loads(advert);
            if pairing == Pairing::KeepalivedKeepalived || (row == Row::Start && loads) {
                continue;
            }
            if let Some(theirs) = theirs {
                // A keepalived that was killed takes its address away as soon as it runs again, and
                // when that is decides how much of the other's patience the client feels.
                let own_matter = row == Row::Kill && pairing == Pairing::KeepalivedOurs;
                let patience = advert.mul_f64(DOWN).as_secs_f64() * 1e3;
                let most = if own_matter {
                    theirs.median.max(patience)
                } else {
                    theirs.median
                };
                if own.median > most + grain {
                    wrong(format!(
                        "median {:.0} ms, keepalived's pair {:.0} ms",
                        own.median, theirs.median
                    ));
                }
            } else if compared && !matches!(row, Row::Release | Row::Takeover) {
                wrong("keepalived's pair has no figure".to_owned());
            }
            if pairing == Pairing::OursOurs && costs_nothing(row) && own.median > grain {
                wrong(format!("median {:.0} ms, not nothing", own.median));
            }
        }
        judged
    }

    /// As a table in Markdown: minimum / median / maximum in milliseconds.
    #[must_use]
    pub fn markdown(&self) -> String {
        let pairings: BTreeSet<Pairing> = self.costs.keys().map(|k| k.3).collect();
        let mut t = String::from("| adverts | every | event |");
        for p in &pairings {
            let _ = write!(t, " {} |", name(*p));
        }
        let _ = writeln!(
            t,
            "\n| --- | --- | --- |{}",
            " --- |".repeat(pairings.len())
        );
        let lines: BTreeSet<_> = self.costs.keys().map(|k| (k.0, k.1, k.2)).collect();
        for (wire, advert_ms, row) in lines {
            let every = f64::from(advert_ms) / 1e3;
            let _ = write!(t, "| {} | {every} s | {} |", name(wire), row.words());
            for p in &pairings {
                let cell = self.spread((wire, advert_ms, row, *p)).map_or_else(
                    || "-".into(),
                    |s| format!("{:.0} / {:.0} / {:.0}", s.min, s.median, s.max),
                );
                let _ = write!(t, " {cell} |");
            }
            t.push('\n');
        }
        for (walk, error) in &self.failures {
            let first = error.lines().next().unwrap_or_default();
            let _ = writeln!(t, "\nNot as it should be: {walk}: {first}");
        }
        t
    }
}

/// Where the protocol leaves room for no outage at all.
fn costs_nothing(row: Row) -> bool {
    match row {
        Row::Start | Row::StartAlone | Row::PowerLoss | Row::LinkDown | Row::LocalDown => false,
        Row::Election
        | Row::ElectionAlone
        | Row::Kill
        | Row::PowerReturn
        | Row::Stop
        | Row::StopReturn
        | Row::LinkUp
        | Row::LocalUp
        | Row::Partition
        | Row::Heal
        | Row::Lowered
        | Row::Restored
        | Row::Release
        | Row::Takeover => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Cost;

    fn done(pairing: Pairing, row: Row, ms: f64) -> Done {
        let walk = Walk {
            wire: Wire::V3Ipv4,
            advert_ms: 10,
            pairing,
            run: 0,
            runs: 1,
        };
        Done {
            walk,
            costs: vec![Cost { row, ms }],
            error: None,
            took: 1.0,
        }
    }

    fn judged(all: &[Done]) -> Vec<String> {
        let mut table = Table::default();
        all.iter().for_each(|d| table.add(d));
        table.judge().into_iter().map(|j| j.what).collect()
    }

    #[test]
    fn a_median_above_keepalived_s_or_above_nothing_is_told() {
        let theirs = done(Pairing::KeepalivedKeepalived, Row::PowerLoss, 30.0);
        let worse = done(Pairing::OursKeepalived, Row::PowerLoss, 40.0);
        let alike = done(Pairing::OursOurs, Row::PowerLoss, 33.0);
        assert_eq!(
            judged(&[theirs, worse, alike]),
            ["median 40 ms, keepalived's pair 30 ms"]
        );
        let theirs = done(Pairing::KeepalivedKeepalived, Row::Stop, 12.0);
        let mixed = done(Pairing::KeepalivedOurs, Row::Stop, 12.0);
        let ours = done(Pairing::OursOurs, Row::Stop, 9.0);
        assert_eq!(judged(&[theirs, mixed, ours]), ["median 9 ms, not nothing"]);
    }

    #[test]
    fn the_first_answer_is_compared_where_the_program_is_loaded_sooner_than_the_election_ends() {
        for (wire, advert_ms, compared) in [
            (Wire::V2Pass, 1000, true),
            (Wire::V3Ipv4, 50, false),
            (Wire::V3Ipv6, 50, true),
        ] {
            let mut all = [
                done(Pairing::KeepalivedKeepalived, Row::Start, 3650.0),
                done(Pairing::OursOurs, Row::Start, 4650.0),
            ];
            for done in &mut all {
                (done.walk.wire, done.walk.advert_ms) = (wire, advert_ms);
            }
            assert_eq!(judged(&all).len(), usize::from(compared), "{wire:?}");
        }
    }

    #[test]
    fn a_figure_without_one_of_keepalived_s_to_compare_with_is_told() {
        let theirs = done(Pairing::KeepalivedKeepalived, Row::PowerLoss, 30.0);
        let alone = done(Pairing::OursKeepalived, Row::Stop, 1.0);
        let by_hand = done(Pairing::OursKeepalived, Row::Release, 1.0);
        assert_eq!(
            judged(&[theirs, alone, by_hand]),
            ["keepalived's pair has no figure"]
        );
    }

    #[test]
    fn a_line_has_all_pairs_and_a_failure_its_own() {
        let mut table = Table::default();
        table.add(&done(Pairing::KeepalivedKeepalived, Row::Heal, 6000.0));
        let mut failed = done(Pairing::OursOurs, Row::Heal, 1.0);
        failed.error = Some("no\nlogs".into());
        table.add(&failed);
        let text = table.markdown();
        let line = "| v3-ipv4 | 0.01 s | partition heals | 1 / 1 / 1 | 6000 / 6000 / 6000 |";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("ours-ours, 0.01 s, run 1 of 1: no\n"),
            "{text}"
        );
        assert_eq!(table.failures().len(), 1);
    }
}
