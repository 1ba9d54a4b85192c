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
    let start = now();
    let verdict = match connect(check).await {
        Ok(_) => Verdict::Ok,
        Err(verdict) => verdict,
    };
    (verdict, now().since(start))
}

/// A connection, established within `connect_timeout`.
pub(super) async fn connect(check: &Check) -> Result<TcpStream, Verdict> {
    let not_run = |why| Verdict::NotRun(why);
    let socket = socket::prepare(check, Type::STREAM, Protocol::TCP).map_err(not_run)?;
    let target = SocketAddr::new(check.addr, check.port);
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(e) => return Err(verdict_of(&e)),
    }
    let stream = TcpStream::from_std(socket.into()).map_err(|e| {
        let why = format!("watching the socket: {e}");
        not_run(NotRun { why })
    })?;
    match established(&stream, check.timeout).await {
        Verdict::Ok => Ok(stream),
        other => Err(other),
    }
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
