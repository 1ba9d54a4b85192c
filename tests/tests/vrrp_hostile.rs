//! A host on the segment that sends what it should not.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, long, pause, spell, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::{Kind, binary};
use lb_tests::flood::Flood;
use lb_tests::lab::{Lab, Spec};
use lb_tests::namespace::Mac;
use lb_tests::prober::let_answers_in;
use lb_tests::recorder::What;
use lb_userspace::control::status::Discarded;
use lb_userspace::io::vrrp::VrrpSockets;
use lb_userspace::model::{Auth, Family, Transport, VrrpVersion};
use lb_userspace::vrrp::Listen;
use lb_userspace::vrrp::packet::{Advert, Envelope};

const ADVERT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);
/// Packets of junk a second at a director.
const RATE: u32 = 120_000;

/// An advert that would win if it were right.
fn winning(vip: Ipv4Addr) -> Advert {
    Advert {
        source: Ipv4Addr::new(10, 77, 0, 250).into(),
        envelope: Envelope::MULTICAST,
        version: VrrpVersion::V2,
        vrid: 62,
        priority: 254,
        interval: ADVERT,
        auth: Auth::Pass(b"1111".to_vec()),
        addresses: vec![vip.into()],
    }
}

/// RFC 1071 over an IPv4 header whose checksum is zero.
fn header_checksum(header: &[u8]) -> u16 {
    let sum: u32 = header
        .chunks_exact(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// What is wrong, the packet, and the name of the counter; `None`: not for us, not counted.
fn faults(vip: Ipv4Addr) -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let good = winning(vip);
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut packet = good.emit(1);
        change(&mut packet);
        // What is wrong is in the header's fields, not in its checksum.
        packet[10..12].fill(0);
        let sum = header_checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let with = |change: fn(&mut Advert)| {
        let mut advert = good.clone();
        change(&mut advert);
        advert.emit(1)
    };
    vec![
        ("TTL 254", broken(|p| p[8] = 254), Some("ttl")),
        ("checksum", broken(|p| p[26] ^= 1), Some("checksum")),
        ("type 2", broken(|p| p[20] = 0x22), Some("type")),
        ("version 0", broken(|p| p[20] = 0x01), Some("version")),
        ("count 0", broken(|p| p[23] = 0), Some("count")),
        ("count 255", broken(|p| p[23] = 255), Some("length")),
        (
            "no authentication",
            with(|a| a.auth = Auth::None),
            Some("auth_type"),
        ),
        (
            "another password",
            with(|a| a.auth = Auth::Pass(b"1112".to_vec())),
            Some("auth_data"),
        ),
        (
            "another interval",
            with(|a| a.interval = Duration::from_secs(2)),
            Some("interval"),
        ),
        (
            "version 3",
            with(|a| {
                a.version = VrrpVersion::V3;
                a.auth = Auth::None;
            }),
            Some("version"),
        ),
        (
            "another address",
            with(|a| a.addresses = vec![Ipv4Addr::new(10, 77, 0, 101).into()]),
            Some("address_list"),
        ),
        (
            "one address more",
            with(|a| a.addresses.push(Ipv4Addr::new(10, 77, 0, 101).into())),
            Some("count"),
        ),
        (
            "source in another subnet",
            with(|a| a.source = Ipv4Addr::new(192, 0, 2, 1).into()),
            Some("off_subnet"),
        ),
        ("another VRID", with(|a| a.vrid = 63), None),
    ]
}

/// The counters of a director's instance, by name.
fn discarded(lab: &Lab, director: usize) -> Result<BTreeMap<String, u64>> {
    let out = std::process::Command::new(binary("lbctl")?)
        .arg("--socket")
        .arg(lab.directors[director].control())
        .args(["show", "vrrp", "--json"])
        .output()?;
    let json = String::from_utf8_lossy(&out.stdout).into_owned();
    let status: serde_json::Value = serde_json::from_str(&json).with_context(|| json.clone())?;
    let list = find(&status, "discarded").with_context(|| json.clone())?;
    let list: Vec<Discarded> = serde_json::from_value(list.clone())?;
    Ok(list.into_iter().map(|d| (d.reason, d.count)).collect())
}

/// The first value of this key, however deep.
fn find<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map
            .get(key)
            .or_else(|| map.values().find_map(|v| find(v, key))),
        serde_json::Value::Array(list) => list.iter().find_map(|v| find(v, key)),
        _ => None,
    }
}

fn lab() -> Result<Lab> {
    let conf = PairConf::http(2, ADVERT);
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    spec.spare = true;
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    Ok(lab)
}

/// Sends packets from the spare host, `gap` apart.
fn send(lab: &Lab, packets: Vec<Vec<u8>>, gap: Option<Duration>) -> Result<()> {
    let spare = lab.spare.as_ref().context("no spare host")?;
    let index = spare.ns.index(&spare.link)?;
    let link = spare.link.clone();
    spare.ns.block_on(async move {
        let mut sockets = VrrpSockets::new()?;
        sockets.open(&link, index, &Listen::to(&Transport::default(), Family::V4))?;
        for packet in packets {
            // A full queue of the veth is a frame less, which is all the same here.
            let _ = sockets.send(&link, &packet);
            if let Some(gap) = gap {
                tokio::time::sleep(gap).await;
            }
        }
        Ok(())
    })
}

