//! What must agree between the two directors of a pair and does not, with the places of both.
//!
//! Instances belong together by VRID and address family, services by address, port and protocol; names
//! and interfaces may differ. Whatever keeps the directors from electing one master, or a service
//! from being there after a failover, is an error; what only makes a failover felt is a warning.

mod bfd;
mod services;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::diag::{Code, Diagnostic, Severity};
use super::source::{Sources, Span};
use super::tree::Node;
use super::{FileSource, Loaded, Options};
use crate::model::{
    Auth, Model, Service, SyncGroup, Transport, VirtualAddress, VrrpInstance, VrrpVersion,
};

/// Two configurations beside each other.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Each as it was read.
    pub sides: [Loaded; 2],
    /// What does not agree; empty when one of them is refused.
    pub findings: Vec<Diagnostic>,
    /// The files of both, which the findings point into.
    pub sources: Sources,
}

/// One side, with the statements that its values come from.
struct Side {
    model: Model,
    nodes: Vec<Node>,
}

/// Reads two configurations and compares them; each may have an id of its own.
#[must_use]
pub fn compare(paths: [&str; 2], files: &dyn FileSource, options: [&Options; 2]) -> Compared {
    let [(left, left_nodes), (right, mut right_nodes)] =
        [0, 1].map(|i| super::load_with_tree(paths[i], files, options[i]));
    let mut sources = left.sources.clone();
    let offset = sources.absorb(&right.sources);
    shift(&mut right_nodes, offset);
    let findings = match (&left.model, &right.model) {
        (Some(a), Some(b)) => {
            let side = |model: &Model, nodes| Side {
                model: model.clone(),
                nodes,
            };
            let sides = [side(a, left_nodes), side(b, right_nodes)];
            let mut out = Vec::new();
            instances(&sides, &mut out);
            groups(&sides, &mut out);
            services::services(&sides, &mut out);
            bfd::sessions(&sides, &mut out);
            out
        }
        (Some(_) | None, None) | (None, Some(_)) => Vec::new(),
    };
    Compared {
        sides: [left, right],
        findings,
        sources,
    }
}

/// Moves all places behind the files of the other side.
fn shift(nodes: &mut [Node], offset: u32) {
    for node in nodes {
        for word in &mut node.words {
            word.span.source.0 += offset;
        }
        if let Some(block) = &mut node.block {
            block.open.source.0 += offset;
            shift(&mut block.nodes, offset);
        }
    }
}

/// A finding with a place on either side.
fn differ(
    severity: Severity,
    message: String,
    places: [Option<(Span, String)>; 2],
    help: &str,
) -> Diagnostic {
    let mut finding = Diagnostic::new(Code::Disagree, severity, message);
    let [first, second] = places;
    if let Some((span, text)) = first {
        finding = finding.at(span, text);
    }
    if let Some((span, text)) = second {
        finding = match finding.primary {
            Some(_) => finding.also(span, text),
            None => finding.at(span, text),
        };
    }
    finding.help(help)
}

/// The place of the statement of the first of `keywords` that a block has, else of the block's title.
fn place(block: Option<&Node>, keywords: &[&str]) -> Option<Span> {
    let block = block?;
    let of = |k: &&str| block.children().iter().find(|n| n.keyword() == *k);
    let found = keywords.iter().find_map(of);
    Some(found.map_or_else(|| block.whole(), Node::whole))
}

impl Side {
    fn instance_node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| {
            n.keyword() == "vrrp_instance" && n.args().first().is_some_and(|w| w.text == name)
        })
    }

    fn service_node(&self, service: &Service) -> Option<&Node> {
        let named = |n: &&Node| {
            let args: Vec<&str> = n.args().iter().map(|w| w.text.as_str()).collect();
            match (&service.group, args.as_slice()) {
                (Some(group), ["group", name, ..]) => *name == group.name,
                (None, [addr, rest @ ..]) => {
                    let port = rest.first().map_or(Ok(0), |p| p.parse::<u16>());
                    addr.parse() == Ok(service.key.addr) && port == Ok(service.key.port)
                }
                (Some(_), _) | (None, []) => false,
            }
        };
        // Without the word the checkers decide; then there is hardly a second one at this port.
        let says = |n: &&&Node| {
            let mut words = n.children().iter().filter(|c| c.keyword() == "protocol");
            let wanted = service.key.protocol.name();
            words.any(|c| {
                c.args()
                    .first()
                    .is_some_and(|w| w.text.eq_ignore_ascii_case(wanted))
            })
        };
        let servers = self
            .nodes
            .iter()
            .filter(|n| n.keyword() == "virtual_server");
        let fits: Vec<&Node> = servers.filter(named).collect();
        let exact = fits.iter().find(says);
        exact.or(fits.first()).copied()
    }
}

