//! The server: a thread of its own with one task a client.
//!
//! A request goes to the engine through a bounded channel and comes back through a one-shot one;
//! reading, writing and JSON happen on this thread. So a client that is slow, stuck, hostile or one
//! of many costs the engine nothing but the requests themselves.

use std::fs::Permissions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::control::protocol::{
    ErrorKind, ErrorReply, FrameError, Greeting, Hello, MAX_REQUEST, MAX_RESPONSE, Request,
    Response, body_len, decode, encode, version_mismatch,
};

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Something else listens there.
    #[error("{path}: another lbd is running")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("{path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How patient the server is. The default is right for a daemon; tests have less time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at a time, beside root's.
    pub clients: usize,
    /// Root's clients at a time, so that others cannot lock it out.
    pub root_clients: usize,
    /// From connection to hello, and from the first to the last byte of a message.
    pub message: Duration,
    /// From one request to the next.
    pub idle: Duration,
    /// For the client to take an answer.
    pub write: Duration,
    /// For the engine to give one.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients: 48,
            root_clients: 16,
            message: Duration::from_secs(5),
            idle: Duration::from_secs(3600),
            write: Duration::from_secs(20),
            answer: Duration::from_secs(60),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 when it is not known.
    pub pid: i32,
    /// User id.
    pub uid: u32,
}

/// A request that waits for the engine. Dropping it tells the client that the daemon is stopping.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub peer: Peer,
    /// Where the answer goes; that the client is gone by then does not matter.
    pub reply: oneshot::Sender<Response>,
}

/// The listening socket and its thread. Dropping it removes the socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    inode: u64,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path` for root, the user of this process, and the members of `group` if there
    /// is such a group. At most `queue` calls wait for the engine.
    ///
    /// # Errors
    /// When another process listens there, or the socket cannot be made.
    pub fn spawn(
        path: &Path,
        group: &str,
        queue: usize,
        limits: Limits,
    ) -> Result<(Server, mpsc::Receiver<Call>), ServerError> {
        let err = |source| ServerError::Io {
            path: path.to_owned(),
            source,
        };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ServerError::InUse {
                path: path.to_owned(),
            });
        }
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(err)?;
        }
        let gid = Group::from_name(group).ok().flatten().map(|g| g.gid);
        // Made under another name, so that nobody can connect before owner and mode are right.
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        let listener = std::os::unix::net::UnixListener::bind(&temporary).map_err(err)?;
        let publish = || {
            listener.set_nonblocking(true)?;
            std::os::unix::fs::chown(&temporary, None, gid.map(Gid::as_raw))?;
            std::fs::set_permissions(&temporary, Permissions::from_mode(0o660))?;
            std::fs::rename(&temporary, path)?;
            Ok(std::fs::symlink_metadata(path)?.ino())
        };
        let inode = publish().map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            err(e)
        })?;
        let (calls, receiver) = mpsc::channel(queue.max(1));
        let (stop, stopped) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(err)?;
        let door = Door {
            calls,
            limits,
            gid,
            clients: Arc::new(Semaphore::new(limits.clients)),
            root_clients: Arc::new(Semaphore::new(limits.root_clients)),
        };
        let thread = std::thread::Builder::new()
            .name("lbd-control".to_owned())
            .spawn(move || runtime.block_on(accept(listener, door, stopped)))
            .map_err(err)?;
        Ok((
            Server {
                path: path.to_owned(),
                inode,
                stop: Some(stop),
                thread: Some(thread),
            },
            receiver,
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A newer daemon may have put its own socket there.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What each client's task needs.
#[derive(Clone)]
struct Door {
    calls: mpsc::Sender<Call>,
    limits: Limits,
    gid: Option<Gid>,
    clients: Arc<Semaphore>,
    root_clients: Arc<Semaphore>,
}

async fn accept(
    listener: std::os::unix::net::UnixListener,
    door: Door,
    mut stopped: watch::Receiver<()>,
) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => {
            tracing::error!("control socket: {e}");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    if let Err(e) = client(stream, door).await {
                        tracing::debug!("control client: {e}");
                    }
                });
            }
            Err(e) => {
                // Out of file descriptors, most likely: waiting is all there is to do.
                tracing::warn!("control socket: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Door {
    /// Lets a client in, or says why not.
    fn admit(&self, stream: &UnixStream) -> Result<(Peer, OwnedSemaphorePermit), ErrorReply> {
        let denied = |message| ErrorReply {
            kind: ErrorKind::Denied,
            message,
        };
        let cred = stream
            .peer_cred()
            .map_err(|e| denied(format!("no peer credentials: {e}")))?;
        let peer = Peer {
            pid: cred.pid().unwrap_or(0),
            uid: cred.uid(),
        };
        let root = peer.uid == 0;
        let own = peer.uid == Uid::effective().as_raw();
        let member = self
            .gid
            .is_some_and(|g| g.as_raw() == cred.gid() || peer_groups(stream).contains(&g.as_raw()));
        if !(root || own || member) {
            return Err(denied(format!("user {} may not control lbd", peer.uid)));
        }
        let room = if root {
            &self.root_clients
        } else {
            &self.clients
        };
        let permit = Arc::clone(room)
            .try_acquire_owned()
            .or_else(|_| match root {
                true => Arc::clone(&self.clients).try_acquire_owned(),
                false => Err(tokio::sync::TryAcquireError::NoPermits),
            });
        permit.map(|permit| (peer, permit)).map_err(|_| ErrorReply {
            kind: ErrorKind::Busy,
            message: "too many control clients at a time".to_owned(),
        })
    }

    /// The engine's answer.
    async fn ask(&self, peer: Peer, request: Request) -> Response {
        let error = |kind, message: &str| {
            Response::Error(ErrorReply {
                kind,
                message: message.to_owned(),
            })
        };
        let (reply, answer) = oneshot::channel();
        match self.calls.try_send(Call {
            request,
            peer,
            reply,
        }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return error(ErrorKind::Busy, "lbd has too many requests waiting");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return error(ErrorKind::Stopping, "lbd is stopping");
            }
        }
        match timeout(self.limits.answer, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => error(ErrorKind::Stopping, "lbd is stopping"),
            Err(_) => error(ErrorKind::Busy, "lbd did not answer in time"),
        }
    }
}

