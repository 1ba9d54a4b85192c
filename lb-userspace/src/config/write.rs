//! A model as text: keepalived.conf or TOML. Reading the text gives the same model.

mod keepalived;
mod toml;

pub use keepalived::to_keepalived;
pub use toml::to_toml;

use std::time::Duration;

use crate::model::{Broadcast, ForwardMethod, Tunnel, VirtualAddress};

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

fn address(a: &VirtualAddress) -> String {
    let bits = if a.addr.is_ipv4() { 32 } else { 128 };
    if a.prefix_len == bits {
        a.addr.to_string()
    } else {
        format!("{}/{}", a.addr, a.prefix_len)
    }
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
fn shared<T: PartialEq + Copy>(
    s: &crate::model::Service,
    of: impl Fn(&crate::model::Check) -> T,
) -> Option<T> {
    let mut all = s.real_servers.iter().flat_map(|r| r.checks.iter()).map(of);
    let first = all.next()?;
    all.all(|v| v == first).then_some(first)
}
