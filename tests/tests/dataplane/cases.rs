//! Packet cases as a table: what is there, what comes in, what goes out.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use lb_common::flow::FlowValue;
use lb_common::maps::{BACKEND_DOWN, Template, template_key};
use lb_common::reason::Reason;
use lb_common::sched::sh_hash;
use lb_common::tcp::{ACK, FIN, RST, SYN, State};
use lb_tests::dataplane::{Action, Director};

use crate::frame::{Frame, OWN, PEER, assert_forwarded};
use crate::world::{
    self, EMPTY, HALF_UNRESOLVED, HASH, HASH_WEIGHT_0, LOCAL, OTHER_NIC, PERSIST_TICKS, PERSISTENT,
    RR, SLOPPY, UDP_DOWN, UDP_RR, UNRESOLVED, addr,
};

/// What is in the maps before the frame comes.
#[derive(Clone, Copy)]
enum Before {
    /// No flow, no turn taken.
    Nothing,
    /// The frame's flow, of this backend, in this state, silent for that many ticks.
    Flow(u16, State, u32),
    /// As `Flow`, just seen, and its backend is down.
    DownFlow(u16, State),
    /// The client's template: backend, ticks since it was used.
    Template(u16, u32),
    /// As `Template`, and its backend is down.
    DownTemplate(u16),
}

/// What becomes of the frame.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Sent to this backend, and the flow is in this state.
    To(u16, State),
    /// Up the stack, counted at this backend, which is this host.
    Here(u16),
    /// Passed or dropped for this reason, unchanged.
    Not(Reason),
}

use Before::{DownFlow, DownTemplate, Flow, Nothing};
use Then::{Here, Not, To};

struct Case {
    name: &'static str,
    before: Before,
    frame: Frame,
    then: Then,
    /// A note that must have been counted besides.
    note: Option<Reason>,
}

fn client() -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(10, 1, 2, 3), 40000)
}

fn tcp(port: u16, flags: u8) -> Frame {
    Frame::tcp(client(), port, flags)
}

fn udp(port: u16) -> Frame {
    Frame::udp(client(), port)
}

fn case(name: &'static str, before: Before, frame: Frame, then: Then) -> Case {
    Case {
        name,
        before,
        frame,
        then,
        note: None,
    }
}

fn noted(name: &'static str, before: Before, frame: Frame, then: Then, note: Reason) -> Case {
    Case {
        note: Some(note),
        ..case(name, before, frame, then)
    }
}

