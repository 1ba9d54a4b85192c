//! What comes in at a host's link, with the moment it came and the MAC it came from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{
    self, AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
};
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::clock::{Instant, monotonic_minus_realtime};
use crate::namespace::{Mac, Namespace};

/// One frame that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// When the kernel got it.
    pub at: Instant,
    /// Who sent it.
    pub src: Mac,
    /// To whom.
    pub dst: Mac,
    /// What it is.
    pub what: What,
}

/// What a frame is, as far as the lab wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The answer to a prober's question: by ping or by datagram.
    Answer {
        /// Which prober asked.
        prober: u16,
        /// Its question.
        seq: u32,
    },
    /// ARP; `spa == tpa` is a gratuitous one.
    Arp {
        /// 1 request, 2 reply.
        op: u16,
        /// Sender's address.
        spa: Ipv4Addr,
        /// Target's address.
        tpa: Ipv4Addr,
    },
    /// A neighbour advertisement.
    Neighbour {
        /// Whose MAC it tells.
        target: Ipv6Addr,
        /// Router 0x80, solicited 0x40, override 0x20.
        flags: u8,
    },
    /// A VRRP advertisement.
    Advert {
        /// IP source.
        from: IpAddr,
        /// 2 or 3.
        version: u8,
        /// The virtual router.
        vrid: u8,
        /// Its priority; 0: the sender stops.
        priority: u8,
    },
    /// A TCP segment with RST.
    Reset {
        /// IP source.
        from: Ipv4Addr,
        /// Its port.
        port: u16,
    },
}

/// The question that a prober asks begins with this.
pub const PROBE_MAGIC: [u8; 4] = *b"lbPq";
/// Magic, prober (16 bit), question (32 bit), both big endian.
pub const PROBE_LEN: usize = 10;

/// The bytes of a question.
#[must_use]
pub fn probe(prober: u16, seq: u32) -> [u8; PROBE_LEN] {
    let mut p = [0; PROBE_LEN];
    p[..4].copy_from_slice(&PROBE_MAGIC);
    p[4..6].copy_from_slice(&prober.to_be_bytes());
    p[6..].copy_from_slice(&seq.to_be_bytes());
    p
}

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Frame>>,
    more: Condvar,
    stop: AtomicBool,
}

/// Records until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Recorder {
    /// Starts recording what comes in at `link`.
    ///
    /// # Errors
    /// Those of packet sockets.
    pub fn start(ns: &Namespace, link: &str) -> Result<Self> {
        let ifindex = ns.index(link)?;
        let socket = ns.call(move || open(ifindex)).context("packet socket")?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("{}-rec", ns.name()))
            .spawn(move || record(&socket, &theirs))?;
        Ok(Recorder {
            shared,
            thread: Some(thread),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.shared
            .frames
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks at all frames so far, oldest first.
    pub fn with<T>(&self, look: impl FnOnce(&[Frame]) -> T) -> T {
        look(&self.lock())
    }

    /// The frames from `since` on.
    #[must_use]
    pub fn since(&self, since: Instant) -> Vec<Frame> {
        self.with(|all| tail(all, since).to_vec())
    }

    /// Forgets all frames before `moment`, so that a long run does not grow.
    pub fn forget_before(&self, moment: Instant) {
        let mut frames = self.lock();
        let keep = frames.len() - tail(&frames, moment).len();
        frames.drain(..keep);
    }

    /// Waits until `look` finds something in the frames from `since` on.
    ///
    /// # Errors
    /// When `limit` has passed, or recording failed.
    pub fn wait<T>(
        &self,
        what: &str,
        since: Instant,
        limit: Duration,
        mut look: impl FnMut(&[Frame]) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now().plus(limit);
        let mut frames = self.lock();
        loop {
            crate::scratch::check_cancelled()?;
            if let Some(found) = look(tail(&frames, since)) {
                return Ok(found);
            }
            if Instant::now() >= end {
                bail!("waited {:.1} s in vain for {what}", limit.as_secs_f64());
            }
            if self
                .thread
                .as_ref()
                .is_none_or(std::thread::JoinHandle::is_finished)
            {
                bail!("the recorder stopped");
            }
            // Also without a frame time passes, which some conditions wait for.
            let (guard, _) = self
                .shared
                .more
                .wait_timeout(frames, Duration::from_millis(20))
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            frames = guard;
        }
    }

    /// Stops.
    ///
    /// # Errors
    /// What went wrong while recording, above all frames that the socket had no room for: then
    /// what was recorded proves nothing.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => bail!("the recorder panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(e) = self.end()
        {
            eprintln!("lab: recorder: {e:#}");
        }
    }
}

