//! The messages on the control socket and their framing.
//!
//! A message is a length (4 bytes, big endian) and that many bytes of JSON. The client speaks
//! first, with [`Hello`]; the daemon answers with [`Greeting`]: its own, or, when the protocol
//! numbers differ, [`ErrorKind::Version`], and closes. Then each [`Request`] has one [`Response`], in order.

use std::fmt;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::control::status::Status;
use crate::health::{ByHand, SetServer};
use crate::model::{Protocol, ServiceKey};
use crate::vrrp::Command;

/// Number of this protocol: raised with every change that an older side would misread.
pub const PROTOCOL: u32 = 1;

/// Where the daemon listens.
pub const SOCKET_PATH: &str = "/run/lbd/lbd.sock";

/// The group that may use the socket beside root.
pub const SOCKET_GROUP: &str = "lbd";

/// Bytes that a request may have.
pub const MAX_REQUEST: usize = 64 << 10;

/// Bytes that a response may have.
pub const MAX_RESPONSE: usize = 64 << 20;

/// Connections that one [`Request::Connections`] may ask for.
pub const MAX_CONNECTIONS: u32 = 16_384;

/// The first message of each side. Unknown fields are let pass, so that every version understands
/// every other's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
    /// Version of the sender's package.
    pub version: String,
}