/// An IPv4 packet to 224.0.0.18 in its frame.
fn multicast(from: Mac, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_owned();
    packet[10..12].fill(0);
    let sum = header_checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    [&[1, 0, 0x5e, 0, 0, 18], &from.0[..], &[8, 0], &packet].concat()
}

#[test]
fn a_wrong_advert_changes_nothing_and_is_counted_by_its_fault() -> Result<()> {
    let lab = lab()?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    let start = Instant::now();
    for (what, packet, counter) in faults(lab.vip()) {
        let Some(counter) = counter else {
            send(&lab, vec![packet; 3], None)?;
            continue;
        };
        let before = discarded(&lab, 0)?.get(counter).copied().unwrap_or(0);
        send(&lab, vec![packet; 3], None)?;
        wait_for(&format!("{what} to be counted"), LIMIT, || {
            let now = discarded(&lab, 0).ok()?.get(counter).copied()?;
            (now == before + 3).then_some(())
        })
        .with_context(|| lab.logs())?;
    }
    // Longer than it would take the other one to notice that the master is silent.
    pause(Duration::from_secs(4))?;
    let end = Instant::now();
    let_answers_in()?;
    let outage = ping.outage(&lab.recorder, start, end);
    assert_eq!(outage.lost, 0, "{outage:?}\n{}", lab.logs());
    lab.wait_sole_advertiser(0, None, ADVERT, start, LIMIT)?;
    drop(ping);
    lab.finish()
}

#[test]
fn a_flood_of_junk_delays_no_advert_and_moves_no_address() -> Result<()> {
    let lab = lab()?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(20))?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    let spare = lab.spare.as_ref().context("no spare host")?;
    let all: Vec<_> = faults(lab.vip()).into_iter().map(|(_, p, _)| p).collect();
    let junk = all.iter().map(|p| multicast(spare.mac, p)).cycle();
    let junk: Vec<Vec<u8>> = junk.take(all.len() * 64).collect();
    let received = || -> Result<u64> { Ok(lab.directors[1].status()?.vrrp[0].adverts_received) };
    let (start, before) = (Instant::now(), received()?);
    // One after the other, as the test has their CPUs to share; for longer than a silent master is borne
    // with.
    let time = spell(Duration::from_secs(4), Duration::from_secs(15));
    for director in &lab.directors {
        let (host, port) = (&director.host, director.host.port.name());
        let arrived = || -> Result<u64> { Ok(host.ns.packets(&host.link)?.0) };
        let (begin, before) = (Instant::now(), arrived()?);
        let flood = Flood::repeat(lab.switch.ns(), port, junk.clone(), RATE, time)?;
        let sent = flood.join()?.rate();
        let took = Instant::now().since(begin).as_secs_f64();
        let rate = (arrived()? - before) as f64 / took;
        println!(
            "{sent:.0} packets a second sent, {rate:.0} arrived at {}",
            director.name()
        );
        ensure!(!long() || rate >= 100_000.0, "{rate:.0} packets a second");
    }
    let end = Instant::now();
    let heard = received()? - before;
    println!("the backup took {heard} adverts");
    pause(Duration::from_secs(1))?;
    lab.wait_sole_advertiser(0, None, ADVERT, start, LIMIT)?;
    let (master, backup) = (lab.directors[0].host.mac, lab.directors[1].host.mac);
    let frames = lab.recorder.since(start);
    let adverts: Vec<Instant> = frames
        .iter()
        .filter(|f| f.src == master && matches!(f.what, What::Advert { .. }))
        .map(|f| f.at)
        .collect();
    let during = adverts.iter().filter(|at| **at < end).count() as u64;
    ensure!(during >= 4, "{during} adverts");
    // The first and the last may be on their way.
    ensure!(
        heard + 1 >= during,
        "{heard} of {during} adverts heard by the backup"
    );
    let latest = adverts
        .windows(2)
        .map(|w| w[1].since(w[0]))
        .max()
        .unwrap_or_default();
    println!("{} adverts, at most {latest:?} apart", adverts.len());
    assert!(
        latest < ADVERT.mul_f64(2.0),
        "{latest:?} between two adverts\n{}",
        lab.logs()
    );
    ensure!(
        !frames
            .iter()
            .any(|f| f.src == backup && matches!(f.what, What::Advert { .. })),
        "the backup advertised\n{}",
        lab.logs()
    );
    for director in &lab.directors {
        let log = director.log();
        let lines = log.lines().filter(|l| l.contains("rejected")).count();
        // One of each kind at once, then one in ten seconds.
        assert!(lines <= 40, "{lines} lines on {}", director.name());
    }
    println!(
        "{:.1} s of junk, rejected: {:?}",
        end.since(start).as_secs_f64(),
        discarded(&lab, 0)?
    );
    drop(ping);
    lab.finish()
}