/// Frames come in the order of their times, give or take what two CPUs do at once; `since` is
/// looked up as if they were sorted.
fn tail(frames: &[Frame], since: Instant) -> &[Frame] {
    &frames[frames.partition_point(|f| f.at < since)..]
}

/// A packet socket that gets all frames of a link, or of all links (0).
pub(crate) fn open(ifindex: u32) -> Result<OwnedFd> {
    let fd = socket::socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    socket::setsockopt(&fd, socket::sockopt::RcvBufForce, &(32 << 20))?;
    socket::setsockopt(&fd, socket::sockopt::ReceiveTimestampns, &true)?;
    socket::setsockopt(
        &fd,
        socket::sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::new(0, 50_000),
    )?;
    // SAFETY: sockaddr_ll is plain data, for which zero is a value.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET.cast_unsigned() as u16;
    to.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    to.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the address is of the size that is given.
    let bound = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    if bound < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(fd)
}

fn record(socket: &OwnedFd, shared: &Shared) -> Result<()> {
    let mut buffer = [0u8; 128];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while !shared.stop.load(Ordering::Relaxed) {
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let got = match socket::recvmsg::<LinkAddr>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        ) {
            Ok(got) => got,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
            // The link is down: what comes after it is up again is still of interest.
            Err(nix::errno::Errno::ENETDOWN) => continue,
            Err(e) => return Err(e).context("receive frames"),
        };
        let outgoing = got
            .address
            .is_some_and(|a| a.pkttype() == libc::PACKET_OUTGOING);
        let stamp = got.cmsgs().ok().and_then(|mut all| {
            all.find_map(|c| match c {
                ControlMessageOwned::ScmTimestampns(t) => Some(Duration::from(t)),
                _ => None,
            })
        });
        let len = got.bytes;
        if outgoing {
            continue;
        }
        let Some((src, dst, what)) = buffer.get(..len).and_then(parse) else {
            continue;
        };
        let at = stamp.map_or_else(Instant::now, |t| {
            Instant(
                u64::try_from(t.as_nanos().cast_signed() + monotonic_minus_realtime()).unwrap_or(0),
            )
        });
        let mut frames = shared
            .frames
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Two CPUs may hand in two frames in the other order.
        let place = frames.iter().rposition(|f| f.at <= at).map_or(0, |p| p + 1);
        frames.insert(place, Frame { at, src, dst, what });
        drop(frames);
        shared.more.notify_all();
    }
    let lost = dropped(socket)?;
    anyhow::ensure!(lost == 0, "{lost} frames were lost by the packet socket");
    Ok(())
}

/// `PACKET_STATISTICS`: frames for which the socket had no room.
pub(crate) fn dropped(socket: &OwnedFd) -> Result<u32> {
    // SAFETY: plain data, for which zero is a value.
    let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: the buffer is of the size that is given.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    if done < 0 {
        Err(std::io::Error::last_os_error().into())
    } else {
        Ok(stats.tp_drops)
    }
}

