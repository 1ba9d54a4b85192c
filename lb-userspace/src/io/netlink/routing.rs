//! Routes and rules that the daemon sets. They carry a protocol number of their own, by which a
//! successor knows what was left.

mod strays;

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
    /// Over IPv6 a hop that fails does not keep the others away.
    ///
    /// # Errors
    /// When an interface is missing or the kernel refuses.
    pub fn add_route(&mut self, route: &Route, links: &LinkTable) -> Result<Set, NetlinkError> {
        let flags = if route.append { NLM_F_APPEND } else { 0 };
        let mut set = Ok(Set::There);
        for message in route_messages(route, links) {
            let done = message.and_then(|message| {
                let what = || format!("add the route to {}/{}", route.to.addr, route.to.len);
                self.add(RouteNetlinkMessage::NewRoute(message), flags, what)
            });
            set = match (set, done) {
                (Err(first), _) => Err(first),
                (Ok(_), Err(error)) => Err(error),
                (Ok(Set::There), Ok(Set::There)) => Ok(Set::There),
                (Ok(_), Ok(_)) => Ok(Set::New),
            };
        }
        set
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
        let mut done = Ok(());
        for message in route_messages(route, links) {
            let message = match message {
                Ok(message) => message,
                // The kernel keeps a route of IPv4 whose other interface lives, and knows it without.
                Err(_) if route.hops.len() > 1 && route.to.addr.is_ipv4() => {
                    route_message(route, &[], links)?
                }
                Err(_) => continue,
            };
            let gone = self.del_message(RouteNetlinkMessage::DelRoute(message));
            done = done.and(gone.map(drop));
        }
        done
    }

    /// Removes a rule; one that is gone is as good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn del_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRule(rule_message(rule));
        self.del_message(message).map(drop)
    }

    /// Whether it was there.
    fn del_message(&mut self, message: RouteNetlinkMessage) -> Result<bool, NetlinkError> {
        match self.request(message, NLM_F_ACK, |_| {}) {
            Ok(()) => Ok(true),
            Err(RequestError::Refused(e))
                if [libc::ESRCH, libc::ENOENT, libc::ENODEV].contains(&errno(&e)) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.named(|| "remove a route or rule".to_owned())),
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
        let kept = routes.iter().filter_map(|r| strays::kept(r, links));
        let kept_routes: Vec<RouteMessage> = kept.collect();
        let kept_rules: Vec<RuleMessage> = rules.iter().map(|r| rule_message(r)).collect();
        let mut strays = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family;
            let ask = RouteNetlinkMessage::GetRoute(ask);
            self.request(ask, NLM_F_DUMP, |m| {
                if let RouteNetlinkMessage::NewRoute(m) = m {
                    let found = strays::of_route(&m, &kept_routes);
                    strays.extend(found.into_iter().map(RouteNetlinkMessage::DelRoute));
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
                    && !kept_rules.iter().any(|kept| strays::is_rule(&m, kept))
                {
                    strays.push(RouteNetlinkMessage::DelRule(m));
                }
            })
            .map_err(|e| e.named(|| "list rules".to_owned()))?;
        }
        let mut count = 0;
        for stray in strays {
            count += usize::from(self.del_message(stray)?);
        }
        Ok(count)
    }
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

/// What the kernel gives to a route of IPv6 that asks for no metric (`IP6_RT_PRIO_USER`).
const METRIC_V6: u32 = 1024;

/// What sets a route, or removes it. Over IPv6 each of several hops is a route of its own, which the
/// kernel shows with the others of its network and metric as one; of several in one message it would
/// take none when it has one.
fn route_messages(route: &Route, links: &LinkTable) -> Vec<Result<RouteMessage, NetlinkError>> {
    match route.to.addr {
        IpAddr::V6(_) if route.hops.len() > 1 => {
            let each = route.hops.chunks(1);
            each.map(|hop| route_message(route, hop, links)).collect()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => vec![route_message(route, &route.hops, links)],
    }
}

/// A message about these hops of a route.
fn route_message(
    route: &Route,
    hops: &[Hop],
    links: &LinkTable,
) -> Result<RouteMessage, NetlinkError> {
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
    // Without one, a route of another metric may be removed.
    let usual = route.to.addr.is_ipv6().then_some(METRIC_V6);
    m.attributes
        .extend(route.metric.or(usual).map(RouteAttribute::Priority));
    let mtu = route.mtu.map(RouteMetric::Mtu);
    let metrics: Vec<_> = mtu
        .into_iter()
        .chain(route.advmss.map(RouteMetric::Advmss))
        .collect();
    if !metrics.is_empty() {
        m.attributes.push(RouteAttribute::Metrics(metrics));
    }
    match (hops, route.hops.len()) {
        ([], _) => {}
        ([hop], 1) => {
            m.attributes.extend(gateway(hop, route.to.addr));
            m.attributes
                .extend(oif(hop, links)?.map(RouteAttribute::Oif));
            if hop.on_link {
                m.header.flags |= RouteFlags::Onlink;
            }
        }
        (hops, _) => {
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
