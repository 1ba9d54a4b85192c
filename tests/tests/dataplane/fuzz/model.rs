//! The rules of the data plane written down a second time, plainly: what a frame's verdict must be.
//! They are those of `docs/counters.md`, ARCHITECTURE.md and the RFCs, not the program's.

use std::collections::HashMap;

use lb_common::maps::{BACKEND_LOCAL, BACKEND_RESOLVED};
use lb_common::reason::{Kind, Reason};
use lb_tests::dataplane::{Action, VRIDS};

use super::connections::{Connections, Key};
use super::frame::{OWN, PEER, SCTP, TCP, octets};
use super::output;
use super::packet::{Packet, PacketId};
use super::states::Event;
use super::world::{self, Server, Service};

/// How many ticks fragments follow their first one.
const FRAGMENT_TICKS: u32 = 3;

/// What the rules say of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) action: Action,
    pub(crate) frame: Vec<u8>,
    /// Why, unless it was forwarded.
    pub(crate) reason: Option<Reason>,
}

/// All that the rules depend on.
pub(crate) struct Model {
    services: Vec<Service>,
    pub(crate) connections: Connections,
    /// Whether the program knows the interface.
    pub(crate) knows_iface: bool,
    /// Where first fragments went, and when.
    fragments: HashMap<PacketId, (u16, u32)>,
    /// Counted so far, by reason.
    pub(crate) reasons: Vec<u64>,
    /// Packets and bytes so far, by server.
    pub(crate) packets: HashMap<u16, (u64, u64)>,
}

/// The way of a packet to its server, or not.
struct Sent {
    server: Server,
    /// Longer than the way takes: so many bytes would fit, and whether its sender is told.
    too_big: Option<(u16, bool)>,
}

impl Model {
    pub(crate) fn new() -> Model {
        let services = world::services();
        Model {
            connections: Connections::new(&services),
            services,
            knows_iface: true,
            fragments: HashMap::new(),
            reasons: vec![0; Reason::COUNT],
            packets: HashMap::new(),
        }
    }

    /// What becomes of a frame; `out` is what the program made of it, of which only what may be
    /// anything is taken.
    pub(crate) fn expect(&mut self, frame: &[u8], now: impl Fn() -> u32, out: &[u8]) -> Expected {
        let packet = Packet::of_frame(frame);
        let decided = packet
            .and_then(|packet| Ok((self.decide(frame, &packet, now)?, packet)))
            .and_then(|(sent, packet)| match sent.too_big {
                Some((_, false)) => Err(Reason::TooBig),
                Some(_) | None => Ok((sent, packet)),
            });
        for note in std::mem::take(&mut self.connections.notes) {
            self.reasons[note as usize] += 1;
        }
        let (reason, action, frame) = match decided {
            Err(reason) => {
                let action = match reason.kind() {
                    Kind::Pass => Action::Pass,
                    Kind::Drop => Action::Drop,
                    Kind::Note => unreachable!("a note is no verdict"),
                };
                (Some(reason), action, frame.to_vec())
            }
            Ok((sent, packet)) => match sent.too_big {
                Some((mtu, _)) => {
                    let answer = output::told(frame, &packet, mtu, out);
                    (Some(Reason::TooBigAnswered), Action::Transmit, answer)
                }
                None => {
                    let counted = self.packets.entry(sent.server.index).or_default();
                    counted.0 += 1;
                    counted.1 += packet.bytes.len() as u64;
                    if sent.server.flags & BACKEND_LOCAL != 0 {
                        (None, Action::Pass, frame.to_vec())
                    } else {
                        let action = if sent.server.is_elsewhere {
                            Action::Redirect
                        } else {
                            Action::Transmit
                        };
                        let forwarded = output::forwarded(frame, &packet, &sent.server, out);
                        (None, action, forwarded)
                    }
                }
            },
        };
        if let Some(reason) = reason {
            self.reasons[reason as usize] += 1;
        }
        Expected {
            action,
            frame,
            reason,
        }
    }

    fn decide(
        &mut self,
        frame: &[u8],
        packet: &Packet<'_>,
        now: impl Fn() -> u32,
    ) -> Result<Sent, Reason> {
        if packet.is_later_fragment() {
            return self.later_fragment(frame, packet, now);
        }
        if packet.is_icmp() {
            return self.icmp(frame, packet);
        }
        if !packet.has_ports() {
            return Err(Reason::OtherProtocol);
        }
        if packet.l4.len() < 8 {
            return Err(Reason::Truncated);
        }
        let (source, port) = packet.ports().ok_or(Reason::Truncated)?;
        let service = self.service(packet.dst, port, packet.proto)?;
        self.arrives(frame, &service)?;
        not_hostile(packet)?;
        let event = match packet.proto {
            TCP => Event::Tcp(
                *packet
                    .l4
                    .get(..20)
                    .ok_or(Reason::ShortHeader)?
                    .get(13)
                    .expect("20"),
            ),
            SCTP => Event::Sctp(packet.l4.get(..16).ok_or(Reason::ShortHeader)?[12]),
            _ => Event::Udp,
        };
        let key = Key {
            service: service.id,
            client: (packet.src, source),
            port,
        };
        let server = self.connections.packet(&service, key, event)?;
        if let Some(fragment) = packet.fragment {
            self.fragments.insert(fragment.packet, (server, now()));
        }
        self.send(server, packet)
    }

