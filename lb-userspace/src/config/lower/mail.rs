//! Mails: who gets them, and of what.

use std::time::Duration;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::tree::{Node, Word};
use crate::model::{Mail, MailServer};

/// `smtp_alert` and its like of `global_defs`.
#[derive(Clone, Copy, Default)]
pub(super) struct Alerts {
    all: Option<bool>,
    vrrp: Option<bool>,
    checker: Option<bool>,
    /// `vrrp_notify_priority_changes`.
    priorities: bool,
}

impl Lower {
    /// What `global_defs` says of mails.
    pub(super) fn mail(&mut self, walked: &Walked<'_>, mail: &mut Mail) {
        for &(name, n) in &walked.acted {
            match (name, n.args().first()) {
                ("notification_email", _) => {
                    let words: Vec<&Word> = n.children().iter().flat_map(|l| &l.words).collect();
                    mail.to
                        .extend(words.into_iter().filter_map(|w| self.sayable(w)));
                }
                ("notification_email_from", Some(w)) => {
                    mail.from = self.sayable(w).or(mail.from.take());
                }
                ("smtp_helo_name", Some(w)) => {
                    mail.helo_name = self.sayable(w).or(mail.helo_name.take());
                }
                ("smtp_server", Some(w)) => {
                    mail.server = self.mail_server(n, w).or(mail.server.take());
                }
                ("smtp_connect_timeout", Some(w)) => {
                    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(4294));
                    let instead = "keepalived ignores this line";
                    let timeout = self.timer(n, w, shortest, longest, instead);
                    mail.timeout = timeout.unwrap_or(mail.timeout);
                }
                ("no_email_faults", _) => mail.no_faults = true,
                ("no_checker_emails", _) => {
                    mail.no_checkers = self.switch(n).unwrap_or(mail.no_checkers);
                }
                ("smtp_alert", _) => self.alerts.all = self.switch(n).or(self.alerts.all),
                ("smtp_alert_vrrp", _) => self.alerts.vrrp = self.switch(n).or(self.alerts.vrrp),
                ("smtp_alert_checker", _) => {
                    self.alerts.checker = self.switch(n).or(self.alerts.checker);
                }
                ("vrrp_notify_priority_changes", _) => {
                    self.alerts.priorities = self.switch(n).unwrap_or(self.alerts.priorities);
                }
                _ => {}
            }
        }
        let first = walked
            .acted
            .iter()
            .find(|(k, _)| *k == "notification_email");
        if let (Some((_, n)), None) = (first, &mail.server) {
            let d = Diagnostic::new(
                Code::Incomplete,
                Severity::Warning,
                "there is no `smtp_server`",
            );
            self.push(d.at(n.whole(), "no mail is sent, as by keepalived"));
        }
    }

    /// A word that can be said in a dialogue with a mail server.
    fn sayable(&mut self, w: &Word) -> Option<String> {
        if Mail::sayable(&w.text) {
            return Some(w.text.clone());
        }
        self.push(
            Diagnostic::new(
                Code::InvalidValue,
                Severity::Error,
                "this cannot be said to a mail server",
            )
            .at(
                w.span,
                "1 to 255 characters of ASCII without blanks and < >",
            ),
        );
        None
    }

    fn mail_server(&mut self, n: &Node, host: &Word) -> Option<MailServer> {
        let port = match n.args().get(1) {
            Some(w) => self.strict_number(n, w, 1, 65535, "keepalived ignores this line")? as u16,
            None => 25,
        };
        let host = self.sayable(host)?;
        Some(MailServer { host, port })
    }

    fn alert(&mut self, walked: &Walked<'_>, default: bool) -> bool {
        match self.last(walked, "smtp_alert") {
            Some(n) => self.switch(n).unwrap_or(default),
            None => default,
        }
    }

    /// `smtp_alert` of an instance or a group.
    pub(super) fn alert_of_vrrp(&mut self, walked: &Walked<'_>) -> bool {
        let default = self.alerts.vrrp.or(self.alerts.all).unwrap_or(false);
        self.alert(walked, default)
    }

    /// `notify_priority_changes` of an instance or a group.
    pub(super) fn priority_changes(&mut self, walked: &Walked<'_>) -> bool {
        let default = self.alerts.priorities;
        match self.last(walked, "notify_priority_changes") {
            Some(n) => self.switch(n).unwrap_or(default),
            None => default,
        }
    }

    /// `smtp_alert` of a virtual server.
    pub(super) fn alert_of_service(&mut self, walked: &Walked<'_>) -> bool {
        let default = self.alerts.checker.or(self.alerts.all).unwrap_or(false);
        self.alert(walked, default)
    }

    /// `smtp_alert` of a real server.
    pub(super) fn alert_of_server(&mut self, walked: &Walked<'_>) -> bool {
        let default = self.alerts.checker.or(self.alerts.all).unwrap_or(true);
        self.alert(walked, default)
    }
}
