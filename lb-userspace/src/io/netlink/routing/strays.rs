//! Which routes and rules of a dump are wanted by nobody.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage};

use super::{PROTOCOL, route_message};
use crate::io::netlink::LinkTable;
use crate::model::{Hop, Route};

/// A route that is to stay, as far as it can be there; none when its interfaces are gone.
pub(super) fn kept(route: &Route, links: &LinkTable) -> Option<RouteMessage> {
    let is_there = |hop: &&Hop| hop.dev.as_ref().is_none_or(|d| links.by_name(d).is_some());
    let hops: Vec<Hop> = route.hops.iter().filter(is_there).cloned().collect();
    // Of IPv4 the kernel has all hops or none, of IPv6 each by itself.
    let any = !hops.is_empty() && route.to.addr.is_ipv6();
    let fits = any || hops.len() == route.hops.len();
    fits.then(|| route_message(route, &hops, links).ok())?
}

/// What is to be removed of a route in a dump so that of this protocol only those that are `kept`
/// remain.
///
/// The kernel shows the routes of IPv6 to one network with one metric as one, with the protocol and
/// the attributes of the first of them. Whose a hop is, it only knows itself: it removes none of
/// another protocol than it is asked for.
pub(super) fn of_route(found: &RouteMessage, kept: &[RouteMessage]) -> Vec<RouteMessage> {
    let hops = hops(found);
    let is_ipv6 = found.header.address_family == AddressFamily::Inet6;
    let is_ours = u8::from(found.header.protocol) == PROTOCOL;
    let may_hide_ours = is_ipv6 && hops.len() > 1;
    if !is_ours && !may_hide_ours {
        return Vec::new();
    }
    let same: Vec<(&RouteMessage, Vec<RouteNextHop>)> = kept
        .iter()
        .filter(|kept| words(kept) == words(found))
        .map(|kept| (kept, self::hops(kept)))
        .collect();
    if !is_ipv6 {
        let is_whole = |wanted: &[RouteNextHop]| {
            let each = || wanted.iter().zip(&hops);
            wanted.len() == hops.len() && each().all(|(w, f)| is_hop(f, w))
        };
        let is_kept = |(kept, wanted): &(&RouteMessage, Vec<_>)| {
            has_attributes(found, kept) && is_whole(wanted)
        };
        let stray = (!same.iter().any(is_kept)).then(|| found.clone());
        return stray.into_iter().collect();
    }
    let has = |wanted: &[RouteNextHop], hop: &RouteNextHop| wanted.iter().any(|w| is_hop(hop, w));
    // The attributes are those of the first hop.
    let as_asked = |(kept, wanted): &&(&RouteMessage, Vec<_>)| {
        let is_first = hops.first().is_some_and(|first| has(wanted, first));
        !is_first || has_attributes(found, kept)
    };
    let same: Vec<_> = same.iter().filter(as_asked).collect();
    let is_stray = |hop: &&RouteNextHop| !same.iter().any(|(_, wanted)| has(wanted, hop));
    let strays = hops.iter().filter(is_stray);
    strays.map(|hop| alone(found, hop)).collect()
}

/// What two messages about one route have in common beside hops.
fn words(m: &RouteMessage) -> impl PartialEq {
    let h = &m.header;
    let find = |of: fn(&RouteAttribute) -> Option<u32>| m.attributes.iter().find_map(of);
    let table = find(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let metric = find(|a| match a {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let to = m.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(to) => Some(to.clone()),
        _ => None,
    });
    (
        h.address_family,
        h.kind,
        h.destination_prefix_length,
        to,
        h.tos,
        table,
        metric.unwrap_or(0),
    )
}

/// Where a route sends packets, one way or several.
fn hops(m: &RouteMessage) -> Vec<RouteNextHop> {
    let several = m.attributes.iter().find_map(|a| match a {
        RouteAttribute::MultiPath(hops) => Some(hops.clone()),
        _ => None,
    });
    several.unwrap_or_else(|| {
        let mut hop = RouteNextHop::default();
        for a in &m.attributes {
            match a {
                RouteAttribute::Oif(index) => hop.interface_index = *index,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                    hop.attributes.push(a.clone());
                }
                _ => {}
            }
        }
        vec![hop]
    })
}

/// Whether a hop in a dump is one that was asked for: the kernel adds an interface that was left open.
fn is_hop(found: &RouteNextHop, wanted: &RouteNextHop) -> bool {
    let way = |hop: &RouteNextHop| {
        let is_way =
            |a: &&RouteAttribute| matches!(a, RouteAttribute::Gateway(_) | RouteAttribute::Via(_));
        hop.attributes.iter().find(is_way).cloned()
    };
    way(found) == way(wanted)
        && found.hops == wanted.hops
        && [0, found.interface_index].contains(&wanted.interface_index)
}

