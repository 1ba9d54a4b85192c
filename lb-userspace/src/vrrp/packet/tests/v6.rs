//! Adverts over IPv6.

use super::*;

const GROUP6: IpAddr = Family::V6.group();

fn v6(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(destination: IpAddr) -> Envelope {
    Envelope {
        destination,
        ttl: 255,
        coverage: Coverage::Destination,
    }
}

fn advert(priority: u8) -> Advert {
    Advert {
        source: v6("fe80::ff:fe00:1"),
        envelope: to(GROUP6),
        version: VrrpVersion::V3,
        vrid: 64,
        priority,
        interval: Duration::from_millis(500),
        auth: Auth::None,
        addresses: vec![v6("fe80::64"), v6("2001:db8::100")],
    }
}

/// Without the flow label, which the sender's kernel chose.
const SENT: &str = "6c00000000 2870ff fe8000000000000000 0000fffe000001 \
                    ff020000000000000000000000000012 3140640200323fbe \
                    fe800000000000000000000000000064 20010db8000000000000000000000100";
const RESIGNED: &str = "6c00000000 2870ff fe8000000000000000 0000fffe000001 \
                        ff020000000000000000000000000012 314000020032a3be \
                        fe800000000000000000000000000064 20010db8000000000000000000000100";

#[test]
fn keepalived_s_packets_are_read_and_written_byte_for_byte() {
    for (text, priority) in [(SENT, 100), (RESIGNED, 0)] {
        let mut packet = hex(text);
        let advert = advert(priority);
        assert_eq!(advert.emit(7), packet);
        // As it came.
        packet[1..4].copy_from_slice(&[0x01, 0x0c, 0x18]);
        let view = View::parse(&packet).unwrap();
        assert_eq!(view.to_advert().unwrap(), advert);
        assert_eq!(vrid_of(&packet), Some(64));
        assert_eq!(source_of(&packet), advert.source);
        assert_eq!(destination_of(&packet), GROUP6);
    }
}

/// An advert that is changed, with its checksum right again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = hex(SENT);
    change(&mut packet);
    if packet.len() >= 48 {
        packet[46..48].fill(0);
        let (source, destination) = (source_of(&packet), destination_of(&packet));
        let beside = super::super::sum::pseudo(source, destination, packet.len() - 40);
        let checksum = !fold(sum(beside, &packet[40..]));
        packet[46..48].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

#[test]
fn each_fault_has_its_reason() {
    let set_len = |p: &mut Vec<u8>, len: usize| {
        p.resize(40 + len, 0);
        p[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    };
    let cases: Vec<(&str, Vec<u8>, Reject)> = vec![
        (
            "half a header",
            changed(|p| p.truncate(39)),
            Reject::IpHeader,
        ),
        (
            "length beyond the packet",
            changed(|p| p[5] += 1),
            Reject::IpHeader,
        ),
        ("fragment header", changed(|p| p[6] = 44), Reject::Fragment),
        (
            "hop-by-hop options",
            changed(|p| p[6] = 0),
            Reject::Protocol,
        ),
        ("TCP", changed(|p| p[6] = 6), Reject::Protocol),
        ("source ::", changed(|p| p[8..24].fill(0)), Reject::Source),
        (
            "source ::1",
            changed(|p| {
                p[8..24].fill(0);
                p[23] = 1;
            }),
            Reject::Source,
        ),
        ("source multicast", changed(|p| p[8] = 0xff), Reject::Source),
        ("no message", changed(|p| set_len(p, 0)), Reject::Length),
        ("4 bytes", changed(|p| set_len(p, 4)), Reject::Length),
        (
            "trailing bytes",
            changed(|p| set_len(p, 48)),
            Reject::Length,
        ),
        ("version 2", changed(|p| p[40] = 0x21), Reject::Version),
        ("type 2", changed(|p| p[40] = 0x32), Reject::Type),
        ("no address", changed(|p| p[43] = 0), Reject::Count),
        ("count too high", changed(|p| p[43] = 3), Reject::Length),
        (
            "interval 0",
            changed(|p| p[44..46].fill(0)),
            Reject::ZeroInterval,
        ),
        (
            "checksum",
            {
                let mut p = hex(SENT);
                p[46] ^= 1;
                p
            },
            Reject::Checksum,
        ),
        (
            "checksum without the pseudo header",
            {
                let mut p = hex(SENT);
                p[46..48].fill(0);
                let checksum = !fold(sum(0, &p[40..]));
                p[46..48].copy_from_slice(&checksum.to_be_bytes());
                p
            },
            Reject::Checksum,
        ),
    ];
    for (name, packet, reject) in cases {
        assert_eq!(View::parse(&packet).err(), Some(reject), "{name}");
    }
    assert!(View::parse(&changed(|p| p.extend([0; 6]))).is_err_and(|r| r == Reject::Checksum));
    let padded = [hex(SENT).as_slice(), &[0; 6]].concat();
    assert!(View::parse(&padded).is_ok());
}

#[test]
fn an_advert_must_come_the_way_that_is_configured() {
    let peer = |addr: &str, min_ttl| {
        Transport::Unicast(Unicast {
            peers: vec![UnicastPeer {
                addr: v6(addr),
                min_ttl,
                max_ttl: 255,
            }],
            ttl: 255,
            check_source: true,
            old_checksum: OldChecksum::Never,
        })
    };
    let (host, other) = (v6("2001:db8::2"), v6("ff02::99"));
    let cases = [
        (Transport::Multicast(GROUP6), GROUP6, 255, None),
        (Transport::Multicast(GROUP6), GROUP6, 254, Some(Reject::Ttl)),
        (
            Transport::Multicast(GROUP6),
            other,
            255,
            Some(Reject::Destination),
        ),
        (
            Transport::Multicast(GROUP6),
            host,
            255,
            Some(Reject::Destination),
        ),
        (Transport::Multicast(other), other, 255, None),
        (peer("fe80::ff:fe00:1", 64), host, 64, None),
        (peer("fe80::ff:fe00:1", 64), host, 63, Some(Reject::Ttl)),
        (peer("fe80::2", 0), host, 255, Some(Reject::NotPeer)),
        (
            peer("fe80::ff:fe00:1", 0),
            GROUP6,
            255,
            Some(Reject::Destination),
        ),
    ];
    let mut own = advert(1).addresses;
    own.sort_unstable();
    for (transport, destination, ttl, reject) in cases {
        let mut advert = advert(100);
        advert.envelope = Envelope {
            ttl,
            ..to(destination)
        };
        let packet = advert.emit(1);
        let expect = Expect {
            transport: &transport,
            version: VrrpVersion::V3,
            auth: &Auth::None,
            sequence: 0,
            interval: advert.interval,
            addresses: Some(&own),
        };
        let checked = check(&View::parse(&packet).unwrap(), &expect);
        assert_eq!(checked.err(), reject, "{transport:?} {destination} {ttl}");
    }
}

#[test]
fn random_and_mutated_packets_are_read_without_a_crash() {
    let mut random = Random(3);
    let valid = hex(SENT);
    let mut accepted = 0u32;
    for _ in 0..300_000 {
        let mut packet = valid.clone();
        for _ in 0..1 + random.next() % 3 {
            let at = random.next() as usize % packet.len();
            packet[at] ^= 1 << (random.next() % 8);
        }
        if random.next().is_multiple_of(4) {
            packet.truncate(random.next() as usize % (packet.len() + 1));
        }
        accepted += u32::from(read_all(&packet));
    }
    // Traffic class, flow label and hop limit are all that the checksum leaves out.
    assert!((3_000..60_000).contains(&accepted), "{accepted}");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        source: u128,
        destination: u128,
        ttl: u8,
        priority: u8,
        centis in 1u64..=4095,
        addresses in proptest::collection::vec(any::<u128>(), 1..=255),
        at: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let v6 = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits));
        let source = v6(source >> 1 | 1 << 100);
        let advert = Advert {
            source,
            envelope: Envelope { ttl, ..to(v6(destination)) },
            interval: Duration::from_millis(centis * 10),
            addresses: addresses.into_iter().map(v6).collect(),
            ..advert(priority)
        };
        let mut packet = advert.emit(1);
        prop_assert_eq!(View::parse(&packet).unwrap().to_advert().unwrap(), advert);
        let at = 40 + at.index(packet.len() - 40);
        packet[at] ^= 1u8 << bit;
        prop_assert!(View::parse(&packet).is_err());
    }
}