fn is_v6(instance: &VrrpInstance) -> bool {
    let first = instance.addresses.iter().chain(&instance.excluded).next();
    first.is_some_and(|a| a.addr.is_ipv6())
}

/// The instance of the other side that is the same virtual router.
fn partner<'m>(of: &VrrpInstance, model: &'m Model) -> Option<&'m VrrpInstance> {
    let same =
        |i: &&VrrpInstance| i.virtual_router_id == of.virtual_router_id && is_v6(i) == is_v6(of);
    let all: Vec<&VrrpInstance> = model.instances.iter().filter(same).collect();
    // One VRID may be in use on several links.
    let named = all.iter().find(|i| i.name == of.name);
    // And on one link twice, by unicast.
    let on_link = |i: &&&VrrpInstance| i.interface == of.interface;
    let shares = |i: &&&VrrpInstance| {
        let theirs = |a: &VirtualAddress| of.addresses.iter().any(|o| o.addr == a.addr);
        i.addresses.iter().any(theirs)
    };
    named
        .filter(on_link)
        .or(all.iter().filter(on_link).find(shares))
        .or(all.iter().find(on_link))
        .or(named)
        .or(match all.as_slice() {
            [one] => Some(one),
            _ => None,
        })
        .copied()
}

fn instances(sides: &[Side; 2], out: &mut Vec<Diagnostic>) {
    for (at, other) in [(0, 1), (1, 0)] {
        for instance in &sides[at].model.instances {
            match partner(instance, &sides[other].model) {
                None => {
                    let vrid = instance.virtual_router_id;
                    let node = sides[at].instance_node(&instance.name);
                    let here = place(node, &["virtual_router_id"]);
                    out.push(differ(
                        Severity::Error,
                        format!("{} (VRID {vrid}) has no partner", instance.name),
                        [
                            here.map(|s| {
                                (s, "the other file has no such virtual router".to_owned())
                            }),
                            None,
                        ],
                        "an instance of the same VRID and address family belongs into both files",
                    ));
                }
                // Both see each other: once is enough.
                Some(theirs) if at == 0 => pair(sides, [instance, theirs], out),
                Some(_) => {}
            }
        }
    }
}

/// One virtual router on both sides.
struct Pair<'s> {
    of: [&'s VrrpInstance; 2],
    nodes: [Option<&'s Node>; 2],
    name: String,
}

impl Pair<'_> {
    fn finding(
        &self,
        severity: Severity,
        what: &str,
        keywords: &[&str],
        labels: [String; 2],
        help: &str,
    ) -> Diagnostic {
        let [a, b] = self.nodes.map(|n| place(n, keywords));
        let [first, second] = labels;
        let places = [a.map(|s| (s, first)), b.map(|s| (s, second))];
        differ(severity, format!("{}: {what}", self.name), places, help)
    }
}

fn pair(sides: &[Side; 2], of: [&VrrpInstance; 2], out: &mut Vec<Diagnostic>) {
    let [a, b] = of;
    let name = match a.name == b.name {
        true => a.name.clone(),
        false => format!("{} and {}", a.name, b.name),
    };
    let pair = Pair {
        of,
        nodes: [
            sides[0].instance_node(&a.name),
            sides[1].instance_node(&b.name),
        ],
        name,
    };
    adverts(&pair, out);
    modes(&pair, out);
    addresses(&pair, out);
    roles(&pair, out);
    transports(&pair, out);
}