fn not_for_us() -> Vec<Case> {
    let other = |change: fn(&mut Frame)| {
        let mut frame = tcp(RR, SYN);
        change(&mut frame);
        frame
    };
    vec![
        case(
            "ARP",
            Nothing,
            other(|f| f.ethertype = 0x0806),
            Not(Reason::NotIp),
        ),
        case(
            "IPv6",
            Nothing,
            other(|f| f.ethertype = 0x86dd),
            Not(Reason::NotIp),
        ),
        case(
            "a VLAN tag",
            Nothing,
            other(|f| f.ethertype = 0x8100),
            Not(Reason::NotIp),
        ),
        case(
            "ICMP to the VIP",
            Nothing,
            other(|f| f.proto = 1),
            Not(Reason::OtherProtocol),
        ),
        case(
            "VRRP",
            Nothing,
            other(|f| f.proto = 112),
            Not(Reason::OtherProtocol),
        ),
        case(
            "SSH to the VIP",
            Nothing,
            tcp(22, SYN),
            Not(Reason::NoService),
        ),
        case(
            "TCP to a UDP service",
            Nothing,
            tcp(UDP_RR, SYN),
            Not(Reason::NoService),
        ),
        case(
            "UDP to a TCP service",
            Nothing,
            udp(RR),
            Not(Reason::NoService),
        ),
        case(
            "another address",
            Nothing,
            other(|f| f.dst.0 = Ipv4Addr::new(192, 0, 2, 2)),
            Not(Reason::NoService),
        ),
        case(
            "a flooded frame for another host",
            Nothing,
            other(|f| f.dmac = [2, 0, 0, 0, 0, 9]),
            Not(Reason::OtherMac),
        ),
        case(
            "broadcast",
            Nothing,
            other(|f| f.dmac = [255; 6]),
            Not(Reason::OtherMac),
        ),
        case(
            "VRRP's IPv6 MAC",
            Nothing,
            other(|f| f.dmac = [0, 0, 0x5e, 0, 2, 7]),
            Not(Reason::OtherMac),
        ),
        case(
            "IP version 5",
            Nothing,
            other(|f| f.version = 5),
            Not(Reason::Malformed),
        ),
        case(
            "a cut IP header",
            Nothing,
            other(|f| f.cut = Some(33)),
            Not(Reason::Malformed),
        ),
        case(
            "only an Ethernet header",
            Nothing,
            other(|f| f.cut = Some(14)),
            Not(Reason::Malformed),
        ),
        case(
            "total length beyond the frame",
            Nothing,
            other(|f| f.length_error = 1),
            Not(Reason::Malformed),
        ),
        case(
            "total length within the ports",
            Nothing,
            other(|f| f.length_error = -13),
            Not(Reason::Malformed),
        ),
        case(
            "a later fragment",
            Nothing,
            other(|f| f.fragment = 0x2010),
            Not(Reason::LaterFragment),
        ),
        case(
            "the last fragment",
            Nothing,
            other(|f| f.fragment = 0x0010),
            Not(Reason::LaterFragment),
        ),
        case(
            "the first fragment",
            Nothing,
            other(|f| f.fragment = 0x2000),
            Not(Reason::Fragment),
        ),
        case(
            "a TCP header of 19 bytes",
            Nothing,
            other(|f| f.length_error = -1),
            Not(Reason::ShortHeader),
        ),
        case(
            "TTL 1",
            Nothing,
            other(|f| f.ttl = 1),
            Not(Reason::TtlExpired),
        ),
        case(
            "TTL 0",
            Nothing,
            other(|f| f.ttl = 0),
            Not(Reason::TtlExpired),
        ),
        case(
            "sent by a peer director",
            Nothing,
            other(|f| f.smac = PEER),
            Not(Reason::PeerDirector),
        ),
        case(
            "a flow sent by a peer director",
            Flow(1, State::Established, 0),
            Frame {
                smac: PEER,
                ..tcp(RR, ACK)
            },
            Not(Reason::PeerDirector),
        ),
        case(
            "by a peer to a service that is also here",
            Nothing,
            Frame {
                smac: PEER,
                ..tcp(LOCAL, SYN)
            },
            Not(Reason::PeerLocal),
        ),
    ]
}