impl Hello {
    /// This side's.
    #[must_use]
    pub fn ours() -> Hello {
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The daemon's answer to a client's [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Greeting {
    /// Ask away.
    Hello(Hello),
    /// No, and the connection is closed.
    Error(ErrorReply),
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole state.
    Status,
    /// A part of the connection table.
    Connections(ConnectionsRequest),
    /// Read the configuration again and apply it.
    Reload {
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Set something by hand for a real server.
    Server {
        /// The service; of a group any of its addresses.
        service: ServiceKey,
        /// The real server.
        server: IpAddr,
        /// What to set.
        set: SetServer,
    },
    /// Log by another filter from now on.
    Log {
        /// A level, or a filter as `lbd --log-level` takes it.
        filter: String,
    },
    /// Give the role of master away, or take it.
    Vrrp {
        /// An instance or a sync group.
        name: String,
        /// What to do.
        command: Command,
    },
}

/// Which connections, and from where in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsRequest {
    /// Only those that fit.
    pub filter: ConnectionFilter,
    /// At most so many, `1..=`[`MAX_CONNECTIONS`].
    pub limit: u32,
    /// 0, or [`ConnectionsPage::next`] of the page before.
    pub cursor: u64,
}

/// Which connections; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionFilter {
    /// Of this service.
    pub service: Option<ServiceKey>,
    /// Of this client.
    pub client: Option<IpAddr>,
    /// To this real server.
    pub server: Option<IpAddr>,
}

impl ConnectionFilter {
    /// Whether a connection fits.
    #[must_use]
    pub fn matches(&self, c: &Connection) -> bool {
        let key = ServiceKey {
            addr: c.vip,
            port: c.vip_port,
            protocol: c.protocol,
        };
        self.service.is_none_or(|s| s == key)
            && self.client.is_none_or(|a| a == c.client)
            && self.server.is_none_or(|a| a == c.server)
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Connections`].
    Connections(ConnectionsPage),
    /// To [`Request::Reload`].
    Reload(ReloadReport),
    /// To [`Request::Server`].
    Server(ServerReport),
    /// To [`Request::Log`]: the filter before.
    Log(String),
    /// To [`Request::Vrrp`]: a sentence for each instance.
    Vrrp(Vec<String>),
    /// The request was not served.
    Error(ErrorReply),
}

/// A part of the connection table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsPage {
    /// The connections in the order of the table, then the entries of persistence.
    pub connections: Vec<Connection>,
    /// Where the next page begins; none at the end of the table. A page may be empty and not the
    /// last one, when the filter lets little through.
    pub next: Option<u64>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its protocol.
    pub protocol: Protocol,
    /// Until its entry expires.
    pub expires_ms: u64,
    /// `SYN_RECV`, `ESTABLISHED`, `FIN_WAIT`, `CLOSE`, `UDP`, as IPVS names them.
    pub state: String,
    /// The client.
    pub client: IpAddr,
    /// Its port; 0 for an entry of persistence.
    pub client_port: u16,
    /// The virtual server.
    pub vip: IpAddr,
    /// Its port.
    pub vip_port: u16,
    /// The real server.
    pub server: IpAddr,
    /// Its port.
    pub server_port: u16,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// In one word.
    pub outcome: ReloadOutcome,
    /// The file.
    pub path: String,
    /// What was, or would be, done: one line each, in order.
    pub plan: Vec<String>,
    /// Diagnostics of the file, rendered without colour.
    pub diagnostics: String,
    /// Errors among them.
    pub errors: u32,
    /// Warnings among them.
    pub warnings: u32,
}

/// What holds for a real server after [`Request::Server`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// The service; of a group its first address.
    pub service: ServiceKey,
    /// The real server.
    pub server: IpAddr,
    /// Its weight as configured.
    pub configured: u16,
    /// What is set by hand.
    pub by_hand: ByHand,
    /// Whether its checks pass and it is not disabled.
    pub up: bool,
    /// What the operator should know, one sentence each.
    pub notes: Vec<String>,
}

/// What came of a reload, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// The new configuration is in force.
    Applied,
    /// It means the same as the old one.
    Unchanged,
    /// It would be applied (`--dry-run`).
    WouldApply,
    /// It has errors; the old one stays in force.
    Refused,
}

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorReply {
    /// The kind.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

/// Kinds of [`ErrorReply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The two sides speak different protocols.
    Version,
    /// The message is not one of this protocol.
    Malformed,
    /// The message is too long.
    TooLong,
    /// The caller may not ask this.
    Denied,
    /// Too many clients, or too much to do: ask again.
    Busy,
    /// The daemon is stopping.
    Stopping,
    /// It was tried and did not work.
    Failed,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::Version => "other version",
            ErrorKind::Malformed => "malformed message",
            ErrorKind::TooLong => "message too long",
            ErrorKind::Denied => "permission denied",
            ErrorKind::Busy => "busy",
            ErrorKind::Stopping => "stopping",
            ErrorKind::Failed => "failed",
        })
    }
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Its length is above what its receiver takes.
    #[error("a message of {len} bytes, at most {max} are allowed")]
    TooLong {
        /// As announced, or as it would be.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Not the JSON that is expected.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The bytes of `message`, with their length in front.
///
/// # Errors
/// When they are more than `max`.
pub fn encode<T: Serialize>(message: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let len = bytes.len() - 4;
    match u32::try_from(len) {
        Ok(n) if len <= max => {
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            Ok(bytes)
        }
        _ => Err(FrameError::TooLong { len, max }),
    }
}

/// How many bytes follow the length field `head`.
///
/// # Errors
/// When they are more than `max`; nothing may be allocated for them then.
pub fn body_len(head: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let len = u32::from_be_bytes(head) as usize;
    if len > max {
        Err(FrameError::TooLong { len, max })
    } else {
        Ok(len)
    }
}

/// The message in `body`.
///
/// # Errors
/// When it is not one.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// What to say when the other side's protocol is not ours; none when it is.
#[must_use]
pub fn version_mismatch(client: &Hello, daemon: &Hello) -> Option<ErrorReply> {
    (client.protocol != daemon.protocol).then(|| ErrorReply {
        kind: ErrorKind::Version,
        message: format!(
            "lbctl {} speaks control protocol {}, the running lbd {} speaks {}: use the lbctl of lbd's version, or restart lbd after an upgrade",
            client.version, client.protocol, daemon.version, daemon.protocol
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let request = Request::Connections(ConnectionsRequest {
            filter: ConnectionFilter {
                service: Some(ServiceKey {
                    addr: "192.0.2.1".parse().unwrap(),
                    port: 80,
                    protocol: Protocol::Tcp,
                }),
                client: None,
                server: Some("10.0.0.1".parse().unwrap()),
            },
            limit: 10,
            cursor: 7,
        });
        let bytes = encode(&request, MAX_REQUEST).unwrap();
        let len = body_len(bytes[..4].try_into().unwrap(), MAX_REQUEST).unwrap();
        assert_eq!(len, bytes.len() - 4);
        assert_eq!(decode::<Request>(&bytes[4..]).unwrap(), request);
    }

    #[test]
    fn too_long_is_refused_on_both_sides() {
        assert!(matches!(
            encode(&"x".repeat(100), 50),
            Err(FrameError::TooLong { len: 102, max: 50 })
        ));
        assert!(matches!(
            body_len(u32::MAX.to_be_bytes(), MAX_REQUEST),
            Err(FrameError::TooLong { .. })
        ));
        assert_eq!(body_len(50u32.to_be_bytes(), 50).unwrap(), 50);
    }

    #[test]
    fn unknown_requests_and_fields_are_malformed_but_a_hello_may_grow() {
        assert!(decode::<Request>(br#""shutdown""#).is_err());
        assert!(decode::<Request>(br#"{"reload":{"dry_run":true,"now":1}}"#).is_err());
        let hello: Hello = decode(br#"{"protocol":9,"version":"9.0","features":["x"]}"#).unwrap();
        let said = version_mismatch(&hello, &Hello::ours()).unwrap();
        assert_eq!(said.kind, ErrorKind::Version);
        assert!(
            said.message.contains("9.0") && said.message.contains(env!("CARGO_PKG_VERSION")),
            "{said}"
        );
        assert_eq!(version_mismatch(&Hello::ours(), &Hello::ours()), None);
    }
}