/// Reads a frame; `None` for one that does not matter.
fn parse(frame: &[u8]) -> Option<(Mac, Mac, What)> {
    let dst = Mac(frame.get(..6)?.try_into().ok()?);
    let src = Mac(frame.get(6..12)?.try_into().ok()?);
    let body = frame.get(14..)?;
    let what = match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0806 => arp(body)?,
        0x0800 => ipv4(body)?,
        0x86dd => ipv6(body)?,
        _ => return None,
    };
    Some((src, dst, what))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ip(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

fn arp(body: &[u8]) -> Option<What> {
    Some(What::Arp {
        op: be16(body, 6)?,
        spa: ip(body, 14)?,
        tpa: ip(body, 24)?,
    })
}

fn ipv4(body: &[u8]) -> Option<What> {
    let from = ip(body, 12)?;
    let payload = body.get(usize::from(body[0] & 0xf) * 4..)?;
    match body[9] {
        1 if payload.first() == Some(&0) => answer(payload.get(8..)?),
        17 => answer(payload.get(8..)?),
        6 if payload.get(13)? & 0x04 != 0 => Some(What::Reset {
            from,
            port: be16(payload, 0)?,
        }),
        112 => advert(from.into(), payload),
        // In AH.
        51 if payload.first() == Some(&112) => advert(from.into(), payload.get(24..)?),
        _ => None,
    }
}

fn ipv6(body: &[u8]) -> Option<What> {
    let payload = body.get(40..)?;
    match (body[6], payload.first()?) {
        (58, 129) => answer(payload.get(8..)?),
        (58, 136) => Some(What::Neighbour {
            target: ip6(payload, 8)?,
            flags: *payload.get(4)?,
        }),
        (112, _) => advert(ip6(body, 8)?.into(), payload),
        _ => None,
    }
}

fn ip6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}

fn advert(from: IpAddr, payload: &[u8]) -> Option<What> {
    let [first, vrid, priority] = payload.get(..3)?.try_into().ok()?;
    (first & 0xf == 1).then_some(What::Advert {
        from,
        version: first >> 4,
        vrid,
        priority,
    })
}

fn answer(data: &[u8]) -> Option<What> {
    let data = data.get(..PROBE_LEN)?;
    (data[..4] == PROBE_MAGIC).then_some(What::Answer {
        prober: be16(data, 4)?,
        seq: u32::from_be_bytes(data[6..].try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4_frame(proto: u8, payload: &[u8]) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let mut header = [0u8; 20];
        header[0] = 0x45;
        header[9] = proto;
        header[12..16].copy_from_slice(&[10, 0, 0, 1]);
        f.extend(header);
        f.extend(payload);
        f
    }

    #[test]
    fn adverts_answers_and_resets_are_read() {
        let advert = parse(&ipv4_frame(112, &[0x21, 62, 100, 1, 0, 1, 0, 0])).unwrap();
        assert_eq!(advert.0, Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(
            advert.2,
            What::Advert {
                from: IpAddr::from([10, 0, 0, 1]),
                version: 2,
                vrid: 62,
                priority: 100
            }
        );
        let mut echo = vec![0, 0, 0, 0, 0, 0, 0, 0];
        echo.extend(probe(7, 99));
        assert_eq!(
            parse(&ipv4_frame(1, &echo)).unwrap().2,
            What::Answer { prober: 7, seq: 99 }
        );
        echo[0] = 8; // a request is not an answer
        assert_eq!(parse(&ipv4_frame(1, &echo)), None);
        let mut tcp = [0u8; 20];
        tcp[1] = 80;
        tcp[13] = 0x14;
        assert_eq!(
            parse(&ipv4_frame(6, &tcp)).unwrap().2,
            What::Reset {
                from: [10, 0, 0, 1].into(),
                port: 80
            }
        );
        tcp[13] = 0x10;
        assert_eq!(parse(&ipv4_frame(6, &tcp)), None);
    }

    #[test]
    fn no_frame_is_too_short() {
        let whole = ipv4_frame(112, &[0x21, 62, 100, 1, 0, 1, 0, 0]);
        for len in 0..whole.len() {
            let _ = parse(&whole[..len]);
        }
    }
}
