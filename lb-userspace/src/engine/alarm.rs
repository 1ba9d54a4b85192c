//! What the log says of the data plane's counters while it happens.

use std::time::Duration;

use lb_common::reason::Reason;

use crate::time::Time;

/// The least time between two lines that say the same.
const AGAIN: Duration = Duration::from_secs(60);

/// Watches counters that should stand still.
#[derive(Debug, Default)]
pub struct Alarm {
    /// Flows that were driven out when that was last said: closing, half-open, live.
    evicted: Option<[u64; 3]>,
    evicted_said: Option<Time>,
    hashed: Option<u64>,
    flood: Option<Flood>,
}

/// A flood of new connections.
#[derive(Debug)]
struct Flood {
    began: Time,
    /// The counter before it.
    before: u64,
    /// When it last counted.
    last: Time,
    said: Time,
}

/// The counters that are watched, and the size of the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// `evicted_closing`, `evicted_half_open`, `evicted_live`.
    pub evicted: [u64; 3],
    /// `flood_hashed`.
    pub hashed: u64,
    /// Connections that the table has room for.
    pub slots: u64,
}

impl Watched {
    /// Of the counters by reason.
    pub fn of(count: impl Fn(Reason) -> u64, slots: u64) -> Watched {
        Watched {
            evicted: [
                Reason::EvictedClosing,
                Reason::EvictedHalfOpen,
                Reason::EvictedLive,
            ]
            .map(&count),
            hashed: count(Reason::FloodHashed),
            slots,
        }
    }
}

impl Alarm {
    /// Takes in the counters; what is to be said, as warnings.
    pub fn watch(&mut self, seen: &Watched, now: Time) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.table(seen, now));
        lines.extend(self.flood(seen, now));
        lines
    }

    fn table(&mut self, seen: &Watched, now: Time) -> Option<String> {
        // What an earlier daemon saw is not told again.
        let before = *self.evicted.get_or_insert(seen.evicted);
        let due = self.evicted_said.is_none_or(|at| now.since(at) >= AGAIN);
        if before == seen.evicted || !due {
            return None;
        }
        self.evicted = Some(seen.evicted);
        self.evicted_said = Some(now);
        let [closing, half_open, live] = [0, 1, 2].map(|i| seen.evicted[i].wrapping_sub(before[i]));
        Some(format!(
            "the flow table is full: {closing} closing, {half_open} half-open and {live} live \
             connections gave way to new ones; it has room for {} (--flows)",
            seen.slots
        ))
    }

    fn flood(&mut self, seen: &Watched, now: Time) -> Option<String> {
        let before = self.hashed.replace(seen.hashed).unwrap_or(seen.hashed);
        let rises = seen.hashed != before;
        let flood = match (&mut self.flood, rises) {
            (None, false) => return None,
            (None, true) => {
                self.flood = Some(Flood {
                    began: now,
                    before,
                    last: now,
                    said: now,
                });
                return Some(
                    "a flood of new connections: those above flood_rate go by hash, without an entry"
                        .to_owned(),
                );
            }
            (Some(flood), _) => flood,
        };
        let packets = seen.hashed.wrapping_sub(flood.before);
        if rises {
            flood.last = now;
            if now.since(flood.said) < AGAIN {
                return None;
            }
            flood.said = now;
            let secs = now.since(flood.began).as_secs();
            return Some(format!(
                "the flood of new connections goes on, {packets} packets by hash in {secs} s"
            ));
        }
        if now.since(flood.last) < AGAIN {
            return None;
        }
        let secs = flood.last.since(flood.began).as_secs();
        self.flood = None;
        Some(format!(
            "the flood of new connections is over, {packets} packets by hash in {secs} s"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a run of (second, evicted half-open, hashed).
    fn said(looks: &[(u64, u64, u64)]) -> Vec<(u64, String)> {
        let mut alarm = Alarm::default();
        let mut said = Vec::new();
        for &(second, half_open, hashed) in looks {
            let seen = Watched {
                evicted: [0, half_open, 0],
                hashed,
                slots: 100,
            };
            let now = Time::ZERO + Duration::from_secs(second);
            said.extend(
                alarm
                    .watch(&seen, now)
                    .into_iter()
                    .map(|line| (second, line)),
            );
        }
        said
    }

    #[test]
    fn a_full_table_is_said_at_most_once_a_minute_and_not_for_an_earlier_daemon() {
        let said = said(&[
            (0, 9, 0),
            (1, 9, 0),
            (2, 12, 0),
            (30, 15, 0),
            (62, 15, 0),
            (99, 15, 0),
        ]);
        let line = |n| {
            format!(
                "the flow table is full: 0 closing, {n} half-open and 0 live connections gave way \
                 to new ones; it has room for 100 (--flows)"
            )
        };
        assert_eq!(said, [(2, line(3)), (62, line(3))]);
    }

    #[test]
    fn a_flood_is_said_when_it_begins_goes_on_and_ends() {
        let looks: Vec<(u64, u64, u64)> = (0..200)
            .map(|second: u64| (second, 0, 5 + second.saturating_sub(9).min(70)))
            .collect();
        let said: Vec<(u64, String)> = said(&looks);
        let seconds: Vec<u64> = said.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [10, 70, 139]);
        assert!(said[2].1.contains("70 packets by hash in 69 s"), "{said:?}");
    }
}
