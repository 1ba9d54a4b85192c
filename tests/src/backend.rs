//! What runs on a real server: HTTP and UDP that answer with the server's name.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context as _, Result};
use lb_userspace::model::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;

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
        let mut tcp: Vec<u16> = ports.iter().map(|p| p.port).collect();
        tcp.sort_unstable();
        tcp.dedup();
        let udp: Vec<_> = ports
            .iter()
            .filter(|p| p.protocol == Protocol::Udp)
            .map(|p| SocketAddrV4::new(p.vip, p.port))
            .collect();
        let who = name.to_owned();
        let (listeners, sockets) = ns
            .block_on(async move {
                crate::clock::be_punctual();
                let listeners = tcp
                    .into_iter()
                    .map(listen)
                    .collect::<std::io::Result<Vec<_>>>()?;
                let mut sockets = Vec::new();
                for addr in udp {
                    // Bound to the VIP, so that the answer comes from it.
                    sockets.push(UdpSocket::bind(addr).await?);
                }
                std::io::Result::Ok((listeners, sockets))
            })
            .with_context(|| format!("bind the ports of {name}"))?;
        let tasks = ns.spawn(async move {
            let mut all = JoinSet::new();
            for listener in listeners {
                all.spawn(serve_tcp(listener, who.clone()));
            }
            for socket in sockets {
                all.spawn(serve_udp(socket, who.clone()));
            }
            while all.join_next().await.is_some() {}
        });
        Ok(Backend { tasks })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Dropping the sets that the tasks hold aborts what they started.
        self.tasks.abort();
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
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

/// HTTP/1.1: every request gets the name; `Connection: close` is obeyed.
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
        let close = head
            .windows(17)
            .any(|w| w.eq_ignore_ascii_case(b"connection: close"));
        let connection = if close { "close" } else { "keep-alive" };
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{name}\n",
            name.len() + 1
        );
        stream.write_all(reply.as_bytes()).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// Every datagram comes back with the name behind it.
async fn serve_udp(socket: UdpSocket, name: String) {
    let mut buffer = vec![0u8; 2048];
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
