//! Every tunnel, field by field.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use etherparse::{EtherType, IpNumber, NetSlice, SlicedPacket, TransportSlice};
use lb_common::maps::Forward;
use lb_tests::dataplane::Action;

use crate::fixture::{GUE_PORT, OUT_MAC, SERVER_MAC, Sample, Way, checksum, director, set_way};

/// What follows the outer IP header, and what that says.
struct Outer<'a> {
    source: IpAddr,
    destination: IpAddr,
    proto: IpNumber,
    tos: u8,
    ttl: u8,
    df: bool,
    id: u16,
    payload: &'a [u8],
    /// Source, destination, length and protocol as the pseudo header has them.
    pseudo: Vec<u8>,
}

fn outer<'a>(what: &str, packet: &SlicedPacket<'a>) -> Outer<'a> {
    match packet.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(slice) => {
            let header = slice.header().to_header();
            assert_eq!(
                header.header_checksum,
                header.calc_header_checksum(),
                "{what}: outer header checksum"
            );
            assert_eq!(header.header_len(), 20, "{what}");
            assert!(!header.more_fragments && header.fragment_offset.value() == 0);
            let payload = slice.payload().payload;
            let mut pseudo = header.source.to_vec();
            pseudo.extend(header.destination);
            pseudo.extend([0, header.protocol.0]);
            pseudo.extend((payload.len() as u16).to_be_bytes());
            Outer {
                source: header.source.into(),
                destination: header.destination.into(),
                proto: header.protocol,
                tos: header.dscp.value() << 2 | header.ecn.value(),
                ttl: header.time_to_live,
                df: header.dont_fragment,
                id: header.identification,
                payload,
                pseudo,
            }
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header().to_header();
            assert_eq!(header.flow_label.value(), 0, "{what}");
            let payload = slice.payload().payload;
            let mut pseudo = header.source.to_vec();
            pseudo.extend(header.destination);
            pseudo.extend((payload.len() as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, header.next_header.0]);
            Outer {
                source: header.source.into(),
                destination: header.destination.into(),
                proto: header.next_header,
                tos: header.traffic_class,
                ttl: header.hop_limit,
                df: true,
                id: 0,
                payload,
                pseudo,
            }
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// Takes the tunnel off, checking all of it; what is left.
fn inner(what: &str, way: Way, before: &Sample, after: &[u8]) -> Vec<u8> {
    let packet =
        SlicedPacket::from_ethernet(after).unwrap_or_else(|e| panic!("{what}: frame out: {e}"));
    let Some(etherparse::LinkSlice::Ethernet2(link)) = &packet.link else {
        panic!("{what}: no Ethernet header");
    };
    assert_eq!(link.destination(), SERVER_MAC, "{what}");
    assert_eq!(link.source(), OUT_MAC, "{what}");
    let ethertype = if way.v6 {
        EtherType::IPV6
    } else {
        EtherType::IPV4
    };
    assert_eq!(link.ether_type(), ethertype, "{what}");
    let outer = outer(what, &packet);
    assert_eq!((outer.source, outer.destination), way.ends(), "{what}");
    assert_eq!(outer.tos, before.tos, "{what}: DSCP and ECN");
    assert_eq!(outer.ttl, before.ttl - 1, "{what}: TTL");
    if !way.v6 {
        assert_eq!(outer.df, before.df, "{what}: DF");
        assert!(!before.df || outer.id == 0, "{what}: identification");
    }
    let payload = outer.payload;
    match way.forward {
        Forward::Ipip => {
            assert_eq!(outer.proto, IpNumber::IPV4, "{what}");
            payload.to_vec()
        }
        Forward::Gue => {
            assert_eq!(outer.proto, IpNumber::UDP, "{what}");
            let Some(TransportSlice::Udp(udp)) = &packet.transport else {
                panic!("{what}: no UDP");
            };
            assert!(udp.source_port() >= 0xc000, "{what}: source port");
            assert_eq!(udp.destination_port(), GUE_PORT, "{what}");
            assert_eq!(
                usize::from(udp.length()),
                payload.len(),
                "{what}: UDP length"
            );
            if way.checksum {
                assert_ne!(udp.checksum(), 0, "{what}");
                assert_eq!(
                    checksum(&[&outer.pseudo, payload]),
                    0,
                    "{what}: UDP checksum"
                );
            } else {
                assert_eq!(udp.checksum(), 0, "{what}");
            }
            assert_eq!(udp.payload()[..4], [0, 4, 0, 0], "{what}: GUE header");
            udp.payload()[4..].to_vec()
        }
        Forward::Gre => {
            assert_eq!(outer.proto, IpNumber::GRE, "{what}");
            let flags = if way.checksum { 0x80 } else { 0 };
            assert_eq!(payload[..4], [flags, 0, 8, 0], "{what}: GRE header");
            if way.checksum {
                assert_eq!(checksum(&[payload]), 0, "{what}: GRE checksum");
                assert_eq!(payload[6..8], [0, 0], "{what}: reserved");
                payload[8..].to_vec()
            } else {
                payload[4..].to_vec()
            }
        }
        Forward::Direct => panic!("not a tunnel"),
    }
}

/// The packet of a frame after a router.
pub(crate) fn routed(frame: &[u8], len: usize) -> Vec<u8> {
    let mut packet = frame[14..14 + len].to_vec();
    packet[8] -= 1;
    packet[10..12].copy_from_slice(&[0, 0]);
    let check = checksum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet
}

fn assert_sent(way: Way, sample: &Sample, after: &[u8]) {
    let what = format!("{way:?} {sample:?}");
    let before = sample.bytes();
    let len = before.len() - 14 - sample.padding;
    assert_eq!(after.len(), before.len() + way.overhead(), "{what}");
    // The parser leaves out what is behind the packet.
    assert_eq!(
        inner(&what, way, sample, after),
        routed(&before, len),
        "{what}: the packet"
    );
}

#[test]
fn a_packet_goes_into_its_tunnel_with_the_fields_that_ipvs_gives_it() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    for way in Way::tunnels() {
        set_way(&director, way, 0);
        for sample in [
            Sample::default(),
            Sample {
                tos: 0xb9,
                ttl: 2,
                ..Sample::default()
            },
            Sample {
                df: false,
                tcp: false,
                ..Sample::default()
            },
            Sample {
                payload: 0,
                padding: 6,
                ..Sample::default()
            },
        ] {
            let (action, after) = director.run(&sample.bytes())?;
            assert_eq!(action, Action::Transmit, "{way:?} {sample:?}");
            assert_sent(way, &sample, &after);
        }
    }
    Ok(())
}

