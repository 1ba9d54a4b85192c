//! A model as text: keepalived.conf or TOML. Reading the text gives the same model.

mod http;
mod keepalived;
mod probes;
mod scripts;
mod toml;
mod tracks;

pub use keepalived::to_keepalived;
pub use toml::to_toml;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{
    AddressOptions, Broadcast, ForwardMethod, Global, LinkDelay, Model, Service, ServiceKey,
    Timeouts, Tunnel, UnicastPeer, VirtualAddress,
};

/// Parts of a configuration as they stand in keepalived.conf.
pub(crate) mod words {
    pub(crate) use super::keepalived::{address_line, check_lines};
}

/// A keyword and its parameters.
type Keyword = (&'static str, Vec<String>);

/// The CPUs of threads.
fn affinities(g: &Global) -> Vec<Keyword> {
    let all = [
        ("vrrp_cpu_affinity", &g.vrrp_cpu_affinity),
        ("checker_cpu_affinity", &g.checker_cpu_affinity),
        ("bfd_cpu_affinity", &g.bfd_cpu_affinity),
    ];
    let set = all.into_iter().filter(|(_, cpus)| !cpus.is_empty());
    set.map(|(name, cpus)| (name, cpus.iter().map(u16::to_string).collect()))
        .collect()
}

/// Seconds, with as many digits as are needed.
fn seconds(d: Duration) -> String {
    let micros = d.subsec_micros();
    if micros == 0 {
        d.as_secs().to_string()
    } else {
        format!("{}.{micros:06}", d.as_secs())
            .trim_end_matches('0')
            .to_owned()
    }
}

/// The words of `lb_kind`.
fn method(method: ForwardMethod) -> String {
    let checksum = |csum| if csum { " csum" } else { "" };
    match method {
        ForwardMethod::Dr => "DR".to_owned(),
        ForwardMethod::Tun(Tunnel::Ipip) => "TUN type ipip".to_owned(),
        ForwardMethod::Tun(Tunnel::Gue { port, csum }) => {
            format!("TUN type gue port {port}{}", checksum(csum))
        }
        ForwardMethod::Tun(Tunnel::Gre { csum }) => format!("TUN type gre{}", checksum(csum)),
    }
}

/// lbd's own words of `timeouts` with their values.
fn timeouts(t: &Timeouts) -> Vec<(&'static str, u32)> {
    let all = [
        ("established", t.established),
        ("syn_recv", t.syn_recv),
        ("fin_wait", t.fin_wait),
        ("time_wait", t.time_wait),
        ("close", t.close),
        ("close_wait", t.close_wait),
        ("last_ack", t.last_ack),
        ("udp", t.udp),
        ("sctp", t.sctp),
    ];
    all.into_iter()
        .filter_map(|(name, v)| Some((name, v?)))
        .collect()
}

/// The groups of all services, each once (two services of one group differ in their protocol), with
/// their lines.
fn groups(services: &[Service]) -> Vec<(&str, Vec<String>)> {
    let mut out: Vec<(&str, Vec<String>)> = Vec::new();
    for s in services {
        if let Some(g) = &s.group
            && !out.iter().any(|(name, _)| *name == g.name)
        {
            out.push((&g.name, members(s.keys())));
        }
    }
    out
}

/// The lines of a group; addresses in a row become a range.
fn members(keys: impl Iterator<Item = ServiceKey>) -> Vec<String> {
    let mut runs: Vec<(IpAddr, IpAddr, u16)> = Vec::new();
    for k in keys {
        match runs.last_mut() {
            Some((_, last, port)) if *port == k.port && next(*last) == Some(k.addr) => {
                *last = k.addr;
            }
            Some(_) | None => runs.push((k.addr, k.addr, k.port)),
        }
    }
    runs.iter()
        .map(|(from, to, port)| {
            let port = match port {
                0 => String::new(),
                port => format!(" {port}"),
            };
            match from == to {
                true => format!("{from}{port}"),
                false => format!("{from}-{to}{port}"),
            }
        })
        .collect()
}

/// The address behind one.
fn next(addr: IpAddr) -> Option<IpAddr> {
    Some(match addr {
        IpAddr::V4(a) => IpAddr::V4(u32::from(a).checked_add(1)?.into()),
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).checked_add(1)?.into()),
    })
}

