//! What a sender is told whose packet does not fit.

use anyhow::Result;
use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice, icmpv4};
use lb_common::reason::Reason;
use lb_tests::dataplane::{Action, Director};

use crate::fixture::{CLIENT, OWN, ROUTER, Sample, VIP, Way, checksum, director, set_way};

/// Lets a frame in; its verdict, what came out, and which reasons were counted.
fn run(director: &Director, frame: &[u8]) -> Result<(Action, Vec<u8>, Vec<Reason>)> {
    let before = director.reasons()?;
    let (action, after) = director.run(frame)?;
    let now = director.reasons()?;
    let counted = Reason::ALL
        .iter()
        .filter(|&&reason| now[reason as usize] != before[reason as usize])
        .copied()
        .collect();
    Ok((action, after, counted))
}

/// A sample whose IP packet has so many bytes.
fn of_length(len: usize) -> Sample {
    Sample {
        payload: len - 40,
        ..Sample::default()
    }
}

#[test]
fn the_sender_is_told_what_fits() -> Result<()> {
    const LINK: u16 = 1400;
    let director = director(Way::DIRECT, LINK)?;
    for way in [Way::DIRECT].into_iter().chain(Way::tunnels()) {
        set_way(&director, way, LINK);
        let fits = usize::from(LINK) - way.overhead();
        let (action, after, _) = run(&director, &of_length(fits).bytes())?;
        assert_eq!(action, Action::Transmit, "{way:?}");
        assert_eq!(after.len(), 14 + usize::from(LINK), "{way:?}: it just fits");
        for len in [fits + 1, 1500, 3000] {
            let what = format!("{way:?} {len}");
            let frame = of_length(len).bytes();
            let (action, after, counted) = run(&director, &frame)?;
            assert_eq!(action, Action::Transmit, "{what}");
            assert_eq!(counted, [Reason::TooBigAnswered], "{what}");
            assert_answer(&what, &frame, &after, fits as u16);
        }
    }
    Ok(())
}

fn assert_answer(what: &str, frame: &[u8], answer: &[u8], mtu: u16) {
    let packet =
        SlicedPacket::from_ethernet(answer).unwrap_or_else(|e| panic!("{what}: answer: {e}"));
    let Some(etherparse::LinkSlice::Ethernet2(link)) = &packet.link else {
        panic!("{what}: no Ethernet header");
    };
    assert_eq!(link.destination(), ROUTER, "{what}: where it came from");
    assert_eq!(link.source(), OWN, "{what}");
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        panic!("{what}: not IPv4");
    };
    let header = ip.header().to_header();
    assert_eq!(
        header.header_checksum,
        header.calc_header_checksum(),
        "{what}"
    );
    assert_eq!(header.source, VIP.octets(), "{what}");
    assert_eq!(header.destination, CLIENT.octets(), "{what}");
    assert_eq!(header.time_to_live, 64, "{what}");
    assert_eq!(usize::from(header.total_len), answer.len() - 14, "{what}");
    assert!(header.total_len <= 576, "{what}: every host takes it");
    let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else {
        panic!("{what}: not ICMP");
    };
    assert_eq!(checksum(&[icmp.slice()]), 0, "{what}: ICMP checksum");
    let told =
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu: mtu,
        });
    assert_eq!(icmp.icmp_type(), told, "{what}");
    assert_eq!(icmp.slice()[4..6], [0, 0], "{what}: unused");
    let quote = icmp.payload();
    assert!(quote.len() >= 28, "{what}: header and ports");
    assert_eq!(*quote, frame[14..14 + quote.len()], "{what}: as it came");
}

#[test]
fn nobody_is_told_of_what_may_not_be_told() -> Result<()> {
    let director = director(Way::DIRECT, 1400)?;
    let cut = Sample {
        df: false,
        ..of_length(1500)
    };
    let mut from_many = of_length(1500).bytes();
    from_many[26] = 224;
    let mut from_nobody = of_length(1500).bytes();
    from_nobody[26] = 0;
    for frame in [cut.bytes(), from_many, from_nobody] {
        let (action, after, counted) = run(&director, &frame)?;
        assert_eq!(action, Action::Drop);
        assert_eq!(counted, [Reason::TooBig]);
        assert_eq!(after, frame);
    }
    Ok(())
}

#[test]
fn a_link_that_is_too_narrow_for_its_tunnel_gives_no_absurd_mtu() -> Result<()> {
    let way = Way::tunnels()[9];
    for link in [20, 60, 100] {
        let director = director(way, link)?;
        let (action, _, counted) = run(&director, &of_length(1500).bytes())?;
        assert_eq!(
            (action, counted),
            (Action::Drop, vec![Reason::TooBig]),
            "{link}"
        );
    }
    Ok(())
}

#[test]
fn an_mtu_of_0_is_any() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    let (action, after, counted) = run(&director, &of_length(3000).bytes())?;
    assert_eq!((action, after.len()), (Action::Transmit, 3014));
    assert_eq!(counted, []);
    Ok(())
}
