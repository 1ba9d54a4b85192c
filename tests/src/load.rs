//! Clients.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::namespace::Namespace;

/// From whichever address the kernel takes.
const ANY: Option<Ipv4Addr> = None;

/// How many requests each server answered.
pub type Tally = BTreeMap<String, u64>;

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Failure {
    /// A RST, at the connect or later.
    Reset,
    /// The connection ended before the answer did.
    Closed,
    /// No answer in time.
    Timeout,
    /// Anything else: no route, no port.
    Other,
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match e.kind() {
            K::ConnectionReset | K::ConnectionRefused | K::ConnectionAborted | K::BrokenPipe => {
                Failure::Reset
            }
            K::UnexpectedEof => Failure::Closed,
            K::TimedOut => Failure::Timeout,
            _ => Failure::Other,
        }
    }
}

/// What a load got.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// Requests answered, by server.
    pub tally: Tally,
    /// Requests that failed.
    pub failures: BTreeMap<Failure, u64>,
    /// The longest that a request took which was answered.
    pub slowest: Duration,
    /// Connections opened (for long-lived ones: at the start and, after a failure, again).
    pub opened: u64,
}

impl Report {
    /// Requests answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.tally.values().sum()
    }

    /// Requests that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn add(&mut self, result: Result<String, Failure>, took: Duration) {
        match result {
            Ok(name) => {
                *self.tally.entry(name).or_default() += 1;
                self.slowest = self.slowest.max(took);
            }
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    fn merge(&mut self, other: Report) {
        for (name, n) in other.tally {
            *self.tally.entry(name).or_default() += n;
        }
        for (failure, n) in other.failures {
            *self.failures.entry(failure).or_default() += n;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.opened += other.opened;
    }
}

/// `n` requests one after the other, each on a connection of its own.
#[must_use]
pub fn requests(ns: &Namespace, to: impl Into<SocketAddr>, n: u32, limit: Duration) -> Report {
    let to = to.into();
    ns.block_on(async move {
        let mut report = Report::default();
        for _ in 0..n {
            let start = Instant::now();
            report.opened += 1;
            report.add(one_request(ANY, to, limit).await, start.elapsed());
        }
        report
    })
}

/// `n` datagrams one after the other, each from a port of its own.
#[must_use]
pub fn datagrams(ns: &Namespace, to: impl Into<SocketAddr>, n: u32, limit: Duration) -> Report {
    large_datagrams(ns, to, 4, n, limit)
}

/// `n` datagrams of `size` bytes one after the other, each from a port of its own.
#[must_use]
pub fn large_datagrams(
    ns: &Namespace,
    to: impl Into<SocketAddr>,
    size: usize,
    n: u32,
    limit: Duration,
) -> Report {
    let to = to.into();
    ns.block_on(async move {
        let mut report = Report::default();
        for _ in 0..n {
            let start = Instant::now();
            report.opened += 1;
            report.add(one_datagram(to, size, limit).await, start.elapsed());
        }
        report
    })
}

/// A load that goes on until it is stopped.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Report>,
    ns: tokio::runtime::Handle,
}

impl Running {
    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops, waiting for the requests under way.
    ///
    /// # Errors
    /// When the load panicked.
    pub fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let (send, recv) = std::sync::mpsc::channel();
        self.ns.spawn(async move {
            let _ = send.send(self.task.await);
        });
        recv.recv()
            .context("the load's namespace is gone")?
            .context("the load panicked")
    }
}

/// Starts `per_second` requests each second, each on a new connection, from each of `from` in turn.
#[must_use]
pub fn steady(
    ns: &Namespace,
    from: &[Ipv4Addr],
    to: impl Into<SocketAddr>,
    per_second: u32,
    limit: Duration,
) -> Running {
    let (from, to) = (from.to_vec(), to.into());
    start(ns, move |stop, answered| async move {
        let mut from = from.into_iter().cycle();
        let mut report = Report::default();
        let mut open = JoinSet::new();
        let mut tick = interval(Duration::from_secs(1) / per_second);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                _ = tick.tick() => {
                    report.opened += 1;
                    let from = from.next();
                    open.spawn(async move {
                        let start = Instant::now();
                        (one_request(from, to, limit).await, start.elapsed())
                    });
                }
                Some(Ok((result, took))) = open.join_next() => {
                    answered.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
                    report.add(result, took);
                }
            }
        }
        while let Some(Ok((result, took))) = open.join_next().await {
            report.add(result, took);
        }
        report
    })
}

