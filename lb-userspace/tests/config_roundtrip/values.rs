//! Names, addresses and times.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;

pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z][A-Za-z0-9_.-]{0,12}",
        "[ -~]{1,16}".prop_filter("no placeholder of a template", |s| !s.contains("{{")
            && !s.contains("{%")
            && !s.contains("<%")),
        "[а-яäöü ]{1,6}",
    ]
}

pub(crate) fn interface() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.]{0,10}"
}

pub(crate) fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

pub(crate) fn ip() -> impl Strategy<Value = IpAddr> {
    v4().prop_map(IpAddr::V4)
}

pub(crate) fn secs(max: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..=max).prop_map(Duration::from_secs),
        (1..=max * 1_000_000).prop_map(Duration::from_micros)
    ]
}

pub(crate) fn timer() -> impl Strategy<Value = Duration> {
    secs(4000).prop_map(|d| d.max(Duration::from_micros(1)))
}

pub(crate) fn whole() -> impl Strategy<Value = Duration> {
    (0u64..100).prop_map(Duration::from_secs)
}