fn new_flows() -> Vec<Case> {
    let hashed = if sh_hash(addr(client().0)).is_multiple_of(2) {
        6
    } else {
        7
    };
    let with = |frame: Frame, change: fn(&mut Frame)| {
        let mut frame = frame;
        change(&mut frame);
        frame
    };
    let weight_0 = |hit: bool| {
        let host =
            (0..=255).find(|&n| sh_hash(addr(Ipv4Addr::new(10, 9, 0, n))).is_multiple_of(2) != hit);
        Frame::tcp(
            (Ipv4Addr::new(10, 9, 0, host.unwrap_or(0)), 1),
            HASH_WEIGHT_0,
            SYN,
        )
    };
    vec![
        case("SYN", Nothing, tcp(RR, SYN), To(1, State::SynRecv)),
        case(
            "SYN with ECN",
            Nothing,
            tcp(RR, SYN | 0xc0),
            To(1, State::SynRecv),
        ),
        case(
            "SYN and ACK",
            Nothing,
            tcp(RR, SYN | ACK),
            To(1, State::SynRecv),
        ),
        case(
            "to VRRP's virtual MAC",
            Nothing,
            with(tcp(RR, SYN), |f| f.dmac = [0, 0, 0x5e, 0, 1, 77]),
            To(1, State::SynRecv),
        ),
        case(
            "with IP options",
            Nothing,
            with(tcp(RR, SYN), |f| f.options = vec![1; 40]),
            To(1, State::SynRecv),
        ),
        case(
            "with padding behind it",
            Nothing,
            with(tcp(RR, SYN), |f| f.padding = 6),
            To(1, State::SynRecv),
        ),
        case(
            "a big one",
            Nothing,
            with(udp(UDP_RR), |f| f.payload = 1472),
            To(4, State::Udp),
        ),
        case(
            "UDP without payload",
            Nothing,
            with(udp(UDP_RR), |f| f.payload = 0),
            To(4, State::Udp),
        ),
        case(
            "TTL 2",
            Nothing,
            with(tcp(RR, SYN), |f| f.ttl = 2),
            To(1, State::SynRecv),
        ),
        case(
            "TTL 255",
            Nothing,
            with(tcp(RR, SYN), |f| f.ttl = 255),
            To(1, State::SynRecv),
        ),
        case(
            "ACK without a flow",
            Nothing,
            tcp(RR, ACK),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "FIN without a flow",
            Nothing,
            tcp(RR, FIN | ACK),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "RST without a flow",
            Nothing,
            tcp(RR, RST),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "SYN and RST",
            Nothing,
            tcp(RR, SYN | RST),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "ACK, sloppy",
            Nothing,
            tcp(SLOPPY, ACK),
            To(8, State::Established),
        ),
        case(
            "FIN, sloppy",
            Nothing,
            tcp(SLOPPY, FIN | ACK),
            To(8, State::Close),
        ),
        case(
            "RST, sloppy",
            Nothing,
            tcp(SLOPPY, RST),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "SYN to a hash",
            Nothing,
            tcp(HASH, SYN),
            To(hashed, State::SynRecv),
        ),
        case(
            "ACK to a hash",
            Nothing,
            tcp(HASH, ACK),
            To(hashed, State::Established),
        ),
        case(
            "a hash with a server of weight 0",
            Nothing,
            weight_0(false),
            To(18, State::SynRecv),
        ),
        case(
            "hashed to a server of weight 0",
            Nothing,
            weight_0(true),
            Not(Reason::NoServer),
        ),
        case(
            "SYN to a real server that is this host",
            Nothing,
            tcp(LOCAL, SYN),
            Here(9),
        ),
        case(
            "TTL 1 to this host",
            Nothing,
            with(tcp(LOCAL, SYN), |f| f.ttl = 1),
            Here(9),
        ),
        case(
            "a service without servers",
            Nothing,
            tcp(EMPTY, SYN),
            Not(Reason::NoServer),
        ),
        noted(
            "a server without MAC is skipped",
            Nothing,
            tcp(HALF_UNRESOLVED, SYN),
            To(11, State::SynRecv),
            Reason::BackendSkipped,
        ),
        case(
            "no server has a MAC",
            Nothing,
            tcp(UNRESOLVED, SYN),
            Not(Reason::BackendUnresolved),
        ),
        case(
            "out of another NIC",
            Nothing,
            tcp(OTHER_NIC, SYN),
            To(15, State::SynRecv),
        ),
        noted(
            "a server that is down is skipped",
            Nothing,
            udp(UDP_DOWN),
            To(17, State::Udp),
            Reason::BackendSkipped,
        ),
        case(
            "the first of a client",
            Nothing,
            tcp(PERSISTENT, SYN),
            To(13, State::SynRecv),
        ),
        case(
            "a client that comes back",
            Before::Template(14, 5),
            tcp(PERSISTENT, SYN),
            To(14, State::SynRecv),
        ),
        case(
            "a client that comes back in time",
            Before::Template(14, PERSIST_TICKS - 2),
            tcp(PERSISTENT, SYN),
            To(14, State::SynRecv),
        ),
        case(
            "a client that comes back too late",
            Before::Template(14, PERSIST_TICKS + 2),
            tcp(PERSISTENT, SYN),
            To(13, State::SynRecv),
        ),
        case(
            "a client whose server is down",
            DownTemplate(14),
            tcp(PERSISTENT, SYN),
            To(13, State::SynRecv),
        ),
        case(
            "a template of another service's server",
            Before::Template(3, 0),
            tcp(PERSISTENT, SYN),
            To(13, State::SynRecv),
        ),
    ]
}

