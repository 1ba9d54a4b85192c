//! One question, and datagrams that may be its answer: what UDP_CHECK, DNS_CHECK and PING_CHECK have
//! in common.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use socket2::{Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::time::{Instant, timeout_at};

use super::socket::{self, verdict_of};
use crate::health::{Failure, NotRun, Verdict};
use crate::io::clock::now;
use crate::io::fd;
use crate::model::Check;

/// What a probe makes of what it hears; none: it listens on.
pub(super) trait Judge {
    /// How many octets of a datagram are to be seen.
    fn wanted(&self) -> usize;
    /// A datagram of `length` octets came, which begins so.
    fn heard(&mut self, head: &[u8], length: usize) -> Option<Verdict>;
    /// The socket has an error, mostly one that ICMP told.
    fn error(&mut self, _socket: &Socket, e: &io::Error) -> Option<Verdict> {
        Some(told(e))
    }
    /// The time is over.
    fn silence(self) -> Verdict;
}

/// What an error says that came after the question was sent.
pub(super) fn told(e: &io::Error) -> Verdict {
    match Errno::from_raw(e.raw_os_error().unwrap_or(0)) {
        // ICMPv6 "administratively prohibited"; this host let the question out.
        Errno::EACCES => Verdict::Failed(Failure::Other("prohibited by a firewall".into())),
        _ => verdict_of(e),
    }
}

/// Sends `question` to the check's target and lets `judge` hear what comes until it has a verdict or
/// `connect_timeout` is over; how long it took counts from the sending.
pub(super) async fn ask(
    check: &Check,
    (kind, protocol): (Type, Protocol),
    question: &[u8],
    mut judge: impl Judge,
) -> (Verdict, Duration) {
    let socket = match prepare(check, kind, protocol) {
        Ok(socket) => socket,
        Err(why) => return (Verdict::NotRun(why), Duration::ZERO),
    };
    let start = now();
    let until = Instant::now() + check.timeout;
    // Raw sockets of IPv6 take a protocol for a port: none of them has a use for one.
    let port = if kind == Type::RAW { 0 } else { check.port };
    let target = SocketAddr::new(check.addr, port);
    if let Err(e) = socket
        .connect(&target.into())
        .and_then(|()| socket.send(question))
    {
        return (verdict_of(&e), now().since(start));
    }
    // The kernel calls a socket with only an error neither readable nor writable.
    let interest = Interest::READABLE | Interest::ERROR;
    let socket = match fd::watched(socket, interest) {
        Ok(socket) => socket,
        Err(e) => {
            let why = format!("watching the socket: {}", socket::words(&e));
            return (Verdict::NotRun(NotRun { why }), Duration::ZERO);
        }
    };
    let mut buffer = Vec::new();
    loop {
        let in_time = timeout_at(until, socket.ready(interest)).await;
        // A machine that was too busy to look in time may have the answer all the same.
        buffer.resize(judge.wanted(), 0);
        let verdict = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => judge.heard(&buffer[..length.min(buffer.len())], length),
            Err(Errno::EAGAIN) => match in_time {
                Ok(Ok(mut ready)) => {
                    ready.clear_ready();
                    None
                }
                Ok(Err(e)) => Some(verdict_of(&e)),
                Err(_) => return (judge.silence(), now().since(start)),
            },
            Err(Errno::EINTR) => None,
            Err(e) => judge.error(socket.get_ref(), &e.into()),
        };
        if let Some(verdict) = verdict {
            return (verdict, now().since(start));
        }
        // However much comes that is no answer.
        if Instant::now() > until {
            return (judge.silence(), now().since(start));
        }
    }
}

/// A socket that is told of every ICMP error, not only of a closed port.
fn prepare(check: &Check, kind: Type, protocol: Protocol) -> Result<Socket, NotRun> {
    let socket = socket::prepare(check, kind, protocol)?;
    let set = match check.addr.is_ipv4() {
        true => setsockopt(&socket, sockopt::Ipv4RecvErr, &true),
        false => setsockopt(&socket, sockopt::Ipv6RecvErr, &true),
    };
    set.map_err(|e| NotRun {
        why: format!("IP_RECVERR: {}", socket::words(&e.into())),
    })?;
    Ok(socket)
}
