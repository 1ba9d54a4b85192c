//! Lines of `virtual_routes`, `virtual_rules`, `static_routes`, `static_rules`; `static_ipaddress`.

mod route;
mod rule;

use super::address::split;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::tree::{Node, Word};
use crate::model::{Prefix, Route, Rule, Statics, VirtualAddress};

const IGNORED: &str = "this line is ignored, as by keepalived";

/// The words of a line, one after the other.
struct Words<'n> {
    rest: std::slice::Iter<'n, Word>,
}

impl Lower {
    /// `static_ipaddress`, `static_routes`, `static_rules`.
    pub(super) fn statics(
        &mut self,
        top: &[(&'static str, &Node)],
        default_interface: Option<&str>,
    ) -> Statics {
        let mut statics = Statics::default();
        for (name, n) in top {
            match *name {
                "static_ipaddress" => {
                    for line in n.children() {
                        let address = self.address(line);
                        statics.addresses.extend(address.map(|a| {
                            VirtualAddress {
                                dev: a
                                    .dev
                                    .or(Some(default_interface.unwrap_or("eth0").to_owned())),
                                vmac: None,
                                ..a
                            }
                        }));
                    }
                }
                "static_routes" => statics.routes.extend(self.route_lines(n)),
                "static_rules" => statics.rules.extend(self.rule_lines(n)),
                _ => {}
            }
        }
        statics
    }

    /// `virtual_routes` and `virtual_rules`.
    pub(super) fn virtual_routing(&mut self, walked: &Walked<'_>) -> (Vec<Route>, Vec<Rule>) {
        let (mut routes, mut rules) = (Vec::new(), Vec::new());
        for (name, n) in &walked.acted {
            match *name {
                "virtual_routes" => routes.extend(self.route_lines(n)),
                "virtual_rules" => rules.extend(self.rule_lines(n)),
                _ => {}
            }
        }
        (routes, rules)
    }

    fn route_lines(&mut self, n: &Node) -> Vec<Route> {
        n.children()
            .iter()
            .filter_map(|line| self.route(line))
            .collect()
    }

    fn rule_lines(&mut self, n: &Node) -> Vec<Rule> {
        n.children()
            .iter()
            .filter_map(|line| self.rule(line))
            .collect()
    }

    fn value<'n>(&mut self, w: &Word, words: &mut Words<'n>) -> Option<&'n Word> {
        let v = words.rest.next();
        if v.is_none() {
            let d = Diagnostic::new(
                Code::MissingParameter,
                self.replaced(),
                format!("`{}` needs a value", w.text),
            );
            self.push(d.at(
                w.span,
                "nothing follows it: this line is ignored, as by keepalived",
            ));
        }
        v
    }

    /// A network; none for `default` and `all`.
    fn prefix(&mut self, w: &Word) -> Option<Option<Prefix>> {
        if matches!(w.text.as_str(), "default" | "all" | "any") {
            return Some(None);
        }
        let found = split(&w.text).and_then(|(addr, mask)| {
            let bits = if addr.is_ipv4() { 32 } else { 128 };
            let len = mask.map_or(Some(bits), |m| m.parse().ok())?;
            (len <= bits).then(|| (addr, Prefix::of(addr, len)))
        });
        if found.is_none() {
            self.invalid_word(w, "a network (IP[/BITS])", IGNORED);
        }
        let (addr, network) = found?;
        if addr != network.addr {
            let d = Diagnostic::new(
                Code::Adjusted,
                Severity::Warning,
                format!("`{}` has bits behind its prefix", w.text),
            );
            let label = format!("taken as {}/{}", network.addr, network.len);
            self.push(d.at(w.span, label));
        }
        Some(Some(network))
    }

    fn count(&mut self, w: &Word, words: &mut Words<'_>, min: u32, max: u32) -> Option<u32> {
        let mut v = self.value(w, words)?;
        if v.text == "lock" {
            self.no_effect_of(v, "route");
            v = self.value(w, words)?;
        }
        let n = number(&v.text).filter(|n| (min..=max).contains(n));
        if n.is_none() {
            self.invalid_word(v, &format!("a number from {min} to {max}"), IGNORED);
        }
        n
    }

    fn tos(&mut self, w: &Word, words: &mut Words<'_>) -> Option<u8> {
        self.count(w, words, 0, 255).map(|n| n as u8)
    }

    fn table(&mut self, w: &Word, words: &mut Words<'_>) -> Option<u32> {
        let v = self.value(w, words)?;
        let table = match v.text.as_str() {
            "main" => Some(Route::MAIN),
            "local" => Some(255),
            "default" => Some(253),
            text => number(text).filter(|n| *n > 0),
        };
        if table.is_none() {
            let d = Diagnostic::new(
                Code::InvalidValue,
                Severity::Error,
                format!("`{}` is no table", v.text),
            );
            self.push(
                d.at(v.span, "main, local, default, or a number from 1")
                    .help("write the number that /etc/iproute2/rt_tables gives to the name"),
            );
        }
        table
    }

    fn no_effect_of(&mut self, w: &Word, what: &str) {
        let d = Diagnostic::new(
            Code::NoEffect,
            Severity::Warning,
            format!("`{}` of a {what} has no effect here", w.text),
        );
        self.push(d.at(w.span, "ignored"));
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