/// `persistence_granularity`, when not all bits count.
fn granularity(prefix_len: u8, addr: IpAddr) -> Option<String> {
    match addr {
        IpAddr::V4(_) if prefix_len < 32 => Some(netmask(prefix_len).to_string()),
        IpAddr::V6(_) if prefix_len < 128 => Some(prefix_len.to_string()),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// `track_group`: each with its members.
fn static_groups(model: &Model) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for i in &model.instances {
        for name in &i.tracks.statics {
            all.entry(name.clone()).or_default().push(i.name.clone());
        }
    }
    for routing in model.statics.routing() {
        if let Some(name) = routing.group() {
            all.entry(name.to_owned()).or_default();
        }
    }
    all
}

/// The words of an address that have a value, and those that have none.
fn address_options(a: &VirtualAddress) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
    let o = &a.options;
    let mut values = Vec::new();
    if let Some(peer) = o.peer {
        values.push(("peer", peer.to_string()));
    }
    if o.preferred_lft != AddressOptions::usual_lifetime(a.addr, a.prefix_len) {
        let forever = || "forever".to_owned();
        let lifetime = o.preferred_lft.map_or_else(forever, |s| s.to_string());
        values.push(("preferred_lft", lifetime));
    }
    if let Some(group) = &a.track_group {
        values.push(("track_group", group.clone()));
    }
    let flags = [
        ("home", o.home),
        ("-nodad", o.dad),
        ("mngtmpaddr", o.mngtmpaddr),
        ("noprefixroute", o.noprefixroute),
        ("no_track", a.no_track),
        ("use_vmac", a.vmac.is_some()),
    ];
    let flags = flags.into_iter().filter(|(_, on)| *on).map(|(w, _)| w);
    (values, flags.collect())
}

fn address(a: &VirtualAddress) -> String {
    let bits = if a.addr.is_ipv4() { 32 } else { 128 };
    if a.prefix_len == bits {
        a.addr.to_string()
    } else {
        format!("{}/{}", a.addr, a.prefix_len)
    }
}

/// A line of `unicast_peer`.
fn peer(p: &UnicastPeer) -> String {
    let mut line = p.addr.to_string();
    if p.min_ttl != 0 {
        line += &format!(" min_ttl {}", p.min_ttl);
    }
    if p.max_ttl != u8::MAX {
        line += &format!(" max_ttl {}", p.max_ttl);
    }
    line
}

fn scope(n: u8) -> String {
    match n {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        n => n.to_string(),
    }
}

fn broadcast(b: Broadcast) -> String {
    match b {
        Broadcast::Addr(a) => a.to_string(),
        Broadcast::HostBitsSet => "+".to_owned(),
        Broadcast::HostBitsClear => "-".to_owned(),
    }
}

fn netmask(prefix_len: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(
        u32::MAX
            .checked_shl(32 - u32::from(prefix_len.min(32)))
            .unwrap_or(0),
    )
}

/// The value that all of a service's checks share, so that it is written once.
fn shared<T: PartialEq + Copy>(s: &Service, of: impl Fn(&crate::model::Check) -> T) -> Option<T> {
    let mut all = s.real_servers.iter().flat_map(|r| r.checks.iter()).map(of);
    let first = all.next()?;
    all.all(|v| v == first).then_some(first)
}

/// A line of `interface_up_down_delays`.
fn link_delay(delay: &LinkDelay) -> String {
    let (down, up) = (seconds(delay.down), seconds(delay.up));
    format!("{} {down} {up}", delay.interface)
}
