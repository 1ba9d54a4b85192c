//! Thousands of adverts of every kind: what keepalived sends is read as tcpdump reads it, and what ours
//! sends is well-formed to tcpdump and accepted by keepalived.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use lb_tests::clock::{long, pause, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::matrix::Wire;
use lb_tests::random::Random;
use lb_tests::six;
use lb_tests::tape::{ETHERNET, Tape, tcpdump};
use lb_userspace::control::status::VrrpState;
use lb_userspace::model::VrrpVersion;
use lb_userspace::vrrp::packet::{Reject, View};

const LIMIT: Duration = Duration::from_secs(120);
/// Instances of each kind.
const INSTANCES: u8 = 36;

/// Adverts of each kind: together more than 10,000 where the environment asks for long loads.
fn wanted() -> usize {
    if long() { 1500 } else { 200 }
}

/// One virtual router.
#[derive(Clone, Debug)]
struct Instance {
    wire: Wire,
    vrid: u8,
    priority: u8,
    interval: Duration,
    password: String,
    addresses: Vec<IpAddr>,
}

/// Instances of all kinds, each with figures of its own.
fn instances(random: &mut Random, shortest: u64) -> Vec<Instance> {
    let mut all = Vec::new();
    for (number, &wire) in Wire::value_variants().iter().enumerate() {
        let six = wire == Wire::V3Ipv6;
        for at in 0..INSTANCES {
            let mut below = |n: u64| random.figure() % n;
            // IPv6 has numbers of its own.
            let vrid = if six {
                at + 1
            } else {
                u8::try_from(number).unwrap_or(0) * INSTANCES + at + 1
            };
            let count = match at {
                0 if six => 80,
                0 => 200,
                _ => 1 + below(12),
            };
            let address = |n: u64| {
                let n = u16::try_from(n).unwrap_or(0);
                match (six, n) {
                    (true, 0) => six::link_local(u16::from(vrid) + 0x100).into(),
                    (true, n) => six::global(u16::from(vrid) << 8 | n).into(),
                    (false, n) => {
                        let n = u8::try_from(n).unwrap_or(0);
                        IpAddr::from(Ipv4Addr::new(10, 78, vrid, n + 1))
                    }
                }
            };
            let interval = match wire.fractions() {
                true => shortest.max([50, 60, 100, 250, 1000][below(5) as usize]),
                false => 1000,
            };
            let letters = b"abcXYZ019&()*+,-./:;<=>?[]^_|~";
            let password = (0..1 + below(8))
                .map(|_| char::from(letters[below(letters.len() as u64) as usize]));
            let password = password.collect();
            all.push(Instance {
                wire,
                vrid,
                priority: 2 + below(253) as u8,
                interval: Duration::from_millis(interval),
                password,
                addresses: (0..count).map(address).collect(),
            });
        }
    }
    all
}

/// The file of a director; `less` is taken off its priorities.
fn conf(all: &[Instance], lab: &Lab, director: usize, less: u8) -> String {
    let mut t = String::from("global_defs {\n  router_id many\n}\n");
    let other = lab.directors[1 - director].host.address();
    for i in all {
        let (name, vrid) = (format!("{:?}_{}", i.wire, i.vrid), i.vrid);
        let (priority, seconds) = (i.priority - less, i.interval.as_secs_f64());
        let version = if i.wire.fractions() { 3 } else { 2 };
        let _ = write!(
            t,
            "vrrp_instance {name} {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {vrid}\n  priority {priority}\n  \
             version {version}\n  advert_int {seconds}\n"
        );
        let auth = |kind: &str| {
            let password = &i.password;
            format!(
                "  authentication {{\n    auth_type {kind}\n    auth_pass \"{password}\"\n  }}\n"
            )
        };
        t += &match i.wire {
            Wire::V2Pass => auth("PASS"),
            Wire::V2Ah => auth("AH"),
            Wire::V2Vmac => auth("PASS") + "  use_vmac\n",
            Wire::V3Unicast => {
                let client = lab.client.address();
                format!("  unicast_peer {{\n    {other}\n    {client}\n  }}\n")
            }
            Wire::V2None | Wire::V3Ipv4 | Wire::V3Ipv6 => String::new(),
        };
        t += "  virtual_ipaddress {\n";
        for a in &i.addresses {
            let _ = writeln!(t, "    {a}");
        }
        t += "  }\n}\n";
    }
    t
}

/// The kind of a packet, by what it carries: one of unicast by its destination.
fn wire_of(view: &View<'_>, all: &[Instance]) -> Option<Wire> {
    let six = view.source().is_ipv6();
    let i = all
        .iter()
        .find(|i| i.vrid == view.vrid() && (i.wire == Wire::V3Ipv6) == six)?;
    Some(i.wire)
}

