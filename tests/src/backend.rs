//! What runs on a real server: HTTP and UDP that answer with the server's name.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lb_userspace::model::Protocol;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::clock::wait_for;
use crate::director::{Process, binary};
use crate::namespace::Namespace;
use crate::topology::Port;

/// Running servers; dropping it closes their sockets and connections.
#[derive(Debug)]
pub struct Backend {
    tasks: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// Serves `ports` in a namespace under `name`. Each has a TCP listener, also a UDP one: the
    /// checks of a UDP service connect by TCP.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(ns: &Namespace, name: &str, ports: &[Port]) -> Result<Self> {
        let ports = ports.iter().map(|p| (p.endpoint(), p.protocol)).collect();
        Self::serve(ns, name, ports)
    }

    /// As [`Backend::start`], on addresses of either version.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn serve(ns: &Namespace, name: &str, ports: Vec<Endpoint>) -> Result<Self> {
        let who = name.to_owned();
        let serving = ns
            .block_on(async move {
                crate::clock::be_punctual();
                bind(&ports).await.map(|sockets| serve(sockets, who))
            })
            .with_context(|| format!("bind the ports of {name}"))?;
        Ok(Backend {
            tasks: ns.spawn(serving),
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Dropping the sets that the tasks hold aborts what they started.
        self.tasks.abort();
    }
}

/// Servers in a process of their own, for more connections than the descriptors of one suffice for.
/// Dropping it ends them.
#[derive(Debug)]
pub struct BackendProcess {
    _process: Process,
}

impl BackendProcess {
    /// As [`Backend::start`], and ready for connections on return.
    ///
    /// # Errors
    /// When the program is not built or a port cannot be bound.
    pub fn start(ns: &Namespace, name: &str, ports: &[Port], log: &Path) -> Result<Self> {
        let mut command = Command::new(binary("lab-backend")?);
        command.arg(name);
        for port in ports {
            let protocol = port.protocol.name();
            command.arg(format!("{}/{protocol}", port.endpoint()));
        }
        let process = Process::start(ns, command, log)?;
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        wait_for(&format!("{name} to serve"), Duration::from_secs(10), || {
            said().contains(READY).then_some(())
        })
        .with_context(said)?;
        Ok(BackendProcess { _process: process })
    }
}

/// What the process says when its ports are bound.
const READY: &str = "ready";

/// The life of a [`BackendProcess`]: arguments are the name and ports as `ADDR:PORT/PROTOCOL`.
///
/// # Errors
/// When the arguments are wrong or a port cannot be bound.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let name = arguments.next().context("no name")?;
    let ports = arguments
        .map(|a| parse_port(&a))
        .collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sockets = bind(&ports).await.context("bind")?;
        println!("{READY}");
        serve(sockets, name).await;
        Ok(())
    })
}

fn parse_port(text: &str) -> Result<Endpoint> {
    let (addr, protocol) = text.split_once('/').context("no protocol")?;
    let protocol = match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => bail!("{protocol}: neither TCP nor UDP"),
    };
    Ok((addr.parse()?, protocol))
}

/// Address, port and protocol.
pub type Endpoint = (SocketAddr, Protocol);

type Sockets = (Vec<TcpListener>, Vec<UdpSocket>);

async fn bind(ports: &[Endpoint]) -> std::io::Result<Sockets> {
    let tcp: BTreeSet<_> = ports.iter().map(|(to, _)| any(*to)).collect();
    let listeners = tcp
        .into_iter()
        .map(listen)
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut sockets = Vec::new();
    for (addr, _) in ports.iter().filter(|(_, p)| *p == Protocol::Udp) {
        // Bound to the VIP, so that the answer comes from it.
        sockets.push(UdpSocket::bind(addr).await?);
    }
    Ok((listeners, sockets))
}

/// Never ends.
async fn serve((listeners, sockets): Sockets, name: String) {
    let mut all = JoinSet::new();
    for listener in listeners {
        all.spawn(serve_tcp(listener, name.clone()));
    }
    for socket in sockets {
        all.spawn(serve_udp(socket, name.clone()));
    }
    while all.join_next().await.is_some() {}
}

/// The port on all addresses of the same version.
fn any(addr: SocketAddr) -> SocketAddr {
    let any = match addr {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, addr.port())
}

fn listen(on: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(on), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if on.is_ipv6() {
        // IPv4 has a socket of its own.
        socket.set_only_v6(true)?;
    }
    socket.bind(&on.into())?;
    let socket = TcpSocket::from_std_stream(socket.into());
    socket.listen(4096)
}

async fn serve_tcp(listener: TcpListener, name: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_http(stream, name.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// HTTP/1.1: every request gets the name, on `GET /N` followed by N bytes, on a POST after its body
/// was read; `Connection: close` is obeyed.
async fn serve_http(mut stream: TcpStream, name: String) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut seen = Vec::new();
    loop {
        let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else {
            if seen.len() > 16 * 1024 || stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head: Vec<u8> = seen.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let close = head.contains("connection: close");
        let sent = length(&head).unwrap_or(0);
        while seen.len() < sent {
            if stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
        }
        seen.drain(..sent);
        let more = head
            .strip_prefix("get /")
            .and_then(|h| h.split(' ').next()?.parse().ok());
        let more = "x".repeat(more.unwrap_or(0));
        let connection = if close { "close" } else { "keep-alive" };
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{name}\n{more}",
            name.len() + 1 + more.len()
        );
        stream.write_all(reply.as_bytes()).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// `Content-Length` of a head in lower case.
fn length(head: &str) -> Option<usize> {
    let mut lines = head.lines();
    lines.find_map(|l| l.strip_prefix("content-length: ")?.parse().ok())
}

/// Every datagram comes back with the name behind it.
async fn serve_udp(socket: UdpSocket, name: String) {
    let mut buffer = vec![0u8; 65536];
    loop {
        // An ICMP error about an earlier answer is no reason to stop.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let mut reply = buffer[..len].to_vec();
        reply.push(b' ');
        reply.extend(name.as_bytes());
        let _ = socket.send_to(&reply, from).await;
    }
}
