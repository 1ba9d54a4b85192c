//! What `DR_PATH_CHECK` sends and hears: packets for the virtual address, which are sent to the real
//! server's MAC as direct routing does.
//!
//! A TCP service is asked for a connection, which is reset once it is granted, so that nothing waits
//! to be accepted. Others are asked for an echo; before it goes an empty datagram for a UDP service,
//! so that a port on which nobody listens is told before the echo comes back.
//!
//! The answers come to this host by its own address. They are known by numbers: the upper half of
//! what a probe puts into a sequence number or an echo is the same for all (a filter in the kernel
//! lets nothing else through), the lower is the port from which it asks.

use std::net::{IpAddr, SocketAddr};

use super::checker::{Failure, Verdict};
use super::ping::sum;
use crate::model::{Protocol, ServiceKey};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// What is read of an answer: the longest headers, and a quoted packet behind them.
pub const LONGEST: usize = 256;

/// How a frame gets to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The outgoing interface.
    pub ifindex: u32,
    /// The MAC of the real server, or of the router before it.
    pub mac: [u8; 6],
    /// This host's address on the way.
    pub source: IpAddr,
    /// The MAC is the server's own. It has no reason then to send the packet on: with a TTL of 1 it
    /// tells when it would.
    pub on_link: bool,
}

/// What a probe asks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// This host's address and a port that the probe has for itself.
    pub from: SocketAddr,
    /// The upper half of its numbers.
    pub magic: u16,
    /// As in [`Way`].
    pub on_link: bool,
}

/// An address that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The virtual address, and the port; 0: only the address.
    pub at: SocketAddr,
    /// The protocol of the service.
    pub protocol: Protocol,
}

impl Asked {
    /// For a service; `port` is that of the check, for a service that takes any.
    #[must_use]
    pub fn of(service: &ServiceKey, port: u16) -> Asked {
        let port = if service.port == 0 {
            port
        } else {
            service.port
        };
        Asked {
            at: SocketAddr::new(service.addr, port),
            protocol: service.protocol,
        }
    }

    fn connects(self) -> bool {
        self.protocol == Protocol::Tcp && self.at.port() != 0
    }

    /// The IP packets that ask, in order.
    #[must_use]
    pub fn question(self, asker: &Asker) -> Vec<Vec<u8>> {
        if self.connects() {
            return vec![asker.segment(self.at, asker.number().wrapping_sub(1), SYN)];
        }
        let mut out = Vec::new();
        if self.protocol == Protocol::Udp && self.at.port() != 0 {
            let mut datagram = Vec::from(asker.from.port().to_be_bytes());
            datagram.extend(self.at.port().to_be_bytes());
            datagram.extend([0, 8, 0, 0]);
            out.push(asker.packet(self.at.ip(), UDP, datagram, 6));
        }
        let mut echo = match self.at.is_ipv6() {
            true => vec![128, 0, 0, 0],
            false => vec![8, 0, 0, 0],
        };
        echo.extend(asker.number().to_be_bytes());
        out.push(asker.packet(self.at.ip(), icmp(self.at.ip()), echo, 2));
        out
    }

    /// The packet that takes the question back; nothing where nothing waits.
    #[must_use]
    pub fn farewell(self, asker: &Asker) -> Option<Vec<u8>> {
        self.connects()
            .then(|| asker.segment(self.at, asker.number(), RST))
    }

