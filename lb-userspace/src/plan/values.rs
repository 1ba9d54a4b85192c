//! Keys and values as the maps have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::hash::addr_words;
use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, Forward, REMOTE_CHECKSUM,
    REMOTE_ROUTED, REMOTE_V6, Remote, SERVICE_COUNTS, SERVICE_KEY_V6, ServiceSlot, TIMEOUTS,
    Timeouts, prepared, service_key, service_key_v6, ticks,
};
use lb_common::tcp::State;

use super::desired::{DesiredBackend, Link};
use crate::model::{self, ForwardMethod, Protocol, ServiceKey, Tunnel};

/// An address as it lies in a packet; IPv4 in the first word.
pub(super) fn words(addr: IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(addr) => [u32::from_ne_bytes(addr.octets()), 0, 0, 0],
        IpAddr::V6(addr) => {
            let octets = addr.octets();
            let byte = |at: usize| octets[at];
            std::array::from_fn(|i| {
                u32::from_ne_bytes([4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3].map(byte))
            })
        }
    }
}

/// The address of those words.
pub(super) fn address(words: [u32; 4], is_v6: bool) -> IpAddr {
    if is_v6 {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(octets))
    } else {
        IpAddr::V4(Ipv4Addr::from(words[0].to_ne_bytes()))
    }
}

/// The key as the program computes it. Two IPv6 services may have the same.
pub(super) fn raw_key(key: ServiceKey) -> u64 {
    let (port, proto) = (key.port.to_be(), key.protocol.number());
    let words = words(key.addr);
    match key.addr {
        IpAddr::V4(_) => service_key(words[0], port, proto),
        IpAddr::V6(_) => service_key_v6(addr_words(words), port, proto),
    }
}

/// What a slot has for the address beside its key.
pub(super) fn slot_addr(addr: IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(_) => [0; 4],
        IpAddr::V6(_) => words(addr),
    }
}

/// The service of a raw key and the address beside it; `None` when there can be none.
pub(super) fn service_of_key(raw: u64, addr: [u32; 4]) -> Option<ServiceKey> {
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|p| u64::from(p.number()) == raw & 0xff)?;
    let addr = match raw & 0xffff & !0xff {
        0 => address([(raw >> 32) as u32, 0, 0, 0], false),
        SERVICE_KEY_V6 => address(addr, true),
        _ => return None,
    };
    let key = ServiceKey {
        addr,
        port: u16::from_be((raw >> 16) as u16),
        protocol,
    };
    (raw_key(key) == raw).then_some(key)
}

/// What stands in both maps for a real server of a service. `last_weight` is the last one that was not
/// 0.
pub(super) fn backend_value(
    backend: &DesiredBackend,
    service: &ServiceSlot,
    last_weight: u16,
) -> (Backend, Remote) {
    let words = words(backend.addr);
    let is_v6 = backend.addr.is_ipv6();
    let mut flags = 0;
    if !backend.up {
        flags |= BACKEND_DOWN;
    }
    if backend.local {
        flags |= BACKEND_LOCAL;
    }
    let mut value = Backend {
        service: service.id,
        counted: u8::from(service.flags & SERVICE_COUNTS != 0),
        addr: if is_v6 { 0 } else { words[0] },
        port: backend.port.to_be(),
        weight: backend.weight,
        ..Backend::default()
    };
    let mut remote = Remote {
        addr: words,
        flags: if is_v6 { REMOTE_V6 } else { 0 },
        last_weight,
        upper: backend.uthreshold,
        lower: backend.lthreshold,
        ..Remote::default()
    };
    let (forward, port, checksum) = match backend.method {
        ForwardMethod::Dr => (Forward::Direct, 0, false),
        ForwardMethod::Tun(Tunnel::Ipip) => (Forward::Ipip, 0, false),
        ForwardMethod::Tun(Tunnel::Gue { port, csum }) => (Forward::Gue, port, csum),
        ForwardMethod::Tun(Tunnel::Gre { csum }) => (Forward::Gre, 0, csum),
    };
    remote.tunnel_port = port.to_be();
    if checksum {
        remote.flags |= REMOTE_CHECKSUM;
    }
    value.flags = flags;
    match usable_link(backend) {
        Some(link) => reached_by(value, remote, forward, &link),
        None => (prepared(value, &remote, forward), remote),
    }
}

/// The same real server, reached by that link.
fn reached_by(
    mut value: Backend,
    mut remote: Remote,
    forward: Forward,
    link: &Link,
) -> (Backend, Remote) {
    let is_tunnel = forward != Forward::Direct;
    value.flags |= BACKEND_RESOLVED;
    value.dmac = link.dmac;
    value.smac = link.smac;
    value.ifindex = link.ifindex;
    value.mtu = mtu(link, is_tunnel);
    remote.flags &= !REMOTE_ROUTED;
    if !link.on_link {
        remote.flags |= REMOTE_ROUTED;
    }
    if let (Some(source), true) = (link.source, is_tunnel) {
        remote.source = words(source);
    }
    (prepared(value, &remote, forward), remote)
}

