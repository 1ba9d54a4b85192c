//! `TCP_CHECK`: the connection is established within `connect_timeout`, then closed.
//!
//! It is closed as keepalived does, by FIN: the server sees an ordinary connection that says
//! nothing, not a reset. The port then rests in TIME_WAIT, which costs next to nothing as the
//! kernel takes a new one each time. Only a check with a fixed `bind_port` could not run again for
//! a minute: it is closed by RST.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Protocol, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::socket::{self, verdict_of};
use crate::health::{Failure, NotRun, Verdict};
use crate::io::clock::now;
use crate::model::Check;

/// Runs the check once; how long it took counts from `connect`.
pub(super) async fn probe(check: &Check) -> (Verdict, Duration) {
    let socket = match socket::prepare(check, Type::STREAM, Protocol::TCP) {
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
