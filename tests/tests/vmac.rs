//! `use_vmac`: virtual routers with a MAC of their own. (That every pairing agrees, the matrix shows.)

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::{Instant, long, pause, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_tests::namespace::Mac;
use lb_tests::prober::Prober;
use lb_tests::recorder::{Frame, What};
use lb_userspace::model::Protocol;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const PING: Duration = Duration::from_millis(2);
const ADVERT: Duration = Duration::from_secs(1);
/// VRID 62 of IPv4 (RFC 9568, 7.3), and what the macvlan is called.
const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 62]);
const VMAC: &str = "vrrp.62";
const ANNOUNCE: &str = "net/ipv4/conf/eth0/arp_announce";
const ARP: [&str; 3] = [
    "net/ipv4/conf/eth0/arp_ignore",
    "net/ipv4/conf/eth0/arp_filter",
    ANNOUNCE,
];
const RP_FILTER: [&str; 3] = ["all", "default", "eth0"];
const EVERY: [[Kind; 2]; 3] = [
    [Kind::Lbd, Kind::Keepalived],
    [Kind::Keepalived, Kind::Lbd],
    [Kind::Lbd, Kind::Lbd],
];

fn spec(kinds: [Kind; 2], lines: &str) -> Spec {
    let mut conf = PairConf::http(2, ADVERT);
    conf.instance_lines = lines.to_owned();
    Spec::pair(&conf, kinds)
}

fn address(lab: &Lab, director: usize) -> Ipv4Addr {
    lab.directors[director].host.address()
}

/// Whether a director has the address on a link.
fn is_on(lab: &Lab, director: usize, link: &str) -> Result<bool> {
    let ns = &lab.directors[director].host.ns;
    let there = ns.links()?.iter().any(|name| name == link);
    Ok(there && ns.addresses(link)?.iter().any(|(a, _)| *a == lab.vip()))
}

fn wait_on(lab: &Lab, link: &str) -> Result<()> {
    let what = format!("the address on {link}");
    let on = || is_on(lab, 0, link).map(|on| on.then_some(())).transpose();
    wait_for(&what, LIMIT, on).with_context(|| lab.logs())?
}

/// A director alone advertises, for three intervals; its macvlan alone has the address; the client
/// reaches it at the virtual MAC.
fn settle(
    lab: &Lab,
    director: usize,
    ping: &Prober,
    from_base: bool,
    since: Instant,
) -> Result<()> {
    let master = IpAddr::from(address(lab, director));
    let window = ADVERT * 3 + ADVERT / 2;
    let base = lab.directors[director].host.mac;
    let source = if from_base { base } else { VIRTUAL };
    let what = format!("{} alone to advertise", lab.directors[director].name());
    lab.recorder
        .wait(&what, since.plus(window), LIMIT, |frames| {
            let start = Instant::now().minus(window);
            let adverts = frames.iter().filter(|f| f.at >= start).filter_map(|f| {
                let What::Advert { from, priority, .. } = f.what else {
                    return None;
                };
                (priority > 0).then_some((from, f.src))
            });
            let adverts: Vec<_> = adverts.collect();
            (adverts.len() >= 3 && adverts.iter().all(|a| *a == (master, source))).then_some(())
        })
        .with_context(|| lab.logs())?;
    // What a host sends goes by its routes, so by the interface itself.
    ping.wait_answer(&lab.recorder, Some(base), 10, Instant::now(), LIMIT)
        .with_context(|| lab.logs())?;
    assert_eq!(
        [is_on(lab, 0, VMAC)?, is_on(lab, 1, VMAC)?],
        [director == 0, director == 1],
        "{}",
        lab.logs()
    );
    assert_eq!(lab.client.ns.neighbour(lab.vip())?, Some(VIRTUAL));
    if lab.directors[director].kind == Kind::Lbd {
        lab.wait_services(LIMIT)?;
        let answers = load::requests(&lab.client.ns, lab.service(Protocol::Tcp)?, 200, LIMIT);
        assert_eq!(answers.failed(), 0, "{answers:?}\n{}", lab.logs());
    }
    Ok(())
}

/// What says that the address is at another MAC than the virtual one.
fn strangers(lab: &Lab, since: Instant) -> Vec<Frame> {
    let vip = lab.vip();
    let of_vip = |f: &Frame| match f.what {
        What::Arp { spa, .. } => spa == vip,
        What::Answer { .. } | What::Advert { .. } | What::Reset { .. } | What::Neighbour { .. } => {
            false
        }
    };
    let all = lab.recorder.since(since).into_iter();
    all.filter(|f| of_vip(f) && f.src != VIRTUAL).collect()
}

