//! VRRP by unicast: `unicast_peer` and what belongs to it. (That every pairing agrees, the matrix shows.)

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::recorder::What;
use lb_userspace::io::vrrp::VrrpSockets;
use lb_userspace::model::{Family, OldChecksum, Transport, Unicast, UnicastPeer, VrrpVersion};
use lb_userspace::vrrp::Listen;
use lb_userspace::vrrp::packet::{Advert, Coverage, Envelope};

const LIMIT: Duration = Duration::from_secs(20);
const PING: Duration = Duration::from_millis(2);
const EVERY: [[Kind; 2]; 3] = [
    [Kind::Lbd, Kind::Keepalived],
    [Kind::Keepalived, Kind::Lbd],
    [Kind::Lbd, Kind::Lbd],
];

/// A pair whose directors send their adverts to each other and, so that they are seen, to the client.
fn spec(version: u8, advert: Duration, kinds: [Kind; 2], lines: &str) -> Result<Spec> {
    let mut conf = PairConf::http(version, advert);
    conf.instance_lines = format!("{lines}  unicast_peer {{\n    OTHER\n    CLIENT\n  }}\n");
    let mut spec = Spec::pair(&conf, kinds);
    let plan = spec.topology.plan()?;
    let first = |list: &[(Ipv4Addr, u8)]| list.first().map(|(a, _)| a.to_string());
    let client = first(&plan.client).context("the client has no address")?;
    for (at, text) in spec.confs.iter_mut().enumerate() {
        let other = first(&plan.directors[1 - at]).context("a director has no address")?;
        *text = text.replace("OTHER", &other).replace("CLIENT", &client);
    }
    Ok(spec)
}

