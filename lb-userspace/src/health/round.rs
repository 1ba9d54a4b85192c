//! The URLs of a check, one a run, in keepalived's order (`check_http.c`: `epilog`,
//! `timeout_epilog`).
//!
//! While all is well they are asked for in turn, `delay_loop` apart. One that fails is tried again
//! until `retry` is used up; the check is down then and asks for this URL alone until it is good.
//! After that all of them must be good, from the first on, before the check is up. The first round
//! forgives nothing and must be whole, too.
//!
//! It differs in one thing: with `fast_recovery` a URL that fails during the last part is tried
//! again after `delay_before_retry`, not at once and forever.

use std::time::Duration;

use super::checker::{Checker, Failure, Step};

/// Where a check is with its URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Which one is asked for next.
    pub(super) url: usize,
    /// It took the check down and is asked for alone.
    alone: bool,
}

impl Checker {
    /// A URL was good; `urls`: how many there are.
    pub(super) fn url_good(&mut self, urls: usize, fast: bool) -> (Duration, Step) {
        let first = !self.has_run;
        let last = self.round.url + 1 >= urls;
        let whole = last && !self.round.alone;
        let next = if last || self.round.alone {
            0
        } else {
            self.round.url + 1
        };
        self.round = Round {
            url: next,
            alone: false,
        };
        self.has_run |= whole;
        self.retries = if self.has_run { 0 } else { self.check.retry };
        if whole {
            let step = match self.up && !first {
                true => Step::Same,
                false => Step::Up { first },
            };
            return (self.check.interval, step);
        }
        let at_once = fast && (!self.has_run || !self.up);
        let delay = if at_once {
            Duration::ZERO
        } else {
            self.check.interval
        };
        (delay, Step::Same)
    }

    /// A URL was not good.
    pub(super) fn url_bad(&mut self, why: &Failure) -> (Duration, Step) {
        let first = !self.has_run;
        self.has_run = true;
        let mut step = Step::Same;
        if first || self.up && self.retries >= self.check.retry {
            let retries = if first { 0 } else { self.check.retry };
            self.retries = 0;
            self.round.alone = true;
            step = Step::Down {
                why: why.clone(),
                retries,
                first,
            };
        } else if self.up {
            self.retries += 1;
            if self.check.log_all_failures {
                step = Step::Forgiven {
                    why: why.clone(),
                    retry: self.retries,
                };
            }
        }
        let delay = match self.round.alone {
            true => self.check.retry_delay.max(self.check.interval),
            false => self.check.retry_delay,
        };
        (delay, step)
    }
}
