//! The rules of the data plane written down a second time, plainly: what a frame's verdict must be.
//!
//! Flows do not expire here, and their table is never full: the fuzzer sees to both.

use std::collections::HashMap;

use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, SERVICE_LOCAL, SERVICE_SLOPPY,
};
use lb_common::reason::Reason;
use lb_tests::dataplane::{Action, IFINDEX};

use crate::frame::{OWN, PEER, TCP, UDP, VIP, checksum};
use crate::world::{self, Service};

/// What the rules say of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) action: Action,
    pub(crate) frame: Vec<u8>,
    /// Why, unless it was forwarded.
    pub(crate) reason: Option<Reason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tcp {
    Established,
    SynRecv,
    FinWait,
    TimeWait,
    Close,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    backend: u16,
    /// None: UDP.
    state: Option<Tcp>,
}

type Client = ([u8; 4], u16);

/// All that the rules depend on.
pub(crate) struct Model {
    services: Vec<Service>,
    backends: HashMap<u16, Backend>,
    flows: HashMap<(Client, u16), Entry>,
    turns: HashMap<u16, usize>,
    templates: HashMap<([u8; 3], u16), u16>,
    /// Where first fragments went, and when: source, identification, protocol.
    fragments: HashMap<([u8; 4], u16, u8), (u16, u32)>,
    /// Counted so far, by reason.
    pub(crate) reasons: Vec<u64>,
    /// Packets and connections so far, by backend.
    pub(crate) packets: HashMap<u16, (u64, u64, u64)>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Model {
            services: world::services(),
            backends: world::backends().into_iter().collect(),
            flows: HashMap::new(),
            turns: HashMap::new(),
            templates: HashMap::new(),
            fragments: HashMap::new(),
            reasons: vec![0; Reason::COUNT],
            packets: HashMap::new(),
        }
    }

    /// What becomes of a frame at this tick.
    pub(crate) fn expect(&mut self, frame: &[u8], now: u32) -> Expected {
        match self.decide(frame, now) {
            Ok(backend) => {
                let to = self.backends[&backend];
                let counters = self.packets.entry(backend).or_default();
                counters.0 += 1;
                counters.1 += u64::from(u16::from_be_bytes([frame[16], frame[17]]));
                if to.flags & BACKEND_LOCAL != 0 {
                    return Expected {
                        action: Action::Pass,
                        frame: frame.to_vec(),
                        reason: None,
                    };
                }
                let mut out = frame.to_vec();
                out[..6].copy_from_slice(&to.dmac);
                out[6..12].copy_from_slice(&to.smac);
                lower_ttl(&mut out);
                let action = if to.ifindex == IFINDEX {
                    Action::Transmit
                } else {
                    Action::Redirect
                };
                Expected {
                    action,
                    frame: out,
                    reason: None,
                }
            }
            Err(reason) => {
                self.reasons[reason as usize] += 1;
                let action = if reason.passes() {
                    Action::Pass
                } else {
                    Action::Drop
                };
                Expected {
                    action,
                    frame: frame.to_vec(),
                    reason: Some(reason),
                }
            }
        }
    }

    fn decide(&mut self, frame: &[u8], now: u32) -> Result<u16, Reason> {
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        if frame.len() < 14 || word(12) != 0x0800 {
            return Err(Reason::NotIp);
        }
        let ip = &frame[14..];
        if ip.len() < 20 {
            return Err(Reason::Truncated);
        }
        let (header, total) = (usize::from(ip[0] & 15) * 4, usize::from(word(16)));
        if ip[0] >> 4 != 4 {
            return Err(Reason::Malformed);
        }
        if header < 20 {
            return Err(Reason::BadHeaderLength);
        }
        if total > ip.len() {
            return Err(Reason::BadTotalLength);
        }
        if total < header {
            return Err(Reason::BadHeaderLength);
        }
        if ip[9] != TCP && ip[9] != UDP && ip[9] != SCTP {
            return Err(Reason::OtherProtocol);
        }
        let (more, offset) = (word(20) & 0x2000 != 0, word(20) & 0x1fff);
        let to_own = frame[..6] == OWN || frame[..5] == [0, 0, 0x5e, 0, 1];
        let packet = ([ip[12], ip[13], ip[14], ip[15]], word(18), ip[9]);
        if offset != 0 {
            let first = self.fragments.get(&packet).copied();
            let (backend, _) = first
                .filter(|&(_, at)| ip[16..20] == VIP.octets() && now.wrapping_sub(at) <= 3)
                .ok_or(Reason::LaterFragment)?;
            if !to_own {
                return Err(Reason::OtherMac);
            }
            if frame[6..12] == PEER {
                return Err(Reason::PeerDirector);
            }
            self.reasons[Reason::FragmentFollowed as usize] += 1;
            return self.passable(backend, ip[8]);
        }
        if total < header + 8 {
            return Err(Reason::Truncated);
        }
        let l4 = &ip[header..total];
        let port = u16::from_be_bytes([l4[2], l4[3]]);
        let service = self
            .services
            .iter()
            .find(|s| ip[16..20] == VIP.octets() && s.port == port && s.proto == ip[9])
            .cloned()
            .ok_or(Reason::NoService)?;
        if !to_own {
            return Err(Reason::OtherMac);
        }
        if frame[6..12] == PEER {
            return Err(if service.flags & SERVICE_LOCAL != 0 {
                Reason::PeerLocal
            } else {
                Reason::PeerDirector
            });
        }
        if is_source_routed(&ip[20..header]) {
            return Err(Reason::SourceRoute);
        }
        if ip[12..16] == VIP.octets() {
            return Err(Reason::Land);
        }
        let flags = if ip[9] == TCP {
            if l4.len() < 20 {
                return Err(Reason::ShortHeader);
            }
            Some(l4[13])
        } else {
            None
        };
        let client = (
            [ip[12], ip[13], ip[14], ip[15]],
            u16::from_be_bytes([l4[0], l4[1]]),
        );
        let backend = self.flow(&service, client, flags)?;
        if more {
            self.fragments.insert(packet, (backend, now));
        }
        self.passable(backend, ip[8])
    }

    /// The backend, unless a packet with this TTL cannot go there.
    fn passable(&self, backend: u16, ttl: u8) -> Result<u16, Reason> {
        let to = self.backends[&backend];
        if to.flags & (BACKEND_LOCAL | BACKEND_RESOLVED) == 0 {
            return Err(Reason::BackendUnresolved);
        }
        if to.flags & BACKEND_LOCAL == 0 && ttl <= 1 {
            return Err(Reason::TtlExpired);
        }
        Ok(backend)
    }

    fn flow(
        &mut self,
        service: &Service,
        client: Client,
        flags: Option<u8>,
    ) -> Result<u16, Reason> {
        let key = (client, service.id);
        let opens = flags.is_none_or(|flags| flags & SYN != 0 && flags & RST == 0);
        if let Some(entry) = self.flows.get(&key).copied() {
            let gone = opens && !self.is_usable(entry.backend, service.id);
            let reuses =
                flags.is_some() && opens && matches!(entry.state, Some(Tcp::TimeWait | Tcp::Close));
            if !gone && !reuses {
                let state = flags.map(|flags| step(entry.state, flags));
                self.flows.insert(key, Entry { state, ..entry });
                return Ok(entry.backend);
            }
            self.flows.remove(&key);
            let backend = self.schedule(service, client)?;
            if gone && !reuses {
                self.reasons[Reason::Rescheduled as usize] += 1;
            }
            self.flows.insert(
                key,
                Entry {
                    backend,
                    state: flags.map(|flags| step(None, flags)),
                },
            );
            return Ok(backend);
        }
        let midstream = service.hash || service.flags & SERVICE_SLOPPY != 0;
        let may_open = opens || midstream && flags.is_some_and(|flags| flags & RST == 0);
        if !may_open {
            return Err(Reason::TcpNoFlow);
        }
        let backend = self.schedule(service, client)?;
        self.flows.insert(
            key,
            Entry {
                backend,
                state: flags.map(|flags| step(None, flags)),
            },
        );
        Ok(backend)
    }

    fn is_usable(&self, backend: u16, service: u16) -> bool {
        self.backends.get(&backend).is_some_and(|b| {
            b.service == service
                && b.flags & BACKEND_DOWN == 0
                && b.flags & (BACKEND_RESOLVED | BACKEND_LOCAL) != 0
        })
    }

    fn schedule(&mut self, service: &Service, client: Client) -> Result<u16, Reason> {
        let network = ([client.0[0], client.0[1], client.0[2]], service.id);
        let kept = self
            .templates
            .get(&network)
            .copied()
            .filter(|&b| self.is_usable(b, service.id));
        let backend = match kept {
            Some(backend) => backend,
            None => self.take_turn(service, client)?,
        };
        if service.persist_ticks != 0 {
            self.templates.insert(network, backend);
        }
        self.packets.entry(backend).or_default().2 += 1;
        Ok(backend)
    }

    fn take_turn(&mut self, service: &Service, client: Client) -> Result<u16, Reason> {
        let len = service.table.len();
        if len == 0 {
            return Err(Reason::NoServer);
        }
        let start = if service.hash {
            // hash_32(address, 8)
            (u64::from(u32::from_be_bytes(client.0)) * 0x61c8_8647 % (1 << 32)) as usize >> 24
        } else {
            let turn = self.turns.entry(service.id).or_default();
            *turn += 1;
            (*turn - 1) % len
        };
        if service.table[start] == 0 {
            return Err(Reason::NoServer);
        }
        for attempt in 0..16 {
            let backend = service.table[(start + attempt * (len / 16 + 1)) % len];
            if backend != 0 && self.is_usable(backend, service.id) {
                if attempt > 0 {
                    self.reasons[Reason::BackendSkipped as usize] += 1;
                }
                return Ok(backend);
            }
        }
        Err(Reason::BackendUnresolved)
    }
}