fn known_flows() -> Vec<Case> {
    use State::{Close, CloseWait, Established, FinWait, LastAck, SynRecv, TimeWait, Udp};
    vec![
        case(
            "ACK",
            Flow(3, Established, 0),
            tcp(RR, ACK),
            To(3, Established),
        ),
        case(
            "ACK after a while",
            Flow(3, Established, 700),
            tcp(RR, ACK),
            To(3, Established),
        ),
        case(
            "ACK after 15 minutes",
            Flow(3, Established, 1300),
            tcp(RR, ACK),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "SYN after 15 minutes",
            Flow(3, Established, 1300),
            tcp(RR, SYN),
            To(1, SynRecv),
        ),
        case(
            "ACK ends the handshake",
            Flow(3, SynRecv, 0),
            tcp(RR, ACK),
            To(3, Established),
        ),
        case(
            "SYN again",
            Flow(3, SynRecv, 0),
            tcp(RR, SYN),
            To(3, SynRecv),
        ),
        case(
            "SYN into an established one",
            Flow(3, Established, 0),
            tcp(RR, SYN),
            To(3, Established),
        ),
        case(
            "FIN",
            Flow(3, Established, 0),
            tcp(RR, FIN | ACK),
            To(3, FinWait),
        ),
        case(
            "ACK after FIN",
            Flow(3, FinWait, 0),
            tcp(RR, ACK),
            To(3, FinWait),
        ),
        case(
            "SYN after FIN",
            Flow(3, FinWait, 0),
            tcp(RR, SYN),
            To(3, SynRecv),
        ),
        case(
            "FIN in the handshake",
            Flow(3, SynRecv, 0),
            tcp(RR, FIN),
            To(3, TimeWait),
        ),
        case("RST", Flow(3, Established, 0), tcp(RR, RST), To(3, Close)),
        case(
            "RST in the handshake",
            Flow(3, SynRecv, 0),
            tcp(RR, RST | ACK),
            To(3, SynRecv),
        ),
        case(
            "ACK after RST",
            Flow(3, Close, 0),
            tcp(RR, ACK),
            To(3, Close),
        ),
        case(
            "ACK long after RST",
            Flow(3, Close, 20),
            tcp(RR, ACK),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "SYN reuses a closed one",
            Flow(3, Close, 0),
            tcp(RR, SYN),
            To(1, SynRecv),
        ),
        case(
            "SYN reuses TIME_WAIT",
            Flow(3, TimeWait, 0),
            tcp(RR, SYN),
            To(1, SynRecv),
        ),
        case(
            "ACK in LAST_ACK",
            Flow(3, LastAck, 0),
            tcp(RR, ACK),
            To(3, Close),
        ),
        case(
            "ACK in CLOSE_WAIT",
            Flow(3, CloseWait, 0),
            tcp(RR, ACK),
            To(3, CloseWait),
        ),
        case(
            "no flag at all",
            Flow(3, Established, 0),
            tcp(RR, 0),
            To(3, Close),
        ),
        case(
            "ACK to a server that is down",
            DownFlow(3, Established),
            tcp(RR, ACK),
            To(3, Established),
        ),
        case(
            "FIN to a server that is down",
            DownFlow(3, Established),
            tcp(RR, FIN | ACK),
            To(3, FinWait),
        ),
        noted(
            "SYN to a server that is down",
            DownFlow(3, Established),
            tcp(RR, SYN),
            To(1, SynRecv),
            Reason::Rescheduled,
        ),
        noted(
            "UDP to a server that is down",
            DownFlow(5, Udp),
            udp(UDP_RR),
            To(4, Udp),
            Reason::Rescheduled,
        ),
        case("UDP", Flow(5, Udp, 0), udp(UDP_RR), To(5, Udp)),
        case(
            "UDP after a while",
            Flow(5, Udp, 200),
            udp(UDP_RR),
            To(5, Udp),
        ),
        case(
            "UDP after 5 minutes",
            Flow(5, Udp, 430),
            udp(UDP_RR),
            To(4, Udp),
        ),
        case(
            "ACK to a server without MAC",
            Flow(12, Established, 0),
            tcp(UNRESOLVED, ACK),
            Not(Reason::BackendUnresolved),
        ),
        case(
            "SYN to a server without MAC",
            Flow(12, Established, 0),
            tcp(UNRESOLVED, SYN),
            Not(Reason::BackendUnresolved),
        ),
        case(
            "a flow whose server is another service's by now",
            Flow(4, Established, 0),
            tcp(RR, ACK),
            Not(Reason::TcpNoFlow),
        ),
        case(
            "and opens anew",
            Flow(4, Established, 0),
            tcp(RR, SYN),
            To(1, SynRecv),
        ),
        case(
            "ACK to this host",
            Flow(9, Established, 0),
            tcp(LOCAL, ACK),
            Here(9),
        ),
        case(
            "ACK out of another NIC",
            Flow(15, Established, 0),
            tcp(OTHER_NIC, ACK),
            To(15, Established),
        ),
        case(
            "TTL 1 in a flow",
            Flow(3, Established, 0),
            Frame {
                ttl: 1,
                ..tcp(RR, ACK)
            },
            Not(Reason::TtlExpired),
        ),
        case(
            "a fragment in a flow",
            Flow(3, Established, 0),
            Frame {
                fragment: 0x2000,
                ..tcp(RR, ACK)
            },
            Not(Reason::Fragment),
        ),
    ]
}