    /// What an answer means for this question; none when it is none to it.
    #[must_use]
    pub fn judge(self, asker: &Asker, heard: &Heard) -> Option<Verdict> {
        let failed = |why: &str| Verdict::Failed(Failure::Answer(format!("{} {why}", self.at)));
        let refused = || failed("is refused: does the server listen on it?");
        match *heard {
            Heard::Segment { from, to, ack, .. }
                if !self.connects()
                    || (from, to) != (self.at, asker.from)
                    || ack != asker.number() =>
            {
                None
            }
            Heard::Segment { granted: true, .. } => Some(Verdict::Ok),
            Heard::Segment { granted: false, .. } => Some(refused()),
            Heard::Echo { from, to, number } => (!self.connects()
                && (from, to, number) == (self.at.ip(), asker.from.ip(), asker.number()))
                .then_some(Verdict::Ok),
            Heard::Error {
                told, about, to, ..
            } => {
                let ours = about == asker.from
                    && to.ip() == self.at.ip()
                    && (to.port() == 0 || to.port() == self.at.port());
                ours.then(|| match told {
                    Told::Closed => refused(),
                    Told::Prohibited => failed("is prohibited by a firewall"),
                    Told::NotHere => Verdict::Failed(self.silence()),
                })
            }
        }
    }

    /// Why nothing came.
    #[must_use]
    pub fn silence(self) -> Failure {
        Failure::VirtualAddress(self.at.ip())
    }
}

const fn icmp(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => ICMP,
        IpAddr::V6(_) => ICMPV6,
    }
}

impl Asker {
    fn number(&self) -> u32 {
        u32::from(self.magic) << 16 | u32::from(self.from.port())
    }

    fn segment(&self, to: SocketAddr, sequence: u32, flags: u8) -> Vec<u8> {
        let mut out = Vec::from(self.from.port().to_be_bytes());
        out.extend(to.port().to_be_bytes());
        out.extend(sequence.to_be_bytes());
        // No acknowledgement; 24 octets of header; a window of 64240.
        out.extend([0, 0, 0, 0, 0x60, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        // The maximum segment size: 1,220 octets go through everywhere.
        out.extend([2, 4, 0x04, 0xc4]);
        self.packet(to.ip(), TCP, out, 16)
    }

    /// The IP packet around a message whose checksum belongs at `place`.
    fn packet(&self, to: IpAddr, protocol: u8, mut message: Vec<u8>, place: usize) -> Vec<u8> {
        let length = message.len() as u16;
        let ttl = if self.on_link { 1 } else { 64 };
        let mut out = Vec::with_capacity(40 + message.len());
        let mut summed = Vec::new();
        match (self.from.ip(), to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                out.extend([0x45, 0]);
                out.extend((20 + length).to_be_bytes());
                // No identification, as it must not be fragmented.
                out.extend([0, 0, 0x40, 0, ttl, protocol, 0, 0]);
                out.extend(from.octets());
                out.extend(to.octets());
                let header = !sum(&out);
                out[10..12].copy_from_slice(&header.to_be_bytes());
                if protocol != ICMP {
                    summed.extend(from.octets());
                    summed.extend(to.octets());
                }
            }
            (from, to) => {
                let six = |addr: IpAddr| match addr {
                    IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                    IpAddr::V6(a) => a.octets(),
                };
                out.extend([0x60, 0, 0, 0]);
                out.extend(length.to_be_bytes());
                out.extend([protocol, ttl]);
                out.extend(six(from));
                out.extend(six(to));
                summed.extend(six(from));
                summed.extend(six(to));
            }
        }
        if !summed.is_empty() {
            summed.extend([0, protocol]);
            summed.extend(length.to_be_bytes());
        }
        summed.extend(&message);
        let sum = match !sum(&summed) {
            // To UDP, 0 says that there is none.
            0 if protocol == UDP => 0xffff,
            sum => sum,
        };
        message[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        out.extend(message);
        out
    }
}

/// What an ICMP error tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nobody listens on the port.
    Closed,
    /// A firewall is in the way.
    Prohibited,
    /// The address is not the server's: it would have sent the packet on, or knows no way for it.
    NotHere,
}

/// An answer, or what may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A connection is granted or refused.
    Segment {
        /// Who says so.
        from: SocketAddr,
        /// To whom.
        to: SocketAddr,
        /// SYN and ACK; otherwise RST.
        granted: bool,
        /// The acknowledgement number.
        ack: u32,
    },
    /// An echo came back.
    Echo {
        /// From whom.
        from: IpAddr,
        /// To whom.
        to: IpAddr,
        /// Identifier and sequence number.
        number: u32,
    },
    /// A question was not delivered.
    Error {
        /// Why.
        told: Told,
        /// Who had asked; the port is known of an echo too, by its number.
        about: SocketAddr,
        /// Whom; port 0: by an echo.
        to: SocketAddr,
    },
}

