//! `HTTP_GET` and `SSL_GET`: a connection, perhaps a TLS handshake, a request, an answer.
//!
//! `connect_timeout` is how long connecting and the handshake may take together, how long the server
//! may then be silent, as in keepalived, and, three times over, how long all of it may take, so that
//! an answer that drips forever does not keep a server up forever.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::socket::verdict_of;
use super::tcp;
use super::tls::{self, TlsError};
use crate::health::http::{Answer, Fault, Progress, request};
use crate::health::{Failure, NotRun, Verdict};
use crate::io::clock::now;
use crate::model::{Check, Http, Url};
use crate::time::Time;

/// How many `connect_timeout`s a whole check may take.
const STEPS: u32 = 3;
/// What is read at a time.
const PIECE: usize = 8 << 10;

/// Asks for a URL once; how long it took counts from `connect`.
pub(super) async fn probe(check: &Check, http: &Http, url: usize) -> (Verdict, Duration) {
    let start = now();
    let verdict = match http.urls.get(url) {
        Some(url) => match exchange(check, http, url, start).await {
            Ok(()) => Verdict::Ok,
            Err(verdict) => verdict,
        },
        None => Verdict::Ok,
    };
    (verdict, now().since(start))
}

async fn exchange(check: &Check, http: &Http, url: &Url, start: Time) -> Result<(), Verdict> {
    let stream = tcp::connect(check).await?;
    let target = SocketAddr::new(check.addr, check.port);
    let request = request(http, url, target);
    let talk = Talk {
        url,
        silence: check.timeout,
        until: start + check.timeout * STEPS,
    };
    if !http.tls {
        return talk.over(stream, &request).await;
    }
    let name = url.host.as_deref();
    let left = check.timeout.saturating_sub(now().since(start));
    let stream = match timeout(left, tls::connect(stream, http, check.addr, name)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(TlsError::Handshake(e))) => return Err(broken(&e, "TLS handshake")),
        Ok(Err(TlsError::Files(why))) => return Err(Verdict::NotRun(NotRun { why })),
        Err(_) => return Err(bad("TLS handshake", &Fault::Silent)),
    };
    talk.over(stream, &request).await
}

/// A request and its answer.
struct Talk<'a> {
    url: &'a Url,
    /// How long nothing may come.
    silence: Duration,
    /// When it must be over.
    until: Time,
}

impl Talk<'_> {
    async fn over(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        request: &str,
    ) -> Result<(), Verdict> {
        let what = format!("GET {}", self.url.path);
        let fault = |fault: Fault| bad(&what, &fault);
        let send = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await
        };
        match timeout(self.silence, send).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(broken(&e, &what)),
            Err(_) => return Err(fault(Fault::Silent)),
        }
        let mut answer = Answer::new(self.url);
        let mut piece = vec![0; PIECE];
        loop {
            let left = self.until.since(now());
            let n = match timeout(self.silence.min(left), stream.read(&mut piece)).await {
                Ok(Ok(n)) => n,
                // Many servers do not end TLS before the connection; what came is judged.
                Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
                Ok(Err(e)) => return Err(broken(&e, &what)),
                Err(_) if left < self.silence => return Err(fault(Fault::Endless)),
                Err(_) => return Err(fault(Fault::Silent)),
            };
            let progress = match n {
                0 => Progress::Complete,
                n => answer.take(&piece[..n]).map_err(fault)?,
            };
            if progress == Progress::Complete {
                return answer.end().map_err(fault);
            }
            // What comes without a pause is no reason to go on.
            if left.is_zero() {
                return Err(fault(Fault::Endless));
            }
        }
    }
}

/// The answer is bad.
fn bad(what: &str, fault: &Fault) -> Verdict {
    Verdict::Failed(Failure::Answer(format!("{what}: {fault}")))
}

/// The connection is: an error of the network as with any check, or one of TLS, in its words.
fn broken(e: &io::Error, what: &str) -> Verdict {
    if e.raw_os_error().is_some() {
        return verdict_of(e);
    }
    let words = match e.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => tls::words(e).unwrap_or_else(|| e.to_string()),
    };
    Verdict::Failed(Failure::Answer(format!("{what}: {words}")))
}
