//! Commands: what they are, who runs them, whom they notify.

use std::time::Duration;

use super::{Lower, Walked};
use crate::config::command;
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::tree::{Node, Word};
use crate::model::{Errand, Fifo, Fifos, Global, MiscCheck, Script, User, VrrpNotify};

/// `USER [GROUP]`.
fn user(words: &[Word]) -> Option<User> {
    let name = words.first()?;
    Some(User {
        name: name.text.clone(),
        group: words.get(1).map(|w| w.text.clone()),
    })
}

impl Lower {
    /// The script of a statement `KEYWORD SCRIPT [USER [GROUP]]`; none after saying what is wrong.
    pub(super) fn script_of(&mut self, n: &Node) -> Option<Script> {
        let (w, rest) = n.args().split_first()?;
        let command = match command::split(&w.text) {
            Ok(command) => command,
            Err(command::Unterminated) => {
                self.push(
                    Diagnostic::new(
                        Code::UnterminatedQuote,
                        Severity::Error,
                        "a quote inside of this command is never closed",
                    )
                    .at(w.span, "the command"),
                );
                return None;
            }
        };
        if command.first().is_none_or(String::is_empty) {
            self.push(
                Diagnostic::new(
                    Code::InvalidValue,
                    Severity::Error,
                    format!("`{}` names no program", n.keyword()),
                )
                .at(w.span, "an empty command"),
            );
            return None;
        }
        let places = &mut self.places.scripts;
        places.entry(command.clone()).or_insert(w.span);
        Some(Script {
            command,
            user: user(rest).or_else(|| self.script_user.clone()),
        })
    }

    /// The script of the last statement of a name.
    pub(super) fn script(&mut self, walked: &Walked<'_>, name: &str) -> Option<Script> {
        let n = self.last(walked, name)?;
        self.script_of(n)
    }

    /// `USER [GROUP]` of the last statement of a name.
    pub(super) fn user(&mut self, walked: &Walked<'_>, name: &str) -> Option<User> {
        user(self.last(walked, name)?.args())
    }

