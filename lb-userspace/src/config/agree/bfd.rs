//! BFD sessions between two directors. Their intervals and multipliers are negotiated or each side's own.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Side, differ};
use crate::config::diag::{Diagnostic, Severity};
use crate::config::tree::Node;
use crate::model::Bfd;

/// The addresses that a director is known by.
fn addresses(side: &Side) -> BTreeSet<IpAddr> {
    let sources = side.model.bfd_instances.iter().filter_map(|b| b.source);
    let adverts = side.model.instances.iter().filter_map(|i| i.mcast_src_ip);
    sources.chain(adverts).collect()
}

fn node<'s>(side: &'s Side, session: &Bfd) -> Option<&'s Node> {
    side.nodes.iter().find(|n| {
        n.keyword() == "bfd_instance" && n.args().first().is_some_and(|w| w.text == session.name)
    })
}

/// The other side's end of a session; `own` are the addresses of this side.
fn partner<'s>(of: &Bfd, own: &BTreeSet<IpAddr>, other: &'s Side) -> Option<&'s Bfd> {
    other.model.bfd_instances.iter().find(|b| {
        let hears = match of.source {
            Some(source) => b.neighbor == source,
            None => own.is_empty() || own.contains(&b.neighbor),
        };
        hears && b.source.is_none_or(|s| s == of.neighbor)
    })
}

pub(super) fn sessions(sides: &[Side; 2], out: &mut Vec<Diagnostic>) {
    let known = [addresses(&sides[0]), addresses(&sides[1])];
    for (at, other) in [(0, 1), (1, 0)] {
        for session in &sides[at].model.bfd_instances {
            // One with somebody else concerns nobody.
            if !known[other].contains(&session.neighbor) {
                continue;
            }
            match partner(session, &known[at], &sides[other]) {
                None => {
                    let here = node(&sides[at], session);
                    out.push(differ(
                        Severity::Error,
                        format!("bfd_instance {} has no other end", session.name),
                        [
                            here.map(|n| {
                                let text = "the other file has no session with this director";
                                (n.whole(), text.to_owned())
                            }),
                            None,
                        ],
                        "it never comes up: neighbor_ip and source_ip of the two mirror each other",
                    ));
                }
                Some(theirs) => pair(sides, at, [session, theirs], out),
            }
        }
    }
}

/// Both ends of a session, of which the first is that of side `at`.
fn pair(sides: &[Side; 2], at: usize, of: [&Bfd; 2], out: &mut Vec<Diagnostic>) {
    let [a, b] = of;
    let mut say = |what: &str, labels: [String; 2], help: &str| {
        let [first, second] = labels;
        let places = [
            node(&sides[at], a).map(|n| (n.whole(), first)),
            node(&sides[1 - at], b).map(|n| (n.whole(), second)),
        ];
        let message = format!("bfd_instance {}: {what}", a.name);
        out.push(differ(Severity::Error, message, places, help));
    };
    if a.passive && b.passive && at == 0 {
        say(
            "both ends are passive",
            [a, b].map(|_| "passive".to_owned()),
            "each waits for the other: it never comes up",
        );
    }
    // Without a hop between them; each hop makes it worse.
    if !b.takes_ttl(a.ttl) {
        let wants = i32::from(b.ttl) - i32::from(b.max_hops);
        say(
            "packets arrive with too small a TTL",
            [
                format!("sends with {}", a.ttl),
                format!("takes {wants} and more"),
            ],
            "they are dropped, and it never comes up: give both the same ttl or hoplimit, or more max_hops",
        );
    }
}