/// Waits until there are enough of every kind.
fn record(tape: &Tape, all: &[Instance]) -> Result<BTreeMap<Wire, usize>> {
    let mut counts = BTreeMap::new();
    wait_for("enough adverts of every kind", LIMIT, || {
        counts.clear();
        tape.with(|frames| {
            for frame in frames {
                if let Ok(view) = View::parse(&frame[ETHERNET..])
                    && let Some(wire) = wire_of(&view, all)
                {
                    *counts.entry(wire).or_insert(0) += 1;
                }
            }
        });
        // Each look costs more than the last.
        let _ = pause(Duration::from_millis(200));
        let enough = |wire: &Wire| counts.get(wire).is_some_and(|n| *n >= wanted());
        Wire::value_variants().iter().all(enough).then_some(())
    })
    .with_context(|| format!("{counts:?}"))?;
    Ok(counts)
}

/// What tcpdump says about a packet, from what ours reads in it.
fn words(view: &View<'_>, from_tcpdump: &str) -> Result<String> {
    let (source, to) = (view.source(), view.envelope().destination);
    let mut t = format!("{source} > {to}: ");
    if let Some(sequence) = view.sequence() {
        let IpAddr::V4(v4) = source else {
            anyhow::bail!("AH over IPv6")
        };
        // The check value is not part of what is read; that it is right, a receiver says.
        let icv = from_tcpdump.split_once("icv=").context("no icv")?.1;
        let icv = icv.split_once(')').context("no icv")?.0;
        let spi = v4.to_bits();
        let _ = write!(
            t,
            "AH(length=4(24-bytes),spi=0x{spi:08x},seq=0x{sequence:x},icv={icv}): "
        );
    }
    let (vrid, prio) = (view.vrid(), view.priority());
    let count = view.addresses().len();
    let size = if source.is_ipv6() { 16 } else { 4 };
    match view.version() {
        VrrpVersion::V2 => {
            let auth = ["none", "simple", "ah"][usize::from(view.auth_type())];
            let (seconds, length) = (view.interval().as_secs(), 16 + count * size);
            let _ = write!(
                t,
                "VRRPv2, Advertisement, vrid {vrid}, prio {prio}, authtype {auth}, intvl {seconds}s, length {length}"
            );
        }
        VrrpVersion::V3 => {
            let (centis, length) = (view.interval().as_millis() / 10, 8 + count * size);
            let _ = write!(
                t,
                "VRRPv3, Advertisement, vrid {vrid}, prio {prio}, intvl {centis}cs, length {length}"
            );
        }
    }
    t += ", addrs";
    if count != 1 {
        let _ = write!(t, "({count})");
    }
    for (at, a) in view.addresses().enumerate() {
        let _ = write!(t, "{}{a}", if at == 0 { ": " } else { "," });
    }
    if view.auth_type() == 1 {
        let data = String::from_utf8_lossy(view.auth_data()).into_owned();
        let _ = write!(t, " auth \"{}\"", data.trim_end_matches('\0'));
    }
    Ok(t)
}

/// Each frame is read by ours as by tcpdump, and is what an instance has in its file.
fn compare(frames: &[Vec<u8>], all: &[Instance]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let said = tcpdump(frames, dir.path())?;
    for (frame, said) in frames.iter().zip(&said) {
        let packet = &frame[ETHERNET..];
        let view = View::parse(packet).map_err(|r| anyhow::anyhow!("{r:?}: {said}"))?;
        let ttl = view.envelope().ttl;
        let outside = match view.source() {
            IpAddr::V6(_) => format!("hlim {ttl}, next-header VRRP (112)"),
            IpAddr::V4(_) => format!("ttl {ttl}, id "),
        };
        ensure!(said.contains(&outside), "no {outside:?} in {said}");
        let words = words(&view, said)?;
        ensure!(
            said.ends_with(&format!(") {words}")),
            "read as {words}\ntcpdump: {said}"
        );

        let wire = wire_of(&view, all).with_context(|| format!("of nobody: {said}"))?;
        let same = |i: &&Instance| i.wire == wire && i.vrid == view.vrid();
        let i = all.iter().find(same).context("no instance")?;
        let addresses: Vec<_> = view.addresses().collect();
        ensure!(
            (view.interval(), &addresses) == (i.interval, &i.addresses)
                && [0, i.priority].contains(&view.priority()),
            "{i:?}: {said}"
        );
    }
    Ok(())
}

