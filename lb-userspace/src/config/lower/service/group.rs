//! `virtual_server_group`: addresses, ranges and networks that are one service each.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::lower::Lower;
use crate::config::source::Span;
use crate::config::tree::{self, Node, Word};

use super::unsupported;

/// How many services a group may be.
pub(super) const MAX_GROUP: usize = 4096;

/// A group as it is defined.
pub(super) struct GroupDef {
    /// Its addresses and ports in the order of the file; port 0 is any. Empty when it is ignored.
    pub(super) members: Vec<(IpAddr, u16)>,
    /// What stands in the way of using it.
    pub(super) bad: Vec<Diagnostic>,
    /// Its definition.
    pub(super) span: Span,
}

/// From the first to the last address, both included.
type Range = (IpAddr, IpAddr);

impl Lower {
    pub(super) fn server_groups(
        &mut self,
        top: &[(&'static str, &Node)],
    ) -> HashMap<String, GroupDef> {
        let mut groups: HashMap<String, GroupDef> = HashMap::new();
        for (_, n) in top.iter().filter(|(k, _)| *k == "virtual_server_group") {
            let Some(name) = n.args().first() else {
                continue;
            };
            if let Some(first) = groups.get(&name.text) {
                let d = Diagnostic::new(
                    Code::Duplicate,
                    self.replaced(),
                    format!("`virtual_server_group {}` is defined twice", name.text),
                )
                .at(n.whole(), "this one is ignored, as by keepalived")
                .also(first.span, "this one counts");
                self.push(d);
                continue;
            }
            let group = self.server_group(n);
            groups.insert(name.text.clone(), group);
        }
        groups
    }

    fn server_group(&mut self, node: &Node) -> GroupDef {
        let mut group = GroupDef {
            members: Vec::new(),
            bad: Vec::new(),
            span: node.whole(),
        };
        let mut seen = HashSet::new();
        let mut too_large = false;
        for line in node.children() {
            let Some(first) = line.words.first() else {
                continue;
            };
            if first.text == "fwmark" {
                group.bad.push(fwmark(line.whole()));
                continue;
            }
            let Some(((from, to), port)) = self.member(line, first) else {
                continue;
            };
            // A large network counts as one address too many, and is not written out.
            let many = span_of(from, to).saturating_add(group.members.len() as u128);
            if many > MAX_GROUP as u128 {
                if !too_large {
                    too_large = true;
                    self.push(
                        Diagnostic::new(
                            Code::TooMany,
                            Severity::Error,
                            format!("`{}` has more than {MAX_GROUP} addresses", node.title()),
                        )
                        .at(line.whole(), format!("with this line there are {many}"))
                        .also(node.whole(), "each of them is a service of its own"),
                    );
                }
                continue;
            }
            let mut twice = false;
            for at in addresses(from, to) {
                if seen.insert((at, port)) {
                    group.members.push((at, port));
                } else {
                    twice = true;
                }
            }
            if twice {
                let d = Diagnostic::new(
                    Code::Duplicate,
                    self.replaced(),
                    "an address of this line is in the group already",
                );
                self.push(d.at(line.whole(), "it counts once"));
            }
        }
        if group.members.is_empty() && group.bad.is_empty() && !too_large {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    Severity::Warning,
                    format!("`{}` has no addresses", node.title()),
                )
                .at(node.whole(), "ignored, as by keepalived"),
            );
        }
        group
    }

    /// One line: an address, a range or a network, and a port.
    fn member(&mut self, line: &Node, first: &Word) -> Option<(Range, u16)> {
        let range = match range(&first.text) {
            Ok(range) => range,
            Err(why) => {
                let d = Diagnostic::new(
                    Code::InvalidValue,
                    self.replaced(),
                    format!("`{}` is no address, range or network: {why}", first.text),
                );
                self.push(
                    d.at(first.span, "this line is ignored, as by keepalived")
                        .help("write ADDRESS, FROM-LAST or ADDRESS/PREFIX, and a port behind it"),
                );
                return None;
            }
        };
        let port = match line.words.get(1) {
            Some(w) => {
                let named = Node {
                    words: vec![tree::word("port".to_owned(), w.span), w.clone()],
                    block: None,
                };
                self.number(&named, w, 0, 65535, "keepalived ignores this line")?
            }
            None => 0,
        };
        for w in line.words.iter().skip(2) {
            self.push(
                Diagnostic::new(
                    Code::ExtraParameter,
                    Severity::Warning,
                    format!("`{}` means nothing behind an address and a port", w.text),
                )
                .at(w.span, "ignored")
                .help("write one address a line"),
            );
        }
        Some((range, port as u16))
    }
}