const SCTP: u8 = 132;

/// Whether IP options say where to go: LSRR or SSRR, before the end or an option that cannot be.
fn is_source_routed(mut options: &[u8]) -> bool {
    loop {
        match *options {
            [] | [0, ..] => return false,
            [131 | 137, ..] => return true,
            [1, ref rest @ ..] => options = rest,
            [_, len, ..] if len >= 2 && usize::from(len) <= options.len() => {
                options = &options[usize::from(len)..];
            }
            _ => return false,
        }
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The states that can be reached when only the client is seen, from `ip_vs_proto_tcp.c`.
fn step(from: Option<Tcp>, flags: u8) -> Tcp {
    use Tcp::{Close, Established, FinWait, SynRecv, TimeWait};
    if flags & RST != 0 {
        if from == Some(SynRecv) {
            SynRecv
        } else {
            Close
        }
    } else if flags & SYN != 0 {
        if from == Some(Established) {
            Established
        } else {
            SynRecv
        }
    } else if flags & FIN != 0 {
        match from {
            None | Some(Close) => Close,
            Some(Established | FinWait) => FinWait,
            Some(SynRecv | TimeWait) => TimeWait,
        }
    } else if flags & ACK != 0 {
        match from {
            None | Some(Established | SynRecv) => Established,
            Some(FinWait) => FinWait,
            Some(TimeWait) => TimeWait,
            Some(Close) => Close,
        }
    } else {
        Close
    }
}

/// Takes one from the TTL and puts the header checksum right, if it was.
fn lower_ttl(frame: &mut [u8]) {
    let end = 14 + usize::from(frame[14] & 15) * 4;
    let sum = |frame: &[u8]| {
        let mut header = frame[14..end].to_vec();
        header[10..12].fill(0);
        checksum(&header)
    };
    let (there, right) = (u16::from_be_bytes([frame[24], frame[25]]), sum(frame));
    frame[22] -= 1;
    // One that was wrong stays as wrong as it was (one's complement arithmetic).
    let after = if there == right {
        sum(frame)
    } else {
        let sum = u32::from(there) + 0x0100;
        (sum + u32::from(sum >= 0xffff)) as u16
    };
    frame[24..26].copy_from_slice(&after.to_be_bytes());
}
