//! Counts, on the switch, how often each packet from a client to a service leaves a director.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{LinkAddr, recvfrom};

use crate::recorder::{dropped, open};
use crate::switch::{Host, Switch};

/// Counts until it is stopped.
#[derive(Debug)]
pub struct Tap {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Counts>>,
}

/// What passed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Crossings {
    /// Packets that the client sent.
    pub sent: u64,
    /// Packets that a director sent on, by its name.
    pub forwarded: BTreeMap<String, u64>,
    /// Packets that left directors more often than the client had sent them, with both numbers.
    pub repeated: Vec<(Packet, u32, u32)>,
}

/// What tells a packet from all others of a short run: a socket numbers its packets, and a segment
/// that is sent again is counted as sent again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Packet {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// To which service.
    pub to: SocketAddrV4,
    /// The IP protocol.
    pub protocol: u8,
    /// The IP identification.
    pub id: u16,
    /// TCP's sequence number, UDP's length and checksum.
    pub detail: u32,
    /// TCP's flags.
    pub flags: u8,
}

/// How often a packet came from the client, and how often from each director.
type Counts = HashMap<Packet, [u32; 3]>;

impl Tap {
    /// Starts counting what the client sends to the virtual address and what the directors send on.
    ///
    /// # Errors
    /// Those of packet sockets.
    pub fn start(
        switch: &Switch,
        client: &Host,
        directors: [&Host; 2],
        vip: Ipv4Addr,
    ) -> Result<Self> {
        let socket = switch.ns().call(|| open(0)).context("packet socket")?;
        let ports = [client, directors[0], directors[1]].map(|host| host.port.index());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("tap".into())
            .spawn(move || count(&socket, ports, vip, &stopped))?;
        Ok(Tap { stop, thread })
    }

    /// Stops.
    ///
    /// # Errors
    /// When a frame was missed, for then the count proves nothing.
    pub fn stop(self) -> Result<Crossings> {
        self.stop.store(true, Ordering::Relaxed);
        let counts = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("the tap panicked"))??;
        let mut crossings = Crossings::default();
        for (packet, [sent, first, second]) in counts {
            crossings.sent += u64::from(sent);
            for (name, n) in [("ds1", first), ("ds2", second)] {
                *crossings.forwarded.entry(name.into()).or_default() += u64::from(n);
            }
            if first + second > sent {
                crossings.repeated.push((packet, sent, first + second));
            }
        }
        Ok(crossings)
    }
}

fn count(socket: &OwnedFd, ports: [u32; 3], vip: Ipv4Addr, stop: &AtomicBool) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut buffer = [0u8; 64];
    while !stop.load(Ordering::Relaxed) {
        let (len, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok(got) => got,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
            Err(nix::errno::Errno::ENETDOWN) => continue,
            Err(e) => return Err(e).context("receive frames"),
        };
        let Some(from) = from else { continue };
        if from.pkttype() == libc::PACKET_OUTGOING {
            continue;
        }
        let port = ports
            .iter()
            .position(|port| usize::try_from(*port) == Ok(from.ifindex()));
        if let (Some(port), Some(packet)) = (port, buffer.get(..len).and_then(parse))
            && *packet.to.ip() == vip
        {
            counts.entry(packet).or_default()[port] += 1;
        }
    }
    let lost = dropped(socket)?;
    ensure!(lost == 0, "{lost} frames were lost by the packet socket");
    Ok(counts)
}

/// Reads TCP and UDP over IPv4 without options.
fn parse(frame: &[u8]) -> Option<Packet> {
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    if word(12)? != 0x0800 || frame.get(14)? != &0x45 {
        return None;
    }
    let protocol = *frame.get(23)?;
    let (detail, flags) = match protocol {
        6 => (long(38)?, *frame.get(47)?),
        17 => (long(38)?, 0),
        _ => return None,
    };
    Some(Packet {
        from: SocketAddrV4::new(long(26)?.into(), word(34)?),
        to: SocketAddrV4::new(long(30)?.into(), word(36)?),
        protocol,
        id: word(18)?,
        detail,
        flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ACK, Kind, SYN, frame};

    #[test]
    fn a_packet_keeps_its_identity_on_its_way() {
        let client = SocketAddrV4::new([10, 0, 0, 1].into(), 999);
        let service = SocketAddrV4::new([10, 0, 0, 2].into(), 80);
        let sent = frame([1; 6], [2; 6], client, service, SYN);
        let mut forwarded = sent;
        forwarded[..12].fill(3);
        forwarded[22] -= 1;
        let packet = parse(&sent).unwrap();
        assert_eq!((packet.from, packet.to), (client, service));
        assert_eq!(parse(&forwarded), Some(packet));
        let mut next = sent;
        next[19] += 1;
        let others = [next, frame([1; 6], [2; 6], client, service, ACK)];
        for other in others {
            assert_ne!(parse(&other), Some(packet));
        }
        let udp = parse(&frame([1; 6], [2; 6], client, service, Kind::Udp)).unwrap();
        assert_eq!(udp.protocol, 17);
        for len in 0..sent.len() {
            let _ = parse(&sent[..len]);
        }
    }
}
