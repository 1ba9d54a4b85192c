//! lbctl's side: blocking, one request after the other.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::control::protocol::{
    Connection, ConnectionFilter, ConnectionsPage, ConnectionsRequest, ErrorReply, FrameError,
    Greeting, Hello, MAX_CONNECTIONS, MAX_REQUEST, MAX_RESPONSE, ReloadReport, Request, Response,
    SOCKET_GROUP, ServerReport, body_len, decode, encode, version_mismatch,
};
use crate::control::status::Status;
use crate::health::SetServer;
use crate::model::ServiceKey;
use crate::vrrp::Command;

/// How long the daemon may take for an answer; a bit more than it gives itself.
const PATIENCE: Duration = Duration::from_secs(65);

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("lbd is not running: nobody answers at {path}")]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no socket.
    #[error("lbd is not running: there is no {path}")]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be used.
    #[error(
        "{path}: permission denied: only root and members of the group \"{SOCKET_GROUP}\" may use lbctl"
    )]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon said no.
    #[error("lbd: {0}")]
    Refused(ErrorReply),
    /// The connection broke.
    #[error("lost the connection to lbd: {0}")]
    Io(#[from] io::Error),
    /// The daemon says what this version does not understand.
    #[error("lbd's answer is not understood ({0}); are lbctl and lbd of one version?")]
    Frame(#[from] FrameError),
    /// An answer to another question.
    #[error("lbd's answer does not fit the request; are lbctl and lbd of one version?")]
    Unexpected,
}

impl ClientError {
    /// Whether the daemon could not be reached at all, as opposed to one that said no.
    #[must_use]
    pub const fn unreachable(&self) -> bool {
        match self {
            ClientError::NotRunning { .. }
            | ClientError::NoSocket { .. }
            | ClientError::Denied { .. }
            | ClientError::Io(_) => true,
            ClientError::Refused(_) | ClientError::Frame(_) | ClientError::Unexpected => false,
        }
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    daemon: Hello,
}

impl Client {
    /// Connects and exchanges hellos.
    ///
    /// # Errors
    /// When the daemon is not there, does not let this process in, or is of another version.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::Denied { path },
                io::ErrorKind::NotFound => ClientError::NoSocket { path },
                _ => ClientError::NotRunning { path, source },
            }
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client {
            stream,
            daemon: Hello::ours(),
        };
        let ours = Hello::ours();
        // A daemon that does not want this client says so at once, and may have closed by now.
        let sent = client.send(&ours);
        match client.receive() {
            Ok(Greeting::Hello(theirs)) => match version_mismatch(&ours, &theirs) {
                Some(reply) => Err(ClientError::Refused(reply)),
                None => {
                    client.daemon = theirs;
                    Ok(client)
                }
            },
            Ok(Greeting::Error(reply)) => Err(ClientError::Refused(reply)),
            Err(e) => {
                sent?;
                Err(e)
            }
        }
    }

    /// Who answers.
    #[must_use]
    pub fn daemon(&self) -> &Hello {
        &self.daemon
    }

    /// Asks.
    ///
    /// # Errors
    /// When the connection breaks, or the daemon answers with [`Response::Error`].
    pub fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.send(request)?;
        match self.receive()? {
            Response::Error(reply) => Err(ClientError::Refused(reply)),
            answer => Ok(answer),
        }
    }

    /// Asks for the state.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(&Request::Status)? {
            Response::Status(status) => Ok(*status),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Asks for a reload.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn reload(&mut self, dry_run: bool) -> Result<ReloadReport, ClientError> {
        match self.call(&Request::Reload { dry_run })? {
            Response::Reload(report) => Ok(report),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Sets something by hand for a real server.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn set_server(
        &mut self,
        service: ServiceKey,
        server: IpAddr,
        set: SetServer,
    ) -> Result<ServerReport, ClientError> {
        let request = Request::Server {
            service,
            server,
            set,
        };
        match self.call(&request)? {
            Response::Server(report) => Ok(report),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Orders a VRRP instance or sync group to give the role of master away, or to take it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn command(&mut self, name: &str, command: Command) -> Result<Vec<String>, ClientError> {
        let name = name.to_owned();
        match self.call(&Request::Vrrp { name, command })? {
            Response::Vrrp(said) => Ok(said),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Logs by another filter from now on; gives the one before.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn log(&mut self, filter: &str) -> Result<String, ClientError> {
        let filter = filter.to_owned();
        match self.call(&Request::Log { filter })? {
            Response::Log(before) => Ok(before),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Asks for connections, page by page, and hands each to `each`; at most `limit` of them.
    ///
    /// # Errors
    /// As [`Client::call`], or what `each` gives.
    pub fn connections<E: From<ClientError>>(
        &mut self,
        filter: &ConnectionFilter,
        limit: u64,
        mut each: impl FnMut(Connection) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut cursor, mut left) = (0, limit);
        while left > 0 {
            let limit = u32::try_from(left)
                .unwrap_or(MAX_CONNECTIONS)
                .min(MAX_CONNECTIONS);
            let request = Request::Connections(ConnectionsRequest {
                filter: filter.clone(),
                limit,
                cursor,
            });
            let Response::Connections(ConnectionsPage { connections, next }) =
                self.call(&request)?
            else {
                return Err(ClientError::Unexpected.into());
            };
            left = left.saturating_sub(connections.len() as u64);
            connections.into_iter().try_for_each(&mut each)?;
            match next {
                Some(next) if next > cursor => cursor = next,
                Some(_) => return Err(ClientError::Unexpected.into()),
                None => break,
            }
        }
        Ok(())
    }

    fn send<T: serde::Serialize>(&mut self, message: &T) -> Result<(), ClientError> {
        self.stream.write_all(&encode(message, MAX_REQUEST)?)?;
        Ok(())
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let mut body = vec![0; body_len(head, MAX_RESPONSE)?];
        self.stream.read_exact(&mut body)?;
        Ok(decode(&body)?)
    }
}
