//! How long a client was without answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Instant;
use crate::namespace::Mac;

/// One answer to a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The question's number.
    pub seq: u32,
    /// When it came.
    pub at: Instant,
    /// From which MAC.
    pub from: Mac,
}

/// What the questions of a span of time got.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outage {
    /// The longest time from a question that nobody answered to the next answer. Zero when no
    /// question was lost and none waited longer than to the next question.
    pub longest: Duration,
    /// Whether that time had not ended when the span did.
    pub open: bool,
    /// Questions asked.
    pub asked: u32,
    /// Questions never answered.
    pub lost: u32,
    /// Answers by MAC.
    pub answered_by: BTreeMap<String, u32>,
}

/// Works out the outage from the moments of the questions (`asked[seq]`) and the answers in the
/// order they came. Only questions asked from `from` to `to` count; `interval` is their distance.
///
/// The measure starts with the first question that was lost, not with the last answer: a prober
/// that had no CPU for a while asked nothing and lost nothing.
#[must_use]
pub fn outage(
    asked: &[Instant],
    answers: &[Answer],
    from: Instant,
    to: Instant,
    interval: Duration,
) -> Outage {
    let first = asked.partition_point(|t| *t < from);
    let end = asked.partition_point(|t| *t <= to);
    let mut result = Outage {
        longest: Duration::ZERO,
        open: false,
        asked: 0,
        lost: 0,
        answered_by: BTreeMap::new(),
    };
    if first >= end {
        return result;
    }
    let count = end - first;
    let mut answered = vec![false; count];
    // The oldest question that no answer has overtaken.
    let mut waiting = first;
    for answer in answers {
        let seq = answer.seq as usize;
        if seq < first || seq >= end {
            continue;
        }
        if !std::mem::replace(&mut answered[seq - first], true) {
            *result
                .answered_by
                .entry(answer.from.to_string())
                .or_default() += 1;
        }
        if seq < waiting {
            continue;
        }
        let gap = answer.at.since(asked[waiting]);
        if gap > interval {
            result.longest = result.longest.max(gap);
        }
        waiting = seq + 1;
    }
    if waiting < end {
        let gap = asked[end - 1].since(asked[waiting]);
        if gap > interval && gap > result.longest {
            result.longest = gap;
            result.open = true;
        }
    }
    result.asked = u32::try_from(count).unwrap_or(u32::MAX);
    result.lost = u32::try_from(answered.iter().filter(|a| !**a).count()).unwrap_or(u32::MAX);
    result
}

/// Minimum, median and maximum.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle one (the upper of two).
    pub median: f64,
    /// Greatest.
    pub max: f64,
}

/// Of some values; `None` of none.
#[must_use]
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Spread {
        min: *sorted.first()?,
        median: sorted[sorted.len() / 2],
        max: *sorted.last()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn asked(n: u64) -> Vec<Instant> {
        (0..n).map(|i| Instant((100 + i * 10) * MS)).collect()
    }

    fn answer(seq: u32, late_ms: u64, from: Mac) -> Answer {
        Answer {
            seq,
            at: Instant((100 + u64::from(seq) * 10 + late_ms) * MS),
            from,
        }
    }

    fn of(asked: &[Instant], answers: &[Answer]) -> Outage {
        outage(
            asked,
            answers,
            Instant(0),
            Instant(u64::MAX),
            Duration::from_millis(10),
        )
    }

    #[test]
    fn all_answered_is_no_outage() {
        let answers: Vec<_> = (0..10).map(|s| answer(s, 1, A)).collect();
        let o = of(&asked(10), &answers);
        assert_eq!((o.longest, o.lost, o.asked), (Duration::ZERO, 0, 10));
    }

    #[test]
    fn a_gap_lasts_from_the_first_lost_question_to_the_next_answer() {
        let answers = [
            answer(0, 0, A),
            answer(1, 0, A),
            answer(5, 0, B),
            answer(6, 0, B),
        ];
        let o = of(&asked(7), &answers);
        assert_eq!(
            (o.longest, o.lost, o.open),
            (Duration::from_millis(30), 3, false)
        );
        assert_eq!(o.answered_by.values().collect::<Vec<_>>(), [&2, &2]);
    }

    #[test]
    fn late_answers_count_by_how_late_they_are() {
        // Three questions waited for one ARP reply and were answered together.
        let answers = [
            answer(0, 0, A),
            answer(1, 25, A),
            answer(2, 15, A),
            answer(3, 5, A),
            answer(4, 0, A),
        ];
        let o = of(&asked(5), &answers);
        assert_eq!((o.longest, o.lost), (Duration::from_millis(25), 0));
    }

    #[test]
    fn a_prober_that_slept_lost_nothing() {
        let mut times = asked(4);
        times[3] = Instant(900 * MS);
        let mut answers: Vec<_> = (0..3).map(|s| answer(s, 0, A)).collect();
        answers.push(Answer {
            seq: 3,
            at: Instant(900 * MS),
            from: A,
        });
        assert_eq!(of(&times, &answers).longest, Duration::ZERO);
    }

    #[test]
    fn what_does_not_end_is_open_and_answers_from_outside_the_span_do_not_count() {
        let answers = [answer(0, 0, A), answer(1, 0, A)];
        let o = of(&asked(10), &answers);
        assert!(o.open);
        assert_eq!((o.longest, o.lost), (Duration::from_millis(70), 8));
        let o = outage(
            &asked(10),
            &answers,
            Instant(100 * MS),
            Instant(110 * MS),
            Duration::from_millis(10),
        );
        assert_eq!((o.lost, o.asked), (0, 2));
    }

    #[test]
    fn the_spread_of_values() {
        assert_eq!(
            spread(&[3.0, 1.0, 2.0]),
            Some(Spread {
                min: 1.0,
                median: 2.0,
                max: 3.0
            })
        );
        assert_eq!(spread(&[]), None);
    }
}
