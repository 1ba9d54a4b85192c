//! Asks an address every few milliseconds whether it is there.

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::Instant;
use crate::namespace::{Mac, Namespace};
use crate::outage::{Answer, Outage, outage};
use crate::recorder::{Frame, Recorder, What, probe};

static NEXT: AtomicU16 = AtomicU16::new(1);

/// How to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// ICMP echo: whoever owns the address answers.
    Ping(IpAddr),
    /// A datagram to a UDP service: a real server answers.
    Udp(SocketAddrV4),
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Prober {
    id: u16,
    interval: Duration,
    asked: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Prober {
    /// Starts asking.
    ///
    /// # Errors
    /// Those of sockets and threads.
    pub fn start(ns: &Namespace, question: Question, interval: Duration) -> Result<Self> {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (their_asked, their_stop) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = ns.thread("probe", move || {
            ask(id, question, interval, &their_asked, &their_stop)
        })?;
        Ok(Prober {
            id,
            interval,
            asked,
            stop,
            thread: Some(thread),
        })
    }

    /// The time between two questions.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The answers among some frames.
    pub fn answers<'a>(
        &self,
        frames: &'a [Frame],
    ) -> impl DoubleEndedIterator<Item = Answer> + use<'a> {
        let id = self.id;
        frames.iter().filter_map(move |f| match f.what {
            What::Answer { prober, seq } if prober == id => Some(Answer {
                seq,
                at: f.at,
                from: f.src,
            }),
            _ => None,
        })
    }

    /// What the questions asked from `from` to `to` got. To be called some time after `to`, so that
    /// the last answers are in.
    #[must_use]
    pub fn outage(&self, recorder: &Recorder, from: Instant, to: Instant) -> Outage {
        let answers: Vec<_> = recorder.with(|frames| self.answers(frames).collect());
        let asked = self
            .asked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        outage(&asked, &answers, from, to, self.interval)
    }

    /// Waits until the address was answered from `mac` (or from anybody) `times` in a row, the first
    /// after `since`. Returns when that first answer came.
    ///
    /// # Errors
    /// When `limit` has passed.
    pub fn wait_answer(
        &self,
        recorder: &Recorder,
        mac: Option<Mac>,
        times: usize,
        since: Instant,
        limit: Duration,
    ) -> Result<Instant> {
        let what = mac.map_or_else(|| "an answer".into(), |m| format!("answers from {m}"));
        recorder.wait(&what, since, limit, |frames| {
            let mut first = None;
            let mut run = 0;
            for answer in self.answers(frames).rev().take(times) {
                if mac.is_some_and(|m| m != answer.from) {
                    return None;
                }
                run += 1;
                first = Some(answer.at);
            }
            (run == times).then_some(first).flatten()
        })
    }

    /// Waits for the first answer from `mac` after `since`. Returns when it came.
    ///
    /// # Errors
    /// When `limit` has passed.
    pub fn wait_first(
        &self,
        recorder: &Recorder,
        mac: Mac,
        since: Instant,
        limit: Duration,
    ) -> Result<Instant> {
        recorder.wait(&format!("an answer from {mac}"), since, limit, |frames| {
            self.answers(frames).find(|a| a.from == mac).map(|a| a.at)
        })
    }

    /// Who answered last, if within `within`.
    #[must_use]
    pub fn answering(&self, recorder: &Recorder, within: Duration) -> Option<Mac> {
        let since = Instant::now().minus(within);
        recorder.with(|frames| {
            self.answers(frames)
                .next_back()
                .filter(|a| a.at >= since)
                .map(|a| a.from)
        })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(Err(e))) => eprintln!("lab: prober: {e:#}"),
            Some(Err(_)) => eprintln!("lab: the prober panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

fn ask(
    id: u16,
    question: Question,
    interval: Duration,
    asked: &Mutex<Vec<Instant>>,
    stop: &AtomicBool,
) -> Result<()> {
    let (socket, to) = match question {
        Question::Ping(vip @ IpAddr::V4(_)) => (
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?,
            SocketAddr::new(vip, 0),
        ),
        // The kernel writes the checksum.
        Question::Ping(vip @ IpAddr::V6(_)) => (
            Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?,
            SocketAddr::new(vip, 0),
        ),
        Question::Udp(to) => (
            Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?,
            to.into(),
        ),
    };
    socket.set_nonblocking(true)?;
    crate::clock::be_punctual();
    let mut next = Instant::now();
    let mut seq = 0u32;
    while !stop.load(Ordering::Relaxed) {
        let data = match question {
            Question::Ping(vip) => {
                let mut request = echo_request(id, seq as u16, &probe(id, seq));
                if vip.is_ipv6() {
                    request[0] = ECHO_REQUEST_V6;
                }
                request
            }
            Question::Udp(_) => probe(id, seq).to_vec(),
        };
        asked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Instant::now());
        // A question that could not even be sent (no neighbour, link down) is one that was lost.
        let _ = socket.send_to(&data, &to.into());
        seq += 1;
        // The recorder sees the answers; here they only have to be taken away.
        let mut sink = [MaybeUninit::uninit(); 64];
        while socket.recv(&mut sink).is_ok() {}
        next = next.plus(interval).max(Instant::now().minus(interval));
        next.sleep();
    }
    Ok(())
}

/// RFC 4443 section 4.1.
const ECHO_REQUEST_V6: u8 = 128;

/// An ICMP echo request.
pub(crate) fn echo_request(id: u16, seq: u16, data: &[u8]) -> Vec<u8> {
    let mut p = vec![8, 0, 0, 0];
    p.extend(id.to_be_bytes());
    p.extend(seq.to_be_bytes());
    p.extend(data);
    let sum: u32 = p
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
    p[2..4].copy_from_slice(&sum.to_be_bytes());
    p
}

/// Waits until the last questions of a span had time to be answered.
///
/// # Errors
/// When the run was cancelled.
pub fn let_answers_in() -> Result<()> {
    crate::clock::pause(Duration::from_millis(150)).context("waiting for the last answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_sums_to_all_ones() {
        let p = echo_request(0x1234, 0xcdef, &probe(0x1234, 0x89ab_cdef));
        assert_eq!(p.len(), 8 + crate::recorder::PROBE_LEN);
        let sum: u32 = p
            .chunks(2)
            .map(|c| u32::from(u16::from_be_bytes([c[0], c[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
