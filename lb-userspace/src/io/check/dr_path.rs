//! `DR_PATH_CHECK`: packets for the virtual address go to the server's MAC by a packet socket, and the
//! answers are read by one.
//!
//! This host's own stack must have no part in it. While it has the virtual address itself it takes an
//! answer for a forgery (IPv4); otherwise it would reset a connection that it knows nothing of, and the
//! reset would go to the master. So a probe has its port by a socket of the kernel's that keeps
//! nothing: what comes to it is neither heard nor answered.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::socket::{verdict_of, words};
use crate::health::dr_path::{Asked, Asker, Heard, LONGEST};
use crate::health::{NotRun, Probe, Verdict, Way};
use crate::io::arp::{link_address, link_address_to};
use crate::io::clock::now;
use crate::io::fd;
use crate::io::vrrp::op;
use crate::model;

/// How long a socket is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// How long a probe that was not answered by all keeps its port: an answer on its way must not find it
/// closed, for the kernel would reset it.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the check once; how long it took counts from the sending.
pub(super) async fn probe(taps: &Arc<Taps>, probe: &Probe) -> (Verdict, Duration) {
    let start = now();
    let verdict = match ask(taps, probe).await {
        Ok(verdict) | Err(verdict) => verdict,
    };
    (verdict, now().since(start))
}

async fn ask(taps: &Arc<Taps>, probe: &Probe) -> Result<Verdict, Verdict> {
    let not_run = |what: &str, e: &io::Error| {
        let why = format!("{what}: {}", words(e));
        Verdict::NotRun(NotRun { why })
    };
    let Some(way) = probe.way else {
        let why = "no way to the server is known".to_owned();
        return Err(Verdict::NotRun(NotRun { why }));
    };
    let tap = taps.tap(&way).map_err(|e| not_run("packet socket", &e))?;
    let check = &probe.check;
    let asked = probe.services.iter().map(|s| Asked::of(s, check.port));
    let mut open: Vec<Asked> = asked.collect();
    let tcp = open.iter().any(|a| a.protocol == model::Protocol::Tcp);
    let (held, from) = hold(&way, tcp).map_err(|e| not_run("port", &e))?;
    let asker = Asker {
        from,
        magic: taps.magic,
        on_link: way.on_link,
    };
    // Each address may be answered twice; what is more is nobody's answer.
    let (heard, mut answers) = mpsc::channel(2 * open.len() + 1);
    let _waiting = tap.wait(from, heard);
    for one in &open {
        for packet in one.question(&asker) {
            tap.send(&way, &packet).map_err(|e| verdict_of(&e))?;
        }
    }
    let until = Instant::now() + check.timeout;
    let farewell = |one: &Asked| {
        // A server that has granted nothing lets it pass.
        if let Some(packet) = one.farewell(&asker) {
            let _ = tap.send(&way, &packet);
        }
    };
    let mut failed = None;
    while failed.is_none() && !open.is_empty() {
        let Ok(Some(answer)) = timeout_at(until, answers.recv()).await else {
            break;
        };
        open.retain(|one| match one.judge(&asker, &answer) {
            None => true,
            Some(Verdict::Ok) => {
                farewell(one);
                false
            }
            Some(other) => {
                failed = Some(other);
                true
            }
        });
    }
    open.iter().for_each(farewell);
    if !open.is_empty() {
        tokio::spawn(async move {
            sleep(LINGER).await;
            drop(held);
        });
    }
    let silent = || open.first().map(|one| Verdict::Failed(one.silence()));
    Ok(failed.or_else(silent).unwrap_or(Verdict::Ok))
}

/// A port of this host's that is the probe's own while the socket is open.
fn hold(way: &Way, tcp: bool) -> io::Result<(Socket, SocketAddr)> {
    let any = SocketAddr::new(way.source, 0);
    let (kind, protocol) = match tcp {
        true => (Type::STREAM, Protocol::TCP),
        false => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(any), kind, Some(protocol))?;
    // Before it has a port: nothing gets in.
    socket.attach_filter(&[op(libc::BPF_RET | libc::BPF_K, 0, 0, 0)])?;
    socket.bind(&any.into())?;
    if tcp {
        // The kernel resets what comes to a port on which nobody listens.
        socket.listen(1)?;
    }
    let from = socket.local_addr()?.as_socket();
    let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    // The kernel gives a scope that packets do not have.
    Ok((socket, SocketAddr::new(way.source, from.port())))
}

/// The packet sockets of one prober: one for each interface and version of IP.
#[derive(Debug)]
pub(super) struct Taps {
    magic: u16,
    open: Mutex<HashMap<Key, Arc<Tap>>>,
}

type Key = (u32, bool);

impl Taps {
    /// None is open; `random` is what the answers are known by.
    pub(super) fn new(random: u64) -> Arc<Taps> {
        Arc::new(Taps {
            magic: random as u16,
            open: Mutex::default(),
        })
    }

