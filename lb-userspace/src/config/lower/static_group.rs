//! `track_group`: instances that follow static addresses, routes and rules.

use std::collections::BTreeSet;

use super::Lower;
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::Model;

impl Lower {
    /// The groups, before the static entries.
    pub(super) fn static_groups(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let mut names = BTreeSet::new();
        for (name, node) in self.named(top, "track_group", true) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_./:+,-".contains(c);
            if !name.text.chars().all(plain) {
                let want = "a name of letters, digits and _./:+,-";
                self.invalid_word(name, want, "the group is ignored");
                continue;
            }
            names.insert(name.text.clone());
            let walked = self.walk(node.children(), Block::TrackGroup);
            let groups = walked.acted.iter().filter(|(k, _)| *k == "group");
            let lines = groups.flat_map(|(_, n)| n.children());
            for w in lines.flat_map(|line| line.words.iter()) {
                let left_out = format!("vrrp_instance {}", w.text);
                let member = model.instances.iter_mut().find(|i| i.name == w.text);
                match member {
                    Some(i) if !i.tracks.statics.contains(&name.text) => {
                        i.tracks.statics.push(name.text.clone());
                    }
                    Some(_) => {}
                    None if self.left_out.contains(&left_out) => {}
                    None => self.push(
                        Diagnostic::new(
                            Code::UnknownName,
                            self.replaced(),
                            format!("there is no `{left_out}`"),
                        )
                        .at(w.span, "ignored, as by keepalived"),
                    ),
                }
            }
        }
        self.static_groups = Some(names);
    }

    /// `track_group` behind an entry.
    pub(super) fn group_of(&mut self, w: &Word, value: &Word) -> Option<String> {
        let (code, message) = match &self.static_groups {
            Some(names) if names.contains(&value.text) => return Some(value.text.clone()),
            Some(_) => (
                Code::UnknownName,
                format!("there is no `track_group {}`", value.text),
            ),
            None => (
                Code::Conflict,
                "`track_group` is for static addresses, routes and rules".to_owned(),
            ),
        };
        let d = Diagnostic::new(code, self.replaced(), message);
        self.push(d.at(w.span.to(value.span), "ignored, as by keepalived"));
        None
    }

    /// `no_track` and `track_group` together.
    pub(super) fn in_group(&mut self, no_track: bool, group: &mut Option<String>, at: Span) {
        if no_track && group.take().is_some() {
            let d = Diagnostic::new(
                Code::Conflict,
                Severity::Warning,
                "`no_track` does not go together with `track_group`",
            );
            self.push(d.at(at, "not tracked, as by keepalived"));
        }
    }
}