/// Why no service is chosen by a firewall mark.
pub(super) fn fwmark(span: Span) -> Diagnostic {
    unsupported(
        span,
        "services by fwmark are not supported",
        "packets are balanced before the firewall could mark them",
    )
    .help("list the addresses and ports in a `virtual_server_group`; a service without a port takes all")
}

/// `192.0.2.1`, `192.0.2.1-10`, `192.0.2.250-192.0.3.5`, `192.0.2.8/29`, and the same for IPv6, where
/// the short end is in hexadecimal.
fn range(text: &str) -> Result<Range, String> {
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| format!("`{text}` is not an IP address"))
    };
    if let Some((start, len)) = text.split_once('/') {
        let from = address(start)?;
        let bits = if from.is_ipv4() { 32 } else { 128 };
        let len: u32 = len
            .parse()
            .ok()
            .filter(|l| (1..=bits).contains(l))
            .ok_or_else(|| format!("a prefix has 1 to {bits} bits"))?;
        let hosts = u128::MAX.checked_shr(128 - (bits - len)).unwrap_or(0);
        if number(from) & hosts != 0 {
            return Err(format!("`{start}` is not the first address of the network"));
        }
        return Ok((from, like(from, number(from) | hosts)));
    }
    let Some((start, end)) = text.split_once('-') else {
        return address(text).map(|a| (a, a));
    };
    let from = address(start)?;
    if end.contains(['.', ':']) {
        let to = address(end)?;
        if to.is_ipv4() != from.is_ipv4() {
            return Err("its ends are of different families".to_owned());
        }
        if to < from {
            return Err("it ends before it begins".to_owned());
        }
        return Ok((from, to));
    }
    let (radix, most) = if from.is_ipv4() {
        (10, 0xff)
    } else {
        (16, 0xffff)
    };
    let last = u128::from_str_radix(end, radix)
        .ok()
        .filter(|last| *last <= most)
        .ok_or_else(|| format!("`{end}` is not the last part of an address"))?;
    let to = number(from) & !most | last;
    if to <= number(from) {
        return Err("its end is not above its beginning".to_owned());
    }
    Ok((from, like(from, to)))
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// A number as an address of the family of `of`.
fn like(of: IpAddr, number: u128) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

/// How many addresses there are.
fn span_of(from: IpAddr, to: IpAddr) -> u128 {
    (number(to) - number(from)).saturating_add(1)
}

fn addresses(from: IpAddr, to: IpAddr) -> impl Iterator<Item = IpAddr> {
    (number(from)..=number(to)).map(move |n| like(from, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match range(text) {
            Ok((from, to)) if from == to => from.to_string(),
            Ok((from, to)) => format!("{from} {to} {}", span_of(from, to)),
            Err(why) => why,
        }
    }

    /// As keepalived 2.2.7 reads them (its dump of the same lines).
    #[test]
    fn ranges_and_networks() {
        for (text, want) in [
            ("192.0.2.77", "192.0.2.77"),
            ("192.0.2.78/32", "192.0.2.78"),
            ("192.0.2.1-10", "192.0.2.1 192.0.2.10 10"),
            ("192.0.2.8/29", "192.0.2.8 192.0.2.15 8"),
            ("192.0.2.250-192.0.3.10", "192.0.2.250 192.0.3.10 17"),
            ("2001:db8::1-ff", "2001:db8::1 2001:db8::ff 255"),
            ("2001:db8::1:0/120", "2001:db8::1:0 2001:db8::1:ff 256"),
            (
                "2001:db8::a-2001:db8::1:1",
                "2001:db8::a 2001:db8::1:1 65528",
            ),
            (
                "::/1",
                ":: 7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 170141183460469231731687303715884105728",
            ),
            (
                "192.0.2.9/29",
                "`192.0.2.9` is not the first address of the network",
            ),
            ("192.0.2.79/33", "a prefix has 1 to 32 bits"),
            ("192.0.2.0/0", "a prefix has 1 to 32 bits"),
            ("192.0.2.1-1", "its end is not above its beginning"),
            ("192.0.2.5-300", "`300` is not the last part of an address"),
            ("192.0.2.5-4", "its end is not above its beginning"),
            ("192.0.2.5-192.0.2.4", "it ends before it begins"),
            (
                "192.0.2.5-2001:db8::1",
                "its ends are of different families",
            ),
            ("web-1", "`web` is not an IP address"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }
}
