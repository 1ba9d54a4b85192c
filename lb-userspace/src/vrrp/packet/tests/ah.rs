//! Adverts in IPsec AH.

use super::*;

/// What keepalived 2.2.7 sent first and last, with its identification and sequence number.
const SENT: [(u16, u32, u8, &str); 3] = [
    (
        1,
        1,
        150,
        "45c0004000010000ff33d0690a4d0001e0000012 700400000a4d000100000001 9a5f52b6f108bc66a6ec76a3 \
         2142960102013c090a4d00650000000000000000",
    ),
    (
        2,
        2,
        150,
        "45c0004000020000ff33d0680a4d0001e0000012 700400000a4d000100000002 d11ca3a35834deadfd2b6d72 \
         2142960102013c090a4d00650000000000000000",
    ),
    (
        5,
        5,
        0,
        "45c0004000050000ff33d0650a4d0001e0000012 700400000a4d000100000005 b0646c442add5c87b117b6dd \
         214200010201d2090a4d00650000000000000000",
    ),
];

fn ah(password: &str) -> Auth {
    Auth::Ah(password.as_bytes().to_vec())
}

fn advert(priority: u8) -> Advert {
    Advert {
        source: v4([10, 77, 0, 1]),
        envelope: Envelope::MULTICAST,
        version: VrrpVersion::V2,
        vrid: 66,
        priority,
        interval: Duration::from_secs(1),
        auth: ah("1111"),
        addresses: vec![v4([10, 77, 0, 101])],
    }
}

fn checked(packet: &[u8], auth: &Auth, sequence: u32) -> Result<(), Reject> {
    let destination = destination_of(packet);
    let transport = match destination.is_multicast() {
        true => Transport::default(),
        false => Transport::Unicast(Unicast {
            peers: Vec::new(),
            ttl: 255,
            check_source: false,
            old_checksum: OldChecksum::Auto,
        }),
    };
    let own = [v4([10, 77, 0, 101])];
    let expect = Expect {
        transport: &transport,
        version: VrrpVersion::V2,
        auth,
        sequence,
        interval: Duration::from_secs(1),
        addresses: Some(&own),
    };
    check(&View::parse(packet)?, &expect)
}

#[test]
fn keepalived_s_packets_are_written_byte_for_byte_and_accepted() {
    for (id, sequence, priority, text) in SENT {
        let packet = hex(text);
        assert_eq!(advert(priority).emit_with(id, sequence), packet);
        let view = View::parse(&packet).unwrap();
        assert_eq!((view.vrid(), view.priority()), (66, priority));
        assert_eq!(view.sequence(), Some(sequence));
        assert_eq!(vrid_of(&packet), Some(66));
        assert_eq!(checked(&packet, &ah("1111"), sequence - 1), Ok(()));
        // Again, or older than what was heard.
        let replay = Err(Reject::Replay);
        assert_eq!(checked(&packet, &ah("1111"), sequence), replay);
        assert_eq!(checked(&packet, &ah("1111"), u32::MAX), replay);
    }
}

#[test]
fn what_is_not_authentic_is_refused() {
    let good = hex(SENT[0].3);
    let changed = |at: usize| {
        let mut packet = good.clone();
        packet[at] ^= 1;
        checked(&packet, &ah("1111"), 0).err()
    };
    assert_eq!(checked(&good, &ah("1112"), 0), Err(Reject::AuthData));
    assert_eq!(checked(&good, &Auth::None, 0), Err(Reject::AuthType));
    assert_eq!(checked(&good, &pass("1111"), 0), Err(Reject::AuthType));
    // TOS, fragment and header checksum may change on the way, nothing else that was not looked at before.
    for at in [1, 10, 11] {
        assert_eq!(changed(at), None, "byte {at}");
    }
    let covered = (4..6).chain(12..16).chain(22..44);
    for at in covered {
        assert_eq!(changed(at), Some(Reject::AuthData), "byte {at}");
    }
    assert_eq!(changed(20), Some(Reject::Protocol));
    assert_eq!(changed(21), Some(Reject::Length));
    for len in 0..good.len() {
        assert!(View::parse(&good[..len]).is_err());
        let _ = vrid_of(&good[..len]);
    }

    // By another password type inside, or without the header.
    let mut bare = advert(150);
    bare.auth = pass("1111");
    assert_eq!(
        checked(&bare.emit(1), &ah("1111"), 0),
        Err(Reject::AuthType)
    );
}

#[test]
fn by_unicast_the_ttl_is_not_covered() {
    let mut advert = advert(150);
    for (destination, verdict) in [(v4([10, 77, 0, 2]), Ok(())), (GROUP, Err(Reject::Ttl))] {
        advert.envelope.destination = destination;
        let mut packet = advert.emit_with(1, 7);
        assert_eq!(checked(&packet, &ah("1111"), 6), Ok(()));
        packet[8] = 250;
        assert_eq!(checked(&packet, &ah("1111"), 6), verdict);
    }
}