    fn tap(self: &Arc<Self>, way: &Way) -> io::Result<Arc<Tap>> {
        let key = (way.ifindex, way.source.is_ipv6());
        let mut open = lock(&self.open);
        if let Some(tap) = open.get(&key) {
            return Ok(Arc::clone(tap));
        }
        let tap = Arc::new(Tap::open(key, self.magic)?);
        open.insert(key, Arc::clone(&tap));
        tokio::spawn(Arc::clone(self).listen(key, Arc::clone(&tap)));
        Ok(tap)
    }

    /// Tells the probes what comes, until nobody uses the socket any more.
    async fn listen(self: Arc<Self>, key: Key, tap: Arc<Tap>) {
        loop {
            match timeout(IDLE, tap.socket.readable()).await {
                Ok(Ok(mut ready)) => {
                    if tap.drain(self.magic) {
                        ready.clear_ready();
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    let mut open = lock(&self.open);
                    // This one and the one in the table.
                    if Arc::strong_count(&tap) == 2 {
                        open.remove(&key);
                        return;
                    }
                }
            }
        }
    }
}

/// A packet socket and the probes that wait for what it hears, by their address and port.
#[derive(Debug)]
struct Tap {
    socket: AsyncFd<Socket>,
    ethertype: u16,
    waiting: Mutex<HashMap<SocketAddr, mpsc::Sender<Heard>>>,
}

/// While it lives, a probe hears.
struct Waiting<'t>(&'t Tap, SocketAddr);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.waiting).remove(&self.1);
    }
}

impl Tap {
    fn open((index, v6): Key, magic: u16) -> io::Result<Tap> {
        let ethertype = match v6 {
            true => libc::ETH_P_IPV6,
            false => libc::ETH_P_IP,
        } as u16;
        // Protocol 0, so that nothing is received before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter(v6, magic))?;
        socket.bind(&link_address(index, ethertype))?;
        Ok(Tap {
            socket: fd::readable(socket)?,
            ethertype,
            waiting: Mutex::default(),
        })
    }

    fn wait(&self, from: SocketAddr, heard: mpsc::Sender<Heard>) -> Waiting<'_> {
        lock(&self.waiting).insert(from, heard);
        Waiting(self, from)
    }

    fn send(&self, way: &Way, packet: &[u8]) -> io::Result<()> {
        let to = link_address_to(way.ifindex, self.ethertype, &way.mac);
        self.socket.get_ref().send_to(packet, &to).map(drop)
    }

    /// Reads some of what is there; true when that was all.
    fn drain(&self, magic: u16) -> bool {
        let mut packet = [0; LONGEST];
        for _ in 0..64 {
            match recv(
                self.socket.get_ref().as_raw_fd(),
                &mut packet,
                MsgFlags::empty(),
            ) {
                Ok(length) => {
                    if let Some(heard) = Heard::read(&packet[..length], magic)
                        && let Some(probe) = lock(&self.waiting).get(&heard.asker())
                    {
                        // A probe that has its verdict does not listen any more.
                        let _ = probe.try_send(heard);
                    }
                }
                Err(Errno::EAGAIN) => return true,
                // The interface went down; a probe that waits for it is told by its own time.
                Err(_) => {}
            }
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Classic BPF on the IP packet: answers whose numbers begin with `magic`, and ICMP errors.
fn filter(v6: bool, magic: u16) -> Vec<SockFilter> {
    const BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    /// Behind the IP header.
    const IN_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    const IN_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let header = match v6 {
        true => op(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, 0, 0, 40),
        // Four times the low half of the first octet.
        false => op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
    };
    let (place, icmp, reply, errors) = match v6 {
        true => (6, libc::IPPROTO_ICMPV6, 129, [1, 3]),
        false => (9, libc::IPPROTO_ICMP, 0, [3, 11]),
    };
    let magic = u32::from(magic);
    vec![
        header,
        op(BYTE, 0, 0, place),
        op(IF_EQUAL, 0, 2, libc::IPPROTO_TCP as u32),
        // The acknowledgement number.
        op(IN_HALF, 0, 0, 8),
        op(IF_EQUAL, 7, 8, magic),
        op(IF_EQUAL, 0, 7, icmp as u32),
        op(IN_BYTE, 0, 0, 0),
        op(IF_EQUAL, 4, 0, errors[0]),
        op(IF_EQUAL, 3, 0, errors[1]),
        op(IF_EQUAL, 0, 3, reply),
        // Identifier.
        op(IN_HALF, 0, 0, 4),
        op(IF_EQUAL, 0, 1, magic),
        op(RETURN, 0, 0, LONGEST as u32),
        op(RETURN, 0, 0, 0),
    ]
}
