//! Sockets of probes, bound as the check says, and what their errors mean.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::health::{Failure, NotRun, Verdict};
use crate::model::Check;

/// A socket that is ready to connect to the check's target.
pub(super) fn prepare(check: &Check, kind: Type, protocol: Protocol) -> Result<Socket, NotRun> {
    let not = |what: String| {
        move |e: io::Error| NotRun {
            why: format!("{what}: {}", words(&e)),
        }
    };
    let domain = Domain::for_address(SocketAddr::new(check.addr, check.port));
    let socket =
        Socket::new(domain, kind.nonblocking(), Some(protocol)).map_err(not("socket".into()))?;
    if let Some(interface) = &check.bind_if {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(not(format!("bind to {interface}")))?;
    }
    if check.fwmark != 0 {
        socket
            .set_mark(check.fwmark)
            .map_err(not("fwmark".into()))?;
    }
    if check.bind_port != 0 {
        socket
            .set_reuse_address(true)
            .map_err(not("SO_REUSEADDR".into()))?;
        if kind == Type::STREAM {
            socket
                .set_linger(Some(Duration::ZERO))
                .map_err(not("SO_LINGER".into()))?;
        }
    } else if check.bind_addr.is_some() && kind == Type::STREAM {
        // The port is chosen when it connects, so that one serves many targets.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)
            .map_err(|e| not("IP_BIND_ADDRESS_NO_PORT".into())(e.into()))?;
    }
    if check.bind_addr.is_some() || check.bind_port != 0 {
        let any = match check.addr {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let port = if kind == Type::RAW {
            0
        } else {
            check.bind_port
        };
        let from = SocketAddr::new(check.bind_addr.unwrap_or(any), port);
        socket
            .bind(&from.into())
            .map_err(not(format!("bind to {from}")))?;
    }
    Ok(socket)
}

/// An error without Rust's "(os error 99)".
pub(super) fn words(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(n) => Errno::from_raw(n).desc().to_lowercase(),
        None => e.to_string(),
    }
}

/// Whether an error says something about the server or about this host.
pub(super) fn verdict_of(e: &io::Error) -> Verdict {
    let failed = |why| Verdict::Failed(why);
    match Errno::from_raw(e.raw_os_error().unwrap_or(0)) {
        Errno::ECONNREFUSED => failed(Failure::Refused),
        Errno::ETIMEDOUT => failed(Failure::TimedOut),
        Errno::ECONNRESET => failed(Failure::Reset),
        Errno::EHOSTUNREACH | Errno::EHOSTDOWN => failed(Failure::HostUnreachable),
        Errno::ENETUNREACH | Errno::ENETDOWN => failed(Failure::NetworkUnreachable),
        // No free port, no memory, not allowed, no such address: nothing was learnt of the server.
        Errno::EADDRNOTAVAIL
        | Errno::EADDRINUSE
        | Errno::EAGAIN
        | Errno::EMFILE
        | Errno::ENFILE
        | Errno::ENOBUFS
        | Errno::ENOMEM
        | Errno::EPERM
        | Errno::EACCES
        | Errno::EINVAL
        | Errno::EAFNOSUPPORT
        | Errno::ENODEV => Verdict::NotRun(NotRun {
            why: format!("connect: {}", words(e)),
        }),
        _ => failed(Failure::Other(words(e))),
    }
}
