use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;

const MAGIC: u16 = 0xbeef;

fn asker(from: &str) -> Asker {
    Asker {
        from: from.parse().expect("an address"),
        magic: MAGIC,
        on_link: true,
    }
}

fn asked(at: &str, protocol: Protocol) -> Asked {
    let at = at.parse().expect("an address");
    Asked { at, protocol }
}

/// The two versions: who asks, whom.
const PAIRS: [(&str, &str); 2] = [
    ("10.77.0.10:40000", "10.77.0.100:80"),
    ("[fd77::10]:40000", "[fd77::100]:80"),
];

#[test]
fn a_connection_is_asked_for_and_reset() {
    for (from, at) in PAIRS {
        let (asker, asked) = (asker(from), asked(at, Protocol::Tcp));
        let reset = asked.farewell(&asker).expect("a reset");
        let [syn] = <[Vec<u8>; 1]>::try_from(asked.question(&asker)).expect("one packet");
        for (packet, flags, sequence) in [
            (syn, (true, false), 0xbeef_9c3f),
            (reset, (false, true), 0xbeef_9c40),
        ] {
            let parsed = SlicedPacket::from_ip(&packet).expect("a packet");
            let Some(TransportSlice::Tcp(tcp)) = &parsed.transport else {
                panic!("{parsed:?}");
            };
            assert_eq!((tcp.source_port(), tcp.destination_port()), (40000, 80));
            assert_eq!((tcp.syn(), tcp.rst(), tcp.ack()), (flags.0, flags.1, false));
            assert_eq!(tcp.sequence_number(), sequence);
            let (sum, ttl) = match parsed.net.as_ref().expect("IP") {
                NetSlice::Ipv4(ip) => {
                    let h = ip.header().to_header();
                    assert_eq!(h.header_checksum, h.calc_header_checksum());
                    (
                        tcp.calc_checksum_ipv4(h.source, h.destination),
                        h.time_to_live,
                    )
                }
                NetSlice::Ipv6(ip) => {
                    let h = ip.header().to_header();
                    (tcp.calc_checksum_ipv6(h.source, h.destination), h.hop_limit)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(sum, Ok(tcp.checksum()));
            assert_eq!(ttl, 1);
        }
    }
}

#[test]
fn others_are_asked_for_an_echo() {
    for (from, at) in PAIRS {
        let asker = asker(from);
        let kinds = |asked: Asked| {
            let one = |packet: &Vec<u8>| {
                let parsed = SlicedPacket::from_ip(packet).expect("a packet");
                match &parsed.transport {
                    Some(TransportSlice::Udp(udp)) => {
                        assert_eq!((udp.source_port(), udp.destination_port()), (40000, 80));
                        let sum = match &parsed.net {
                            Some(NetSlice::Ipv4(ip)) => udp
                                .to_header()
                                .calc_checksum_ipv4(&ip.header().to_header(), &[]),
                            Some(NetSlice::Ipv6(ip)) => udp
                                .to_header()
                                .calc_checksum_ipv6(&ip.header().to_header(), &[]),
                            other => panic!("{other:?}"),
                        };
                        assert_eq!(sum, Ok(udp.checksum()));
                        "udp"
                    }
                    Some(TransportSlice::Icmpv4(icmp)) => {
                        assert_eq!(
                            icmp.icmp_type(),
                            etherparse::Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader {
                                id: MAGIC,
                                seq: 40000
                            })
                        );
                        assert_eq!(sum(icmp.slice()), 0xffff);
                        "echo"
                    }
                    Some(TransportSlice::Icmpv6(icmp)) => {
                        assert_eq!(
                            icmp.icmp_type(),
                            etherparse::Icmpv6Type::EchoRequest(etherparse::IcmpEchoHeader {
                                id: MAGIC,
                                seq: 40000
                            })
                        );
                        let Some(NetSlice::Ipv6(ip)) = &parsed.net else {
                            panic!("{parsed:?}")
                        };
                        let h = ip.header().to_header();
                        assert!(icmp.is_checksum_valid(h.source, h.destination));
                        "echo"
                    }
                    other => panic!("{other:?}"),
                }
            };
            asked.question(&asker).iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(kinds(asked(at, Protocol::Udp)), ["udp", "echo"]);
        assert_eq!(kinds(asked(at, Protocol::Sctp)), ["echo"]);
        let any = at.replace(":80", ":0");
        assert_eq!(kinds(asked(&any, Protocol::Tcp)), ["echo"], "any port");
        assert_eq!(kinds(asked(&any, Protocol::Udp)), ["echo"], "any port");
        assert_eq!(asked(&any, Protocol::Tcp).farewell(&asker), None);
    }
}

#[test]
fn a_service_for_any_port_is_asked_at_the_port_of_the_check() {
    let key = |port| ServiceKey {
        addr: [10, 77, 0, 100].into(),
        port,
        protocol: Protocol::Tcp,
    };
    assert_eq!(Asked::of(&key(80), 8080).at.port(), 80);
    assert_eq!(Asked::of(&key(0), 8080).at.port(), 8080);
}

/// An answer to `from` of the other side: `change` may spoil it.
fn reply(asked: Asked, asker: &Asker, flags: u8, ack: u32) -> Vec<u8> {
    let other = Asker {
        from: asked.at,
        ..*asker
    };
    let mut packet = other.segment(asker.from, 7, flags);
    let header = if asked.at.is_ipv6() { 40 } else { 20 };
    packet[header + 8..header + 12].copy_from_slice(&ack.to_be_bytes());
    packet
}

fn judged(asked: Asked, asker: &Asker, packet: &[u8]) -> Option<String> {
    let heard = Heard::read(packet, asker.magic)?;
    Some(match asked.judge(asker, &heard)? {
        Verdict::Ok => "ok".to_owned(),
        Verdict::Failed(why) => why.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn segments_are_judged() {
    for (from, at) in PAIRS {
        let (asker, asked) = (asker(from), asked(at, Protocol::Tcp));
        let number = asker.number();
        let said = |flags, ack| judged(asked, &asker, &reply(asked, &asker, flags, ack));
        assert_eq!(said(SYN | ACK, number).as_deref(), Some("ok"));
        let refused = format!("{at} is refused: does the server listen on it?");
        assert_eq!(said(RST | ACK, number), Some(refused));
        assert_eq!(said(SYN | ACK, number + 1), None, "an older question's");
        assert_eq!(said(ACK, number), None);
        let other = Asked {
            at: SocketAddr::new(asked.at.ip(), 81),
            ..asked
        };
        let from_other = reply(other, &asker, SYN | ACK, number);
        assert_eq!(judged(asked, &asker, &from_other), None);
        for length in 0..from_other.len() {
            let _ = Heard::read(&from_other[..length], MAGIC);
        }
    }
}

/// An ICMP error about a question.
fn error(asked: Asked, asker: &Asker, kind: u8, code: u8, question: usize) -> Vec<u8> {
    let other = Asker {
        from: asked.at,
        ..*asker
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(&asked.question(asker)[question]);
    other.packet(asker.from.ip(), icmp(asked.at.ip()), message, 2)
}

#[test]
fn errors_are_judged() {
    let missing = |at: &Asked| {
        Some(format!(
            "{} is not answered: is it on the server's lo?",
            at.at.ip()
        ))
    };
    for (from, at) in PAIRS {
        let asker = asker(from);
        let v6 = asker.from.is_ipv6();
        let (closed, prohibited, expired) = match v6 {
            false => ((3, 3), (3, 13), (11, 0)),
            true => ((1, 4), (1, 1), (3, 0)),
        };
        let udp = asked(at, Protocol::Udp);
        let said =
            |(kind, code): (u8, u8), n| judged(udp, &asker, &error(udp, &asker, kind, code, n));
        let refused = format!("{at} is refused: does the server listen on it?");
        assert_eq!(said(closed, 0), Some(refused));
        assert_eq!(
            said(prohibited, 0),
            Some(format!("{at} is prohibited by a firewall"))
        );
        assert_eq!(said(expired, 0), missing(&udp), "it would send it on");
        assert_eq!(said(expired, 1), missing(&udp), "so it would the echo");
        let tcp = asked(at, Protocol::Tcp);
        let (kind, code) = expired;
        assert_eq!(
            judged(tcp, &asker, &error(tcp, &asker, kind, code, 0)),
            missing(&tcp)
        );
        let older = Asker {
            from: SocketAddr::new(asker.from.ip(), 39999),
            ..asker
        };
        let about_older = error(udp, &older, closed.0, closed.1, 0);
        assert_eq!(judged(udp, &asker, &about_older), None);
        for length in 0..about_older.len() {
            let _ = Heard::read(&about_older[..length], MAGIC);
        }
    }
}

#[test]
fn an_echo_is_known_by_its_number_and_its_sender() {
    for (from, at) in PAIRS {
        let (asker, udp) = (asker(from), asked(at, Protocol::Udp));
        let other = Asker {
            from: udp.at,
            ..asker
        };
        let reply = |number: u32, from: &Asker| {
            let mut message = vec![if udp.at.is_ipv6() { 129 } else { 0 }, 0, 0, 0];
            message.extend(number.to_be_bytes());
            from.packet(asker.from.ip(), icmp(udp.at.ip()), message, 2)
        };
        assert_eq!(
            judged(udp, &asker, &reply(asker.number(), &other)).as_deref(),
            Some("ok")
        );
        assert_eq!(
            judged(udp, &asker, &reply(asker.number() + 1, &other)),
            None
        );
        let server = Asker {
            from: if udp.at.is_ipv6() {
                "[fd77::21]:1"
            } else {
                "10.77.0.21:1"
            }
            .parse()
            .expect("an address"),
            ..asker
        };
        let from_server = reply(asker.number(), &server);
        assert_eq!(
            judged(udp, &asker, &from_server),
            None,
            "from another address than was asked"
        );
    }
}