fn adverts(pair: &Pair<'_>, out: &mut Vec<Diagnostic>) {
    let [a, b] = pair.of;
    let version = |i: &VrrpInstance| match i.version {
        VrrpVersion::V2 => "version 2".to_owned(),
        VrrpVersion::V3 => "version 3".to_owned(),
    };
    if a.version != b.version {
        out.push(pair.finding(
            Severity::Error,
            "the versions of VRRP differ",
            &["version"],
            [version(a), version(b)],
            "neither accepts the other's adverts: both become master",
        ));
        return;
    }
    if a.auth != b.auth {
        // A password is for nobody's screen.
        let kind = |i: &VrrpInstance, other: &VrrpInstance| match (&i.auth, &other.auth) {
            (Auth::None, _) => "no authentication",
            (_, Auth::None) => "authentication",
            (_, _) => "another kind or password than in the other file",
        };
        out.push(pair.finding(
            Severity::Error,
            "authentication differs",
            &["authentication", "auth_pass", "auth_type"],
            [kind(a, b).to_owned(), kind(b, a).to_owned()],
            "neither accepts the other's adverts: both become master",
        ));
    }
    if a.advert_int != b.advert_int {
        let (severity, help) = match a.version {
            VrrpVersion::V2 => (
                Severity::Error,
                "version 2 accepts no advert of another interval: both become master",
            ),
            VrrpVersion::V3 => (
                Severity::Warning,
                "a backup takes the master's: a failover takes longer one way than the other",
            ),
        };
        let text = |i: &VrrpInstance| format!("{:?}", i.advert_int);
        out.push(pair.finding(
            severity,
            "advert_int differs",
            &["advert_int"],
            [text(a), text(b)],
            help,
        ));
    }
}

/// What is not for a service, and how adverts are summed up.
fn modes(pair: &Pair<'_>, out: &mut Vec<Diagnostic>) {
    let [a, b] = pair.of;
    let word = |on: bool, name: &str| match on {
        true => name.to_owned(),
        false => format!("without {name}"),
    };
    // The owner accepts whatever the file says.
    if a.accept != b.accept && a.priority.max(b.priority) < 255 {
        out.push(pair.finding(
            Severity::Warning,
            "only one of them accepts what is for the addresses and for no service",
            &["accept", "no_accept", "strict_mode"],
            [a, b].map(|i| word(i.accept, "accept")),
            "after a failover the addresses answer to ping and to local programs, or no longer do",
        ));
    }
    let sums = a.version == VrrpVersion::V3 && b.version == a.version && !is_v6(a);
    if sums && a.v3_checksum_as_v2 != b.v3_checksum_as_v2 {
        out.push(pair.finding(
            Severity::Error,
            "the checksums of adverts differ",
            &["v3_checksum_as_v2"],
            [a, b].map(|i| word(i.v3_checksum_as_v2, "v3_checksum_as_v2")),
            "neither accepts the other's adverts: both become master",
        ));
    }
}

/// What stands in `list` and not in `other`, `none` when nothing does.
fn only(list: &BTreeSet<IpAddr>, other: &BTreeSet<IpAddr>) -> String {
    let only: Vec<String> = list.difference(other).map(IpAddr::to_string).collect();
    match only.as_slice() {
        [] => "nothing that the other one lacks".to_owned(),
        all => format!("only here: {}", all.join(", ")),
    }
}

fn addresses(pair: &Pair<'_>, out: &mut Vec<Diagnostic>) {
    let set = |list: &[VirtualAddress]| list.iter().map(|a| a.addr).collect::<BTreeSet<IpAddr>>();
    let [a, b] = pair.of;
    let lists = [
        (
            &a.addresses,
            &b.addresses,
            "virtual_ipaddress",
            Severity::Error,
            "a backup rejects adverts of other addresses: both become master (the order does not matter)",
        ),
        (
            &a.excluded,
            &b.excluded,
            "virtual_ipaddress_excluded",
            Severity::Warning,
            "an address that only one of them has is gone after a failover",
        ),
    ];
    for (ours, theirs, keyword, severity, help) in lists {
        let [x, y] = [set(ours), set(theirs)];
        if x != y {
            out.push(pair.finding(
                severity,
                &format!("{keyword} differs"),
                &[keyword],
                [only(&x, &y), only(&y, &x)],
                help,
            ));
            continue;
        }
        let other_prefix = ours.iter().find_map(|o| {
            let t = theirs.iter().find(|t| t.addr == o.addr)?;
            (t.prefix_len != o.prefix_len).then_some((o, t))
        });
        if let Some((o, t)) = other_prefix {
            let text = |v: &VirtualAddress| format!("{}/{}", v.addr, v.prefix_len);
            out.push(pair.finding(
                Severity::Warning,
                "the prefix length of an address differs",
                &[keyword],
                [text(o), text(t)],
                "the routes that come with the address differ after a failover",
            ));
        }
    }
}