/// Whether a route has what was asked for beside hops; the kernel adds a source.
fn has_attributes(found: &RouteMessage, wanted: &RouteMessage) -> bool {
    let has = |a: &RouteAttribute| match a {
        RouteAttribute::PrefSource(_) | RouteAttribute::Metrics(_) => found.attributes.contains(a),
        _ => true,
    };
    wanted.attributes.iter().all(has)
}

/// One hop of a route of IPv6, when it is of this protocol.
fn alone(found: &RouteMessage, hop: &RouteNextHop) -> RouteMessage {
    let mut m = found.clone();
    m.header.protocol = RouteProtocol::from(PROTOCOL);
    if found
        .attributes
        .iter()
        .any(|a| matches!(a, RouteAttribute::MultiPath(_)))
    {
        m.attributes
            .retain(|a| !matches!(a, RouteAttribute::MultiPath(_)));
        m.attributes
            .push(RouteAttribute::MultiPath(vec![hop.clone()]));
    }
    m
}

/// Whether a rule in a dump is one that was asked for.
pub(super) fn is_rule(found: &RuleMessage, wanted: &RuleMessage) -> bool {
    let words = |m: &RuleMessage| {
        let h = &m.header;
        (
            h.family,
            h.action,
            h.src_len,
            h.dst_len,
            h.tos,
            h.flags.contains(RuleFlags::Invert),
        )
    };
    let told = |a: &&RuleAttribute| {
        matches!(
            a,
            RuleAttribute::Source(_)
                | RuleAttribute::Destination(_)
                | RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::FwMark(1..)
                | RuleAttribute::Table(1..)
                | RuleAttribute::Priority(1..)
        )
    };
    let has = |m: &RuleMessage, a: &RuleAttribute| m.attributes.contains(a);
    words(found) == words(wanted)
        && found.attributes.iter().filter(told).all(|a| has(wanted, a))
        && wanted.attributes.iter().filter(told).all(|a| has(found, a))
}

#[cfg(test)]
mod tests {
    use super::super::route_messages;
    use super::*;
    use crate::io::netlink::Link;
    use crate::model::Prefix;
    use crate::vrrp::LinkState;

    fn links() -> LinkTable {
        let link = |index, name: &str| Link {
            index,
            name: name.to_owned(),
            mac: None,
            state: LinkState::Up,
            mtu: 1500,
            controller: None,
            macvlan_on: None,
            alias: String::new(),
        };
        LinkTable::new(vec![link(2, "eth0"), link(3, "eth1")])
    }

    fn hop(via: &str, dev: &str) -> Hop {
        Hop {
            via: Some(via.parse().unwrap()),
            dev: Some(dev.to_owned()),
            on_link: false,
            weight: 1,
        }
    }

    fn route(to: &str, hops: &[Hop]) -> Route {
        let to: std::net::IpAddr = to.parse().unwrap();
        let len = if to.is_ipv4() { 24 } else { 64 };
        Route {
            hops: hops.to_vec(),
            ..Route::new(Prefix::of(to, len))
        }
    }

    fn v6(vias: &[&str]) -> Route {
        let hops: Vec<Hop> = vias.iter().map(|via| hop(via, "eth0")).collect();
        route("2001:db8:1::", &hops)
    }

    fn v4(vias: &[&str]) -> Route {
        let hops: Vec<Hop> = vias.iter().map(|via| hop(via, "eth0")).collect();
        route("198.51.100.0", &hops)
    }

    /// As the kernel shows it.
    fn dumped(route: &Route) -> RouteMessage {
        kept(route, &links()).unwrap()
    }

    /// The routers of the hops that are to be removed, and that each is asked for as ours.
    fn strays(found: &RouteMessage, wanted: &[Route]) -> Vec<Vec<RouteAttribute>> {
        let wanted: Vec<_> = wanted.iter().filter_map(|r| kept(r, &links())).collect();
        let strays = of_route(found, &wanted);
        assert!(
            strays
                .iter()
                .all(|m| u8::from(m.header.protocol) == PROTOCOL)
        );
        let ways = strays
            .iter()
            .map(|m| hops(m).into_iter().flat_map(|h| h.attributes));
        ways.map(Iterator::collect).collect()
    }

    fn ways(vias: &[&str]) -> Vec<Vec<RouteAttribute>> {
        let way = |via: &&str| {
            vec![RouteAttribute::Gateway(
                via.parse::<std::net::IpAddr>().unwrap().into(),
            )]
        };
        vias.iter().map(way).collect()
    }