/// With one bit changed in what the checksum covers, tcpdump calls the checksum bad, and ours does not
/// take the packet.
fn compare_broken(frames: &[Vec<u8>], random: &mut Random) -> Result<()> {
    let mut broken = frames.to_vec();
    for frame in &mut broken {
        // VRID, priority or what is behind the checksum.
        let message = match (frame[12], frame[ETHERNET + 9]) {
            (0x86, _) => ETHERNET + 40,
            (_, 51) => ETHERNET + 44,
            _ => ETHERNET + 20,
        };
        let mut places = vec![message + 1, message + 2];
        places.extend(message + 8..message + 12);
        let place = places[(random.figure() % places.len() as u64) as usize];
        frame[place] ^= 1 << (random.figure() % 8);
    }
    let dir = tempfile::tempdir()?;
    for (frame, said) in broken.iter().zip(tcpdump(&broken, dir.path())?) {
        let read = View::parse(&frame[ETHERNET..]).map(|_| ());
        ensure!(
            said.contains("(bad vrrp cksum ") && read == Err(Reject::Checksum),
            "{read:?}: {said}"
        );
    }
    Ok(())
}

fn lab(kinds: [Kind; 2]) -> Result<Lab> {
    let mut conf = PairConf::http(3, Duration::from_secs(1));
    conf.services.clear();
    let lab = Lab::new(&Spec::pair(&conf, kinds))?;
    six::speak(&lab)?;
    Ok(lab)
}

#[test]
fn adverts_of_keepalived_are_read_as_tcpdump_reads_them() -> Result<()> {
    let seed = Random::any_seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let all = instances(&mut random, 50);
    let mut lab = lab([Kind::Keepalived, Kind::Lbd])?;
    lab.directors[0].write_conf(&conf(&all, &lab, 0, 0))?;
    let tape = Tape::start(&lab.client.ns, "eth0")?;
    lab.directors[0].start()?;
    let counts = record(&tape, &all).with_context(|| lab.directors[0].log_tail())?;
    let frames = tape.finish()?;
    println!("{} adverts: {counts:?}", frames.len());
    compare(&frames, &all)?;
    compare_broken(&frames, &mut random)?;
    lab.finish()
}

#[test]
fn our_adverts_are_well_formed_to_tcpdump_and_keepalived_stays_backup() -> Result<()> {
    let seed = Random::any_seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    // A keepalived with so many is late for the shortest of them, and takes over for a moment.
    let all = instances(&mut random, 500);
    let mut lab = lab([Kind::Lbd, Kind::Keepalived])?;
    for (at, less) in [(0, 0), (1, 1)] {
        lab.directors[at].write_conf(&conf(&all, &lab, at, less))?;
    }
    lab.directors[0].start()?;
    lab.directors[0].wait_status("all to be master", LIMIT, |status| {
        let masters = status.vrrp.iter().filter(|v| v.state == VrrpState::Master);
        (masters.count() == all.len()).then_some(())
    })?;
    lab.directors[1].start()?;
    let backup = |lab: &Lab| {
        lab.directors[1]
            .log()
            .matches("Entering BACKUP STATE")
            .count()
    };
    wait_for("all of keepalived's to be backup", LIMIT, || {
        (backup(&lab) >= all.len()).then_some(())
    })
    .with_context(|| lab.logs())?;
    let tape = Tape::start(&lab.client.ns, "eth0")?;
    let counts = record(&tape, &all).with_context(|| lab.logs())?;
    // Longer than any of them waits for a master.
    pause(Duration::from_secs(4))?;
    let frames = tape.finish()?;
    println!("{} adverts: {counts:?}", frames.len());
    let ours = lab.directors[0].log();
    let (late, warned): (Vec<_>, Vec<_>) = ours
        .lines()
        .filter(|l| l.contains(" WARN "))
        .partition(|l| l.contains("adverts were late"));
    // By how much they may be, keepalived says: with `LB_LONG` everything is read anew meanwhile.
    println!("{late:#?}");
    ensure!(warned.is_empty(), "{warned:#?}");
    compare(&frames, &all).with_context(|| lab.logs())?;
    let log = lab.directors[1].log();
    ensure!(!log.contains("Entering MASTER STATE"), "{}", lab.logs());
    let odd = [
        "nvalid",
        "mismatch",
        "bad ",
        "wrong",
        "unexpected",
        "not present",
    ];
    let complaints: Vec<_> = log
        .lines()
        .filter(|l| l.contains("VRRP") || l.contains("advert"))
        .filter(|l| odd.iter().any(|w| l.contains(w)))
        .collect();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    lab.finish()
}
