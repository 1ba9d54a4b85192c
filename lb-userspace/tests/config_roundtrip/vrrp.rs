//! Instances and what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lb_userspace::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::scripts::notify;
use super::values::*;

pub(crate) fn address(family: Family) -> impl Strategy<Value = VirtualAddress> {
    let brd = prop_oneof![
        Just(None),
        v4().prop_map(|a| Some(Broadcast::Addr(a))),
        Just(Some(Broadcast::HostBitsSet)),
        Just(Some(Broadcast::HostBitsClear))
    ];
    (
        any::<u32>().prop_map(move |bits| of(family, bits)),
        0u8..=32,
        option::of(interface()),
        option::of("[a-z]{1,5}:[0-9]{1,3}"),
        brd,
        any::<u8>(),
        (address_options(family), any::<bool>()),
    )
        .prop_map(
            move |(addr, prefix_len, dev, label, broadcast, scope, (options, no_track))| {
                VirtualAddress {
                    addr,
                    prefix_len: if matches!(
                        broadcast,
                        Some(Broadcast::HostBitsSet | Broadcast::HostBitsClear)
                    ) {
                        prefix_len.min(30)
                    } else {
                        prefix_len
                    },
                    dev,
                    label,
                    broadcast,
                    scope,
                    vmac: None,
                    options,
                    no_track,
                    track_group: None,
                }
            },
        )
        .prop_map(move |address| match family {
            Family::V4 => address,
            Family::V6 => VirtualAddress {
                prefix_len: 128 - address.prefix_len,
                label: None,
                broadcast: None,
                scope: 0,
                ..address
            },
        })
        .prop_map(|mut address| {
            // Who has a peer is in no network.
            if address.options.peer.is_some() {
                address.prefix_len = Family::of(address.addr).bits();
                address.broadcast = None;
            }
            address
        })
}

fn address_options(family: Family) -> impl Strategy<Value = AddressOptions> {
    let peer = option::of(any::<u32>().prop_map(move |bits| of(family, bits)));
    let lifetime = option::of(0..u32::MAX);
    let is_ipv6 = family == Family::V6;
    (peer, lifetime, any::<[bool; 4]>()).prop_map(
        move |(peer, lifetime, [home, dad, mngtmpaddr, noprefixroute])| AddressOptions {
            peer,
            preferred_lft: lifetime.filter(|_| is_ipv6),
            home: home && is_ipv6,
            dad: dad && is_ipv6,
            mngtmpaddr: mngtmpaddr && is_ipv6,
            noprefixroute,
        },
    )
}

pub(crate) fn transport(family: Family) -> impl Strategy<Value = Transport> {
    let host = (1u32..0x7f00_0000).prop_map(move |bits| of(family, bits));
    let limits = (any::<u8>(), any::<u8>());
    let peer = (host, limits).prop_map(|(addr, (a, b))| UnicastPeer {
        addr,
        min_ttl: a.min(b),
        max_ttl: a.max(b),
    });
    let old = prop_oneof![
        Just(OldChecksum::Auto),
        Just(OldChecksum::Always),
        Just(OldChecksum::Never)
    ];
    let unicast = (vec(peer, 0..4), any::<u8>(), any::<bool>(), old);
    prop_oneof![
        Just(Transport::Multicast(family.group())),
        (0xe000_0000u32..0xf000_0000).prop_map(move |bits| {
            Transport::Multicast(match family {
                Family::V4 => of(family, bits),
                Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, bits as u16).into(),
            })
        }),
        unicast.prop_map(|(mut peers, ttl, check, old_checksum)| {
            peers.sort_by_key(|p| p.addr);
            peers.dedup_by_key(|p| p.addr);
            let limited = peers.iter().any(|p| (p.min_ttl, p.max_ttl) != (0, 255));
            Transport::Unicast(Unicast {
                peers,
                ttl,
                check_source: check || limited,
                old_checksum,
            })
        })
    ]
}

pub(crate) fn of(family: Family, bits: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(bits).into(),
        Family::V6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits)).into(),
    }
}

pub(crate) fn garp_groups() -> impl Strategy<Value = Vec<GarpGroup>> {
    vec((vec("[t-z][0-9]", 1..3), secs(9), secs(9)), 0..3).prop_map(|groups| {
        let mut seen = std::collections::BTreeSet::new();
        let mut out = Vec::new();
        for (mut interfaces, garp_interval, gna_interval) in groups {
            interfaces.retain(|i| seen.insert(i.clone()));
            if !interfaces.is_empty() {
                out.push(GarpGroup {
                    interfaces,
                    garp_interval,
                    gna_interval,
                });
            }
        }
        out
    })
}

pub(crate) fn link_delays() -> impl Strategy<Value = Vec<LinkDelay>> {
    let line = ("[t-z][0-9]", secs(9), secs(9));
    vec(line, 0..3).prop_map(|lines| {
        let lines = lines.into_iter().map(|(interface, down, up)| LinkDelay {
            interface,
            down,
            up,
        });
        let mut all: Vec<LinkDelay> = lines.collect();
        all.sort_by(|a, b| a.interface.cmp(&b.interface));
        all.dedup_by(|a, b| a.interface == b.interface);
        all
    })
}

