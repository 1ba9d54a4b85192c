//! Routes and rules.

use lb_userspace::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::values::interface;
use super::vrrp::{address, of};

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn prefix(family: Family) -> impl Strategy<Value = Prefix> {
    (any::<u32>(), 0..=family.bits()).prop_map(move |(bits, len)| Prefix::of(of(family, bits), len))
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Forward),
        Just(Fate::Blackhole),
        Just(Fate::Unreachable),
        Just(Fate::Prohibit)
    ]
}

fn hop(family: Family) -> impl Strategy<Value = Hop> {
    let via = option::of(any::<u32>().prop_map(move |bits| of(family, bits)));
    (via, interface(), any::<bool>(), 1u16..=256).prop_map(|(via, dev, on_link, weight)| Hop {
        via,
        dev: Some(dev),
        on_link,
        weight,
    })
}

pub(crate) fn route() -> impl Strategy<Value = Route> {
    family().prop_flat_map(|family| {
        let source = option::of(any::<u32>().prop_map(move |bits| of(family, bits)));
        let words = (
            1..=u32::MAX,
            option::of(any::<u32>()),
            option::of(any::<u8>()),
            any::<u8>(),
            option::of(1..=u32::MAX),
            option::of(1..=u32::MAX),
            any::<[bool; 2]>(),
        );
        (
            fate(),
            prefix(family),
            vec(hop(family), 1..4),
            source,
            words,
        )
            .prop_map(|(fate, to, hops, source, words)| {
                let (table, metric, scope, tos, mtu, advmss, [append, no_track]) = words;
                Route {
                    fate,
                    to,
                    hops: if fate == Fate::Forward {
                        hops
                    } else {
                        Vec::new()
                    },
                    source,
                    table,
                    metric,
                    scope,
                    tos,
                    mtu,
                    advmss,
                    append,
                    no_track,
                    track_group: None,
                }
            })
    })
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    family().prop_flat_map(|family| {
        let words = (
            1..=u32::MAX,
            any::<u32>(),
            option::of(any::<(u32, u32)>()),
            any::<u8>(),
            any::<[bool; 2]>(),
        );
        let ends = (option::of(prefix(family)), option::of(prefix(family)));
        let links = (option::of(interface()), option::of(interface()));
        (fate(), ends, links, words).prop_map(move |(fate, (from, to), (iif, oif), words)| {
            let (table, preference, mark, tos, [not, no_track]) = words;
            Rule {
                is_ipv6: family == Family::V6,
                fate,
                not,
                from,
                to,
                table,
                preference,
                iif,
                oif,
                mark,
                tos,
                no_track,
                track_group: None,
            }
        })
    })
}

pub(crate) fn statics() -> impl Strategy<Value = Statics> {
    let fixed = (address(Family::V4), interface()).prop_map(|(address, dev)| VirtualAddress {
        dev: Some(dev),
        ..address
    });
    (vec(fixed, 0..3), vec(route(), 0..3), vec(rule(), 0..3)).prop_map(
        |(addresses, routes, rules)| Statics {
            addresses,
            routes,
            rules,
        },
    )
}
