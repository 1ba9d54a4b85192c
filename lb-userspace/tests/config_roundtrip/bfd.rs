//! Strategies of BFD sessions.

use std::net::IpAddr;
use std::time::Duration;

use lb_userspace::model::{Bfd, Track};
use proptest::option;
use proptest::prelude::*;

use crate::values::name;

pub(crate) fn bfd() -> impl Strategy<Value = Bfd> {
    let millis = |least: u64| (least * 1000..4_294_967_001).prop_map(Duration::from_micros);
    let hosts = (any::<u16>(), option::of(any::<u16>()), any::<bool>());
    let times = (
        option::of(millis(1)),
        option::of(millis(1)),
        option::of(millis(1000)),
    );
    let numbers = (
        option::of(1u8..),
        option::of(1u8..),
        option::of(any::<u8>()),
    );
    (name(), hosts, times, numbers, any::<bool>(), 0..3usize).prop_map(
        |(name, (there, here, v4), times, numbers, passive, hears)| {
            let ip = |host: u16| -> IpAddr {
                let [a, b] = host.to_be_bytes();
                match v4 {
                    true => [10, 9, a, b].into(),
                    false => [0x2001, 0xdb8, 0, 0, 0, 0, 0, host].into(),
                }
            };
            let usual = Bfd::new(&name, ip(there));
            Bfd {
                source: here.map(ip),
                min_rx: times.0.unwrap_or(usual.min_rx),
                min_tx: times.1.unwrap_or(usual.min_tx),
                idle_tx: times.2.unwrap_or(usual.idle_tx),
                multiplier: numbers.0.unwrap_or(usual.multiplier),
                ttl: numbers.1.unwrap_or(usual.ttl),
                max_hops: numbers.2.unwrap_or(0),
                passive,
                vrrp: hears != 1,
                checker: hears != 2,
                ..usual
            }
        },
    )
}

/// Those that a file can have beside each other, with names of their own.
pub(crate) fn different(bfds: Vec<Bfd>) -> Vec<Bfd> {
    let mut out: Vec<Bfd> = Vec::new();
    for bfd in bfds {
        let clash = |o: &Bfd| o.name == bfd.name || o.neighbor == bfd.neighbor;
        if !out.iter().any(clash) {
            out.push(bfd);
        }
    }
    out
}

/// The tracks of somebody: of the first sessions of the model.
pub(crate) fn tracked_bfds(bfds: &[Bfd], tracks: &[(i16, bool)], weighted: bool) -> Vec<Track> {
    let all = bfds.iter().filter(|b| b.vrrp).zip(tracks);
    all.map(|(b, &(weight, reverse))| Track {
        name: b.name.clone(),
        weight: if weighted { weight.clamp(-253, 253) } else { 0 },
        reverse,
    })
    .collect()
}