/// What stands in both maps for a real server that is only kept for its connections, once it is
/// reached by that link; `None` if that serves it no more.
pub(super) fn relinked(value: Backend, remote: Remote, link: &Link) -> Option<(Backend, Remote)> {
    let forward = Forward::from_number(value.forward)?;
    let is_v6 = remote.flags & REMOTE_V6 != 0;
    let serves = forward == Forward::Direct || link.source.is_some_and(|s| s.is_ipv6() == is_v6);
    serves.then(|| reached_by(value, remote, forward, link))
}

/// The MTU by which the program judges; 0: it does not.
fn mtu(link: &Link, is_tunnel: bool) -> u16 {
    // What is longer than anything that arrives by itself was joined and is cut again on its way out.
    // A tunnel's header would not be repeated then.
    let only_joined = link.joined_above != 0 && link.joined_above <= link.mtu;
    if only_joined && !is_tunnel {
        0
    } else {
        link.mtu
    }
}

/// The link, if it serves the method: a source of the server's family for a tunnel. By direct routing a
/// router before the server gets the frames, as with IPVS.
pub(super) fn usable_link(backend: &DesiredBackend) -> Option<Link> {
    backend.link.filter(|link| match backend.method {
        ForwardMethod::Dr => true,
        ForwardMethod::Tun(_) => link
            .source
            .is_some_and(|s| s.is_ipv6() == backend.addr.is_ipv6()),
    })
}

/// The link that a real server in the maps has; where it has one it serves.
pub(super) fn link_of(value: &Backend, remote: &Remote) -> Option<Link> {
    let is_resolved = value.flags & BACKEND_RESOLVED != 0 && value.ifindex != 0;
    let is_v6 = remote.flags & REMOTE_V6 != 0;
    is_resolved.then_some(Link {
        mtu: value.mtu,
        source: (remote.source != [0; 4]).then(|| address(remote.source, is_v6)),
        on_link: remote.flags & REMOTE_ROUTED == 0,
        ..Link::new(value.dmac, value.smac, value.ifindex)
    })
}

/// Whether a real server is reached through a tunnel.
pub(super) const fn is_tunnel(backend: &DesiredBackend) -> bool {
    match backend.method {
        ForwardMethod::Dr => false,
        ForwardMethod::Tun(_) => true,
    }
}

/// What a real server is good for, as bits: taking new connections, being reached.
pub(super) fn usable(flags: u16) -> u8 {
    u8::from(flags & BACKEND_DOWN == 0)
        | u8::from(flags & (BACKEND_RESOLVED | BACKEND_LOCAL) != 0) << 1
}

/// Address and port of a real server.
pub(super) fn endpoint(value: &Backend, remote: &Remote) -> (IpAddr, u16) {
    let addr = address(remote.addr, remote.flags & REMOTE_V6 != 0);
    (addr, u16::from_be(value.port))
}

/// The parameters of a slot: all but key and table.
pub(super) fn params(slot: &ServiceSlot) -> ServiceSlot {
    ServiceSlot {
        key: 0,
        table: 0,
        ..*slot
    }
}

/// A set of timeouts as the program has it: `own` before `default` before IPVS's.
pub(super) fn timeout_set(own: &model::Timeouts, default: &model::Timeouts, hz: u32) -> Timeouts {
    let mut set = [0; TIMEOUTS];
    for state in State::ALL {
        let secs = seconds(own, state).or(seconds(default, state));
        set[state as usize] = ticks(secs.unwrap_or(state.default_timeout()), hz);
    }
    Timeouts { ticks: set }
}

/// What is set for a state.
fn seconds(timeouts: &model::Timeouts, state: State) -> Option<u32> {
    match state {
        State::Established => timeouts.established,
        State::SynRecv => timeouts.syn_recv,
        State::FinWait => timeouts.fin_wait,
        State::TimeWait => timeouts.time_wait,
        State::Close => timeouts.close,
        State::CloseWait => timeouts.close_wait,
        State::LastAck => timeouts.last_ack,
        State::Udp | State::UdpOnce => timeouts.udp,
        State::SctpEstablished => timeouts.sctp,
        State::None
        | State::SynSent
        | State::Listen
        | State::SynAck
        | State::SctpNone
        | State::SctpInit1
        | State::SctpInit
        | State::SctpCookieSent
        | State::SctpCookieReplied
        | State::SctpCookieWait
        | State::SctpCookie
        | State::SctpCookieEchoed
        | State::SctpShutdownSent
        | State::SctpShutdownReceived
        | State::SctpShutdownAckSent
        | State::SctpRejected
        | State::SctpClosed => None,
    }
}