#[test]
fn checksums_are_right_for_every_length() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    for way in Way::tunnels().into_iter().filter(|way| way.checksum) {
        set_way(&director, way, 0);
        let lengths = (0..=40)
            .chain(440..560)
            .chain(950..1100)
            .chain([1460, 3000]);
        for payload in lengths {
            let sample = Sample {
                payload,
                tcp: payload % 2 == 0,
                ..Sample::default()
            };
            let (action, after) = director.run(&sample.bytes())?;
            assert_eq!(action, Action::Transmit, "{way:?} {payload}");
            assert_sent(way, &sample, &after);
        }
    }
    Ok(())
}

#[test]
fn the_source_port_of_gue_tells_flows_apart_and_is_the_same_within_one() -> Result<()> {
    let way = Way {
        forward: Forward::Gue,
        checksum: false,
        v6: false,
    };
    let director = director(way, 0)?;
    let port = |sample: Sample| -> Result<u16> {
        let (_, after) = director.run(&sample.bytes())?;
        Ok(u16::from_be_bytes([after[34], after[35]]))
    };
    let mut ports = BTreeSet::new();
    for client in 30000..31000 {
        let first = port(Sample {
            port: client,
            ..Sample::default()
        })?;
        let again = port(Sample {
            port: client,
            payload: 3,
            ..Sample::default()
        })?;
        assert_eq!(first, again);
        ports.insert(first);
    }
    // 1,000 out of 16,384 at random: 970 differ.
    assert!(ports.len() > 900, "{} ports for 1000 flows", ports.len());
    Ok(())
}

#[test]
fn all_fragments_of_a_packet_have_one_source_port_of_gue() -> Result<()> {
    let way = Way {
        forward: Forward::Gue,
        checksum: false,
        v6: false,
    };
    let director = director(way, 0)?;
    let whole = Sample {
        df: false,
        ..Sample::default()
    };
    let mut ports = BTreeSet::new();
    for id in 1..=100u8 {
        let port = |flags: [u8; 2]| -> Result<u16> {
            let mut frame = whole.bytes();
            frame[18..22].copy_from_slice(&[7, id, flags[0], flags[1]]);
            let (action, after) = director.run(&frame)?;
            assert_eq!(action, Action::Transmit);
            Ok(u16::from_be_bytes([after[34], after[35]]))
        };
        let first = port([0x20, 0])?;
        assert_eq!(port([0x20, 15])?, first, "in the middle of packet {id}");
        assert_eq!(port([0, 30])?, first, "the last of packet {id}");
        ports.insert(first);
    }
    assert!(ports.len() > 80, "{} ports for 100 packets", ports.len());
    Ok(())
}

/// A router behind the director may cut them, and the server tells their pieces apart by it.
#[test]
fn packets_that_may_be_cut_have_identifications_that_differ() -> Result<()> {
    for way in Way::tunnels().into_iter().filter(|way| !way.v6) {
        let director = director(way, 0)?;
        let id = |port: u16, inner: u16| -> Result<u16> {
            let mut frame = Sample {
                port,
                tcp: false,
                df: false,
                ..Sample::default()
            }
            .bytes();
            frame[18..20].copy_from_slice(&inner.to_be_bytes());
            let (action, after) = director.run(&frame)?;
            assert_eq!(action, Action::Transmit, "{way:?}");
            Ok(u16::from_be_bytes([after[18], after[19]]))
        };
        // Of one flow in turn, and the same one of many flows: out of 65,536 at random 99 of 100 differ.
        let of_one: BTreeSet<u16> = (1..=100).map(|n| id(30000, n)).collect::<Result<_>>()?;
        let of_many: BTreeSet<u16> = (1..=100).map(|n| id(30000 + n, 7)).collect::<Result<_>>()?;
        let (one, many) = (of_one.len(), of_many.len());
        assert!(one > 95 && many > 95, "{way:?}: {one}, {many} of 100");
    }
    Ok(())
}

#[test]
fn a_packet_that_may_go_no_further_is_not_put_into_a_tunnel() -> Result<()> {
    let director = director(Way::tunnels()[0], 0)?;
    for ttl in [0, 1] {
        let sample = Sample {
            ttl,
            ..Sample::default()
        };
        let before = director.reasons()?;
        let (action, after) = director.run(&sample.bytes())?;
        assert_eq!((action, after), (Action::Drop, sample.bytes()));
        let reason = lb_common::reason::Reason::TtlExpired as usize;
        assert_eq!(director.reasons()?[reason], before[reason] + 1);
    }
    Ok(())
}

#[test]
fn the_packet_is_counted_without_its_tunnel() -> Result<()> {
    let director = director(Way::tunnels()[3], 1500)?;
    let sample = Sample::default();
    director.run(&sample.bytes())?;
    let counters = director.counters(1)?;
    assert_eq!((counters.packets, counters.bytes), (1, 140));
    Ok(())
}
