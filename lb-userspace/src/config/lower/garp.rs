//! `garp_group`, and what else says how gratuitous ARPs are spread.

use std::time::Duration;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::{GarpGroup, Global};

impl Lower {
    /// All groups. An interface is in one at most; the first that names it has it.
    pub(super) fn garp_groups(&mut self, top: &[(&'static str, &Node)], global: &mut Global) {
        for (_, node) in top.iter().filter(|(k, _)| *k == "garp_group") {
            let walked = self.walk(node.children(), Block::GarpGroup);
            let garp = self.garp_interval(&walked, "garp_interval");
            let gna = self.garp_interval(&walked, "gna_interval");
            let mut interfaces: Vec<String> = Vec::new();
            let one = self.last(&walked, "interface");
            let words = one.into_iter().flat_map(|n| n.args().first());
            let lists = walked.acted.iter().filter(|(k, _)| *k == "interfaces");
            let listed = lists.flat_map(|(_, n)| n.children());
            let listed = listed.flat_map(|line| line.words.iter());
            for w in words.chain(listed) {
                let taken = global
                    .garp_groups
                    .iter()
                    .any(|g| g.interfaces.contains(&w.text));
                if taken || interfaces.contains(&w.text) {
                    self.push(
                        Diagnostic::new(
                            Code::Duplicate,
                            self.replaced(),
                            format!("`{}` is in a `garp_group` already", w.text),
                        )
                        .at(w.span, "ignored, as by keepalived"),
                    );
                    continue;
                }
                interfaces.push(w.text.clone());
            }
            let missing = match (interfaces.is_empty(), garp.or(gna)) {
                (true, _) => "interface",
                (false, None) => "garp_interval` or `gna_interval",
                (false, Some(_)) => {
                    global.garp_groups.push(GarpGroup {
                        interfaces,
                        garp_interval: garp.unwrap_or_default(),
                        gna_interval: gna.unwrap_or_default(),
                    });
                    continue;
                }
            };
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    self.replaced(),
                    format!("`garp_group` has no valid `{missing}`"),
                )
                .at(node.whole(), "it changes nothing"),
            );
        }
    }

    /// `vrrp_garp_interval`, `garp_interval`, `vrrp_gna_interval`, `gna_interval`: a pause in seconds, to the microsecond.
    pub(super) fn garp_interval(&mut self, walked: &Walked<'_>, name: &str) -> Option<Duration> {
        let n = self.last(walked, name)?;
        let w = n.args().first()?;
        // As much as 32 bits of microseconds hold; keepalived's limit of a group is half of it.
        let max = Duration::from_secs(u64::from(u32::MAX / 1_000_000));
        self.timer(n, w, Duration::ZERO, max, "keepalived ignores this line")
    }
}