    fn later_fragment(
        &mut self,
        frame: &[u8],
        packet: &Packet<'_>,
        now: impl Fn() -> u32,
    ) -> Result<Sent, Reason> {
        // With IPv4 it says of what protocol it is a part.
        if packet.is_v4() && !packet.has_ports() {
            return Err(Reason::OtherProtocol);
        }
        let first = packet
            .fragment
            .and_then(|fragment| self.fragments.get(&fragment.packet).copied())
            .filter(|&(_, at)| now().wrapping_sub(at) <= FRAGMENT_TICKS);
        let (server, _) = first.ok_or(Reason::LaterFragment)?;
        let of = self.connections.servers[&server].service;
        let service = self.services[usize::from(of) - 1].clone();
        self.arrives(frame, &service)?;
        not_hostile(packet)?;
        self.connections.notes.push(Reason::FragmentFollowed);
        self.send(server, packet)
    }

    fn icmp(&mut self, frame: &[u8], packet: &Packet<'_>) -> Result<Sent, Reason> {
        let quoted = packet.quote()?.ok_or(Reason::OtherProtocol)?;
        let (port, client) = quoted.ports().ok_or(Reason::Truncated)?;
        let service = self.service(quoted.src, port, quoted.proto)?;
        self.arrives(frame, &service)?;
        not_hostile(packet)?;
        let key = Key {
            service: service.id,
            client: (quoted.dst, client),
            port,
        };
        let server = self.connections.about(&service, key)?;
        let sent = self.send(server, packet)?;
        if sent.too_big.is_none() {
            self.connections.notes.push(Reason::IcmpError);
        }
        Ok(sent)
    }

    fn service(&self, vip: std::net::IpAddr, port: u16, proto: u8) -> Result<Service, Reason> {
        let of = |port| {
            self.services
                .iter()
                .find(|s| (s.vip, s.port, s.proto) == (vip, port, proto))
        };
        of(port).or_else(|| of(0)).cloned().ok_or(Reason::NoService)
    }

    /// Whether a frame for a service is for this host, and not from another director.
    fn arrives(&self, frame: &[u8], service: &Service) -> Result<(), Reason> {
        if !self.knows_iface {
            return Err(Reason::UnknownIface);
        }
        // RFC 9568, 7.3.
        let is_virtual = match frame[..6] {
            [0, 0, 0x5e, 0, 1 | 2, vrid] => VRIDS.contains(&vrid),
            _ => false,
        };
        if let [0, 0, 0x5e, 0, 1 | 2, _] = frame[..6]
            && !is_virtual
        {
            return Err(Reason::VirtualMac);
        }
        if frame[..6] != OWN && !is_virtual {
            return Err(Reason::OtherMac);
        }
        if frame[6..12] == PEER {
            return Err(if service.is_local {
                Reason::PeerLocal
            } else {
                Reason::PeerDirector
            });
        }
        Ok(())
    }

    /// What is on the way to a server.
    fn send(&self, server: u16, packet: &Packet<'_>) -> Result<Sent, Reason> {
        let server = self.connections.servers[&server];
        if server.flags & BACKEND_LOCAL != 0 {
            return Ok(Sent {
                server,
                too_big: None,
            });
        }
        if server.flags & BACKEND_RESOLVED == 0 {
            return Err(Reason::BackendUnresolved);
        }
        if packet.ttl <= 1 {
            return Err(Reason::TtlExpired);
        }
        let fits = usize::from(server.mtu).saturating_sub(output::overhead(&server));
        let too_big = (server.mtu != 0 && packet.bytes.len() > fits)
            .then(|| (fits as u16, may_be_told(packet, fits)));
        Ok(Sent { server, too_big })
    }
}

/// What nobody sends in good faith.
fn not_hostile(packet: &Packet<'_>) -> Result<(), Reason> {
    if packet.is_source_routed {
        return Err(Reason::SourceRoute);
    }
    if packet.src == packet.dst {
        return Err(Reason::Land);
    }
    Ok(())
}

/// RFC 1812, 4.3.2.7 and 5.3.7; RFC 4443, 2.4 (e): whether an ICMP error may answer a packet. No link
/// has a smaller MTU than RFC 791 and RFC 8200, 5 allow: nobody is told of one.
fn may_be_told(packet: &Packet<'_>, mtu: usize) -> bool {
    let source = octets(packet.src);
    let is_error = packet.is_icmp() && !packet.is_later_fragment();
    if packet.is_v4() {
        let is_host = !matches!(source[0], 0 | 127 | 224..);
        packet.dont_fragment && is_host && !is_error && !packet.is_later_fragment() && mtu >= 68
    } else {
        let is_host = source[0] != 0xff && source.iter().any(|&byte| byte != 0);
        is_host && !is_error && mtu >= 1280
    }
}
