//! `garp_group`, and what else says how gratuitous ARPs are spread; `interface_up_down_delays`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::{ExtraGarp, GarpGroup, Global, LinkDelay, Model, VrrpInstance};

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

    /// `garp_extra_if`, `vrrp_garp_extra_if`; the outer none when the line says nothing that holds.
    pub(super) fn extra_garp(&mut self, n: &Node, min: u64) -> Option<Option<ExtraGarp>> {
        let instead = "keepalived ignores this line";
        let (mut all, mut every) = (false, None);
        for w in n.args() {
            match w.text.as_str() {
                "all" => all = true,
                _ => every = Some(self.number(n, w, min, 86_400, instead)?),
            }
        }
        let Some(seconds) = every else {
            let what = format!("`{}` needs a number of seconds", n.keyword());
            let d = Diagnostic::new(Code::MissingParameter, self.replaced(), what);
            self.push(d.at(n.whole(), instead));
            return None;
        };
        let every = Duration::from_secs(seconds);
        Some((seconds > 0).then_some(ExtraGarp { every, all }))
    }

    /// `interface_up_down_delays`. The last line of an interface holds.
    pub(super) fn link_delays(&mut self, top: &[(&'static str, &Node)], global: &mut Global) {
        let blocks = top.iter().filter(|(k, _)| *k == "interface_up_down_delays");
        for line in blocks.flat_map(|(_, n)| n.children()) {
            let [interface, delays @ ..] = line.words.as_slice() else {
                continue;
            };
            let mut seconds = |w| {
                let max = Duration::from_secs(255);
                self.timer(line, w, Duration::ZERO, max, "this line is ignored")
            };
            let (down, up) = match delays {
                [down] => (seconds(down), seconds(down)),
                [down, up] => (seconds(down), seconds(up)),
                [] | [_, _, ..] => {
                    let what = "write IF DOWN [UP], both in seconds";
                    let d = Diagnostic::new(Code::Incomplete, self.replaced(), what);
                    self.push(d.at(line.whole(), "this line is ignored"));
                    continue;
                }
            };
            let (Some(down), Some(up)) = (down, up) else {
                continue;
            };
            let interface = interface.text.clone();
            global.link_delays.retain(|d| d.interface != interface);
            global.link_delays.push(LinkDelay {
                interface,
                down,
                up,
            });
        }
    }

    /// Names delays that are longer than an instance has time for: they hold for as long as it has.
    pub(super) fn check_link_delays(&mut self, top: &[(&'static str, &Node)], model: &Model) {
        let blocks = top.iter().filter(|(k, _)| *k == "interface_up_down_delays");
        let lines = blocks.flat_map(|(_, n)| n.children());
        let lines = lines.filter_map(|l| Some((l.words.first()?.text.as_str(), l)));
        // The last line of an interface holds.
        let lines: BTreeMap<&str, &Node> = lines.collect();
        for delay in &model.global.link_delays {
            let patience = |i: &VrrpInstance| i.election.patience(i.advert_int);
            let using = model
                .instances
                .iter()
                .filter(|i| i.stands_on(&delay.interface));
            let Some(first) = using.min_by_key(|i| patience(i)) else {
                continue;
            };
            let most = patience(first);
            let words = lines.get(delay.interface.as_str()).map(|l| l.args());
            for (w, wanted) in words.into_iter().flatten().zip([delay.down, delay.up]) {
                if wanted > most {
                    let what = format!(
                        "`{}` is longer than a backup of `{}` waits for its master",
                        w.text, first.name
                    );
                    let d = Diagnostic::new(Code::Adjusted, Severity::Warning, what);
                    let label = format!("taken as {}", most.as_secs_f64());
                    self.push(d.at(w.span, label).help(
                        "(down_timer_adverts - 1) x advert_int is the most: a host whose link is down must be in FAULT before another one is master",
                    ));
                }
            }
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
