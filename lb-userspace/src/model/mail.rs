//! Mails about changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who is told by mail, and how. Of what is said at instances, groups and servers (`smtp_alert`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// `notification_email`; nobody: no mails.
    pub to: Vec<String>,
    /// `notification_email_from`; absent: `keepalived@` and the host's name.
    pub from: Option<String>,
    /// `smtp_server`; absent: no mails.
    pub server: Option<MailServer>,
    /// `smtp_helo_name`; absent: the host's name.
    pub helo_name: Option<String>,
    /// `smtp_connect_timeout`, default 30 s: for the connection, and for each answer.
    pub timeout: Duration,
    /// `no_email_faults`: none about FAULT.
    pub no_faults: bool,
    /// `no_checker_emails`: none about a check that changes nothing for its server.
    pub no_checkers: bool,
}

/// `smtp_server`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailServer {
    /// An address or a name.
    pub host: String,
    /// 1..=65535, default 25.
    pub port: u16,
}

impl Mail {
    /// `smtp_connect_timeout` where none is given.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// Whether a text can be said in a command of SMTP, and stand in a header.
    #[must_use]
    pub fn sayable(text: &str) -> bool {
        (1..=255).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
    }
}

impl Default for Mail {
    fn default() -> Self {
        Mail {
            to: Vec::new(),
            from: None,
            server: None,
            helo_name: None,
            timeout: Mail::TIMEOUT,
            no_faults: false,
            no_checkers: false,
        }
    }
}
