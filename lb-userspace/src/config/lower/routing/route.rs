//! A line of `virtual_routes` or `static_routes`.

use std::net::IpAddr;

use super::super::Lower;
use super::super::address::{scope, split};
use super::{IGNORED, Words};
use crate::config::diag::{Code, Diagnostic};
use crate::config::tree::Node;
use crate::model::{Fate, Hop, Prefix, Route};

impl Lower {
    pub(super) fn route(&mut self, line: &Node) -> Option<Route> {
        let mut words = Words {
            rest: line.words.iter(),
        };
        let mut to = None;
        let mut hops: Vec<Hop> = vec![Hop {
            weight: 1,
            ..Hop::default()
        }];
        let mut route = Route::new(Prefix {
            addr: IpAddr::from([0, 0, 0, 0]),
            len: 0,
        });
        let mut is_ipv6 = false;
        while let Some(w) = words.rest.next() {
            let last = hops.len() - 1;
            match w.text.as_str() {
                "unicast" | "inet" | "prepend" => {}
                "inet6" => is_ipv6 = true,
                "append" => route.append = true,
                "blackhole" => route.fate = Fate::Blackhole,
                "unreachable" => route.fate = Fate::Unreachable,
                "prohibit" => route.fate = Fate::Prohibit,
                "to" => {
                    let v = self.value(w, &mut words)?;
                    to = Some(self.prefix(v)?);
                }
                "default" => to = Some(None),
                "src" => {
                    let v = self.value(w, &mut words)?;
                    // keepalived takes a prefix here, and its address.
                    route.source = Some(self.prefix(v)??.addr);
                }
                "via" | "gw" | "or" => {
                    let mut v = self.value(w, &mut words)?;
                    if matches!(v.text.as_str(), "inet" | "inet6") {
                        v = self.value(w, &mut words)?;
                    }
                    let via = Some(self.prefix(v)??.addr);
                    if w.text == "or" {
                        let dev = hops[last].dev.clone();
                        hops.push(Hop {
                            via,
                            dev,
                            weight: 1,
                            on_link: false,
                        });
                    } else {
                        hops[last].via = via;
                    }
                }
                "nexthop" => {
                    if hops[last]
                        != (Hop {
                            weight: 1,
                            ..Hop::default()
                        })
                    {
                        hops.push(Hop {
                            weight: 1,
                            ..Hop::default()
                        });
                    }
                }
                "dev" | "oif" => {
                    let v = self.value(w, &mut words)?;
                    for hop in hops.iter_mut().rev().take_while(|h| h.dev.is_none()) {
                        hop.dev = Some(v.text.clone());
                    }
                }
                "weight" => hops[last].weight = self.count(w, &mut words, 1, 256)? as u16,
                "onlink" => hops[last].on_link = true,
                "table" => route.table = self.table(w, &mut words)?,
                "metric" | "priority" | "preference" => {
                    route.metric = Some(self.count(w, &mut words, 0, u32::MAX)?);
                }
                "scope" => {
                    let v = self.value(w, &mut words)?;
                    match scope(&v.text) {
                        Some(n) => route.scope = Some(n),
                        None => {
                            self.invalid_word(
                                v,
                                "a scope (site, link, host, nowhere, global)",
                                IGNORED,
                            );
                            return None;
                        }
                    }
                }
                "tos" | "dsfield" => route.tos = self.tos(w, &mut words)?,
                "mtu" => route.mtu = Some(self.count(w, &mut words, 1, u32::MAX)?),
                "advmss" => route.advmss = Some(self.count(w, &mut words, 1, u32::MAX)?),
                "no_track" => route.no_track = true,
                "track_group" => {
                    let name = self.value(w, &mut words)?;
                    route.track_group = self.group_of(w, name);
                }
                "protocol" | "hoplimit" | "rtt" | "rttvar" | "reordering" | "window" | "cwnd"
                | "ssthresh" | "realms" | "rto_min" | "initcwnd" | "initrwnd" | "quickack"
                | "congctl" | "pref" | "features" | "expires" => {
                    let v = self.value(w, &mut words)?;
                    if v.text == "lock" {
                        self.value(w, &mut words)?;
                    }
                    self.no_effect_of(w, "route");
                }
                _ if split(&w.text).is_some() && to.is_none() => to = Some(self.prefix(w)?),
                other => {
                    self.invalid_word(w, "a word of a route", IGNORED);
                    if other == "vrf" || other == "encap" {
                        self.value(w, &mut words)?;
                    }
                    return None;
                }
            }
        }
        let Some(to) = to else {
            let d = Diagnostic::new(
                Code::Incomplete,
                self.replaced(),
                "a route needs a destination",
            );
            self.push(
                d.at(line.whole(), IGNORED)
                    .help("write [to] NETWORK [via ROUTER] [dev IF] [src IP] [table N] [metric N] ..., or `default`"),
            );
            return None;
        };
        is_ipv6 |= hops
            .iter()
            .filter_map(|h| h.via)
            .chain(route.source)
            .any(|a| a.is_ipv6());
        route.to = to.unwrap_or(match is_ipv6 {
            true => Prefix {
                addr: IpAddr::from([0u16; 8]),
                len: 0,
            },
            false => Prefix {
                addr: IpAddr::from([0, 0, 0, 0]),
                len: 0,
            },
        });
        let mixed = route
            .source
            .is_some_and(|a| a.is_ipv6() != route.to.addr.is_ipv6())
            || hops.iter().any(|h| {
                h.via
                    .is_some_and(|v| v.is_ipv4() && route.to.addr.is_ipv6())
            });
        let nowhere = hops.iter().any(|h| h.via.is_none() && h.dev.is_none());
        if mixed || nowhere && route.fate == Fate::Forward {
            let why = match mixed {
                true => "a route has addresses of one family",
                false => "a route needs `via` or `dev`",
            };
            let d = Diagnostic::new(Code::Conflict, self.replaced(), why);
            self.push(d.at(line.whole(), IGNORED));
            return None;
        }
        if route.fate == Fate::Forward {
            route.hops = hops;
        }
        self.in_group(route.no_track, &mut route.track_group, line.whole());
        Some(route)
    }
}