fn agree(kinds: [Kind; 2], lines: &str) -> Result<()> {
    println!("{kinds:?}{}", lines.replace('\n', ","));
    let from_base = lines.contains("xmit_base");
    let mut lab = Lab::new(&spec(kinds, lines))?;
    // keepalived leaves it as it is; a host asks for the client as the virtual address then.
    for d in lab.directors.iter().filter(|d| d.kind == Kind::Keepalived) {
        d.host.ns.sysctl(ANNOUNCE, "2")?;
    }
    let begin = Instant::now();
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), PING)?;
    settle(&lab, 0, &ping, from_base, begin)?;
    // Each takes ten seconds at this interval.
    let events = if long() {
        &[Event::PowerLoss, Event::CleanStop, Event::LinkDownSwitch][..]
    } else {
        &[Event::CleanStop]
    };
    for &event in events {
        println!("  {}", event.words());
        let at = lab.strike(event, 0)?;
        let second = lab.directors[1].host.mac;
        ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)
            .with_context(|| lab.logs())?;
        assert!(is_on(&lab, 1, VMAC)?, "{}", lab.logs());
        if event == Event::CleanStop {
            lab.directors[0].wait_ended(LIMIT)?;
            let ns = &lab.directors[0].host.ns;
            assert!(
                !ns.links()?.iter().any(|name| name == VMAC),
                "{}",
                lab.logs()
            );
            let ours = lab.directors[0].kind == Kind::Lbd;
            for path in ARP.iter().filter(|_| ours) {
                assert_eq!(ns.read_sysctl(path)?, "0", "{path}");
            }
            settle(&lab, 1, &ping, from_base, at)?;
        }
        let back = lab.recover(event, 0)?;
        settle(&lab, 0, &ping, from_base, back).context("return")?;
    }
    let strangers = strangers(&lab, begin);
    assert_eq!(strangers, [], "{}", lab.logs());
    drop(ping);
    lab.finish()
}

#[test]
fn adverts_may_be_sent_by_the_interface_itself() -> Result<()> {
    let some = if long() { &EVERY[..] } else { &EVERY[..1] };
    for kinds in some {
        agree(*kinds, "  use_vmac\n  vmac_xmit_base\n")?;
    }
    Ok(())
}

/// Under load: killed and started again, reloaded without `use_vmac` and with it again.
#[test]
fn a_crash_leaves_the_macvlan_and_a_reload_takes_it_away() -> Result<()> {
    let mut lab = Lab::new(&spec([Kind::Lbd; 2], "  use_vmac vip0\n"))?;
    let path = |name: &str| format!("net/ipv4/conf/{name}/rp_filter");
    for (name, value) in RP_FILTER.iter().zip(["1", "0", "0"]) {
        lab.directors[0].host.ns.sysctl(&path(name), value)?;
    }
    lab.directors[0].start()?;
    wait_on(&lab, "vip0")?;
    lab.wait_services(LIMIT)?;
    let index = lab.directors[0].host.ns.index("vip0")?;
    let filters = |lab: &Lab| -> Result<String> {
        let ns = &lab.directors[0].host.ns;
        RP_FILTER.iter().map(|n| ns.read_sysctl(&path(n))).collect()
    };
    assert_eq!(filters(&lab)?, "011");
    let to = lab.service(Protocol::Tcp)?;
    let load = load::steady(&lab.client.ns, &[], to, 500, Duration::from_secs(5));
    pause(Duration::from_millis(300))?;
    lab.directors[0].kill()?;
    pause(Duration::from_millis(500))?;
    assert!(is_on(&lab, 0, "vip0")?, "nobody took it away");
    assert_eq!(lab.client.ns.neighbour(lab.vip())?, Some(VIRTUAL));
    lab.directors[0].start()?;
    lab.directors[0].wait_ready(LIMIT)?;
    pause(Duration::from_millis(1500))?;
    let report = load.stop()?;
    assert_eq!(report.failed(), 0, "{report:?}\n{}", lab.logs());
    assert_eq!(
        lab.directors[0].host.ns.index("vip0")?,
        index,
        "it was taken over, not made anew"
    );

    let plain = PairConf::http(2, ADVERT).text(0);
    lab.directors[0].write_conf(&plain)?;
    lab.directors[0].signal(Signal::SIGHUP)?;
    wait_on(&lab, "eth0")?;
    wait_for("the macvlan to go", LIMIT, || {
        let gone = |all: Vec<String>| (!all.iter().any(|name| name == "vip0")).then_some(());
        let links = lab.directors[0].host.ns.links();
        links.map(gone).transpose()
    })??;
    // Set back a moment later.
    wait_for("what was set before", LIMIT, || {
        let now = lab.directors[0].host.ns.read_sysctl(ANNOUNCE);
        now.map(|now| (now == "0").then_some(())).transpose()
    })??;
    wait_for("rp_filter as before", LIMIT, || {
        filters(&lab)
            .map(|now| (now == "100").then_some(()))
            .transpose()
    })??;
    lab.wait_services(LIMIT)?;
    lab.directors[0].write_conf(&plain.replace("  interface", "  use_vmac\n  interface"))?;
    lab.directors[0].signal(Signal::SIGHUP)?;
    wait_on(&lab, VMAC)?;
    lab.wait_services(LIMIT)?;
    assert_eq!(lab.client.ns.neighbour(lab.vip())?, Some(VIRTUAL));
    lab.finish()
}
