//! Whether tracked processes count as running, with `fork_delay` and `terminate_delay`.

use crate::model::TrackProcess;
use crate::time::Time;

/// One `vrrp_track_process`.
#[derive(Clone, Debug)]
pub struct Presence {
    config: TrackProcess,
    /// What counts; none before the first count.
    good: Option<bool>,
    /// When the other comes to count.
    turns: Option<Time>,
}

impl Presence {
    /// Nothing was counted yet.
    #[must_use]
    pub const fn new(config: TrackProcess) -> Presence {
        Presence {
            config,
            good: None,
            turns: None,
        }
    }

    /// So many run at `now`, or as many as before and time has passed. What counts, if that is new.
    pub fn count(&mut self, running: u32, now: Time) -> Option<bool> {
        let is = self.config.is_good(running);
        if self.good == Some(is) {
            self.turns = None;
            return None;
        }
        if self.good.is_some() {
            let delay = match is {
                true => self.config.fork_delay,
                false => self.config.terminate_delay,
            };
            let turns = *self.turns.get_or_insert(now + delay);
            if turns > now {
                return None;
            }
        }
        self.good = Some(is);
        self.turns = None;
        self.good
    }

    /// When to count again, although nothing changes.
    #[must_use]
    pub const fn deadline(&self) -> Option<Time> {
        self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_change_counts_after_its_delay_unless_it_is_undone() {
        let ms = Duration::from_millis;
        let at = |t| Time::ZERO + ms(t);
        let mut p = Presence::new(TrackProcess {
            name: "p".to_owned(),
            command: vec!["x".to_owned()],
            params: None,
            full_command: false,
            quorum: 2,
            quorum_max: None,
            fork_delay: ms(100),
            terminate_delay: ms(500),
        });
        // What is found at first counts at once.
        assert_eq!(p.count(2, at(0)), Some(true));
        assert_eq!((p.count(3, at(1)), p.deadline()), (None, None));
        assert_eq!((p.count(1, at(10)), p.deadline()), (None, Some(at(510))));
        assert_eq!((p.count(2, at(20)), p.deadline()), (None, None));
        assert_eq!((p.count(1, at(30)), p.deadline()), (None, Some(at(530))));
        assert_eq!((p.count(0, at(529)), p.deadline()), (None, Some(at(530))));
        assert_eq!((p.count(0, at(530)), p.deadline()), (Some(false), None));
        assert_eq!((p.count(2, at(600)), p.deadline()), (None, Some(at(700))));
        assert_eq!(p.count(2, at(700)), Some(true));
    }
}
