//! Routes and rules that the daemon sets. They carry a protocol number of their own, by which a
//! successor knows what was left.

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::control::{RequestError, errno};
use super::{Control, LinkTable, NetlinkError};
use crate::model::{Fate, Hop, Route, Rule};

/// `rtm_protocol` of what the daemon sets: none that iproute2 has a name for.
pub const PROTOCOL: u8 = 76;

/// What came of setting something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// It is there now.
    New,
    /// It was there.
    There,
}

impl Control {
    /// Adds a route: before those that are there for the same packets, unless it is to come after them.
    ///
    /// # Errors
    /// When an interface is missing or the kernel refuses.
    pub fn add_route(&mut self, route: &Route, links: &LinkTable) -> Result<Set, NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route, links)?);
        let flags = if route.append { NLM_F_APPEND } else { 0 };
        self.add(message, flags, || {
            format!("add the route to {}/{}", route.to.addr, route.to.len)
        })
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<Set, NetlinkError> {
        let message = RouteNetlinkMessage::NewRule(rule_message(rule));
        self.add(message, NLM_F_EXCL, || {
            format!("add a rule for table {}", rule.table)
        })
    }

    fn add(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl FnOnce() -> String,
    ) -> Result<Set, NetlinkError> {
        let flags = NLM_F_ACK | NLM_F_CREATE | flags;
        match self.request(message, flags, |_| {}) {
            Ok(()) => Ok(Set::New),
            Err(RequestError::Refused(e)) if errno(&e) == libc::EEXIST => Ok(Set::There),
            Err(error) => Err(error.named(what)),
        }
    }

    /// Removes a route; one that is gone, with its interface perhaps, is as good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn del_route(&mut self, route: &Route, links: &LinkTable) -> Result<(), NetlinkError> {
        match route_message(route, links) {
            Ok(message) => self.del_message(RouteNetlinkMessage::DelRoute(message)),
            Err(_) => Ok(()),
        }
    }

    /// Removes a rule; one that is gone is as good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn del_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        self.del_message(RouteNetlinkMessage::DelRule(rule_message(rule)))
    }

    fn del_message(&mut self, message: RouteNetlinkMessage) -> Result<(), NetlinkError> {
        match self.request(message, NLM_F_ACK, |_| {}) {
            Err(RequestError::Refused(e))
                if ![libc::ESRCH, libc::ENOENT, libc::ENODEV].contains(&errno(&e)) =>
            {
                Err(RequestError::Refused(e).named(|| "remove a route or rule".to_owned()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes the routes and rules of this protocol that are none of these; how many those were.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn del_other_routing(
        &mut self,
        routes: &[&Route],
        rules: &[&Rule],
        links: &LinkTable,
    ) -> Result<usize, NetlinkError> {
        let kept = routes.iter().filter_map(|r| route_message(r, links).ok());
        let kept_routes: Vec<RouteMessage> = kept.collect();
        let kept_rules: Vec<RuleMessage> = rules.iter().map(|r| rule_message(r)).collect();
        let mut strays = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family;
            let ask = RouteNetlinkMessage::GetRoute(ask);
            self.request(ask, NLM_F_DUMP, |m| {
                if let RouteNetlinkMessage::NewRoute(m) = m
                    && u8::from(m.header.protocol) == PROTOCOL
                    && !kept_routes.iter().any(|kept| is_route(&m, kept))
                {
                    strays.push(RouteNetlinkMessage::DelRoute(m));
                }
            })
            .map_err(|e| e.named(|| "list routes".to_owned()))?;
            let mut ask = RuleMessage::default();
            ask.header.family = family;
            let ask = RouteNetlinkMessage::GetRule(ask);
            let ours = RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL));
            self.request(ask, NLM_F_DUMP, |m| {
                if let RouteNetlinkMessage::NewRule(m) = m
                    && m.attributes.contains(&ours)
                    && !kept_rules.iter().any(|kept| is_rule(&m, kept))
                {
                    strays.push(RouteNetlinkMessage::DelRule(m));
                }
            })
            .map_err(|e| e.named(|| "list rules".to_owned()))?;
        }
        let count = strays.len();
        for stray in strays {
            self.del_message(stray)?;
        }
        Ok(count)
    }
}

/// Whether a route in a dump is one that was asked for.
fn is_route(found: &RouteMessage, wanted: &RouteMessage) -> bool {
    let words = |m: &RouteMessage| {
        let h = &m.header;
        let table = m.attributes.iter().find_map(|a| match a {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
        (
            h.address_family,
            h.kind,
            h.destination_prefix_length,
            h.tos,
            table,
        )
    };
    let hops = |m: &RouteMessage| {
        let of = |a: &RouteAttribute| match a {
            RouteAttribute::MultiPath(hops) => Some(hops.len()),
            _ => None,
        };
        m.attributes.iter().find_map(of)
    };
    let metric = |m: &RouteMessage| {
        let of = |a: &RouteAttribute| match a {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        };
        // What the kernel gives to one that asks for none (IP6_RT_PRIO_USER).
        let usual = match m.header.address_family {
            AddressFamily::Inet6 => 1024,
            _ => 0,
        };
        m.attributes.iter().find_map(of).unwrap_or(usual)
    };
    // The kernel adds what was left open: an interface, a source.
    let has = |a: &RouteAttribute| match a {
        RouteAttribute::Destination(_)
        | RouteAttribute::Gateway(_)
        | RouteAttribute::Via(_)
        | RouteAttribute::Oif(_)
        | RouteAttribute::PrefSource(_)
        | RouteAttribute::Metrics(_) => found.attributes.contains(a),
        _ => true,
    };
    words(found) == words(wanted)
        && hops(found) == hops(wanted)
        && metric(found) == metric(wanted)
        && wanted.attributes.iter().all(has)
}

/// Whether a rule in a dump is one that was asked for.
fn is_rule(found: &RuleMessage, wanted: &RuleMessage) -> bool {
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

const fn family(addr: IpAddr) -> AddressFamily {
    match addr {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn oif(hop: &Hop, links: &LinkTable) -> Result<Option<u32>, NetlinkError> {
    let Some(dev) = &hop.dev else { return Ok(None) };
    let link = links.by_name(dev);
    let missing = || NetlinkError::NoInterface(dev.clone());
    link.map(|l| Some(l.index)).ok_or_else(missing)
}

fn gateway(hop: &Hop, of: IpAddr) -> Option<RouteAttribute> {
    Some(match (hop.via?, of) {
        // RFC 8950: an IPv4 network behind an IPv6 router.
        (IpAddr::V6(via), IpAddr::V4(_)) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (via, _) => RouteAttribute::Gateway(RouteAddress::from(via)),
    })
}

fn route_message(route: &Route, links: &LinkTable) -> Result<RouteMessage, NetlinkError> {
    let mut m = RouteMessage::default();
    m.header.address_family = family(route.to.addr);
    m.header.destination_prefix_length = route.to.len;
    m.header.tos = route.tos;
    m.header.protocol = RouteProtocol::from(PROTOCOL);
    m.header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    m.header.kind = match route.fate {
        Fate::Forward => RouteType::Unicast,
        Fate::Blackhole => RouteType::BlackHole,
        Fate::Unreachable => RouteType::Unreachable,
        Fate::Prohibit => RouteType::Prohibit,
    };
    // As `ip route` takes it: a network of the link itself has no wider scope.
    let direct = route.fate == Fate::Forward && route.hops.iter().all(|h| h.via.is_none());
    let usual = match direct && route.to.addr.is_ipv4() {
        true => RouteScope::Link,
        false => RouteScope::Universe,
    };
    m.header.scope = route.scope.map_or(usual, RouteScope::from);
    m.attributes.push(RouteAttribute::Table(route.table));
    if route.to.len > 0 {
        m.attributes
            .push(RouteAttribute::Destination(route.to.addr.into()));
    }
    let source = route.source.map(|s| RouteAttribute::PrefSource(s.into()));
    m.attributes.extend(source);
    m.attributes
        .extend(route.metric.map(RouteAttribute::Priority));
    let mtu = route.mtu.map(RouteMetric::Mtu);
    let metrics: Vec<_> = mtu
        .into_iter()
        .chain(route.advmss.map(RouteMetric::Advmss))
        .collect();
    if !metrics.is_empty() {
        m.attributes.push(RouteAttribute::Metrics(metrics));
    }
    match route.hops.as_slice() {
        [] => {}
        [hop] => {
            m.attributes.extend(gateway(hop, route.to.addr));
            m.attributes
                .extend(oif(hop, links)?.map(RouteAttribute::Oif));
            if hop.on_link {
                m.header.flags |= RouteFlags::Onlink;
            }
        }
        hops => {
            let mut all = Vec::new();
            for hop in hops {
                let mut next = RouteNextHop::default();
                next.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
                next.interface_index = oif(hop, links)?.unwrap_or(0);
                next.attributes.extend(gateway(hop, route.to.addr));
                if hop.on_link {
                    next.flags |= RouteNextHopFlags::Onlink;
                }
                all.push(next);
            }
            m.attributes.push(RouteAttribute::MultiPath(all));
        }
    }
    Ok(m)
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut m = RuleMessage::default();
    m.header.family = match rule.is_ipv6 {
        true => AddressFamily::Inet6,
        false => AddressFamily::Inet,
    };
    m.header.tos = rule.tos;
    m.header.action = match rule.fate {
        Fate::Forward => RuleAction::ToTable,
        Fate::Blackhole => RuleAction::Blackhole,
        Fate::Unreachable => RuleAction::Unreachable,
        Fate::Prohibit => RuleAction::Prohibit,
    };
    if rule.not {
        m.header.flags |= RuleFlags::Invert;
    }
    m.attributes
        .push(RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
    if let Some(from) = rule.from {
        m.header.src_len = from.len;
        m.attributes.push(RuleAttribute::Source(from.addr));
    }
    if let Some(to) = rule.to {
        m.header.dst_len = to.len;
        m.attributes.push(RuleAttribute::Destination(to.addr));
    }
    if rule.fate == Fate::Forward {
        m.attributes.push(RuleAttribute::Table(rule.table));
    }
    m.attributes.push(RuleAttribute::Priority(rule.preference));
    m.attributes
        .extend(rule.iif.clone().map(RuleAttribute::Iifname));
    m.attributes
        .extend(rule.oif.clone().map(RuleAttribute::Oifname));
    if let Some((mark, mask)) = rule.mark {
        m.attributes.push(RuleAttribute::FwMark(mark));
        m.attributes.push(RuleAttribute::FwMask(mask));
    }
    m
}