fn set_up(director: &mut Director, case: &Case, service: u16) -> Result<()> {
    director.clear_flows();
    director.clear_cursors();
    for (index, backend) in world::backends() {
        director.set_backend(index, backend);
    }
    let now = director.now()?;
    let down = |director: &Director, index: u16| {
        let mut backend = director.backend(index);
        backend.flags |= BACKEND_DOWN;
        director.set_backend(index, backend);
    };
    let key = template_key(
        service,
        [
            addr(client().0) & u32::from_ne_bytes([255, 255, 255, 0]),
            0,
            0,
            0,
        ],
    );
    director.remove_template(key)?;
    let tag = case.frame.tag(service);
    match case.before {
        Nothing => {}
        Flow(backend, state, idle) => {
            director.put_flow(
                tag,
                FlowValue::new(backend, state as u8, now.wrapping_sub(idle)),
            )?;
        }
        DownFlow(backend, state) => {
            director.put_flow(tag, FlowValue::new(backend, state as u8, now))?;
            down(director, backend);
        }
        Before::Template(backend, idle) => {
            director.set_template(key, Template::new(backend, now.wrapping_sub(idle)).0)?;
        }
        DownTemplate(backend) => {
            director.set_template(key, Template::new(backend, now).0)?;
            down(director, backend);
        }
    }
    Ok(())
}

fn check(director: &mut Director, case: &Case) -> Result<()> {
    let name = case.name;
    let service = world::services()
        .iter()
        .find(|s| s.port == case.frame.dst.1 && s.proto == case.frame.proto)
        .map_or(0, |s| s.id);
    set_up(director, case, service)?;
    let reasons = director.reasons()?;
    let before = case.frame.bytes();
    let target = match case.then {
        To(backend, _) | Here(backend) => Some(backend),
        Not(_) => None,
    };
    let counters = target
        .map(|backend| director.counters(backend))
        .transpose()?;
    let (action, after) = director.run(&before)?;
    let mut counted: Vec<Reason> = Vec::new();
    for (i, (new, old)) in director.reasons()?.iter().zip(&reasons).enumerate() {
        assert!(new - old <= 1, "{name}: {:?} counted twice", Reason::ALL[i]);
        if new > old {
            counted.push(Reason::ALL[i]);
        }
    }
    let mut expected: Vec<Reason> = case.note.into_iter().collect();
    match case.then {
        To(backend, state) => {
            let to = director.backend(backend);
            let wanted = if to.ifindex == world::EGRESS {
                Action::Redirect
            } else {
                Action::Transmit
            };
            assert_eq!(action, wanted, "{name}: counted {counted:?}");
            assert_forwarded(name, &before, &after, to.dmac, to.smac);
            let flow = director
                .flow(case.frame.tag(service))
                .with_context(|| format!("{name}: no flow"))?;
            assert_eq!(
                (flow.backend(), flow.state()),
                (backend, Some(state)),
                "{name}"
            );
            assert!(
                director.now()?.wrapping_sub(flow.seen()) <= 1,
                "{name}: last seen"
            );
        }
        Here(_) => {
            assert_eq!(action, Action::Pass, "{name}: counted {counted:?}");
            assert_eq!(before, after, "{name}");
        }
        Not(reason) => {
            expected.insert(0, reason);
            let wanted = if reason.passes() {
                Action::Pass
            } else {
                Action::Drop
            };
            assert_eq!((action, &counted), (wanted, &expected), "{name}");
            assert_eq!(before, after, "{name}: must be left alone");
        }
    }
    assert_eq!(counted, expected, "{name}");
    if let (Some(backend), Some(old)) = (target, counters) {
        let new = director.counters(backend)?;
        assert_eq!(new.packets - old.packets, 1, "{name}: packets");
        assert_eq!(new.bytes - old.bytes, case.frame.ip_len(), "{name}: bytes");
        let is_new = match case.before {
            Flow(there, ..) | DownFlow(there, _) => there != backend,
            Nothing | Before::Template(..) | DownTemplate(_) => true,
        };
        assert_eq!(
            new.conns - old.conns,
            u64::from(is_new),
            "{name}: connections"
        );
    }
    Ok(())
}

