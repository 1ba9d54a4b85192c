//! `vrrp_track_process`.

use std::time::Duration;

use super::track::{MAX_PRODUCT, Weight};
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::{Model, ParamMatch, TrackProcess};

impl Lower {
    /// All `vrrp_track_process`; instances and groups refer to them.
    pub(super) fn track_processes(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        for (name, n) in self.named(top, "vrrp_track_process", false) {
            let walked = self.walk(n.children(), Block::TrackProcess);
            let weight = self.block_weight(&walked, Weight::ONE, MAX_PRODUCT);
            self.weights
                .insert(("track_process", name.text.clone()), weight);
            let process = self.track_process(n, &name.text, &walked);
            model.track_processes.extend(process);
        }
    }

    fn track_process(
        &mut self,
        node: &Node,
        name: &str,
        walked: &Walked<'_>,
    ) -> Option<TrackProcess> {
        let command = self.last(walked, "process").map(Node::args);
        let command: Vec<String> = command
            .unwrap_or(&[])
            .iter()
            .map(|w| w.text.clone())
            .collect();
        if command.first().is_none_or(String::is_empty) {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Error,
                    format!("`vrrp_track_process {name}` has no `process`"),
                )
                .at(node.whole(), "there is nothing to look for")
                .help("add `process NAME`"),
            );
            return None;
        }
        let params = match self.last(walked, "param_match") {
            Some(n) => match n.args().first().map(|w| (w, w.text.as_str())) {
                None => Some(ParamMatch::Exact),
                Some((_, "partial")) => Some(ParamMatch::Partial),
                Some((_, "initial")) => Some(ParamMatch::Initial),
                Some((w, _)) => {
                    self.invalid(n, w, "initial or partial", "");
                    Some(ParamMatch::Exact)
                }
            },
            None if command.len() > 1 => Some(ParamMatch::Exact),
            None => None,
        };
        let number = |l: &mut Self, name: &str| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            let most = 65535;
            l.strict_number(n, w, 0, most, "keepalived ignores this line")
                .map(|v| v as u32)
        };
        let quorum_max = number(self, "quorum_max");
        // None may run: then none must.
        let least = u32::from(quorum_max != Some(0));
        let quorum = number(self, "quorum").unwrap_or(least);
        if let Some((n, max)) = self.last(walked, "quorum_max").zip(quorum_max)
            && max < quorum
        {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    Severity::Error,
                    format!("`quorum_max` {max} is below `quorum` {quorum}"),
                )
                .at(n.whole(), "no number of processes would be right"),
            );
        }
        let time = |l: &mut Self, name: &str| {
            let n = l.last(walked, name)?;
            let w = n.args().first()?;
            let longest = Duration::from_secs(3600);
            l.timer(
                n,
                w,
                Duration::ZERO,
                longest,
                "keepalived ignores this line",
            )
        };
        let delay = time(self, "delay").unwrap_or_default();
        let fork_delay = time(self, "fork_delay").unwrap_or(delay);
        let terminate_delay = time(self, "terminate_delay").unwrap_or(delay);
        Some(TrackProcess {
            name: name.to_owned(),
            command,
            params,
            full_command: walked.acted.iter().any(|(k, _)| *k == "full_command"),
            quorum,
            quorum_max,
            fork_delay,
            terminate_delay,
        })
    }
}
