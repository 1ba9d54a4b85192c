//! Routes and routing rules: `virtual_routes`, `virtual_rules`, `static_ipaddress`, `static_routes`,
//! `static_rules`.

mod line;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{VirtualAddress, VrrpInstance};

/// A network: an address and 0..=32 or 0..=128 bits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The address.
    pub addr: IpAddr,
    /// How many bits count.
    pub len: u8,
}

impl Prefix {
    /// The network of `len` bits in which `addr` is: the kernel takes no other bits.
    pub fn of(addr: IpAddr, len: u8) -> Self {
        let rest = |bits: u8| u32::from(bits.saturating_sub(len));
        let addr = match addr {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(rest(32)).unwrap_or(0);
                Ipv4Addr::from_bits(a.to_bits() & mask).into()
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(rest(128)).unwrap_or(0);
                Ipv6Addr::from_bits(a.to_bits() & mask).into()
            }
        };
        Prefix { addr, len }
    }
}

/// What becomes of a packet that a route or rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A route: it is sent on. A rule: the table is looked up.
    #[default]
    Forward,
    /// Dropped without a word.
    Blackhole,
    /// Dropped, and its sender is told that the destination cannot be reached.
    Unreachable,
    /// Dropped, and its sender is told that this is not allowed.
    Prohibit,
}

/// Where a route sends packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hop {
    /// `via`: the router; absent: the destination itself.
    pub via: Option<IpAddr>,
    /// `dev`; absent: by which interface the router is reached.
    pub dev: Option<String>,
    /// `onlink`: the router is a neighbour though no network of the interface says so.
    pub on_link: bool,
    /// `weight` 1..=256 among several.
    pub weight: u16,
}

/// One line of `virtual_routes` or `static_routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What becomes of packets.
    pub fate: Fate,
    /// To where they go.
    pub to: Prefix,
    /// Where they are sent: none for a fate other than `Forward`, several share the load.
    pub hops: Vec<Hop>,
    /// `src`: what the host takes as its own address.
    pub source: Option<IpAddr>,
    /// `table`.
    pub table: u32,
    /// `metric`.
    pub metric: Option<u32>,
    /// `scope` as the kernel's number; absent: as the way demands.
    pub scope: Option<u8>,
    /// `tos`.
    pub tos: u8,
    /// `mtu` in bytes.
    pub mtu: Option<u32>,
    /// `advmss` in bytes.
    pub advmss: Option<u32>,
    /// `append`: after the routes that are there for the same packets, not before them.
    #[serde(default)]
    pub append: bool,
    /// `no_track`: not set again when somebody takes it away, and its interface may be down.
    pub no_track: bool,
    /// `track_group` of a static one.
    #[serde(default)]
    pub track_group: Option<String>,
}

/// One line of `virtual_rules` or `static_rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For IPv6; otherwise for IPv4.
    pub is_ipv6: bool,
    /// What becomes of packets.
    pub fate: Fate,
    /// `not`: for packets that the rest is not true of.
    pub not: bool,
    /// `from`.
    pub from: Option<Prefix>,
    /// `to`.
    pub to: Option<Prefix>,
    /// `table`: which one is looked up.
    pub table: u32,
    /// `preference`; without one the kernel would choose another each time.
    pub preference: u32,
    /// `iif`.
    pub iif: Option<String>,
    /// `oif`.
    pub oif: Option<String>,
    /// `fwmark` and its mask.
    pub mark: Option<(u32, u32)>,
    /// `tos`.
    pub tos: u8,
    /// `no_track`: as in [`Route`].
    pub no_track: bool,
    /// `track_group` of a static one.
    #[serde(default)]
    pub track_group: Option<String>,
}

impl Route {
    /// The main table, that of routes that name none.
    pub const MAIN: u32 = 254;

    /// To `to` in the main table, of which no more is said.
    #[must_use]
    pub fn new(to: Prefix) -> Self {
        Route {
            fate: Fate::Forward,
            to,
            hops: Vec::new(),
            source: None,
            table: Route::MAIN,
            metric: None,
            scope: None,
            tos: 0,
            mtu: None,
            advmss: None,
            append: false,
            no_track: false,
            track_group: None,
        }
    }

    /// The interfaces that must be up for it.
    pub fn tracked(&self) -> impl Iterator<Item = &str> {
        let hops = self.hops.iter().filter(|_| !self.no_track);
        hops.filter_map(|hop| hop.dev.as_deref())
    }
}

impl Rule {
    /// The interface that must be up for it.
    #[must_use]
    pub fn tracked(&self) -> Option<&str> {
        self.iif.as_deref().filter(|_| !self.no_track)
    }
}

/// What is set at the start, whoever is master, and removed at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Statics {
    /// `static_ipaddress`; each has its `dev`.
    pub addresses: Vec<VirtualAddress>,
    /// `static_routes`.
    pub routes: Vec<Route>,
    /// `static_rules`.
    pub rules: Vec<Rule>,
}

/// Something of the host's routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// An address.
    Address(VirtualAddress),
    /// A route.
    Route(Route),
    /// A rule.
    Rule(Rule),
}

impl Routing {
    /// `track_group`.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match self {
            Routing::Address(address) => address.track_group.as_deref(),
            Routing::Route(route) => route.track_group.as_deref(),
            Routing::Rule(rule) => rule.track_group.as_deref(),
        }
    }

    /// The same without how it is followed (`no_track`, `track_group`), of which the kernel is not told.
    #[must_use]
    pub fn in_kernel(&self) -> Routing {
        let mut bare = self.clone();
        let (no_track, group) = match &mut bare {
            Routing::Address(a) => (&mut a.no_track, &mut a.track_group),
            Routing::Route(r) => (&mut r.no_track, &mut r.track_group),
            Routing::Rule(r) => (&mut r.no_track, &mut r.track_group),
        };
        (*no_track, *group) = (false, None);
        bare
    }

    /// Whether it is set again when somebody takes it away.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        match self {
            Routing::Address(address) => !address.no_track,
            Routing::Route(route) => !route.no_track,
            Routing::Rule(rule) => !rule.no_track,
        }
    }
}

impl VrrpInstance {
    /// The interfaces that must be up for its routes and rules.
    pub fn routed(&self) -> impl Iterator<Item = &str> {
        let routes = self.routes.iter().flat_map(Route::tracked);
        routes.chain(self.rules.iter().filter_map(Rule::tracked))
    }

    /// Whether it is in FAULT while this interface is down (a macvlan of its own: the one under it).
    #[must_use]
    pub fn stands_on(&self, iface: &str) -> bool {
        let addresses = self.addresses.iter().chain(&self.excluded);
        let tracked = self.tracks.interfaces.iter().map(|t| t.name.as_str());
        let others = addresses.map(|a| self.base_of(a)).chain(tracked);
        self.interface == iface || others.chain(self.routed()).any(|other| other == iface)
    }

    /// Its routes and rules, in the order in which they are to be set.
    pub fn routing(&self) -> impl Iterator<Item = Routing> {
        routing(&self.routes, &self.rules)
    }
}

impl Statics {
    /// All of it, in the order in which it is to be set.
    pub fn routing(&self) -> impl Iterator<Item = Routing> {
        let addresses = self.addresses.iter().cloned().map(Routing::Address);
        addresses.chain(routing(&self.routes, &self.rules))
    }
}

fn routing(routes: &[Route], rules: &[Rule]) -> impl Iterator<Item = Routing> {
    let routes = routes.iter().cloned().map(Routing::Route);
    routes.chain(rules.iter().cloned().map(Routing::Rule))
}