fn roles(pair: &Pair<'_>, out: &mut Vec<Diagnostic>) {
    let [a, b] = pair.of;
    if a.priority == b.priority {
        let (severity, help) = match a.priority {
            255 => (
                Severity::Error,
                "only one of them can own the addresses: give the other less",
            ),
            _ => (
                Severity::Warning,
                "the greater address decides who is master; give one of them more to decide it here",
            ),
        };
        let text = format!("priority {}", a.priority);
        out.push(pair.finding(
            severity,
            "the priorities are equal",
            &["priority"],
            [text.clone(), text],
            help,
        ));
    }
    // Of the better one only: the other one never preempts.
    let better = match a.priority > b.priority {
        true => a,
        false => b,
    };
    if a.nopreempt != b.nopreempt && !better.nopreempt {
        let word = |i: &VrrpInstance| match i.nopreempt {
            true => "nopreempt",
            false => "without nopreempt",
        };
        out.push(pair.finding(
            Severity::Warning,
            "nopreempt stands only with the lower priority",
            &["nopreempt", "priority"],
            [word(a).to_owned(), word(b).to_owned()],
            "the better one takes the role back all the same: write nopreempt there",
        ));
    }
    // Owners do so by their priority.
    if a.initial_master && b.initial_master && a.priority.min(b.priority) < 255 {
        out.push(pair.finding(
            Severity::Warning,
            "both begin as MASTER",
            &["state"],
            ["state MASTER".to_owned(), "state MASTER".to_owned()],
            "write `state BACKUP` into one of them",
        ));
    }
}

fn transports(pair: &Pair<'_>, out: &mut Vec<Diagnostic>) {
    let [a, b] = pair.of;
    let words = |t: &Transport| match t {
        Transport::Multicast(group) => format!("multicast to {group}"),
        Transport::Unicast(_) => "unicast".to_owned(),
    };
    let keywords = ["unicast_peer", "mcast_dst_ip"];
    match (&a.transport, &b.transport) {
        (Transport::Unicast(_), Transport::Unicast(_)) => {}
        (x, y) if x == y => {}
        (x, y) => out.push(pair.finding(
            Severity::Error,
            "adverts go different ways",
            &keywords,
            [words(x), words(y)],
            "neither hears the other: both become master",
        )),
    }
    for (at, other) in [(0, 1), (1, 0)] {
        let (Some(unicast), Some(source)) =
            (pair.of[at].transport.unicast(), pair.of[other].mcast_src_ip)
        else {
            continue;
        };
        if pair.of[other].transport.unicast().is_none()
            || unicast.peers.iter().any(|p| p.addr == source)
        {
            continue;
        }
        let here = place(pair.nodes[at], &["unicast_peer"]);
        let there = place(pair.nodes[other], &["unicast_src_ip", "mcast_src_ip"]);
        out.push(differ(
            Severity::Error,
            format!(
                "{}: unicast_peer does not name the other director",
                pair.name
            ),
            [
                here.map(|s| (s, format!("{source} is not among them"))),
                there.map(|s| (s, "the other one sends from here".to_owned())),
            ],
            "the other one hears nothing and becomes master",
        ));
    }
}

/// The virtual routers of a sync group.
fn vrids(group: &SyncGroup, model: &Model) -> BTreeSet<u8> {
    let members = group.members.iter();
    let found = members.filter_map(|m| model.instances.iter().find(|i| i.name == *m));
    found.map(|i| i.virtual_router_id).collect()
}

fn groups(sides: &[Side; 2], out: &mut Vec<Diagnostic>) {
    let all = |side: &Side| -> Vec<BTreeSet<u8>> {
        let groups = side.model.sync_groups.iter();
        groups.map(|g| vrids(g, &side.model)).collect()
    };
    for (at, other) in [(0, 1), (1, 0)] {
        let theirs = all(&sides[other]);
        for group in &sides[at].model.sync_groups {
            if theirs.contains(&vrids(group, &sides[at].model)) {
                continue;
            }
            let named = |n: &&Node| {
                n.keyword() == "vrrp_sync_group"
                    && n.args().first().is_some_and(|w| w.text == group.name)
            };
            let node = sides[at].nodes.iter().find(named);
            out.push(differ(
                Severity::Warning,
                format!("sync group {} has no like in the other file", group.name),
                [
                    node.map(|n| (n.whole(), format!("binds {}", group.members.join(", ")))),
                    None,
                ],
                "a failover then moves other instances together than the way back",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
