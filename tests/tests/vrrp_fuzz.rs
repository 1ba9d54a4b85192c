//! Thousands of adverts that nobody would send, at a master and its backup: nothing moves.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, long, spell};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::prober::let_answers_in;
use lb_tests::random::Random;
use lb_userspace::io::vrrp::VrrpSockets;
use lb_userspace::model::{Auth, Family, Transport, VrrpVersion};
use lb_userspace::vrrp::Listen;
use lb_userspace::vrrp::packet::{Advert, Envelope};

const ADVERT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);
/// Packets a second.
const RATE: usize = 10_000;
const SPARE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);

/// RFC 1071, the checksum's own place being zero.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u32 = bytes
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

/// Right checksums of the IP header and of the message, version 2's or version 3's.
fn mend(packet: &mut [u8], version: u8) {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum);
    if packet.len() < 28 {
        return;
    }
    packet[26..28].fill(0);
    let message = &packet[20..];
    let sum = if version == 2 {
        checksum(message)
    } else {
        let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
        let pseudo = [&packet[12..20], &[0, 112], &length, message].concat();
        checksum(&pseudo)
    };
    packet[26..28].copy_from_slice(&sum);
}

fn below(random: &mut Random, limit: usize) -> usize {
    usize::try_from(random.figure() % limit as u64).unwrap_or(0)
}