/// Holds `n` connections open and sends a request on each every `every`; a connection that breaks
/// is counted and opened again.
#[must_use]
pub fn long_lived(
    ns: &Namespace,
    to: impl Into<SocketAddr>,
    n: u32,
    every: Duration,
    limit: Duration,
) -> Running {
    let to = to.into();
    start(ns, move |stop, answered| async move {
        let mut all = JoinSet::new();
        for i in 0..n {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            all.spawn(async move {
                sleep(every * i / n).await;
                let mut report = Report::default();
                while !stop.load(Ordering::Relaxed) {
                    hold(to, every, limit, &stop, &answered, &mut report).await;
                }
                report
            });
        }
        let mut report = Report::default();
        while let Some(Ok(one)) = all.join_next().await {
            report.merge(one);
        }
        report
    })
}

/// Sends `per_second` datagrams each second from `sockets` fixed ports of each of `from` in turn.
#[must_use]
pub fn steady_udp(
    ns: &Namespace,
    from: &[Ipv4Addr],
    to: impl Into<SocketAddr>,
    sockets: u32,
    per_second: u32,
    limit: Duration,
) -> Running {
    let (from, to) = (from.to_vec(), to.into());
    start(ns, move |stop, answered| async move {
        let mut from = from.into_iter().cycle();
        let every = Duration::from_secs(1) * sockets / per_second;
        let mut all = JoinSet::new();
        for i in 0..sockets {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let from = from.next();
            all.spawn(async move {
                let mut report = Report {
                    opened: 1,
                    ..Report::default()
                };
                let socket = match udp(from, to).await {
                    Ok(socket) => socket,
                    Err(e) => {
                        report.add(Err(e.into()), Duration::ZERO);
                        return report;
                    }
                };
                sleep(every * i / sockets).await;
                let mut tick = interval(every);
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut seq = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    seq += 1;
                    let start = Instant::now();
                    let result = ask_udp(&socket, seq, 4, limit).await;
                    answered.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
                    report.add(result, start.elapsed());
                }
                report
            });
        }
        let mut report = Report::default();
        while let Some(Ok(one)) = all.join_next().await {
            report.merge(one);
        }
        report
    })
}

fn start<F>(
    ns: &Namespace,
    load: impl FnOnce(Arc<AtomicBool>, Arc<AtomicU64>) -> F + Send + 'static,
) -> Running
where
    F: Future<Output = Report> + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let task = ns.spawn(load(Arc::clone(&stop), Arc::clone(&answered)));
    Running {
        stop,
        answered,
        task,
        ns: ns.runtime().clone(),
    }
}