    /// What is particular to a `MISC_CHECK`; none without a script.
    pub(super) fn misc_check(&mut self, node: &Node, walked: &Walked<'_>) -> Option<MiscCheck> {
        if !walked.acted.iter().any(|(k, _)| *k == "misc_path") {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    "this check has no `misc_path`",
                )
                .at(node.whole(), "there is nothing to run")
                .help("keepalived would leave the check out: the server would always be up"),
            );
        }
        let user = self.user(walked, "user");
        let script = self.script(walked, "misc_path")?;
        Some(MiscCheck {
            script: Script {
                user: user.or(script.user),
                ..script
            },
            dynamic: walked.acted.iter().any(|(k, _)| *k == "misc_dynamic"),
        })
    }

    /// `misc_timeout`.
    pub(super) fn misc_timeout(&mut self, walked: &Walked<'_>) -> Option<Duration> {
        let n = self.last(walked, "misc_timeout")?;
        let w = n.args().first()?;
        let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(4294));
        self.timer(n, w, shortest, longest, "keepalived ignores this line")
    }

    /// `notify` and the like of an instance or a sync group.
    pub(super) fn notify(&mut self, walked: &Walked<'_>) -> VrrpNotify {
        let deleted = self.last(walked, "notify_deleted");
        VrrpNotify {
            master: self.script(walked, "notify_master"),
            backup: self.script(walked, "notify_backup"),
            fault: self.script(walked, "notify_fault"),
            stop: self.script(walked, "notify_stop"),
            deleted: deleted.is_some(),
            deleted_script: deleted
                .filter(|n| !n.args().is_empty())
                .and_then(|n| self.script_of(n)),
            any: self.script(walked, "notify"),
            master_rx_lower_pri: self.script(walked, "notify_master_rx_lower_pri"),
            smtp_alert: self.alert_of_vrrp(walked),
            priority_changes: self.priority_changes(walked),
        }
    }

    /// What `global_defs` says of scripts. It holds for the whole file, wherever the block stands.
    pub(super) fn global_scripts(&mut self, walked: &Walked<'_>, global: &mut Global) {
        let user = self.user(walked, "script_user");
        global.script_user = user.or(global.script_user.take());
        self.script_user.clone_from(&global.script_user);
        let given = |name| walked.acted.iter().any(|(k, _)| *k == name);
        global.script_security |= given("enable_script_security");
        global.fifo_states_on_reload |= given("fifo_write_vrrp_states_on_reload");
        let of = ["startup_script", "startup_script_timeout"];
        global.startup_script = self.errand(walked, of, global.startup_script.take());
        let of = ["shutdown_script", "shutdown_script_timeout"];
        global.shutdown_script = self.errand(walked, of, global.shutdown_script.take());
        let fifos = Fifos {
            all: self.fifo(walked, "notify_fifo", "notify_fifo_script"),
            vrrp: self.fifo(walked, "vrrp_notify_fifo", "vrrp_notify_fifo_script"),
            lvs: self.fifo(walked, "lvs_notify_fifo", "lvs_notify_fifo_script"),
        };
        let old = std::mem::take(&mut global.fifos);
        global.fifos = Fifos {
            all: fifos.all.or(old.all),
            vrrp: fifos.vrrp.or(old.vrrp),
            lvs: fifos.lvs.or(old.lvs),
        };
        self.same_fifo(walked, &mut global.fifos);
    }

    /// A script and how long it may take; `before` is what an earlier block says.
    fn errand(
        &mut self,
        walked: &Walked<'_>,
        [name, limit]: [&str; 2],
        before: Option<Errand>,
    ) -> Option<Errand> {
        let given = self.last(walked, limit);
        let seconds = given.and_then(|n| {
            let instead = "keepalived ignores this line: 10 holds";
            self.strict_number(n, n.args().first()?, 1, 1000, instead)
        });
        let timeout = before.as_ref().map_or(Errand::TIMEOUT, |b| b.timeout);
        let timeout = seconds.map_or(timeout, Duration::from_secs);
        let script = self.script(walked, name).or(before.map(|b| b.script));
        if let (None, Some(n)) = (&script, given) {
            let title = format!("`{limit}` without `{name}`");
            let d = Diagnostic::new(Code::Incomplete, Severity::Warning, title);
            self.push(d.at(n.whole(), "there is nothing to wait for"));
        }
        script.map(|script| Errand { script, timeout })
    }

    fn fifo(&mut self, walked: &Walked<'_>, name: &str, script: &str) -> Option<Fifo> {
        let reader = self.last(walked, script);
        let Some(n) = self.last(walked, name) else {
            if let Some(reader) = reader {
                let d = Diagnostic::new(
                    Code::Incomplete,
                    self.replaced(),
                    format!("`{script}` without `{name}`"),
                );
                self.push(d.at(
                    reader.whole(),
                    "it has nothing to read: ignored, as by keepalived",
                ));
            }
            return None;
        };
        Some(Fifo {
            path: n.args().first()?.text.clone(),
            user: user(n.args().get(1..).unwrap_or(&[])).or_else(|| self.script_user.clone()),
            script: reader.and_then(|n| self.script_of(n)),
        })
    }

    /// Two names for one FIFO would write each line twice.
    fn same_fifo(&mut self, walked: &Walked<'_>, fifos: &mut Fifos) {
        let path = |f: &Option<Fifo>| f.as_ref().map(|f| f.path.clone());
        let (all, vrrp) = (path(&fifos.all), path(&fifos.vrrp));
        let twice = [
            ("vrrp_notify_fifo", &mut fifos.vrrp, vec![all.clone()]),
            ("lvs_notify_fifo", &mut fifos.lvs, vec![all, vrrp]),
        ];
        for (name, fifo, others) in twice {
            let Some(f) = fifo.take_if(|f| others.contains(&Some(f.path.clone()))) else {
                continue;
            };
            let at = walked.acted.iter().find(|(k, _)| *k == name);
            let mut d = Diagnostic::new(
                Code::Duplicate,
                self.replaced(),
                format!("`{}` is the name of another notify FIFO already", f.path),
            );
            if let Some((_, n)) = at {
                d = d.at(n.whole(), "ignored, as by keepalived");
            }
            self.push(d);
        }
    }
}