/// The supplementary groups of the peer; empty when the kernel does not say.
fn peer_groups(stream: &UnixStream) -> Vec<u32> {
    use std::os::fd::AsRawFd;
    let mut groups = vec![0u32; 256];
    let mut len = libc::socklen_t::try_from(std::mem::size_of_val(groups.as_slice())).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes into `groups`, which is that long, and how many
    // into `len`; both outlive the call, and the descriptor is that of the open stream.
    let rc = unsafe {
        libc::getsockopt(
            stream.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let n = if rc == 0 {
        len as usize / std::mem::size_of::<u32>()
    } else {
        0
    };
    groups.truncate(n);
    groups
}

/// What ends a client's task.
#[derive(Debug, thiserror::Error)]
enum ClientGone {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it was too slow")]
    Slow,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(ErrorReply),
}

async fn client(mut stream: UnixStream, door: Door) -> Result<(), ClientGone> {
    let limits = door.limits;
    let (peer, _permit) = match door.admit(&stream) {
        Ok(admitted) => admitted,
        Err(reply) => return refuse(&mut stream, reply, limits).await,
    };
    let hello: Hello = match read(&mut stream, limits.message, limits).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return Ok(()),
        Err(ClientGone::Frame(e)) => return refuse(&mut stream, of_frame(&e), limits).await,
        Err(e) => return Err(e),
    };
    let ours = Hello::ours();
    if let Some(reply) = version_mismatch(&hello, &ours) {
        return refuse(&mut stream, reply, limits).await;
    }
    write(&mut stream, &Greeting::Hello(ours), limits).await?;
    loop {
        let response = match read::<Request>(&mut stream, limits.idle, limits).await {
            Ok(Some(request)) => door.ask(peer, request).await,
            Ok(None) => return Ok(()),
            Err(ClientGone::Frame(e @ FrameError::Malformed(_))) => Response::Error(of_frame(&e)),
            Err(ClientGone::Frame(e @ FrameError::TooLong { .. })) => {
                // Where the next message would begin is not known.
                write(&mut stream, &Response::Error(of_frame(&e)), limits).await?;
                return Err(e.into());
            }
            Err(e) => return Err(e),
        };
        match write(&mut stream, &response, limits).await {
            Err(ClientGone::Frame(e)) => {
                write(&mut stream, &Response::Error(of_frame(&e)), limits).await?
            }
            other => other?,
        }
    }
}

fn of_frame(e: &FrameError) -> ErrorReply {
    let kind = match e {
        FrameError::TooLong { .. } => ErrorKind::TooLong,
        FrameError::Malformed(_) => ErrorKind::Malformed,
    };
    ErrorReply {
        kind,
        message: e.to_string(),
    }
}

async fn refuse(
    stream: &mut UnixStream,
    reply: ErrorReply,
    limits: Limits,
) -> Result<(), ClientGone> {
    write(stream, &Greeting::Error(reply.clone()), limits).await?;
    Err(ClientGone::Refused(reply))
}

/// The next message, whose first byte may take `first`; none at the end of the connection.
async fn read<T: serde::de::DeserializeOwned>(
    stream: &mut UnixStream,
    first: Duration,
    limits: Limits,
) -> Result<Option<T>, ClientGone> {
    let mut head = [0; 4];
    match timeout(first, stream.read(&mut head[..1])).await {
        Ok(Ok(0)) => return Ok(None),
        Ok(read) => read?,
        Err(_) => return Err(ClientGone::Slow),
    };
    let rest = async {
        stream.read_exact(&mut head[1..]).await?;
        let mut body = vec![0; body_len(head, MAX_REQUEST)?];
        stream.read_exact(&mut body).await?;
        Ok(Some(decode(&body)?))
    };
    timeout(limits.message, rest)
        .await
        .unwrap_or(Err(ClientGone::Slow))
}

async fn write<T: serde::Serialize>(
    stream: &mut UnixStream,
    message: &T,
    limits: Limits,
) -> Result<(), ClientGone> {
    let bytes = encode(message, MAX_RESPONSE)?;
    timeout(limits.write, stream.write_all(&bytes))
        .await
        .map_err(|_| ClientGone::Slow)??;
    Ok(())
}