pub(crate) async fn connect(from: Option<Ipv4Addr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = from {
        socket.bind(SocketAddr::from((from, 0)))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn one_request(
    from: Option<Ipv4Addr>,
    to: SocketAddr,
    limit: Duration,
) -> Result<String, Failure> {
    timeout(limit, async {
        let mut stream = connect(from, to).await?;
        let name = ask(&mut stream, true).await?;
        // The server closes first, so that the client's port is free again at once.
        let mut rest = [0; 16];
        while stream.read(&mut rest).await? > 0 {}
        Ok(name)
    })
    .await
    .unwrap_or(Err(Failure::Timeout))
}

/// Opens one connection and uses it until it breaks or the load stops.
async fn hold(
    to: SocketAddr,
    every: Duration,
    limit: Duration,
    stop: &AtomicBool,
    answered: &AtomicU64,
    report: &mut Report,
) {
    report.opened += 1;
    let mut stream = match timeout(limit, connect(ANY, to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            report.add(Err(e.into()), Duration::ZERO);
            return sleep(every).await;
        }
        Err(_) => return report.add(Err(Failure::Timeout), Duration::ZERO),
    };
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let result = timeout(limit, ask(&mut stream, false))
            .await
            .unwrap_or(Err(Failure::Timeout));
        answered.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        let failed = result.is_err();
        report.add(result, start.elapsed());
        if failed {
            return;
        }
        sleep(every).await;
    }
}

/// One HTTP request on an open connection; the name of the server.
pub(crate) async fn ask(stream: &mut TcpStream, close: bool) -> Result<String, Failure> {
    let connection = if close { "close" } else { "keep-alive" };
    let request = format!("GET / HTTP/1.1\r\nHost: vip\r\nConnection: {connection}\r\n\r\n");
    let body = exchange(stream, request.as_bytes()).await?;
    Ok(body.trim().to_owned())
}

/// One HTTP request on an open connection; the answer's body.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<String, Failure> {
    stream.write_all(request).await?;
    let mut seen = Vec::with_capacity(256);
    loop {
        if let Some(body) = whole_answer(&seen)? {
            return Ok(body);
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(Failure::Closed);
        }
    }
}

/// The body, once it is there in full.
fn whole_answer(seen: &[u8]) -> Result<Option<String>, Failure> {
    let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&seen[..end]).map_err(|_| Failure::Other)?;
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    let body = &seen[end + 4..];
    match length {
        None => Err(Failure::Other),
        Some(length) if body.len() < length => Ok(None),
        Some(length) => Ok(Some(String::from_utf8_lossy(&body[..length]).into_owned())),
    }
}

async fn udp(from: Option<Ipv4Addr>, to: SocketAddr) -> std::io::Result<UdpSocket> {
    udp_from(from.map_or(any_like(to), IpAddr::from), 0, to).await
}

/// The unspecified address of the same version.
const fn any_like(to: SocketAddr) -> IpAddr {
    match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

async fn udp_from(from: IpAddr, port: u16, to: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((from, port)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

async fn one_datagram(to: SocketAddr, size: usize, limit: Duration) -> Result<String, Failure> {
    ask_udp(&fresh_udp(to).await?, 1, size, limit).await
}

/// Ports that the kernel gives to nobody by itself.
const FRESH: std::ops::Range<u16> = 20_000..32_768;

/// A socket with a port that none before had, until all of [`FRESH`] were taken once: the kernel
/// draws lots, and a datagram from a port of minutes ago belongs to the old flow, which has a server.
async fn fresh_udp(to: SocketAddr) -> std::io::Result<UdpSocket> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let taken = TAKEN.fetch_add(1, Ordering::Relaxed) % FRESH.len() as u64;
    let port = FRESH.start + u16::try_from(taken).expect("less than there are ports");
    udp_from(any_like(to), port, to).await
}

/// Sends a datagram that begins with `seq` and is `size` bytes long, at least four, and waits for
/// the same with a name behind it.
async fn ask_udp(
    socket: &UdpSocket,
    seq: u32,
    size: usize,
    limit: Duration,
) -> Result<String, Failure> {
    let mut question = seq.to_be_bytes().to_vec();
    question.resize(size.max(question.len()), b'.');
    socket.send(&question).await?;
    let mut buffer = vec![0u8; question.len() + 128];
    let answer = async {
        loop {
            let len = socket.recv(&mut buffer).await?;
            // An answer that comes after its question was given up is not the next one's.
            if let Some(name) = buffer[..len].strip_prefix(question.as_slice()) {
                return Ok(String::from_utf8_lossy(name).trim().to_owned());
            }
        }
    };
    timeout(limit, answer)
        .await
        .unwrap_or(Err(Failure::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrs1\n";
        for len in 0..text.len() {
            assert_eq!(whole_answer(&text[..len]), Ok(None));
        }
        assert_eq!(whole_answer(text), Ok(Some("rs1\n".into())));
    }
}