#[test]
fn every_packet_case() -> Result<()> {
    let mut director = world::director(64)?;
    let cases: Vec<Case> = [not_for_us(), new_flows(), known_flows()]
        .into_iter()
        .flatten()
        .collect();
    for case in &cases {
        check(&mut director, case)?;
    }
    println!(
        "{} packet cases; the verifier walked {} instructions",
        cases.len(),
        director.verified_instructions()?
    );
    Ok(())
}

#[test]
fn rr_takes_turns_exactly_and_wrr_by_its_table() -> Result<()> {
    let director = world::director(1024)?;
    let mut to = Vec::new();
    for n in 0..300u16 {
        let frame = Frame::tcp((Ipv4Addr::new(10, 0, 0, 1), 1000 + n), RR, SYN);
        let (action, out) = director.run(&frame.bytes())?;
        assert_eq!(action, Action::Transmit);
        to.push(u16::from(out[5]));
    }
    let wanted: Vec<u16> = (0..300).map(|n| n % 3 + 1).collect();
    assert_eq!(to, wanted);
    Ok(())
}

#[test]
fn a_client_keeps_its_server_for_all_its_connections() -> Result<()> {
    let director = world::director(1024)?;
    let go = |client: [u8; 4], port| -> Result<u8> {
        Ok(director
            .run(&Frame::tcp((client.into(), port), PERSISTENT, SYN).bytes())?
            .1[5])
    };
    let first = go([10, 0, 0, 1], 1)?;
    let second = go([10, 0, 1, 1], 1)?;
    assert_ne!(first, second, "another network, another turn");
    for port in 2..50 {
        assert_eq!(
            go([10, 0, 0, port as u8], port)?,
            first,
            "the same /24, port {port}"
        );
        assert_eq!(go([10, 0, 1, port as u8], port)?, second);
    }
    let template =
        director.template(template_key(9, [addr(Ipv4Addr::new(10, 0, 0, 0)), 0, 0, 0]))?;
    assert_eq!(
        template.map(|t| Template(t).backend()),
        Some(u16::from(first))
    );
    Ok(())
}

#[test]
fn only_frames_on_a_known_interface_are_balanced() -> Result<()> {
    let mut director = world::director(64)?;
    let unknown = Reason::UnknownIface as usize;
    director.remove_iface(lb_tests::dataplane::IFINDEX);
    let before = director.reasons()?[unknown];
    assert_eq!(director.run(&tcp(RR, SYN).bytes())?.0, Action::Drop);
    assert_eq!(director.reasons()?[unknown], before + 1);
    assert_eq!(
        director.run(&tcp(22, SYN).bytes())?.0,
        Action::Pass,
        "what is no service is not touched"
    );
    director.set_iface(lb_tests::dataplane::IFINDEX, OWN, &[])?;
    assert_eq!(director.run(&tcp(RR, SYN).bytes())?.0, Action::Transmit);
    Ok(())
}