/// Behind a right IP header, anything.
fn random(random: &mut Random) -> Vec<u8> {
    let length = match below(random, 4) {
        0 => below(random, 1400),
        _ => below(random, 40),
    };
    let mut packet = Advert {
        envelope: Envelope::MULTICAST,
        ..base(2)
    }
    .emit(1)[..20]
        .to_vec();
    packet.extend((0..length).map(|_| below(random, 256) as u8));
    let total = u16::try_from(packet.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    packet[2..4].copy_from_slice(&total);
    mend(&mut packet, 2);
    packet
}

/// An advert that is right, and loses.
fn base(version: u8) -> Advert {
    Advert {
        source: SPARE.into(),
        envelope: Envelope::MULTICAST,
        version: match version {
            2 => VrrpVersion::V2,
            _ => VrrpVersion::V3,
        },
        vrid: 62,
        priority: 1,
        interval: ADVERT,
        auth: match version {
            2 => Auth::Pass(b"1111".to_vec()),
            _ => Auth::None,
        },
        addresses: vec![Ipv4Addr::new(10, 77, 0, 100).into()],
    }
}

/// An advert with some bytes changed, its checksums right more often than not. The one byte that could
/// make it win is left alone: nothing that the directors are to do may follow from it.
fn mutated(version: u8, random: &mut Random) -> Vec<u8> {
    const PRIORITY: usize = 22;
    let mut packet = base(version).emit(1);
    for _ in 0..=below(random, 4) {
        let at = below(random, packet.len());
        // The sender is no director and the group the right one, whatever else is said.
        if at != PRIORITY && !(12..20).contains(&at) {
            packet[at] = below(random, 256) as u8;
        }
    }
    match below(random, 8) {
        0 => packet.truncate(20 + below(random, 30)),
        1 => packet.extend((0..below(random, 64)).map(|_| below(random, 256) as u8)),
        _ => {}
    }
    // Not another family's packet: the kernel would not bring it here.
    packet[0] = 0x40 | packet[0] & 0xf;
    if below(random, 4) != 0 {
        mend(&mut packet, version);
    }
    packet
}

/// Sends from the spare host, [`RATE`] a second.
fn send(lab: &Lab, packets: Vec<Vec<u8>>) -> Result<Duration> {
    let spare = lab.spare.as_ref().context("no spare host")?;
    let (link, index) = (spare.link.clone(), spare.ns.index(&spare.link)?);
    spare.ns.block_on(async move {
        let mut sockets = VrrpSockets::new()?;
        sockets.open(&link, index, &Listen::to(&Transport::default(), Family::V4))?;
        let start = Instant::now();
        for (n, packet) in packets.iter().enumerate() {
            if n % 100 == 0 {
                let due = Duration::from_secs(1) * u32::try_from(n)? / u32::try_from(RATE)?;
                start.plus(due).sleep();
            }
            sockets.send(&link, packet)?;
        }
        Ok(Instant::now().since(start))
    })
}

/// What the process has used of a CPU.
fn cpu(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = text.rsplit(')').next().context("no name")?;
    let mut fields = after.split_whitespace().skip(11);
    let mut next = || -> Result<u64> { Ok(fields.next().context("too short")?.parse()?) };
    // In ticks of 10 ms (USER_HZ).
    Ok(Duration::from_millis((next()? + next()?) * 10))
}

fn nothing_moves(version: u8) -> Result<()> {
    let conf = PairConf::http(version, ADVERT);
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    spec.spare = true;
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(20))?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    let seconds = spell(Duration::from_secs(2), Duration::from_secs(10)).as_secs() as usize;
    let mut dice = Random::new(u64::from(version));
    let before: Vec<usize> = lab
        .directors
        .iter()
        .map(|d| d.log().lines().count())
        .collect();
    let pids: Vec<u32> = lab.directors.iter().filter_map(|d| d.pid()).collect();
    let elected = |lab: &Lab| -> Result<Vec<u64>> {
        let all = lab.directors.iter();
        all.map(|d| Ok(d.status()?.vrrp[0].became_master)).collect()
    };
    let elected_before = elected(&lab)?;
    let used = pids.iter().map(|p| cpu(*p)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let mut took = send(
        &lab,
        (0..seconds * RATE).map(|_| random(&mut dice)).collect(),
    )?;
    took += send(
        &lab,
        (0..seconds * RATE)
            .map(|_| mutated(version, &mut dice))
            .collect(),
    )?;
    for (pid, used) in pids.iter().zip(used) {
        let used = cpu(*pid)? - used;
        let share = used.as_secs_f64() / took.as_secs_f64();
        println!(
            "version {version}: {:.1} % of a CPU at {:.0} packets/s",
            100.0 * share,
            (2 * seconds * RATE) as f64 / took.as_secs_f64()
        );
        // What an unoptimised build takes says nothing.
        ensure!(
            share < 0.1 || !long() || cfg!(debug_assertions),
            "{share} of a CPU"
        );
    }
    // A silent master would have been noticed.
    lab.wait_sole_advertiser(0, None, ADVERT, Instant::now(), LIMIT)?;
    let end = Instant::now();
    let_answers_in()?;
    let outage = ping.outage(&lab.recorder, start, end);
    assert_eq!(outage.lost, 0, "{outage:?}\n{}", lab.logs());
    assert_eq!(elected(&lab)?, elected_before, "{}", lab.logs());
    for (director, before) in lab.directors.iter().zip(before) {
        let status = director.status()?;
        let vrrp = &status.vrrp[0];
        // Some of the mutated ones are right, and lose. The bridge between looks for IGMP and keeps packets
        // whose IP header is malformed.
        let refused = vrrp.discarded.iter().chain(&status.vrrp_unclaimed);
        let refused: u64 = refused.map(|d| d.count).sum();
        let counted = refused + vrrp.adverts_received;
        let sent = (2 * seconds * RATE) as u64;
        ensure!(counted > sent * 3 / 4, "{counted} of {sent} were counted");
        ensure!(vrrp.discarded.len() > 7, "{:?}", vrrp.discarded);
        let lines = director.log().lines().count() - before;
        let most = end.since(start).as_secs() as usize + 2;
        assert!(lines <= most, "{lines} lines\n{}", director.log());
    }
    drop(ping);
    lab.finish()
}

#[test]
fn random_and_mutated_adverts_of_version_2_move_nothing() -> Result<()> {
    nothing_moves(2)
}

#[test]
fn random_and_mutated_adverts_of_version_3_move_nothing() -> Result<()> {
    nothing_moves(3)
}
