//! Processes that are followed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `vrrp_track_process`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackProcess {
    /// Its name in the configuration, unique.
    pub name: String,
    /// `process`: the process's name and its parameters; at least one word.
    pub command: Vec<String>,
    /// `param_match`; given also by parameters alone.
    #[serde(default)]
    pub params: Option<ParamMatch>,
    /// `full_command`: the name is compared with the command line's first word, not with the name that
    /// the kernel keeps.
    #[serde(default)]
    pub full_command: bool,
    /// `quorum`, default 1: so many must run.
    pub quorum: u32,
    /// `quorum_max`, at least `quorum`: so many may run.
    #[serde(default)]
    pub quorum_max: Option<u32>,
    /// `fork_delay`: how long they must run before that counts.
    #[serde(default)]
    pub fork_delay: Duration,
    /// `terminate_delay`: how long they must be gone before that counts.
    #[serde(default)]
    pub terminate_delay: Duration,
}

/// How parameters are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamMatch {
    /// They are these.
    Exact,
    /// `partial`: they begin with these.
    Partial,
    /// `initial`: they begin with these, and of the last of these only the beginning counts.
    Initial,
}

/// The kernel keeps so much of a process's name.
const KEPT: usize = 15;

impl TrackProcess {
    /// Whether the command line has to be known, or the name that the kernel keeps is enough.
    #[must_use]
    pub fn wants_command(&self) -> bool {
        let path = self.command.first().is_some_and(|c| c.contains('/'));
        self.full_command || self.params.is_some() || path
    }

    /// Whether a process is meant: by the name that the kernel keeps, and its command line (words that
    /// end with a zero octet; empty for a thread of the kernel).
    #[must_use]
    pub fn means(&self, kept: &[u8], command_line: &[u8]) -> bool {
        let Some((name, params)) = self.command.split_first() else {
            return false;
        };
        let name = name.as_bytes();
        if !self.wants_command() {
            return kept == &name[..name.len().min(KEPT)];
        }
        let words = command_line.strip_suffix(b"\0").unwrap_or(command_line);
        let mut words = words.split(|b| *b == 0);
        if words.next() != Some(name) {
            return false;
        }
        let there: Vec<&[u8]> = words.collect();
        let wanted: Vec<&[u8]> = params.iter().map(String::as_bytes).collect();
        match self.params {
            None => true,
            Some(ParamMatch::Exact) => there == wanted,
            Some(ParamMatch::Partial) => there.starts_with(&wanted),
            Some(ParamMatch::Initial) => match wanted.split_last() {
                None => true,
                Some((last, before)) => {
                    there.starts_with(before)
                        && there
                            .get(before.len())
                            .is_some_and(|word| word.starts_with(last))
                }
            },
        }
    }

    /// Whether so many are as it should be.
    #[must_use]
    pub fn is_good(&self, running: u32) -> bool {
        running >= self.quorum && self.quorum_max.is_none_or(|max| running <= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(command: &[&str], params: Option<ParamMatch>, full_command: bool) -> TrackProcess {
        TrackProcess {
            name: "p".to_owned(),
            command: command.iter().map(|w| (*w).to_owned()).collect(),
            params,
            full_command,
            quorum: 1,
            quorum_max: None,
            fork_delay: Duration::ZERO,
            terminate_delay: Duration::ZERO,
        }
    }

    #[test]
    fn a_process_is_meant_by_its_name_or_its_command_line() {
        use ParamMatch::{Exact, Initial, Partial};
        let run = ("haproxy", "/usr/sbin/haproxy\0-f\0/etc/haproxy.cfg\0");
        let bare = ("sleep", "sleep\0");
        let kernel = ("kthreadd", "");
        for (command, params, full, who, want) in [
            (&["haproxy"][..], None, false, run, true),
            (&["haprox"], None, false, run, false),
            (&["haproxy2"], None, false, run, false),
            (&["kthreadd"], None, false, kernel, true),
            (&["kthreadd"], None, true, kernel, false),
            (&["haproxy"], None, true, run, false),
            (&["/usr/sbin/haproxy"], None, true, run, true),
            (&["/usr/sbin/haproxy"], None, false, run, true),
            (
                &["/usr/sbin/haproxy", "-f", "/etc/haproxy.cfg"],
                Some(Exact),
                false,
                run,
                true,
            ),
            (&["/usr/sbin/haproxy", "-f"], Some(Exact), false, run, false),
            (
                &["/usr/sbin/haproxy", "-f"],
                Some(Partial),
                false,
                run,
                true,
            ),
            (
                &["/usr/sbin/haproxy", "-"],
                Some(Partial),
                false,
                run,
                false,
            ),
            (
                &["/usr/sbin/haproxy", "-f", "/etc"],
                Some(Initial),
                false,
                run,
                true,
            ),
            (
                &["/usr/sbin/haproxy", "-", "/etc"],
                Some(Initial),
                false,
                run,
                false,
            ),
            (
                &["/usr/sbin/haproxy", "-f", "/etc/haproxy.cfg", "x"],
                Some(Initial),
                false,
                run,
                false,
            ),
            (&["/usr/sbin/haproxy"], Some(Exact), false, run, false),
            (&["sleep"], Some(Exact), false, bare, true),
            (&["sleep"], Some(Initial), false, bare, true),
        ] {
            let p = process(command, params, full);
            let means = p.means(who.0.as_bytes(), who.1.as_bytes());
            assert_eq!(means, want, "{command:?} {params:?} {full} {who:?}");
        }
        let long = process(&["a-name-that-is-long"], None, false);
        assert!(long.means(b"a-name-that-is-", b""));
    }

    #[test]
    fn enough_must_run_and_not_too_many() {
        let mut p = process(&["x"], None, false);
        p.quorum = 2;
        p.quorum_max = Some(3);
        let good: Vec<bool> = (0..5).map(|n| p.is_good(n)).collect();
        assert_eq!(good, [false, false, true, true, false]);
        (p.quorum, p.quorum_max) = (0, Some(0));
        assert!(p.is_good(0) && !p.is_good(1));
    }
}
