//! `TCP_CHECK`: the connection is established within `connect_timeout`, then closed.
//!
//! It is closed as keepalived does, by FIN: the server sees an ordinary connection that says
//! nothing, not a reset. The port then rests in TIME_WAIT, which costs next to nothing as the
//! kernel takes a new one each time. Only a check with a fixed `bind_port` could not run again for
//! a minute: it is closed by RST.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::health::{Failure, NotRun, Verdict};
use crate::io::clock::now;
use crate::model::Check;

/// Runs the check once; how long it took counts from `connect`.
pub(super) async fn probe(check: &Check) -> (Verdict, Duration) {
    let socket = match prepare(check) {
        Ok(socket) => socket,
        Err(why) => return (Verdict::NotRun(why), Duration::ZERO),
    };
    let target = SocketAddr::new(check.addr, check.port);
    let start = now();
    let verdict = match socket.connect(&target.into()) {
        Ok(()) => Verdict::Ok,
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
            match TcpStream::from_std(socket.into()) {
                Ok(stream) => established(&stream, check.timeout).await,
                Err(e) => Verdict::NotRun(NotRun {
                    why: format!("watching the socket: {e}"),
                }),
            }
        }
        Err(e) => verdict_of(&e),
    };
    (verdict, now().since(start))
}

/// Waits for a connection to be established or to fail.
async fn established(stream: &TcpStream, within: Duration) -> Verdict {
    let in_time = timeout(within, stream.writable()).await;
    match stream.take_error() {
        Ok(Some(e)) | Err(e) => return verdict_of(&e),
        Ok(None) => {}
    }
    match in_time {
        Ok(Ok(())) => Verdict::Ok,
        Ok(Err(e)) => verdict_of(&e),
        // On a machine that was too busy to look in time, the answer may be there all the same.
        Err(_) if stream.peer_addr().is_ok() => Verdict::Ok,
        Err(_) => Verdict::Failed(Failure::TimedOut),
    }
}

/// A socket that is ready to connect.
fn prepare(check: &Check) -> Result<Socket, NotRun> {
    let not = |what: String| {
        move |e: io::Error| NotRun {
            why: format!("{what}: {}", words(&e)),
        }
    };
    let domain = Domain::for_address(SocketAddr::new(check.addr, check.port));
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .map_err(not("socket".into()))?;
    if let Some(interface) = &check.bind_if {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(not(format!("bind to {interface}")))?;
    }
    if check.bind_port != 0 {
        socket
            .set_reuse_address(true)
            .map_err(not("SO_REUSEADDR".into()))?;
        socket
            .set_linger(Some(Duration::ZERO))
            .map_err(not("SO_LINGER".into()))?;
    } else if check.bind_addr.is_some() {
        // The port is chosen when it connects, so that one serves many targets.
        nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::IpBindAddressNoPort,
            &true,
        )
        .map_err(|e| not("IP_BIND_ADDRESS_NO_PORT".into())(e.into()))?;
    }
    if check.bind_addr.is_some() || check.bind_port != 0 {
        let any = match check.addr {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let from = SocketAddr::new(check.bind_addr.unwrap_or(any), check.bind_port);
        socket
            .bind(&from.into())
            .map_err(not(format!("bind to {from}")))?;
    }
    Ok(socket)
}

/// An error without Rust's "(os error 99)".
fn words(e: &io::Error) -> String {
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
