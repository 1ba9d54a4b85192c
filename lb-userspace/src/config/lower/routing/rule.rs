//! A line of `virtual_rules` or `static_rules`.

use super::super::Lower;
use super::{IGNORED, Words, number};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::tree::Node;
use crate::model::{Fate, Rule};

/// The preference of rules that say nothing, keepalived's.
const NO_PREFERENCE: u32 = 16384;

impl Lower {
    pub(super) fn rule(&mut self, line: &Node) -> Option<Rule> {
        let mut words = Words {
            rest: line.words.iter(),
        };
        let mut rule = Rule {
            preference: NO_PREFERENCE,
            ..Rule::default()
        };
        let mut placed = false;
        while let Some(w) = words.rest.next() {
            match w.text.as_str() {
                "from" => {
                    let v = self.value(w, &mut words)?;
                    rule.from = self.prefix(v)?;
                }
                "to" => {
                    let v = self.value(w, &mut words)?;
                    rule.to = self.prefix(v)?;
                }
                "not" => rule.not = true,
                "inet6" => rule.is_ipv6 = true,
                "inet" => {}
                "table" | "lookup" => rule.table = self.table(w, &mut words)?,
                "blackhole" => rule.fate = Fate::Blackhole,
                "unreachable" => rule.fate = Fate::Unreachable,
                "prohibit" => rule.fate = Fate::Prohibit,
                "preference" | "pref" | "order" | "priority" => {
                    rule.preference = self.count(w, &mut words, 0, u32::MAX)?;
                    placed = true;
                }
                "iif" | "dev" => rule.iif = Some(self.value(w, &mut words)?.text.clone()),
                "oif" => rule.oif = Some(self.value(w, &mut words)?.text.clone()),
                "fwmark" => {
                    let v = self.value(w, &mut words)?;
                    let (mark, mask) = v.text.split_once('/').unwrap_or((&v.text, "0xffffffff"));
                    let Some(pair) = number(mark).zip(number(mask)) else {
                        self.invalid_word(v, "a mark and its mask (N[/N])", IGNORED);
                        return None;
                    };
                    rule.mark = Some(pair);
                }
                "tos" | "dsfield" => rule.tos = self.tos(w, &mut words)?,
                "no_track" => rule.no_track = true,
                "track_group" => {
                    let name = self.value(w, &mut words)?;
                    rule.track_group = self.group_of(w, name);
                }
                "protocol" => {
                    self.value(w, &mut words)?;
                    self.no_effect_of(w, "rule");
                }
                // Left out it would be for more packets than it says.
                _ => {
                    self.push(
                        Diagnostic::new(
                            Code::Unsupported,
                            Severity::Error,
                            format!("`{}` of a rule is not supported", w.text),
                        )
                        .at(w.span, "without it the rule would be for other packets")
                        .help("write [not] [from NETWORK] [to NETWORK] [iif IF] [oif IF] [fwmark N[/N]] [tos N] [preference N] table N"),
                    );
                    return None;
                }
            }
        }
        self.in_group(rule.no_track, &mut rule.track_group, line.whole());
        let ends = [rule.from, rule.to];
        rule.is_ipv6 |= ends.iter().flatten().any(|p| p.addr.is_ipv6());
        let mixed = ends
            .iter()
            .flatten()
            .any(|p| p.addr.is_ipv6() != rule.is_ipv6);
        if mixed || rule.fate == Fate::Forward && rule.table == 0 {
            let why = match mixed {
                true => "a rule has addresses of one family",
                false => "a rule needs `table`",
            };
            let d = Diagnostic::new(Code::Conflict, self.replaced(), why);
            self.push(d.at(line.whole(), IGNORED));
            return None;
        }
        if !placed {
            let message = "a rule without `preference`".to_owned();
            let label = format!("`preference {NO_PREFERENCE}` is taken, as by keepalived");
            let help = "say where among the host's rules it belongs";
            self.defaulted(line, message, &label, help);
        }
        Some(rule)
    }
}
