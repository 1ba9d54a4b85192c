//! SYNs from random sources, as many as are wanted; and any frames, as fast as they go.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clock::Instant;
use crate::frame::{LEN, SYN, checksum, frame};
use crate::namespace::{Mac, Namespace};
use crate::random::Random;
use crate::recorder::open;
use crate::switch::Host;

/// Frames that are handed to the kernel at once.
const BATCH: usize = 64;
/// 198.18.0.0/15 is for tests of this kind (RFC 2544).
const SOURCES: u32 = Ipv4Addr::new(198, 18, 0, 0).to_bits();
const SOURCE_BITS: u32 = 17;
/// `PACKET_QDISC_BYPASS`, see packet(7).
const QDISC_BYPASS: libc::c_int = 20;

/// A flood that is under way.
#[derive(Debug)]
pub struct Flood {
    thread: std::thread::JoinHandle<Result<Sent>>,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames.
    pub frames: u64,
    /// How long it took.
    pub took: Duration,
}

impl Sent {
    /// Frames a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64()
    }
}

impl Flood {
    /// Starts sending `frames` SYNs to a service by way of `director`, at most `rate` a second; each
    /// has a random source. Their TCP checksum is wrong: what a real server does against a flood is
    /// not what is tried.
    ///
    /// # Errors
    /// Those of packet sockets.
    pub fn start(
        from: &Host,
        director: Mac,
        to: SocketAddrV4,
        frames: u64,
        rate: u32,
        seed: u64,
    ) -> Result<Self> {
        let index = from.ns.index(&from.link)?;
        let source = from.mac;
        let thread = from.ns.thread("flood", move || {
            let socket = open(index).context("packet socket")?;
            bypass_qdisc(&socket)?;
            let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
            let syn = frame(director.0, source.0, nobody, to, SYN);
            send(&socket, syn, frames, rate, Random::new(seed))
        })?;
        Ok(Flood { thread })
    }

    /// Starts sending these frames over and over by a link, at most `rate` a second, for so long. By a
    /// port of the switch they reach its host alone, and cost nothing else.
    ///
    /// # Errors
    /// Those of packet sockets.
    pub fn repeat(
        ns: &Namespace,
        link: &str,
        frames: Vec<Vec<u8>>,
        rate: u32,
        time: Duration,
    ) -> Result<Self> {
        let index = ns.index(link)?;
        let thread = ns.thread("flood", move || {
            let socket = open(index).context("packet socket")?;
            bypass_qdisc(&socket)?;
            let begin = Instant::now();
            let mut sent = 0;
            for some in frames.chunks(BATCH).cycle() {
                crate::scratch::check_cancelled()?;
                let due = Duration::from_secs_f64(sent as f64 / f64::from(rate));
                if due >= time || begin.plus(time) <= Instant::now() {
                    break;
                }
                begin.plus(due).sleep();
                sent += batch(&socket, some)?;
            }
            let took = Instant::now().since(begin);
            Ok(Sent { frames: sent, took })
        })?;
        Ok(Flood { thread })
    }

    /// Whether all is sent.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What went wrong in sending.
    pub fn join(self) -> Result<Sent> {
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the flood panicked"))?
    }
}

fn send(
    socket: &OwnedFd,
    syn: [u8; LEN],
    frames: u64,
    rate: u32,
    mut random: Random,
) -> Result<Sent> {
    let mut buffers = [syn; BATCH];
    let begin = Instant::now();
    let mut sent = 0;
    while sent < frames {
        crate::scratch::check_cancelled()?;
        let due = Duration::from_secs_f64(sent as f64 / f64::from(rate));
        begin.plus(due).sleep();
        for buffer in &mut buffers {
            disguise(buffer, random.figure());
        }
        sent += batch(socket, &buffers)?;
    }
    Ok(Sent {
        frames: sent,
        took: Instant::now().since(begin),
    })
}

/// Gives a SYN another source.
fn disguise(syn: &mut [u8; LEN], random: u64) {
    let source = SOURCES | (random >> (64 - SOURCE_BITS)) as u32;
    let port = 1024 | random as u16;
    syn[26..30].copy_from_slice(&source.to_be_bytes());
    syn[34..36].copy_from_slice(&port.to_be_bytes());
    syn[24..26].fill(0);
    let sum = checksum(&syn[14..34]);
    syn[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// sendmmsg(2); how many the kernel took.
fn batch(socket: &OwnedFd, frames: &[impl AsRef<[u8]>]) -> Result<u64> {
    let part = |frame: &[u8]| libc::iovec {
        iov_base: frame.as_ptr().cast_mut().cast(),
        iov_len: frame.len(),
    };
    let mut parts: Vec<libc::iovec> = frames.iter().map(|f| part(f.as_ref())).collect();
    let message = |part: &mut libc::iovec| {
        // SAFETY: mmsghdr is plain data, for which zero is a value.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
    // SAFETY: the messages, their parts and the frames, which are only read, outlive the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as libc::c_uint,
            0,
        )
    };
    match u64::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match std::io::Error::last_os_error() {
            // The link's queue is full, as a flood has it.
            e if e.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
            e => Err(e).context("send frames"),
        },
    }
}

fn bypass_qdisc(socket: &OwnedFd) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is of the size that is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            QDISC_BYPASS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).context("PACKET_QDISC_BYPASS");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disguised_syn_is_a_packet_of_its_own() {
        let to = SocketAddrV4::new([10, 0, 0, 2].into(), 80);
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let mut syn = frame([1; 6], [2; 6], from, to, SYN);
        for random in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            disguise(&mut syn, random);
            assert_eq!((syn[26], syn[27] & 0xfe), (198, 18));
            assert_eq!(checksum(&syn[14..34]), 0);
        }
    }
}