    #[test]
    fn routes_of_ipv6_that_the_kernel_shows_as_one_are_judged_hop_by_hop() {
        let [a, b, c] = ["fe80::1", "fe80::2", "fe80::3"];
        let both = dumped(&v6(&[a, b]));
        for (wanted, want) in [
            // Two lines of the file.
            (vec![v6(&[a]), v6(&[b])], vec![]),
            (vec![v6(&[b, a])], vec![]),
            // One of them went; or somebody's own stands beside ours.
            (vec![v6(&[a])], vec![b]),
            (vec![v6(&[b])], vec![a]),
            (vec![v6(&[a, c])], vec![b]),
            (vec![], vec![a, b]),
        ] {
            assert_eq!(strays(&both, &wanted), ways(&want), "{wanted:?}");
        }
        // A hop that is missing is set again, not a reason to remove the other.
        assert_eq!(strays(&dumped(&v6(&[a])), &[v6(&[a, b])]), ways(&[]));
        let away = Route {
            hops: vec![hop(a, "eth0"), hop(b, "gone")],
            ..v6(&[])
        };
        assert_eq!(strays(&both, &[away]), ways(&[b]));
    }

    #[test]
    fn of_others_only_what_may_hide_ours_is_asked_for() {
        let by_hand = |route: &Route| {
            let mut m = dumped(route);
            m.header.protocol = RouteProtocol::Static;
            m
        };
        let [a, b] = ["fe80::1", "fe80::2"];
        assert_eq!(strays(&by_hand(&v6(&[a])), &[]), ways(&[]));
        assert_eq!(strays(&by_hand(&v6(&[a, b])), &[]), ways(&[a, b]));
        assert_eq!(strays(&by_hand(&v6(&[a, b])), &[v6(&[b])]), ways(&[a]));
        let two = ["192.0.2.1", "192.0.2.2"];
        assert_eq!(strays(&by_hand(&v4(&two)), &[]), ways(&[]));
    }

    #[test]
    fn a_route_is_another_one_with_other_words_or_attributes() {
        let [a, b] = ["fe80::1", "fe80::2"];
        let other = |change: fn(&mut Route)| {
            let mut route = v6(&[a, b]);
            change(&mut route);
            route
        };
        let both = dumped(&v6(&[a, b]));
        assert_eq!(
            strays(&both, &[other(|r| r.metric = Some(1024))]),
            ways(&[])
        );
        for wanted in [
            other(|r| r.metric = Some(7)),
            other(|r| r.table = 100),
            other(|r| r.to.len = 48),
            other(|r| r.mtu = Some(1400)),
            other(|r| r.hops = vec![hop("fe80::1", "eth1"), hop("fe80::2", "eth1")]),
            other(|r| r.hops.iter_mut().for_each(|h| h.weight = 2)),
        ] {
            assert_eq!(
                strays(&both, std::slice::from_ref(&wanted)).len(),
                2,
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn a_route_of_ipv4_has_all_its_hops_or_is_another_one() {
        let two = ["192.0.2.1", "192.0.2.2"];
        let found = dumped(&v4(&two));
        assert_eq!(of_route(&found, std::slice::from_ref(&found)), []);
        for wanted in [
            vec![],
            vec![v4(&two[..1]), v4(&two[1..])],
            vec![v4(&["192.0.2.1", "192.0.2.3"])],
        ] {
            let wanted: Vec<_> = wanted.iter().map(dumped).collect();
            assert_eq!(of_route(&found, &wanted), std::slice::from_ref(&found));
        }
    }

    #[test]
    fn each_hop_of_ipv6_is_asked_for_by_itself() {
        let each = |route: &Route| -> Vec<Result<Vec<RouteNextHop>, ()>> {
            let all = route_messages(route, &links());
            all.into_iter()
                .map(|m| m.map(|m| hops(&m)).map_err(drop))
                .collect()
        };
        let mut heavy = hop("fe80::2", "eth1");
        heavy.weight = 3;
        let three = [hop("fe80::1", "eth0"), heavy, hop("fe80::3", "gone")];
        let messages = each(&route("2001:db8:1::", &three));
        let [Ok(first), Ok(second), Err(())] = messages.as_slice() else {
            panic!("{messages:?}");
        };
        let words = |hops: &[RouteNextHop]| {
            let of = |h: &RouteNextHop| (h.interface_index, h.hops);
            hops.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!((words(first), words(second)), (vec![(2, 0)], vec![(3, 2)]));
        assert_eq!(each(&v4(&["192.0.2.1", "192.0.2.2"])).len(), 1);
    }
}
