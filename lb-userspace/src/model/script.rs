//! Commands that the configuration names: whom they notify of what.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// A user's name.
    pub name: String,
    /// A group's name; absent: the user's own.
    #[serde(default)]
    pub group: Option<String>,
}

/// A program with its arguments. No shell comes between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The program and its arguments; at least one word. A program without `/` is looked for in
    /// `PATH`.
    pub command: Vec<String>,
    /// Its own user or `script_user`; absent: `keepalived_script` if there is such a user, else the
    /// daemon's.
    #[serde(default)]
    pub user: Option<User>,
}

/// For logs and `lbctl`: the words with a blank between.
impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.command.join(" "))
    }
}

/// `startup_script`, `shutdown_script`: run once, and waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errand {
    /// The script; its exit status decides nothing.
    pub script: Script,
    /// `startup_script_timeout`, `shutdown_script_timeout`: 1 to 1000 s; then it is ended.
    pub timeout: Duration,
}

impl Errand {
    /// The default of both timeouts.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// `MISC_CHECK`. Its [`super::Check::timeout`] is `misc_timeout`, by default the check's interval; it
/// has the real server's address and port 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiscCheck {
    /// `misc_path`: exit status 0 is good.
    pub script: Script,
    /// `misc_dynamic`: exit status 2 to 255 is good too, and sets the server's weight to it less 2.
    #[serde(default)]
    pub dynamic: bool,
}

/// A FIFO into which notifications are written, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fifo {
    /// Its path; made when it is not there.
    pub path: String,
    /// Whom it belongs to; absent: as for [`Script::user`].
    #[serde(default)]
    pub user: Option<User>,
    /// Runs while the daemon does, with the path as its last argument.
    #[serde(default)]
    pub script: Option<Script>,
}

/// The FIFOs of `global_defs`; their paths differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fifos {
    /// `notify_fifo`: everything.
    pub all: Option<Fifo>,
    /// `vrrp_notify_fifo`: instances and sync groups.
    pub vrrp: Option<Fifo>,
    /// `lvs_notify_fifo`: virtual and real servers.
    pub lvs: Option<Fifo>,
}

/// Who is told of the changes of an instance or a sync group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VrrpNotify {
    /// `notify_master`.
    pub master: Option<Script>,
    /// `notify_backup`.
    pub backup: Option<Script>,
    /// `notify_fault`.
    pub fault: Option<Script>,
    /// `notify_stop`.
    pub stop: Option<Script>,
    /// `notify_deleted`, instances only: a removed instance is `DELETED`, not `FAULT`.
    pub deleted: bool,
    /// The script of `notify_deleted`.
    pub deleted_script: Option<Script>,
    /// `notify`: every change, with four more arguments.
    pub any: Option<Script>,
    /// `notify_master_rx_lower_pri`, instances only.
    pub master_rx_lower_pri: Option<Script>,
    /// `smtp_alert`, default off: mails about changes.
    pub smtp_alert: bool,
    /// `notify_priority_changes`, default off: the FIFOs are told of another effective priority.
    pub priority_changes: bool,
}

impl VrrpNotify {
    /// All of them.
    pub fn scripts(&self) -> impl Iterator<Item = &Script> {
        let VrrpNotify {
            master,
            backup,
            fault,
            stop,
            deleted: _,
            deleted_script,
            any,
            master_rx_lower_pri,
            smtp_alert: _,
            priority_changes: _,
        } = self;
        [
            master,
            backup,
            fault,
            stop,
            deleted_script,
            any,
            master_rx_lower_pri,
        ]
        .into_iter()
        .flatten()
    }
}
