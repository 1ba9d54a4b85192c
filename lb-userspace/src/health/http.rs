//! The protocol of `HTTP_GET` and `SSL_GET`: what is asked, what an answer is, whether it is good.
//!
//! What is good is keepalived's: the status is one of `status_code`, the MD5 of what follows the
//! header is `digest` (chunk sizes included, as genhash computes it), and `regex` matches. An answer
//! ends where its header says, so that a server that keeps the connection open is not waited for; an
//! answer that is shorter is judged by what came.

mod answer;
mod chunks;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use crate::model::{Http, HttpDigest, HttpVersion, Url};

pub use answer::{Answer, Progress};

/// Bytes of a header, of those before it (`100 Continue`) together.
pub const MOST_HEAD: usize = 64 << 10;
/// Bytes that may follow the header.
pub const MOST_BODY: u64 = 64 << 20;
/// Bytes of them that `regex` is matched with.
pub const MOST_MATCHED: usize = 1 << 20;

/// The request for a URL at `to`.
#[must_use]
pub fn request(http: &Http, url: &Url, to: SocketAddr) -> String {
    let (minor, close) = match http.version {
        HttpVersion::V1_0 => (0, ""),
        HttpVersion::V1_0Close => (0, "Connection: close\r\n"),
        HttpVersion::V1_1 => (1, "Connection: close\r\n"),
    };
    let path = &url.path;
    let host = url.host.clone().unwrap_or_else(|| to.to_string());
    // The name by which servers' logs know a health check.
    format!(
        "GET {path} HTTP/1.{minor}\r\nUser-Agent: KeepAliveClient\r\n{close}Host: {host}\r\n\r\n"
    )
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection was closed before anything came.
    Nothing,
    /// It was closed within the header.
    HeadCut,
    /// The header does not end within [`MOST_HEAD`].
    HeadTooLong,
    /// It does not begin with an HTTP status line.
    NotHttp,
    /// A status that is not wanted.
    Status {
        /// What came.
        got: u16,
        /// What is wanted.
        want: String,
    },
    /// Another digest.
    Digest {
        /// Of what came.
        got: HttpDigest,
    },
    /// `regex` does not match.
    NoMatch,
    /// It matches, against `regex_no_match`.
    Match,
    /// More than [`MOST_BODY`].
    TooLong,
    /// Nothing came for `connect_timeout`.
    Silent,
    /// It did not end in time.
    Endless,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Nothing => f.write_str("closed without an answer"),
            Fault::HeadCut => f.write_str("closed in the middle of the header"),
            Fault::HeadTooLong => write!(f, "a header of more than {MOST_HEAD} bytes"),
            Fault::NotHttp => f.write_str("the answer is not HTTP"),
            Fault::Status { got, want } => write!(f, "status {got}, not {want}"),
            Fault::Digest { got } => write!(f, "the digest is {got}"),
            Fault::NoMatch => f.write_str("the regex does not match"),
            Fault::Match => f.write_str("the regex matches"),
            Fault::TooLong => write!(f, "an answer of more than {MOST_BODY} bytes"),
            Fault::Silent => f.write_str("timed out waiting for the answer"),
            Fault::Endless => f.write_str("the answer did not end in time"),
        }
    }
}
