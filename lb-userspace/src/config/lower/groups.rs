//! `vrrp_sync_group`.

use std::collections::HashMap;

use super::Lower;
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::{Model, SyncGroup, VrrpInstance};

impl Lower {
    pub(super) fn sync_groups(&mut self, top: &[(&'static str, &Node)], model: &mut Model) {
        let mut owner: HashMap<String, String> = HashMap::new();
        for (name, node) in self.named(top, "vrrp_sync_group", true) {
            let mut walked = self.walk(node.children(), Block::SyncGroup);
            let unsupported = std::mem::take(&mut walked.unsupported);
            let mut members: Vec<String> = Vec::new();
            let mut left_out_member = None;
            for (_, group) in walked.acted.iter().filter(|(k, _)| *k == "group").take(1) {
                for w in group.children().iter().flat_map(|line| line.words.iter()) {
                    let left_out = self
                        .left_out
                        .iter()
                        .any(|l| l.strip_prefix("vrrp_instance ") == Some(&w.text));
                    if left_out {
                        left_out_member = Some(w);
                        continue;
                    }
                    if !model.instances.iter().any(|i| i.name == w.text) {
                        let defined = top.iter().any(|(k, n)| {
                            *k == "vrrp_instance"
                                && n.args().first().is_some_and(|a| a.text == w.text)
                        });
                        if !defined {
                            self.push(
                                Diagnostic::new(
                                    Code::UnknownName,
                                    self.replaced(),
                                    format!("there is no `vrrp_instance {}`", w.text),
                                )
                                .at(w.span, "ignored, as by keepalived"),
                            );
                        }
                        continue;
                    }
                    if let Some(other) = owner.get(&w.text) {
                        let d = Diagnostic::new(
                            Code::Duplicate,
                            self.replaced(),
                            format!("`{}` is already in `vrrp_sync_group {other}`", w.text),
                        )
                        .at(w.span, "ignored, as by keepalived");
                        self.push(d);
                        continue;
                    }
                    owner.insert(w.text.clone(), name.text.clone());
                    members.push(w.text.clone());
                }
            }
            let what = format!("vrrp_sync_group {}", name.text);
            if !unsupported.is_empty() {
                // Its members would follow what the group tracks, so they cannot run without it.
                self.leave_out(&what, unsupported);
                for m in &members {
                    model.instances.retain(|i| i.name != *m);
                    self.left_out.push(format!("vrrp_instance {m}"));
                }
                continue;
            }
            if let Some(w) = left_out_member {
                let d = Diagnostic::new(
                    Code::Unsupported,
                    Severity::Warning,
                    format!("`{}` is left out, so it is not in this group", w.text),
                )
                .at(w.span, "left out");
                self.push(d);
            }
            if members.is_empty() {
                if left_out_member.is_none() {
                    self.push(
                        Diagnostic::new(
                            Code::Incomplete,
                            Severity::Warning,
                            format!("`{what}` has no members"),
                        )
                        .at(node.whole(), "ignored, as by keepalived"),
                    );
                }
                continue;
            }
            // Only owners of their addresses start as masters in a group.
            for i in model.instances.iter_mut().filter(|i| i.priority != 255) {
                i.initial_master &= !members.contains(&i.name);
            }
            let tracking_weight = walked
                .acted
                .iter()
                .any(|(k, _)| *k == "sync_group_tracking_weight");
            if !tracking_weight {
                let grouped = |i: &&mut VrrpInstance| members.contains(&i.name);
                for i in model.instances.iter_mut().filter(grouped) {
                    let why = format!("by `{}`, which is in this group", i.name);
                    self.without_weights(&mut i.tracks, node.whole(), &why);
                }
            }
            model.sync_groups.push(SyncGroup {
                name: name.text.clone(),
                members,
                tracks: self.tracks(&walked, None),
                tracking_weight,
                notify: self.notify(&walked),
            });
        }
    }
}