pub(crate) fn election() -> impl Strategy<Value = Election> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (1u32..=100, secs(999), flags).prop_map(|(adverts, delay, flags)| Election {
        down_timer_adverts: adverts,
        preempt_delay: delay,
        lower_prio_no_advert: flags.0,
        skip_check_adv_addr: flags.1,
        higher_prio_send_advert: flags.2,
    })
}

pub(crate) fn tracked_interface() -> impl Strategy<Value = Track> {
    let weight = prop_oneof![Just(0), -253i16..=253];
    ("[t-z][0-9]", weight, any::<bool>()).prop_map(|(name, weight, reverse)| Track {
        name,
        weight,
        reverse,
    })
}

fn vmac() -> impl Strategy<Value = Option<Vmac>> {
    let vmac = ("[u-z]{1,3}[.]?[0-9]{1,9}", any::<bool>());
    option::of(vmac.prop_map(|(name, xmit_base)| Vmac { name, xmit_base }))
}

pub(crate) fn instance() -> impl Strategy<Value = VrrpInstance> {
    prop_oneof![Just(Family::V4), Just(Family::V6)].prop_flat_map(instance_of)
}

fn instance_of(family: Family) -> impl Strategy<Value = VrrpInstance> {
    let version = prop_oneof![
        (
            Just(VrrpVersion::V2),
            (1u64..=255).prop_map(Duration::from_secs)
        ),
        (
            Just(VrrpVersion::V3),
            (1u64..=4095).prop_map(|c| Duration::from_millis(c * 10))
        )
    ];
    let auth = prop_oneof![
        Just(Auth::None),
        vec(1u8.., 1..=8).prop_map(Auth::Pass),
        vec(1u8.., 1..=8).prop_map(Auth::Ah)
    ];
    let garp = (whole(), 1u32..9, whole(), 1u32..9, whole(), 0u32..9);
    let extra = (1u64..=86_400, any::<bool>()).prop_map(|(seconds, all)| ExtraGarp {
        every: Duration::from_secs(seconds),
        all,
    });
    (
        (
            name(),
            interface(),
            1u8..,
            1u8..,
            any::<bool>(),
            version,
            auth,
            any::<bool>(),
        ),
        (
            vec(address(family), 1..4),
            vec(address(Family::V4), 0..3),
            (garp, option::of(extra)),
            (
                option::of(any::<u32>()),
                transport(family),
                election(),
                any::<[bool; 4]>(),
                vmac(),
            ),
            vec(tracked_interface(), 0..3),
            any::<bool>(),
            notify(),
        ),
    )
        .prop_map(
            move |(
                (
                    name,
                    interface,
                    virtual_router_id,
                    priority,
                    initial_master,
                    (version, advert_int),
                    auth,
                    nopreempt,
                ),
                (
                    addresses,
                    excluded,
                    (garp, extra_garp),
                    (
                        mcast_src_ip,
                        transport,
                        mut election,
                        [v3_checksum_as_v2, promote_secondaries, accept, track_src_ip],
                        mut vmac,
                    ),
                    mut interfaces,
                    dont_track_primary,
                    notify,
                ),
            )| {
                // Over IPv6 there is no version 2, and with AH nobody is MASTER at once.
                let is_v2 = version == VrrpVersion::V2 && family == Family::V4;
                let listens = is_v2 && priority != 255 && matches!(auth, Auth::Ah(_));
                let initial_master = initial_master && !listens;
                if initial_master || nopreempt && priority != 255 {
                    election.preempt_delay = Duration::ZERO;
                }
                if let (Some(vmac), Transport::Unicast(_)) = (&mut vmac, &transport) {
                    vmac.xmit_base = true;
                }
                // IPv6 knows no version 2.
                let (version, advert_int) = match (family, version) {
                    (Family::V6, VrrpVersion::V2) => (VrrpVersion::V3, Duration::from_secs(2)),
                    (Family::V4 | Family::V6, version) => (version, advert_int),
                };
                interfaces.sort_by(|a, b| a.name.cmp(&b.name));
                interfaces.dedup_by(|a, b| a.name == b.name);
                interfaces.retain(|t| t.name != interface);
                VrrpInstance {
                    nopreempt: nopreempt && !initial_master && priority != 255,
                    auth: if version == VrrpVersion::V3 {
                        Auth::None
                    } else {
                        auth
                    },
                    name,
                    interface,
                    virtual_router_id,
                    priority,
                    initial_master,
                    version,
                    advert_int,
                    addresses,
                    excluded,
                    garp_master_delay: garp.0,
                    garp_master_repeat: garp.1,
                    garp_master_refresh: garp.2,
                    garp_master_refresh_repeat: garp.3,
                    garp_lower_prio_delay: garp.4,
                    garp_lower_prio_repeat: garp.5,
                    garp_extra_if: extra_garp,
                    mcast_src_ip: mcast_src_ip.map(|bits| of(family, bits)),
                    track_src_ip: track_src_ip && mcast_src_ip.is_some(),
                    transport,
                    v3_checksum_as_v2,
                    election,
                    accept: accept || priority == 255,
                    tracks: Tracks {
                        interfaces,
                        ..Tracks::default()
                    },
                    dont_track_primary,
                    vmac,
                    promote_secondaries,
                    routes: Vec::new(),
                    rules: Vec::new(),
                    notify,
                }
            },
        )
}
