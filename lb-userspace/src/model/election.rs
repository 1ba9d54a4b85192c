//! How a VRRP instance elects, beside what every one must have.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// keepalived's words for the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Election {
    /// `down_timer_adverts`, else `vrrp_down_timer_adverts`, 1..=100, default 3: after how many
    /// intervals and the skew a silent master is down.
    pub down_timer_adverts: u32,
    /// `preempt_delay`, at most 1000 s, default 0: how long a living master of lower priority keeps
    /// the role. Zero with `nopreempt` and with `initial_master`.
    pub preempt_delay: Duration,
    /// `lower_prio_no_advert`, else `vrrp_lower_prio_no_advert`: a master does not answer an advert of
    /// lower priority with one of its own.
    pub lower_prio_no_advert: bool,
    /// `higher_prio_send_advert`, else `vrrp_higher_prio_send_advert`, default on (in keepalived off): a
    /// master that yields sends a last advert, so that the winner announces the addresses once more.
    pub higher_prio_send_advert: bool,
    /// `skip_check_adv_addr`, else `vrrp_skip_check_adv_addr`: a backup does not compare the addresses
    /// in adverts of the master that it had before.
    pub skip_check_adv_addr: bool,
}

impl Default for Election {
    fn default() -> Self {
        Election {
            down_timer_adverts: 3,
            preempt_delay: Duration::ZERO,
            lower_prio_no_advert: false,
            higher_prio_send_advert: true,
            skip_check_adv_addr: false,
        }
    }
}

impl Election {
    /// How long a link may seem up that is down, before a backup whose master advertises every `interval`
    /// takes silence for a dead master.
    #[must_use]
    pub fn patience(&self, interval: Duration) -> Duration {
        interval * (self.down_timer_adverts - 1)
    }
}