impl Heard {
    /// Reads an IP packet; none when it is no answer to any question of ours. Checksums are not
    /// looked at.
    #[must_use]
    pub fn read(packet: &[u8], magic: u16) -> Option<Heard> {
        let ip = Ip::read(packet)?;
        let message = ip.message;
        match ip.protocol {
            TCP => {
                let flags = *message.get(13)?;
                let granted = flags & (SYN | ACK | RST) == SYN | ACK;
                let refused = flags & RST != 0;
                (granted || refused).then_some(Heard::Segment {
                    from: SocketAddr::new(ip.from, word(message, 0)?),
                    to: SocketAddr::new(ip.to, word(message, 2)?),
                    granted,
                    ack: number(message, 8)?,
                })
            }
            ICMP | ICMPV6 => {
                let v6 = ip.protocol == ICMPV6;
                let told = match (v6, *message.first()?, *message.get(1)?) {
                    (false, 0, _) | (true, 129, _) => {
                        return Some(Heard::Echo {
                            from: ip.from,
                            to: ip.to,
                            number: number(message, 4)?,
                        });
                    }
                    (false, 3, 3) | (true, 1, 4) => Told::Closed,
                    (false, 3, 9 | 10 | 13) | (true, 1, 1) => Told::Prohibited,
                    (false, 3 | 11, _) | (true, 1 | 3, _) => Told::NotHere,
                    _ => return None,
                };
                let quoted = Ip::read(message.get(8..)?)?;
                let (from_port, to_port) = match quoted.protocol {
                    TCP | UDP => (word(quoted.message, 0)?, word(quoted.message, 2)?),
                    ICMP | ICMPV6 => {
                        let number = number(quoted.message, 4)?;
                        if number >> 16 != u32::from(magic) {
                            return None;
                        }
                        (number as u16, 0)
                    }
                    _ => return None,
                };
                Some(Heard::Error {
                    told,
                    about: SocketAddr::new(quoted.from, from_port),
                    to: SocketAddr::new(quoted.to, to_port),
                })
            }
            _ => None,
        }
    }

    /// The address and port that asked, by which the probe is found.
    #[must_use]
    pub fn asker(&self) -> SocketAddr {
        match *self {
            Heard::Segment { to, .. } => to,
            Heard::Echo { to, number, .. } => SocketAddr::new(to, number as u16),
            Heard::Error { about, .. } => about,
        }
    }
}

struct Ip<'p> {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    message: &'p [u8],
}

impl<'p> Ip<'p> {
    fn read(packet: &'p [u8]) -> Option<Ip<'p>> {
        let at = |from: usize, n: usize| packet.get(from..from + n);
        match packet.first()? >> 4 {
            4 => {
                let length = usize::from(packet[0] & 0xf) * 4;
                let four = |from| <[u8; 4]>::try_from(at(from, 4)?).ok();
                Some(Ip {
                    from: four(12)?.into(),
                    to: four(16)?.into(),
                    protocol: *packet.get(9)?,
                    message: packet.get(length.max(20)..)?,
                })
            }
            6 => {
                let sixteen = |from| <[u8; 16]>::try_from(at(from, 16)?).ok();
                Some(Ip {
                    from: sixteen(8)?.into(),
                    to: sixteen(24)?.into(),
                    protocol: *packet.get(6)?,
                    message: packet.get(40..)?,
                })
            }
            _ => None,
        }
    }
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(octets))
}

fn number(octets: &[u8], at: usize) -> Option<u32> {
    let octets = octets.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(octets))
}

#[cfg(test)]
mod tests;
