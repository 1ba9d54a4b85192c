//! Much at once: what does not fit into one frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;

use crate::load::{Failure, connect, exchange};
use crate::namespace::Namespace;
use crate::prober::echo_request;

/// Pings an address with `size` bytes, which may be more than a frame holds; whether they came back.
///
/// # Errors
/// Those of sockets.
pub fn ping(ns: &Namespace, to: Ipv4Addr, size: usize, limit: Duration) -> Result<bool> {
    let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let request = echo_request(std::process::id() as u16, 1, &data);
    ns.thread("ping", move || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.connect(&SocketAddr::from((to, 0)).into())?;
        socket.send(&request)?;
        let end = Instant::now() + limit;
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); 20 + request.len()];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            socket.set_read_timeout(Some(left))?;
            let Ok(len) = socket.recv(&mut buffer) else {
                continue;
            };
            // SAFETY: so many bytes were written.
            let packet: Vec<u8> = buffer[..len]
                .iter()
                .map(|b| unsafe { b.assume_init() })
                .collect();
            // Behind the IP header; the answer differs from the question in type and checksum.
            if packet.get(20) == Some(&0) && packet.get(24..) == request.get(4..) {
                return Ok(true);
            }
        }
    })?
    .join()
    .map_err(|_| anyhow::anyhow!("the ping panicked"))?
}

/// Gets `bytes` bytes in one answer; the name of the server.
///
/// # Errors
/// Why it failed.
pub fn download(
    ns: &Namespace,
    to: impl Into<SocketAddr>,
    bytes: usize,
    limit: Duration,
) -> Result<String, Failure> {
    let to = to.into();
    let request = format!("GET /{bytes} HTTP/1.1\r\nHost: vip\r\n\r\n");
    ns.block_on(async move {
        let got = timeout(limit, async {
            let mut stream = connect(None, to).await?;
            exchange(&mut stream, request.as_bytes()).await
        });
        let body = got.await.unwrap_or(Err(Failure::Timeout))?;
        let (name, rest) = body.split_once('\n').ok_or(Failure::Other)?;
        if rest.len() == bytes {
            Ok(name.to_owned())
        } else {
            Err(Failure::Other)
        }
    })
}

/// Sends `bytes` bytes in one request; the name of the server.
///
/// # Errors
/// Why it failed.
pub fn upload(
    ns: &Namespace,
    to: impl Into<SocketAddr>,
    bytes: usize,
    limit: Duration,
) -> Result<String, Failure> {
    let to = to.into();
    let mut request =
        format!("POST / HTTP/1.1\r\nHost: vip\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    request.resize(request.len() + bytes, b'x');
    ns.block_on(async move {
        let got = timeout(limit, async {
            let mut stream = connect(None, to).await?;
            exchange(&mut stream, &request).await
        });
        let body = got.await.unwrap_or(Err(Failure::Timeout))?;
        Ok(body.trim().to_owned())
    })
}

/// The longest packet, in bytes, that a host believes to reach an address in one piece, as a socket is
/// told (`IP_MTU`, `IPV6_MTU`).
///
/// # Errors
/// When there is no way to it.
pub fn path_mtu(ns: &Namespace, to: impl Into<IpAddr>) -> Result<u32> {
    let to = to.into();
    let (any, level, name): (IpAddr, _, _) = match to {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => (
            Ipv6Addr::UNSPECIFIED.into(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
        ),
    };
    let ask = move || -> std::io::Result<u32> {
        let socket = UdpSocket::bind((any, 0))?;
        // The port of what discards everything; nothing is sent.
        socket.connect((to, 9))?;
        let mut mtu = 0u32;
        let mut len = size_of::<u32>() as libc::socklen_t;
        let (fd, value) = (socket.as_raw_fd(), (&raw mut mtu).cast());
        // SAFETY: the value is an int and as long as is said.
        let done = unsafe { libc::getsockopt(fd, level, name, value, &raw mut len) };
        if done < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(mtu)
    };
    ns.call(ask)
        .with_context(|| format!("the path's MTU from {} to {to}", ns.name()))
}
