//! How an instance elects: `preempt_delay`, `down_timer_adverts` and the like.

use std::time::Duration;

use super::global::Defaults;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic};
use crate::model::Election;

impl Lower {
    pub(super) fn election(
        &mut self,
        walked: &Walked<'_>,
        defaults: &Defaults,
        initial_master: bool,
        nopreempt: bool,
    ) -> Election {
        let inherited = &defaults.election;
        let switch = |l: &mut Self, name: &str, inherited: bool| {
            let n = l.last(walked, name);
            n.and_then(|n| l.switch(n)).unwrap_or(inherited)
        };
        Election {
            down_timer_adverts: self
                .down_timer_adverts(walked, "down_timer_adverts")
                .unwrap_or(inherited.down_timer_adverts),
            preempt_delay: self.preempt_delay(walked, initial_master, nopreempt),
            lower_prio_no_advert: switch(
                self,
                "lower_prio_no_advert",
                inherited.lower_prio_no_advert,
            ),
            higher_prio_send_advert: switch(
                self,
                "higher_prio_send_advert",
                inherited.higher_prio_send_advert,
            ),
            skip_check_adv_addr: switch(self, "skip_check_adv_addr", inherited.skip_check_adv_addr),
        }
    }

    /// The words of `global_defs` that instances inherit.
    pub(super) fn election_defaults(&mut self, walked: &Walked<'_>, defaults: &mut Defaults) {
        let inherited = defaults.election;
        let switch = |l: &mut Self, name: &str, inherited: bool| {
            let n = l.last(walked, name);
            n.and_then(|n| l.switch(n)).unwrap_or(inherited)
        };
        defaults.election = Election {
            down_timer_adverts: self
                .down_timer_adverts(walked, "vrrp_down_timer_adverts")
                .unwrap_or(inherited.down_timer_adverts),
            lower_prio_no_advert: switch(
                self,
                "vrrp_lower_prio_no_advert",
                inherited.lower_prio_no_advert,
            ),
            higher_prio_send_advert: switch(
                self,
                "vrrp_higher_prio_send_advert",
                inherited.higher_prio_send_advert,
            ),
            skip_check_adv_addr: switch(
                self,
                "vrrp_skip_check_adv_addr",
                inherited.skip_check_adv_addr,
            ),
            ..inherited
        };
    }

    fn down_timer_adverts(&mut self, walked: &Walked<'_>, name: &str) -> Option<u32> {
        let n = self.last(walked, name)?;
        let w = n.args().first()?;
        let value = self.strict_number(n, w, 1, 100, "keepalived ignores this line");
        value.map(|v| v as u32)
    }

    fn preempt_delay(
        &mut self,
        walked: &Walked<'_>,
        initial_master: bool,
        nopreempt: bool,
    ) -> Duration {
        let max = Duration::from_secs(1000);
        let instead = "keepalived does not delay then";
        let Some((n, delay)) = self.last(walked, "preempt_delay").and_then(|n| {
            let w = n.args().first()?;
            Some((n, self.timer(n, w, Duration::ZERO, max, instead)?))
        }) else {
            return Duration::ZERO;
        };
        let with = match (nopreempt, initial_master) {
            (true, _) => "nopreempt",
            (false, true) => "state MASTER",
            (false, false) => return delay,
        };
        if !delay.is_zero() {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    format!("`preempt_delay` does not go together with `{with}`"),
                )
                .at(n.whole(), "ignored, as by keepalived"),
            );
        }
        Duration::ZERO
    }
}
