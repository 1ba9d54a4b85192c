//! `strict_mode`, which is RFC 3768 and RFC 5798 without keepalived's own ideas, and `accept`.

use std::time::Duration;

use super::global::Defaults;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{Auth, Election, VrrpInstance, VrrpVersion};

impl Lower {
    /// `strict_mode`, else `vrrp_strict`.
    pub(super) fn is_strict(&mut self, walked: &Walked<'_>, defaults: &Defaults) -> bool {
        let own = self.last(walked, "strict_mode");
        own.and_then(|n| self.switch(n)).unwrap_or(defaults.strict)
    }

    /// The owner of the addresses begins as MASTER, and nobody else does.
    pub(super) fn state_of_owner(
        &mut self,
        walked: &Walked<'_>,
        state: Option<bool>,
        priority: u8,
    ) -> Option<bool> {
        let is_owner = priority == 255;
        if state.is_some_and(|master| master != is_owner)
            && let Some(n) = self.last(walked, "state")
        {
            let (message, taken) = match is_owner {
                true => ("priority 255 is `state MASTER`", "MASTER"),
                false => ("`state MASTER` needs priority 255", "BACKUP"),
            };
            let label = format!("taken as {taken}, as by keepalived");
            let help = format!("write `state {taken}`");
            self.not_strict(n.whole(), message, &label, &help);
        }
        state.map(|_| is_owner)
    }

    /// Takes out of an instance what strict mode does not have; without unicast it is none.
    pub(super) fn be_strict(&mut self, node: &Node, walked: &Walked<'_>, i: &mut VrrpInstance) {
        if i.transport.unicast().is_some() {
            let at = self.last(walked, "unicast_peer").unwrap_or(node);
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    Severity::Error,
                    "under strict mode adverts go by multicast",
                )
                .at(at.whole(), "keepalived leaves this instance out")
                .help("remove the unicast words, or write `strict_mode off`"),
            );
        }
        let given = |l: &mut Self, name: &str, message: &str, label: &str| {
            let at = l.last(walked, name).unwrap_or(node);
            let help = "remove it, or write `strict_mode off`";
            l.not_strict(at.whole(), message, label, help);
        };
        let ignored = "ignored, as by keepalived";
        if std::mem::replace(&mut i.auth, Auth::None) != Auth::None {
            let message = "under strict mode there is no authentication";
            given(self, "authentication", message, ignored);
        }
        let usual = Election::default();
        let e = &mut i.election;
        if !std::mem::replace(&mut e.preempt_delay, Duration::ZERO).is_zero() {
            let message = "under strict mode there is no `preempt_delay`";
            given(self, "preempt_delay", message, ignored);
        }
        let adverts = &mut e.down_timer_adverts;
        if std::mem::replace(adverts, usual.down_timer_adverts) != usual.down_timer_adverts {
            let message = "under strict mode a master is down after 3 adverts";
            given(
                self,
                "down_timer_adverts",
                message,
                "3 is taken, as by keepalived",
            );
        }
        if let Some(vmac) = &mut i.vmac
            && std::mem::take(&mut vmac.xmit_base)
        {
            let message = "under strict mode adverts leave by the macvlan";
            given(self, "vmac_xmit_base", message, ignored);
        }
        // What the instance does not say itself is not worth a word.
        let says = |name: &str| walked.acted.iter().any(|(k, _)| *k == name);
        if std::mem::take(&mut i.garp_lower_prio_repeat) != 0 && says("garp_lower_prio_repeat") {
            let message = "under strict mode a lower advert is not answered by gratuitous ARPs";
            given(
                self,
                "garp_lower_prio_repeat",
                message,
                "0 is taken, as by keepalived",
            );
        }
        let delay = std::mem::replace(&mut i.garp_lower_prio_delay, Duration::ZERO);
        if !delay.is_zero() && says("garp_lower_prio_delay") {
            let message = "under strict mode no gratuitous ARPs follow a lower advert";
            given(
                self,
                "garp_lower_prio_delay",
                message,
                "0 is taken, as by keepalived",
            );
        }
        let no_answer = std::mem::replace(&mut i.election.lower_prio_no_advert, true);
        if !no_answer && says("lower_prio_no_advert") {
            let message = "under strict mode a lower advert is not answered";
            given(
                self,
                "lower_prio_no_advert",
                message,
                "taken as on, as by keepalived",
            );
        }
        let last = std::mem::replace(&mut i.election.higher_prio_send_advert, false);
        if last && says("higher_prio_send_advert") {
            let message = "under strict mode a master that yields says nothing more";
            given(
                self,
                "higher_prio_send_advert",
                message,
                "taken as off, as by keepalived",
            );
        }
    }

    /// Whether what is for the addresses and for no service is for this host.
    pub(super) fn accept(
        &mut self,
        walked: &Walked<'_>,
        strict: bool,
        priority: u8,
        version: VrrpVersion,
    ) -> bool {
        let is_word = |k: &str| matches!(k, "accept" | "no_accept");
        let owner = priority == 255;
        let Some((word, n)) = walked.acted.iter().rev().find(|(k, _)| is_word(k)) else {
            return owner || !strict;
        };
        let accept = *word == "accept";
        if owner {
            if !accept {
                self.push(
                    Diagnostic::new(
                        Code::Conflict,
                        self.replaced(),
                        "`no_accept` does not go together with priority 255",
                    )
                    .at(n.whole(), "ignored, as by keepalived: the owner accepts")
                    .help("give it a lower priority, or remove `no_accept`"),
                );
            }
            return true;
        }
        if accept && strict && version == VrrpVersion::V2 {
            let message = "version 2 has no accept mode";
            let label = "taken as `no_accept`, as by keepalived";
            let help = "write `version 3`, or `strict_mode off`";
            self.not_strict(n.whole(), message, label, help);
            return false;
        }
        accept
    }

    /// Says what strict mode makes of something.
    fn not_strict(&mut self, at: Span, message: &str, label: &str, help: &str) {
        let severity = self.replaced();
        self.push(
            Diagnostic::new(Code::Conflict, severity, message)
                .at(at, label)
                .help(help),
        );
    }
}