/// keepalived computes it in the old way, ours notices; ours does so, keepalived is told to.
#[test]
fn the_old_checksum_is_spoken_with_who_speaks_it() -> Result<()> {
    let advert = Duration::from_millis(50);
    for (kinds, old) in [
        ([Kind::Keepalived, Kind::Lbd], 0),
        ([Kind::Lbd, Kind::Keepalived], 1),
    ] {
        let mut spec = spec(3, advert, kinds, "")?;
        spec.confs[old] =
            spec.confs[old].replace("  unicast_peer", "  old_unicast_checksum\n  unicast_peer");
        let mut lab = Lab::new(&spec)?;
        lab.start_directors()?;
        let ping = lab.ping(lab.vip(), PING)?;
        lab.settle(0, None, advert, &ping, LIMIT)
            .with_context(|| format!("{kinds:?}"))?;
        let at = lab.strike(Event::PowerLoss, 0)?;
        let second = lab.directors[1].host.mac;
        ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)?;
        lab.recover(Event::PowerLoss, 0)?;
        lab.settle(0, None, advert, &ping, LIMIT)
            .with_context(|| format!("{kinds:?}, {}", lab.logs()))?;
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

/// With another TTL than 255, and peers that must have it.
#[test]
fn a_ttl_and_its_limits_are_those_that_keepalived_sends_and_takes() -> Result<()> {
    let advert = Duration::from_millis(50);
    for kinds in EVERY {
        let mut spec = spec(3, advert, kinds, "  unicast_ttl 7\n")?;
        for text in &mut spec.confs {
            let peer = text.find("unicast_peer {\n").context("peers")?;
            let end = peer + text[peer + 16..].find('\n').context("a line")? + 16;
            text.insert_str(end, " min_ttl 7 max_ttl 7");
        }
        let mut lab = Lab::new(&spec)?;
        lab.start_directors()?;
        let ping = lab.ping(lab.vip(), PING)?;
        lab.settle(0, None, advert, &ping, LIMIT)
            .with_context(|| format!("{kinds:?}, {}", lab.logs()))?;
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

/// An advert that would win, by unicast from a host that is no peer.
#[test]
fn a_host_that_is_no_peer_is_counted_and_changes_nothing() -> Result<()> {
    let advert = Duration::from_millis(50);
    let mut spec = spec(3, advert, [Kind::Lbd; 2], "  check_unicast_src\n")?;
    spec.spare = true;
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), PING)?;
    lab.settle(0, None, advert, &ping, LIMIT)?;
    let spare = lab.spare.as_ref().context("no spare host")?;
    let master = lab.directors[0].host.addresses[0].0;
    let source = spare.addresses[0].0;
    let transport = Transport::Unicast(Unicast {
        peers: vec![UnicastPeer {
            addr: master.into(),
            min_ttl: 0,
            max_ttl: 255,
        }],
        ttl: 255,
        check_source: false,
        old_checksum: OldChecksum::Auto,
    });
    let packet = Advert {
        source: source.into(),
        envelope: Envelope {
            destination: master.into(),
            ttl: 255,
            coverage: Coverage::Destination,
        },
        version: VrrpVersion::V3,
        vrid: 62,
        priority: 254,
        interval: advert,
        auth: lb_userspace::model::Auth::None,
        addresses: vec![lab.vip().into()],
    }
    .emit(1);
    let (link, index) = (spare.link.clone(), spare.ns.index(&spare.link)?);
    let at = Instant::now();
    spare.ns.block_on(async move {
        let mut sockets = VrrpSockets::new()?;
        sockets.open(&link, index, &Listen::to(&transport, Family::V4))?;
        for _ in 0..10 {
            sockets.send(&link, &packet)?;
        }
        anyhow::Ok(())
    })?;
    lab.directors[0]
        .wait_status("what is no peer's to be counted", LIMIT, |status| {
            let discarded = &status.vrrp.first()?.discarded;
            let not_peer = discarded.iter().find(|d| d.reason == "not_peer")?;
            (not_peer.count == 10).then_some(())
        })
        .with_context(|| lab.logs())?;
    lab.wait_sole_advertiser(0, None, advert, at, LIMIT)?;
    drop(ping);
    lab.finish()
}

/// The kernel must not answer a peer's advert with "protocol unreachable", and adverts by unicast must
/// reach those alone that are named.
#[test]
fn adverts_go_to_the_peers_alone_and_nothing_answers_them() -> Result<()> {
    let advert = Duration::from_millis(50);
    let mut spec = spec(3, advert, [Kind::Lbd; 2], "")?;
    for text in &mut spec.confs {
        // Without the client.
        let peer = text.find("unicast_peer {\n").context("peers")?;
        let line = peer + text[peer + 16..].find('\n').context("a line")? + 17;
        let end = line + text[line..].find('\n').context("a line")? + 1;
        text.replace_range(line..end, "");
    }
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    let master = |lab: &Lab| -> Result<()> {
        lab.directors[0].wait_status("the master", LIMIT, |s| {
            let v = s.vrrp.first()?;
            (v.became_master == 1 && v.adverts_sent > 20).then_some(())
        })
    };
    let answered = |lab: &Lab| {
        lab.directors[1].host.ns.call(|| {
            let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
            let mut lines = text.lines().filter(|l| l.starts_with("IcmpMsg:"));
            let (names, values) = (lines.next(), lines.next());
            let pairs = names
                .unwrap_or_default()
                .split(' ')
                .zip(values.unwrap_or_default().split(' '));
            let sent = pairs.into_iter().find(|(n, _)| *n == "OutType3");
            anyhow::Ok(sent.map_or(0, |(_, v)| v.parse::<u64>().unwrap_or(0)))
        })
    };
    master(&lab)?;
    // Until its daemon listens, its kernel answers.
    lab.directors[1].wait_ready(LIMIT)?;
    let before = answered(&lab)?;
    let heard = lab.directors[1].status()?.vrrp[0].adverts_received;
    wait_for("adverts at the backup", LIMIT, || {
        let now = lab.directors[1].status().ok()?.vrrp[0].adverts_received;
        (now > heard + 20).then_some(())
    })?;
    let seen = lab.recorder.since(Instant(0));
    let adverts = seen
        .iter()
        .filter(|f| matches!(f.what, What::Advert { .. }));
    ensure!(adverts.count() == 0, "the client saw adverts");
    let answered = answered(&lab)? - before;
    ensure!(
        answered == 0,
        "{answered} adverts were answered as unreachable"
    );
    lab.finish()
}
